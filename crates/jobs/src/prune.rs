//! Deletes what retention does not keep and what has no owner: first a plan that can be shown, then the deed.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use convault_core::{
    Candidate, DeploymentName, Keep, Known, Layout, Manifest, ObjectInfo, ObjectVersion, PRUNE_RECORD_FORMAT,
    PruneRecord, PutMode, RetentionPlan, RunId, RunPhase, SnapshotId, StoreErrorKind, plan_retention,
};
use futures::TryStreamExt as _;
use jiff::{Timestamp, tz::TimeZone};
use tokio::time::Instant;

use crate::{
    Destination, Folder, FolderState, JobError, RunContext, Survey,
    keyed::hidden_manifest,
    repository,
    secrets::retain_sets,
    shared::{is_unchanged, plan_files},
    survey::{Snapshot, survey},
    sweep::sweep,
    trust::put_own,
};

/// A sweep that would remove a larger share of what is there does nothing, where nothing else was said.
pub const SWEEP_LIMIT_PERCENT: u32 = 5;
/// So many objects are deleted between two looks at the lease.
const BATCH: usize = 100;
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
    pub fn keep_in(&self, destination: &Destination) -> Keep {
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
    old_records: Vec<ObjectInfo>,
    known_before: Option<Known>,
    /// Marks and proofs, by the snapshot they are filed under.
    filed: Vec<(String, ObjectInfo)>,
    made: Instant,
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
    fn keep_to(&mut self, earlier: &Self) {
        let planned: BTreeSet<&SnapshotId> = earlier.removals.iter().map(|manifest| &manifest.id).collect();
        self.removals.retain(|manifest| planned.contains(&manifest.id));
        let planned: BTreeSet<&str> = earlier.leftovers.iter().map(|object| object.key.as_str()).collect();
        self.leftovers.retain(|object| planned.contains(object.key.as_str()));
    }
}

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
fn owned_keys(layout: &Layout, manifest: &Manifest) -> BTreeSet<String> {
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
