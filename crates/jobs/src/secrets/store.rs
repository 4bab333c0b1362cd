//! Stores a set of secrets: the object first, the record that makes the set exist last.

use bytes::Bytes;
use convault_archive::NamesKey;
use convault_core::{
    Candidate, DestinationResult, Layout, Lock, PutMode, RunId, SECRET_SET_FORMAT, SecretSet, Standing,
    StoreErrorKind, Stored, keep_horizon,
};
use jiff::Timestamp;

use super::{
    WatchJob,
    shelf::{SET_NAME, Shelf},
};
use crate::{
    Destination, JobError, RunContext,
    error::chain,
    group::{Group, Sending, SentObject},
    lane::Finishing,
    repository,
    settle::{Expected, prove},
    surroundings::{Gathered, Gathering, Values, ZipSink, gather, outline},
    trust::put_own,
};

/// What became of storing a set.
pub(super) struct StoredSet {
    pub(super) results: Vec<DestinationResult>,
    pub(super) warnings: Vec<String>,
}

/// Reads the secrets once more, and stores them in each of these destinations.
pub(super) async fn store_set(
    job: &WatchJob,
    destinations: &[Destination],
    names: &NamesKey,
    context: &RunContext,
) -> Result<StoredSet, JobError> {
    let layout = Layout::new(job.deployment.clone());
    let groups = Group::of(destinations);
    let begin = |group: &Group| {
        let key = layout.surroundings_object(&context.id, &group.object_name(Layout::SURROUNDINGS_NAME));
        Sending::begin_at(group, &key, &outline(&layout, job.stall_limit, context))
    };
    let sendings: Result<Vec<Sending>, _> = groups.iter().map(begin).collect();
    let gathering = Gathering::new(names, &job.deployment, Values::Stored(Box::new(ZipSink::new(sendings?))));
    let sent = gather(gathering, &job.surroundings, context).await;
    let at = context.clock.now();
    let mut stored = StoredSet { results: Vec::new(), warnings: sent.gathered.warnings.clone() };
    for object in sent.sent {
        settle(job, object, &sent.gathered, at, destinations, &mut stored, context).await?;
    }
    if context.stop.is_cancelled() { Err(JobError::Stopped) } else { Ok(stored) }
}

/// Makes the set exist in each destination that took the object.
async fn settle(
    job: &WatchJob,
    object: SentObject,
    gathered: &Gathered,
    at: Timestamp,
    destinations: &[Destination],
    stored: &mut StoredSet,
    context: &RunContext,
) -> Result<(), JobError> {
    let SentObject { name, role, sent } = object;
    let expected = Expected { name, role, size_bytes: sent.length_bytes, sha256: sent.sha256 };
    for lane in sent.lanes {
        let is_it = |destination: &&Destination| destination.store.destination() == lane.store.destination();
        let destination = destinations.iter().find(is_it).expect("it was sent to these");
        let finished = match lane.result {
            Ok(finishing) => {
                let own = Own { job, destination, expected: &expected, gathered, at, context };
                let written = own.write(&finishing, &mut stored.warnings).await;
                if written.is_err() {
                    finishing.abort().await;
                    own.remove().await;
                }
                written
            }
            Err(error) => Err(error.into_job_error(&context.stop)),
        };
        let (stored_bytes, problem) = match finished {
            Ok(bytes) => (bytes, None),
            Err(error) => (0, Some(chain(&error))),
        };
        let destination = lane.store.destination().clone();
        stored.results.push(DestinationResult { destination, stored_bytes, problem });
    }
    Ok(())
}

/// The set in one destination.
struct Own<'a> {
    job: &'a WatchJob,
    destination: &'a Destination,
    expected: &'a Expected,
    gathered: &'a Gathered,
    at: Timestamp,
    context: &'a RunContext,
}

impl Own<'_> {
    fn key(&self, name: &str) -> String {
        Layout::new(self.job.deployment.clone()).surroundings_object(&self.context.id, name)
    }

    /// Finishes the object, proves it, and writes the record. Gives the bytes stored.
    async fn write(&self, finishing: &Finishing, warnings: &mut Vec<String>) -> Result<u64, JobError> {
        let (store, context) = (self.destination.store.as_ref(), self.context);
        let secrets = self.gathered.record.clone().filter(|_| !self.gathered.is_broken);
        let Some(secrets) = secrets else {
            return Err(JobError::SecretsUnread);
        };
        let repository = repository::open_or_make(self.destination, &context.id).await?.repository;
        let object_key = self.key(&self.expected.name);
        let finished = match context.or_stop(finishing.finish()).await? {
            // The key belongs to this run alone: what is there already is this very upload, whose answer got lost.
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
                Stored { size_bytes: self.expected.size_bytes, checksum_confirmed: false, etag: None }
            }
            result => result?,
        };
        let object = prove(store, object_key.clone(), &finished, self.expected, context).await?;
        let recipients = self.destination.encryption.iter();
        let set = SecretSet {
            format: SECRET_SET_FORMAT,
            id: context.id.clone(),
            deployment: self.job.deployment.clone(),
            repository,
            convault_version: self.job.version.clone(),
            job: self.job.job.clone(),
            at: self.at,
            object,
            recipients: recipients.flat_map(|one| one.recipients.iter().map(ToString::to_string)).collect(),
            not_covered: self.gathered.not_covered.clone(),
            secrets,
            fence: context.fence(),
        };
        let bytes = Bytes::from(set.to_bytes());
        let key = self.key(SET_NAME);
        let what = format!("convault set {} {} {}", set.deployment, set.id, context.clock.now());
        context.check_lease().await?;
        let trust = &self.destination.trust;
        let signature_bytes = trust.sign(store, &key, &bytes, &what, PutMode::IfAbsent).await?;
        put_own(store, &key, bytes.clone(), PutMode::IfAbsent).await?;
        let mut keys = vec![object_key, key.clone()];
        keys.extend((signature_bytes > 0).then(|| Layout::signature_of(&key)));
        self.lock(&keys, warnings).await;
        Ok(set.object.size_bytes + signature_bytes + bytes.len() as u64)
    }

    /// Locks the set for as long as retention will keep it. It is there without its locks as well.
    async fn lock(&self, keys: &[String], warnings: &mut Vec<String>) {
        let Some(mode) = self.destination.object_lock else { return };
        let locked = async {
            let stored = Shelf::open(self.destination, &self.job.deployment).await?;
            let candidates: Vec<Candidate> = stored.sets().map(candidate).collect();
            let (own, now) = (candidate(&self.context.id), self.context.clock.now());
            let keep = self
                .destination
                .accept
                .as_deref()
                .map_or_else(|| self.job.keep.clone(), |tiers| self.job.keep.restricted_to(tiers));
            let interval = self.job.expected_interval;
            let until = keep_horizon(&own, &candidates, &keep, &self.job.time_zone, interval, now);
            for key in keys.iter().filter(|_| until.is_some_and(|until| until > now)) {
                let until = until.expect("it was looked at above");
                self.destination.store.set_lock(key, Lock { mode, until }).await?;
            }
            Ok::<(), JobError>(())
        };
        if let Err(error) = locked.await {
            let text = format!(
                "{}: the set of secrets is not locked: {}",
                self.destination.store.destination(),
                chain(&error)
            );
            self.context.warning(text.clone());
            warnings.push(text);
        }
    }

    /// Leaves nothing of a set that did not come to be, as far as the credentials allow.
    async fn remove(&self) {
        if self.destination.append_only {
            return;
        }
        let record = self.key(SET_NAME);
        for key in [record.clone(), Layout::signature_of(&record), self.key(&self.expected.name)] {
            if let Err(error) = self.destination.store.delete(&key).await {
                tracing::warn!(%error, "an object of a set that was given up stays behind");
                return;
            }
        }
    }
}

/// Retention's view of a set.
pub(super) fn candidate(id: &RunId) -> Candidate {
    Candidate {
        id: id.clone(),
        time: id.time(),
        standing: Standing::Good,
        since: id.time(),
        hold: None,
        keep_until: None,
    }
}
