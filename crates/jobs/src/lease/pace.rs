//! [`Pace`]: every span of time that follows from how long a lease lasts, and the two hands of one's own clock.

use std::time::Duration;

use convault_core::Clock;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The spans of time of a lease.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// After how long without a change a lease may be taken over.
    pub(super) duration: Duration,
    /// How often its holder changes it.
    pub(super) beat: Duration,
    /// After how long without a renewal its holder gives it up: a sixth earlier than anybody may take it over, for
    /// clocks that run unevenly, and so that what goes on under it can end.
    pub(super) surely: Duration,
    /// How long after that nobody may take it over yet.
    pub(super) margin: Duration,
    /// How long one call of the store may take.
    pub(super) call_limit: Duration,
    /// The wait before a failed renewal is tried again.
    pub(super) retry: Duration,
    /// How often whoever waits for a lease looks at it: as often as it is changed.
    pub(super) look_again: Duration,
}

impl Pace {
    pub(super) fn new(duration: Duration) -> Self {
        Self {
            duration,
            beat: duration / 3,
            surely: duration / 6 * 5,
            margin: duration / 6,
            call_limit: duration / 6,
            retry: duration / 60,
            look_again: duration / 3,
        }
    }

    /// When to look again at a lease that can be taken over after `left`.
    pub(super) fn wait(&self, left: Duration) -> Duration {
        left.min(self.look_again).max(self.retry)
    }

    /// Now, by both hands.
    pub(super) fn moment(clock: &dyn Clock) -> Moment {
        Moment { instant: Instant::now(), time: clock.now() }
    }
}

/// A point in time on one machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// On the clock that never jumps, and that stands still on some machines while they sleep.
    pub(super) instant: Instant,
    /// On the clock that goes on while the machine sleeps, and that may be set.
    pub(super) time: Timestamp,
}

impl Moment {
    /// Whether at `now` so much has passed by either hand. A clock that was set forward makes this true too early,
    /// which only costs a renewal; one that was set back is outvoted by the other.
    pub(super) fn is_past(&self, span: Duration, now: &Self) -> bool {
        let span_signed = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
        now.instant.saturating_duration_since(self.instant) >= span
            || now.time.duration_since(self.time) >= span_signed
    }
}
