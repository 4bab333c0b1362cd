//! [`SecretSet`]: the secrets of a deployment as they were stored between two snapshots, and the keyed hashes
//! ([`SecretsRecord`]) by which changes are noticed (`docs/format.md` is the reference).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Coverage, DeploymentName, JobName, RunId, Sha256, StoredObject, SurroundingName};

/// The format of [`SecretSet`] that this build writes, and the newest it reads.
pub const SECRET_SET_FORMAT: u32 = 1;

/// Keyed hashes of named values: of each surrounding the hash of each name, with the hash of its value.
pub type SecretHashes = BTreeMap<SurroundingName, BTreeMap<Sha256, Sha256>>;

/// What is known of the secrets among surroundings without a private key. Only surroundings that were collected to their
/// end are in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretsRecord {
    /// The names key of the hashes: what tells it from others.
    pub names_key: String,
    /// The names, sealed under the names key, base64.
    pub names: String,
    /// The hashes.
    pub hashes: SecretHashes,
}

/// What changed between two [`SecretHashes`]: hashes of names, by surrounding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HashChanges {
    /// Names that came.
    pub added: Vec<(SurroundingName, Sha256)>,
    /// Names with another value.
    pub changed: Vec<(SurroundingName, Sha256)>,
    /// Names that are gone.
    pub removed: Vec<(SurroundingName, Sha256)>,
}

impl HashChanges {
    /// What is in `newer` and was not, or not so, in `older`. A surrounding that is only in one of them is left out: of
    /// whether its secrets changed, it says nothing.
    pub fn between(older: &SecretHashes, newer: &SecretHashes) -> Self {
        let mut changes = Self::default();
        for (surrounding, is) in newer {
            let Some(was) = older.get(surrounding) else { continue };
            for (name, value) in is {
                match was.get(name) {
                    None => changes.added.push((surrounding.clone(), *name)),
                    Some(before) if before != value => changes.changed.push((surrounding.clone(), *name)),
                    Some(_) => {}
                }
            }
            let gone = was.keys().filter(|name| !is.contains_key(name));
            changes.removed.extend(gone.map(|name| (surrounding.clone(), *name)));
        }
        changes
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// A set that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretSetError {
    /// It is not JSON, or lacks a field.
    #[error("the record of the set cannot be read")]
    Unreadable(#[source] serde_json::Error),
    /// A newer version of Convault wrote it.
    #[error(
        "the set has format {found}, and this version reads up to {SECRET_SET_FORMAT}: use a newer Convault"
    )]
    NewerFormat {
        /// Its `format`.
        found: u32,
    },
    /// It lies where another one belongs.
    #[error("the record says it is set {found}, but lies in the folder of {expected}")]
    WrongPlace {
        /// Deployment and identifier in the record.
        found: String,
        /// Deployment and identifier of its folder.
        expected: String,
    },
}

/// The record of a set of secrets: written last, it makes the set exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretSet {
    /// [`SECRET_SET_FORMAT`].
    pub format: u32,
    /// The set's identifier, that of the run which made it, also its folder's name.
    pub id: RunId,
    /// The deployment.
    pub deployment: DeploymentName,
    /// The identifier of the repository, from `convault.json`.
    pub repository: RunId,
    /// The version of Convault that wrote this.
    pub convault_version: String,
    /// The job whose surroundings these are.
    pub job: JobName,
    /// When the secrets were read, by the clock of who read them.
    pub at: Timestamp,
    /// The object with the secrets.
    pub object: StoredObject,
    /// Who may decrypt it.
    pub recipients: Vec<String>,
    /// What could not be read.
    pub not_covered: Coverage,
    /// The hashes of what could.
    pub secrets: SecretsRecord,
    /// The fencing number of the lease, where there was one.
    pub fence: Option<u64>,
}

impl SecretSet {
    /// The bytes to store.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a set has only string keys");
        bytes.push(b'\n');
        bytes
    }

    /// Reads the record found in the folder of set `id` of `deployment`.
    pub fn parse(bytes: &[u8], deployment: &DeploymentName, id: &RunId) -> Result<Self, SecretSetError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format: found } = serde_json::from_slice(bytes).map_err(SecretSetError::Unreadable)?;
        if found > SECRET_SET_FORMAT {
            return Err(SecretSetError::NewerFormat { found });
        }
        let set: Self = serde_json::from_slice(bytes).map_err(SecretSetError::Unreadable)?;
        if set.id != *id || set.deployment != *deployment || set.object.name.contains('/') {
            let found = format!("{}/{} ({})", set.deployment, set.id, set.object.name);
            return Err(SecretSetError::WrongPlace { found, expected: format!("{deployment}/{id}") });
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(all: &[(&str, &[(u8, u8)])]) -> SecretHashes {
        let of =
            |pairs: &[(u8, u8)]| pairs.iter().map(|(n, v)| (Sha256([*n; 32]), Sha256([*v; 32]))).collect();
        all.iter().map(|(name, pairs)| (SurroundingName::new(*name).unwrap(), of(pairs))).collect()
    }

    #[test]
    fn what_was_added_changed_and_removed_is_told_apart() {
        let older = hashes(&[("environment", &[(1, 1), (2, 2), (3, 3)]), ("gone", &[(9, 9)])]);
        let newer = hashes(&[("environment", &[(1, 1), (2, 7), (4, 4)]), ("new", &[(8, 8)])]);
        let changes = HashChanges::between(&older, &newer);
        let at = |digit: u8| vec![(SurroundingName::new("environment").unwrap(), Sha256([digit; 32]))];
        assert_eq!(changes, HashChanges { added: at(4), changed: at(2), removed: at(3) });
        assert!(HashChanges::between(&older, &older).is_empty());
    }
}
