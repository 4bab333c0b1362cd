//! Finding out what a store can do, by doing it.

use bytes::Bytes;
use convault_core::{
    Abilities, Ability, Clock as _, DefaultLock, Part, PutMode, Sha256, Store, StoreError, StoreErrorKind,
    Stored, SystemClock, Upload,
};
use futures::TryStreamExt as _;
use tracing::{info, warn};

const PROBE_FOLDER: &str = "probe";
const PART_BYTES: u64 = 5 << 20;
/// An entity tag that no store gives out.
const FOREIGN_ETAG: &str = "\"00000000000000000000000000000000-convault\"";

/// What a bucket says of its locks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Locking {
    pub(crate) locks: Ability,
    pub(crate) default_lock: Option<DefaultLock>,
}

/// What a bucket says of itself when asked; `None` where it may not be asked, so that the probe has to see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BucketSays {
    pub(crate) versions: Option<Ability>,
    pub(crate) locking: Option<Locking>,
}

impl BucketSays {
    /// A place without versions and locks.
    pub(crate) const NEITHER: Self = Self {
        versions: Some(Ability::Refused),
        locking: Some(Locking { locks: Ability::Refused, default_lock: None }),
    };
}

/// Tries every ability of `store` on one small object of its own, which it removes again where it may; where the
/// credentials may not delete, or the bucket locks it, that object stays: one of a few bytes for each probe, and in a
/// bucket with versions two or three versions of it. It has a random key each time: daemons may probe one bucket at
/// once, and on a key they shared the write of one would look like the ignored condition of another.
///
/// The first write is one that must not replace anything, so that credentials which may not overwrite are enough.
/// A store that cannot even take that gives its error instead of abilities.
pub(crate) async fn abilities(store: &dyn Store, says: BucketSays) -> Result<Abilities, StoreError> {
    let key = format!("{PROBE_FOLDER}/{:016x}", rand::random::<u64>());
    let found = Probe { store, key: &key, confirmed: Vec::new(), etag: None }.try_out(says).await;
    if let Err(error) = remove(store, &key, says.versions != Some(Ability::Refused)).await {
        info!(%error, "the probe object could not be removed and stays");
    }
    found
}

/// Removes the probe object with all its versions, as far as that is allowed: otherwise it is at least hidden.
async fn remove(store: &dyn Store, key: &str, versions: bool) -> Result<(), StoreError> {
    if versions && remove_versions(store, key).await.is_ok() {
        return Ok(());
    }
    store.delete(key).await
}

async fn remove_versions(store: &dyn Store, key: &str) -> Result<(), StoreError> {
    let versions: Vec<_> = store.list_versions(key).try_collect().await?;
    for version in versions {
        store.delete_version(key, &version.version).await?;
    }
    Ok(())
}

/// A probe under way.
struct Probe<'a> {
    store: &'a dyn Store,
    key: &'a str,
    /// For each write that came through, whether its checksum was confirmed.
    confirmed: Vec<bool>,
    /// The entity tag after the last write.
    etag: Option<String>,
}

impl Probe<'_> {
    async fn try_out(mut self, says: BucketSays) -> Result<Abilities, StoreError> {
        self.write_first().await?;
        let again = self.store.put(self.key, Bytes::from_static(b"second"), PutMode::IfAbsent).await;
        let put_if_absent = self.left_alone(again)?;
        let (finish_if_absent, list_uploads) = self.try_finish().await?;
        let replace_if_match = self.try_replace().await?;
        let versions = match says.versions {
            Some(versions) => versions,
            None => self.see_versions().await?,
        };
        let Locking { locks, default_lock } = match says.locking {
            Some(locking) => locking,
            None => self.see_lock().await?,
        };
        let confirmed = self.confirmed.iter().all(|confirmed| *confirmed);
        let checksums = if confirmed { Ability::Works } else { Ability::Ignored };
        Ok(Abilities {
            put_if_absent,
            finish_if_absent,
            replace_if_match,
            checksums,
            list_uploads,
            versions,
            locks,
            default_lock,
        })
    }

    /// An upload of one part and a put, where there was nothing.
    async fn write_first(&mut self) -> Result<(), StoreError> {
        let stored = match self.upload(PutMode::IfAbsent).await {
            Err(error) if is_refusal(&error) => self.upload(PutMode::Overwrite).await?,
            stored => stored?,
        };
        self.note(stored);
        Ok(())
    }

    async fn upload(&self, mode: PutMode) -> Result<Stored, StoreError> {
        self.finish(&*self.store.upload(self.key, PART_BYTES, mode).await?).await
    }

    async fn finish(&self, upload: &dyn Upload) -> Result<Stored, StoreError> {
        let body = Bytes::from_static(b"first");
        let sent = upload.put_part(Part { number: 1, sha256: Sha256::of(&body), body }).await;
        let finished = match sent {
            Ok(()) => upload.finish().await,
            Err(error) => Err(error),
        };
        if finished.is_err()
            && let Err(error) = upload.abort().await
        {
            warn!(%error, "an upload of the probe could not be aborted and stays unfinished");
        }
        finished
    }

    /// Uploads to the key that is taken, to be refused. On the way the upload must show among the unfinished ones.
    async fn try_finish(&mut self) -> Result<(Ability, Ability), StoreError> {
        let watched = self.store.upload(self.key, PART_BYTES, PutMode::IfAbsent).await;
        let listed = match self.store.list_uploads(PROBE_FOLDER).await {
            Ok(uploads) if uploads.iter().any(|upload| upload.key == self.key) => Ability::Works,
            Ok(_) => Ability::Ignored,
            Err(error) => refused(error)?,
        };
        let finished = match watched {
            Ok(upload) => self.finish(&*upload).await,
            Err(error) => Err(error),
        };
        Ok((self.left_alone(finished)?, listed))
    }

    /// Replaces what is there: under a wrong entity tag, to be refused, and under the right one.
    async fn try_replace(&mut self) -> Result<Ability, StoreError> {
        let Some(etag) = self.etag.clone() else { return Ok(Ability::Refused) };
        let body = Bytes::from_static(b"fourth");
        let foreign = self.store.put(self.key, body.clone(), PutMode::IfMatch(FOREIGN_ETAG.into())).await;
        let foreign = self.left_alone(foreign)?;
        if foreign != Ability::Works {
            return Ok(foreign);
        }
        match self.store.put(self.key, body, PutMode::IfMatch(etag)).await {
            Ok(stored) => {
                self.note(stored);
                Ok(Ability::Works)
            }
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => Ok(Ability::Refused),
            Err(error) => refused(error),
        }
    }

    /// Whether what was overwritten can be seen.
    async fn see_versions(&self) -> Result<Ability, StoreError> {
        match self.store.list_versions(self.key).try_collect::<Vec<_>>().await {
            Ok(versions) if versions.len() > 1 => Ok(Ability::Works),
            Ok(_) => Ok(Ability::Refused),
            Err(error) => refused(error),
        }
    }

    /// Whether the bucket has put a lock on the object by itself.
    async fn see_lock(&self) -> Result<Locking, StoreError> {
        match self.store.lock(self.key).await {
            Ok(Some(lock)) => {
                let left = lock.until.duration_since(SystemClock.now()).as_hours();
                let days = u32::try_from(left.max(0) / 24 + 1).unwrap_or(u32::MAX);
                let default_lock = Some(DefaultLock { mode: lock.mode, days });
                Ok(Locking { locks: Ability::Works, default_lock })
            }
            // An object without a lock can be asked about only in a bucket that has locks.
            Ok(None) => Ok(Locking { locks: Ability::Works, default_lock: None }),
            Err(error) => Ok(Locking { locks: refused(error)?, default_lock: None }),
        }
    }

    fn note(&mut self, stored: Stored) {
        self.confirmed.push(stored.checksum_confirmed);
        self.etag = stored.etag;
    }

    /// What the outcome of a conditional write over an object it must not touch says about the condition.
    fn left_alone(&mut self, outcome: Result<Stored, StoreError>) -> Result<Ability, StoreError> {
        match outcome {
            Ok(stored) => {
                self.note(stored);
                Ok(Ability::Ignored)
            }
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => Ok(Ability::Works),
            Err(error) => refused(error),
        }
    }
}

/// A store that refuses, or whose credentials may not, lacks the ability; one that is out of reach has not been
/// probed at all.
fn refused(error: StoreError) -> Result<Ability, StoreError> {
    if is_refusal(&error) || error.kind == StoreErrorKind::Denied { Ok(Ability::Refused) } else { Err(error) }
}

fn is_refusal(error: &StoreError) -> bool {
    matches!(error.kind, StoreErrorKind::Unsupported | StoreErrorKind::Other)
}
