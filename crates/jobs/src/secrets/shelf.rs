//! [`StoredSecrets`]: the secrets that a destination holds, with snapshots and in sets of their own.

use convault_core::{
    Coverage, DeploymentName, Layout, Manifest, ObjectRole, RunId, SecretSet, SecretsRecord, StoreErrorKind,
    StoredObject, SurroundingName,
};
use jiff::Timestamp;

use crate::{Destination, JobError, error::chain, read::read_small, survey::LARGEST_MANIFEST_BYTES};

/// The name of the record that makes a set exist.
pub(super) const SET_NAME: &str = "set.json";
/// So many records are looked at for a surrounding that was not collected lately.
const LOOKED_BACK: usize = 64;

/// What secrets were stored with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretsOrigin {
    /// A snapshot, among its surroundings.
    Snapshot,
    /// A set of their own.
    Set,
}

/// Secrets as they were stored once.
#[derive(Debug, Clone)]
pub struct StoredSecrets {
    /// The snapshot or the set.
    pub id: RunId,
    /// Which of the two.
    pub origin: SecretsOrigin,
    /// The deployment.
    pub deployment: DeploymentName,
    /// When they were read.
    pub at: Timestamp,
    /// Their keyed hashes.
    pub record: SecretsRecord,
    /// The object they lie in.
    pub object: StoredObject,
    /// Who can open it.
    pub recipients: Vec<String>,
    /// What could not be read.
    pub not_covered: Coverage,
}

impl StoredSecrets {
    /// The key of the object.
    pub(super) fn key(&self) -> String {
        let layout = Layout::new(self.deployment.clone());
        match self.origin {
            SecretsOrigin::Snapshot => layout.object(&self.id, &self.object.name),
            SecretsOrigin::Set => layout.surroundings_object(&self.id, &self.object.name),
        }
    }

    fn of_manifest(manifest: Manifest) -> Option<Self> {
        let object = manifest.object(ObjectRole::Surroundings)?.clone();
        Some(Self {
            id: manifest.id,
            origin: SecretsOrigin::Snapshot,
            deployment: manifest.deployment,
            at: manifest.verification.at,
            record: manifest.secrets?,
            object,
            recipients: manifest.recipients,
            not_covered: manifest.not_covered,
        })
    }

    fn of_set(set: SecretSet) -> Self {
        Self {
            id: set.id,
            origin: SecretsOrigin::Set,
            deployment: set.deployment,
            at: set.at,
            record: set.secrets,
            object: set.object,
            recipients: set.recipients,
            not_covered: set.not_covered,
        }
    }
}

/// Where the secrets of one deployment in one destination lie.
pub(super) struct Shelf<'a> {
    destination: &'a Destination,
    layout: Layout,
    /// The newest last.
    places: Vec<(RunId, SecretsOrigin)>,
}

impl<'a> Shelf<'a> {
    /// Looks which snapshots and sets there are, and reads none.
    pub(super) async fn open(
        destination: &'a Destination,
        deployment: &DeploymentName,
    ) -> Result<Self, JobError> {
        let layout = Layout::new(deployment.clone());
        let store = destination.store.as_ref();
        let prefixes = [
            (layout.snapshots_prefix(), SecretsOrigin::Snapshot),
            (layout.surroundings_prefix(), SecretsOrigin::Set),
        ];
        let mut places = Vec::new();
        for (prefix, origin) in prefixes {
            let folders = store.list_folders(&prefix).await?;
            let ids = folders.iter().filter_map(|folder| RunId::parse(folder).ok());
            places.extend(ids.map(|id| (id, origin)));
        }
        places.sort();
        Ok(Self { destination, layout, places })
    }

    /// The sets, the oldest first.
    pub(super) fn sets(&self) -> impl Iterator<Item = &RunId> {
        self.places.iter().filter(|(_, origin)| *origin == SecretsOrigin::Set).map(|(id, _)| id)
    }

    /// What was stored there; `None` where it is not whole, has no secrets, or may not be believed.
    pub(super) async fn read(
        &self,
        id: &RunId,
        origin: SecretsOrigin,
    ) -> Result<Option<StoredSecrets>, JobError> {
        let key = match origin {
            SecretsOrigin::Snapshot => self.layout.manifest(id),
            SecretsOrigin::Set => self.layout.surroundings_object(id, SET_NAME),
        };
        let store = self.destination.store.as_ref();
        let bytes = match read_small(store, &key, LARGEST_MANIFEST_BYTES).await {
            Ok(bytes) => bytes,
            Err(JobError::Store(error)) if error.kind == StoreErrorKind::NotFound => return Ok(None),
            Err(JobError::Damaged { what, .. }) => {
                tracing::warn!("{} {key} is passed over: {what}", store.location());
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if let Some(why) = self.destination.trust.why_not(store, &key, &bytes).await? {
            tracing::warn!("{} {key} is passed over: {why}", store.location());
            return Ok(None);
        }
        let deployment = self.layout.deployment();
        let parsed = match origin {
            SecretsOrigin::Snapshot => Manifest::parse(&bytes, deployment, id)
                .map(StoredSecrets::of_manifest)
                .map_err(|error| chain(&error)),
            SecretsOrigin::Set => SecretSet::parse(&bytes, deployment, id)
                .map(|set| Some(StoredSecrets::of_set(set)))
                .map_err(|error| chain(&error)),
        };
        Ok(parsed.unwrap_or_else(|what| {
            tracing::warn!("{} {key} is passed over: {what}", store.location());
            None
        }))
    }

    /// Everything, the newest first.
    pub(super) async fn all(&self) -> Result<Vec<StoredSecrets>, JobError> {
        let mut all = Vec::new();
        for (id, origin) in self.places.iter().rev() {
            all.extend(self.read(id, *origin).await?);
        }
        Ok(all)
    }

    /// The newest that has each of these surroundings; those that none has are left out.
    pub(super) async fn newest_of<'n>(
        &self,
        wanted: impl IntoIterator<Item = &'n SurroundingName>,
    ) -> Result<Vec<(SurroundingName, StoredSecrets)>, JobError> {
        let mut wanted: Vec<&SurroundingName> = wanted.into_iter().collect();
        let mut found = Vec::new();
        for (id, origin) in self.places.iter().rev().take(LOOKED_BACK) {
            if wanted.is_empty() {
                break;
            }
            let Some(stored) = self.read(id, *origin).await? else { continue };
            let (here, missing) =
                wanted.into_iter().partition(|name| stored.record.hashes.contains_key(*name));
            wanted = missing;
            found.extend(here.into_iter().map(|name: &SurroundingName| (name.clone(), stored.clone())));
        }
        Ok(found)
    }
}
