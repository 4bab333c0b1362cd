//! A daemon's process: a runtime of its own, whose time passes as the test lets it.

use std::{sync::Arc, time::Duration};

use convault_core::Clock;
use jiff::{SignedDuration, Timestamp};
use tokio::{runtime::Runtime, time};

use crate::bucket::TrueTime;

/// What a machine's clocks are like.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hands {
    /// By how much its time of day is ahead.
    pub(crate) ahead: SignedDuration,
    /// By how many parts in a thousand its clocks run fast.
    pub(crate) fast: i32,
    /// Whether its monotonic clock stands still while it is paused, as Linux's does in a machine that sleeps.
    pub(crate) sleeps: bool,
}

/// A machine's clock.
#[derive(Debug)]
struct MachineClock {
    time: Arc<TrueTime>,
    ahead: SignedDuration,
}

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        self.time.now() + self.ahead
    }

    fn instant(&self) -> std::time::Instant {
        time::Instant::now().into_std()
    }
}

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    runtime: Option<Runtime>,
    hands: Hands,
    paused_for: Duration,
    missed: Duration,
}

impl Process {
    pub(crate) fn new(hands: Hands) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        Self { runtime: Some(runtime.unwrap()), hands, paused_for: Duration::ZERO, missed: Duration::ZERO }
    }

    /// The clock of its machine.
    pub(crate) fn clock(&self, time: &Arc<TrueTime>) -> Arc<dyn Clock> {
        Arc::new(MachineClock { time: Arc::clone(time), ahead: self.hands.ahead })
    }

    /// Begins something in it.
    pub(crate) fn enter<T>(&self, begin: impl Future<Output = T>) -> T {
        self.runtime.as_ref().unwrap().block_on(begin)
    }

    /// Freezes it for so long.
    pub(crate) fn pause(&mut self, time: Duration) {
        self.paused_for = self.paused_for.max(time);
    }

    pub(crate) fn is_paused(&self) -> bool {
        !self.paused_for.is_zero()
    }

    /// Ends it where it is: nothing of it is heard of any more, but what is on its way arrives.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Starts it anew.
    pub(crate) fn restart(&mut self) {
        self.kill();
        *self = Self::new(self.hands);
    }

    /// Lets time pass in it.
    pub(crate) fn pass(&mut self, step: Duration) {
        let Some(runtime) = &self.runtime else { return };
        if self.is_paused() {
            self.paused_for = self.paused_for.saturating_sub(step);
            self.missed += if self.hands.sleeps { Duration::ZERO } else { step };
            return;
        }
        let missed = std::mem::take(&mut self.missed);
        let by_its_clock = step.mul_f64(f64::from(1000 + self.hands.fast) / 1000.0);
        runtime.block_on(async {
            if !missed.is_zero() {
                time::advance(missed).await;
            }
            time::sleep(by_its_clock).await;
        });
    }
}
