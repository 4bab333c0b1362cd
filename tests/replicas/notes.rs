//! What a run of these tests stores, in place of a whole snapshot, and what of it counts.

use std::collections::BTreeMap;

use bytes::Bytes;
use convault_core::{
    DeploymentName, Layout, PutMode, RunId, Store, StoreError, StoreErrorKind, is_fenced_off,
};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The content of both objects of a run: the one written first and the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) due: Timestamp,
    pub(crate) fence: u64,
    pub(crate) host: String,
}

/// An object as the bucket has it.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) note: Note,
    pub(crate) at: Timestamp,
    pub(crate) is_manifest: bool,
}

/// How often a write is tried.
const ATTEMPTS: u32 = 6;

/// Writes one object of a run, settling lost answers.
pub(crate) async fn write(store: &dyn Store, key: &str, note: &Note) -> Result<(), StoreError> {
    let body = Bytes::from(serde_json::to_vec(note).unwrap());
    for attempt in 1.. {
        match store.put(key, body.clone(), PutMode::IfAbsent).await {
            Ok(_) => return Ok(()),
            // The folder is this run's own, so that what is there is ours.
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => return Ok(()),
            Err(error) if attempt == ATTEMPTS => return Err(error),
            Err(_) => {}
        }
    }
    Ok(())
}

/// Everything that runs since `since` have written of a deployment.
pub(crate) async fn read_since(
    store: &dyn Store,
    deployment: &DeploymentName,
    since: Timestamp,
) -> Result<Vec<Written>, StoreError> {
    let prefix = Layout::new(deployment.clone()).snapshots_prefix();
    let mut written = Vec::new();
    let mut objects = store.list(&prefix);
    while let Some(object) = objects.try_next().await? {
        let (folder, name) = object.key[prefix.len()..].split_once('/').unwrap();
        if RunId::parse(folder).unwrap().time() >= since {
            let body: Vec<Bytes> = store.get(&object.key, None).await?.try_collect().await?;
            let note = serde_json::from_slice(&body.concat()).unwrap();
            written.push(Written { note, at: object.modified, is_manifest: name == "manifest.json" });
        }
    }
    Ok(written)
}

/// The manifests that count, by the time they were due, and how many do not.
pub(crate) fn judge(written: &[Written]) -> (BTreeMap<Timestamp, Vec<Written>>, usize) {
    let numbers: Vec<_> = written.iter().map(|one| (one.note.fence, one.at)).collect();
    let (mut counting, mut fenced_off) = (BTreeMap::<_, Vec<_>>::new(), 0);
    for manifest in written.iter().filter(|one| one.is_manifest) {
        if is_fenced_off(Some(manifest.note.fence), manifest.at, numbers.iter().copied()) {
            fenced_off += 1;
        } else {
            counting.entry(manifest.note.due).or_default().push(manifest.clone());
        }
    }
    (counting, fenced_off)
}
