//! A ZIP on a disk.

use std::{fs::File, io::Read as _, path::Path};

use crate::{ArchiveError, Finished, Options, Reader};

/// Bytes read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Why a ZIP on a disk could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("cannot read the file")]
    Io(#[from] std::io::Error),
    /// What it holds is not a usable snapshot.
    #[error("the file is not a usable snapshot")]
    Archive(#[from] ArchiveError),
}

/// Reads a ZIP on a disk with all the checks of a stream, and gives its index to `index`. Blocks.
///
/// The file's length counts as announced.
pub fn read_file(path: &Path, options: Options, mut index: impl FnMut(&[u8])) -> Result<Finished, FileError> {
    let mut file = File::open(path)?;
    let announced_bytes = Some(file.metadata()?.len());
    let mut reader = Reader::new(Options { announced_bytes, ..options });
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            length => reader.push(&chunk[..length])?,
        }
        index(&reader.take_index());
    }
    let finished = reader.finish()?;
    index(&finished.index);
    Ok(finished)
}
