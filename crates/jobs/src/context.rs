//! What every run is handed: its identifier, the time, somewhere to tell what it does, and a way to be stopped.

use std::{fmt, sync::Arc, time::Duration};

use convault_core::{Clock, RunEvent, RunId, RunPhase};
use tokio_util::sync::CancellationToken;

use crate::{HeldLease, JobError};

/// Long enough for a proxy or a server to come back, short beside the time an export takes.
const DOWNLOAD_PAUSE: Duration = Duration::from_secs(2);

/// The surroundings of one run. Cheap to clone.
#[derive(Clone)]
pub struct RunContext {
    /// The run's identifier.
    pub id: RunId,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// When cancelled, the run stops at its next safe point and leaves nothing half done.
    pub stop: CancellationToken,
    /// The lease under which it runs, where several daemons share the work.
    pub lease: Option<Arc<HeldLease>>,
    /// How long the run waits before it downloads an export a second time; before the third, three times as long.
    pub download_pause: Duration,
    events: Arc<dyn Fn(RunEvent) + Send + Sync>,
}

impl RunContext {
    /// A run that tells `events` what it does. `events` is called often and must not block.
    pub fn new(
        id: RunId,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
        events: Arc<dyn Fn(RunEvent) + Send + Sync>,
    ) -> Self {
        Self { id, clock, stop, lease: None, download_pause: DOWNLOAD_PAUSE, events }
    }

    /// The same run, under a lease.
    #[must_use]
    pub fn under(self, lease: Arc<HeldLease>) -> Self {
        Self { lease: Some(lease), ..self }
    }

    /// The fencing number of the lease, where there is one.
    pub(crate) fn fence(&self) -> Option<u64> {
        self.lease.as_ref().map(|lease| lease.fence())
    }

    /// Makes sure that the lease, where there is one, is still held: asked right before anything is done that a rival
    /// could do as well.
    pub(crate) async fn check_lease(&self) -> Result<(), JobError> {
        match &self.lease {
            Some(lease) => lease.check().await,
            None => Ok(()),
        }
    }

    /// Waits for `work`, or ends with [`JobError::Stopped`] as soon as the run is told to stop; `work` is then dropped.
    pub(crate) async fn or_stop<T>(&self, work: impl Future<Output = T>) -> Result<T, JobError> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(JobError::Stopped),
            done = work => Ok(done),
        }
    }

    /// The error of a run that was stopped, or, where the loss of its lease stopped it, of that.
    pub(crate) fn why_stopped(&self, error: JobError) -> JobError {
        match &self.lease {
            Some(lease) if matches!(error, JobError::Stopped) && lease.lost().is_cancelled() => {
                lease.lost_error()
            }
            _ => error,
        }
    }

    /// Tells one event.
    pub fn tell(&self, event: RunEvent) {
        (self.events)(event);
    }

    /// The same run, for a part of it that has an end of its own: that end is not told, since nothing may follow it.
    pub(crate) fn within(&self) -> Self {
        let tell = Arc::clone(&self.events);
        let events = move |event| {
            if !matches!(event, RunEvent::Finished { .. }) {
                tell(event);
            }
        };
        Self { events: Arc::new(events), ..self.clone() }
    }

    /// Tells that a step begins.
    pub fn phase(&self, phase: RunPhase) {
        tracing::debug!(?phase, "step begins");
        self.tell(RunEvent::Phase { at: self.clock.now(), phase });
    }

    /// Tells something for people.
    pub fn message(&self, text: impl Into<String>) {
        let text = text.into();
        tracing::info!("{text}");
        self.tell(RunEvent::Message { at: self.clock.now(), text });
    }

    /// Tells something that a person should know although the run goes on.
    pub fn warning(&self, text: impl Into<String>) {
        let text = text.into();
        tracing::warn!("{text}");
        self.tell(RunEvent::Warning { at: self.clock.now(), text });
    }
}

impl fmt::Debug for RunContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunContext").field("id", &self.id).finish_non_exhaustive()
    }
}
