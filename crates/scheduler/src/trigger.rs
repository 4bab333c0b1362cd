//! The ticker: the one place that names `tokio-cron-scheduler`.
//!
//! That crate starts its callbacks detached, cannot be driven by a test clock, fixes a zone's offset when a job is
//! made and fires a daily job twice on a spring day. So it is asked for one thing only, a callback about once a
//! second, and everything that matters is decided from the clock when a tick arrives.

use std::time::Duration;

use tokio::{sync::mpsc, task::JoinSet, time};
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

/// The name under which the ticker's library logs; what it says at `info` concerns nobody.
pub const TICKER_LOG_TARGET: &str = "tokio_cron_scheduler";

/// How often the clock is looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// How long the crate may say nothing before a tick is made without it. It reckons with the time of day: when that
/// is set back by an hour it is silent for an hour.
const PATIENCE: Duration = Duration::from_secs(3);

/// The ticker could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the ticker of the scheduler; start the daemon again")]
pub struct TriggerError {
    /// What `tokio-cron-scheduler` said.
    #[source]
    source: JobSchedulerError,
}

/// Says about once a second that it is time to look at the clock. Ticks may be late, early or doubled.
pub struct Ticker {
    scheduler: JobScheduler,
    forwarder: JoinSet<()>,
}

impl std::fmt::Debug for Ticker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticker").finish_non_exhaustive()
    }
}

impl Ticker {
    /// Starts to tick into `ticks`. A tick that finds the channel full is left out, so with a channel for one, whoever
    /// is busy for a minute finds one tick, not sixty.
    pub async fn start(ticks: mpsc::Sender<()>) -> Result<Self, TriggerError> {
        let (raw_ticks, raw) = mpsc::channel(1);
        let scheduler = repeat(raw_ticks).await.map_err(|source| TriggerError { source })?;
        let mut forwarder = JoinSet::new();
        forwarder.spawn(forward(raw, ticks));
        Ok(Self { scheduler, forwarder })
    }

    /// Stops to tick and waits until nothing of it runs.
    pub async fn stop(mut self) {
        if let Err(error) = self.scheduler.shutdown().await {
            tracing::debug!(%error, "the ticker did not stop by itself");
        }
        self.forwarder.shutdown().await;
    }
}

async fn repeat(raw_ticks: mpsc::Sender<()>) -> Result<JobScheduler, JobSchedulerError> {
    let scheduler = JobScheduler::new().await?;
    let tick = Job::new_repeated(PERIOD, move |_, _| offer(&raw_ticks))?;
    scheduler.add(tick).await?;
    scheduler.start().await?;
    Ok(scheduler)
}

async fn forward(mut raw: mpsc::Receiver<()>, ticks: mpsc::Sender<()>) {
    while !ticks.is_closed() {
        match time::timeout(PATIENCE, raw.recv()).await {
            Ok(Some(())) => {}
            // The crate's tasks are gone: go on alone, at the same pace.
            Ok(None) => time::sleep(PERIOD).await,
            Err(_) => tracing::debug!("no tick for {} s: the clock was set back", PATIENCE.as_secs()),
        }
        offer(&ticks);
    }
}

/// A full channel already holds a tick that nobody has seen, and a closed one has nobody to see it.
fn offer(ticks: &mpsc::Sender<()>) {
    if ticks.try_send(()).is_err() {
        tracing::trace!("a tick is waiting already");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_ticks_and_stops() {
        let (sender, mut ticks) = mpsc::channel(1);
        let ticker = Ticker::start(sender).await.unwrap();
        for _ in 0..2 {
            time::timeout(Duration::from_secs(10), ticks.recv()).await.unwrap().unwrap();
        }
        ticker.stop().await;
        while ticks.recv().await.is_some() {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_crate_does_not_silence_the_ticks() {
        let (_raw_ticks, raw) = mpsc::channel(1);
        let (sender, mut ticks) = mpsc::channel(1);
        let mut forwarder = JoinSet::new();
        forwarder.spawn(forward(raw, sender));
        let began = time::Instant::now();
        ticks.recv().await.unwrap();
        assert_eq!(began.elapsed(), PATIENCE);
        forwarder.shutdown().await;
    }
}
