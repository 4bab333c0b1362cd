//! Stores what a Convex snapshot leaves out beside it: collected into one ZIP, encrypted to each set of recipients as it
//! comes, never on disk and never whole in memory.

mod contents;
mod gathering;
mod zip_sink;

use std::{sync::Arc, time::Duration};

use convault_archive::NamesKey;
use convault_core::{
    Layout, MIN_PART_BYTES, Manifest, NotCovered, ObjectRole, Problem, RunPhase, SecretsRecord, Surrounding,
    SurroundingErrorKind, SurroundingName,
};

pub(crate) use self::{
    contents::VALUES_NAME,
    gathering::{Gathered, Gathering, SEALED_NAMES, Values},
    zip_sink::ZipSink,
};
use crate::{
    BackupJob, Destination, JobError, RunContext, coverage,
    group::{Delivery, Outline, Sending},
};

/// The kind of problem of a snapshot without something that the settings require.
const MISSING: &str = "surroundings-missing";
/// So often a part is asked for that nothing came of.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);
/// Memory for the parts of the object in each group.
const SURROUNDINGS_BYTES: u64 = 2 * MIN_PART_BYTES;

/// What became of the surroundings of a run.
#[derive(Debug, Default)]
pub(crate) struct Surrounded {
    /// What was covered, whether wholly or in part.
    pub(crate) covered: Vec<SurroundingName>,
    /// What was not. Names no secret.
    pub(crate) not_covered: Vec<NotCovered>,
    /// Why the snapshot is suspect. Name no secret.
    pub(crate) problems: Vec<Problem>,
    /// For people.
    pub(crate) warnings: Vec<String>,
    /// The keyed hashes of the secrets, where there are any.
    pub(crate) secrets: Option<SecretsRecord>,
}

/// Refuses a job whose surroundings somebody without a key could read.
pub(crate) fn refuse_without_recipients(
    surroundings: &[Arc<dyn Surrounding>],
    destinations: &[Destination],
) -> Result<(), JobError> {
    let open = destinations.iter().find(|destination| destination.encryption.is_none());
    match open {
        Some(destination) if !surroundings.is_empty() => {
            Err(JobError::NoRecipients { destination: destination.store.destination().clone() })
        }
        _ => Ok(()),
    }
}

/// Surroundings as an object to be sent.
pub(crate) fn outline<'a>(layout: &'a Layout, stall_limit: Duration, context: &'a RunContext) -> Outline<'a> {
    Outline {
        layout,
        id: &context.id,
        name: Layout::SURROUNDINGS_NAME,
        role: ObjectRole::Surroundings,
        length_bytes: None,
        budget_bytes: SURROUNDINGS_BYTES,
        stall_limit,
    }
}

/// Collects the job's surroundings into one object of the snapshot in every group. What cannot be collected is told; only
/// a stop ends it early, and then no object is added.
pub(crate) async fn surround(
    job: &BackupJob,
    deliveries: &mut [Delivery],
    context: &RunContext,
) -> Result<Surrounded, JobError> {
    let names = deliveries.iter().find_map(|delivery| delivery.group.encryption.clone());
    let Some(encryption) = names.filter(|_| !job.surroundings.is_empty()) else {
        return Ok(Surrounded::default());
    };
    context.phase(RunPhase::Surroundings);
    let layout = Layout::new(job.deployment.clone());
    let outline = outline(&layout, job.stall_limit, context);
    let sendings: Result<Vec<Sending>, _> =
        deliveries.iter().map(|delivery| Sending::begin(&delivery.group, &outline)).collect();
    let sink = ZipSink::new(sendings?);
    let gathering = Gathering::new(&encryption.names, &job.deployment, Values::Stored(Box::new(sink)));
    let gathered = gather(gathering, &job.surroundings, context).await;
    for (delivery, object) in deliveries.iter_mut().zip(gathered.sent) {
        delivery.add(object);
    }
    Ok(Surrounded::of(gathered.gathered))
}

/// What was gathered, and where its ZIP has been sent, in the order of the sink.
pub(crate) struct Sent {
    pub(crate) gathered: Gathered,
    pub(crate) sent: Vec<crate::group::SentObject>,
}

/// Collects one after the other.
pub(crate) async fn gather(
    mut gathering: Gathering<'_>,
    surroundings: &[Arc<dyn Surrounding>],
    context: &RunContext,
) -> Sent {
    for surrounding in surroundings {
        gathering.enter(surrounding.as_ref());
        let collected = collect(surrounding.as_ref(), &mut gathering, context).await;
        if !gathering.leave(collected) {
            break;
        }
    }
    gathering.close(context).await
}

/// Collects one. Where nothing came but a failure that may pass, it is asked again.
async fn collect(
    surrounding: &dyn Surrounding,
    gathering: &mut Gathering<'_>,
    context: &RunContext,
) -> Result<Vec<NotCovered>, gathering::Failure> {
    let mut pause = PAUSE;
    for attempt in 1.. {
        let collected = context.or_stop(surrounding.collect(gathering)).await;
        let error = match collected {
            Ok(Ok(not_covered)) => return Ok(not_covered),
            Ok(Err(error)) => error,
            Err(_) => return Err(gathering::Failure::Stopped),
        };
        let is_worth_another =
            error.kind == SurroundingErrorKind::Transient && attempt < ATTEMPTS && gathering.is_untouched();
        if !is_worth_another {
            return Err(gathering::Failure::Surrounding(error));
        }
        tracing::debug!(%error, attempt, "surroundings are asked for again");
        if context.or_stop(tokio::time::sleep(pause)).await.is_err() {
            return Err(gathering::Failure::Stopped);
        }
        pause *= 3;
    }
    unreachable!("the loop ends by returning")
}

impl Surrounded {
    /// The manifest with what is known of the surroundings.
    pub(crate) fn told_in(&self, manifest: Manifest) -> Manifest {
        let mut not_covered = coverage::not_covered(manifest.files, &self.covered);
        not_covered.extend(self.not_covered.iter().cloned());
        Manifest { not_covered, secrets: self.secrets.clone(), ..manifest }
    }

    fn of(gathered: Gathered) -> Self {
        let problems = gathered.failed.iter().filter(|failed| failed.is_required).map(|failed| Problem {
            kind: MISSING.to_owned(),
            what: format!("the settings require {}: {}", failed.what, failed.why),
            ids: Vec::new(),
        });
        let missing = gathered
            .failed
            .iter()
            .map(|failed| NotCovered { what: failed.what.clone(), why: failed.why.clone() });
        Self {
            problems: problems.collect(),
            not_covered: gathered.not_covered.iter().cloned().chain(missing).collect(),
            covered: gathered.attempted,
            warnings: gathered.warnings,
            secrets: gathered.record,
        }
    }
}

/// Hashes under the names key. What is hashed with a name says where it belongs, so that equal values of two names differ.
pub(crate) fn name_hash(
    names: &NamesKey,
    surrounding: &SurroundingName,
    name: &str,
) -> convault_core::Sha256 {
    names.hash("secret-name", &[surrounding.as_str().as_bytes(), name.as_bytes()])
}
