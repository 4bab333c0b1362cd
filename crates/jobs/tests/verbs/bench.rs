//! What the tests stand on: a job, its destinations, and questions about what is stored.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use convault_core::{
    Clock, DeploymentName, DestinationName, FilesMode, JobName, Keep, Kind, Manifest, RunEvent, RunId,
    RunRecord, Source, Store, SystemClock,
};
use convault_jobs::{BackupJob, LEAST_UPLOAD_MEMORY_BYTES, RunContext, VerifyDepth, VerifyReport};
use convault_uploader::MemoryStore;
use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;

/// Less than a part, so that an export with such a file is put in one request.
pub(crate) const SMALL: usize = 1000;
/// More than a part, so that an export with such a file is uploaded in two.
pub(crate) const TWO_PARTS: usize = (5 << 20) + 1000;

pub(crate) fn crm() -> DeploymentName {
    DeploymentName::new("crm").unwrap()
}

/// A job that keeps everything, with the least memory and a stall limit of a minute.
pub(crate) fn job() -> BackupJob {
    BackupJob {
        job: JobName::new("nightly").unwrap(),
        deployment: crm(),
        kind: Kind::OnDemand,
        due: None,
        tags: vec!["test".to_owned()],
        keep_until: None,
        files: FilesMode::Inline,
        keep: Keep::default(),
        time_zone: TimeZone::UTC,
        export_deadline: Duration::from_mins(1),
        no_progress_limit: Duration::from_mins(1),
        upload_memory_bytes: LEAST_UPLOAD_MEMORY_BYTES,
        stall_limit: Duration::from_mins(1),
        version: "0.0.0".to_owned(),
        dead_runs: Vec::new(),
    }
}

pub(crate) fn memory(name: &str) -> MemoryStore {
    MemoryStore::new(DestinationName::new(name).unwrap())
}

/// A run with its events kept.
pub(crate) struct Run {
    pub(crate) context: RunContext,
    events: Arc<Mutex<Vec<RunEvent>>>,
}

impl Run {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let id = RunId::new(SystemClock.now(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let events = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&events);
        let tell = Arc::new(move |event| kept.lock().unwrap().push(event));
        let context = RunContext::new(id, Arc::new(SystemClock), CancellationToken::new(), tell);
        Self { context, events }
    }

    pub(crate) fn events(&self) -> Vec<RunEvent> {
        self.events.lock().unwrap().clone()
    }
}

/// A destination as a run is given it.
pub(crate) fn destination(store: &MemoryStore) -> Arc<dyn Store> {
    Arc::new(store.clone())
}

/// Runs a job once into these destinations.
pub(crate) async fn back_up_into(job: &BackupJob, source: &dyn Source, stores: &[&MemoryStore]) -> RunRecord {
    let stores: Vec<Arc<dyn Store>> = stores.iter().map(|store| destination(store)).collect();
    convault_jobs::backup(job, source, &stores, &Run::new().context).await
}

/// The snapshots a destination lists.
pub(crate) async fn snapshots(store: &dyn Store) -> Vec<Manifest> {
    let listed = convault_jobs::list(store, &crm()).await.unwrap();
    listed.iter().filter_map(|listed| listed.manifest().cloned()).collect()
}

/// What a verify of everything says.
pub(crate) async fn verified(store: &dyn Store, depth: VerifyDepth) -> VerifyReport {
    convault_jobs::verify(store, &crm(), &[], depth, &Run::new().context).await.unwrap()
}

/// Asserts that nothing at all of a run is left: no object of a snapshot, and no upload.
pub(crate) async fn assert_nothing_left(store: &MemoryStore) {
    let keys: Vec<String> = store.keys().into_iter().filter(|key| key != "convault.json").collect();
    assert_eq!(keys, Vec::<String>::new());
    assert_eq!(store.list_uploads("").await.unwrap(), []);
}

/// Asserts that a destination holds so many snapshots, each whole by its bytes, and no unfinished upload.
pub(crate) async fn assert_whole(store: &dyn Store, number: usize) {
    let report = verified(store, VerifyDepth::ReadData).await;
    assert_eq!(report.faults, []);
    assert_eq!(report.sound.len(), number);
    assert_eq!(report.without_manifest, []);
    assert_eq!(store.list_uploads("").await.unwrap(), []);
}
