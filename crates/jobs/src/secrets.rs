//! Keeps stored secrets current: notices by keyed hash that one was added, changed or removed, and stores a new set then.

mod names;
mod restore;
mod retain;
mod shelf;
mod store;
mod values;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use convault_archive::NamesKey;
use convault_core::{
    DeploymentName, DestinationResult, JobName, Keep, RunId, RunPhase, SecretsRecord, StoreErrorKind,
    Surrounding,
};
use jiff::{Timestamp, tz::TimeZone};

pub(crate) use self::retain::retain_sets;
use self::shelf::Shelf;
pub use self::{
    names::SecretChanges,
    restore::{SecretsRestore, plan_secrets_restore, restore_secrets},
    shelf::{SecretsOrigin, StoredSecrets},
    values::{ListedSecret, SecretValue, compare_secrets, list_secrets, read_secrets, stored_secrets},
};
use crate::{
    BackupJob, Destination, JobError, RunContext,
    error::chain,
    prepare::Ready,
    surroundings::{Gathered, Gathering, Values, gather, refuse_without_recipients},
};

/// One wish to look whether secrets changed.
#[derive(Debug, Clone)]
pub struct WatchJob {
    /// The job whose surroundings these are.
    pub job: JobName,
    /// The deployment.
    pub deployment: DeploymentName,
    /// Those of the kind [`convault_core::SurroundingKind::Secrets`].
    pub surroundings: Vec<Arc<dyn Surrounding>>,
    /// What retention keeps of the sets.
    pub keep: Keep,
    /// The time zone in which days, weeks and months begin.
    pub time_zone: TimeZone,
    /// The longest time between two looks.
    pub expected_interval: Option<Duration>,
    /// How long a destination may take no data.
    pub stall_limit: Duration,
    /// The version of Convault, for the record.
    pub version: String,
}

/// What came of a look.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// How many secrets there are.
    pub secrets: usize,
    /// What changed, over all destinations.
    pub changes: SecretChanges,
    /// Since when: when the earliest of those that differ had been stored. `None` where nothing differs.
    pub since: Option<Timestamp>,
    /// The set that was stored, where one was.
    pub stored: Option<RunId>,
    /// When the newest set was stored, this one or an earlier one.
    pub newest_set: Option<Timestamp>,
    /// Each destination; bytes are 0 where nothing had to be stored.
    pub destinations: Vec<DestinationResult>,
    /// What could not be read; each a sentence.
    pub unread: Vec<String>,
    /// Whether another attempt may read it.
    pub is_transient: bool,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl Watched {
    fn of(looked: &Gathered) -> Self {
        let secrets =
            looked.record.as_ref().map_or(0, |record| record.hashes.values().map(BTreeMap::len).sum());
        Self {
            secrets,
            unread: looked.failed.iter().map(|failed| format!("{}: {}", failed.what, failed.why)).collect(),
            is_transient: looked.failed.iter().any(|failed| failed.is_transient),
            warnings: looked.warnings.clone(),
            ..Self::default()
        }
    }

    /// Whether everything was read, and is stored wherever it should be.
    pub fn is_whole(&self) -> bool {
        self.unread.is_empty() && self.destinations.iter().all(|result| result.problem.is_none())
    }
}

/// Looks whether secrets changed since they were last stored, and stores a new set wherever they did. What could not be
/// read, and what could not be stored in one destination, is told in the answer.
pub async fn watch(
    job: &WatchJob,
    destinations: &[Destination],
    context: &RunContext,
) -> Result<Watched, JobError> {
    refuse_without_recipients(&job.surroundings, destinations)?;
    let encryption = destinations.iter().find_map(|destination| destination.encryption.clone());
    let Some(encryption) = encryption else { return Ok(Watched::default()) };
    context.phase(RunPhase::Surroundings);
    let gathering = Gathering::new(&encryption.names, &job.deployment, Values::Hashed);
    let looked = gather(gathering, &job.surroundings, context).await.gathered;
    if context.stop.is_cancelled() {
        return Err(JobError::Stopped);
    }
    let mut watched = Watched::of(&looked);
    let Some(record) = looked.record else { return Ok(watched) };
    let mut due = Vec::new();
    for destination in destinations {
        let compared = compare(destination, &record, &encryption.names, &job.deployment);
        match context.or_stop(compared).await? {
            Ok(compared) => {
                watched.newest_set = watched.newest_set.max(compared.newest_set);
                let Some(difference) = compared.difference else {
                    watched.destinations.push(result(destination, None));
                    continue;
                };
                watched.changes.extend(difference.changes);
                watched.since = [watched.since, difference.since].into_iter().flatten().min();
                due.push(destination.clone());
            }
            Err(error) => watched.destinations.push(result(destination, Some(chain(&error)))),
        }
    }
    if !due.is_empty() {
        let stored = store::store_set(job, &due, &encryption.names, context).await?;
        let is_stored = stored.results.iter().any(|result| result.problem.is_none());
        watched.stored = is_stored.then(|| context.id.clone());
        watched.newest_set = watched.newest_set.max(watched.stored.as_ref().map(RunId::time));
        watched.destinations.extend(stored.results);
        watched.warnings.extend(stored.warnings);
    }
    Ok(watched)
}

fn result(destination: &Destination, problem: Option<String>) -> DestinationResult {
    DestinationResult { destination: destination.store.destination().clone(), stored_bytes: 0, problem }
}

/// Tells what changed since secrets were stored last, in the first destination that can be asked: what a backup finds
/// first, no look will find any more.
pub(crate) async fn tell_changes(
    job: &BackupJob,
    record: Option<&SecretsRecord>,
    ready: &[Ready],
    context: &RunContext,
) {
    let Some(record) = record else { return };
    for destination in ready.iter().map(|ready| &ready.destination) {
        let Some(encryption) = &destination.encryption else { continue };
        let compared = compare(destination, record, &encryption.names, &job.deployment);
        match context.or_stop(compared).await {
            Ok(Ok(compared)) => return compared.tell(context),
            Err(_) => return,
            Ok(Err(error)) => tracing::debug!(%error, "what changed among secrets is not known"),
        }
    }
}

/// What a comparison showed.
struct Compared {
    /// `None` where the destination has exactly these secrets, each where its newest record says.
    difference: Option<Difference>,
    newest_set: Option<Timestamp>,
}

impl Compared {
    fn tell(&self, context: &RunContext) {
        if let Some(Difference { changes, since: Some(since) }) = &self.difference {
            context.message(format!("secrets since {since}: {changes}"));
        }
    }
}

/// In what a destination's newest secrets differ from those that were read.
#[derive(Debug, Default)]
struct Difference {
    changes: SecretChanges,
    since: Option<Timestamp>,
}

/// Compares what was read with the newest that a destination has.
async fn compare(
    destination: &Destination,
    record: &SecretsRecord,
    names: &NamesKey,
    deployment: &DeploymentName,
) -> Result<Compared, JobError> {
    let shelf = Shelf::open(destination, deployment).await?;
    let newest = shelf.newest_of(record.hashes.keys()).await?;
    let mut is_due = newest.len() < record.hashes.len();
    let mut difference = Difference::default();
    let mut seen = BTreeSet::new();
    for (surrounding, stored) in newest {
        let own = stored.record.hashes.get(&surrounding).cloned().unwrap_or_default();
        let older = SecretsRecord { hashes: BTreeMap::from([(surrounding, own)]), ..stored.record.clone() };
        match SecretChanges::between(&older, record, names, deployment) {
            Some(changes) if changes.is_empty() => {}
            Some(changes) => {
                is_due = true;
                difference.changes.extend(changes);
                difference.since = [difference.since, Some(stored.at)].into_iter().flatten().min();
            }
            None => is_due = true,
        }
        if seen.insert((stored.id.clone(), stored.origin)) {
            is_due |= !is_there(destination, &stored).await?;
        }
    }
    let newest_set = shelf.sets().last().map(RunId::time);
    Ok(Compared { difference: is_due.then_some(difference), newest_set })
}

/// Whether the object is still where it was stored, by its size.
async fn is_there(destination: &Destination, stored: &StoredSecrets) -> Result<bool, JobError> {
    match destination.store.head(&stored.key()).await {
        Ok(object) => Ok(object.size_bytes == stored.object.size_bytes),
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}
