//! What the daemon knows of itself: the one place that runs report to, and that the HTTP endpoint, the Unix socket
//! and the metrics read from.

mod feed;
mod state;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use async_trait::async_trait;
use convault_core::{
    Abilities, Clock, Control, ControlError, DeploymentName, DestinationName, DestinationResult, JobName,
    Journal, MarkWish, RunEvent, RunId, RunRecord, StartRequest, Status, Verb,
};
use convault_scheduler::{Cancel, CancelReason, Handle, RequestError};
use futures::stream::BoxStream;
use jiff::Timestamp;

pub(crate) use self::state::{failed_in, held_back, went_through};
use self::{
    feed::{Feed, Watcher},
    state::State,
};
use crate::{
    look::{DrillHolding, Holding, MirrorHolding},
    worker::Worker,
};

/// Feeds of ended runs that are kept for whoever comes late.
const REMEMBERED_FEEDS: usize = 64;

/// A wish for a run, with the identifier that was promised to whoever asked.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) id: RunId,
    pub(crate) request: StartRequest,
}

/// What the daemon knows of itself.
pub(crate) struct Hub {
    clock: Arc<dyn Clock>,
    journal: Arc<dyn Journal>,
    worker: Arc<Worker>,
    scheduler: OnceLock<Handle<Wish>>,
    started: Timestamp,
    state: Arc<Mutex<State>>,
}

impl Hub {
    /// A hub for the jobs, the verify tasks and the destinations of the worker's settings.
    pub(crate) fn new(worker: Arc<Worker>) -> Self {
        let (clock, journal) = (Arc::clone(&worker.clock), Arc::clone(&worker.journal));
        let started = clock.now();
        let state = State::new(&worker, started);
        Self {
            clock,
            journal,
            worker,
            scheduler: OnceLock::new(),
            started,
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over the scheduler, once it exists.
    pub(crate) fn connect(&self, scheduler: Handle<Wish>) {
        // A second scheduler does not exist in one process; the first one stays.
        drop(self.scheduler.set(scheduler));
    }

    /// Says why the daemon is not ready; nothing means that it is.
    pub(crate) fn set_not_ready(&self, reasons: Vec<String>) {
        self.state().not_ready = reasons;
    }

    /// Takes over from the history what happened before the start.
    pub(crate) async fn remember(&self) -> Result<(), convault_core::JournalError> {
        let names = self.state().names();
        for name in names {
            let runs = self.journal.runs(Some(&name), 50).await?;
            let success = self.journal.last_success(&name).await?;
            self.state().remember(&name, runs, success);
        }
        Ok(())
    }

    /// A run begins. What it tells goes into its feed.
    pub(crate) fn begin(&self, id: &RunId, job: &JobName, verb: Verb, retry: bool, cancel: Cancel) {
        let mut state = self.state();
        let feed = state.feeds.entry(id.clone()).or_insert_with(|| Feed::new(job.clone()));
        feed.cancel = Some(cancel);
        if let Some(status) = state.job_mut(job) {
            status.running = Some(id.clone());
            status.retries += u64::from(retry && verb == Verb::Backup);
        } else if let Some(status) = state.mirror_mut(job) {
            status.running = Some(id.clone());
        } else if let Some(status) = state.drill_mut(job) {
            status.running = Some(id.clone());
        }
        let ended: Vec<RunId> =
            state.feeds.iter().filter(|(_, feed)| feed.finished).map(|(id, _)| id.clone()).collect();
        for old in ended.iter().take(ended.len().saturating_sub(REMEMBERED_FEEDS)) {
            state.feeds.remove(old);
        }
    }

    /// A run did not take place, since the work is done or another daemon does it. One that somebody asked for waits
    /// again, and can be withdrawn; nobody looks for any other.
    pub(crate) fn put_back(&self, id: &RunId, job: &JobName, requested: bool) {
        let mut state = self.state();
        if let Some(status) = state.job_mut(job) {
            status.running = None;
        } else if let Some(status) = state.mirror_mut(job) {
            status.running = None;
        } else if let Some(status) = state.drill_mut(job) {
            status.running = None;
        }
        if !requested {
            state.feeds.remove(id);
        } else if let Some(feed) = state.feeds.get_mut(id) {
            feed.cancel = None;
        }
    }

    /// A run tells something.
    pub(crate) fn tell(&self, id: &RunId, event: RunEvent) {
        if let Some(feed) = self.state().feeds.get_mut(id) {
            feed.add(event);
        }
    }

    /// A wish that never became a run ends as cancelled, so that nobody waits for it.
    pub(crate) fn drop_wish(&self, job: &JobName, wish: &Wish, why: &str) {
        let now = self.clock.now();
        let mut state = self.state();
        let Some(record) = state.never_begun(job, wish, why, now) else { return };
        if let Some(feed) = state.feeds.get_mut(&wish.id) {
            feed.add(RunEvent::Finished { record: Box::new(record) });
        }
    }

    /// A run has ended.
    pub(crate) fn end(&self, record: &RunRecord) {
        self.state().end(record);
    }

    /// What a destination was seen to hold of a deployment, or why it could not be looked at. After a run whose pruning
    /// went through (`settled`) that is what is known to be there; any other look takes nothing off what was known.
    pub(crate) fn set_holding(
        &self,
        destination: &DestinationName,
        deployment: &DeploymentName,
        seen: Result<Holding, String>,
        settled: bool,
    ) {
        let now = self.clock.now();
        self.state().set_holding(destination, deployment, seen, settled, now);
    }

    /// What the destination of a mirror was seen to hold of it.
    pub(crate) fn set_mirror_holding(&self, task: &JobName, seen: &MirrorHolding) {
        if let Some(status) = self.state().mirror_mut(task) {
            state::set_mirror_holding(status, seen);
        }
    }

    /// What drills were seen to have proven.
    pub(crate) fn set_drill_holding(&self, task: &JobName, seen: &DrillHolding) {
        if let Some(status) = self.state().drill_mut(task) {
            state::set_drill_holding(status, seen);
        }
    }

    /// What a destination was seen to be able to do.
    pub(crate) fn set_abilities(&self, destination: &DestinationName, abilities: Abilities) {
        if let Some(status) = self.state().destination_mut(destination) {
            status.abilities = Some(abilities);
        }
    }

    /// How many snapshots of a deployment are known to be in each destination.
    pub(crate) fn known(&self, deployment: &DeploymentName) -> BTreeMap<DestinationName, u64> {
        self.state().known_of(deployment)
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

#[async_trait]
impl Control for Hub {
    fn status(&self) -> Status {
        let due: BTreeMap<JobName, Option<Timestamp>> = self
            .scheduler
            .get()
            .map(|scheduler| scheduler.jobs().into_iter().map(|job| (job.name, job.next_due)).collect())
            .unwrap_or_default();
        let next_due = |name: &JobName| due.get(name).copied().flatten();
        let state = self.state();
        let mut jobs = state.jobs.clone();
        for job in &mut jobs {
            job.next_due = next_due(&job.job);
        }
        let verifying = state.verifying.iter().map(|(name, status)| {
            let next_due = next_due(name);
            convault_core::VerifyStatus { next_due, ..status.clone() }
        });
        let mirrors = state.mirrors.iter().map(|(name, status)| {
            let next_due = next_due(name);
            convault_core::MirrorStatus { next_due, ..status.clone() }
        });
        let watching = state.watching.iter().map(|(name, status)| {
            let next_due = next_due(name);
            convault_core::WatchStatus { next_due, ..status.clone() }
        });
        let drills = state.drills.iter().map(|(name, status)| {
            let next_due = next_due(name);
            convault_core::DrillStatus { next_due, ..status.clone() }
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started,
            now: self.clock.now(),
            not_ready: state.not_ready.clone(),
            jobs,
            destinations: state.destinations.clone(),
            verifying: verifying.collect(),
            mirrors: mirrors.collect(),
            watching: watching.collect(),
            drills: drills.collect(),
            coordination: self.worker.sharing.as_ref().map(crate::worker::Sharing::status),
        }
    }

    async fn runs(&self, limit: usize) -> Result<Vec<RunRecord>, ControlError> {
        self.journal
            .runs(None, limit)
            .await
            .map_err(|error| ControlError::Other(convault_jobs::chain(&error)))
    }

    async fn start(&self, request: StartRequest) -> Result<RunId, ControlError> {
        let scheduler =
            self.scheduler.get().ok_or_else(|| ControlError::Other("the daemon is starting".to_owned()))?;
        let request = fitting(request)?;
        let id = RunId::new(self.clock.now(), rand::random());
        let job = request.job.clone();
        // The feed is there before the run can be, so that whoever asked can watch at once.
        self.state().feeds.insert(id.clone(), Feed::new(job.clone()));
        let requested = scheduler.request(&job, Wish { id: id.clone(), request }).await;
        if let Err(error) = requested {
            self.state().feeds.remove(&id);
            return Err(match error {
                RequestError::NoSuchJob(job) => ControlError::NoSuchJob(job),
                RequestError::Stopping => ControlError::Stopping,
                RequestError::TooMany { .. } => ControlError::Other(error.to_string()),
            });
        }
        Ok(id)
    }

    async fn mark(&self, wish: MarkWish) -> Result<Vec<DestinationResult>, ControlError> {
        let results = self.worker.mark(&wish).await;
        for result in results.iter().filter(|result| result.problem.is_none()) {
            crate::look::look(&self.worker, self, &result.destination, &wish.deployment, false).await;
        }
        Ok(results)
    }

    async fn cancel(&self, run: &RunId) -> Result<(), ControlError> {
        let job = {
            let state = self.state();
            let feed = state.feeds.get(run).filter(|feed| !feed.finished);
            let feed = feed.ok_or_else(|| ControlError::NoSuchRun(run.clone()))?;
            if let Some(cancel) = &feed.cancel {
                cancel.cancel(CancelReason::Asked);
                return Ok(());
            }
            feed.job.clone()
        };
        let wanted = run.clone();
        let withdrawn = match self.scheduler.get() {
            Some(scheduler) => scheduler.withdraw(&job, move |wish| wish.id == wanted).await,
            None => None,
        };
        match withdrawn {
            Some(wish) => {
                self.drop_wish(&job, &wish, "it was cancelled before it began");
                Ok(())
            }
            None => Err(ControlError::NoSuchRun(run.clone())),
        }
    }

    fn watch(&self, run: &RunId, after: u64) -> Result<BoxStream<'static, (u64, RunEvent)>, ControlError> {
        let next = match self.state().feeds.get(run) {
            Some(feed) => feed.next.subscribe(),
            None => return Err(ControlError::NoSuchRun(run.clone())),
        };
        let watcher = Watcher::new(Arc::clone(&self.state), run.clone(), next, after);
        Ok(Box::pin(futures::stream::unfold(watcher, Watcher::next_event)))
    }
}

/// Each task does the one thing it is there for, and a job everything else.
fn fitting(request: StartRequest) -> Result<StartRequest, ControlError> {
    if request.job.as_mirror().is_some() {
        return Ok(StartRequest { verb: Verb::Mirror, ..request });
    }
    if request.job.as_drill().is_some() {
        return Ok(StartRequest { verb: Verb::Drill, ..request });
    }
    if request.job.is_watch() {
        return Ok(StartRequest { verb: Verb::Watch, ..request });
    }
    if request.job.is_task() {
        return Ok(StartRequest { verb: Verb::Verify, ..request });
    }
    if request.verb == Verb::Verify {
        let text = "a job is not verified; its verify tasks are named verify/DESTINATION/DEPLOYMENT";
        return Err(ControlError::Other(text.to_owned()));
    }
    if request.verb == Verb::Watch {
        let text = "a job is not watched; the looks at its secrets are named watch/JOB";
        return Err(ControlError::Other(text.to_owned()));
    }
    if request.verb == Verb::Drill {
        let text = "a job is no drill; the tasks of drills are named drill/NAME";
        return Err(ControlError::Other(text.to_owned()));
    }
    if request.verb == Verb::Restore {
        let text = "the daemon restores nothing; `convault restore` does";
        return Err(ControlError::Other(text.to_owned()));
    }
    if request.verb == Verb::Mirror {
        let text = "a job is no mirror; the tasks of mirrors are named mirror/NAME";
        return Err(ControlError::Other(text.to_owned()));
    }
    Ok(request)
}
