//! [`Output`]: a ZIP on its way out, written as it comes.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::BytesMut;
use convault_archive::{Packing, RawEntry, ZipEntry, ZipWriteError, ZipWriter};
use convault_core::{IndexEntry, RunEvent, Sha256, Sha256Stream};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::stored::Stored;
use crate::{JobError, RunContext};

/// Bytes that are ready are written out from here on.
const FLUSH_BYTES: usize = 256 << 10;

/// Where a ZIP goes.
pub(super) struct Output<'c> {
    zip: ZipWriter,
    ready: BytesMut,
    to: &'c mut (dyn AsyncWrite + Send + Unpin),
    name: &'c str,
    size_bytes: u64,
    entry: Entry,
    context: &'c RunContext,
    read_bytes: Arc<AtomicU64>,
    total_bytes: u64,
}

/// The content of the entry that is being written anew.
#[derive(Default)]
struct Entry {
    sha256: Sha256Stream,
    size_bytes: u64,
    lines: u64,
}

/// What was written of an entry.
pub(super) struct Written {
    pub(super) sha256: Sha256,
    pub(super) size_bytes: u64,
    /// Lines that came as such.
    pub(super) lines: u64,
}

impl<'c> Output<'c> {
    pub(super) fn new(
        to: &'c mut (dyn AsyncWrite + Send + Unpin),
        name: &'c str,
        stored: &'c Stored<'_>,
    ) -> Self {
        Self {
            zip: ZipWriter::new(),
            ready: BytesMut::new(),
            to,
            name,
            size_bytes: 0,
            entry: Entry::default(),
            context: stored.context,
            read_bytes: Arc::clone(&stored.read_bytes),
            total_bytes: stored.stored_bytes(),
        }
    }

    /// Begins an entry whose content comes next, compressed where that gains something.
    pub(super) fn begin(&mut self, name: &str, compressed: bool) -> Result<(), JobError> {
        let packing = if compressed { Packing::Deflate } else { Packing::Blocks };
        self.entry = Entry::default();
        let begun = self.zip.begin(&ZipEntry::named(name), packing, &mut self.ready);
        begun.map_err(|error| self.no_zip(&error))
    }

    /// Begins an entry whose data comes next as it is compressed already.
    pub(super) fn begin_raw(&mut self, entry: &IndexEntry) -> Result<(), JobError> {
        let raw = RawEntry {
            method: entry.method,
            crc32: entry.crc32,
            compressed_bytes: entry.compressed_bytes,
            size_bytes: entry.size_bytes,
        };
        self.entry = Entry::default();
        let begun = self.zip.begin_raw(&ZipEntry::named(&entry.name), raw, &mut self.ready);
        begun.map_err(|error| self.no_zip(&error))
    }

    /// Adds to the entry that was begun last.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), JobError> {
        self.entry.sha256.update(bytes);
        self.entry.size_bytes += bytes.len() as u64;
        self.zip.write(bytes, &mut self.ready);
        self.flush_when_full().await
    }

    /// Adds a line, and its line feed.
    pub(super) async fn line(&mut self, line: &[u8]) -> Result<(), JobError> {
        self.entry.lines += 1;
        self.write(line).await?;
        self.write(b"\n").await
    }

    /// What the entry that was begun last has become.
    pub(super) fn written(&mut self) -> Written {
        let Entry { sha256, size_bytes, lines } = std::mem::take(&mut self.entry);
        Written { sha256: sha256.finish(), size_bytes, lines }
    }

    /// Writes bytes of a ZIP that is not ours.
    pub(super) async fn pass(&mut self, bytes: &[u8]) -> Result<(), JobError> {
        self.put(bytes).await
    }

    /// Writes out what was passed on. Gives how many bytes there were.
    pub(super) async fn flush(self) -> Result<u64, JobError> {
        let path = self.name.to_owned();
        let failed = |source| JobError::File { path, what: "cannot write", source };
        self.to.flush().await.map_err(failed)?;
        Ok(self.size_bytes)
    }

    /// Ends the ZIP. Gives how many bytes it has.
    pub(super) async fn finish(mut self) -> Result<u64, JobError> {
        let (zip, mut ready) = (std::mem::take(&mut self.zip), std::mem::take(&mut self.ready));
        let tail = zip.into_tail(&mut ready).map_err(|error| self.no_zip(&error))?;
        self.put(&ready).await?;
        for piece in tail {
            self.put(&piece).await?;
        }
        self.flush().await
    }

    async fn flush_when_full(&mut self) -> Result<(), JobError> {
        if self.ready.len() >= FLUSH_BYTES {
            let mut ready = std::mem::take(&mut self.ready);
            self.put(&ready).await?;
            ready.clear();
            self.ready = ready;
        }
        Ok(())
    }

    async fn put(&mut self, bytes: &[u8]) -> Result<(), JobError> {
        let failed = |source| JobError::File { path: self.name.to_owned(), what: "cannot write", source };
        self.to.write_all(bytes).await.map_err(failed)?;
        self.size_bytes += bytes.len() as u64;
        let (done_bytes, total_bytes) = (self.read_bytes.load(Ordering::Relaxed), Some(self.total_bytes));
        self.context.tell(RunEvent::Transferred { done_bytes, total_bytes });
        Ok(())
    }

    fn no_zip(&self, error: &ZipWriteError) -> JobError {
        JobError::Bug(format!("{}: {error}", self.name))
    }
}
