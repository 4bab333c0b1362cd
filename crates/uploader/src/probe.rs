//! Finding out what a store can do, by doing it.

use bytes::Bytes;
use convault_core::{Abilities, Ability, Part, PutMode, Sha256, Store, StoreError, StoreErrorKind};
use tracing::warn;

const PROBE_FOLDER: &str = "probe";
/// An entity tag that no store gives out.
const FOREIGN_ETAG: &str = "\"00000000000000000000000000000000-convault\"";

/// Tries every ability of `store` on one small object of its own, which it removes again where it may.
///
/// A store that cannot even be written to gives that error instead of abilities.
pub(crate) async fn abilities(store: &dyn Store) -> Result<Abilities, StoreError> {
    let key = format!("{PROBE_FOLDER}/{:016x}", rand::random::<u64>());
    let found = try_out(store, &key).await;
    if let Err(error) = store.delete(&key).await {
        warn!(%error, "the probe object could not be removed and stays");
    }
    found
}

async fn try_out(store: &dyn Store, key: &str) -> Result<Abilities, StoreError> {
    let first = store.put(key, Bytes::from_static(b"first"), PutMode::Overwrite).await?;
    let put_if_absent = left_alone(store.put(key, Bytes::from_static(b"second"), PutMode::IfAbsent).await)?;
    let (finish_if_absent, list_uploads, parts_confirmed) = try_upload(store, key).await?;
    let replace_if_match = try_replace(store, key).await?;
    let checksums =
        if first.checksum_confirmed && parts_confirmed { Ability::Works } else { Ability::Ignored };
    Ok(Abilities {
        put_if_absent,
        finish_if_absent,
        replace_if_match,
        checksums,
        list_uploads,
        versions: Ability::Refused,
        locks: Ability::Refused,
        default_lock: None,
    })
}

/// Uploads to the key that is taken: once to be refused, and once to see whether checksums come back.
async fn try_upload(store: &dyn Store, key: &str) -> Result<(Ability, Ability, bool), StoreError> {
    let body = Bytes::from_static(b"third");
    let part = Part { number: 1, sha256: Sha256::of(&body), body };
    let upload = store.upload(key, 5 << 20, PutMode::IfAbsent).await?;
    let listed = match store.list_uploads(PROBE_FOLDER).await {
        Ok(uploads) if uploads.iter().any(|upload| upload.key == key) => Ability::Works,
        Ok(_) => Ability::Ignored,
        Err(error) => refused(error)?,
    };
    upload.put_part(part.clone()).await?;
    let finished = left_alone(upload.finish().await);
    upload.abort().await?;

    let upload = store.upload(key, 5 << 20, PutMode::Overwrite).await?;
    upload.put_part(part).await?;
    let stored = upload.finish().await?;
    Ok((finished?, listed, stored.checksum_confirmed))
}

async fn try_replace(store: &dyn Store, key: &str) -> Result<Ability, StoreError> {
    let Some(etag) = store.head(key).await?.etag else { return Ok(Ability::Refused) };
    let body = Bytes::from_static(b"fourth");
    let foreign = left_alone(store.put(key, body.clone(), PutMode::IfMatch(FOREIGN_ETAG.into())).await)?;
    if foreign != Ability::Works {
        return Ok(foreign);
    }
    match store.put(key, body, PutMode::IfMatch(etag)).await {
        Ok(_) => Ok(Ability::Works),
        Err(error) if error.kind == StoreErrorKind::AlreadyExists => Ok(Ability::Refused),
        Err(error) => refused(error),
    }
}

/// What the outcome of a conditional write over an object it must not touch says about the condition.
fn left_alone<T>(outcome: Result<T, StoreError>) -> Result<Ability, StoreError> {
    match outcome {
        Ok(_) => Ok(Ability::Ignored),
        Err(error) if error.kind == StoreErrorKind::AlreadyExists => Ok(Ability::Works),
        Err(error) => refused(error),
    }
}

/// A store that refuses says so; one that is out of reach or denies access has not been probed at all.
fn refused(error: StoreError) -> Result<Ability, StoreError> {
    match error.kind {
        StoreErrorKind::Unsupported | StoreErrorKind::Other => Ok(Ability::Refused),
        _ => Err(error),
    }
}
