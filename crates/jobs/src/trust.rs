//! [`Trust`]: signing what is written, and passing over what nobody trusted has signed.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use convault_archive::signature::{KeyId, SigningKey, TrustedKeys};
use convault_core::{Layout, PutMode, Store, StoreErrorKind};

use crate::{JobError, read::read_small};

/// Signatures have a few hundred bytes.
pub(crate) const LARGEST_SIGNATURE_BYTES: u64 = 4 << 10;

/// A small object that could not be put is put once more after so long.
const BEFORE_ANOTHER_PUT: Duration = Duration::from_secs(1);

/// Whose signatures count, and who signs. The default signs nothing and trusts everything. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    signer: Option<Arc<SigningKey>>,
    keys: Arc<TrustedKeys>,
}

impl Trust {
    /// Signs with `signer`, whose public key is always trusted, and trusts `keys`.
    pub fn new(signer: Option<SigningKey>, keys: &TrustedKeys) -> Self {
        let own = signer.as_ref().map(SigningKey::public);
        let keys = TrustedKeys::new(keys.keys().iter().cloned().chain(own).collect());
        Self { signer: signer.map(Arc::new), keys: Arc::new(keys) }
    }

    /// Whether only what is signed counts.
    pub fn is_required(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The key that signs here, where one does.
    pub(crate) fn signer(&self) -> Option<&SigningKey> {
        self.signer.as_deref()
    }

    /// Why `bytes`, found under `key`, cannot be trusted; `None` where they can.
    pub(crate) async fn why_not(
        &self,
        store: &dyn Store,
        key: &str,
        bytes: &[u8],
    ) -> Result<Option<String>, JobError> {
        Ok(self.signer_of(store, key, bytes).await?.err())
    }

    /// Whose signature `bytes`, found under `key`, carry: `None` where none is asked for. Or why they cannot be trusted.
    pub(crate) async fn signer_of(
        &self,
        store: &dyn Store,
        key: &str,
        bytes: &[u8],
    ) -> Result<Result<Option<KeyId>, String>, JobError> {
        if !self.is_required() {
            return Ok(Ok(None));
        }
        let text = match read_small(store, &Layout::signature_of(key), LARGEST_SIGNATURE_BYTES).await {
            Ok(text) => text,
            Err(JobError::Store(error)) if error.kind == StoreErrorKind::NotFound => {
                return Ok(Err("it is not signed".to_owned()));
            }
            Err(JobError::Damaged { what, .. }) => return Ok(Err(format!("its signature: {what}"))),
            Err(error) => return Err(error),
        };
        let verified = self.keys.verify(bytes, &text);
        Ok(verified.map(|verified| Some(verified.key)).map_err(|error| crate::error::chain(&error)))
    }

    /// Whether `signature` is that of a trusted key on `bytes`.
    pub(crate) fn vouches(&self, bytes: &[u8], signature: &[u8]) -> bool {
        self.keys.verify(bytes, signature).is_ok()
    }

    /// Signs `bytes` and writes the signature of the object `key`, which is to follow. `what` is its trusted comment.
    /// Gives the bytes written. `mode` is for the signature, too.
    pub(crate) async fn sign(
        &self,
        store: &dyn Store,
        key: &str,
        bytes: &[u8],
        what: &str,
        mode: PutMode,
    ) -> Result<u64, JobError> {
        let Some(signer) = self.signer() else { return Ok(0) };
        let text = signer.sign(bytes, what);
        let length = text.len() as u64;
        put_own(store, &Layout::signature_of(key), Bytes::from(text), mode).await?;
        Ok(length)
    }
}

/// Writes a small object whose key belongs to this run alone, and reads it back: a failed put may have worked all the
/// same, its answer lost, and one that finds something may have found its own.
pub(crate) async fn put_own(
    store: &dyn Store,
    key: &str,
    bytes: Bytes,
    mode: PutMode,
) -> Result<(), JobError> {
    let mut put = store.put(key, bytes.clone(), mode.clone()).await;
    if put.as_ref().is_err_and(|error| error.kind == StoreErrorKind::Transient) {
        tokio::time::sleep(BEFORE_ANOTHER_PUT).await;
        put = store.put(key, bytes.clone(), mode).await;
    }
    let found = match (put, read_small(store, key, bytes.len() as u64).await) {
        (Err(error), Err(_)) if error.kind != StoreErrorKind::AlreadyExists => return Err(error.into()),
        (_, found) => found?,
    };
    if found != bytes {
        let what = "what is read back is not what was written".to_owned();
        return Err(JobError::Damaged { place: format!("{} {key}", store.location()), what });
    }
    Ok(())
}
