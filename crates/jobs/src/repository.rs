//! `convault.json`: makes a prefix a repository, and tells one repository from another.

use bytes::Bytes;
use convault_archive::signature::{PublicKey, SigningKey};
use convault_core::{Layout, PutMode, REPOSITORY_KEY, RepositoryFile, RunId, Store, StoreErrorKind};

use crate::{Destination, JobError, read::read_small};

const REPOSITORY_FORMAT: u32 = 1;
const LARGEST_REPOSITORY_FILE_BYTES: u64 = 64 << 10;

/// Reads the repository file of a destination; `None` where there is none yet.
pub(crate) async fn read(store: &dyn Store) -> Result<Option<RepositoryFile>, JobError> {
    let bytes = match read_small(store, REPOSITORY_KEY, LARGEST_REPOSITORY_FILE_BYTES).await {
        Ok(bytes) => bytes,
        Err(JobError::Store(error)) if error.kind == StoreErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let wrong =
        |what: String| JobError::Repository { place: format!("{} {REPOSITORY_KEY}", store.location()), what };
    let file: RepositoryFile = serde_json::from_slice(&bytes).map_err(|error| {
        wrong(format!("this is not a Convault repository file ({error}); is the prefix right?"))
    })?;
    if file.format > REPOSITORY_FORMAT {
        return Err(wrong(format!("the repository has format {}; use a newer convault", file.format)));
    }
    Ok(Some(file))
}

/// Reads the repository file of a destination, or writes it where there is none.
pub(crate) async fn open_or_make(
    destination: &Destination,
    new_id: &RunId,
) -> Result<RepositoryFile, JobError> {
    let store = destination.store.as_ref();
    let public = destination.trust.signer().map(SigningKey::public);
    if let Some(public) = &public {
        publish(store, public).await?;
    }
    if let Some(file) = read(store).await? {
        return Ok(file);
    }
    let public_key = public.map(|public| public.to_string());
    let file = RepositoryFile { format: REPOSITORY_FORMAT, repository: new_id.clone(), public_key };
    let mut body = serde_json::to_vec_pretty(&file).expect("a repository file has only string keys");
    body.push(b'\n');
    match store.put(REPOSITORY_KEY, Bytes::from(body), PutMode::IfAbsent).await {
        Ok(_) => {}
        Err(error) if error.kind == StoreErrorKind::AlreadyExists => {}
        Err(error) => return Err(error.into()),
    }
    // Whoever came first wins, and on a store without conditional writes whoever came last: read what is there.
    read(store).await?.ok_or_else(|| JobError::Repository {
        place: format!("{} {REPOSITORY_KEY}", store.location()),
        what: "it was written, but is not there when read back".to_owned(),
    })
}

/// Leaves the public key where people find it who check signatures by hand.
async fn publish(store: &dyn Store, public: &PublicKey) -> Result<(), JobError> {
    let key = Layout::public_key(&public.id().to_string());
    match store.head(&key).await {
        Ok(_) => return Ok(()),
        Err(error) if matches!(error.kind, StoreErrorKind::NotFound | StoreErrorKind::Denied) => {}
        Err(error) => return Err(error.into()),
    }
    match store.put(&key, Bytes::from(public.to_file()), PutMode::IfAbsent).await {
        Err(error) if error.kind != StoreErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}
