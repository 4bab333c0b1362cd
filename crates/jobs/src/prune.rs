//! Deletes what retention does not keep: first a plan that can be shown, then the deed.

use convault_core::{
    Candidate, DeploymentName, Keep, Layout, Manifest, RetentionPlan, RunPhase, SnapshotId, Standing, Store,
    plan_retention,
};
use jiff::{Timestamp, tz::TimeZone};

use crate::{JobError, ListedState, RunContext, list};

/// What a prune would do to one deployment in one destination.
#[derive(Debug)]
pub struct PrunePlan {
    /// Every snapshot with its reasons, newest first.
    pub retention: RetentionPlan,
    /// The manifests of the snapshots to be removed, oldest first: they name the objects.
    pub removals: Vec<Manifest>,
    /// Folders that are left alone because they have no manifest, or one that cannot be used.
    pub left_alone: Vec<SnapshotId>,
}

impl PrunePlan {
    /// Bytes that would be freed, manifests not counted.
    pub fn freed_bytes(&self) -> u64 {
        self.removals.iter().map(Manifest::stored_bytes).sum()
    }
}

/// What a prune did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The snapshots that are gone.
    pub removed: Vec<SnapshotId>,
    /// Bytes freed.
    pub freed_bytes: u64,
}

/// Plans a prune. Changes nothing.
pub async fn plan_prune(
    store: &dyn Store,
    deployment: &DeploymentName,
    keep: &Keep,
    time_zone: &TimeZone,
    now: Timestamp,
) -> Result<PrunePlan, JobError> {
    let mut manifests = Vec::new();
    let mut left_alone = Vec::new();
    for listed in list(store, deployment).await? {
        match listed.state {
            ListedState::Snapshot(manifest) => manifests.push(*manifest),
            ListedState::NoManifest | ListedState::Unreadable(_) => left_alone.push(listed.id),
        }
    }
    let candidates: Vec<Candidate> = manifests
        .iter()
        .map(|manifest| Candidate {
            id: manifest.id.clone(),
            time: manifest.snapshot_time(),
            standing: if manifest.is_good() { Standing::Good } else { Standing::Suspect },
            since: manifest.snapshot_time(),
            hold: None,
            keep_until: manifest.keep_until,
        })
        .collect();
    let retention = plan_retention(&candidates, keep, time_zone, now);
    let removals = retention
        .removed()
        .filter_map(|decision| manifests.iter().find(|manifest| manifest.id == decision.id).cloned())
        .collect();
    Ok(PrunePlan { retention, removals, left_alone })
}

/// Carries a plan out, oldest snapshot first: the manifest goes first, so that a snapshot is either whole or gone,
/// then the objects it named. Stops at the first failure; what is done stays done, and a repeated prune goes on.
pub async fn prune(store: &dyn Store, plan: &PrunePlan, context: &RunContext) -> Result<Pruned, JobError> {
    context.phase(RunPhase::Prune);
    let mut pruned = Pruned::default();
    for manifest in &plan.removals {
        if context.stop.is_cancelled() {
            return Err(JobError::Stopped);
        }
        let layout = Layout::new(manifest.deployment.clone());
        store.delete(&layout.manifest(&manifest.id)).await?;
        for object in &manifest.objects {
            store.delete(&layout.object(&manifest.id, &object.name)).await?;
        }
        pruned.freed_bytes += manifest.stored_bytes();
        pruned.removed.push(manifest.id.clone());
        context.message(format!(
            "{}: removed snapshot {} ({})",
            store.destination(),
            manifest.id,
            manifest.deployment
        ));
    }
    Ok(pruned)
}
