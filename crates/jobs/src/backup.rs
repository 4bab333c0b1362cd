//! Makes a snapshot: from a deployment, through verification, into every destination.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use convault_archive::NamesKey;
use convault_core::{
    AnomalyLimits, DeploymentName, DestinationName, DestinationResult, Export, ExportRequest, FilesMode,
    JobName, Keep, Kind, MANIFEST_FORMAT, Manifest, Preflight, Problem, Progress, Release, RunEvent, RunId,
    RunOutcome, RunPhase, RunRecord, Source, SourceFacts, Surrounding, TableNames, Verb, Verdict,
    Verification,
};
use futures::FutureExt as _;
use jiff::{Timestamp, tz::TimeZone};

use crate::{
    Destination, JobError, PruneRules, RunContext, contents,
    erasure::{complete_by_copy, newest_stated},
    error::chain,
    group::{Delivery, Group},
    judged::judge,
    keyed::Naming,
    mark::renew_holds,
    prepare::{Ready, begin_in, end_in, history, prepare, takes},
    prune::retain,
    restore::storage_name_warning,
    secrets::tell_changes,
    settle::{Protection, settle},
    shared::{Collected, as_possible, collect_after, collect_before},
    surroundings::{refuse_without_recipients, surround},
    survey::survey,
    sweep::sweep,
    transfer::{Transferred, transfer},
};

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
    /// What is stored beside the export, in this order. Needs recipients in every destination.
    pub surroundings: Vec<Arc<dyn Surrounding>>,
    /// What looks wrong beside the last good snapshot.
    pub anomaly: AnomalyLimits,
    /// The longest time between two due times, where there is a schedule.
    pub expected_interval: Option<Duration>,
    /// How far the clocks of this machine and of a store may be apart before nothing is deleted there.
    pub clock_skew_limit: Duration,
    /// How many snapshots this machine knows to be in a destination.
    pub known: BTreeMap<DestinationName, u64>,
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

impl BackupJob {
    /// What retention goes by in one destination of the job.
    pub(crate) fn prune_rules(&self, destination: &DestinationName) -> PruneRules {
        PruneRules {
            dead_runs: self.dead_runs.clone(),
            clock_skew_limit: self.clock_skew_limit,
            known_locally: self.known.get(destination).copied(),
            ..PruneRules::new(self.keep.clone(), self.time_zone.clone())
        }
    }
}

/// What a run is known by while it goes on.
pub(crate) struct Run {
    pub(crate) started: Timestamp,
    pub(crate) warnings: Vec<String>,
    pub(crate) lost: Vec<DestinationResult>,
    read_bytes: u64,
    /// The newest entry of the erasure ledger when it began.
    erasure: u64,
}

/// Runs the job once, and always comes back with what became of it: the error, if there was one, is its message.
/// `destinations` are the job's, in order.
pub async fn backup(
    job: &BackupJob,
    source: &dyn Source,
    destinations: &[Destination],
    context: &RunContext,
) -> RunRecord {
    let mut run = Run {
        started: context.clock.now(),
        warnings: Vec::new(),
        lost: Vec::new(),
        read_bytes: 0,
        erasure: 0,
    };
    let record = match Box::pin(make(job, source, destinations, &mut run, context)).await {
        Ok(record) => record,
        Err(error) => {
            let error = context.why_stopped(error);
            let outcome =
                if matches!(error, JobError::Stopped) { RunOutcome::Cancelled } else { RunOutcome::Failed };
            let retryable = error.is_retryable();
            let destinations = std::mem::take(&mut run.lost);
            RunRecord { retryable, destinations, ..record(job, &run, outcome, chain(&error), context) }
        }
    };
    leave_nothing(job, destinations, context).await;
    context.tell(RunEvent::Finished { record: Box::new(record.clone()) });
    record
}

/// Aborts what is left unfinished of this run itself, an upload whose beginning or end got no answer, and takes the
/// start record away where nothing came of it. The next run cannot do it, since to its eyes only runs that died are
/// dead.
async fn leave_nothing(job: &BackupJob, destinations: &[Destination], context: &RunContext) {
    let own = std::slice::from_ref(&context.id);
    let sweeps = destinations.iter().map(|destination| async move {
        let left = async {
            sweep(destination.store.as_ref(), &job.deployment, own, context).await?;
            end_in(destination, job, context).await
        };
        match tokio::time::timeout(LAST_SWEEP, left).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "cannot see whether something is left unfinished"),
            Err(_) => {
                tracing::debug!(destination = %destination.store.destination(), "cleaning up took too long");
            }
        }
    });
    futures::future::join_all(sweeps).await;
}

/// The record of a run that goes on: without outcome.
fn running(job: &BackupJob, id: &RunId, started: Timestamp) -> RunRecord {
    let begun = RunRecord::begun(id, &job.job, &job.deployment, Verb::Backup, job.due, started);
    RunRecord { scheduled: job.kind == Kind::Scheduled, ..begun }
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
    destinations: &[Destination],
    run: &mut Run,
    context: &RunContext,
) -> Result<RunRecord, JobError> {
    refuse_without_recipients(&job.surroundings, destinations)?;
    context.phase(RunPhase::Preflight);
    let preflight = context.or_stop(source.preflight()).await??;
    for warning in &preflight.warnings {
        warn(run, context, warning.clone());
    }
    let job = &as_possible(job, source, run, context).await?;
    let ready = prepare(job, destinations, run, context).await?;
    let ready = match without_done(job, ready, context) {
        Ok(ready) => ready,
        Err(done) => return Ok(record(job, run, nothing_due(&run.lost), done, context)),
    };
    run.erasure = look_at_erasures(job, &ready, run, context).await;
    // No export is asked for that nobody would take.
    if !ready.iter().any(|ready| takes(ready, job, context.clock.now(), context)) {
        let text =
            "every destination has its snapshot of these times already; nothing was exported".to_owned();
        return Ok(record(job, run, nothing_due(&run.lost), text, context));
    }
    let (mut taking, mut resting, mut files) = (ready, Vec::new(), None);
    if job.files == FilesMode::Shared {
        // What they have decides what is fetched, and that comes before the export.
        let now = context.clock.now();
        (taking, resting) = taking.into_iter().partition(|ready| takes(ready, job, now, context));
        taking = match start_in(job, taking, &preflight, run, context).boxed().await? {
            Ok(taking) => taking,
            Err(done) => return Ok(record(job, run, nothing_due(&run.lost), done, context)),
        };
        files = Some(collect_before(job, source, &mut taking, run, context).await?);
    }
    let export = match export(job, source, run, context).await {
        Ok(export) => export,
        Err(error) => {
            if let Some(files) = files {
                files.abort().await;
            }
            return Err(error);
        }
    };
    if files.is_none() {
        let at = snapshot_time(&export);
        (taking, resting) = taking.into_iter().partition(|ready| takes(ready, job, at, context));
    }
    let made = async {
        let collected = if let Some(files) = files {
            Some(collect_after(files, export.snapshot_ts_ns, &mut taking, run, context).await?)
        } else {
            taking = match start_in(job, taking, &preflight, run, context).boxed().await? {
                Ok(taking) => taking,
                Err(done) => {
                    return Ok((record(job, run, nothing_due(&run.lost), done, context), Vec::new()));
                }
            };
            None
        };
        let made = snapshot(job, source, &preflight, &export, &taking, collected, run, context).await?;
        Ok::<_, JobError>((made, taking))
    };
    let made = made.await;
    release(source, &export, run, context).await;
    let (mut made, taking) = made?;
    apply_retention(job, taking.into_iter().chain(resting), &made.destinations, run, context).await;
    made.warnings.clone_from(&run.warnings);
    made.finished = Some(context.clock.now());
    Ok(made)
}

/// The newest entry of the erasure ledger, by its listing and by what manifests say of it, which takes no key. Entries
/// that a destination lacks are brought there where that takes none either; what is left to do is told.
async fn look_at_erasures(job: &BackupJob, ready: &[Ready], run: &mut Run, context: &RunContext) -> u64 {
    let destinations: Vec<&Destination> = ready.iter().map(|ready| &ready.destination).collect();
    let (listed, told) = complete_by_copy(&job.deployment, &destinations).await;
    for text in told {
        warn(run, context, text);
    }
    let stated = ready.iter().map(|ready| newest_stated(&ready.survey)).max().unwrap_or(0);
    if listed < stated {
        let text = format!(
            "the erasure ledger ends at {listed}, and manifests speak of {stated} entries: nothing of {} can be read until \
             the others are back",
            job.deployment
        );
        warn(run, context, text);
    }
    listed.max(stated)
}

/// Writes the start record wherever the snapshot is taken, and looks again. Gives the destinations that still take it, or,
/// where none does, that it is done.
async fn start_in(
    job: &BackupJob,
    taking: Vec<Ready>,
    preflight: &Preflight,
    run: &mut Run,
    context: &RunContext,
) -> Result<Result<Vec<Ready>, String>, JobError> {
    let taking = begin_in(job, taking, preflight, run, context).await?;
    let taking = survey_again(job, taking, context).await?;
    Ok(without_done(job, taking, context))
}

/// The snapshot of this very due time may be there already: somebody stored it and did not get to say so, or this
/// machine was cut off right after. The destinations that have it take no second one; where all have it the run is done,
/// in so many words.
fn without_done(job: &BackupJob, ready: Vec<Ready>, context: &RunContext) -> Result<Vec<Ready>, String> {
    let Some(due) = job.due else { return Ok(ready) };
    let is_it = |manifest: &Manifest| manifest.due == Some(due) && manifest.job.as_ref() == Some(&job.job);
    let mut done = None;
    let mut left = Vec::new();
    for one in ready {
        let found = one.survey.snapshots().find(|snapshot| is_it(&snapshot.manifest));
        match found.map(|snapshot| format!("snapshot {} of {due} is there already", snapshot.manifest.id)) {
            Some(text) => {
                context.message(format!("{}: {text}", one.store().destination()));
                done = Some(text);
            }
            None => left.push(one),
        }
    }
    match done {
        Some(text) if left.is_empty() => Err(text),
        _ => Ok(left),
    }
}

/// Looks again once this run's start record is there: whatever its predecessor under the lease still writes from then
/// on is fenced off, and what it had written before is seen.
async fn survey_again(
    job: &BackupJob,
    ready: Vec<Ready>,
    context: &RunContext,
) -> Result<Vec<Ready>, JobError> {
    if context.lease.as_ref().is_none_or(|lease| lease.was_given_back()) {
        return Ok(ready);
    }
    let mut again = Vec::new();
    for one in ready {
        let now = context.clock.now();
        let survey = survey(&one.destination, &job.deployment, &job.dead_runs, now).await?;
        again.push(Ready { survey, ..one });
    }
    Ok(again)
}

/// Nothing to do is good, except where a destination could not be asked.
fn nothing_due(lost: &[DestinationResult]) -> RunOutcome {
    if lost.is_empty() { RunOutcome::Good } else { RunOutcome::Partial }
}

fn snapshot_time(export: &Export) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(export.snapshot_ts_ns))
        .expect("every i64 of nanoseconds is a timestamp")
}

pub(crate) fn warn(run: &mut Run, context: &RunContext, text: String) {
    context.warning(text.clone());
    run.warnings.push(text);
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

#[expect(clippy::too_many_arguments, reason = "all that was prepared comes together here")]
async fn snapshot(
    job: &BackupJob,
    source: &dyn Source,
    preflight: &Preflight,
    export: &Export,
    ready: &[Ready],
    mut files: Option<Collected>,
    run: &mut Run,
    context: &RunContext,
) -> Result<RunRecord, JobError> {
    let groups = Group::of(ready.iter().map(|ready| &ready.destination));
    let mut transferred =
        transfer(job, source, export, &groups, &mut run.warnings, &mut run.lost, context).await?;
    run.read_bytes = transferred.read_bytes;
    for warning in &transferred.found.findings.warnings {
        warn(run, context, warning.to_string());
    }
    if let Some(warning) = storage_name_warning(&transferred.found.findings.tables) {
        warn(run, context, warning);
    }
    let surrounded = surround(job, &mut transferred.deliveries, context).await?;
    for warning in &surrounded.warnings {
        warn(run, context, warning.clone());
    }
    if let Some(files) = &mut files {
        files.add_to(&mut transferred.deliveries).await;
    }
    tell_changes(job, surrounded.secrets.as_ref(), ready, context).await;
    context.phase(RunPhase::Manifest);
    let mut manifest = manifest(job, preflight, &ready[0].repository, export, &transferred, run, context);
    if let Some(files) = &files {
        manifest = files.told_in(manifest);
    }
    let manifest = surrounded.told_in(manifest);
    let names = ready.iter().find_map(|ready| ready.destination.encryption.as_deref());
    let names = names.map(|encryption| &encryption.names);
    let damage = damage(&transferred, files.as_ref(), names)
        .map(|damage| [damage, surrounded.problems.clone()].concat());
    let judged = judge(manifest, damage, &history(ready), &job.anomaly, names);
    for note in &judged.notes {
        warn(run, context, note.clone());
    }
    let manifest = &judged.plain;
    let protection = |ready: &Ready| {
        let refs = files.as_ref().map(|files| files.refs_of(ready)).unwrap_or_default();
        Protection::of(ready, job, manifest, context.clock.now()).with_own(refs)
    };
    let protections = ready.iter().map(protection).collect();
    let manifest_of = |delivery: Delivery| {
        let manifest = judged.manifest(delivery.group.encryption.as_deref());
        (delivery, manifest)
    };
    let deliveries = transferred.deliveries.into_iter().map(manifest_of).collect();
    if let Some(files) = &files {
        files.check_not_condemned().await?;
    }
    let mut results = settle(job, deliveries, protections, &mut run.warnings, context).await;
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
        ..record(job, run, outcome, summary(manifest, &results), context)
    })
}

/// What is wrong with the content itself, with names as they are and hashed.
fn damage(
    transferred: &Transferred,
    files: Option<&Collected>,
    names: Option<&NamesKey>,
) -> [Vec<Problem>; 2] {
    let findings = &transferred.found.findings;
    [Naming::Plain, names.map_or(Naming::Plain, Naming::Keyed)].map(|naming| {
        let mut problems = contents::damage(findings, &transferred.culprits, naming);
        problems.extend(files.into_iter().flat_map(|files| files.problems(naming)));
        problems
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
    run: &Run,
    context: &RunContext,
) -> Manifest {
    let findings = &transferred.found.findings;
    Manifest {
        format: MANIFEST_FORMAT,
        id: context.id.clone(),
        deployment: job.deployment.clone(),
        repository: repository.clone(),
        convault_version: job.version.clone(),
        kind: job.kind,
        tags: job.tags.clone(),
        keep_until: job.keep_until,
        job: Some(job.job.clone()),
        due: job.due,
        started: run.started,
        snapshot_ts_ns: export.snapshot_ts_ns,
        source: SourceFacts {
            instance: preflight.instance.clone(),
            server_version: preflight.server_version.clone(),
            export_id: export.id.clone(),
            adopted: export.adopted,
            documents: contents::document_format(findings),
        },
        files: job.files,
        objects: Vec::new(),
        totals: contents::totals(findings),
        table_names: TableNames::Plain,
        names_key: None,
        tables: contents::tables(findings),
        not_covered: Vec::new(),
        recipients: Vec::new(),
        secrets: None,
        reencrypted_from: None,
        rewritten_from: Vec::new(),
        verification: Verification { at: context.clock.now(), checks: crate::coverage::checks(job.files) },
        verdict: Verdict::Good,
        fence: context.fence(),
        erasure: run.erasure,
    }
}

async fn release(source: &dyn Source, export: &Export, run: &mut Run, context: &RunContext) {
    context.phase(RunPhase::Release);
    match source.release(export).await {
        Release::ExpirySet => {}
        Release::Kept(why) => tracing::debug!(why, "the export's expiry is left as it is"),
        Release::Refused(why) => {
            warn(run, context, why);
        }
    }
}

/// Retention, wherever this run could look: where it stored a snapshot, and where none was due. A failure is a
/// warning: the snapshot is there all the same.
async fn apply_retention(
    job: &BackupJob,
    ready: impl Iterator<Item = Ready>,
    results: &[DestinationResult],
    run: &mut Run,
    context: &RunContext,
) {
    for one in ready {
        let name = one.store().destination().clone();
        let failed = results.iter().any(|result| result.problem.is_some() && result.destination == name);
        if failed || one.destination.append_only {
            continue;
        }
        renew_holds(&one.destination, &one.survey.folders, context).await;
        let rules = job.prune_rules(&name);
        match retain(&one.destination, &job.deployment, &rules, one.plan, context).await {
            Ok(pruned) => {
                for why in pruned.held_back {
                    warn(run, context, format!("{name}: {why}"));
                }
            }
            Err(error) => warn(run, context, format!("{name}: retention was not applied: {}", chain(&error))),
        }
    }
}
