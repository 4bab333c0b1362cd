//! Before a run: each destination is tried, surveyed and planned for; before the transfer, each that takes the
//! snapshot gets the run's start record.

use std::sync::Arc;

use bytes::Bytes;
use convault_core::{
    DestinationResult, Layout, MIN_PART_BYTES, Manifest, Preflight, PutMode, RUN_START_FORMAT, RunEvent,
    RunId, RunStart, Store, StoreErrorKind, wanted_by,
};
use futures::TryStreamExt as _;
use jiff::Timestamp;

use crate::{
    BackupJob, Destination, JobError, PrunePlan, RunContext, Survey,
    backup::{Run, problems, warn},
    error::chain,
    prune::{candidate, plan_from},
    repository,
    survey::survey,
    sweep::sweep,
    trust::put_own,
};

/// A destination that can be written to, and what it held when the run began.
pub(crate) struct Ready {
    pub(crate) destination: Destination,
    /// The identifier of the repository that it is.
    pub(crate) repository: RunId,
    pub(crate) survey: Survey,
    /// What retention would have removed then; under a lease nothing else is.
    pub(crate) plan: Option<PrunePlan>,
}

impl Ready {
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.destination.store
    }
}

/// Tries each destination: it can be written to, is a repository, and its snapshots can be listed. What dead runs left
/// unfinished there is aborted. One that fails is lost to this run; that all fail is an error.
pub(crate) async fn prepare(
    job: &BackupJob,
    destinations: &[Destination],
    run: &mut Run,
    context: &RunContext,
) -> Result<Vec<Ready>, JobError> {
    let mut ready = Vec::new();
    for destination in destinations {
        match context.or_stop(prepare_one(job, destination, run, context)).await? {
            Ok(one) => ready.push(one),
            Err(error) => lose(destination, &error, run, context),
        }
    }
    if ready.is_empty() { Err(JobError::AllDestinationsFailed(problems(&run.lost))) } else { Ok(ready) }
}

fn lose(destination: &Destination, error: &JobError, run: &mut Run, context: &RunContext) {
    let problem = Some(chain(error));
    let destination = destination.store.destination().clone();
    let at = context.clock.now();
    context.tell(RunEvent::Destination { at, destination: destination.clone(), problem: problem.clone() });
    run.lost.push(DestinationResult { destination, stored_bytes: 0, problem });
}

async fn prepare_one(
    job: &BackupJob,
    destination: &Destination,
    run: &mut Run,
    context: &RunContext,
) -> Result<Ready, JobError> {
    let store = destination.store.as_ref();
    let repository = repository::open_or_make(destination, &context.id).await?.repository;
    // An upload that is begun and given up shows that writing is allowed, and leaves nothing behind.
    let key = Layout::new(job.deployment.clone()).object(&context.id, "preflight");
    store.upload(&key, MIN_PART_BYTES, PutMode::Overwrite).await?.abort().await?;
    if let Err(error) = sweep(store, &job.deployment, &job.dead_runs, context).await {
        warn(run, context, format!("unfinished uploads could not be cleaned up: {}", chain(&error)));
    }
    let now = context.clock.now();
    let survey = survey(destination, &job.deployment, &job.dead_runs, now).await?;
    for folder in survey.folders.iter().filter(|folder| folder.state.is_alarming()) {
        let name = store.destination();
        warn(
            run,
            context,
            format!("{name}: {} is {}; `convault list` shows more", folder.id, folder.state.as_str()),
        );
    }
    let rules = job.prune_rules(store.destination());
    let plan = match context.lease {
        Some(_) => Some(plan_from(destination, &job.deployment, &survey, &rules, now).await?),
        None => None,
    };
    Ok(Ready { destination: destination.clone(), repository, survey, plan })
}

/// Whether a destination takes a snapshot of that time: always, or where one of the slots it accepts has none yet.
pub(crate) fn takes(ready: &Ready, job: &BackupJob, snapshot_time: Timestamp, context: &RunContext) -> bool {
    let Some(accept) = &ready.destination.accept else { return true };
    let candidates: Vec<_> = ready.survey.snapshots().map(candidate).collect();
    let wanted = wanted_by(accept, &candidates, snapshot_time, &job.time_zone, context.clock.now());
    let name = ready.store().destination();
    let slots: Vec<String> = wanted.iter().map(|(tier, slot)| format!("{tier} {slot}")).collect();
    if slots.is_empty() {
        context.message(format!("{name} has its snapshots of these times already and takes none"));
    } else {
        context.message(format!("{name} takes it as {}", slots.join(", ")));
    }
    !slots.is_empty()
}

/// Writes the run's start record to each destination that takes the snapshot. One that refuses it is lost.
pub(crate) async fn begin_in(
    job: &BackupJob,
    ready: Vec<Ready>,
    preflight: &Preflight,
    run: &mut Run,
    context: &RunContext,
) -> Result<Vec<Ready>, JobError> {
    let start = |repository: &RunId| RunStart {
        format: RUN_START_FORMAT,
        id: context.id.clone(),
        deployment: job.deployment.clone(),
        repository: repository.clone(),
        job: job.job.clone(),
        kind: job.kind,
        tags: job.tags.clone(),
        keep_until: job.keep_until,
        due: job.due,
        started: run.started,
        instance: preflight.instance.clone(),
        server_version: preflight.server_version.clone(),
        files: job.files,
        fence: context.fence(),
        convault_version: job.version.clone(),
    };
    let written = ready.iter().map(|one| {
        let start = start(&one.repository);
        let write = async move { put_start(&one.destination, &start).await };
        tokio::time::timeout(job.stall_limit, write)
    });
    let written = context.or_stop(futures::future::join_all(written)).await?;
    let mut begun: Vec<Ready> = Vec::new();
    for (one, written) in ready.into_iter().zip(written) {
        match written {
            // A destination that is slow just now still gets its snapshot, if need be from another one afterwards.
            Ok(Ok(())) | Err(_) => begun.push(one),
            Ok(Err(JobError::Store(error))) if error.kind == StoreErrorKind::Transient => {
                tracing::warn!(%error, "the start record is not there");
                begun.push(one);
            }
            Ok(Err(error)) => lose(&one.destination, &error, run, context),
        }
    }
    if begun.is_empty() { Err(JobError::AllDestinationsFailed(problems(&run.lost))) } else { Ok(begun) }
}

/// Writes the start record of a run, and before it its signature.
pub(crate) async fn put_start(destination: &Destination, start: &RunStart) -> Result<(), JobError> {
    let (trust, store) = (&destination.trust, destination.store.as_ref());
    let key = Layout::new(start.deployment.clone()).run_start(&start.id);
    let what = format!("convault start {} {} {}", start.deployment, start.id, start.started);
    let record = serde_json::to_vec_pretty(start);
    let bytes = Bytes::from(record.expect("a start record has only string keys"));
    trust.sign(store, &key, &bytes, &what, PutMode::IfAbsent).await?;
    put_own(store, &key, bytes, PutMode::IfAbsent).await
}

/// The good snapshots of all destinations, the newest first, each once: what the new one is compared with.
pub(crate) fn history(ready: &[Ready]) -> Vec<&Manifest> {
    let mut history: Vec<&Manifest> =
        ready.iter().flat_map(|ready| ready.survey.good()).map(|snapshot| &snapshot.manifest).collect();
    history.sort_by(|a, b| (b.snapshot_ts_ns, &b.id).cmp(&(a.snapshot_ts_ns, &a.id)));
    history.dedup_by(|a, b| a.id == b.id);
    history
}

/// Removes the start record of a run that left nothing else.
pub(crate) async fn end_in(
    destination: &Destination,
    job: &BackupJob,
    context: &RunContext,
) -> Result<(), JobError> {
    if destination.append_only {
        return Ok(());
    }
    let layout = Layout::new(job.deployment.clone());
    let store = destination.store.as_ref();
    let there: Vec<String> =
        store.list(&layout.snapshot_prefix(&context.id)).map_ok(|object| object.key).try_collect().await?;
    let start = layout.run_start(&context.id);
    let own = [start.clone(), Layout::signature_of(&start)];
    if there.iter().any(|key| !own.contains(key)) {
        return Ok(());
    }
    for key in there {
        match store.delete(&key).await {
            Err(error) if error.kind != StoreErrorKind::Denied => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}
