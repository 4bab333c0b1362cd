//! [`Scheduler`]: feeds the board with ticks, requests and ended runs, and owns the tasks of the runs.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use convault_core::{Clock, JobName};
use tokio::{
    sync::{mpsc, watch},
    task::{Id, JoinError, JoinSet},
    time,
};
use tokio_util::sync::CancellationToken;

use crate::{
    board::{Board, Now},
    handle::{Command, Handle, RequestError},
    job::ScheduledJob,
    runner::{Cancel, CancelReason, Outcome, Run, Runner},
    state::Ended,
};

/// How long a run may take to stop once its time is up, before it is dropped.
const TIME_OUT_GRACE: Duration = Duration::from_mins(1);

/// How often the log says what a stop waits for.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// A list of jobs that cannot be scheduled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchedulerError {
    /// Two jobs have one name.
    #[error("two jobs are named {0}: rename one")]
    DuplicateJob(JobName),
}

/// How a scheduler is stopped.
#[derive(Debug, Clone)]
pub struct Stop {
    /// Start nothing more, ask what runs to stop, and wait for it.
    pub begin: CancellationToken,
    /// Wait no longer: drop what still runs. For the second signal.
    pub at_once: CancellationToken,
    /// How long to wait.
    pub grace: Duration,
}

/// How a stop went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StopReport {
    /// Jobs whose run ended by itself after the stop began.
    pub ended: Vec<JobName>,
    /// Jobs whose run was dropped where it was.
    pub dropped: Vec<JobName>,
}

/// Runs jobs when they are due. Made with what it is to run, then consumed by [`Scheduler::run`].
#[derive(Debug)]
pub struct Scheduler<R: Runner> {
    runner: Arc<R>,
    clock: Arc<dyn Clock>,
    board: Board<R::Wish>,
    tasks: JoinSet<Left>,
    places: HashMap<Id, usize>,
    commands: mpsc::Receiver<Command<R::Wish>>,
    states: watch::Sender<Vec<crate::JobState>>,
}

impl<R: Runner> Scheduler<R> {
    /// A scheduler of `jobs` that runs at most `cap` of them at once, and the handle to ask it. `seed` decides each
    /// job's place within its jitter; give one machine the same seed at every start.
    pub fn new(
        jobs: Vec<ScheduledJob>,
        runner: Arc<R>,
        clock: Arc<dyn Clock>,
        cap: NonZeroUsize,
        seed: u64,
    ) -> Result<(Self, Handle<R::Wish>), SchedulerError> {
        let mut names = HashSet::new();
        if let Some(twice) = jobs.iter().find(|job| !names.insert(&job.name)) {
            return Err(SchedulerError::DuplicateJob(twice.name.clone()));
        }
        let board = Board::new(jobs, cap, seed, look(&*clock));
        let (sender, commands) = mpsc::channel(16);
        let (states, readable) = watch::channel(board.states());
        let handle = Handle { commands: sender, states: readable };
        let (tasks, places) = (JoinSet::new(), HashMap::new());
        Ok((Self { runner, clock, board, tasks, places, commands, states }, handle))
    }

    /// Runs until `stop` says otherwise. At each tick it looks at the clock; ticks may come late or doubled. If the
    /// ticks end, it stops as if asked to.
    pub async fn run(mut self, mut ticks: mpsc::Receiver<()>, stop: Stop) -> StopReport {
        self.board.tick(look(&*self.clock));
        loop {
            self.start_what_may();
            self.publish();
            tokio::select! {
                biased;
                () = stop.begin.cancelled() => break,
                Some(joined) = self.tasks.join_next_with_id() => {
                    self.joined(joined);
                }
                Some(command) = self.commands.recv() => self.obey(command),
                tick = ticks.recv() => {
                    if tick.is_none() {
                        tracing::error!("the ticker ended: nothing can be due any more, so the scheduler stops");
                        break;
                    }
                    self.board.tick(look(&*self.clock));
                }
            }
        }
        self.stop(&stop).await
    }

    fn publish(&self) {
        let states = self.board.states();
        self.states.send_if_modified(|old| {
            let changed = *old != states;
            *old = states;
            changed
        });
    }

    fn start_what_may(&mut self) {
        while let Some((place, run)) = self.board.start_next(look(&*self.clock)) {
            // A run that another daemon does is looked at every minute: once is enough to say.
            if run.postponed == 0 {
                tracing::info!(job = %run.job, attempt = run.attempt, why = ?run.why, "run starts");
            }
            let time_out = self.board.job(place).time_out;
            let task = self.tasks.spawn(supervise(Arc::clone(&self.runner), run, time_out));
            self.places.insert(task.id(), place);
        }
    }

    /// Notes that a run ended, and gives its job.
    fn joined(&mut self, joined: Result<(Id, Left), JoinError>) -> Option<JobName> {
        let (id, left) = match joined {
            Ok(left) => left,
            Err(error) => (error.id(), Left::Ended(Ended::Panicked)),
        };
        let place = self.places.remove(&id)?;
        let name = self.board.job(place).name.clone();
        match left {
            Left::Ended(ended) => self.ended(place, &name, ended),
            Left::Postponed { after } => self.postponed(place, &name, after),
        }
        Some(name)
    }

    fn ended(&mut self, place: usize, name: &JobName, ended: Ended) {
        if ended == Ended::Panicked {
            tracing::error!(job = %name, "the run panicked, which is a bug: please report it with the lines above");
        }
        tracing::info!(job = %name, ?ended, "run ended");
        self.board.ended(place, ended, look(&*self.clock));
    }

    fn postponed(&mut self, place: usize, name: &JobName, after: Duration) {
        tracing::debug!(job = %name, after_seconds = after.as_secs(), "run postponed");
        if let Some(wish) = self.board.postponed(place, after, look(&*self.clock)) {
            tracing::info!(job = %name, ?wish, "a postponed run will not start, since the scheduler stops");
            self.runner.dropped(name, wish);
        }
    }

    /// Whoever asked may have gone; then nobody misses the answer.
    fn obey(&mut self, command: Command<R::Wish>) {
        let missed = match command {
            Command::Request { job, wish, reply } => reply.send(self.board.request(&job, wish)).is_err(),
            Command::Withdraw { job, matcher, reply } => {
                reply.send(self.board.withdraw(&job, matcher)).is_err()
            }
        };
        if missed {
            tracing::debug!("nobody waited for the answer to a request");
        }
    }

    async fn stop(mut self, stop: &Stop) -> StopReport {
        self.refuse_what_waits();
        self.board.cancel_all(CancelReason::Stopping);
        let mut report = StopReport::default();
        let deadline = time::Instant::now() + stop.grace;
        let mut reports = time::interval(REPORT_EVERY);
        while !self.tasks.is_empty() {
            self.publish();
            tokio::select! {
                biased;
                () = stop.at_once.cancelled() => break,
                Some(joined) = self.tasks.join_next_with_id() => report.ended.extend(self.joined(joined)),
                () = time::sleep_until(deadline) => break,
                _ = reports.tick() => self.log_what_runs(deadline),
            }
        }
        report.dropped = self.board.running().map(|(name, _)| name.clone()).collect();
        for job in &report.dropped {
            tracing::warn!(%job, "the run did not stop in time and is dropped; the next start cleans up after it");
        }
        self.tasks.shutdown().await;
        report
    }

    fn refuse_what_waits(&mut self) {
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Request { reply, .. } = command
                && reply.send(Err(RequestError::Stopping)).is_err()
            {
                tracing::debug!("nobody waited for the answer to a request");
            }
        }
        for (job, wish) in self.board.clear() {
            tracing::info!(%job, ?wish, "a requested run will not start, since the scheduler stops");
            self.runner.dropped(&job, wish);
        }
    }

    fn log_what_runs(&self, deadline: time::Instant) {
        let left_seconds = deadline.saturating_duration_since(time::Instant::now()).as_secs();
        for (job, since) in self.board.running() {
            tracing::info!(%job, %since, left_seconds, "waiting for the run to stop");
        }
    }
}

fn look(clock: &dyn Clock) -> Now {
    Now { time: clock.now(), instant: clock.instant() }
}

/// What a run left behind.
#[derive(Debug)]
enum Left {
    Ended(Ended),
    Postponed { after: Duration },
}

/// One run, from its start until nothing of it goes on any more.
async fn supervise<R: Runner>(runner: Arc<R>, run: Run<R::Wish>, time_out: Duration) -> Left {
    let (job, cancel) = (run.job.clone(), run.cancel.clone());
    let going_on = runner.run(run);
    tokio::pin!(going_on);
    if let Ok(outcome) = time::timeout(time_out, &mut going_on).await {
        return judge(Some(outcome), &cancel);
    }
    tracing::warn!(%job, limit_seconds = time_out.as_secs(), "the run takes longer than it may; cancelling it");
    cancel.cancel(CancelReason::TimeOut);
    judge(time::timeout(TIME_OUT_GRACE, &mut going_on).await.ok(), &cancel)
}

/// `None` is a run that did not stop when its time was up.
fn judge(outcome: Option<Outcome>, cancel: &Cancel) -> Left {
    Left::Ended(match outcome {
        Some(Outcome::Succeeded) => Ended::Succeeded,
        Some(Outcome::Failed { retryable }) => Ended::Failed { retryable },
        Some(Outcome::Postponed { after }) => return Left::Postponed { after },
        Some(Outcome::Cancelled) if cancel.reason() != Some(CancelReason::TimeOut) => Ended::Cancelled,
        Some(Outcome::Cancelled) | None => Ended::TimedOut,
    })
}
