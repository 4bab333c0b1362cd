//! Runs one job once, with the real deployment and the real destinations, and writes it into the history.

use std::{sync::Arc, time::Duration};

use convault_core::{
    Clock, DestinationResult, Journal, Kind, RunId, RunOutcome, RunRecord, StartRequest, Store, Verb,
};
use convault_jobs::{BackupJob, JobError, RunContext};
use convault_settings::{JobSettings, Settings};
use jiff::Timestamp;
use tracing::Instrument as _;

use crate::wiring::{Sources, Stores};

/// Everything a run needs. One for the life of the process.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) settings: Settings,
    pub(crate) stores: Stores,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) clock: Arc<dyn Clock>,
    sources: Sources,
    dead_runs: Vec<RunId>,
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
        let stores = crate::wiring::stores(&settings)?;
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
        Ok(Self { settings, stores, journal, clock, sources, dead_runs, runs_at_once: runs_at_once.max(1) })
    }

    /// The destinations of a job, in its order.
    pub(crate) fn stores_of(&self, job: &JobSettings) -> Vec<Arc<dyn Store>> {
        job.to.iter().filter_map(|name| self.stores.get(name).cloned()).collect()
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

    /// Does what `request` asks for, once. `due` is the time it was due, for a scheduled run.
    pub(crate) async fn run(
        &self,
        job: &JobSettings,
        request: StartRequest,
        due: Option<Timestamp>,
        context: &RunContext,
    ) -> RunRecord {
        let span = tracing::info_span!("run", id = %context.id, job = %job.name);
        self.run_in_span(job, request, due, context).instrument(span).await
    }

    async fn run_in_span(
        &self,
        job: &JobSettings,
        request: StartRequest,
        due: Option<Timestamp>,
        context: &RunContext,
    ) -> RunRecord {
        let verb = request.verb;
        let backup = self.backup_job(job, request, due);
        let running = RunRecord { verb, ..convault_jobs::running(&backup, &context.id, self.clock.now()) };
        self.remember(&running).await;
        let record = match verb {
            Verb::Prune => self.prune(job, running, context).await,
            Verb::Backup | Verb::Verify => self.back_up(job, &backup, context).await,
        };
        self.remember(&record).await;
        let outcome = record.outcome.map_or("unknown", RunOutcome::as_str);
        match record.outcome {
            Some(RunOutcome::Good) => tracing::info!(outcome, "{}", record.message),
            Some(RunOutcome::Cancelled) => tracing::warn!(outcome, "{}", record.message),
            _ => tracing::error!(outcome, "{}", record.message),
        }
        record
    }

    async fn back_up(&self, job: &JobSettings, backup: &BackupJob, context: &RunContext) -> RunRecord {
        let source = &self.sources[&job.deployment];
        convault_jobs::backup(backup, source.as_ref(), &self.stores_of(job), context).await
    }

    /// Writes a run into the history; a failure is a warning, since the destinations hold the truth.
    pub(crate) async fn remember(&self, run: &RunRecord) {
        if let Err(error) = self.journal.record(run).await {
            tracing::warn!("the run history could not be written: {}", convault_jobs::chain(&error));
        }
    }

    fn backup_job(&self, job: &JobSettings, request: StartRequest, due: Option<Timestamp>) -> BackupJob {
        let deployment = self.settings.deployment(&job.deployment).expect("settings check that it is there");
        let mut tags = job.tags.clone();
        tags.extend(request.tags);
        tags.dedup();
        BackupJob {
            job: job.name.clone(),
            deployment: job.deployment.clone(),
            kind: if due.is_some() { Kind::Scheduled } else { Kind::OnDemand },
            due,
            tags,
            keep_until: request.keep_until,
            files: job.files,
            keep: job.keep.clone(),
            time_zone: job.time_zone.clone(),
            export_deadline: deployment.export_deadline,
            no_progress_limit: deployment.no_progress_limit,
            upload_memory_bytes: self.settings.daemon.upload_memory_bytes / self.runs_at_once,
            stall_limit: self.settings.daemon.stall_limit,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            dead_runs: self.dead_runs.clone(),
        }
    }

    async fn prune(&self, job: &JobSettings, running: RunRecord, context: &RunContext) -> RunRecord {
        let mut removed = 0;
        let mut freed_bytes = 0;
        let mut stopped = false;
        let mut destinations = Vec::new();
        for store in self.stores_of(job) {
            let done = self.prune_one(job, store.as_ref(), context).await;
            let problem = match done {
                Ok(pruned) => {
                    removed += pruned.removed.len();
                    freed_bytes += pruned.freed_bytes;
                    None
                }
                Err(error) => {
                    stopped |= matches!(error, JobError::Stopped);
                    Some(convault_jobs::chain(&error))
                }
            };
            destinations.push(DestinationResult {
                destination: store.destination().clone(),
                stored_bytes: 0,
                problem,
            });
        }
        let failed = destinations.iter().filter(|result| result.problem.is_some()).count();
        let outcome = match failed {
            0 => RunOutcome::Good,
            _ if stopped => RunOutcome::Cancelled,
            _ if failed < destinations.len() => RunOutcome::Partial,
            _ => RunOutcome::Failed,
        };
        let problems: Vec<&str> =
            destinations.iter().filter_map(|result| result.problem.as_deref()).collect();
        let removed = format!("removed {removed} snapshots, {freed_bytes} bytes");
        let message =
            if problems.is_empty() { removed } else { format!("{removed}; {}", problems.join("; ")) };
        let finished = Some(self.clock.now());
        let record = RunRecord { finished, outcome: Some(outcome), message, destinations, ..running };
        context.tell(convault_core::RunEvent::Finished { record: Box::new(record.clone()) });
        record
    }

    async fn prune_one(
        &self,
        job: &JobSettings,
        store: &dyn Store,
        context: &RunContext,
    ) -> Result<convault_jobs::Pruned, JobError> {
        let plan =
            convault_jobs::plan_prune(store, &job.deployment, &job.keep, &job.time_zone, self.clock.now())
                .await?;
        convault_jobs::prune(store, &plan, context).await
    }
}

/// How long the end of the process may wait for exports to be cancelled.
const SETTLE_WITHIN: Duration = Duration::from_secs(15);

/// How far back in the history interrupted runs are looked for.
const REMEMBERED_RUNS: usize = 200;
