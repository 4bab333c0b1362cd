//! How what is stored is given back: as it is, or opened with an identity.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use convault_archive::{
    RangedError, RangedReader,
    encryption::{Decryptor, EncryptedReader, Identities, OpenError},
};
use convault_core::{Layout, Manifest, Store, StoreErrorKind, StoredObject};
use futures::StreamExt as _;

use crate::{JobError, error::chain, read::ObjectReader};

const READ_ATTEMPTS: u32 = 4;
const FIRST_PAUSE: std::time::Duration = std::time::Duration::from_millis(300);

/// What becomes of an object that is encrypted.
#[derive(Debug, Clone, Copy)]
pub enum Access<'a> {
    /// It is given as it is stored.
    AsStored,
    /// It is opened with one of these; without any it is an error that says whose would do.
    Opened(Option<&'a Identities>),
}

/// Whether an object lies there encrypted, by its name.
pub(crate) fn is_encrypted(object: &StoredObject) -> bool {
    object.name.ends_with(Layout::ENCRYPTED_SUFFIX)
}

impl<'a> Access<'a> {
    /// The identities to open `object` with; `None` where it is given as it is.
    pub(crate) fn identities(
        self,
        store: &dyn Store,
        manifest: &Manifest,
        object: &StoredObject,
    ) -> Result<Option<&'a Identities>, JobError> {
        match self {
            _ if !is_encrypted(object) => Ok(None),
            Self::AsStored => Ok(None),
            Self::Opened(Some(identities)) => Ok(Some(identities)),
            Self::Opened(None) => Err(JobError::Encrypted {
                place: place(store, manifest, object),
                why: "no identity was given".to_owned(),
                recipients: manifest.recipients.join(", "),
            }),
        }
    }
}

fn place(store: &dyn Store, manifest: &Manifest, object: &StoredObject) -> String {
    format!("{} {}", store.location(), key_of(manifest, object))
}

pub(crate) fn key_of(manifest: &Manifest, object: &StoredObject) -> String {
    Layout::new(manifest.deployment.clone()).object(&manifest.id, &object.name)
}

/// What it means that an age file at `place` did not open.
pub(crate) fn not_opened(error: &OpenError, place: String, recipients: &[String]) -> JobError {
    match error {
        OpenError::NoIdentity { .. } => {
            JobError::Encrypted { place, why: error.to_string(), recipients: recipients.join(", ") }
        }
        _ => JobError::Damaged { place, what: chain(error) },
    }
}

/// An object of a snapshot being read from its first byte to its last, opened on the way where that is wanted. What
/// comes out is to be believed only once [`ObjectContent::check`] has succeeded.
pub(crate) struct ObjectContent<'a> {
    reader: ObjectReader<'a>,
    object: &'a StoredObject,
    recipients: &'a [String],
    decryptor: Option<Decryptor>,
    /// Bytes as stored, so far.
    pub(crate) read_bytes: u64,
    /// Bytes given out, so far.
    pub(crate) given_bytes: u64,
}

impl<'a> ObjectContent<'a> {
    /// Begins to read `object` of the snapshot of `manifest`.
    pub(crate) fn open(
        store: &'a dyn Store,
        manifest: &'a Manifest,
        object: &'a StoredObject,
        access: Access<'_>,
    ) -> Result<Self, JobError> {
        let identities = access.identities(store, manifest, object)?;
        Ok(Self {
            reader: ObjectReader::new(store, key_of(manifest, object), object.size_bytes),
            object,
            recipients: &manifest.recipients,
            decryptor: identities.map(Decryptor::new),
            read_bytes: 0,
            given_bytes: 0,
        })
    }

    /// The next bytes, at times none; `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, JobError> {
        let Some(chunk) = self.reader.next().await? else { return self.rest() };
        self.read_bytes += chunk.len() as u64;
        let plain = match &mut self.decryptor {
            None => chunk,
            Some(decryptor) => {
                let mut plain = BytesMut::new();
                let opened = decryptor.push(&chunk, &mut plain);
                opened.map_err(|error| not_opened(&error, self.reader.place(), self.recipients))?;
                plain.freeze()
            }
        };
        self.given_bytes += plain.len() as u64;
        Ok(Some(plain))
    }

    fn rest(&mut self) -> Result<Option<Bytes>, JobError> {
        let Some(decryptor) = self.decryptor.take() else { return Ok(None) };
        let mut plain = BytesMut::new();
        let finished = decryptor.finish(&mut plain);
        finished.map_err(|error| not_opened(&error, self.reader.place(), self.recipients))?;
        self.given_bytes += plain.len() as u64;
        Ok(Some(plain.freeze()))
    }

    /// After the last byte: length and SHA-256 as stored are what the manifest says.
    pub(crate) fn check(self) -> Result<(), JobError> {
        self.reader.check(&self.object.sha256)
    }
}

/// A stored object of which pieces are read. A transient failure is tried again.
pub(crate) struct StoredReader<'a> {
    store: &'a dyn Store,
    key: String,
    length: u64,
    read_bytes: Arc<AtomicU64>,
}

impl<'a> StoredReader<'a> {
    pub(crate) fn new(store: &'a dyn Store, key: String, length: u64) -> Self {
        Self { store, key, length, read_bytes: Arc::default() }
    }

    async fn read_once(&self, range: Range<u64>) -> Result<Bytes, convault_core::StoreError> {
        let mut stream = self.store.get(&self.key, Some(range.clone())).await?;
        let mut bytes = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk?;
            self.read_bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > range.end - range.start {
                break;
            }
        }
        Ok(bytes.freeze())
    }
}

#[async_trait]
impl RangedReader for StoredReader<'_> {
    fn length(&self) -> u64 {
        self.length
    }

    async fn read(&self, range: Range<u64>) -> Result<Bytes, RangedError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let mut pause = FIRST_PAUSE;
        for _ in 1..READ_ATTEMPTS {
            match self.read_once(range.clone()).await {
                Err(error) if error.kind == StoreErrorKind::Transient => {
                    tracing::debug!(%error, "reading is tried again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                result => return Ok(result?),
            }
        }
        Ok(self.read_once(range).await?)
    }
}

/// Any piece of an object of a snapshot, opened where it is encrypted; only what is needed is read.
pub(crate) async fn at_random<'a>(
    store: &'a dyn Store,
    manifest: &Manifest,
    object: &StoredObject,
    identities: Option<&Identities>,
) -> Result<Arc<dyn RangedReader + 'a>, JobError> {
    at_random_counted(store, manifest, object, identities, &Arc::default()).await
}

/// Like [`at_random`]; what is read of the store is added to `read_bytes`.
pub(crate) async fn at_random_counted<'a>(
    store: &'a dyn Store,
    manifest: &Manifest,
    object: &StoredObject,
    identities: Option<&Identities>,
    read_bytes: &Arc<AtomicU64>,
) -> Result<Arc<dyn RangedReader + 'a>, JobError> {
    let key = key_of(manifest, object);
    let mut stored = StoredReader::new(store, key, object.size_bytes);
    stored.read_bytes = Arc::clone(read_bytes);
    match Access::Opened(identities).identities(store, manifest, object)? {
        None => Ok(Arc::new(stored)),
        Some(identities) => {
            let opened = EncryptedReader::open(stored, identities).await;
            let reader = opened.map_err(|error| match error {
                OpenError::Read { start, end, source } => JobError::Unread {
                    place: place(store, manifest, object),
                    what: format!("bytes {start} to {end} could not be read"),
                    source,
                },
                error => not_opened(&error, place(store, manifest, object), &manifest.recipients),
            })?;
            Ok(Arc::new(reader))
        }
    }
}
