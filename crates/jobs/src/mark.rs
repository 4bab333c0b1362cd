//! Says something of a snapshot, beside it: accepted, held, released, damaged, repaired.

use std::collections::BTreeMap;

use bytes::Bytes;
use convault_core::{
    DeploymentName, Hold, Layout, Lock, LockMode, MARK_FORMAT, Mark, MarkKind, PutMode, RunId, Sha256,
    SnapshotId, Standing, StoreErrorKind,
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    Destination, FolderState, JobError, RunContext, repository,
    survey::{Folder, survey},
    trust::put_own,
};

/// A hold without an end is locked for so long at a time, where objects are locked.
const HELD_LOCK: SignedDuration = SignedDuration::from_hours(90 * 24);

/// What is to be said of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkRequest {
    /// The deployment.
    pub deployment: DeploymentName,
    /// The snapshot.
    pub id: SnapshotId,
    /// What.
    pub kind: MarkKind,
    /// Why, for people.
    pub reason: String,
    /// `accept`: stored files whose damage is known; `damaged`: objects.
    pub names: Vec<String>,
    /// `hold`: until when.
    pub until: Option<Timestamp>,
}

impl MarkRequest {
    /// A plain request, with neither names nor a time.
    pub fn new(
        deployment: DeploymentName,
        id: SnapshotId,
        kind: MarkKind,
        reason: impl Into<String>,
    ) -> Self {
        Self { deployment, id, kind, reason: reason.into(), names: Vec::new(), until: None }
    }
}

/// Writes a mark that a person asked for. The snapshot must be there; accepting one that is good, or whose stored
/// files are damaged without naming each of them, is refused.
pub async fn mark(
    destination: &Destination,
    request: &MarkRequest,
    context: &RunContext,
) -> Result<Mark, JobError> {
    let survey = survey(destination, &request.deployment, &[], context.clock.now()).await?;
    let folder = survey.folder(&request.id).filter(|folder| folder.snapshot().is_some());
    let Some(folder) = folder else {
        return Err(JobError::NoSuchSnapshot {
            id: request.id.clone(),
            deployment: request.deployment.to_string(),
            destination: destination.store.destination().to_string(),
        });
    };
    if request.kind == MarkKind::Accept {
        acceptable(folder, request)?;
    }
    let manifest_sha256 = folder.snapshot().map(|one| one.manifest_sha256);
    let about = About { id: &folder.id, manifest_sha256, marks: &folder.marks };
    let mark = write_mark(destination, &about, request, BTreeMap::new(), context).await?;
    if request.kind == MarkKind::Hold {
        lock_held(destination, folder, Hold { until: request.until }, context).await?;
    }
    Ok(mark)
}

fn acceptable(folder: &Folder, request: &MarkRequest) -> Result<(), JobError> {
    let refused = |why: String| Err(JobError::NotAcceptable { id: request.id.clone(), why });
    let Some(snapshot) = folder.snapshot() else { return Ok(()) };
    match snapshot.judgement.standing {
        Standing::Good => return refused("it counts as good already".to_owned()),
        Standing::Damaged => {
            return refused("what is stored of it is damaged: `convault repair` may help".to_owned());
        }
        Standing::Suspect => {}
    }
    let convault_core::Verdict::Suspect { problems } = &snapshot.manifest.verdict else { return Ok(()) };
    // `kg2…: its content is not what its row announces`; with a component in front of it.
    let ids: Vec<&str> = problems
        .iter()
        .filter(|problem| problem.kind == "source-damage")
        .flat_map(|problem| &problem.ids)
        .map(|text| text.split(':').next().unwrap_or(text))
        .collect();
    let unnamed: Vec<&str> =
        ids.iter().filter(|id| !request.names.iter().any(|name| name == *id)).copied().collect();
    if !unnamed.is_empty() {
        return refused(format!(
            "stored files are damaged on the deployment itself; if that is known, name each with --damaged: {}",
            unnamed.join(" ")
        ));
    }
    match request.names.iter().find(|name| !ids.contains(&name.as_str())) {
        Some(name) => refused(format!("{name} is not among its damaged files")),
        None => Ok(()),
    }
}

/// What a mark speaks of.
pub(crate) struct About<'a> {
    pub(crate) id: &'a SnapshotId,
    pub(crate) manifest_sha256: Option<Sha256>,
    /// What was said of it before.
    pub(crate) marks: &'a [Mark],
}

impl About<'_> {
    /// When something is said of it now. Of two words the newer counts, so that what is said last must be the newest even
    /// where a clock was ahead when the other was said.
    fn at(&self, now: Timestamp) -> Timestamp {
        let newest = self.marks.iter().map(|mark| mark.at).max();
        let after = newest.and_then(|at| at.checked_add(SignedDuration::from_millis(1)).ok());
        after.map_or(now, |after| after.max(now))
    }
}

/// Writes a mark.
pub(crate) async fn write_mark(
    destination: &Destination,
    about: &About<'_>,
    request: &MarkRequest,
    store_tags: BTreeMap<String, String>,
    context: &RunContext,
) -> Result<Mark, JobError> {
    let store = destination.store.as_ref();
    let repository = repository::read(store).await?.ok_or_else(|| JobError::Repository {
        place: store.location(),
        what: "there is no convault.json; is the prefix right?".to_owned(),
    })?;
    let at = about.at(context.clock.now());
    let mark = Mark {
        format: MARK_FORMAT,
        kind: request.kind,
        mark: RunId::new(at, random_of(context, about.id)),
        repository: repository.repository,
        deployment: request.deployment.clone(),
        id: about.id.clone(),
        manifest_sha256: about.manifest_sha256,
        at,
        reason: request.reason.clone(),
        names: request.names.clone(),
        store_tags,
        until: request.until,
        fence: context.fence(),
    };
    let key = Layout::new(request.deployment.clone()).mark(&mark.id, &mark.mark, mark.kind);
    let bytes = serde_json::to_vec_pretty(&mark).expect("a mark has only string keys");
    let what = format!("convault mark {} {} {}", mark.deployment, mark.id, mark.at);
    destination.trust.sign(store, &key, &bytes, &what, PutMode::IfAbsent).await?;
    put_own(store, &key, Bytes::from(bytes), PutMode::IfAbsent).await?;
    Ok(mark)
}

/// The run's own identifier is random; one of its marks on a snapshot is told from another by time and kind.
fn random_of(context: &RunContext, id: &SnapshotId) -> u32 {
    let digest = Sha256::of(format!("{} {id}", context.id).as_bytes()).0;
    digest.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// Locks what is held, where the destination locks at all: for as long as it is held, or a while at a time.
pub(crate) async fn lock_held(
    destination: &Destination,
    folder: &Folder,
    hold: Hold,
    context: &RunContext,
) -> Result<(), JobError> {
    let Some(mode) = destination.object_lock else { return Ok(()) };
    let now = context.clock.now();
    let until = hold.until.unwrap_or(now + HELD_LOCK);
    let Some(manifest) = folder.manifest() else { return Ok(()) };
    let layout = Layout::new(manifest.deployment.clone());
    let enough = if hold.until.is_some() { until } else { now + HELD_LOCK / 2 };
    let names = manifest.objects.iter().map(|object| layout.object(&manifest.id, &object.name));
    for key in names.chain([layout.manifest(&manifest.id)]) {
        extend(destination, &key, mode, enough, until).await?;
    }
    Ok(())
}

/// Locks an object until `until`, unless it is locked until `enough` already.
pub(crate) async fn extend(
    destination: &Destination,
    key: &str,
    mode: LockMode,
    enough: Timestamp,
    until: Timestamp,
) -> Result<(), JobError> {
    let store = destination.store.as_ref();
    let locked = match store.lock(key).await {
        Ok(lock) => lock,
        Err(error) if error.kind == StoreErrorKind::Denied => None,
        Err(error) => return Err(error.into()),
    };
    if locked.is_none_or(|lock| lock.until < enough) {
        store.set_lock(key, Lock { mode, until }).await?;
    }
    Ok(())
}

/// Locks anew what is held without an end and will soon not be locked any more. A failure is told, not fatal.
pub(crate) async fn renew_holds(destination: &Destination, folders: &[Folder], context: &RunContext) {
    for folder in folders {
        let hold = match &folder.state {
            FolderState::Snapshot(snapshot) => snapshot.judgement.hold,
            _ => None,
        };
        let Some(hold) = hold else { continue };
        if let Err(error) = lock_held(destination, folder, hold, context).await {
            context.warning(format!(
                "{} is held, but not locked: {}",
                folder.id,
                crate::error::chain(&error)
            ));
        }
    }
}
