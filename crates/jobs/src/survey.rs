//! What a destination holds of a deployment: every snapshot folder with what it is, told by the store alone.
//!
//! Nothing here depends on local state, and a manifest is believed only as far as the settings allow: where keys are
//! trusted, what they have not signed does not count, and nothing that does not count is ever removed.

use std::collections::{BTreeMap, BTreeSet};

use convault_core::{
    DeploymentName, Judgement, Known, Layout, Manifest, Mark, MarkKind, ObjectInfo, PRUNE_RECORD_FORMAT,
    ProofFault, PruneRecord, RunId, RunStart, Sha256, SnapshotId, Standing, Store, StoreErrorKind,
    is_fenced_off,
};
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use crate::{Destination, JobError, read::read_small};

const READS_AT_ONCE: usize = 8;
/// Ten thousand tables in a thousand components make a manifest of a few MiB.
pub(crate) const LARGEST_MANIFEST_BYTES: u64 = 64 << 20;
/// A prune record has the manifests of all that it removes.
const LARGEST_PRUNE_RECORD_BYTES: u64 = 256 << 20;
const LARGEST_MARK_BYTES: u64 = 1 << 20;
/// A record whose time is so far from the store's was made by a clock that went wrong, or by somebody who wants the last
/// word for ever.
const FAR_OFF: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);
/// Without a manifest but written to so recently, a folder may belong to a run that goes on.
const MAY_GO_ON: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// A snapshot: a manifest that counts, with all that was said of it since.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its manifest.
    pub manifest: Manifest,
    /// SHA-256 of the manifest's bytes.
    pub manifest_sha256: Sha256,
    /// What it is worth, by its manifest and marks. Where objects are missing, that is `Damaged`.
    pub judgement: Judgement,
    /// When the store had its manifest, by the store's clock.
    pub written: Timestamp,
    /// Since when it counts, by the store's clock: its manifest's time, or that of the mark that accepted it.
    pub since: Timestamp,
    /// Objects that are missing or have another size, by the listing.
    pub faults: Vec<ProofFault>,
}

impl Snapshot {
    /// Whether it counts as good.
    pub fn is_good(&self) -> bool {
        self.judgement.standing == Standing::Good
    }
}

/// What a snapshot folder is.
#[derive(Debug, Clone)]
pub enum FolderState {
    /// A snapshot.
    Snapshot(Box<Snapshot>),
    /// No manifest yet: written to within the last hour, so that its run may go on.
    UnderWay,
    /// A run that was cut off: it has a start record, no index and no proof. A later prune removes it.
    Interrupted,
    /// A prune is not done with it.
    BeingRemoved,
    /// It has, or had, more than a run that was cut off leaves behind, and no manifest. Never removed; `repair` makes
    /// the manifest again.
    Headless,
    /// A manifest that cannot be used. Its objects are never touched because of that.
    Unreadable(String),
    /// A manifest that nobody trusted has signed. Neither it nor its objects are touched.
    Untrusted(String),
    /// The manifest of a daemon that had lost its lease: it does not count.
    FencedOff(Box<Manifest>),
}

impl FolderState {
    /// The state in one hyphenated word, as in metrics and JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Snapshot(snapshot) => snapshot.judgement.standing.as_str(),
            Self::UnderWay => "under-way",
            Self::Interrupted => "interrupted",
            Self::BeingRemoved => "being-removed",
            Self::Headless => "headless",
            Self::Unreadable(_) => "unreadable",
            Self::Untrusted(_) => "untrusted",
            Self::FencedOff(_) => "fenced-off",
        }
    }

    /// Whether a person has to look: a snapshot may be lost to view.
    pub fn is_alarming(&self) -> bool {
        match self {
            Self::Snapshot(snapshot) => snapshot.judgement.standing == Standing::Damaged,
            Self::Headless | Self::Unreadable(_) | Self::Untrusted(_) => true,
            Self::UnderWay | Self::Interrupted | Self::BeingRemoved | Self::FencedOff(_) => false,
        }
    }
}

/// One snapshot folder.
#[derive(Debug, Clone)]
pub struct Folder {
    /// The folder's name.
    pub id: SnapshotId,
    /// What it is.
    pub state: FolderState,
    /// Everything that lies in it.
    pub objects: Vec<ObjectInfo>,
    /// The marks on it that count, the oldest first.
    pub marks: Vec<Mark>,
    /// The runs that left a proof of it, the oldest first.
    pub proofs: Vec<RunId>,
    /// The start record, read only where there is no manifest that can be used.
    pub start: Option<RunStart>,
}

impl Folder {
    /// The snapshot, where it is one.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        match &self.state {
            FolderState::Snapshot(snapshot) => Some(snapshot),
            _ => None,
        }
    }

    /// The manifest of the snapshot, where it is one.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.snapshot().map(|snapshot| &snapshot.manifest)
    }

    /// Bytes of everything in it.
    pub fn stored_bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.size_bytes).sum()
    }
}

/// What a destination holds of a deployment.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// Every snapshot folder, by identifier. Folders whose name is no identifier are not ours, and left out.
    pub folders: Vec<Folder>,
    /// The prunes that are on record, the oldest first.
    pub prunes: Vec<PruneRecord>,
    /// Marks that do not count, and why, for people.
    pub passed_over: Vec<String>,
    /// Every mark and proof there is, by the snapshot or run it is filed under.
    pub(crate) filed: Vec<(String, ObjectInfo)>,
    /// Every prune record there is, readable or not.
    pub(crate) prune_objects: Vec<ObjectInfo>,
    /// What drills have proven. It stays when its snapshot goes, since it tells what could be restored then, and says
    /// nothing of whether there ever was a snapshot.
    pub(crate) drills: Vec<ObjectInfo>,
}

impl Survey {
    /// Every snapshot, of whatever standing, by identifier.
    pub fn snapshots(&self) -> impl DoubleEndedIterator<Item = &Snapshot> {
        self.folders.iter().filter_map(Folder::snapshot)
    }

    /// The good snapshots, the newest first by the deployment's clock.
    pub fn good(&self) -> Vec<&Snapshot> {
        let mut good: Vec<&Snapshot> = self.snapshots().filter(|snapshot| snapshot.is_good()).collect();
        good.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.manifest.snapshot_ts_ns));
        good
    }

    /// What is there, as a prune record tells a later prune.
    pub fn known(&self) -> Known {
        Known { manifests: self.snapshots().count() as u64, good: self.good().len() as u64 }
    }

    /// Objects and bytes of everything surveyed.
    pub fn totals(&self) -> (u64, u64) {
        let all = self
            .folders
            .iter()
            .flat_map(|folder| &folder.objects)
            .chain(self.filed.iter().map(|(_, object)| object))
            .chain(&self.prune_objects)
            .chain(&self.drills);
        all.fold((0, 0), |(number, bytes), object| (number + 1, bytes + object.size_bytes))
    }

    pub(crate) fn folder(&self, id: &SnapshotId) -> Option<&Folder> {
        self.folders.iter().find(|folder| folder.id == *id)
    }
}

/// Looks at everything a destination holds of a deployment: a few listings, and one small read (two where signatures
/// are required) for each manifest, mark and prune record. `dead_runs` are runs known to be over; `now` tells what
/// may still go on.
pub async fn survey(
    destination: &Destination,
    deployment: &DeploymentName,
    dead_runs: &[RunId],
    now: Timestamp,
) -> Result<Survey, JobError> {
    let layout = Layout::new(deployment.clone());
    let store = destination.store.as_ref();
    let mut contents = by_folder(store, &layout.snapshots_prefix()).await?;
    let marks = by_folder(store, &layout.marks_prefix()).await?;
    let mut proofs = by_folder(store, &layout.proofs_prefix()).await?;
    let drills = take_drills(&mut proofs);
    let prune_objects: Vec<ObjectInfo> = store.list(&layout.prunes_prefix()).try_collect().await?;
    let mut survey = Survey { prune_objects, drills, ..Survey::default() };
    survey.prunes = read_prunes(destination, deployment, &survey.prune_objects).await?;
    for id in marks.keys().chain(proofs.keys()) {
        // What was said of a snapshot whose folder is gone still shows that there was one.
        if SnapshotId::parse(id).is_ok() && has_signed_word(marks.get(id), proofs.get(id)) {
            contents.entry(id.clone()).or_default();
        }
    }
    let looked_at = contents.into_iter().filter_map(|(name, objects)| {
        let id = SnapshotId::parse(&name).ok()?;
        let look = Look {
            destination,
            layout: &layout,
            deployment,
            removed: survey
                .prunes
                .iter()
                .any(|prune| prune.removals.iter().any(|manifest| manifest.id == id)),
            dead: dead_runs.contains(&id),
            now,
        };
        Some(look_at(look, id, objects, marks.get(&name), proofs.get(&name)))
    });
    let folders: Vec<(Folder, Vec<String>)> =
        futures::stream::iter(looked_at).buffered(READS_AT_ONCE).try_collect().await?;
    for (folder, passed_over) in folders {
        survey.folders.push(folder);
        survey.passed_over.extend(passed_over);
    }
    fence_off(&mut survey.folders);
    let filed = marks.into_iter().chain(proofs);
    survey.filed =
        filed.flat_map(|(id, objects)| objects.into_iter().map(move |object| (id.clone(), object))).collect();
    Ok(survey)
}

/// Takes the proofs of drills, and their signatures, out of those of verifies.
fn take_drills(proofs: &mut BTreeMap<String, Vec<ObjectInfo>>) -> Vec<ObjectInfo> {
    let is_drill = |object: &ObjectInfo| {
        let key = object.key.strip_suffix(Layout::SIGNATURE_SUFFIX).unwrap_or(&object.key);
        key.ends_with(Layout::DRILL_PROOF_SUFFIX)
    };
    let mut drills = Vec::new();
    for objects in proofs.values_mut() {
        drills.extend(objects.extract_if(.., |object| is_drill(object)));
    }
    proofs.retain(|_, objects| !objects.is_empty());
    drills
}

fn has_signed_word(marks: Option<&Vec<ObjectInfo>>, proofs: Option<&Vec<ObjectInfo>>) -> bool {
    marks.is_some_and(|marks| !marks.is_empty()) || proofs.is_some_and(|proofs| !proofs.is_empty())
}

/// Everything below `prefix`, by the first part of the rest of its key.
async fn by_folder(store: &dyn Store, prefix: &str) -> Result<BTreeMap<String, Vec<ObjectInfo>>, JobError> {
    let mut folders: BTreeMap<String, Vec<ObjectInfo>> = BTreeMap::new();
    let mut objects = store.list(prefix);
    while let Some(object) = objects.try_next().await? {
        let rest = object.key.strip_prefix(prefix).unwrap_or(&object.key);
        let Some((folder, _)) = rest.split_once('/') else { continue };
        match folders.get_mut(folder) {
            Some(list) => list.push(object),
            None => {
                folders.insert(folder.to_owned(), vec![object]);
            }
        }
    }
    Ok(folders)
}

async fn read_prunes(
    destination: &Destination,
    deployment: &DeploymentName,
    objects: &[ObjectInfo],
) -> Result<Vec<PruneRecord>, JobError> {
    let mut records = Vec::new();
    for object in objects.iter().filter(|object| is_record(&object.key)) {
        let store = destination.store.as_ref();
        let bytes = match read_small(store, &object.key, LARGEST_PRUNE_RECORD_BYTES).await {
            Ok(bytes) => bytes,
            Err(JobError::Store(error)) if error.kind == StoreErrorKind::NotFound => continue,
            Err(JobError::Damaged { .. }) => continue,
            Err(error) => return Err(error),
        };
        // One that cannot be read or trusted says nothing; what it would have explained is headless then, and safe.
        let record: Option<PruneRecord> = serde_json::from_slice(&bytes).ok();
        let usable = record.filter(|record| {
            record.at.duration_since(object.modified).abs() <= FAR_OFF
                && record.format <= PRUNE_RECORD_FORMAT
                && record.deployment == *deployment
        });
        if destination.trust.why_not(store, &object.key, &bytes).await?.is_none() {
            records.extend(usable);
        }
    }
    records.sort_by(|a, b| (a.at, &a.run).cmp(&(b.at, &b.run)));
    Ok(records)
}

struct Look<'a> {
    destination: &'a Destination,
    layout: &'a Layout,
    deployment: &'a DeploymentName,
    /// A prune on record removes it.
    removed: bool,
    /// Its run is known to be over.
    dead: bool,
    now: Timestamp,
}

async fn look_at(
    look: Look<'_>,
    id: SnapshotId,
    objects: Vec<ObjectInfo>,
    marks: Option<&Vec<ObjectInfo>>,
    proofs: Option<&Vec<ObjectInfo>>,
) -> Result<(Folder, Vec<String>), JobError> {
    let (marks, passed_over) = read_marks(&look, &id, marks.map_or(&[], Vec::as_slice)).await?;
    let proofs = proof_runs(proofs.map_or(&[], Vec::as_slice));
    let manifest_key = look.layout.manifest(&id);
    let (state, start) = match objects.iter().find(|object| object.key == manifest_key) {
        Some(info) => match with_manifest(&look, &id, info, &objects, &marks).await? {
            state @ (FolderState::Unreadable(_) | FolderState::Untrusted(_)) => {
                (state, own_start(&look, &id).await?)
            }
            state => (state, None),
        },
        None => without_manifest(&look, &id, &objects, !proofs.is_empty()).await?,
    };
    Ok((Folder { id, state, objects, marks, proofs, start }, passed_over))
}

async fn read_marks(
    look: &Look<'_>,
    id: &SnapshotId,
    objects: &[ObjectInfo],
) -> Result<(Vec<Mark>, Vec<String>), JobError> {
    let store = look.destination.store.as_ref();
    let (mut marks, mut passed_over) = (Vec::new(), Vec::new());
    for object in objects.iter().filter(|object| is_record(&object.key)) {
        let bytes = match read_small(store, &object.key, LARGEST_MARK_BYTES).await {
            Ok(bytes) => bytes,
            Err(JobError::Store(error)) if error.kind == StoreErrorKind::NotFound => continue,
            Err(JobError::Damaged { what, .. }) => {
                passed_over.push(format!("{}: {what}", object.key));
                continue;
            }
            Err(error) => return Err(error),
        };
        let why_not = match serde_json::from_slice::<Mark>(&bytes) {
            Ok(mark) if mark.id != *id || mark.deployment != *look.deployment => {
                Some("it speaks of another snapshot".to_owned())
            }
            Ok(mark) => {
                let why_not = look.destination.trust.why_not(store, &object.key, &bytes).await?;
                if why_not.is_none() {
                    marks.push(mark);
                }
                why_not
            }
            Err(error) => Some(error.to_string()),
        };
        passed_over.extend(why_not.map(|why| format!("{}: {why}", object.key)));
    }
    marks.sort_by(|a, b| (a.at, &a.mark).cmp(&(b.at, &b.mark)));
    Ok((marks, passed_over))
}

/// Whether it is a record, and not the signature of one.
fn is_record(key: &str) -> bool {
    key.strip_suffix(".json").is_some()
}

fn proof_runs(objects: &[ObjectInfo]) -> Vec<RunId> {
    let name = |object: &ObjectInfo| object.key.rsplit('/').next().map(str::to_owned);
    let runs: BTreeSet<RunId> = objects
        .iter()
        .filter_map(|object| RunId::parse(name(object)?.strip_suffix("-verify.json")?).ok())
        .collect();
    runs.into_iter().collect()
}

async fn with_manifest(
    look: &Look<'_>,
    id: &SnapshotId,
    info: &ObjectInfo,
    objects: &[ObjectInfo],
    marks: &[Mark],
) -> Result<FolderState, JobError> {
    let store = look.destination.store.as_ref();
    let bytes = match read_small(store, &info.key, LARGEST_MANIFEST_BYTES).await {
        Ok(bytes) => bytes,
        Err(JobError::Store(error)) if error.kind == StoreErrorKind::NotFound => {
            // It went between the listing and now.
            return Ok(FolderState::BeingRemoved);
        }
        Err(JobError::Damaged { what, .. }) => return Ok(FolderState::Unreadable(what)),
        Err(error) => return Err(error),
    };
    let manifest = match Manifest::parse(&bytes, look.deployment, id) {
        Ok(manifest) => manifest,
        Err(error) => return Ok(FolderState::Unreadable(crate::error::chain(&error))),
    };
    if let Some(why) = look.destination.trust.why_not(store, &info.key, &bytes).await? {
        return Ok(FolderState::Untrusted(why));
    }
    let manifest_sha256 = Sha256::of(&bytes);
    let faults = faults_of(look.layout, &manifest, objects);
    let mut judgement = Judgement::of(&manifest, &manifest_sha256, marks);
    if !faults.is_empty() {
        judgement.standing = Standing::Damaged;
    }
    let since = match judgement.standing {
        // It may be repaired for a while after it was found; what nobody has marked yet was found just now.
        Standing::Damaged => {
            let mut found = marks.iter().rev().filter(|mark| mark.kind == MarkKind::Damaged);
            found.next().map_or(look.now, |mark| mark.at)
        }
        // A person's word counts from when it was given; everything else from when the store had it.
        _ if !manifest.is_good() => judgement.accepted.map_or(info.modified, |at| at.max(info.modified)),
        _ => info.modified,
    };
    let snapshot = Snapshot { manifest, manifest_sha256, judgement, written: info.modified, since, faults };
    Ok(FolderState::Snapshot(Box::new(snapshot)))
}

/// What the listing alone shows to be wrong.
fn faults_of(layout: &Layout, manifest: &Manifest, objects: &[ObjectInfo]) -> Vec<ProofFault> {
    let mut faults = Vec::new();
    for expected in &manifest.objects {
        let key = layout.object(&manifest.id, &expected.name);
        let what = match objects.iter().find(|object| object.key == key) {
            None => "it is missing".to_owned(),
            Some(found) if found.size_bytes != expected.size_bytes => {
                format!("it has {} bytes, not {}", found.size_bytes, expected.size_bytes)
            }
            Some(_) => continue,
        };
        faults.push(ProofFault { object: expected.name.clone(), what });
    }
    faults
}

async fn without_manifest(
    look: &Look<'_>,
    id: &SnapshotId,
    objects: &[ObjectInfo],
    has_proof: bool,
) -> Result<(FolderState, Option<RunStart>), JobError> {
    let has = |name: &str| objects.iter().any(|object| object.key == look.layout.object(id, name));
    let has_index =
        has(Layout::INDEX_NAME) || has(&format!("{}{}", Layout::INDEX_NAME, Layout::ENCRYPTED_SUFFIX));
    let start = if has(Layout::RUN_START_NAME) { own_start(look, id).await? } else { None };
    // Its run died, or goes on, between the signature of its start record and the record.
    let own = look.layout.run_start(id);
    let hardly_begun = !objects.is_empty() && objects.iter().all(|object| object.key.starts_with(&own));
    let newest = objects.iter().map(|object| object.modified).max();
    let goes_on = newest.is_some_and(|at| look.now.duration_since(at).abs() <= MAY_GO_ON);
    let state = if look.removed {
        FolderState::BeingRemoved
    } else if (hardly_begun || start.is_some() && !has_index) && !has_proof {
        FolderState::Interrupted
    } else if start.is_some() && goes_on && !has_proof && !look.dead {
        FolderState::UnderWay
    } else {
        FolderState::Headless
    };
    Ok((state, start))
}

/// The start record of a folder, where it can be trusted: it tells what may be removed, and fences off.
async fn own_start(look: &Look<'_>, id: &SnapshotId) -> Result<Option<RunStart>, JobError> {
    let store = look.destination.store.as_ref();
    let key = look.layout.run_start(id);
    let bytes = match read_small(store, &key, LARGEST_MARK_BYTES).await {
        Ok(bytes) => bytes,
        Err(JobError::Store(error)) if error.kind == StoreErrorKind::NotFound => return Ok(None),
        Err(JobError::Damaged { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let start: Option<RunStart> = serde_json::from_slice(&bytes).ok();
    let own = start.filter(|start| start.id == *id && start.deployment == *look.deployment);
    Ok(if look.destination.trust.why_not(store, &key, &bytes).await?.is_none() { own } else { None })
}

/// Manifests written under a lease that had been lost do not count. A holder shows itself by its start record, which
/// is there before anything else of its run.
fn fence_off(folders: &mut [Folder]) {
    let fences: Vec<(u64, Timestamp)> = folders.iter().filter_map(fence_of).collect();
    for folder in folders {
        let FolderState::Snapshot(snapshot) = &folder.state else { continue };
        // What a repair wrote again carries the number of the run that made it first, and is no late write.
        let repaired = folder.marks.iter().any(|mark| {
            mark.kind == MarkKind::Repaired && mark.manifest_sha256 == Some(snapshot.manifest_sha256)
        });
        let written = snapshot.written;
        if !repaired && is_fenced_off(snapshot.manifest.fence, written, fences.iter().copied()) {
            folder.state = FolderState::FencedOff(Box::new(snapshot.manifest.clone()));
        }
    }
}

/// The fencing number of the run that made a folder, and when the store first had something of it.
fn fence_of(folder: &Folder) -> Option<(u64, Timestamp)> {
    let started = folder.objects.iter().find(|object| object.key.ends_with(Layout::RUN_START_NAME));
    let started = started.map(|object| object.modified);
    match folder.snapshot() {
        Some(snapshot) => Some((snapshot.manifest.fence?, started.unwrap_or(snapshot.written))),
        None => Some((folder.start.as_ref()?.fence?, started?)),
    }
}

/// How many snapshots of a deployment a destination holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Folders by state, in the words of [`FolderState::as_str`].
    pub states: BTreeMap<&'static str, u64>,
    /// Bytes of everything of the deployment.
    pub stored_bytes: u64,
    /// The newest snapshot's time where it is suspect and not accepted: pruning is frozen.
    pub frozen_since: Option<Timestamp>,
    /// How long ago the longest unread snapshot was read, or written.
    pub oldest_read: Option<Timestamp>,
    /// When the newest verify left a proof.
    pub newest_proof: Option<Timestamp>,
}

impl Inventory {
    /// Counts what a survey found.
    pub fn of(survey: &Survey) -> Self {
        let mut inventory = Self { stored_bytes: survey.totals().1, ..Self::default() };
        for folder in &survey.folders {
            *inventory.states.entry(folder.state.as_str()).or_default() += 1;
        }
        let newest = survey.snapshots().max_by_key(|snapshot| snapshot.manifest.snapshot_ts_ns);
        let suspect = newest.filter(|newest| newest.judgement.standing == Standing::Suspect);
        inventory.frozen_since = suspect.map(|snapshot| snapshot.manifest.snapshot_time());
        inventory.oldest_read = survey.folders.iter().filter_map(last_read).min();
        let of_runs =
            survey.filed.iter().filter(|(folder, _)| folder == "runs").map(|(_, object)| object.clone());
        let of_runs = proof_runs(&of_runs.collect::<Vec<_>>());
        let proofs = survey.folders.iter().flat_map(|folder| &folder.proofs).chain(&of_runs);
        inventory.newest_proof = proofs.map(RunId::time).max();
        inventory
    }

    /// Whether a person has to look at anything.
    pub fn is_alarming(&self) -> bool {
        ["damaged", "headless", "unreadable", "untrusted"].iter().any(|state| self.count(state) > 0)
    }

    /// How many folders have that state.
    pub fn count(&self, state: &str) -> u64 {
        self.states.get(state).copied().unwrap_or(0)
    }
}

/// When all of a snapshot was last read: by its newest proof, or else when it was written.
pub(crate) fn last_read(folder: &Folder) -> Option<Timestamp> {
    let snapshot = folder.snapshot()?;
    Some(folder.proofs.last().map_or(snapshot.manifest.verification.at, RunId::time))
}

/// The snapshot `id`, or with `None` the newest good one, by the deployment's clock.
pub async fn find(
    destination: &Destination,
    deployment: &DeploymentName,
    id: Option<&SnapshotId>,
    now: Timestamp,
) -> Result<Option<Snapshot>, JobError> {
    let survey = survey(destination, deployment, &[], now).await?;
    let Some(id) = id else { return Ok(survey.good().first().map(|snapshot| (*snapshot).clone())) };
    let Some(folder) = survey.folder(id) else { return Ok(None) };
    let place = || {
        let key = Layout::new(deployment.clone()).manifest(id);
        format!("{} {key}", destination.store.location())
    };
    match &folder.state {
        FolderState::Snapshot(snapshot) => Ok(Some(snapshot.as_ref().clone())),
        FolderState::Unreadable(what) => Err(JobError::Damaged { place: place(), what: what.clone() }),
        FolderState::Untrusted(what) => Err(JobError::Untrusted { place: place(), what: what.clone() }),
        _ => Ok(None),
    }
}
