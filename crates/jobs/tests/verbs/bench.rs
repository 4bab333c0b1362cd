//! What the tests stand on: a job, its destinations, and questions about what is stored.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicI64, AtomicU32, Ordering},
};

use convault_core::{
    Clock, DeploymentName, DestinationName, Manifest, RunEvent, RunId, RunRecord, Source, Store, SystemClock,
};
use convault_jobs::{BackupJob, Destination, RunContext, Survey, VerifyDepth, VerifyReport};
use convault_uploader::MemoryStore;
use jiff::{SignedDuration, Timestamp};
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
    BackupJob { tags: vec!["test".to_owned()], ..crate::job::job(&crm()) }
}

pub(crate) fn memory(name: &str) -> MemoryStore {
    MemoryStore::new(DestinationName::new(name).unwrap())
}

/// A clock that tests set forward.
#[derive(Debug, Clone, Default)]
pub(crate) struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub(crate) fn advance_hours(&self, hours: i64) {
        self.0.fetch_add(hours, Ordering::Relaxed);
    }
}

impl TestClock {
    /// Another clock, so many hours ahead of this one.
    pub(crate) fn clone_ahead(&self, hours: i64) -> Self {
        Self(Arc::new(AtomicI64::new(self.0.load(Ordering::Relaxed) + hours)))
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        SystemClock.now() + SignedDuration::from_hours(self.0.load(Ordering::Relaxed))
    }

    fn instant(&self) -> std::time::Instant {
        SystemClock.instant()
    }
}

pub(crate) fn memory_at(name: &str, clock: &TestClock) -> MemoryStore {
    MemoryStore::with_clock(DestinationName::new(name).unwrap(), Arc::new(clock.clone()))
}

/// A run with its events kept.
pub(crate) struct Run {
    pub(crate) context: RunContext,
    events: Arc<Mutex<Vec<RunEvent>>>,
}

impl Run {
    pub(crate) fn new() -> Self {
        Self::at(&TestClock::default())
    }

    pub(crate) fn at(clock: &TestClock) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let id = RunId::new(clock.now(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let events = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&events);
        let tell = Arc::new(move |event| kept.lock().unwrap().push(event));
        let context = RunContext::new(id, Arc::new(clock.clone()), CancellationToken::new(), tell);
        Self { context, events }
    }

    pub(crate) fn events(&self) -> Vec<RunEvent> {
        self.events.lock().unwrap().clone()
    }
}

/// A destination as a run is given it.
pub(crate) fn destination(store: &MemoryStore) -> Destination {
    Destination::plain(Arc::new(store.clone()))
}

/// Runs a job once into these destinations.
pub(crate) async fn back_up_into(job: &BackupJob, source: &dyn Source, stores: &[&MemoryStore]) -> RunRecord {
    let destinations: Vec<Destination> = stores.iter().map(|store| destination(store)).collect();
    convault_jobs::backup(job, source, &destinations, &Run::new().context).await
}

/// The snapshots a destination lists.
pub(crate) async fn snapshots(store: &MemoryStore) -> Vec<Manifest> {
    surveyed(store).await.snapshots().map(|snapshot| snapshot.manifest.clone()).collect()
}

/// Everything a destination holds.
pub(crate) async fn surveyed(store: &MemoryStore) -> Survey {
    convault_jobs::survey(&destination(store), &crm(), &[], SystemClock.now()).await.unwrap()
}

/// What a verify of everything says.
pub(crate) async fn verified(store: &MemoryStore, depth: VerifyDepth) -> VerifyReport {
    convault_jobs::verify(&destination(store), &crm(), &[], depth, &Run::new().context).await.unwrap()
}

/// Asserts that nothing at all of a run is left: no object of a snapshot, and no upload.
pub(crate) async fn assert_nothing_left(store: &MemoryStore) {
    let keys: Vec<String> = store.keys().into_iter().filter(|key| key != "convault.json").collect();
    assert_eq!(keys, Vec::<String>::new());
    assert_eq!(store.list_uploads("").await.unwrap(), []);
}

/// Asserts that a destination holds so many snapshots, each whole by its bytes, and no unfinished upload.
pub(crate) async fn assert_whole(store: &MemoryStore, number: usize) {
    let report = verified(store, VerifyDepth::ReadData).await;
    assert_eq!(report.faults, []);
    assert_eq!(report.sound.len(), number);
    assert_eq!(report.not_snapshots, []);
    assert_eq!(store.list_uploads("").await.unwrap(), []);
}
