//! Makes a transferred export a snapshot, destination by destination: finish, read back, manifest; then refills the
//! destinations that fell behind.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use convault_core::{
    DestinationResult, Layout, Manifest, ObjectRole, PartPlan, PutMode, ReadBack, RunEvent, RunPhase, Sha256,
    Store, StoreError, StoreErrorKind, Stored, StoredObject,
};

use crate::{
    BackupJob, JobError, ListedState, RunContext,
    error::chain,
    fan_out::{FanOut, Sent},
    lane::{Finishing, LaneError},
    read::{ObjectReader, check_object, read_small},
    transfer::Transferred,
};

/// One object as it should be in every destination.
#[derive(Debug, Clone)]
struct Expected {
    name: String,
    role: ObjectRole,
    size_bytes: u64,
    sha256: Sha256,
}

/// A destination that may still get its snapshot from another one.
struct Behind {
    store: Arc<dyn Store>,
    why: String,
}

/// Makes the snapshot exist wherever it can. `manifest` is what all manifests share; the objects are filled in.
/// Destinations that fell behind are added to `warnings`.
pub(crate) async fn settle(
    job: &BackupJob,
    transferred: Transferred,
    manifest: &Manifest,
    warnings: &mut Vec<String>,
    context: &RunContext,
) -> Vec<DestinationResult> {
    let Transferred { zip, index, zip_name, .. } = transferred;
    let expected = [
        Expected {
            name: zip_name,
            role: ObjectRole::Snapshot,
            size_bytes: zip.length_bytes,
            sha256: zip.sha256,
        },
        Expected {
            name: Layout::INDEX_NAME.to_owned(),
            role: ObjectRole::Index,
            size_bytes: index.length_bytes,
            sha256: index.sha256,
        },
    ];
    let mut results = Vec::new();
    let mut behind = Vec::new();
    let mut complete: Option<Arc<dyn Store>> = None;
    for (store, arrived) in pair_up(zip, index).await {
        let outcome = match arrived {
            Ok(pair) => {
                let finished = finish_one(store.as_ref(), &pair, &expected, manifest, context).await;
                if finished.is_err() {
                    futures::join!(pair.0.abort(), pair.1.abort());
                }
                finished
            }
            Err(LaneError::Store(error)) => Err(error.into()),
            Err(LaneError::Stalled) if context.stop.is_cancelled() => Err(JobError::Stopped),
            Err(LaneError::Stalled) => {
                let limit = job.stall_limit.as_secs();
                behind.push(Behind { store, why: format!("it took no data for {limit} s") });
                continue;
            }
        };
        match outcome {
            Ok(stored_bytes) => {
                complete.get_or_insert_with(|| Arc::clone(&store));
                results.push(stored(store.as_ref(), stored_bytes, context));
            }
            Err(JobError::Store(error)) if error.kind == StoreErrorKind::Transient => {
                behind.push(Behind { store, why: chain(&error) });
            }
            Err(error) => {
                results.push(given_up(store.as_ref(), &expected, chain(&error), manifest, context).await);
            }
        }
    }
    for late in behind {
        if let Some(from) = &complete {
            let text = format!(
                "{} fell behind ({}); copying the snapshot there from {}",
                late.store.destination(),
                late.why,
                from.destination()
            );
            context.warning(text.clone());
            warnings.push(text);
        }
        results.push(refill(job, late, complete.as_deref(), &expected, manifest, context).await);
    }
    results
}

type Pair = (Finishing, Finishing);

/// Brings the two objects of each destination together; where one failed, the other is given up.
async fn pair_up(zip: Sent, index: Sent) -> Vec<(Arc<dyn Store>, Result<Pair, LaneError>)> {
    let mut pairs = Vec::new();
    for (zip, index) in zip.lanes.into_iter().zip(index.lanes) {
        let pair = match (zip.result, index.result) {
            (Ok(zip), Ok(index)) => Ok((zip, index)),
            (Ok(whole), Err(error)) | (Err(error), Ok(whole)) => {
                whole.abort().await;
                Err(error)
            }
            (Err(error), Err(_)) => Err(error),
        };
        pairs.push((zip.store, pair));
    }
    pairs
}

async fn finish_one(
    store: &dyn Store,
    (zip, index): &Pair,
    expected: &[Expected; 2],
    manifest: &Manifest,
    context: &RunContext,
) -> Result<u64, JobError> {
    let layout = Layout::new(manifest.deployment.clone());
    let mut objects = Vec::new();
    for (finishing, expected) in [zip, index].into_iter().zip(expected) {
        let key = layout.object(&manifest.id, &expected.name);
        let finished = match context.or_stop(finishing.finish()).await? {
            // The key belongs to this run alone: what is there already is this very upload, whose answer got lost.
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
                Stored { size_bytes: expected.size_bytes, checksum_confirmed: false, etag: None }
            }
            result => result?,
        };
        objects.push(prove(store, key, &finished, expected, context).await?);
    }
    write_manifest(store, objects, manifest).await
}

/// Makes sure that the store holds what was sent: by the checksum it gave back, or by reading every byte.
async fn prove(
    store: &dyn Store,
    key: String,
    stored: &Stored,
    expected: &Expected,
    context: &RunContext,
) -> Result<StoredObject, JobError> {
    let damaged = |what| JobError::Damaged { place: format!("{} {key}", store.location()), what };
    if stored.size_bytes != expected.size_bytes {
        return Err(damaged(format!(
            "the store holds {} bytes, not {}",
            stored.size_bytes, expected.size_bytes
        )));
    }
    let read_back = if stored.checksum_confirmed { ReadBack::Checksum } else { ReadBack::Data };
    if read_back == ReadBack::Data {
        context.phase(RunPhase::ReadBack);
        context.or_stop(check_object(store, key.clone(), expected.size_bytes, &expected.sha256)).await??;
    }
    let store_tag = match &stored.etag {
        Some(tag) => Some(tag.clone()),
        None => store.head(&key).await?.etag,
    };
    Ok(StoredObject {
        name: expected.name.clone(),
        role: expected.role,
        size_bytes: expected.size_bytes,
        sha256: expected.sha256,
        read_back,
        store_tag,
    })
}

/// Writes the manifest, which makes the snapshot exist. Gives the bytes stored in all.
async fn write_manifest(
    store: &dyn Store,
    objects: Vec<StoredObject>,
    manifest: &Manifest,
) -> Result<u64, JobError> {
    let manifest = Manifest { objects, ..manifest.clone() };
    let bytes = Bytes::from(manifest.to_bytes());
    let key = Layout::new(manifest.deployment.clone()).manifest(&manifest.id);
    let put = store.put(&key, bytes.clone(), PutMode::IfAbsent).await;
    // A failed put may have worked all the same, its answer lost, and one that finds a manifest may have found its
    // own: reading it back decides.
    let found = match (put, read_small(store, &key, bytes.len() as u64).await) {
        (Err(error), Err(_)) if error.kind != StoreErrorKind::AlreadyExists => return Err(error.into()),
        (_, found) => found?,
    };
    if found != bytes {
        let what = "the manifest read back is not the one that was written".to_owned();
        return Err(JobError::Damaged { place: format!("{} {key}", store.location()), what });
    }
    Ok(manifest.stored_bytes() + bytes.len() as u64)
}

fn stored(store: &dyn Store, stored_bytes: u64, context: &RunContext) -> DestinationResult {
    let destination = store.destination().clone();
    context.tell(RunEvent::Destination {
        at: context.clock.now(),
        destination: destination.clone(),
        problem: None,
    });
    DestinationResult { destination, stored_bytes, problem: None }
}

/// Records that a destination has no snapshot, and removes what lies there of it, as far as the credentials allow.
async fn given_up(
    store: &dyn Store,
    expected: &[Expected; 2],
    why: String,
    manifest: &Manifest,
    context: &RunContext,
) -> DestinationResult {
    if let Err(error) = remove(store, expected, manifest).await {
        tracing::warn!("objects of a snapshot that was given up stay behind: {}", chain(&error));
    }
    let destination = store.destination().clone();
    context.tell(RunEvent::Destination {
        at: context.clock.now(),
        destination: destination.clone(),
        problem: Some(why.clone()),
    });
    DestinationResult { destination, stored_bytes: 0, problem: Some(why) }
}

/// The manifest goes first, and the objects only after it: one whose answer was lost may be there, and must not
/// speak for objects that are gone. Under a manifest that is not this run's, everything is left as it is.
async fn remove(store: &dyn Store, expected: &[Expected; 2], manifest: &Manifest) -> Result<(), JobError> {
    let layout = Layout::new(manifest.deployment.clone());
    let found = crate::list::read_manifest(store, &layout, &manifest.deployment, manifest.id.clone()).await?;
    match found.state {
        ListedState::Snapshot(found)
            if Manifest { objects: Vec::new(), ..found.as_ref().clone() } == *manifest =>
        {
            store.delete(&layout.manifest(&manifest.id)).await?;
        }
        ListedState::NoManifest => {}
        ListedState::Snapshot(_) | ListedState::Unreadable(_) => return Ok(()),
    }
    for object in expected {
        store.delete(&layout.object(&manifest.id, &object.name)).await?;
    }
    Ok(())
}

async fn refill(
    job: &BackupJob,
    late: Behind,
    complete: Option<&dyn Store>,
    expected: &[Expected; 2],
    manifest: &Manifest,
    context: &RunContext,
) -> DestinationResult {
    let store = late.store;
    let Some(from) = complete else {
        return given_up(store.as_ref(), expected, late.why, manifest, context).await;
    };
    context.phase(RunPhase::Refill);
    match copy_all(job, from, &store, expected, manifest, context).await {
        Ok(bytes) => stored(store.as_ref(), bytes, context),
        Err(error) => {
            let why =
                format!("{}; copying it from {} failed too: {}", late.why, from.destination(), chain(&error));
            given_up(store.as_ref(), expected, why, manifest, context).await
        }
    }
}

async fn copy_all(
    job: &BackupJob,
    from: &dyn Store,
    to: &Arc<dyn Store>,
    expected: &[Expected; 2],
    manifest: &Manifest,
    context: &RunContext,
) -> Result<u64, JobError> {
    let mut objects = Vec::new();
    for object in expected {
        let key = Layout::new(manifest.deployment.clone()).object(&manifest.id, &object.name);
        let plan = PartPlan::new(object.size_bytes, job.upload_memory_bytes)?;
        let finished = copy(from, to, &key, object, plan, job.stall_limit, context).await?;
        objects.push(prove(to.as_ref(), key, &finished, object, context).await?);
    }
    write_manifest(to.as_ref(), objects, manifest).await
}

async fn copy(
    from: &dyn Store,
    to: &Arc<dyn Store>,
    key: &str,
    object: &Expected,
    plan: PartPlan,
    stall_limit: Duration,
    context: &RunContext,
) -> Result<Stored, JobError> {
    let mut reader = ObjectReader::new(from, key.to_owned(), object.size_bytes);
    let mut copy = FanOut::begin(std::slice::from_ref(to), key, plan, stall_limit);
    let copied = async {
        while let Some(chunk) = context.or_stop(reader.next()).await?? {
            context.or_stop(copy.write(&chunk)).await??;
        }
        reader.check(&object.sha256)
    }
    .await;
    if let Err(error) = copied {
        copy.abort().await;
        return Err(error);
    }
    let mut sent = copy.close(&context.stop).await;
    let lane = sent.lanes.pop().expect("the copy has one destination");
    match lane.result {
        Ok(finishing) => match finishing.finish().await {
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
                Ok(Stored { size_bytes: object.size_bytes, checksum_confirmed: false, etag: None })
            }
            result => Ok(result?),
        },
        Err(LaneError::Store(error)) => Err(error.into()),
        Err(LaneError::Stalled) if context.stop.is_cancelled() => Err(JobError::Stopped),
        Err(LaneError::Stalled) => Err(JobError::Store(StoreError {
            kind: StoreErrorKind::Transient,
            destination: to.destination().clone(),
            action: "upload",
            key: key.to_owned(),
            message: format!("it took no data for {} s", stall_limit.as_secs()),
            source: None,
        })),
    }
}
