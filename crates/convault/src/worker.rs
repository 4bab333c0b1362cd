//! Makes one run, with the real deployment and the real destinations, and writes it into the history.

mod drill;
mod mark;
mod mirror;
mod prune;
mod repair;
mod sharing;
mod turn;
mod verify;
mod watch;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use convault_archive::encryption::Identities;
use convault_convex_client::Url;
use convault_core::{
    Clock, DestinationName, JobName, Journal, Kind, RunEvent, RunId, RunOutcome, RunRecord, Verb,
};
use convault_jobs::{BackupJob, Destination, JobError, RunContext};
use convault_scheduler::CancelReason;
use convault_settings::{JobSettings, Settings};
use futures::{FutureExt as _, future::BoxFuture};
use tracing::Instrument as _;

pub(crate) use self::{prune::prune_rules, sharing::Sharing, turn::Turn};
use crate::{
    task::{
        DrillTask, MirrorTask, Order, Task, VerifyTask, WatchTask, drill_tasks, verify_tasks, watch_tasks,
    },
    wiring::{Destinations, Sources},
};

/// The version that manifests and proofs name.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How long the end of the process may wait for exports to be cancelled.
const SETTLE_WITHIN: Duration = Duration::from_secs(15);
/// How far back in the history interrupted runs are looked for.
const REMEMBERED_RUNS: usize = 200;

/// Everything a run needs. One for the life of the process.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) settings: Settings,
    pub(crate) destinations: Destinations,
    /// What opens what is encrypted, where the settings have it.
    identities: Option<Identities>,
    pub(crate) tasks: Vec<VerifyTask>,
    pub(crate) mirrors: Vec<MirrorTask>,
    pub(crate) watches: Vec<WatchTask>,
    pub(crate) drills: Vec<DrillTask>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The leases, where several daemons share the work.
    pub(crate) sharing: Option<Sharing>,
    /// Runs that the end of the process cut off.
    pub(crate) dead_runs: Vec<RunId>,
    /// Scratch deployments by their address: one drill at a time restores into each.
    scratches: Mutex<BTreeMap<Url, Arc<tokio::sync::Mutex<()>>>>,
    sources: Sources,
    /// How many runs share the memory for uploads.
    runs_at_once: u64,
}

impl Worker {
    /// Wires everything up and closes the runs that an earlier process left open. Connects to nothing. At most
    /// `runs_at_once` runs will go on at once.
    pub(crate) async fn new(
        settings: Settings,
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
        runs_at_once: u64,
    ) -> anyhow::Result<Self> {
        let sources = crate::wiring::sources(&settings, &clock);
        let destinations = crate::wiring::destinations(&settings)?;
        let identities = crate::wiring::identities(&settings, None)?;
        let mirrors = crate::wiring::mirrors(&settings, &destinations)?;
        let sharing = Sharing::new(&settings, &destinations, &clock);
        let interrupted = journal.close_interrupted(clock.now()).await?;
        for run in &interrupted {
            tracing::warn!(id = %run.id, job = %run.job, "this run was cut off when the process ended");
        }
        let mut dead_runs: Vec<RunId> = journal
            .runs(None, REMEMBERED_RUNS)
            .await?
            .into_iter()
            .filter(|run| run.outcome == Some(RunOutcome::Interrupted))
            .map(|run| run.id)
            .collect();
        dead_runs.dedup();
        let (watches, drills) = (watch_tasks(&settings), drill_tasks(&settings));
        let (tasks, runs_at_once) = (verify_tasks(&settings), runs_at_once.max(1));
        Ok(Self {
            settings,
            destinations,
            identities,
            tasks,
            mirrors,
            watches,
            drills,
            journal,
            clock,
            sharing,
            dead_runs,
            scratches: Mutex::default(),
            sources,
            runs_at_once,
        })
    }

    /// The job or the task of that name.
    pub(crate) fn task(&self, name: &JobName) -> Option<Task<'_>> {
        let task = || self.tasks.iter().find(|task| task.name == *name).map(Task::Verify);
        let mirror = || self.mirrors.iter().find(|task| task.name == *name).map(Task::Mirror);
        let watch = || self.watches.iter().find(|task| task.name == *name).map(Task::Watch);
        let drill = || self.drills.iter().find(|task| task.name == *name).map(Task::Drill);
        self.settings.job(name).map(Task::Job).or_else(task).or_else(mirror).or_else(watch).or_else(drill)
    }

    /// The destinations of these names, in their order.
    pub(crate) fn destinations_named(&self, names: &[DestinationName]) -> Vec<Destination> {
        names.iter().filter_map(|name| self.destinations.get(name).cloned()).collect()
    }

    /// Waits until exports that stopped runs had asked for are cancelled on their deployments, but not for long.
    pub(crate) async fn settle(&self) {
        let all = futures::future::join_all(self.sources.values().map(|source| source.settle()));
        if tokio::time::timeout(SETTLE_WITHIN, all).await.is_err() {
            tracing::warn!("an export of a stopped run may still be going on at its deployment");
        }
    }

    /// A new run's identifier.
    pub(crate) fn new_id(&self) -> RunId {
        RunId::new(self.clock.now(), rand::random())
    }

    /// Does what is ordered, once. Boxed: through the closures around it the compiler could not see that all that a run
    /// holds may move between threads.
    fn run<'a>(&'a self, order: &'a Order<'_>, context: &'a RunContext) -> BoxFuture<'a, RunRecord> {
        let span = tracing::info_span!("run", id = %context.id, job = %order.task.name());
        self.run_in_span(order, context).instrument(span).boxed()
    }

    async fn run_in_span(&self, order: &Order<'_>, context: &RunContext) -> RunRecord {
        let running = self.begun(order, context);
        self.remember(&running).await;
        let mut record = match (order.task, order.request.verb) {
            (Task::Verify(task), _) => self.verify(task, running, context).await,
            (Task::Mirror(task), _) => self.mirror(task, order, running, context).await,
            (Task::Watch(task), _) => self.watch(task, running, context).await,
            (Task::Drill(task), _) => self.drill(task, running, context).await,
            (Task::Job(job), Verb::Prune) => self.prune(job, order, running, context).await,
            (Task::Job(job), Verb::Repair) => self.repair(job, order, running, context).await,
            (Task::Job(job), _) => self.back_up(job, order, context).boxed().await,
        };
        let reason = order.cancel.as_ref().and_then(convault_scheduler::Cancel::reason);
        if record.outcome == Some(RunOutcome::Cancelled) && reason == Some(CancelReason::Stopping) {
            // Nobody wanted this run gone: the next start makes up for it, as for one that the process's end cut off.
            record.outcome = Some(RunOutcome::Interrupted);
        }
        self.ended(&record, context).await;
        record
    }

    /// A run that could not even begin.
    async fn not_begun(&self, order: &Order<'_>, error: &JobError, context: &RunContext) -> RunRecord {
        let record = failed(self.begun(order, context), error, context);
        self.ended(&record, context).await;
        record
    }

    fn begun(&self, order: &Order<'_>, context: &RunContext) -> RunRecord {
        let (task, verb) = (order.task, order.request.verb);
        RunRecord::begun(&context.id, task.name(), task.deployment(), verb, order.due, self.clock.now())
    }

    async fn ended(&self, record: &RunRecord, context: &RunContext) {
        self.remember(record).await;
        let outcome = record.outcome.map_or("unknown", RunOutcome::as_str);
        match record.outcome {
            Some(RunOutcome::Good) => tracing::info!(outcome, "{}", record.message),
            Some(RunOutcome::Cancelled) => tracing::warn!(outcome, "{}", record.message),
            _ => tracing::error!(outcome, "{}", record.message),
        }
        // A backup has told its end itself.
        if record.verb != Verb::Backup {
            context.tell(RunEvent::Finished { record: Box::new(record.clone()) });
        }
    }

    async fn back_up(&self, job: &JobSettings, order: &Order<'_>, context: &RunContext) -> RunRecord {
        let source = &self.sources[&job.deployment];
        let backup = self.backup_job(job, order);
        convault_jobs::backup(&backup, source.as_ref(), &self.destinations_named(&job.to), context).await
    }

    /// Writes a run into the history; a failure is a warning, since the destinations hold the truth.
    async fn remember(&self, run: &RunRecord) {
        if let Err(error) = self.journal.record(run).await {
            tracing::warn!("the run history could not be written: {}", convault_jobs::chain(&error));
        }
    }

    fn backup_job(&self, job: &JobSettings, order: &Order<'_>) -> BackupJob {
        let deployment = self.settings.deployment(&job.deployment).expect("settings check that it is there");
        let mut tags = job.tags.clone();
        tags.extend(order.request.tags.iter().cloned());
        tags.dedup();
        let interval =
            job.schedule.as_ref().and_then(|schedule| schedule.expected_interval_seconds(self.clock.now()));
        BackupJob {
            job: job.name.clone(),
            deployment: job.deployment.clone(),
            kind: if order.due.is_some() { Kind::Scheduled } else { Kind::OnDemand },
            due: order.due,
            tags,
            keep_until: order.request.keep_until,
            files: job.files,
            surroundings: crate::wiring::surroundings(&self.settings, job),
            anomaly: deployment.anomaly.clone(),
            expected_interval: interval.map(Duration::from_secs_f64),
            clock_skew_limit: self.settings.daemon.clock_skew_limit,
            known: order.known.clone(),
            keep: job.keep.clone(),
            time_zone: job.time_zone.clone(),
            export_deadline: deployment.export_deadline,
            no_progress_limit: deployment.no_progress_limit,
            upload_memory_bytes: self.upload_memory_bytes(),
            stall_limit: self.settings.daemon.stall_limit,
            version: VERSION.to_owned(),
            dead_runs: self.dead_runs.clone(),
        }
    }

    /// What one run may take for parts on their way.
    fn upload_memory_bytes(&self) -> u64 {
        self.settings.daemon.upload_memory_bytes / self.runs_at_once
    }
}

/// The record of a run that ended with an error.
fn failed(running: RunRecord, error: &JobError, context: &RunContext) -> RunRecord {
    let stopped = matches!(error, JobError::Stopped);
    RunRecord {
        finished: Some(context.clock.now()),
        outcome: Some(if stopped { RunOutcome::Cancelled } else { RunOutcome::Failed }),
        message: convault_jobs::chain(error),
        retryable: error.is_retryable(),
        refused: matches!(error, JobError::MayNotDrill { .. } | JobError::Refused { .. }),
        ..running
    }
}

/// A stop that the loss of the lease caused is told as that.
fn why_stopped(error: JobError, context: &RunContext) -> JobError {
    match &context.lease {
        Some(lease) if matches!(error, JobError::Stopped) && lease.lost().is_cancelled() => {
            lease.lost_error()
        }
        _ => error,
    }
}
