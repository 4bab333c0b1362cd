//! Bytes in temporary files that have no name, so that large imports need no memory: the file is gone with its handle.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

/// A file that only grows.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    length: AtomicU64,
    appending: Mutex<()>,
}

impl Spool {
    /// An empty one.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile()?, length: AtomicU64::new(0), appending: Mutex::default() })
    }

    /// One that holds these bytes.
    pub(crate) fn of(bytes: &[u8]) -> io::Result<Self> {
        let spool = Self::new()?;
        spool.append(bytes)?;
        Ok(spool)
    }

    /// Adds bytes at the end, and gives where they are.
    pub(crate) fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        let _turn = self.appending.lock().expect("no holder of this lock panics");
        let at = self.length.load(Ordering::Acquire);
        self.file.write_all_at(bytes, at)?;
        self.length.store(at + bytes.len() as u64, Ordering::Release);
        Ok(at)
    }

    pub(crate) fn len(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// Reads from the beginning, and from anywhere.
    pub(crate) fn reader(self: &Arc<Self>) -> SpoolReader {
        SpoolReader { spool: Arc::clone(self), at: 0 }
    }
}

/// A place in a [`Spool`].
#[derive(Debug)]
pub(crate) struct SpoolReader {
    spool: Arc<Spool>,
    at: u64,
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.spool.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for SpoolReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.spool.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

/// The bytes of a stored file.
#[derive(Debug, Clone)]
pub struct FileContent(Place);

#[derive(Debug, Clone)]
enum Place {
    Held(Bytes),
    Spooled { spool: Arc<Spool>, at: u64, length: u64 },
}

impl FileContent {
    /// `length` bytes of a spool from `at` on.
    pub(crate) fn spooled(spool: Arc<Spool>, at: u64, length: u64) -> Self {
        Self(Place::Spooled { spool, at, length })
    }

    /// How many they are.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Place::Held(bytes) => bytes.len() as u64,
            Place::Spooled { length, .. } => *length,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether they are on disk and not in memory.
    pub(crate) fn is_spooled(&self) -> bool {
        matches!(self.0, Place::Spooled { .. })
    }

    /// All of them, in memory.
    pub fn bytes(&self) -> Bytes {
        match &self.0 {
            Place::Held(bytes) => bytes.clone(),
            Place::Spooled { .. } => {
                let mut bytes = Vec::new();
                self.write(&mut bytes).expect("a spool gives back what was put there");
                bytes.into()
            }
        }
    }

    /// Writes them.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.0 {
            Place::Held(bytes) => out.write_all(bytes),
            Place::Spooled { spool, at, length } => {
                let mut reader = spool.reader();
                reader.seek(SeekFrom::Start(*at))?;
                let copied = io::copy(&mut reader.take(*length), out)?;
                if copied == *length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
            }
        }
    }
}

impl PartialEq for FileContent {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.bytes() == other.bytes()
    }
}

impl From<Bytes> for FileContent {
    fn from(bytes: Bytes) -> Self {
        Self(Place::Held(bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::{FileContent, Spool};

    #[test]
    fn what_was_spooled_is_what_comes_back() {
        let spool = Arc::new(Spool::of(b"before").unwrap());
        let at = spool.append(b"content").unwrap();
        spool.append(b"after").unwrap();
        let content = FileContent::spooled(Arc::clone(&spool), at, 7);
        assert_eq!((content.bytes(), spool.len()), (Bytes::from_static(b"content"), 18));
        assert!(content == Bytes::from_static(b"content").into());
        assert!(FileContent::spooled(spool, 0, 0).is_empty());
    }
}
