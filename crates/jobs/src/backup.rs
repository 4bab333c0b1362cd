//! Makes a snapshot: from a deployment, through verification, into every destination.

use std::{sync::Arc, time::Duration};

use convault_core::{
    DeploymentName, DestinationResult, DocumentFormat, Export, ExportRequest, FilesMode, JobName, Keep, Kind,
    MANIFEST_FORMAT, Manifest, Preflight, Problem, Progress, PutMode, Release, RunEvent, RunId, RunOutcome,
    RunPhase, RunRecord, Source, SourceFacts, Store, TableNames, TableTotals, Totals, Verb, Verdict,
    Verification,
};
use jiff::{Timestamp, tz::TimeZone};

use crate::{
    JobError, RunContext,
    error::chain,
    plan_prune, prune, repository,
    settle::settle,
    sweep::sweep,
    transfer::{Transferred, transfer},
};

/// At most this many ids are named in a manifest and a message.
const MOST_IDS: usize = 100;

/// Looking for unfinished uploads at the end may not hold up the report for longer.
const LAST_SWEEP: Duration = Duration::from_secs(30);

/// One wish for a snapshot: the job's settings, and why it is made now.
#[derive(Debug, Clone)]
pub struct BackupJob {
    /// The job's name.
    pub job: JobName,
    /// The deployment's name.
    pub deployment: DeploymentName,
    /// Why the snapshot is made.
    pub kind: Kind,
    /// The time it was due, for a scheduled run.
    pub due: Option<Timestamp>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Retention may not delete it before this time.
    pub keep_until: Option<Timestamp>,
    /// How stored files are kept.
    pub files: FilesMode,
    /// What retention keeps, in every destination of the job.
    pub keep: Keep,
    /// The time zone in which days, weeks and months begin.
    pub time_zone: TimeZone,
    /// How long the deployment may take for its export.
    pub export_deadline: Duration,
    /// How long its export may show no progress.
    pub no_progress_limit: Duration,
    /// Memory for parts on their way to destinations, all together; [`crate::LEAST_UPLOAD_MEMORY_BYTES`] at least.
    pub upload_memory_bytes: u64,
    /// How long a destination may take no data before the others go on without it.
    pub stall_limit: Duration,
    /// The version of Convault, for the manifest.
    pub version: String,
    /// Runs that are known to have died: what they left unfinished is cleaned up.
    pub dead_runs: Vec<RunId>,
}

/// What a run is known by while it goes on.
struct Run {
    started: Timestamp,
    warnings: Vec<String>,
    lost: Vec<DestinationResult>,
    read_bytes: u64,
}

/// Runs the job once, and always comes back with what became of it: the error, if there was one, is its message.
/// `stores` are the job's destinations, in order.
pub async fn backup(
    job: &BackupJob,
    source: &dyn Source,
    stores: &[Arc<dyn Store>],
    context: &RunContext,
) -> RunRecord {
    let mut run = Run { started: context.clock.now(), warnings: Vec::new(), lost: Vec::new(), read_bytes: 0 };
    let record = match make(job, source, stores, &mut run, context).await {
        Ok(record) => record,
        Err(error) => {
            let outcome =
                if matches!(error, JobError::Stopped) { RunOutcome::Cancelled } else { RunOutcome::Failed };
            let retryable = error.is_retryable();
            let destinations = std::mem::take(&mut run.lost);
            RunRecord { retryable, destinations, ..record(job, &run, outcome, chain(&error), context) }
        }
    };
    leave_no_upload(job, stores, context).await;
    context.tell(RunEvent::Finished { record: Box::new(record.clone()) });
    record
}

/// Aborts what is left unfinished of this run itself: an upload whose beginning or end got no answer. Runs that end
/// well have none. The next run cannot do it, since to its eyes only runs that died are dead.
async fn leave_no_upload(job: &BackupJob, stores: &[Arc<dyn Store>], context: &RunContext) {
    let own = std::slice::from_ref(&context.id);
    let sweeps = stores.iter().map(|store| async move {
        match tokio::time::timeout(LAST_SWEEP, sweep(store.as_ref(), &job.deployment, own, context)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "cannot see whether an upload is left unfinished"),
            Err(_) => {
                tracing::debug!(destination = %store.destination(), "the list of unfinished uploads took too long");
            }
        }
    });
    futures::future::join_all(sweeps).await;
}

/// The record of a run that goes on: without outcome.
pub fn running(job: &BackupJob, id: &RunId, started: Timestamp) -> RunRecord {
    RunRecord {
        id: id.clone(),
        job: job.job.clone(),
        deployment: job.deployment.clone(),
        verb: Verb::Backup,
        scheduled: job.kind == Kind::Scheduled,
        due: job.due,
        started,
        finished: None,
        outcome: None,
        message: String::new(),
        snapshot: None,
        snapshot_time: None,
        destinations: Vec::new(),
        read_bytes: 0,
        documents: 0,
        files: 0,
        warnings: Vec::new(),
        retryable: false,
    }
}

fn record(
    job: &BackupJob,
    run: &Run,
    outcome: RunOutcome,
    message: String,
    context: &RunContext,
) -> RunRecord {
    RunRecord {
        finished: Some(context.clock.now()),
        outcome: Some(outcome),
        message,
        read_bytes: run.read_bytes,
        warnings: run.warnings.clone(),
        ..running(job, &context.id, run.started)
    }
}

async fn make(
    job: &BackupJob,
    source: &dyn Source,
    stores: &[Arc<dyn Store>],
    run: &mut Run,
    context: &RunContext,
) -> Result<RunRecord, JobError> {
    context.phase(RunPhase::Preflight);
    let preflight = context.or_stop(source.preflight()).await??;
    for warning in &preflight.warnings {
        warn(run, context, warning.clone());
    }
    let (repository, ready) = prepare(job, stores, run, context).await?;
    let export = export(job, source, run, context).await?;
    let made = snapshot(job, source, &preflight, &repository, &export, &ready, run, context).await;
    release(source, &export, run, context).await;
    let mut made = made?;
    apply_retention(job, &ready, &made.destinations, run, context).await;
    made.warnings.clone_from(&run.warnings);
    made.finished = Some(context.clock.now());
    Ok(made)
}

fn warn(run: &mut Run, context: &RunContext, text: String) {
    context.warning(text.clone());
    run.warnings.push(text);
}

/// Checks that each destination can be written to, makes it a repository, and aborts what dead runs left there.
async fn prepare(
    job: &BackupJob,
    stores: &[Arc<dyn Store>],
    run: &mut Run,
    context: &RunContext,
) -> Result<(RunId, Vec<Arc<dyn Store>>), JobError> {
    let mut ready = Vec::new();
    let mut repository = None;
    for store in stores {
        match context.or_stop(prepare_one(job, store.as_ref(), run, context)).await? {
            Ok(id) => {
                repository.get_or_insert(id);
                ready.push(Arc::clone(store));
            }
            Err(error) => {
                let problem = Some(chain(&error));
                let destination = store.destination().clone();
                context.tell(RunEvent::Destination {
                    at: context.clock.now(),
                    destination: destination.clone(),
                    problem: problem.clone(),
                });
                run.lost.push(DestinationResult { destination, stored_bytes: 0, problem });
            }
        }
    }
    repository.map(|id| (id, ready)).ok_or_else(|| JobError::AllDestinationsFailed(problems(&run.lost)))
}

async fn prepare_one(
    job: &BackupJob,
    store: &dyn Store,
    run: &mut Run,
    context: &RunContext,
) -> Result<RunId, JobError> {
    let repository = repository::open_or_make(store, &context.id).await?.repository;
    // An upload that is begun and given up shows that writing is allowed, and leaves nothing behind.
    let key = convault_core::Layout::new(job.deployment.clone()).object(&context.id, "preflight");
    store.upload(&key, convault_core::MIN_PART_BYTES, PutMode::Overwrite).await?.abort().await?;
    if let Err(error) = sweep(store, &job.deployment, &job.dead_runs, context).await {
        warn(run, context, format!("unfinished uploads could not be cleaned up: {}", chain(&error)));
    }
    Ok(repository)
}

async fn export(
    job: &BackupJob,
    source: &dyn Source,
    run: &mut Run,
    context: &RunContext,
) -> Result<Export, JobError> {
    context.phase(RunPhase::Export);
    let request = ExportRequest {
        include_files: job.files == FilesMode::Inline,
        run_started: run.started,
        may_adopt: job.kind == Kind::Scheduled,
        deadline: job.export_deadline,
        no_progress_limit: job.no_progress_limit,
    };
    let warnings = std::sync::Mutex::new(Vec::new());
    let tell = |progress: Progress| match progress {
        Progress::WaitingForSlot { holder } => {
            context.message(format!(
                "another export ({holder}) holds the deployment's only slot; waiting for it"
            ));
        }
        Progress::Requested { export, adopted: false } => {
            context.message(format!("asked for export {export}"));
        }
        Progress::Requested { export, adopted: true } => {
            context.message(format!("using export {export}, which somebody else asked for"));
        }
        Progress::Exporting { message } => context.message(message),
        Progress::Warning { message } => {
            context.warning(message.clone());
            warnings.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(message);
        }
    };
    let export = context.or_stop(source.export(request, &tell)).await?;
    run.warnings.extend(warnings.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner));
    Ok(export?)
}

#[expect(clippy::too_many_arguments, reason = "everything a manifest speaks of comes together here")]
async fn snapshot(
    job: &BackupJob,
    source: &dyn Source,
    preflight: &Preflight,
    repository: &RunId,
    export: &Export,
    stores: &[Arc<dyn Store>],
    run: &mut Run,
    context: &RunContext,
) -> Result<RunRecord, JobError> {
    let transferred =
        transfer(job, source, export, stores, &mut run.warnings, &mut run.lost, context).await?;
    run.read_bytes = transferred.read_bytes;
    for warning in &transferred.found.findings.warnings {
        warn(run, context, warning.to_string());
    }
    context.phase(RunPhase::Manifest);
    let manifest = manifest(job, preflight, repository, export, &transferred, run.started, context);
    let mut results = settle(job, transferred, &manifest, &mut run.warnings, context).await;
    results.append(&mut run.lost);
    if results.iter().all(|result| result.problem.is_some()) {
        let error = JobError::AllDestinationsFailed(problems(&results));
        run.lost = results;
        return Err(if context.stop.is_cancelled() { JobError::Stopped } else { error });
    }
    let outcome = match &manifest.verdict {
        Verdict::Suspect { .. } => RunOutcome::Suspect,
        Verdict::Good if results.iter().any(|result| result.problem.is_some()) => RunOutcome::Partial,
        Verdict::Good => RunOutcome::Good,
    };
    Ok(RunRecord {
        snapshot: Some(manifest.id.clone()),
        snapshot_time: Some(manifest.snapshot_time()),
        documents: manifest.totals.documents,
        files: manifest.totals.files,
        destinations: results.clone(),
        ..record(job, run, outcome, summary(&manifest, &results), context)
    })
}

/// Every problem after the name of its destination.
pub(crate) fn problems(results: &[DestinationResult]) -> String {
    let list: Vec<String> = results
        .iter()
        .filter_map(|result| {
            result.problem.as_ref().map(|problem| format!("{}: {problem}", result.destination))
        })
        .collect();
    list.join("; ")
}

fn summary(manifest: &Manifest, results: &[DestinationResult]) -> String {
    let totals = &manifest.totals;
    let stored: Vec<&str> = results
        .iter()
        .filter(|result| result.problem.is_none())
        .map(|result| result.destination.as_str())
        .collect();
    let mut text = format!(
        "{} documents in {} tables and {} files stored in {}",
        totals.documents,
        totals.tables,
        totals.files,
        stored.join(", ")
    );
    if let Verdict::Suspect { problems } = &manifest.verdict {
        let what: Vec<&str> = problems.iter().map(|problem| problem.what.as_str()).collect();
        text = format!("suspect, does not count as good: {}; {text}", what.join("; "));
    }
    let failed = problems(results);
    if failed.is_empty() { text } else { format!("{text}; not in {failed}") }
}

fn manifest(
    job: &BackupJob,
    preflight: &Preflight,
    repository: &RunId,
    export: &Export,
    transferred: &Transferred,
    started: Timestamp,
    context: &RunContext,
) -> Manifest {
    let findings = &transferred.found.findings;
    let tables: Vec<TableTotals> = findings
        .tables
        .iter()
        .map(|table| TableTotals {
            component: table.component.clone(),
            table: table.table.clone(),
            documents: table.documents,
            bytes: table.bytes,
            sha256: table.sha256,
            digest: table.digest,
        })
        .collect();
    Manifest {
        format: MANIFEST_FORMAT,
        id: context.id.clone(),
        deployment: job.deployment.clone(),
        repository: repository.clone(),
        convault_version: job.version.clone(),
        kind: job.kind,
        tags: job.tags.clone(),
        keep_until: job.keep_until,
        started,
        snapshot_ts_ns: export.snapshot_ts_ns,
        source: SourceFacts {
            instance: preflight.instance.clone(),
            server_version: preflight.server_version.clone(),
            export_id: export.id.clone(),
            adopted: export.adopted,
            documents: match findings.format {
                convault_archive::ExportFormat::Uniform => DocumentFormat::Uniform,
                convault_archive::ExportFormat::Legacy => DocumentFormat::Legacy,
            },
        },
        files: job.files,
        objects: Vec::new(),
        totals: Totals {
            tables: tables.len() as u64,
            documents: findings.totals.documents,
            document_bytes: findings.totals.document_bytes,
            files: findings.totals.files,
            file_bytes: findings.totals.file_bytes,
        },
        table_names: TableNames::Plain,
        tables,
        not_covered: crate::coverage::not_covered(job.files),
        recipients: Vec::new(),
        verification: Verification { at: context.clock.now(), checks: crate::coverage::checks(job.files) },
        verdict: verdict(transferred),
        fence: None,
        erasure: 0,
    }
}

fn verdict(transferred: &Transferred) -> Verdict {
    let findings = &transferred.found.findings;
    let mut problems: Vec<Problem> = findings
        .damage
        .iter()
        .map(|damage| {
            let ids = match damage {
                convault_archive::Damage::StoredFiles { .. } => {
                    transferred.culprits.iter().take(MOST_IDS).cloned().collect()
                }
                _ => Vec::new(),
            };
            Problem { kind: "source-damage".to_owned(), what: damage.to_string(), ids }
        })
        .collect();
    if findings.damage_unlisted > 0 {
        let what = format!("and {} more of such problems", findings.damage_unlisted);
        problems.push(Problem { kind: "source-damage".to_owned(), what, ids: Vec::new() });
    }
    if problems.is_empty() { Verdict::Good } else { Verdict::Suspect { problems } }
}

async fn release(source: &dyn Source, export: &Export, run: &mut Run, context: &RunContext) {
    context.phase(RunPhase::Release);
    match source.release(export).await {
        Release::ExpirySet => {}
        Release::Kept(why) => tracing::debug!(why, "the export's expiry is left as it is"),
        Release::Refused(why) => {
            warn(run, context, format!("the export stays on the deployment for now: {why}"));
        }
    }
}

/// Retention, wherever this run has stored a snapshot. A failure is a warning: the snapshot is there all the same.
async fn apply_retention(
    job: &BackupJob,
    stores: &[Arc<dyn Store>],
    results: &[DestinationResult],
    run: &mut Run,
    context: &RunContext,
) {
    if job.keep.keeps_everything() {
        return;
    }
    let has_snapshot = |store: &&Arc<dyn Store>| {
        results.iter().any(|result| result.problem.is_none() && result.destination == *store.destination())
    };
    for store in stores.iter().filter(has_snapshot) {
        let store = store.as_ref();
        let pruned = async {
            let plan =
                plan_prune(store, &job.deployment, &job.keep, &job.time_zone, context.clock.now()).await?;
            prune(store, &plan, context).await
        };
        match pruned.await {
            Ok(pruned) => tracing::debug!(removed = pruned.removed.len(), "retention applied"),
            Err(error) => {
                warn(
                    run,
                    context,
                    format!("{}: retention was not applied: {}", store.destination(), chain(&error)),
                );
            }
        }
    }
}
