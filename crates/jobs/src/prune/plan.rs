//! What a prune would do: retention's decisions, what has no owner, and what stands in the way. Changes nothing.

use std::{collections::BTreeSet, time::Duration};

use convault_core::{
    Candidate, DeploymentName, Keep, Known, Layout, Manifest, ObjectInfo, RetentionPlan, RunId, SnapshotId,
    StoreErrorKind, plan_retention,
};
use jiff::{Timestamp, tz::TimeZone};
use tokio::time::Instant;

use crate::{
    Destination, Folder, FolderState, JobError, Survey,
    survey::{Snapshot, survey},
};

/// A sweep that would remove a larger share of what is there does nothing, where nothing else was said.
pub const SWEEP_LIMIT_PERCENT: u32 = 5;
/// So many proofs of whole runs are kept.
const RUN_PROOFS_KEPT: usize = 90;

/// What a prune goes by.
#[derive(Debug, Clone)]
pub struct PruneRules {
    /// What retention keeps.
    pub keep: Keep,
    /// The time zone in which days, weeks and months begin.
    pub time_zone: TimeZone,
    /// Runs that are known to have died.
    pub dead_runs: Vec<RunId>,
    /// How far the store's clock and this one may be apart before nothing is deleted.
    pub clock_skew_limit: Duration,
    /// How much of what is there the sweep of objects without an owner may remove, percent of objects or bytes.
    pub sweep_limit_percent: u32,
    /// A person said that snapshots which are missing are known to be gone.
    pub accept_missing: bool,
    /// How many snapshots this machine knows to be there.
    pub known_locally: Option<u64>,
}

impl PruneRules {
    /// The usual rules around `keep`.
    pub fn new(keep: Keep, time_zone: TimeZone) -> Self {
        Self {
            keep,
            time_zone,
            dead_runs: Vec::new(),
            clock_skew_limit: Duration::from_mins(5),
            sweep_limit_percent: SWEEP_LIMIT_PERCENT,
            accept_missing: false,
            known_locally: None,
        }
    }

    /// What is kept in one destination: where it accepts only some tiers, only those count there.
    pub(crate) fn keep_in(&self, destination: &Destination) -> Keep {
        destination
            .accept
            .as_deref()
            .map_or_else(|| self.keep.clone(), |tiers| self.keep.restricted_to(tiers))
    }
}

/// What a prune would do to one deployment in one destination.
#[derive(Debug, Clone)]
pub struct PrunePlan {
    /// The deployment.
    pub deployment: DeploymentName,
    /// Every snapshot with its reasons, newest first.
    pub retention: RetentionPlan,
    /// The manifests of the snapshots to be removed, oldest first: they name the objects.
    pub removals: Vec<Manifest>,
    /// Snapshots that retention does not keep, but that are locked against deletion until then.
    pub locked: Vec<(SnapshotId, Timestamp)>,
    /// Objects that earlier prunes were to remove and did not.
    pub unfinished: Vec<ObjectInfo>,
    /// Objects without an owner, and what runs that were cut off left behind.
    pub leftovers: Vec<ObjectInfo>,
    /// Why nothing at all is removed; empty means nothing stands in the way.
    pub blocked: Vec<String>,
    /// Why leftovers are not removed although the rest is.
    pub sweep_blocked: Option<String>,
    /// Folders that are left alone, and what they are.
    pub left_alone: Vec<(SnapshotId, String)>,
    /// What stays.
    pub known: Known,
    /// Prune records that have nothing left to remove.
    pub(super) old_records: Vec<ObjectInfo>,
    pub(super) known_before: Option<Known>,
    /// Marks and proofs, by the snapshot they are filed under.
    pub(super) filed: Vec<(String, ObjectInfo)>,
    pub(super) made: Instant,
}

impl PrunePlan {
    /// Bytes of the snapshots that would be removed, manifests not counted.
    pub fn freed_bytes(&self) -> u64 {
        self.removals.iter().map(Manifest::stored_bytes).sum()
    }

    /// Bytes of the leftovers that would be removed.
    pub fn leftover_bytes(&self) -> u64 {
        self.leftovers.iter().map(|object| object.size_bytes).sum()
    }

    /// Takes out everything that `earlier` did not already plan to remove.
    pub(super) fn keep_to(&mut self, earlier: &Self) {
        let planned: BTreeSet<&SnapshotId> = earlier.removals.iter().map(|manifest| &manifest.id).collect();
        self.removals.retain(|manifest| planned.contains(&manifest.id));
        let planned: BTreeSet<&str> = earlier.leftovers.iter().map(|object| object.key.as_str()).collect();
        self.leftovers.retain(|object| planned.contains(object.key.as_str()));
    }
}

/// Retention's view of a snapshot.
pub(crate) fn candidate(snapshot: &Snapshot) -> Candidate {
    Candidate {
        id: snapshot.manifest.id.clone(),
        time: snapshot.manifest.snapshot_time(),
        standing: snapshot.judgement.standing,
        since: snapshot.since,
        hold: snapshot.judgement.hold,
        keep_until: snapshot.manifest.keep_until,
    }
}

/// Plans a prune. Changes nothing.
pub async fn plan_prune(
    destination: &Destination,
    deployment: &DeploymentName,
    rules: &PruneRules,
    now: Timestamp,
) -> Result<PrunePlan, JobError> {
    let survey = survey(destination, deployment, &rules.dead_runs, now).await?;
    plan_from(destination, deployment, &survey, rules, now).await
}

pub(crate) async fn plan_from(
    destination: &Destination,
    deployment: &DeploymentName,
    survey: &Survey,
    rules: &PruneRules,
    now: Timestamp,
) -> Result<PrunePlan, JobError> {
    let candidates: Vec<Candidate> = survey.snapshots().map(candidate).collect();
    let retention = plan_retention(&candidates, &rules.keep_in(destination), &rules.time_zone, now);
    let all: Vec<Manifest> =
        retention.removed().filter_map(|decision| survey.folder(&decision.id)?.manifest().cloned()).collect();
    let (removals, locked) = without_locked(destination, all, now).await?;
    let staying = survey
        .snapshots()
        .filter(|snapshot| removals.iter().all(|manifest: &Manifest| manifest.id != snapshot.manifest.id));
    let mut known = Known::default();
    for snapshot in staying {
        known.manifests += 1;
        known.good += u64::from(snapshot.is_good());
    }
    let (unfinished, old_records) = unfinished(survey);
    let leftovers = leftovers(destination, deployment, survey, rules, now);
    let known_before = survey.prunes.last().map(|record| record.known);
    let mut plan = PrunePlan {
        deployment: deployment.clone(),
        retention,
        removals,
        locked,
        unfinished,
        sweep_blocked: too_much(survey, &leftovers, rules.sweep_limit_percent),
        leftovers,
        blocked: Vec::new(),
        left_alone: left_alone(survey),
        known,
        old_records,
        known_before,
        filed: survey.filed.clone(),
        made: Instant::now(),
    };
    plan.blocked.extend(missing(survey, rules));
    if destination.append_only {
        plan.blocked
            .push("the settings say that it is append-only: pruning it is another key's work".to_owned());
    }
    Ok(plan)
}

/// Why nothing may be removed because snapshots that were there are not.
fn missing(survey: &Survey, rules: &PruneRules) -> Option<String> {
    if rules.accept_missing {
        return None;
    }
    let found = survey.known().manifests;
    let on_record = survey.prunes.last().map(|record| record.known.manifests);
    let known = on_record.max(rules.known_locally)?;
    (found < known).then(|| {
        format!(
            "only {found} of {known} snapshots that were known are there: look at `convault list`, bring back what is \
             missing with `convault repair`, or say `--accept-missing` if it is known to be gone"
        )
    })
}

async fn without_locked(
    destination: &Destination,
    manifests: Vec<Manifest>,
    now: Timestamp,
) -> Result<(Vec<Manifest>, Vec<(SnapshotId, Timestamp)>), JobError> {
    if destination.object_lock.is_none() {
        return Ok((manifests, Vec::new()));
    }
    let (mut free, mut locked) = (Vec::new(), Vec::new());
    for manifest in manifests {
        match locked_until(destination, &manifest).await? {
            Some(until) if until > now => locked.push((manifest.id, until)),
            _ => free.push(manifest),
        }
    }
    Ok((free, locked))
}

/// Until when any object of a snapshot is locked.
pub(crate) async fn locked_until(
    destination: &Destination,
    manifest: &Manifest,
) -> Result<Option<Timestamp>, JobError> {
    let layout = Layout::new(manifest.deployment.clone());
    let objects = manifest.objects.iter().map(|object| layout.object(&manifest.id, &object.name));
    let mut until = None;
    for key in std::iter::once(layout.manifest(&manifest.id)).chain(objects) {
        match destination.store.lock(&key).await {
            Ok(lock) => until = until.max(lock.map(|lock| lock.until)),
            Err(error) if error.kind == StoreErrorKind::Unsupported => return Ok(None),
            Err(error) if error.kind == StoreErrorKind::NotFound => {}
            // Who may not read a lock finds out by being refused.
            Err(error) if error.kind == StoreErrorKind::Denied => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(until)
}

/// What earlier prunes left, and the records that are done with. The newest record stays: it says what was known.
fn unfinished(survey: &Survey) -> (Vec<ObjectInfo>, Vec<ObjectInfo>) {
    let being_removed = |folder: &&Folder| matches!(folder.state, FolderState::BeingRemoved);
    let mut objects: Vec<ObjectInfo> =
        survey.folders.iter().filter(being_removed).flat_map(|folder| folder.objects.clone()).collect();
    let ids: BTreeSet<&str> =
        survey.folders.iter().filter(being_removed).map(|folder| folder.id.as_str()).collect();
    // Marks and proofs go last: while there are any, the folder is known by them.
    objects.extend(
        survey.filed.iter().filter(|(id, _)| ids.contains(id.as_str())).map(|(_, object)| object.clone()),
    );
    let newest = survey.prunes.last().map(|record| &record.run);
    let done = survey.prunes.iter().filter(|record| {
        Some(&record.run) != newest
            && record.removals.iter().all(|manifest| survey.folder(&manifest.id).is_none())
    });
    let done: BTreeSet<String> = done.map(|record| record.run.to_string()).collect();
    let old = survey.prune_objects.iter().filter(|object| {
        let name = object.key.rsplit('/').next().unwrap_or_default();
        done.contains(name.split('.').next().unwrap_or_default())
    });
    (objects, old.cloned().collect())
}

/// Objects that no manifest names, for long enough, and what runs that were cut off left behind.
fn leftovers(
    destination: &Destination,
    deployment: &DeploymentName,
    survey: &Survey,
    rules: &PruneRules,
    now: Timestamp,
) -> Vec<ObjectInfo> {
    let layout = Layout::new(deployment.clone());
    let is_old = |object: &&ObjectInfo| {
        let age = now.duration_since(object.modified);
        !age.is_negative() && age.unsigned_abs() > destination.orphan_grace
    };
    let mut leftovers = Vec::new();
    for folder in &survey.folders {
        match &folder.state {
            FolderState::Snapshot(snapshot) => {
                let owned = owned_keys(&layout, &snapshot.manifest);
                let strays = folder.objects.iter().filter(|object| !owned.contains(&object.key));
                leftovers.extend(strays.filter(is_old).cloned());
            }
            FolderState::Interrupted if rules.dead_runs.contains(&folder.id) => {
                leftovers.extend(folder.objects.iter().cloned());
            }
            // A folder goes as a whole: while anything in it is young, its run may go on.
            FolderState::Interrupted | FolderState::FencedOff(_)
                if folder.objects.iter().all(|object| is_old(&object)) =>
            {
                leftovers.extend(folder.objects.iter().cloned());
            }
            FolderState::Headless if rules.accept_missing && folder.objects.is_empty() => {
                let filed = survey.filed.iter().filter(|(id, _)| id == folder.id.as_str());
                leftovers.extend(filed.map(|(_, object)| object.clone()));
            }
            _ => {}
        }
    }
    let runs: Vec<&ObjectInfo> =
        survey.filed.iter().filter(|(folder, _)| folder == "runs").map(|(_, object)| object).collect();
    leftovers.extend(runs.iter().rev().skip(RUN_PROOFS_KEPT * 2).map(|object| (*object).clone()));
    leftovers
}

/// Every key that belongs to a snapshot with this manifest.
pub(super) fn owned_keys(layout: &Layout, manifest: &Manifest) -> BTreeSet<String> {
    let own = layout.manifest(&manifest.id);
    let mut keys: BTreeSet<String> =
        manifest.objects.iter().map(|object| layout.object(&manifest.id, &object.name)).collect();
    keys.insert(Layout::signature_of(&own));
    keys.insert(own);
    let start = layout.run_start(&manifest.id);
    keys.insert(Layout::signature_of(&start));
    keys.insert(start);
    keys
}

/// Why so many leftovers are not believed. Start records do not count: they hold nothing.
fn too_much(survey: &Survey, leftovers: &[ObjectInfo], limit_percent: u32) -> Option<String> {
    let counted = leftovers.iter().filter(|object| !object.key.contains(Layout::RUN_START_NAME));
    let (number, bytes) = counted.fold((0, 0), |(n, b), object| (n + 1, b + object.size_bytes));
    let (all, all_bytes) = survey.totals();
    let over = |part: u64, whole: u64| u128::from(part) * 100 > u128::from(whole) * u128::from(limit_percent);
    (over(number, all) || over(bytes, all_bytes)).then(|| {
        format!(
            "{number} of {all} objects, {bytes} of {all_bytes} bytes, have no owner: more than {limit_percent} %, so \
             none is removed; look at them with `convault prune --dry-run`, and allow more with `--sweep-limit PERCENT`"
        )
    })
}

fn left_alone(survey: &Survey) -> Vec<(SnapshotId, String)> {
    let why = |state: &FolderState| match state {
        FolderState::Snapshot(_) | FolderState::BeingRemoved => None,
        FolderState::UnderWay => Some("no manifest yet: its run may go on".to_owned()),
        FolderState::Interrupted => Some("a run that was cut off; removed after a grace".to_owned()),
        FolderState::FencedOff(_) => {
            Some("written after its lease was lost; removed after a grace".to_owned())
        }
        FolderState::Headless => Some("it has no manifest: `convault repair` makes it again".to_owned()),
        FolderState::Unreadable(what) => Some(format!("its manifest cannot be used: {what}")),
        FolderState::Untrusted(what) => Some(format!("its manifest cannot be trusted: {what}")),
    };
    survey.folders.iter().filter_map(|folder| Some((folder.id.clone(), why(&folder.state)?))).collect()
}
