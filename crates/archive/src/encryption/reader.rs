//! Reads an encrypted object at random.

use std::{ops::Range, sync::Mutex};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use crate::{
    encryption::{
        error::OpenError,
        header,
        identities::Identities,
        stream::{CHUNK, CHUNK_BYTES, PayloadKey, SEALED, TAG_BYTES, plain_length},
    },
    ranged::{RangedError, RangedReader},
};

/// Fetched at first, which is more than the header for several recipients; twice as much each time after.
const HEAD_BYTES: u64 = 2 << 10;

/// A sealed chunk, of which only the last may be shorter.
const SEALED_BYTES: u64 = CHUNK_BYTES + TAG_BYTES;

/// The plaintext of a stored age file, any piece of which is read by fetching the chunks it lies in, in one ranged read.
/// Each chunk that is read is verified; what comes is what was written, at that place.
pub struct EncryptedReader<R> {
    inner: R,
    key: PayloadKey,
    /// Where the first chunk begins.
    start: u64,
    length: u64,
    /// The last chunk, which opening has fetched, and the one where the latest read ended: readers go on from there.
    kept: Mutex<[(u64, Bytes); 2]>,
}

impl<R: RangedReader> EncryptedReader<R> {
    /// Opens an age file. Its header and its last chunk are read: the chunk proves the length of the whole.
    pub async fn open(inner: R, identities: &Identities) -> Result<Self, OpenError> {
        let (start, key) = open_header(&inner, identities).await?;
        let stored = inner.length();
        let length = plain_length(start, stored).ok_or(OpenError::Length { length: stored })?;
        let chunk = last_chunk(length);
        let sealed = fetch(&inner, start + chunk * SEALED_BYTES..stored).await?;
        let last = match open_chunk(&key, chunk, true, &sealed) {
            Some(plain) => plain,
            None if open_chunk(&key, chunk, false, &sealed).is_some() => {
                return Err(OpenError::Truncated { length: stored });
            }
            None => return Err(OpenError::Altered { chunk, offset: start + chunk * SEALED_BYTES }),
        };
        let kept = Mutex::new([(chunk, last.clone()), (chunk, last)]);
        Ok(Self { inner, key, start, length, kept })
    }

    /// The plaintext of these chunks, of which there is at least one; by one ranged read.
    async fn fetch(&self, chunks: Range<u64>) -> Result<Bytes, OpenError> {
        let start = self.start + chunks.start * SEALED_BYTES;
        let end = self.inner.length().min(self.start + chunks.end * SEALED_BYTES);
        let bytes = fetch(&self.inner, start..end).await?;
        let mut plain = BytesMut::with_capacity(bytes.len());
        for (chunk, sealed) in chunks.zip(bytes.chunks(SEALED)) {
            let is_last = chunk == last_chunk(self.length);
            let opened = open_chunk(&self.key, chunk, is_last, sealed)
                .ok_or(OpenError::Altered { chunk, offset: self.start + chunk * SEALED_BYTES })?;
            plain.extend_from_slice(&opened);
        }
        Ok(plain.freeze())
    }

    /// A chunk that is still there.
    fn kept(&self, chunk: u64) -> Option<Bytes> {
        let kept = self.kept.lock().expect("nothing panics while it is locked");
        kept.iter().find(|(index, _)| *index == chunk).map(|(_, bytes)| bytes.clone())
    }

    /// Keeps the last of the chunks that were fetched: a copy, so that those before it can be freed.
    fn keep(&self, chunks: &Range<u64>, plain: &[u8]) {
        let last = plain.chunks(CHUNK).next_back().unwrap_or_default();
        let mut kept = self.kept.lock().expect("nothing panics while it is locked");
        kept[1] = (chunks.end - 1, Bytes::copy_from_slice(last));
    }
}

#[async_trait]
impl<R: RangedReader> RangedReader for EncryptedReader<R> {
    fn length(&self) -> u64 {
        self.length
    }

    async fn read(&self, range: Range<u64>) -> Result<Bytes, RangedError> {
        if range.start > range.end || range.end > self.length {
            return Err(format!("{range:?} is not within {} bytes", self.length).into());
        }
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let mut missing = range.start / CHUNK_BYTES..range.end.div_ceil(CHUNK_BYTES);
        let skipped = usize::try_from(range.start % CHUNK_BYTES)?;
        let length = usize::try_from(range.end - range.start)?;
        let front = self.kept(missing.start).inspect(|_| missing.start += 1).unwrap_or_default();
        let mut parts = vec![front];
        if !missing.is_empty() {
            let back = self.kept(missing.end - 1).inspect(|_| missing.end -= 1).unwrap_or_default();
            if !missing.is_empty() {
                let fetched = self.fetch(missing.clone()).await?;
                self.keep(&missing, &fetched);
                parts.push(fetched);
            }
            parts.push(back);
        }
        parts.retain(|part| !part.is_empty());
        let joined = if parts.len() == 1 { parts.remove(0) } else { Bytes::from(parts.concat()) };
        Ok(joined.slice(skipped..skipped + length))
    }
}

impl<R> std::fmt::Debug for EncryptedReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncryptedReader").field("length", &self.length).finish_non_exhaustive()
    }
}

/// Where the first chunk begins, and the key of it and those behind it.
async fn open_header<R: RangedReader>(
    inner: &R,
    identities: &Identities,
) -> Result<(u64, PayloadKey), OpenError> {
    let stored = inner.length();
    let mut head = BytesMut::new();
    let mut wanted = HEAD_BYTES.min(stored);
    loop {
        head.extend_from_slice(&fetch(inner, head.len() as u64..wanted).await?);
        if let Some(length) = header::length(&head)? {
            return Ok((length as u64, header::open(&head[..length], identities)?));
        }
        if wanted == stored {
            return Err(OpenError::Truncated { length: stored });
        }
        wanted = (wanted * 2).min(stored);
    }
}

async fn fetch<R: RangedReader>(inner: &R, range: Range<u64>) -> Result<Bytes, OpenError> {
    let Range { start, end } = range;
    let failed = |source| OpenError::Read { start, end, source };
    let bytes = inner.read(start..end).await.map_err(failed)?;
    if bytes.len() as u64 != end - start {
        return Err(failed(format!("{} bytes came", bytes.len()).into()));
    }
    Ok(bytes)
}

/// The chunk that ends a plaintext of `length` bytes.
fn last_chunk(length: u64) -> u64 {
    length.saturating_sub(1) / CHUNK_BYTES
}

fn open_chunk(key: &PayloadKey, chunk: u64, is_last: bool, sealed: &[u8]) -> Option<Bytes> {
    let mut opened = BytesMut::from(sealed);
    let length = key.open(chunk, is_last, &mut opened).ok()?.len();
    opened.truncate(length);
    Some(opened.freeze())
}
