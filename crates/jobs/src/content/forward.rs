//! Objects read from their first byte to their last.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use convault_archive::LineUnpacker;
use convault_core::{IndexEntry, IndexLine, Manifest, ObjectRole, Store, StoredObject};

use super::stored::Stored;
use crate::{
    JobError, RunContext,
    access::{Access, ObjectContent},
    error::chain,
};

/// An object of a snapshot, opened on its way. It ends only where it was what the manifest says.
pub(super) struct Whole<'c> {
    content: Option<ObjectContent<'c>>,
    counted: u64,
    context: &'c RunContext,
    read_bytes: Arc<AtomicU64>,
}

impl<'c> Whole<'c> {
    pub(super) fn open(
        store: &'c dyn Store,
        manifest: &'c Manifest,
        object: &'c StoredObject,
        access: Access<'_>,
        context: &'c RunContext,
        read_bytes: &Arc<AtomicU64>,
    ) -> Result<Self, JobError> {
        let content = Some(ObjectContent::open(store, manifest, object, access)?);
        Ok(Self { content, counted: 0, context, read_bytes: Arc::clone(read_bytes) })
    }

    /// The next bytes, at times none; `None` after the last, whose length and SHA-256 were compared by then.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, JobError> {
        let Some(content) = &mut self.content else { return Ok(None) };
        let chunk = self.context.or_stop(content.next()).await??;
        self.read_bytes.fetch_add(content.read_bytes - self.counted, Ordering::Relaxed);
        self.counted = content.read_bytes;
        if chunk.is_none()
            && let Some(content) = self.content.take()
        {
            content.check()?;
        }
        Ok(chunk)
    }
}

/// A ZIP being read forward, in pieces no longer than asked for.
pub(super) struct Forward<'c> {
    whole: Whole<'c>,
    piece: Bytes,
    position: u64,
}

impl<'c> Forward<'c> {
    pub(super) fn new(whole: Whole<'c>) -> Self {
        Self { whole, piece: Bytes::new(), position: 0 }
    }

    /// The next bytes, at most so many and never none; `None` after the last.
    pub(super) async fn next(&mut self, at_most: u64) -> Result<Option<Bytes>, JobError> {
        while self.piece.is_empty() {
            match self.whole.next().await? {
                Some(piece) => self.piece = piece,
                None => return Ok(None),
            }
        }
        let length = usize::try_from(at_most).unwrap_or(usize::MAX).min(self.piece.len());
        self.position += length as u64;
        Ok(Some(self.piece.split_to(length)))
    }

    /// Passes over everything before `offset`. Whether that lies ahead.
    pub(super) async fn skip_to(&mut self, offset: u64) -> Result<bool, JobError> {
        while self.position < offset {
            if self.next(offset - self.position).await?.is_none() {
                return Ok(false);
            }
        }
        Ok(self.position == offset)
    }

    /// Reads on to the end, where all that was read is compared with the manifest.
    pub(super) async fn finish(mut self) -> Result<(), JobError> {
        while self.next(u64::MAX).await?.is_some() {}
        Ok(())
    }
}

/// An index being read forward.
pub(super) struct IndexStream<'c> {
    stored: &'c Stored<'c>,
    whole: Whole<'c>,
    unpacker: LineUnpacker,
    entries: u64,
    announced: Option<u64>,
}

impl<'c> IndexStream<'c> {
    pub(super) fn new(stored: &'c Stored<'c>, whole: Whole<'c>) -> Self {
        Self { stored, whole, unpacker: LineUnpacker::new(), entries: 0, announced: None }
    }

    /// The next entry; `None` after the last, where the index was whole and is what the manifest says.
    pub(super) async fn next(&mut self) -> Result<Option<IndexEntry>, JobError> {
        loop {
            let line = self.unpacker.next_line();
            match line.map_err(|error| self.damaged(&chain(&error)))? {
                Some(IndexLine::Entry(entry)) => {
                    self.entries += 1;
                    return Ok(Some(entry));
                }
                Some(IndexLine::Totals(totals)) => self.announced = Some(totals.entries),
                Some(IndexLine::Header(_) | IndexLine::Resume(_)) => {}
                None => match self.whole.next().await? {
                    Some(bytes) => self.unpacker.push(&bytes),
                    None if self.announced == Some(self.entries) => return Ok(None),
                    None => return Err(self.damaged("the index is not whole")),
                },
            }
        }
    }

    fn damaged(&self, what: &str) -> JobError {
        JobError::Damaged { place: self.stored.place(ObjectRole::Index), what: what.to_owned() }
    }
}
