//! What is known of stored secrets with the names key alone, and their values for whoever has an identity.

use std::collections::BTreeMap;

use convault_archive::{
    NamesKey, ZipEntryError,
    encryption::{EncryptedReader, Identities, OpenError},
    read_zip_entry,
};
use convault_core::{DeploymentName, Secret, Sha256, SurroundingName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    names::{OpenedNames, SecretChanges},
    shelf::{Shelf, StoredSecrets},
};
use crate::{
    Destination, JobError,
    access::{StoredReader, not_opened},
    error::chain,
    surroundings::VALUES_NAME,
};

/// More than can be written into one.
const MOST_VALUE_BYTES: u64 = 256 << 20;

/// Every time that secrets were stored in a destination, the newest first.
pub async fn stored_secrets(
    destination: &Destination,
    deployment: &DeploymentName,
) -> Result<Vec<StoredSecrets>, JobError> {
    Shelf::open(destination, deployment).await?.all().await
}

/// A secret, as far as it is known without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedSecret {
    /// `environment/STRIPE_KEY`.
    pub name: String,
    /// When it was first stored with the value that it has now.
    pub since: Timestamp,
    /// When it was last stored with another value, or was not there; `None` where what is stored does not reach back so
    /// far. It changed between the two.
    pub not_yet: Option<Timestamp>,
}

/// The secrets of today: of each surrounding those that were stored last. `all` is what [`stored_secrets`] gives.
pub fn list_secrets(
    all: &[StoredSecrets],
    names: &NamesKey,
    deployment: &DeploymentName,
) -> Vec<ListedSecret> {
    let mut newest: BTreeMap<&SurroundingName, &StoredSecrets> = BTreeMap::new();
    for stored in all.iter().rev() {
        newest.extend(stored.record.hashes.keys().map(|surrounding| (surrounding, stored)));
    }
    let mut listed = Vec::new();
    for (surrounding, stored) in newest {
        let opened = OpenedNames::of(&stored.record, names, deployment);
        let own: BTreeMap<&Sha256, &str> =
            opened.all().filter(|(of, ..)| *of == surrounding).map(|(_, name, hash)| (hash, name)).collect();
        for (hash, value) in &stored.record.hashes[surrounding] {
            let name = own
                .get(hash)
                .map_or_else(|| opened.name(surrounding, hash), |name| format!("{surrounding}/{name}"));
            listed.push(listed_secret(name, surrounding, hash, value, stored, all));
        }
    }
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    listed
}

fn listed_secret(
    name: String,
    surrounding: &SurroundingName,
    hash: &Sha256,
    value: &Sha256,
    newest: &StoredSecrets,
    all: &[StoredSecrets],
) -> ListedSecret {
    let mut listed = ListedSecret { name, since: newest.at, not_yet: None };
    for stored in all.iter().filter(|stored| stored.record.names_key == newest.record.names_key) {
        let Some(hashes) = stored.record.hashes.get(surrounding) else { continue };
        if hashes.get(hash) == Some(value) {
            listed.since = stored.at;
        } else {
            listed.not_yet = Some(stored.at);
            break;
        }
    }
    listed
}

/// What changed from one to the other. `None` where they were hashed under different names keys, so that nobody can tell.
pub fn compare_secrets(
    older: &StoredSecrets,
    newer: &StoredSecrets,
    names: &NamesKey,
    deployment: &DeploymentName,
) -> Option<SecretChanges> {
    SecretChanges::between(&older.record, &newer.record, names, deployment)
}

/// A secret with its value, which prints redacted.
#[derive(Debug, Clone)]
pub struct SecretValue {
    /// Where it belongs.
    pub surrounding: SurroundingName,
    /// `STRIPE_KEY`.
    pub name: String,
    /// Its value.
    pub value: Secret,
}

#[derive(Deserialize)]
struct Line {
    surrounding: SurroundingName,
    name: String,
    value: String,
}

/// The values that were stored once, opened with one of `identities`. Besides them, little is read of the object.
pub async fn read_secrets(
    destination: &Destination,
    stored: &StoredSecrets,
    identities: &Identities,
) -> Result<Vec<SecretValue>, JobError> {
    let store = destination.store.as_ref();
    let key = stored.key();
    let place = format!("{} {key}", store.location());
    let reader = StoredReader::new(store, key, stored.object.size_bytes);
    let opened = EncryptedReader::open(reader, identities).await;
    let zip = opened.map_err(|error| match error {
        OpenError::Read { start, end, source } => JobError::Unread {
            place: place.clone(),
            what: format!("bytes {start} to {end} could not be read"),
            source,
        },
        error => not_opened(&error, place.clone(), &stored.recipients),
    })?;
    let entry = read_zip_entry(&zip, VALUES_NAME, MOST_VALUE_BYTES).await.map_err(|error| match error {
        ZipEntryError::Read(source) => JobError::Unread {
            place: place.clone(),
            what: format!("{VALUES_NAME} could not be read"),
            source,
        },
        error => JobError::Damaged { place: place.clone(), what: chain(&error) },
    })?;
    let lines = entry.unwrap_or_default();
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let parsed = lines.map(|line| {
        // What serde says of a line it cannot read may quote it.
        let line: Line = serde_json::from_slice(line).map_err(|_| JobError::Damaged {
            place: place.clone(),
            what: format!("a line of {VALUES_NAME} cannot be read"),
        })?;
        Ok(SecretValue { surrounding: line.surrounding, name: line.name, value: Secret::new(line.value) })
    });
    parsed.collect()
}
