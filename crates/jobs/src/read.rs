//! Reading objects whole, a chunk at a time, carrying on where a connection broke.

use std::time::Duration;

use bytes::Bytes;
use convault_core::{ObjectVersion, Sha256, Sha256Stream, Store, StoreError, StoreErrorKind};
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};

use crate::JobError;

/// So often in a row without getting on. A large object takes hours, in which connections break more often than that.
const READ_ATTEMPTS: u32 = 5;
/// An attempt that brought so much has got on. Bytes.
const GOT_ON_BYTES: u64 = 1 << 20;
const SMALL_ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Reads a small object into memory, again where a transient failure comes between; one larger than `limit_bytes` is
/// damaged, and so is one that the store itself says is not what it was given.
pub(crate) async fn read_small(store: &dyn Store, key: &str, limit_bytes: u64) -> Result<Bytes, JobError> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..SMALL_ATTEMPTS {
        match read_once(store, key, limit_bytes).await {
            Err(JobError::Store(error)) if error.kind == StoreErrorKind::Transient => {
                tracing::debug!(%error, "reading is tried again");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            // It may have changed on the way.
            Err(JobError::Damaged { what, .. }) => tracing::debug!(key, what, "reading is tried again"),
            result => return result,
        }
    }
    read_once(store, key, limit_bytes).await
}

/// What a failed reading means. Where a store compares what it sends with its own checksum, as S3 does, damage comes as an
/// error of the store.
fn of_reading(error: StoreError, place: impl Fn() -> String) -> JobError {
    match error.kind {
        StoreErrorKind::Corrupt => JobError::Damaged { place: place(), what: error.message },
        _ => error.into(),
    }
}

/// The next of the versions that a store lists; none where it keeps none, or shows them to somebody else only.
pub(crate) async fn next_version(
    versions: &mut BoxStream<'_, Result<ObjectVersion, StoreError>>,
) -> Result<Option<ObjectVersion>, JobError> {
    match versions.try_next().await {
        Err(error) if matches!(error.kind, StoreErrorKind::Unsupported | StoreErrorKind::Denied) => Ok(None),
        found => Ok(found?),
    }
}

async fn read_once(store: &dyn Store, key: &str, limit_bytes: u64) -> Result<Bytes, JobError> {
    let place = || format!("{} {key}", store.location());
    let mut stream = store.get(key, None).await.map_err(|error| of_reading(error, place))?;
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.map_err(|error| of_reading(error, place))?);
        if bytes.len() as u64 > limit_bytes {
            let what = format!("it has more than {limit_bytes} bytes, which such an object never has");
            return Err(JobError::Damaged { place: place(), what });
        }
    }
    Ok(bytes.into())
}

/// An object being read, from its first byte to its last. A transient failure is retried from where it happened.
pub(crate) struct ObjectReader<'a> {
    store: &'a dyn Store,
    key: String,
    size_bytes: u64,
    /// So much is asked for at once.
    piece_bytes: u64,
    /// Where what was asked for ends.
    piece_end: u64,
    position: u64,
    /// Where it broke off last.
    broke_at: u64,
    attempts_left: u32,
    pause: Duration,
    stream: Option<convault_core::ByteStream>,
    sha256: Sha256Stream,
}

impl<'a> ObjectReader<'a> {
    /// Reads `key`, which is expected to have `size_bytes`.
    pub(crate) fn new(store: &'a dyn Store, key: String, size_bytes: u64) -> Self {
        Self {
            store,
            key,
            size_bytes,
            piece_bytes: u64::MAX,
            piece_end: 0,
            position: 0,
            broke_at: 0,
            attempts_left: READ_ATTEMPTS,
            pause: FIRST_PAUSE,
            stream: None,
            sha256: Sha256Stream::new(),
        }
    }

    /// The same, a request for each piece of so many bytes: an answer that nobody takes in is buffered underneath, and of
    /// dozens that are read side by side that is much. That an object is longer than expected is not noticed.
    pub(crate) fn in_pieces(self, piece_bytes: u64) -> Self {
        Self { piece_bytes, ..self }
    }

    /// The next bytes; `None` after the last. More bytes than expected are an error; fewer, the caller sees.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, JobError> {
        loop {
            match self.advance().await {
                Ok(Some(chunk)) => {
                    self.position += chunk.len() as u64;
                    if self.position > self.size_bytes {
                        return Err(self.damaged(format!("it is longer than {} bytes", self.size_bytes)));
                    }
                    self.sha256.update(&chunk);
                    return Ok(Some(chunk));
                }
                Ok(None) => return Ok(None),
                Err(error) if error.kind == StoreErrorKind::Transient && self.may_try_again() => {
                    tracing::debug!(%error, position = self.position, "reading is taken up again");
                    self.stream = None;
                    tokio::time::sleep(self.pause).await;
                    self.pause *= 2;
                }
                Err(error) => return Err(of_reading(error, || self.place())),
            }
        }
    }

    fn may_try_again(&mut self) -> bool {
        if self.position - self.broke_at >= GOT_ON_BYTES {
            (self.attempts_left, self.pause) = (READ_ATTEMPTS, FIRST_PAUSE);
        }
        self.broke_at = self.position;
        self.attempts_left -= 1;
        self.attempts_left > 0
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            if self.stream.is_none() {
                if self.position > 0 && self.position >= self.size_bytes {
                    return Ok(None);
                }
                self.piece_end = self.position.saturating_add(self.piece_bytes).min(self.size_bytes);
                let is_part = self.position > 0 || self.piece_end < self.size_bytes;
                let range = is_part.then_some(self.position..self.piece_end);
                self.stream = Some(self.store.get(&self.key, range).await?);
            }
            let stream = self.stream.as_mut().expect("it was opened above");
            if let Some(chunk) = stream.next().await.transpose()? {
                return Ok(Some(chunk));
            }
            // A piece that came whole is followed by the next one; what ends early, the caller sees.
            if self.position < self.piece_end || self.piece_end >= self.size_bytes {
                return Ok(None);
            }
            self.stream = None;
        }
    }

    /// Where the object is, for messages.
    pub(crate) fn place(&self) -> String {
        format!("{} {}", self.store.location(), self.key)
    }

    fn damaged(&self, what: String) -> JobError {
        JobError::Damaged { place: self.place(), what }
    }

    /// After the last byte: checks the length, where nothing is known of the content.
    pub(crate) fn check_length(&self) -> Result<(), JobError> {
        if self.position == self.size_bytes {
            return Ok(());
        }
        Err(self.damaged(format!("it has {} bytes, not {}", self.position, self.size_bytes)))
    }

    /// After the last byte: checks length and SHA-256.
    pub(crate) fn check(self, expected: &Sha256) -> Result<(), JobError> {
        self.check_length()?;
        let place = self.place();
        let found = self.sha256.finish();
        if found == *expected {
            Ok(())
        } else {
            Err(JobError::Damaged { place, what: format!("its SHA-256 is {found}, not {expected}") })
        }
    }
}

/// Reads an object to its end and compares it with what it should be.
pub(crate) async fn check_object(
    store: &dyn Store,
    key: String,
    size_bytes: u64,
    sha256: &Sha256,
) -> Result<(), JobError> {
    let mut reader = ObjectReader::new(store, key, size_bytes);
    while reader.next().await?.is_some() {}
    reader.check(sha256)
}

#[cfg(test)]
mod tests {
    use convault_core::{DestinationName, PutMode};
    use convault_uploader::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn an_object_is_the_same_in_pieces_and_a_short_one_is_noticed() {
        let store = MemoryStore::new(DestinationName::new("offsite").unwrap());
        for length in [0_u64, 1, 63, 64, 65, 128, 1000] {
            let content: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            store.put("a", Bytes::from(content.clone()), PutMode::Overwrite).await.unwrap();
            let mut reader = ObjectReader::new(&store, "a".to_owned(), length).in_pieces(64);
            let mut read = Vec::new();
            while let Some(chunk) = reader.next().await.unwrap() {
                read.extend_from_slice(&chunk);
            }
            assert_eq!(read, content);
            reader.check(&Sha256::of(&content)).unwrap();
        }
        let mut longer = ObjectReader::new(&store, "a".to_owned(), 1100).in_pieces(64);
        while let Ok(Some(_)) = longer.next().await {}
        assert!(longer.check_length().is_err());
    }
}
