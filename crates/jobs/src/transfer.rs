//! Reads an export once, checks it, and sends it and its index to every destination as it streams.

use std::time::Duration;

use convault_archive::{Cause, Culprit, Finished, Options};
use convault_core::{
    DestinationName, DestinationResult, Export, Layout, MIN_PART_BYTES, ObjectRole, PartPlanError, RunEvent,
    RunPhase, Source, SourceError, SourceErrorKind,
};
use futures::StreamExt as _;
use tokio::time::Instant;

use crate::{
    BackupJob, JobError, RunContext,
    analysis::Analysis,
    group::{Delivery, Group, Outline, Sending},
    settle::NOT_COPIED,
};

/// An export is downloaded this often before the run gives up.
const ATTEMPTS: u32 = 3;
const BETWEEN_PROGRESS: Duration = Duration::from_millis(200);
/// Memory for parts of the index in each group: one is being filled while another is sent.
const INDEX_BYTES: u64 = 2 * MIN_PART_BYTES;

/// The least memory uploads need for each distinct set of recipients (those with none are a set, too), bytes: two parts
/// of the smallest size for the snapshot and for its index.
pub const LEAST_UPLOAD_MEMORY_BYTES: u64 = 4 * MIN_PART_BYTES;

/// An export that has been read to its end and found whole, and has arrived at destinations.
pub(crate) struct Transferred {
    pub(crate) found: Finished,
    /// One for each group of which at least one destination was left.
    pub(crate) deliveries: Vec<Delivery>,
    /// Stored files that a second reading has shown to be damaged on the deployment itself.
    pub(crate) culprits: Vec<Culprit>,
    pub(crate) read_bytes: u64,
}

/// Transfers `export` to `groups`, again from the start where bytes were lost or changed on the way, which is added
/// to `warnings`. Where no destination of a group is left, what went wrong in each is added to `lost`.
pub(crate) async fn transfer(
    job: &BackupJob,
    source: &dyn Source,
    export: &Export,
    groups: &[Group],
    warnings: &mut Vec<String>,
    lost: &mut Vec<DestinationResult>,
    context: &RunContext,
) -> Result<Transferred, JobError> {
    let mut pause = context.download_pause;
    let mut read_bytes = 0;
    for attempt in 1.. {
        let attempted = attempt_transfer(job, source, export, groups, &mut read_bytes, lost, context).await;
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
    groups: &[Group],
    read_bytes: &mut u64,
    lost: &mut Vec<DestinationResult>,
    context: &RunContext,
) -> Result<Transferred, JobError> {
    context.phase(RunPhase::Transfer);
    let stream = context.or_stop(source.open(export)).await??;
    let mut passing = begin(job, export, groups, stream.length_bytes, context)?;
    let streamed = Box::pin(stream_through(stream, &mut passing, read_bytes, context)).await;
    let checked = match streamed {
        Ok(found) => confirm(source, export, found, read_bytes, context).await,
        Err(error) => Err(error),
    };
    match checked {
        Ok((found, culprits)) => {
            let lost_before = lost.len();
            let closed = futures::future::join_all(passing.into_iter().map(|one| one.close(context))).await;
            let mut deliveries = Vec::new();
            for one in closed {
                match one {
                    Ok(delivery) => deliveries.push(delivery),
                    Err(gone) => lost.extend(gone),
                }
            }
            let gone = lost.iter_mut().skip(lost_before).filter_map(|result| result.problem.as_mut());
            // Where nobody has it there is nothing to copy, for whatever reason.
            gone.filter(|_| !deliveries.is_empty()).for_each(|problem| problem.push_str(NOT_COPIED));
            Ok(Transferred { found, deliveries, culprits, read_bytes: 0 })
        }
        Err(error) => {
            let gone = futures::future::join_all(passing.into_iter().map(Passing::abort)).await;
            if let JobError::AllDestinationsFailed(_) = error {
                lost.extend(gone.into_iter().flatten());
                return Err(JobError::AllDestinationsFailed(crate::backup::problems(lost)));
            }
            Err(error)
        }
    }
}

/// Begins the snapshot and its index in every group; the groups share the memory.
fn begin(
    job: &BackupJob,
    export: &Export,
    groups: &[Group],
    length_bytes: u64,
    context: &RunContext,
) -> Result<Vec<Passing>, JobError> {
    let layout = Layout::new(job.deployment.clone());
    let zip_name = Layout::zip_name(export.snapshot_ts_ns);
    let share = job.upload_memory_bytes / groups.len().max(1) as u64;
    let zip = Outline {
        layout: &layout,
        id: &context.id,
        name: &zip_name,
        role: ObjectRole::Snapshot,
        length_bytes: Some(length_bytes),
        budget_bytes: share.saturating_sub(INDEX_BYTES),
        stall_limit: job.stall_limit,
    };
    let index = Outline {
        name: Layout::INDEX_NAME,
        role: ObjectRole::Index,
        length_bytes: None,
        budget_bytes: INDEX_BYTES,
        ..zip
    };
    let of_group = |group: &Group| {
        let sending = Some((Sending::begin(group, &zip)?, Sending::begin(group, &index)?));
        Ok(Passing { group: group.clone(), sending, gone: Vec::new() })
    };
    let begun: Result<Vec<Passing>, PartPlanError> = groups.iter().map(of_group).collect();
    begun.map_err(|error| of_all_groups(error, groups.len() as u64, job.upload_memory_bytes).into())
}

/// The error of one group's share, in terms of the whole of `upload_memory`.
fn of_all_groups(error: PartPlanError, groups: u64, upload_memory_bytes: u64) -> PartPlanError {
    match error {
        PartPlanError::Budget { length_bytes, part_bytes, needed_bytes, .. } => PartPlanError::Budget {
            length_bytes,
            part_bytes,
            needed_bytes: (needed_bytes + INDEX_BYTES) * groups,
            budget_bytes: upload_memory_bytes,
        },
        error @ PartPlanError::TooLarge { .. } => error,
    }
}

/// A snapshot and its index on their way to one group.
struct Passing {
    group: Group,
    /// `None` once no destination of the group is left.
    sending: Option<(Sending, Sending)>,
    /// What went wrong in each destination then.
    gone: Vec<DestinationResult>,
}

impl Passing {
    /// Sends the next bytes of the snapshot and of its index.
    async fn write(&mut self, zip: &[u8], index: &[u8]) -> Result<(), JobError> {
        let Some(sending) = &mut self.sending else { return Ok(()) };
        let written = async {
            sending.0.write(zip).await?;
            sending.1.write(index).await
        };
        let written = written.await;
        self.unless_gone(written).await
    }

    /// A group that has no destination left is given up; the others go on.
    async fn unless_gone(&mut self, written: Result<(), JobError>) -> Result<(), JobError> {
        match written {
            Err(JobError::AllDestinationsFailed(_)) => {
                if let Some((zip, index)) = self.sending.take() {
                    let (zip, index) = tokio::join!(zip.abort(), index.abort());
                    self.gone = each_once(zip.into_iter().chain(index));
                }
                Ok(())
            }
            written => written,
        }
    }

    /// Ends both objects. The index is never seen before the ZIP: a run that dies in between leaves nothing that looks
    /// like a snapshot.
    async fn close(mut self, context: &RunContext) -> Result<Delivery, Vec<DestinationResult>> {
        if let Some((zip, index)) = &mut self.sending {
            let ended = async {
                zip.end().await?;
                index.end().await
            };
            let ended = ended.await;
            // Ending fails only where no destination is left.
            if self.unless_gone(ended).await.is_err() {
                return Err(self.gone);
            }
        }
        let Some((zip, index)) = self.sending else { return Err(self.gone) };
        let small = zip.is_small();
        let zip = zip.close(true, &context.stop).await;
        let index = index.close(small, &context.stop).await;
        Ok(Delivery { group: self.group, objects: vec![zip, index] })
    }

    async fn abort(self) -> Vec<DestinationResult> {
        let Some((zip, index)) = self.sending else { return self.gone };
        let (zip, index) = tokio::join!(zip.abort(), index.abort());
        each_once(zip.into_iter().chain(index))
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
    passing: &mut [Passing],
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
        let ready = analysis.push(chunk.clone()).await?;
        context.or_stop(write_all(passing, &chunk, &ready)).await??;
        if told.elapsed() >= BETWEEN_PROGRESS {
            told = Instant::now();
            context.tell(RunEvent::Transferred { done_bytes, total_bytes: Some(announced) });
        }
    }
    context.tell(RunEvent::Transferred { done_bytes, total_bytes: Some(announced) });
    let (found, rest) = analysis.finish().await?;
    for piece in rest {
        context.or_stop(write_all(passing, &[], &piece)).await??;
    }
    Ok(found)
}

async fn write_all(passing: &mut [Passing], zip: &[u8], index: &[u8]) -> Result<(), JobError> {
    for one in passing.iter_mut() {
        one.write(zip, index).await?;
    }
    if passing.iter().all(|one| one.sending.is_none()) {
        return Err(JobError::AllDestinationsFailed("each stopped taking data".to_owned()));
    }
    Ok(())
}

/// Where the content is damaged although every CRC is right, reads the export a second time: the same bytes again
/// mean that the damage is on the deployment, and the second reading names the stored files it concerns.
async fn confirm(
    source: &dyn Source,
    export: &Export,
    found: Finished,
    read_bytes: &mut u64,
    context: &RunContext,
) -> Result<(Finished, Vec<Culprit>), JobError> {
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
    Ok((found, culprits))
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
