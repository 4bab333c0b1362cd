//! [`Handle`]: how others ask for runs and read the state.

use convault_core::JobName;
use tokio::sync::{mpsc, oneshot, watch};

use crate::state::JobState;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The scheduler has no such job.
    #[error("there is no job named {0}")]
    NoSuchJob(JobName),
    /// The scheduler starts nothing any more.
    #[error("the scheduler is stopping")]
    Stopping,
    /// Too many requested runs of this job wait already.
    #[error("{waiting} requested runs of job {job} wait already: let them run first")]
    TooMany {
        /// The job.
        job: JobName,
        /// How many wait.
        waiting: usize,
    },
}

/// Tests one request: whether it is the one that is meant.
pub(crate) type Matcher<W> = Box<dyn Fn(&W) -> bool + Send>;

/// What a handle asks of the scheduler.
pub(crate) enum Command<W> {
    /// Start a run of a job as soon as it may.
    Request { job: JobName, wish: W, reply: oneshot::Sender<Result<(), RequestError>> },
    /// Forget a requested run that still waits.
    Withdraw { job: JobName, matcher: Matcher<W>, reply: oneshot::Sender<Option<W>> },
}

/// Asks for runs and reads the state. Cheap to clone; works until the scheduler has stopped.
#[derive(Debug, Clone)]
pub struct Handle<W> {
    pub(crate) commands: mpsc::Sender<Command<W>>,
    pub(crate) states: watch::Receiver<Vec<JobState>>,
}

impl<W> Handle<W> {
    /// Asks for a run of a job as soon as its job, its group and the cap allow it. Returns when the request is
    /// accepted, not when the run starts. Each request is a run of its own.
    pub async fn request(&self, job: &JobName, wish: W) -> Result<(), RequestError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Request { job: job.clone(), wish, reply };
        self.commands.send(command).await.map_err(|_| RequestError::Stopping)?;
        answer.await.unwrap_or(Err(RequestError::Stopping))
    }

    /// Takes back the first request that `matcher` says yes to and that has not started, and gives it back.
    pub async fn withdraw(&self, job: &JobName, matcher: impl Fn(&W) -> bool + Send + 'static) -> Option<W> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Withdraw { job: job.clone(), matcher: Box::new(matcher), reply };
        self.commands.send(command).await.ok()?;
        answer.await.ok().flatten()
    }

    /// What every job is doing, in the order they were given.
    pub fn jobs(&self) -> Vec<JobState> {
        self.states.borrow().clone()
    }

    /// Waits until something has changed since the last call on this handle; false once the scheduler is gone.
    pub async fn changed(&mut self) -> bool {
        self.states.changed().await.is_ok()
    }
}
