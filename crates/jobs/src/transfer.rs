//! Reads an export once, checks it, and sends it and its index to every destination as it streams.

use std::{sync::Arc, time::Duration};

use convault_archive::{Cause, Culprit, CulpritKind, Finished, Options};
use convault_core::{
    DestinationName, DestinationResult, Export, Layout, PartPlan, RunEvent, RunPhase, Source, SourceError,
    SourceErrorKind, Store,
};
use futures::StreamExt as _;
use tokio::time::Instant;

use crate::{
    BackupJob, JobError, RunContext,
    analysis::Analysis,
    fan_out::{FanOut, Sent},
};

/// An export is downloaded this often before the run gives up.
const ATTEMPTS: u32 = 3;
const BETWEEN_PROGRESS: Duration = Duration::from_millis(200);
/// Parts of the index, which is small and of unknown length, one being filled while another is sent.
const INDEX_PLAN: PartPlan = PartPlan { part_bytes: convault_core::MIN_PART_BYTES, parts_in_memory: 2 };

/// The least memory uploads need, bytes: two parts of the smallest size for the snapshot and for its index.
pub const LEAST_UPLOAD_MEMORY_BYTES: u64 = 4 * convault_core::MIN_PART_BYTES;

/// An export that has been read to its end and found whole, and has arrived at destinations.
pub(crate) struct Transferred {
    pub(crate) found: Finished,
    pub(crate) zip: Sent,
    pub(crate) index: Sent,
    pub(crate) zip_name: String,
    /// Stored files that a second reading has shown to be damaged on the deployment itself.
    pub(crate) culprits: Vec<String>,
    pub(crate) read_bytes: u64,
}

/// Transfers `export` to `stores`, again from the start where bytes were lost or changed on the way, which is added
/// to `warnings`. Where no destination is left, what went wrong in each is added to `lost`.
pub(crate) async fn transfer(
    job: &BackupJob,
    source: &dyn Source,
    export: &Export,
    stores: &[Arc<dyn Store>],
    warnings: &mut Vec<String>,
    lost: &mut Vec<DestinationResult>,
    context: &RunContext,
) -> Result<Transferred, JobError> {
    let mut pause = context.download_pause;
    let mut read_bytes = 0;
    for attempt in 1.. {
        let attempted = attempt_transfer(job, source, export, stores, &mut read_bytes, lost, context).await;
        let error = match attempted {
            Ok(transferred) => return Ok(Transferred { read_bytes, ..transferred }),
            Err(error) => error,
        };
        if attempt == ATTEMPTS || !is_worth_another_download(&error) {
            return Err(error);
        }
        let text = format!("{}; downloading again ({attempt} of {ATTEMPTS})", crate::error::chain(&error));
        context.warning(text.clone());
        warnings.push(text);
        context.or_stop(tokio::time::sleep(pause)).await?;
        pause *= 3;
    }
    unreachable!("the loop ends by returning")
}

fn is_worth_another_download(error: &JobError) -> bool {
    match error {
        JobError::Source(error) => {
            matches!(error.kind, SourceErrorKind::Transit | SourceErrorKind::Transient)
        }
        JobError::Archive(error) => error.cause() != Cause::Unsupported,
        _ => false,
    }
}

async fn attempt_transfer(
    job: &BackupJob,
    source: &dyn Source,
    export: &Export,
    stores: &[Arc<dyn Store>],
    read_bytes: &mut u64,
    lost: &mut Vec<DestinationResult>,
    context: &RunContext,
) -> Result<Transferred, JobError> {
    context.phase(RunPhase::Transfer);
    let stream = context.or_stop(source.open(export)).await??;
    let layout = Layout::new(job.deployment.clone());
    let zip_name = Layout::zip_name(export.snapshot_ts_ns);
    let index_bytes = INDEX_PLAN.part_bytes * INDEX_PLAN.parts_in_memory as u64;
    let zip_plan = PartPlan::new(stream.length_bytes, job.upload_memory_bytes.saturating_sub(index_bytes))?;
    let begin =
        |name: &str, plan| FanOut::begin(stores, &layout.object(&context.id, name), plan, job.stall_limit);
    let mut zip = begin(&zip_name, zip_plan);
    let mut index = begin(Layout::INDEX_NAME, INDEX_PLAN);

    let streamed = stream_through(stream, &mut zip, &mut index, read_bytes, context).await;
    let checked = match streamed {
        Ok(found) => confirm(source, export, found, read_bytes, context).await,
        Err(error) => Err(error),
    };
    match checked {
        Ok((found, culprits)) => {
            // The index is never seen before the ZIP: a run that dies in between leaves nothing that looks like a snapshot.
            let small = zip.is_small();
            let zip = zip.close(true, &context.stop).await;
            let index = index.close(small, &context.stop).await;
            Ok(Transferred { found, zip, index, zip_name, culprits, read_bytes: 0 })
        }
        Err(error) => {
            let (zip, index) = tokio::join!(zip.abort(), index.abort());
            if let JobError::AllDestinationsFailed(_) = error {
                lost.extend(each_once(zip.into_iter().chain(index)));
                return Err(JobError::AllDestinationsFailed(crate::backup::problems(lost)));
            }
            Err(error)
        }
    }
}

/// What went wrong in each destination: the snapshot's own failure, or else that of its index.
fn each_once(failures: impl Iterator<Item = (DestinationName, String)>) -> Vec<DestinationResult> {
    let mut results: Vec<DestinationResult> = Vec::new();
    for (destination, problem) in failures {
        if results.iter().all(|result| result.destination != destination) {
            results.push(DestinationResult { destination, stored_bytes: 0, problem: Some(problem) });
        }
    }
    results
}

async fn stream_through(
    mut stream: convault_core::ExportStream,
    zip: &mut FanOut,
    index: &mut FanOut,
    read_bytes: &mut u64,
    context: &RunContext,
) -> Result<Finished, JobError> {
    let announced = stream.length_bytes;
    let mut analysis = Analysis::new(Options { announced_bytes: Some(announced), ..Options::default() });
    let mut done_bytes = 0;
    let mut told = Instant::now();
    while let Some(chunk) = context.or_stop(stream.bytes.next()).await? {
        let chunk = chunk?;
        done_bytes += chunk.len() as u64;
        *read_bytes += chunk.len() as u64;
        context.or_stop(zip.write(&chunk)).await??;
        let ready = analysis.push(chunk).await?;
        context.or_stop(index.write(&ready)).await??;
        if told.elapsed() >= BETWEEN_PROGRESS {
            told = Instant::now();
            context.tell(RunEvent::Transferred { done_bytes, total_bytes: Some(announced) });
        }
    }
    context.tell(RunEvent::Transferred { done_bytes, total_bytes: Some(announced) });
    let (found, rest) = analysis.finish().await?;
    for piece in rest {
        context.or_stop(index.write(&piece)).await??;
    }
    Ok(found)
}

/// Where the content is damaged although every CRC is right, reads the export a second time: the same bytes again
/// mean that the damage is on the deployment, and the second reading names the stored files it concerns.
async fn confirm(
    source: &dyn Source,
    export: &Export,
    found: Finished,
    read_bytes: &mut u64,
    context: &RunContext,
) -> Result<(Finished, Vec<String>), JobError> {
    if found.findings.damage.is_empty() {
        return Ok((found, Vec::new()));
    }
    context.phase(RunPhase::Confirm);
    context.message("the export looks damaged; reading it again to see whether it is so on the deployment");
    let options = Options { suspects: found.suspects.clone(), ..Options::default() };
    let again = read_again(source, export, options, read_bytes, context).await?;
    if again.findings.sha256 != found.findings.sha256 {
        return Err(JobError::Source(SourceError {
            kind: SourceErrorKind::Transit,
            deployment: source.deployment().clone(),
            message: "two downloads of the same export differ: bytes changed on the way".to_owned(),
            source: None,
        }));
    }
    let culprits = again.culprits.map(|culprits| culprits.listed).unwrap_or_default();
    Ok((found, culprits.iter().map(describe).collect()))
}

/// `kg2…: its content differs from its row`, with the component in front where it is not the root.
fn describe(culprit: &Culprit) -> String {
    let what = match culprit.kind {
        CulpritKind::RowWithoutFile => "has a row but no file",
        CulpritKind::FileWithoutRow => "has a file but no row",
        CulpritKind::Differs { .. } => "its content is not what its row announces",
        CulpritKind::Several { .. } => "there are several of it",
    };
    let slash = if culprit.component.is_empty() { "" } else { "/" };
    format!("{}{slash}{}: {what}", culprit.component, culprit.id)
}

async fn read_again(
    source: &dyn Source,
    export: &Export,
    options: Options,
    read_bytes: &mut u64,
    context: &RunContext,
) -> Result<Finished, JobError> {
    let mut stream = context.or_stop(source.open(export)).await??;
    let mut analysis = Analysis::new(Options { announced_bytes: Some(stream.length_bytes), ..options });
    while let Some(chunk) = context.or_stop(stream.bytes.next()).await? {
        let chunk = chunk?;
        *read_bytes += chunk.len() as u64;
        analysis.push(chunk).await?;
    }
    Ok(analysis.finish().await?.0)
}
