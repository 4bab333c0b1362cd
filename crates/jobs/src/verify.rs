//! Compares stored snapshots with their manifests.

use convault_core::{
    DeploymentName, Layout, Manifest, RunEvent, RunPhase, SnapshotId, Store, StoreErrorKind, StoredObject,
};

use crate::{
    JobError, Listed, ListedState, RunContext, list,
    read::{ObjectReader, check_object},
};

/// How thoroughly to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyDepth {
    /// Sizes, and the store's entity tags against those seen when the snapshot was written. What differs in
    /// its tag alone is read, to find out.
    Cheap,
    /// Every stored byte is read and its SHA-256 compared.
    ReadData,
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

/// What a verify found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Snapshots that are as their manifests say.
    pub sound: Vec<SnapshotId>,
    /// Everything wrong, by snapshot.
    pub faults: Vec<ObjectFault>,
    /// Folders without a manifest: not snapshots.
    pub without_manifest: Vec<SnapshotId>,
    /// Bytes read from the store.
    pub read_bytes: u64,
}

/// Verifies the snapshots of a deployment in one destination: those in `only`, or all when it is empty.
/// A snapshot that is asked for and not there is a fault. Damage is read a second time before it is believed.
pub async fn verify(
    store: &dyn Store,
    deployment: &DeploymentName,
    only: &[SnapshotId],
    depth: VerifyDepth,
    context: &RunContext,
) -> Result<VerifyReport, JobError> {
    context.phase(RunPhase::Verify);
    let all = list(store, deployment).await?;
    let mut report = VerifyReport::default();
    let is_there = |id: &SnapshotId| {
        all.iter().any(|listed| listed.id == *id && !matches!(listed.state, ListedState::NoManifest))
    };
    for missing in only.iter().filter(|id| !is_there(id)) {
        report.faults.push(ObjectFault {
            id: missing.clone(),
            object: "manifest.json".to_owned(),
            what: format!("there is no such snapshot in {}", store.location()),
            missing: true,
        });
    }
    for listed in all.iter().filter(|listed| only.is_empty() || only.contains(&listed.id)) {
        tokio::select! {
            () = context.stop.cancelled() => return Err(JobError::Stopped),
            result = verify_one(store, deployment, listed, depth, &mut report, context) => result?,
        }
    }
    Ok(report)
}

async fn verify_one(
    store: &dyn Store,
    deployment: &DeploymentName,
    listed: &Listed,
    depth: VerifyDepth,
    report: &mut VerifyReport,
    context: &RunContext,
) -> Result<(), JobError> {
    let fault = |object: &str, what: String| ObjectFault {
        id: listed.id.clone(),
        object: object.to_owned(),
        what,
        missing: false,
    };
    let manifest = match &listed.state {
        ListedState::Snapshot(manifest) => manifest,
        ListedState::NoManifest => {
            report.without_manifest.push(listed.id.clone());
            return Ok(());
        }
        ListedState::Unreadable(error) => {
            report.faults.push(fault("manifest.json", crate::error::chain(error)));
            return Ok(());
        }
    };
    let before = report.faults.len();
    for object in &manifest.objects {
        if let Some(what) = verify_object(store, deployment, manifest, object, depth, report, context).await?
        {
            report.faults.push(fault(&object.name, what));
        }
    }
    if report.faults.len() == before {
        report.sound.push(listed.id.clone());
    }
    Ok(())
}

async fn verify_object(
    store: &dyn Store,
    deployment: &DeploymentName,
    manifest: &Manifest,
    object: &StoredObject,
    depth: VerifyDepth,
    report: &mut VerifyReport,
    context: &RunContext,
) -> Result<Option<String>, JobError> {
    let key = Layout::new(deployment.clone()).object(&manifest.id, &object.name);
    let info = match store.head(&key).await {
        Ok(info) => info,
        Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(Some("it is missing".to_owned())),
        Err(error) => return Err(error.into()),
    };
    if info.size_bytes != object.size_bytes {
        return Ok(Some(format!("it has {} bytes, not {}", info.size_bytes, object.size_bytes)));
    }
    let tag_is_known = object.store_tag.is_some() && info.etag == object.store_tag;
    if depth == VerifyDepth::Cheap && tag_is_known {
        return Ok(None);
    }
    let first = read_and_compare(store, key.clone(), object, report, context).await;
    match first {
        Ok(()) => Ok(None),
        Err(JobError::Damaged { .. }) => {
            match check_object(store, key, object.size_bytes, &object.sha256).await {
                Ok(()) => Ok(None),
                Err(JobError::Damaged { what, .. }) => Ok(Some(what)),
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
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
