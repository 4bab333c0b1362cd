//! `convault.json`: makes a prefix a repository, and tells one repository from another.

use bytes::{Bytes, BytesMut};
use convault_archive::encryption::Encryptor;
use convault_archive::signature::{PublicKey, SigningKey};
use convault_core::{Layout, PutMode, REPOSITORY_KEY, RepositoryFile, RunId, Store, StoreErrorKind};
use futures::TryStreamExt as _;

use crate::{
    Destination, Encryption, JobError, RunContext, Survey,
    read::{next_version, read_small},
    trust::put_own,
};

const REPOSITORY_FORMAT: u32 = 1;
/// So much of the recipients' fingerprint is in the name of the escrowed names key.
const FINGERPRINT_DIGITS: usize = 16;
const LARGEST_REPOSITORY_FILE_BYTES: u64 = 64 << 10;

/// Reads the repository file of a destination; `None` where there is none yet.
pub(crate) async fn read(store: &dyn Store) -> Result<Option<RepositoryFile>, JobError> {
    let wrong =
        |what: String| JobError::Repository { place: format!("{} {REPOSITORY_KEY}", store.location()), what };
    let bytes = match read_small(store, REPOSITORY_KEY, LARGEST_REPOSITORY_FILE_BYTES).await {
        Ok(bytes) => bytes,
        Err(JobError::Store(error)) if error.kind == StoreErrorKind::NotFound => return Ok(None),
        Err(JobError::Damaged { what, .. }) => {
            return Err(wrong(format!("{what}; `convault repair` brings the file back")));
        }
        Err(error) => return Err(error),
    };
    let file = parse(&bytes).map_err(|error| {
        wrong(format!(
            "this is not a Convault repository file ({error}); is the prefix right? If it is, `convault repair` brings \
             the file back"
        ))
    })?;
    if file.format > REPOSITORY_FORMAT {
        return Err(wrong(format!("the repository has format {}; use a newer convault", file.format)));
    }
    Ok(Some(file))
}

fn parse(bytes: &[u8]) -> Result<RepositoryFile, serde_json::Error> {
    serde_json::from_slice(bytes)
}

/// Brings a repository file back that was written over with something else: its newest version that is one, where the
/// bucket keeps versions, or else one that says what the snapshots of `survey` say. Where neither is known, the prefix
/// may well be somebody else's, and nothing is touched. Gives whether it was written.
pub(crate) async fn mend(
    destination: &Destination,
    survey: &Survey,
    context: &RunContext,
) -> Result<bool, JobError> {
    let store = destination.store.as_ref();
    let unusable = match read_small(store, REPOSITORY_KEY, LARGEST_REPOSITORY_FILE_BYTES).await {
        Ok(bytes) => parse(&bytes).is_err(),
        Err(JobError::Damaged { .. }) => true,
        // Whoever writes here next makes one.
        Err(JobError::Store(error)) if error.kind == StoreErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    if !unusable {
        return Ok(false);
    }
    let body = match older_version(store).await? {
        Some(bytes) => bytes,
        None => match survey.snapshots().next() {
            Some(snapshot) => to_bytes(&made(destination, snapshot.manifest.repository.clone())),
            None => return Ok(false),
        },
    };
    context.check_lease().await?;
    put_own(store, REPOSITORY_KEY, body, PutMode::Overwrite).await?;
    Ok(true)
}

/// The newest version that is a repository file.
async fn older_version(store: &dyn Store) -> Result<Option<Bytes>, JobError> {
    let mut versions = store.list_versions(REPOSITORY_KEY);
    while let Some(version) = next_version(&mut versions).await? {
        let may_be = version.key == REPOSITORY_KEY && !version.deletion;
        if !may_be || version.size_bytes > LARGEST_REPOSITORY_FILE_BYTES {
            continue;
        }
        let stream = store.get_version(REPOSITORY_KEY, &version.version, None).await?;
        let bytes = stream.try_collect::<Vec<Bytes>>().await?.concat();
        if parse(&bytes).is_ok() {
            return Ok(Some(bytes.into()));
        }
    }
    Ok(None)
}

fn made(destination: &Destination, repository: RunId) -> RepositoryFile {
    let public_key = destination.trust.signer().map(|signer| signer.public().to_string());
    RepositoryFile { format: REPOSITORY_FORMAT, repository, public_key }
}

fn to_bytes(file: &RepositoryFile) -> Bytes {
    let mut body = serde_json::to_vec_pretty(file).expect("a repository file has only string keys");
    body.push(b'\n');
    body.into()
}

/// Reads the repository file of a destination, or writes it where there is none.
pub(crate) async fn open_or_make(
    destination: &Destination,
    new_id: &RunId,
) -> Result<RepositoryFile, JobError> {
    let store = destination.store.as_ref();
    if let Some(public) = destination.trust.signer().map(SigningKey::public) {
        publish(store, &public).await?;
    }
    if let Some(encryption) = &destination.encryption {
        escrow(store, encryption).await?;
    }
    if let Some(file) = read(store).await? {
        return Ok(file);
    }
    let body = to_bytes(&made(destination, new_id.clone()));
    match store.put(REPOSITORY_KEY, body, PutMode::IfAbsent).await {
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

/// Leaves the names key, encrypted to the recipients, where those find it who have nothing but their identity.
async fn escrow(store: &dyn Store, encryption: &Encryption) -> Result<(), JobError> {
    let key = names_key_place(encryption);
    match store.head(&key).await {
        Ok(_) => return Ok(()),
        Err(error) if matches!(error.kind, StoreErrorKind::NotFound | StoreErrorKind::Denied) => {}
        Err(error) => return Err(error.into()),
    }
    let mut sealed = BytesMut::new();
    let mut encryptor = Encryptor::new(&encryption.recipients);
    encryptor.push(format!("{}\n", encryption.names.secret().expose()).as_bytes(), &mut sealed);
    encryptor.finish(&mut sealed);
    match store.put(&key, sealed.freeze(), PutMode::IfAbsent).await {
        Err(error) if error.kind != StoreErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

/// Where the names key lies, encrypted to these recipients.
pub(crate) fn names_key_place(encryption: &Encryption) -> String {
    let mut fingerprint = encryption.recipients.fingerprint().to_string();
    fingerprint.truncate(FINGERPRINT_DIGITS);
    Layout::names_key(&encryption.names.id(), &fingerprint)
}
