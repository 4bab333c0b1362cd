//! [`Runner`]: what the caller does when a run starts.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use convault_core::JobName;
use jiff::Timestamp;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// Why a run starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why<W> {
    /// It was due.
    Scheduled {
        /// The due time, without jitter.
        due: Timestamp,
    },
    /// It was due at a time when nothing ran here.
    CatchUp {
        /// The newest due time that was missed.
        due: Timestamp,
    },
    /// An earlier attempt failed.
    Retry {
        /// The due time of the first attempt.
        due: Timestamp,
    },
    /// Somebody asked for it.
    Requested(W),
}

impl<W> Why<W> {
    /// The due time, for a run that the schedule asked for.
    pub fn due(&self) -> Option<Timestamp> {
        match self {
            Self::Scheduled { due } | Self::CatchUp { due } | Self::Retry { due } => Some(*due),
            Self::Requested(_) => None,
        }
    }
}

/// How a run went, in the eyes of its runner.
///
/// [`Outcome::Postponed`] is for a run that could not take place, since somebody else works on the same thing: the
/// same run (its due time, or its wish) waits again, at the head of its job's runs, and starts no earlier than `after`
/// from now. It counts neither as an attempt nor as a failure, and meanwhile holds up no other job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Succeeded,
    /// Not done.
    Failed {
        /// Whether another attempt can help.
        retryable: bool,
    },
    /// It stopped because it was asked to. Never tried again, unless its time was up.
    Cancelled,
    /// Nothing was done yet: give the same run back later.
    Postponed {
        /// How much later.
        after: Duration,
    },
}

/// Why a run was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// Somebody asked for that.
    Asked,
    /// It took longer than it may.
    TimeOut,
    /// The daemon stops.
    Stopping,
}

/// The wish that a run stops at its next safe point. Clones are the same wish.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    token: CancellationToken,
    reason: Arc<OnceLock<CancelReason>>,
}

impl Cancel {
    /// Asks the run to stop. The first reason stays.
    pub fn cancel(&self, reason: CancelReason) {
        self.reason.get_or_init(|| reason);
        self.token.cancel();
    }

    /// Why it was asked to stop; `None` until it is.
    pub fn reason(&self) -> Option<CancelReason> {
        self.reason.get().copied()
    }

    /// Waits until it is asked to stop.
    pub fn cancelled(&self) -> WaitForCancellationFuture<'_> {
        self.token.cancelled()
    }

    /// The token underneath, for code that takes one. Cancel through [`Cancel::cancel`], which keeps the reason.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }
}

/// A run, as its runner gets it.
#[derive(Debug, Clone)]
pub struct Run<W> {
    /// The job.
    pub job: JobName,
    /// Why it starts.
    pub why: Why<W>,
    /// Which attempt this is; 1 is the first.
    pub attempt: u32,
    /// How often it was postponed before, so that a runner can say why once and not every minute.
    pub postponed: u32,
    /// Whether the scheduler tries again if this fails and another attempt can help.
    pub more_attempts: bool,
    /// Tells when to stop.
    pub cancel: Cancel,
}

/// Does what a job is for.
#[async_trait]
pub trait Runner: Send + Sync + 'static {
    /// What a request carries to its run: an identifier, tags.
    type Wish: std::fmt::Debug + Clone + Send + Sync + 'static;

    /// Runs a job once and returns when nothing of it goes on any more. When [`Run::cancel`] fires it should return
    /// within a minute; a run that does not is dropped at its next point of waiting.
    async fn run(&self, run: Run<Self::Wish>) -> Outcome;

    /// A requested run will never start, or not again after it was postponed, because the scheduler stops.
    fn dropped(&self, job: &JobName, wish: Self::Wish);
}
