//! What the daemon knows of itself: the one place that runs report to, and that the HTTP endpoint, the Unix socket
//! and the metrics read from.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use async_trait::async_trait;
use convault_core::{
    Clock, Control, ControlError, DeploymentName, DestinationName, DestinationStatus, JobName, JobStatus,
    Journal, RunEvent, RunId, RunOutcome, RunRecord, StartRequest, Status, Verb,
};
use convault_jobs::Inventory;
use convault_scheduler::{Cancel, CancelReason, Handle, RequestError};
use convault_settings::Settings;
use futures::stream::BoxStream;
use jiff::Timestamp;
use tokio::sync::watch;

/// Feeds of ended runs that are kept for whoever comes late.
const REMEMBERED_FEEDS: usize = 64;
/// Events kept of one run; progress events count once, since only the newest matters.
const REMEMBERED_EVENTS: usize = 2_000;

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
    scheduler: OnceLock<Handle<Wish>>,
    started: Timestamp,
    state: Arc<Mutex<State>>,
}

struct State {
    not_ready: Vec<String>,
    jobs: Vec<JobStatus>,
    destinations: Vec<DestinationStatus>,
    feeds: BTreeMap<RunId, Feed>,
}

/// What one run has told so far.
struct Feed {
    events: VecDeque<(u64, RunEvent)>,
    next: watch::Sender<u64>,
    finished: bool,
    cancel: Option<Cancel>,
    job: JobName,
}

impl Feed {
    fn new(job: JobName) -> Self {
        Self { events: VecDeque::new(), next: watch::Sender::new(0), finished: false, cancel: None, job }
    }

    fn add(&mut self, event: RunEvent) {
        self.finished |= matches!(event, RunEvent::Finished { .. });
        let is_progress = |event: &RunEvent| matches!(event, RunEvent::Transferred { .. });
        let replaces = is_progress(&event) && self.events.back().is_some_and(|(_, last)| is_progress(last));
        if replaces || self.events.len() == REMEMBERED_EVENTS {
            if replaces {
                self.events.pop_back()
            } else {
                self.events.pop_front()
            };
        }
        let number = *self.next.borrow();
        self.events.push_back((number, event));
        self.next.send_replace(number + 1);
    }

    fn first_from(&self, number: u64) -> Option<(u64, RunEvent)> {
        self.events.iter().find(|(own, _)| *own >= number).cloned()
    }
}

impl Hub {
    /// A hub for the jobs and destinations of the settings; `locations` says where each destination is, for people.
    pub(crate) fn new(
        settings: &Settings,
        locations: &BTreeMap<DestinationName, String>,
        clock: Arc<dyn Clock>,
        journal: Arc<dyn Journal>,
    ) -> Self {
        let started = clock.now();
        let jobs = settings.jobs.iter().map(|job| job_status(job, started)).collect();
        let destinations = settings
            .destinations
            .iter()
            .map(|destination| DestinationStatus {
                destination: destination.name.clone(),
                location: locations.get(&destination.name).cloned().unwrap_or_default(),
                up: None,
                problem: None,
                checked: None,
                snapshots: BTreeMap::new(),
                suspect: BTreeMap::new(),
                stored_bytes: BTreeMap::new(),
            })
            .collect();
        let state =
            State { not_ready: vec!["starting".to_owned()], jobs, destinations, feeds: BTreeMap::new() };
        Self { clock, journal, scheduler: OnceLock::new(), started, state: Arc::new(Mutex::new(state)) }
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
        let names: Vec<JobName> = self.state().jobs.iter().map(|job| job.job.clone()).collect();
        for name in names {
            let runs = self.journal.runs(Some(&name), 50).await?;
            let success = self.journal.last_success(&name).await?;
            let mut state = self.state();
            let Some(job) = state.jobs.iter_mut().find(|job| job.job == name) else { continue };
            job.last_attempt = runs.into_iter().find(|run| run.outcome.is_some() && run.verb == Verb::Backup);
            job.last_success = success;
        }
        Ok(())
    }

    /// A run begins. What it tells goes into its feed.
    pub(crate) fn begin(&self, id: &RunId, job: &JobName, verb: Verb, retry: bool, cancel: Cancel) {
        let mut state = self.state();
        let feed = state.feeds.entry(id.clone()).or_insert_with(|| Feed::new(job.clone()));
        feed.cancel = Some(cancel);
        if let Some(status) = state.jobs.iter_mut().find(|status| status.job == *job) {
            status.running = Some(id.clone());
            status.retries += u64::from(retry && verb == Verb::Backup);
        }
        let ended: Vec<RunId> =
            state.feeds.iter().filter(|(_, feed)| feed.finished).map(|(id, _)| id.clone()).collect();
        for old in ended.iter().take(ended.len().saturating_sub(REMEMBERED_FEEDS)) {
            state.feeds.remove(old);
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
        let Some(status) = state.jobs.iter().find(|status| status.job == *job) else { return };
        let record = RunRecord {
            id: wish.id.clone(),
            job: job.clone(),
            deployment: status.deployment.clone(),
            verb: wish.request.verb,
            scheduled: false,
            due: None,
            started: now,
            finished: Some(now),
            outcome: Some(RunOutcome::Cancelled),
            message: why.to_owned(),
            snapshot: None,
            snapshot_time: None,
            destinations: Vec::new(),
            read_bytes: 0,
            documents: 0,
            files: 0,
            warnings: Vec::new(),
            retryable: true,
        };
        if let Some(feed) = state.feeds.get_mut(&wish.id) {
            feed.add(RunEvent::Finished { record: Box::new(record) });
        }
    }

    /// A run has ended.
    pub(crate) fn end(&self, record: &RunRecord) {
        let mut state = self.state();
        if let Some(feed) = state.feeds.get_mut(&record.id) {
            feed.cancel = None;
            if !feed.finished {
                feed.add(RunEvent::Finished { record: Box::new(record.clone()) });
            }
        }
        if let Some(job) = state.jobs.iter_mut().find(|job| job.job == record.job) {
            job.running = None;
            if record.verb == Verb::Backup {
                count(job, record);
            }
        }
        for result in &record.destinations {
            let found = state.destinations.iter_mut().find(|status| status.destination == result.destination);
            if let Some(status) = found {
                status.up = Some(result.problem.is_none());
                status.problem.clone_from(&result.problem);
                status.checked = record.finished;
            }
        }
    }

    /// What a destination was seen to hold of a deployment, or why it could not be looked at.
    pub(crate) fn set_inventory(
        &self,
        destination: &DestinationName,
        deployment: &DeploymentName,
        seen: Result<Inventory, String>,
    ) {
        let now = self.clock.now();
        let mut state = self.state();
        let Some(status) = state.destinations.iter_mut().find(|status| status.destination == *destination)
        else {
            return;
        };
        status.checked = Some(now);
        status.up = Some(seen.is_ok());
        match seen {
            Ok(inventory) => {
                status.problem = None;
                status.snapshots.insert(deployment.clone(), inventory.good);
                status.suspect.insert(deployment.clone(), inventory.suspect);
                status.stored_bytes.insert(deployment.clone(), inventory.stored_bytes);
            }
            Err(problem) => status.problem = Some(problem),
        }
    }
}

fn job_status(job: &convault_settings::JobSettings, now: Timestamp) -> JobStatus {
    let schedule = job.schedule.as_ref();
    JobStatus {
        job: job.name.clone(),
        deployment: job.deployment.clone(),
        destinations: job.to.clone(),
        schedule: schedule.map(|schedule| schedule.expression().to_owned()),
        time_zone: schedule.map_or_else(|| "UTC".to_owned(), |schedule| schedule.time_zone_name().to_owned()),
        next_due: None,
        expected_interval_seconds: schedule.and_then(|schedule| schedule.expected_interval_seconds(now)),
        running: None,
        last_attempt: None,
        last_success: None,
        runs: RunOutcome::ALL.iter().map(|outcome| (outcome.as_str().to_owned(), 0)).collect(),
        retries: 0,
        read_bytes: 0,
        stored_bytes: 0,
        durations: convault_core::DurationHistogram::default(),
    }
}

fn count(job: &mut JobStatus, record: &RunRecord) {
    let Some(outcome) = record.outcome else { return };
    *job.runs.entry(outcome.as_str().to_owned()).or_default() += 1;
    job.read_bytes += record.read_bytes;
    job.stored_bytes += record.stored_bytes();
    if let Some(seconds) = record.elapsed_seconds() {
        job.durations.observe(seconds);
    }
    if matches!(outcome, RunOutcome::Good | RunOutcome::Partial) {
        job.last_success = Some(record.clone());
    }
    job.last_attempt = Some(record.clone());
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
        let state = self.state();
        let mut jobs = state.jobs.clone();
        for job in &mut jobs {
            job.next_due = due.get(&job.job).copied().flatten();
        }
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started,
            now: self.clock.now(),
            not_ready: state.not_ready.clone(),
            jobs,
            destinations: state.destinations.clone(),
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
        let watcher =
            Watcher { state: Arc::clone(&self.state), run: run.clone(), next, from: after, done: false };
        Ok(Box::pin(futures::stream::unfold(watcher, Watcher::next_event)))
    }
}

/// One reader of one feed.
struct Watcher {
    state: Arc<Mutex<State>>,
    run: RunId,
    next: watch::Receiver<u64>,
    from: u64,
    done: bool,
}

impl Watcher {
    async fn next_event(mut self) -> Option<((u64, RunEvent), Self)> {
        while !self.done {
            self.next.borrow_and_update();
            if let Some((number, event)) = self.find() {
                self.from = number + 1;
                self.done = matches!(event, RunEvent::Finished { .. });
                return Some(((number, event), self));
            }
            // The feed was forgotten: whoever still wants to know looks into the history.
            self.next.changed().await.ok()?;
        }
        None
    }

    fn find(&self) -> Option<(u64, RunEvent)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.feeds.get(&self.run)?.first_from(self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_kept_once_and_numbers_go_on() {
        let mut feed = Feed::new(JobName::new("nightly").unwrap());
        let progress = |done_bytes| RunEvent::Transferred { done_bytes, total_bytes: None };
        feed.add(progress(1));
        feed.add(progress(2));
        feed.add(RunEvent::Message { at: Timestamp::UNIX_EPOCH, text: "a".into() });
        feed.add(progress(3));
        assert_eq!(feed.events.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(feed.first_from(0), Some((1, progress(2))));
        assert_eq!(feed.first_from(4), None);
    }
}
