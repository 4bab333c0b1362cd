//! What a backup does about shared files: whether it can, what it tells, and what its manifests say.

use convault_core::{DestinationResult, FilesMode, Manifest, Problem, RunEvent, Source, StoredObject};

use crate::{
    BackupJob, JobError, RunContext,
    backup::{Run, warn},
    group::Delivery,
    keyed::Naming,
    prepare::Ready,
    shared::{
        book::{Collected, FileCounts, MissingFile},
        collect::{Collection, Pace},
        lock::FileLock,
    },
};

/// The job as it can be done now: while files cannot be fetched one by one, they come with the export.
pub(crate) async fn as_possible(
    job: &BackupJob,
    source: &dyn Source,
    run: &mut Run,
    context: &RunContext,
) -> Result<BackupJob, JobError> {
    if job.files != FilesMode::Shared {
        return Ok(job.clone());
    }
    let Some(why) = context.or_stop(source.why_no_files()).await?? else { return Ok(job.clone()) };
    warn(run, context, format!("{why}; this snapshot has its stored files in its own ZIP (inline)"));
    Ok(BackupJob { files: FilesMode::Inline, ..job.clone() })
}

/// Goes through the first listing. Destinations that fail are taken out of `taking`.
pub(crate) async fn collect_before<'a>(
    job: &BackupJob,
    source: &'a dyn Source,
    taking: &mut Vec<Ready>,
    run: &mut Run,
    context: &'a RunContext,
) -> Result<Collection<'a>, JobError> {
    let locked = taking.iter().map(|ready| (ready, FileLock::of(ready, job, context))).collect();
    let mut files = Collection::begin(Pace::of(job), source, locked, context).await?;
    match files.before_export().await {
        Ok(()) => {
            without_failed(&files, taking, run, context);
            Ok(files)
        }
        Err(error) => {
            files.abort().await;
            Err(error)
        }
    }
}

/// Goes through the second listing, and closes everything.
pub(crate) async fn collect_after(
    mut files: Collection<'_>,
    snapshot_ts_ns: i64,
    taking: &mut Vec<Ready>,
    run: &mut Run,
    context: &RunContext,
) -> Result<Collected, JobError> {
    if let Err(error) = files.after_export(snapshot_ts_ns).await {
        files.abort().await;
        return Err(error);
    }
    without_failed(&files, taking, run, context);
    let collected = files.close().await?;
    tell(&collected.counts, run, context);
    for why in collected.not_locked() {
        warn(run, context, why.clone());
    }
    Ok(collected)
}

fn without_failed(files: &Collection<'_>, taking: &mut Vec<Ready>, run: &mut Run, context: &RunContext) {
    for (destination, why) in files.failed() {
        let before = taking.len();
        taking.retain(|ready| *ready.store().destination() != destination);
        if taking.len() < before {
            let problem = Some(why);
            let at = context.clock.now();
            let told = (destination.clone(), problem.clone());
            context.tell(RunEvent::Destination { at, destination: told.0, problem: told.1 });
            run.lost.push(DestinationResult { destination, stored_bytes: 0, problem });
        }
    }
}

fn tell(counts: &FileCounts, run: &mut Run, context: &RunContext) {
    let FileCounts { totals, fetched, fetched_bytes, newer, .. } = counts;
    let known = totals.files.saturating_sub(totals.missing + fetched);
    context.message(format!(
        "{} stored files: {fetched} new ({fetched_bytes} bytes fetched), {known} known, {} uncertain, {} missing; \
         {newer} stored after the snapshot are left out",
        totals.files, totals.uncertain, totals.missing
    ));
    if totals.uncertain > 0 {
        let text = format!(
            "{} stored files were there before the export and not after it; they are kept, though the snapshot may be \
             of a time without them (uncertain)",
            totals.uncertain
        );
        warn(run, context, text);
    }
}

impl Collected {
    /// Adds the listing to what goes to each group.
    pub(crate) async fn add_to(&mut self, deliveries: &mut [Delivery]) {
        for (group, listing) in std::mem::take(&mut self.listings) {
            let is_it = |delivery: &&mut Delivery| delivery.group.encryption_is(group.encryption.as_deref());
            match deliveries.iter_mut().find(is_it) {
                Some(delivery) => delivery.add(listing),
                None => {
                    for finishing in listing.sent.lanes.into_iter().filter_map(|lane| lane.result.ok()) {
                        finishing.abort().await;
                    }
                }
            }
        }
    }

    /// The manifest with what is known of the files.
    pub(crate) fn told_in(&self, mut manifest: Manifest) -> Manifest {
        let totals = &self.counts.totals;
        manifest.totals.files = totals.files - totals.missing;
        manifest.totals.file_bytes = totals.file_bytes;
        manifest
    }

    /// What is wrong with the files.
    pub(crate) fn problems(&self, naming: Naming<'_>) -> Vec<Problem> {
        let missing = self.counts.totals.missing;
        if missing == 0 {
            return Vec::new();
        }
        let described = |file: &MissingFile| {
            let component = naming.component(&file.component);
            let slash = if component.is_empty() { "" } else { "/" };
            format!("{component}{slash}{}: {}", file.id, file.why)
        };
        vec![Problem {
            kind: "files-missing".to_owned(),
            what: format!("{missing} stored file(s) that the deployment lists cannot be fetched from it"),
            ids: self.counts.missing.iter().map(described).collect(),
        }]
    }

    /// The objects of refs of one destination.
    pub(crate) fn refs_of(&self, ready: &Ready) -> Vec<StoredObject> {
        let found = self.refs.iter().find(|(destination, _)| destination == ready.store().destination());
        found.map(|(_, refs)| refs.clone()).unwrap_or_default()
    }
}
