//! Makes a transferred export a snapshot, destination by destination: finish, read back, manifest; then refills the
//! destinations that fell behind.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use convault_core::{
    Candidate, DestinationResult, Layout, Lock, Manifest, ObjectRole, PartPlan, PutMode, ReadBack, RunEvent,
    RunId, RunPhase, Sha256, Standing, Store, StoreErrorKind, Stored, StoredObject, keep_horizon,
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    BackupJob, Destination, JobError, RunContext,
    error::chain,
    fan_out::FanOut,
    group::{Delivery, SentObject},
    lane::{Finishing, LaneError},
    prepare::Ready,
    prune::candidate,
    read::{ObjectReader, check_object, read_small},
    trust::put_own,
};

/// One object as it should be in every destination.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) name: String,
    pub(crate) role: ObjectRole,
    pub(crate) size_bytes: u64,
    pub(crate) sha256: Sha256,
}

impl Expected {
    pub(crate) fn of(object: &SentObject) -> Self {
        Self {
            name: object.name.clone(),
            role: object.role,
            size_bytes: object.sent.length_bytes,
            sha256: object.sent.sha256,
        }
    }
}

/// Said of a destination that has no other with the same recipients to get its copy from.
pub(crate) const NOT_COPIED: &str = "; no other destination with the same recipients has it to copy from, and this host \
     has no identity to encrypt another copy anew";
/// A manifest larger than this is not this run's.
const MAY_BE_OURS_BYTES: u64 = 64 << 20;
/// For so long a suspect snapshot is locked, where objects are locked.
const SUSPECT_LOCKED: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What is done, in one destination, beside storing: signing, and locking against deletion.
pub(crate) struct Protection {
    destination: Destination,
    /// The identifier of the repository that it is, which its manifests repeat.
    repository: RunId,
    /// Until when retention will keep the snapshot, as far as that can be told; `None` where nothing is locked.
    lock: Option<Lock>,
    /// Objects that are stored and proven in this destination already, which its manifest names besides.
    own: Vec<StoredObject>,
}

impl Protection {
    /// Of one destination, whose objects are locked like this.
    pub(crate) fn new(destination: &Destination, repository: RunId, lock: Option<Lock>) -> Self {
        Self { destination: destination.clone(), repository, lock, own: Vec::new() }
    }

    /// The repository that its manifests name.
    pub(crate) fn repository(&self) -> &RunId {
        &self.repository
    }

    /// What the settings ask for, for the snapshot of `manifest`.
    pub(crate) fn of(ready: &Ready, job: &BackupJob, manifest: &Manifest, now: Timestamp) -> Self {
        let destination = ready.destination.clone();
        let lock = destination.object_lock.and_then(|mode| {
            let until = horizon(ready, job, manifest, now)?;
            (until > now).then_some(Lock { mode, until })
        });
        Self { destination, repository: ready.repository.clone(), lock, own: Vec::new() }
    }

    /// The same, with objects that are stored and proven in this destination alone.
    pub(crate) fn with_own(self, own: Vec<StoredObject>) -> Self {
        Self { own, ..self }
    }

    fn store(&self) -> &dyn Store {
        self.destination.store.as_ref()
    }
}

/// Until when the snapshot is locked. One that is suspect stays as long as somebody may want to look at it.
fn horizon(ready: &Ready, job: &BackupJob, manifest: &Manifest, now: Timestamp) -> Option<Timestamp> {
    let standing = if manifest.is_good() { Standing::Good } else { Standing::Suspect };
    let own = Candidate {
        id: manifest.id.clone(),
        time: manifest.snapshot_time(),
        standing,
        since: now,
        hold: None,
        keep_until: manifest.keep_until,
    };
    let candidates: Vec<Candidate> = ready.survey.snapshots().map(candidate).collect();
    let keep = job.prune_rules(ready.store().destination()).keep_in(&ready.destination);
    let foreseen = keep_horizon(&own, &candidates, &keep, &job.time_zone, job.expected_interval, now);
    if standing == Standing::Suspect { foreseen.max(Some(now + SUSPECT_LOCKED)) } else { foreseen }
}

/// A destination that may still get its snapshot from another one.
struct Behind {
    store: Arc<dyn Store>,
    why: String,
}

/// What one group of destinations is to hold in the end, and what came of it so far.
struct Settling {
    /// What the manifests of its destinations share; the objects are filled in.
    manifest: Manifest,
    /// In the order in which they become visible.
    expected: Vec<Expected>,
    behind: Vec<Behind>,
    /// One that has everything, to copy from.
    complete: Option<Arc<dyn Store>>,
}

/// Makes the snapshot exist wherever it can. Each delivery comes with what the manifests of its destinations share.
/// Destinations that fell behind are added to `warnings`.
pub(crate) async fn settle(
    job: &BackupJob,
    deliveries: Vec<(Delivery, Manifest)>,
    protections: Vec<Protection>,
    warnings: &mut Vec<String>,
    context: &RunContext,
) -> Vec<DestinationResult> {
    let mut results = Vec::new();
    let mut settling = Vec::new();
    for (delivery, manifest) in deliveries {
        let finished = finish_all(job, delivery, manifest, &protections, warnings, context).await;
        results.extend(finished.1);
        settling.push(finished.0);
    }
    let is_elsewhere = settling.iter().any(|one| one.complete.is_some());
    for one in settling {
        for mut late in one.behind {
            if one.complete.is_none() && is_elsewhere {
                late.why.push_str(NOT_COPIED);
            }
            if let Some(from) = &one.complete {
                let text = format!(
                    "{} fell behind ({}); copying the snapshot there from {}",
                    late.store.destination(),
                    late.why,
                    from.destination()
                );
                context.warning(text.clone());
                warnings.push(text);
            }
            let protection = protection_of(&protections, late.store.as_ref());
            let from = one.complete.as_deref();
            let (expected, manifest) = (&one.expected, &one.manifest);
            let refilled = refill(job, late, from, protection, expected, manifest, warnings, context).await;
            results.push(refilled);
        }
    }
    results
}

/// Finishes what arrived in the destinations of one group.
async fn finish_all(
    job: &BackupJob,
    delivery: Delivery,
    manifest: Manifest,
    protections: &[Protection],
    warnings: &mut Vec<String>,
    context: &RunContext,
) -> (Settling, Vec<DestinationResult>) {
    let expected: Vec<Expected> = delivery.objects.iter().map(Expected::of).collect();
    let mut results = Vec::new();
    let mut behind = Vec::new();
    let mut complete: Option<Arc<dyn Store>> = None;
    for (store, arrived) in by_store(delivery.objects).await {
        let protection = protection_of(protections, store.as_ref());
        let outcome = match arrived {
            Ok(whole) => {
                let finished = finish_one(protection, &whole, &expected, &manifest, warnings, context).await;
                if finished.is_err() {
                    futures::future::join_all(whole.iter().map(Finishing::abort)).await;
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
                results.push(given_up(protection, &expected, chain(&error), &manifest, context).await);
            }
        }
    }
    (Settling { manifest, expected, behind, complete }, results)
}

fn protection_of<'a>(protections: &'a [Protection], store: &dyn Store) -> &'a Protection {
    let found = protections.iter().find(|protection| protection.store().destination() == store.destination());
    found.expect("there is one for each destination of the run")
}

/// A destination, with every object of the snapshot in order, or why it has not got them all.
type Arrived = (Arc<dyn Store>, Result<Vec<Finishing>, LaneError>);

/// Brings the objects of each destination together; where one failed, the others are given up.
async fn by_store(objects: Vec<SentObject>) -> Vec<Arrived> {
    let mut stores: Vec<Arrived> = Vec::new();
    for lane in objects.into_iter().flat_map(|object| object.sent.lanes) {
        let known = stores.iter_mut().find(|(store, _)| store.destination() == lane.store.destination());
        let Some((_, arrived)) = known else {
            stores.push((lane.store, lane.result.map(|whole| vec![whole])));
            continue;
        };
        match (arrived, lane.result) {
            (Ok(before), Ok(whole)) => before.push(whole),
            (arrived @ Ok(_), Err(error)) => {
                if let Ok(before) = std::mem::replace(arrived, Err(error)) {
                    futures::future::join_all(before.iter().map(Finishing::abort)).await;
                }
            }
            (Err(_), Ok(whole)) => whole.abort().await,
            (Err(_), Err(_)) => {}
        }
    }
    stores
}

async fn finish_one(
    protection: &Protection,
    whole: &[Finishing],
    expected: &[Expected],
    manifest: &Manifest,
    warnings: &mut Vec<String>,
    context: &RunContext,
) -> Result<u64, JobError> {
    let store = protection.store();
    context.check_lease().await?;
    let layout = Layout::new(manifest.deployment.clone());
    let mut objects = Vec::new();
    for (finishing, expected) in whole.iter().zip(expected) {
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
    write_manifest(protection, objects, manifest, warnings, context).await
}

/// Makes sure that the store holds what was sent: by the checksum it gave back, or by reading every byte.
pub(crate) async fn prove(
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

/// Locks the objects, then writes the signature and the manifest, which makes the snapshot exist. Gives the bytes
/// stored in all.
pub(crate) async fn write_manifest(
    protection: &Protection,
    mut objects: Vec<StoredObject>,
    manifest: &Manifest,
    warnings: &mut Vec<String>,
    context: &RunContext,
) -> Result<u64, JobError> {
    let store = protection.store();
    let repository = protection.repository.clone();
    objects.extend(protection.own.iter().cloned());
    let manifest = Manifest { objects, repository, ..manifest.clone() };
    let layout = Layout::new(manifest.deployment.clone());
    let data: Vec<String> =
        manifest.objects.iter().map(|object| layout.object(&manifest.id, &object.name)).collect();
    lock(protection, &data, warnings, context).await;
    let bytes = Bytes::from(manifest.to_bytes());
    let key = layout.manifest(&manifest.id);
    let what = format!("convault manifest {} {} {}", manifest.deployment, manifest.id, context.clock.now());
    context.check_lease().await?;
    let trust = &protection.destination.trust;
    let signature_bytes = trust.sign(store, &key, &bytes, &what, PutMode::IfAbsent).await?;
    put_own(store, &key, bytes.clone(), PutMode::IfAbsent).await?;
    let mut small = vec![key.clone(), layout.run_start(&manifest.id)];
    if signature_bytes > 0 {
        small.extend([&key, &layout.run_start(&manifest.id)].map(|key| Layout::signature_of(key)));
    }
    lock(protection, &small, warnings, context).await;
    Ok(manifest.stored_bytes() + signature_bytes + bytes.len() as u64)
}

/// Locks objects for as long as retention will keep them. The snapshot is there without its locks as well, so that a
/// failure is told and no more.
async fn lock(protection: &Protection, keys: &[String], warnings: &mut Vec<String>, context: &RunContext) {
    let Some(lock) = protection.lock else { return };
    for key in keys {
        if let Err(error) = protection.store().set_lock(key, lock).await {
            let text = format!("{}: the snapshot is not locked: {}", error.destination, chain(&error));
            context.warning(text.clone());
            warnings.push(text);
            return;
        }
    }
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
    protection: &Protection,
    expected: &[Expected],
    why: String,
    manifest: &Manifest,
    context: &RunContext,
) -> DestinationResult {
    let store = protection.store();
    if !protection.destination.append_only
        && let Err(error) = remove(store, expected, &protection.own, manifest).await
    {
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
async fn remove(
    store: &dyn Store,
    expected: &[Expected],
    own: &[StoredObject],
    manifest: &Manifest,
) -> Result<(), JobError> {
    let layout = Layout::new(manifest.deployment.clone());
    let key = layout.manifest(&manifest.id);
    match read_small(store, &key, MAY_BE_OURS_BYTES).await {
        Ok(bytes) => {
            let Ok(found) = Manifest::parse(&bytes, &manifest.deployment, &manifest.id) else {
                return Ok(());
            };
            let repository = manifest.repository.clone();
            if (Manifest { objects: Vec::new(), repository, ..found }) != *manifest {
                return Ok(());
            }
            store.delete(&key).await?;
        }
        Err(JobError::Store(error)) if error.kind == StoreErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    store.delete(&Layout::signature_of(&key)).await?;
    let names = expected.iter().map(|object| &object.name).chain(own.iter().map(|object| &object.name));
    for name in names {
        store.delete(&layout.object(&manifest.id, name)).await?;
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "a copy needs what a first write does, and where to copy from")]
async fn refill(
    job: &BackupJob,
    late: Behind,
    complete: Option<&dyn Store>,
    protection: &Protection,
    expected: &[Expected],
    manifest: &Manifest,
    warnings: &mut Vec<String>,
    context: &RunContext,
) -> DestinationResult {
    let store = late.store;
    let Some(from) = complete else {
        return given_up(protection, expected, late.why, manifest, context).await;
    };
    context.phase(RunPhase::Refill);
    match copy_all(job, from, protection, expected, manifest, warnings, context).await {
        Ok(bytes) => stored(store.as_ref(), bytes, context),
        Err(error) => {
            let why =
                format!("{}; copying it from {} failed too: {}", late.why, from.destination(), chain(&error));
            given_up(protection, expected, why, manifest, context).await
        }
    }
}

async fn copy_all(
    job: &BackupJob,
    from: &dyn Store,
    protection: &Protection,
    expected: &[Expected],
    manifest: &Manifest,
    warnings: &mut Vec<String>,
    context: &RunContext,
) -> Result<u64, JobError> {
    let to = &protection.destination.store;
    context.check_lease().await?;
    let mut objects = Vec::new();
    for object in expected {
        let key = Layout::new(manifest.deployment.clone()).object(&manifest.id, &object.name);
        let plan = PartPlan::new(object.size_bytes, job.upload_memory_bytes)?;
        let finished = copy_object(from, to, &key, object, plan, job.stall_limit, context).await?;
        objects.push(prove(to.as_ref(), key, &finished, object, context).await?);
    }
    write_manifest(protection, objects, manifest, warnings, context).await
}

/// Copies one object from one destination to another, compared with what it should be on its way. Nothing is visible
/// under its key before it is whole.
pub(crate) async fn copy_object(
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
    let mut sent = copy.close(true, &context.stop).await;
    let lane = sent.lanes.pop().expect("the copy has one destination");
    match lane.result {
        Ok(finishing) => match finishing.finish().await {
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
                Ok(Stored { size_bytes: object.size_bytes, checksum_confirmed: false, etag: None })
            }
            result => Ok(result?),
        },
        Err(error) => Err(error.into_job_error(&context.stop)),
    }
}
