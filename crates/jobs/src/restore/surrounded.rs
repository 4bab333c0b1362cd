//! What a snapshot's surroundings hold, an entry at a time.

use convault_archive::{ZipEntryError, encryption::Identities, read_zip_entry};
use convault_core::{Manifest, ObjectRole, Store};

use crate::{
    JobError,
    access::{at_random, key_of},
    error::chain,
};

/// More than a list of crons has.
const MOST_BYTES: u64 = 16 << 20;

/// The entry of that name, such as `scheduled-functions/crons.jsonl`, among the surroundings of a snapshot; `None` where
/// it has no surroundings, or no such entry. Besides it, little is read of the object.
pub async fn read_surrounding(
    store: &dyn Store,
    manifest: &Manifest,
    identities: Option<&Identities>,
    name: &str,
) -> Result<Option<Vec<u8>>, JobError> {
    let Some(object) = manifest.object(ObjectRole::Surroundings) else { return Ok(None) };
    let place = || format!("{} {}", store.location(), key_of(manifest, object));
    let zip = at_random(store, manifest, object, identities).await?;
    let entry = read_zip_entry(&zip, name, MOST_BYTES).await;
    entry.map_err(|error| match error {
        ZipEntryError::Read(source) => {
            JobError::Unread { place: place(), what: format!("{name} could not be read"), source }
        }
        error => JobError::Damaged { place: place(), what: chain(&error) },
    })
}
