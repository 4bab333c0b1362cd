//! What anyone can read about a job.

use convault_core::JobName;
use jiff::Timestamp;

/// What a job is doing and will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobState {
    /// The job.
    pub name: JobName,
    /// Its group.
    pub group: String,
    /// The next due time, without jitter; `None` without a schedule or where none will come.
    pub next_due: Option<Timestamp>,
    /// When the run for that due time starts: the due time plus the job's jitter.
    pub next_start: Option<Timestamp>,
    /// The run that is going on.
    pub running: Option<RunningState>,
    /// Runs that wait for their job, their group, the cap, or the time they were postponed to.
    pub waiting: usize,
    /// Until when the next of them is postponed, by the time of day as it was when that was said.
    pub postponed: Option<Timestamp>,
    /// The attempt that waits for its time.
    pub retry: Option<RetryState>,
    /// The newest run that has ended since the start.
    pub last: Option<LastRun>,
    /// Further attempts started after a failure, since the start.
    pub retries: u64,
}

/// A run that is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningState {
    /// When it began.
    pub since: Timestamp,
    /// Why.
    pub cause: Cause,
    /// Which attempt it is; 1 is the first.
    pub attempt: u32,
}

/// An attempt that waits for its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryState {
    /// Which attempt it will be.
    pub attempt: u32,
    /// When it may start, by the time of day as it was when the last attempt failed.
    pub at: Timestamp,
}

/// A run that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRun {
    /// Why it ran.
    pub cause: Cause,
    /// Which attempt it was.
    pub attempt: u32,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// How it ended.
    pub ended: Ended,
}

/// Why a run started, without what only its runner needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It was due.
    Scheduled,
    /// It was due while nothing ran here.
    CatchUp,
    /// An earlier attempt failed.
    Retry,
    /// Somebody asked.
    Requested,
}

/// How a run ended, in the eyes of the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its runner said so.
    Succeeded,
    /// Its runner said so.
    Failed {
        /// Whether another attempt can help.
        retryable: bool,
    },
    /// It was asked to stop, and did.
    Cancelled,
    /// Its time was up; counts as a failure that another attempt can mend.
    TimedOut,
    /// Its runner panicked: a bug. Not tried again.
    Panicked,
}

impl Ended {
    /// Whether another attempt can help.
    pub fn retryable(self) -> bool {
        matches!(self, Self::Failed { retryable: true } | Self::TimedOut)
    }
}
