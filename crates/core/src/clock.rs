//! Time, as something that is handed in.

use std::time::Instant;

use jiff::Timestamp;

/// What time it is. Waiting is not here: that uses the runtime's timers, which tests can pause.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The time of day, which may jump when somebody sets the clock.
    fn now(&self) -> Timestamp;

    /// A point on a clock that never jumps, for measuring how long something took.
    fn instant(&self) -> Instant;
}

/// The clock of the machine: the one place where it is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}
