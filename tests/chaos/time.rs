//! Time as it truly passes, and the clocks that show it well or badly.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicI64, Ordering},
};

use convault_core::Clock;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Time as it truly passes: with the runtime, and by leaps when a test lets weeks go by.
#[derive(Debug)]
pub(crate) struct Time {
    began: Instant,
    at_begin: Timestamp,
    leapt_ms: AtomicI64,
}

impl Time {
    pub(crate) fn new() -> Arc<Self> {
        let at_begin = "2026-11-22T03:00:00Z".parse().expect("it is a time");
        Arc::new(Self { began: Instant::now(), at_begin, leapt_ms: AtomicI64::new(0) })
    }

    pub(crate) fn now(&self) -> Timestamp {
        let leapt = SignedDuration::from_millis(self.leapt_ms.load(Ordering::Relaxed));
        self.at_begin + self.began.elapsed() + leapt
    }

    /// Lets so much time go by at once.
    pub(crate) fn leap(&self, by: SignedDuration) {
        let by = i64::try_from(by.as_millis()).expect("no test lasts that long");
        self.leapt_ms.fetch_add(by, Ordering::Relaxed);
    }
}

/// The clock of a store. No two things happen there in the same millisecond.
#[derive(Debug, Clone)]
pub(crate) struct StoreClock(pub(crate) Arc<Time>);

impl Clock for StoreClock {
    fn now(&self) -> Timestamp {
        self.0.leap(SignedDuration::from_millis(1));
        self.0.now()
    }

    fn instant(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

/// The clock of a daemon, which somebody may set.
#[derive(Debug, Clone)]
pub(crate) struct DaemonClock {
    time: Arc<Time>,
    wrong_by: Arc<Mutex<SignedDuration>>,
}

impl DaemonClock {
    pub(crate) fn new(time: &Arc<Time>) -> Self {
        Self { time: Arc::clone(time), wrong_by: Arc::default() }
    }

    pub(crate) fn set_wrong_by(&self, by: SignedDuration) {
        *self.wrong_by.lock().unwrap() = by;
    }
}

impl Clock for DaemonClock {
    fn now(&self) -> Timestamp {
        self.time.now() + *self.wrong_by.lock().unwrap()
    }

    fn instant(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}
