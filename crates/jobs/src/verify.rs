//! Compares stored snapshots with their manifests, and leaves a proof of what it found.

use std::{collections::BTreeSet, time::Duration};

use convault_core::{
    DeploymentName, Layout, Manifest, ObjectInfo, ProofDepth, ProofFault, Readable, RunEvent, RunPhase,
    Sha256, SnapshotId, Standing, Store, StoredObject, share,
};
use jiff::Timestamp;

use crate::{
    Destination, Folder, FolderState, JobError, RunContext, Survey,
    proof::last_proven,
    read::{ObjectReader, check_object},
    shared::{FileFaults, Reading, examine_files},
    survey::{Snapshot, survey},
};

/// Shared files are read in no more slices than this.
const MOST_SLICES: u32 = 1000;

/// How thoroughly to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyDepth {
    /// Sizes, and the store's entity tags against those seen when the snapshot was written. What differs in
    /// its tag alone is read, to find out.
    Cheap,
    /// Every stored byte is read and its SHA-256 compared.
    ReadData,
    /// A share is read: as much as it takes for every stored byte to be read within a period, by runs so far apart.
    /// The rest as [`VerifyDepth::Cheap`].
    Share {
        /// The period.
        within: Duration,
        /// The time between two runs.
        interval: Duration,
    },
}

/// Something wrong with a stored snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectFault {
    /// The snapshot.
    pub id: SnapshotId,
    /// The object's name in the snapshot's folder.
    pub object: String,
    /// What is wrong.
    pub what: String,
    /// Whether there is no such snapshot in this destination at all.
    pub missing: bool,
}

/// What was found of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Examined {
    pub(crate) id: SnapshotId,
    pub(crate) depth: ProofDepth,
    pub(crate) manifest_sha256: Option<Sha256>,
    pub(crate) faults: Vec<ProofFault>,
    /// What it counted for before.
    pub(crate) standing: Option<Standing>,
    /// Whether a mark, and not the listing alone, says that it is damaged.
    pub(crate) marked_damaged: bool,
}

/// What a verify found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Snapshots that are as their manifests say.
    pub sound: Vec<SnapshotId>,
    /// Of those, the ones of which every byte was read.
    pub read: Vec<SnapshotId>,
    /// Everything wrong, by snapshot.
    pub faults: Vec<ObjectFault>,
    /// Folders that are no snapshots, and harmless: a run that goes on or was cut off, a prune that is not done.
    pub not_snapshots: Vec<SnapshotId>,
    /// Bytes read from the store.
    pub read_bytes: u64,
    /// When the looking began.
    pub(crate) started: Option<Timestamp>,
    pub(crate) examined: Vec<Examined>,
}

/// Verifies the snapshots of a deployment in one destination: those in `only`, or all when it is empty. One that is
/// asked for and not there is a fault, and so is a manifest that is missing, cannot be used or cannot be trusted.
/// Damage is read a second time before it is believed. Writes nothing: [`crate::record_proofs`] does.
pub async fn verify(
    destination: &Destination,
    deployment: &DeploymentName,
    only: &[SnapshotId],
    depth: VerifyDepth,
    context: &RunContext,
) -> Result<VerifyReport, JobError> {
    context.phase(RunPhase::Verify);
    let now = context.clock.now();
    let survey = survey(destination, deployment, &[], now).await?;
    let to_read = to_read(destination, &survey, depth, now).await?;
    let mut report = VerifyReport { started: Some(now), ..VerifyReport::default() };
    for missing in only.iter().filter(|id| survey.folder(id).is_none_or(|folder| !is_something(folder))) {
        report.faults.push(ObjectFault {
            id: missing.clone(),
            object: "manifest.json".to_owned(),
            what: format!("there is no such snapshot in {}", destination.store.location()),
            missing: true,
        });
    }
    let files = file_faults(destination, deployment, &survey, only, depth, context).await?;
    report.read_bytes += files.read_bytes;
    for folder in survey.folders.iter().filter(|folder| only.is_empty() || only.contains(&folder.id)) {
        let depth = if to_read.contains(&folder.id) { ProofDepth::Data } else { ProofDepth::Sizes };
        let look = Look { store: destination.store.as_ref(), deployment, depth, files: &files, context };
        context.or_stop(examine(&look, folder, &mut report)).await??;
    }
    Ok(report)
}

/// Looks at the file objects that the snapshots need, each once. Of a share of the data another slice of the names is
/// read each time, so that each was read once within the period.
async fn file_faults(
    destination: &Destination,
    deployment: &DeploymentName,
    survey: &Survey,
    only: &[SnapshotId],
    depth: VerifyDepth,
    context: &RunContext,
) -> Result<FileFaults, JobError> {
    let wanted = |snapshot: &&Snapshot| only.is_empty() || only.contains(&snapshot.manifest.id);
    let manifests: Vec<&Manifest> =
        survey.snapshots().filter(wanted).map(|snapshot| &snapshot.manifest).collect();
    let reading = match depth {
        VerifyDepth::Cheap => Reading::None,
        VerifyDepth::ReadData => Reading::All,
        VerifyDepth::Share { within, interval } => {
            let interval = interval.as_secs().max(1);
            let of = u32::try_from(within.as_secs() / interval).unwrap_or(u32::MAX).clamp(1, MOST_SLICES);
            let turn = context.clock.now().as_second().unsigned_abs() / interval;
            Reading::Share { number: u32::try_from(turn % u64::from(of)).unwrap_or(0), of }
        }
    };
    let layout = Layout::new(deployment.clone());
    examine_files(destination.store.as_ref(), &layout, &manifests, reading, false, context).await
}

/// Whether there is, or was, a snapshot in it.
fn is_something(folder: &Folder) -> bool {
    folder.snapshot().is_some() || folder.state.is_alarming()
}

async fn to_read(
    destination: &Destination,
    survey: &Survey,
    depth: VerifyDepth,
    now: Timestamp,
) -> Result<BTreeSet<SnapshotId>, JobError> {
    let (within, interval) = match depth {
        VerifyDepth::Cheap => return Ok(BTreeSet::new()),
        VerifyDepth::ReadData => return Ok(survey.folders.iter().map(|folder| folder.id.clone()).collect()),
        VerifyDepth::Share { within, interval } => (within, interval),
    };
    let mut all = Vec::new();
    for folder in &survey.folders {
        let Some(snapshot) = folder.snapshot() else { continue };
        all.push(Readable {
            id: folder.id.clone(),
            stored_bytes: snapshot.manifest.stored_bytes(),
            read: last_proven(destination, folder, snapshot).await?,
        });
    }
    Ok(share(&all, within, interval, now).into_iter().collect())
}

struct Look<'a> {
    store: &'a dyn Store,
    deployment: &'a DeploymentName,
    depth: ProofDepth,
    /// What is wrong with shared files.
    files: &'a FileFaults,
    context: &'a RunContext,
}

async fn examine(look: &Look<'_>, folder: &Folder, report: &mut VerifyReport) -> Result<(), JobError> {
    let what = match &folder.state {
        FolderState::Snapshot(snapshot) => return examine_snapshot(look, folder, snapshot, report).await,
        FolderState::UnderWay
        | FolderState::Interrupted
        | FolderState::BeingRemoved
        | FolderState::FencedOff(_) => {
            report.not_snapshots.push(folder.id.clone());
            return Ok(());
        }
        FolderState::Headless => {
            "it is missing, though there was a snapshot here; `convault repair` makes it again".to_owned()
        }
        FolderState::Unreadable(what) => what.clone(),
        FolderState::Untrusted(what) => format!("it cannot be trusted: {what}"),
    };
    let fault = ProofFault { object: "manifest.json".to_owned(), what };
    report.add(Examined {
        id: folder.id.clone(),
        depth: ProofDepth::Sizes,
        manifest_sha256: None,
        faults: vec![fault],
        standing: None,
        marked_damaged: false,
    });
    Ok(())
}

async fn examine_snapshot(
    look: &Look<'_>,
    folder: &Folder,
    snapshot: &Snapshot,
    report: &mut VerifyReport,
) -> Result<(), JobError> {
    let mut faults = look.files.faults.get(&folder.id).cloned().unwrap_or_default();
    let mut read_all = true;
    for object in &snapshot.manifest.objects {
        let seen = examine_object(look, folder, &snapshot.manifest, object, report).await?;
        read_all &= matches!(seen, Seen::Read);
        if let Seen::Wrong(what) = seen {
            faults.push(ProofFault { object: object.name.clone(), what });
        }
    }
    report.add(Examined {
        id: folder.id.clone(),
        depth: if read_all { ProofDepth::Data } else { look.depth },
        manifest_sha256: Some(snapshot.manifest_sha256),
        faults,
        standing: Some(snapshot.judgement.standing),
        marked_damaged: snapshot.judgement.standing == Standing::Damaged && snapshot.faults.is_empty(),
    });
    Ok(())
}

impl VerifyReport {
    fn add(&mut self, examined: Examined) {
        if examined.faults.is_empty() {
            self.sound.push(examined.id.clone());
            if examined.depth == ProofDepth::Data {
                self.read.push(examined.id.clone());
            }
        }
        self.faults.extend(examined.faults.iter().map(|fault| ObjectFault {
            id: examined.id.clone(),
            object: fault.object.clone(),
            what: fault.what.clone(),
            missing: false,
        }));
        self.examined.push(examined);
    }
}

enum Seen {
    /// Size and entity tag are as they were.
    Looked,
    /// Every byte was read and is right.
    Read,
    Wrong(String),
}

async fn examine_object(
    look: &Look<'_>,
    folder: &Folder,
    manifest: &Manifest,
    object: &StoredObject,
    report: &mut VerifyReport,
) -> Result<Seen, JobError> {
    let store = look.store;
    let key = Layout::new(look.deployment.clone()).object(&manifest.id, &object.name);
    // The survey's listing has what a request for each object would say.
    let listed = folder.objects.iter().find(|info| info.key == key);
    let Some(info) = listed else { return Ok(Seen::Wrong("it is missing".to_owned())) };
    if info.size_bytes != object.size_bytes {
        return Ok(Seen::Wrong(format!("it has {} bytes, not {}", info.size_bytes, object.size_bytes)));
    }
    let tag_is_known =
        info.etag.is_some() && (info.etag == object.store_tag || is_repaired_tag(folder, object, info));
    if look.depth == ProofDepth::Sizes && tag_is_known {
        return Ok(Seen::Looked);
    }
    match read_and_compare(store, key.clone(), object, report, look.context).await {
        Ok(()) => Ok(Seen::Read),
        Err(JobError::Damaged { .. }) => {
            match check_object(store, key, object.size_bytes, &object.sha256).await {
                Ok(()) => Ok(Seen::Read),
                Err(JobError::Damaged { what, .. }) => Ok(Seen::Wrong(what)),
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// Whether the object was written again by a repair, and is as that left it.
fn is_repaired_tag(folder: &Folder, object: &StoredObject, info: &ObjectInfo) -> bool {
    let mut tags = folder.marks.iter().rev().filter_map(|mark| mark.store_tags.get(&object.name));
    tags.next().is_some_and(|tag| info.etag.as_ref() == Some(tag))
}

async fn read_and_compare(
    store: &dyn Store,
    key: String,
    object: &StoredObject,
    report: &mut VerifyReport,
    context: &RunContext,
) -> Result<(), JobError> {
    let mut reader = ObjectReader::new(store, key, object.size_bytes);
    let mut done_bytes = 0;
    while let Some(chunk) = reader.next().await? {
        done_bytes += chunk.len() as u64;
        report.read_bytes += chunk.len() as u64;
        context.tell(RunEvent::Transferred { done_bytes, total_bytes: Some(object.size_bytes) });
    }
    reader.check(&object.sha256)
}
