//! Deletes what retention does not keep and what has no owner: first a plan that can be shown, then the deed.

mod plan;

use bytes::Bytes;
use convault_core::{
    DeploymentName, Known, Layout, Manifest, ObjectInfo, ObjectVersion, PRUNE_RECORD_FORMAT, PruneRecord,
    PutMode, RunPhase, SnapshotId, StoreErrorKind,
};
use futures::TryStreamExt as _;
use jiff::Timestamp;

use crate::{
    Destination, JobError, RunContext,
    keyed::hidden_manifest,
    repository,
    secrets::retain_sets,
    shared::{is_unchanged, plan_files},
    survey::survey,
    sweep::sweep,
    trust::put_own,
};

use self::plan::owned_keys;
pub use self::plan::{PrunePlan, PruneRules, SWEEP_LIMIT_PERCENT, plan_prune};
pub(crate) use self::plan::{candidate, locked_until, plan_from};

/// So many objects are deleted between two looks at the lease.
const BATCH: usize = 100;

/// What a prune did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The snapshots that are gone.
    pub removed: Vec<SnapshotId>,
    /// Bytes freed, of snapshots and leftovers.
    pub freed_bytes: u64,
    /// Objects without an owner that are gone.
    pub leftovers: u64,
    /// Why something was not removed that should have been; each a sentence. Not a failure.
    pub held_back: Vec<String>,
}

/// Plans and prunes. Under a lease only that is removed which `earlier` planned as well, or else a first plan made now,
/// and only once that plan is a whole lease old: whoever had the lease before has noticed by then.
pub async fn retain(
    destination: &Destination,
    deployment: &DeploymentName,
    rules: &PruneRules,
    earlier: Option<PrunePlan>,
    context: &RunContext,
) -> Result<Pruned, JobError> {
    let mut plan = plan_prune(destination, deployment, rules, context.clock.now()).await?;
    if let Some(lease) = &context.lease {
        let earlier = earlier.unwrap_or_else(|| plan.clone());
        plan.keep_to(&earlier);
        let young = lease.duration().saturating_sub(earlier.made.elapsed());
        let removes = !(plan.removals.is_empty() && plan.leftovers.is_empty());
        if removes && !young.is_zero() {
            context.or_stop(tokio::time::sleep(young)).await?;
            plan = plan_prune(destination, deployment, rules, context.clock.now()).await?;
            plan.keep_to(&earlier);
        }
    }
    prune(destination, &plan, rules, context).await
}

/// Removes one snapshot, whatever retention says of it, in the way that a prune does.
pub(crate) async fn remove_one(
    destination: &Destination,
    manifest: &Manifest,
    rules: &PruneRules,
    context: &RunContext,
) -> Result<Pruned, JobError> {
    let now = context.clock.now();
    let survey = survey(destination, &manifest.deployment, &rules.dead_runs, now).await?;
    let mut plan = plan_from(destination, &manifest.deployment, &survey, rules, now).await?;
    let staying = || survey.snapshots().filter(|snapshot| snapshot.manifest.id != manifest.id);
    plan.known = Known {
        manifests: staying().count() as u64,
        good: staying().filter(|snapshot| snapshot.is_good()).count() as u64,
    };
    plan.removals = vec![manifest.clone()];
    plan.locked.clear();
    plan.unfinished.clear();
    plan.leftovers.clear();
    plan.old_records.clear();
    prune(destination, &plan, rules, context).await
}

/// Carries a plan out. A record of it is written first; then, oldest snapshot first, the manifest goes, so that a
/// snapshot is either whole or gone, and after it the objects it named. What is denied is held back and tried again
/// by the next prune; any other failure ends the prune, and a repeated one goes on where it stopped.
pub async fn prune(
    destination: &Destination,
    plan: &PrunePlan,
    rules: &PruneRules,
    context: &RunContext,
) -> Result<Pruned, JobError> {
    let mut pruned = prune_snapshots(destination, plan, rules, context).await?;
    // What stands in the way of removing snapshots stands in the way of removing secrets.
    if pruned.held_back.is_empty() {
        pruned.held_back = retain_sets(destination, &plan.deployment, rules, context).await?;
    }
    Ok(pruned)
}

async fn prune_snapshots(
    destination: &Destination,
    plan: &PrunePlan,
    rules: &PruneRules,
    context: &RunContext,
) -> Result<Pruned, JobError> {
    context.phase(RunPhase::Prune);
    let mut deed = Deed { destination, context, pruned: Pruned::default(), deleted: 0 };
    for (id, until) in &plan.locked {
        context.message(format!(
            "{}: {id} is locked against deletion until {until}",
            destination.store.destination()
        ));
    }
    if !plan.blocked.is_empty() {
        deed.pruned.held_back.extend(plan.blocked.iter().cloned());
        return Ok(deed.pruned);
    }
    if let Err(error) = sweep(destination.store.as_ref(), &plan.deployment, &rules.dead_runs, context).await {
        deed.pruned.held_back.push(format!("unfinished uploads: {}", crate::error::chain(&error)));
    }
    let has_work = !(plan.removals.is_empty() && plan.unfinished.is_empty() && plan.leftovers.is_empty());
    if !has_work && plan.known_before == Some(plan.known) {
        deed.sweep_files(&plan.deployment, rules).await?;
        return Ok(deed.pruned);
    }
    let written = write_record(destination, plan, context).await?;
    if let Some(skew) = crate::skew::over_limit(context.clock.now(), written, rules.clock_skew_limit) {
        deed.pruned.held_back.push(skew);
        deed.withdraw(&plan.deployment).await;
        return Ok(deed.pruned);
    }
    for manifest in &plan.removals {
        deed.remove(manifest, &plan.filed).await?;
    }
    deed.delete_all(&plan.unfinished).await?;
    match &plan.sweep_blocked {
        Some(why) if !plan.leftovers.is_empty() => deed.pruned.held_back.push(why.clone()),
        _ => {
            let bytes = plan.leftover_bytes();
            if deed.delete_all(&plan.leftovers).await? {
                deed.pruned.leftovers = plan.leftovers.len() as u64;
                deed.pruned.freed_bytes += bytes;
            }
        }
    }
    deed.delete_all(&plan.old_records).await?;
    deed.sweep_files(&plan.deployment, rules).await?;
    Ok(deed.pruned)
}

/// Writes down what is about to be removed. Gives the store's time of that.
async fn write_record(
    destination: &Destination,
    plan: &PrunePlan,
    context: &RunContext,
) -> Result<Option<Timestamp>, JobError> {
    let store = destination.store.as_ref();
    let repository = repository::read(store).await?.ok_or_else(|| JobError::Repository {
        place: store.location(),
        what: "there is no convault.json; is the prefix right?".to_owned(),
    })?;
    // The record outlives what it speaks of.
    let told = |manifest: &Manifest| match &destination.encryption {
        Some(encryption) => hidden_manifest(manifest, &encryption.names),
        None => manifest.clone(),
    };
    let record = PruneRecord {
        format: PRUNE_RECORD_FORMAT,
        run: context.id.clone(),
        repository: repository.repository,
        deployment: plan.deployment.clone(),
        at: context.clock.now(),
        known: plan.known,
        removals: plan.removals.iter().map(told).collect(),
        fence: context.fence(),
    };
    let key = Layout::new(plan.deployment.clone()).prune_record(&context.id);
    let bytes = serde_json::to_vec(&record).expect("a prune record has only string keys");
    let what = format!("convault prune {} {} {}", plan.deployment, context.id, record.at);
    destination.trust.sign(store, &key, &bytes, &what, PutMode::IfAbsent).await?;
    put_own(store, &key, Bytes::from(bytes), PutMode::IfAbsent).await?;
    Ok(crate::skew::written_at(store, &key).await)
}

/// A prune being carried out.
struct Deed<'a> {
    destination: &'a Destination,
    context: &'a RunContext,
    pruned: Pruned,
    deleted: usize,
}

impl Deed<'_> {
    async fn remove(&mut self, manifest: &Manifest, filed: &[(String, ObjectInfo)]) -> Result<(), JobError> {
        let layout = Layout::new(manifest.deployment.clone());
        if !self.delete(&layout.manifest(&manifest.id)).await? {
            return Ok(());
        }
        let own = layout.manifest(&manifest.id);
        for key in owned_keys(&layout, manifest).iter().filter(|key| **key != own) {
            self.delete(key).await?;
        }
        for (_, object) in filed.iter().filter(|(id, _)| id == manifest.id.as_str()) {
            self.delete(&object.key).await?;
        }
        self.delete_versions(&layout.snapshot_prefix(&manifest.id)).await?;
        self.pruned.freed_bytes += manifest.stored_bytes();
        self.pruned.removed.push(manifest.id.clone());
        self.context.message(format!(
            "{}: removed snapshot {} ({})",
            self.destination.store.destination(),
            manifest.id,
            manifest.deployment
        ));
        Ok(())
    }

    /// Takes the record back of a prune that removes nothing: it would speak for removals that never were.
    async fn withdraw(&self, deployment: &DeploymentName) {
        let key = Layout::new(deployment.clone()).prune_record(&self.context.id);
        for key in [Layout::signature_of(&key), key] {
            if let Err(error) = self.destination.store.delete(&key).await {
                tracing::warn!(%error, "the record of a prune that was held back stays");
            }
        }
    }

    /// Condemns shared files that no snapshot needs, and deletes those that were condemned a grace ago.
    async fn sweep_files(&mut self, deployment: &DeploymentName, rules: &PruneRules) -> Result<(), JobError> {
        let layout = Layout::new(deployment.clone());
        // Nearly no deployment has any: one look tells.
        if self.destination.store.list(&layout.files_prefix()).try_next().await?.is_none() {
            return Ok(());
        }
        let now = self.context.clock.now();
        let survey = survey(self.destination, deployment, &rules.dead_runs, now).await?;
        let plan = match plan_files(self.destination, &layout, &survey, now, self.context).await {
            Ok(plan) => plan,
            Err(error @ (JobError::Damaged { .. } | JobError::Store(_))) => {
                let why = crate::error::chain(&error);
                self.pruned.held_back.push(format!("stored files are not swept: {why}"));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        plan.condemn(self.destination, &layout, self.context).await?;
        if let Some(why) = plan.too_much(rules.sweep_limit_percent) {
            self.pruned.held_back.push(why);
            return Ok(());
        }
        let mut all = true;
        let (mut files, mut bytes) = (0_u64, 0);
        for object in &plan.delete {
            if is_unchanged(self.destination, object).await? && self.delete(&object.key).await? {
                self.delete_versions(&object.key).await?;
                files += 1;
                bytes += object.size_bytes;
            } else {
                all = false;
            }
        }
        if all {
            for list in plan.done() {
                self.delete(&list.key).await?;
                self.delete(&Layout::signature_of(&list.key)).await?;
            }
        }
        if files > 0 {
            self.pruned.freed_bytes += bytes;
            let name = self.destination.store.destination();
            self.context.message(format!("{name}: removed {files} stored files that no snapshot needs"));
        }
        Ok(())
    }

    /// Gives whether every one is gone.
    async fn delete_all(&mut self, objects: &[ObjectInfo]) -> Result<bool, JobError> {
        let mut all = true;
        for object in objects {
            all &= self.delete(&object.key).await?;
        }
        Ok(all)
    }

    /// Deletes one object; `false` where the store does not allow it.
    async fn delete(&mut self, key: &str) -> Result<bool, JobError> {
        if self.context.stop.is_cancelled() {
            return Err(JobError::Stopped);
        }
        if self.deleted.is_multiple_of(BATCH) {
            self.context.check_lease().await?;
        }
        self.deleted += 1;
        match self.destination.store.delete(key).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind == StoreErrorKind::Denied => {
                self.hold_back(&error);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A bucket with versions keeps, and bills, what was deleted: the versions go too, where they may.
    ///
    /// The deletions themselves go last: without them, what they hide would be there again.
    async fn delete_versions(&mut self, prefix: &str) -> Result<(), JobError> {
        let store = &self.destination.store;
        let versions: Vec<ObjectVersion> = match store.list_versions(prefix).try_collect().await {
            Ok(versions) => versions,
            Err(error) if matches!(error.kind, StoreErrorKind::Unsupported | StoreErrorKind::Denied) => {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let (deletions, contents): (Vec<_>, Vec<_>) =
            versions.into_iter().partition(|version| version.deletion);
        for version in contents.iter().chain(&deletions) {
            match store.delete_version(&version.key, &version.version).await {
                Ok(()) => {}
                Err(error) if matches!(error.kind, StoreErrorKind::Denied | StoreErrorKind::Unsupported) => {
                    tracing::debug!(%error, "an old version stays");
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// One sentence is enough for a destination that allows nothing.
    fn hold_back(&mut self, error: &convault_core::StoreError) {
        tracing::debug!(%error, "a deletion is held back");
        let text = format!("deleting is denied (the next prune tries again): {error}");
        if self.pruned.held_back.iter().all(|known| !known.starts_with("deleting is denied")) {
            self.pruned.held_back.push(text);
        }
    }
}
