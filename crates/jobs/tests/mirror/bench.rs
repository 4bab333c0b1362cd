//! A source, a destination, and a clock that tests set forward.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use convault_archive::encryption::Identities;
use convault_core::{
    Attributes, Brake, Clock, DestinationName, MirrorKeep, MirrorName, PutMode, RunId, Store as _,
    SystemClock,
};
use convault_jobs::{
    Destination, JobError, Mirror, MirrorState, Mirrored, RestoreTarget, Restored, RunContext, mirror,
    restore_mirror,
};
use convault_uploader::MemoryStore;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use tokio_util::sync::CancellationToken;

/// A clock that tests set forward. Each look is a second later, so that runs have an order.
#[derive(Debug, Clone, Default)]
pub(crate) struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub(crate) fn advance_hours(&self, hours: i64) {
        self.0.fetch_add(hours * 3600, Ordering::Relaxed);
    }

    pub(crate) fn advance_seconds(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        SystemClock.now() + SignedDuration::from_secs(self.0.load(Ordering::Relaxed))
    }

    fn instant(&self) -> std::time::Instant {
        SystemClock.instant()
    }
}

pub(crate) type Objects = BTreeMap<String, Bytes>;

/// A mirror from one store in memory to another.
pub(crate) struct Bench {
    pub(crate) clock: TestClock,
    pub(crate) source: MemoryStore,
    pub(crate) destination: MemoryStore,
    pub(crate) mirror: Mirror,
    pub(crate) identities: Option<Identities>,
    pub(crate) last_run: Option<RunId>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let clock = TestClock::default();
        let store = |name: &str| {
            MemoryStore::with_clock(DestinationName::new(name).unwrap(), Arc::new(clock.clone()))
        };
        let (source, destination) = (store("media"), store("offsite"));
        let mirror = Mirror {
            name: MirrorName::new("media").unwrap(),
            source: Arc::new(source.clone()),
            destination: Destination::plain(Arc::new(destination.clone())),
            brake: Brake { percent: 20 },
            release_brake: false,
            keep: MirrorKeep {
                hold_deletions: Duration::from_hours(24 * 30),
                keep: None,
                time_zone: TimeZone::UTC,
            },
            upload_memory_bytes: 32 << 20,
            clock_skew_limit: Duration::from_mins(5),
            dead_runs: Vec::new(),
            version: "0.0.0".to_owned(),
        };
        Self { clock, source, destination, mirror, identities: None, last_run: None }
    }

    pub(crate) async fn put(&self, key: &str, body: impl Into<Bytes>) {
        let attributes = Attributes {
            content_type: Some("image/jpeg".to_owned()),
            metadata: [("of".to_owned(), key.to_owned())].into(),
            ..Attributes::default()
        };
        self.source.put_with(key, body.into(), PutMode::Overwrite, &attributes).await.unwrap();
    }

    pub(crate) async fn put_many(&self, count: u32) {
        for number in 0..count {
            self.put(&format!("courses/{number:05}.jpg"), format!("picture {number}")).await;
        }
    }

    pub(crate) async fn delete_many(&self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.source.delete(&format!("courses/{number:05}.jpg")).await.unwrap();
        }
    }

    pub(crate) fn context(&self) -> RunContext {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let id = RunId::new(self.clock.now(), NUMBER.fetch_add(1, Ordering::Relaxed));
        RunContext::new(id, Arc::new(self.clock.clone()), CancellationToken::new(), Arc::new(|_| {}))
    }

    pub(crate) async fn try_run(&mut self) -> Result<Mirrored, JobError> {
        self.clock.advance_seconds(2);
        let context = self.context();
        self.last_run = Some(context.id.clone());
        mirror(&self.mirror, &context).await
    }

    pub(crate) async fn run(&mut self) -> Mirrored {
        self.try_run().await.unwrap()
    }

    /// The source as it is now.
    pub(crate) fn objects(&self) -> Objects {
        self.source.keys().into_iter().map(|key| (key.clone(), self.source.contents(&key).unwrap())).collect()
    }

    pub(crate) async fn restore_into(
        &self,
        store: &MemoryStore,
        as_of: Option<Timestamp>,
        only: &str,
        replace: bool,
    ) -> Result<Restored, JobError> {
        let target = RestoreTarget {
            store: Arc::new(store.clone()),
            key_prefix: String::new(),
            only: only.to_owned(),
            replace,
            memory_bytes: 32 << 20,
        };
        let (destination, name) = (&self.mirror.destination, &self.mirror.name);
        let state = MirrorState::as_of(destination, name, as_of, self.identities.as_ref()).await?;
        restore_mirror(name, state, &destination.store, &target, &self.context()).await
    }

    /// What a restore into an empty place gives.
    pub(crate) async fn restored(&self, as_of: Option<Timestamp>) -> Objects {
        let store = MemoryStore::new(DestinationName::new("fresh").unwrap());
        let done = self.restore_into(&store, as_of, "", false).await.unwrap();
        assert_eq!((done.failed, done.left, done.unproven), (0, 0, 0), "{:?}", done.failures);
        store.keys().into_iter().map(|key| (key.clone(), store.contents(&key).unwrap())).collect()
    }

    /// Keys in the destination with this beginning.
    pub(crate) fn stored(&self, prefix: &str) -> Vec<String> {
        let prefix = format!("media/media/{prefix}");
        self.destination.keys().into_iter().filter(|key| key.starts_with(&prefix)).collect()
    }
}
