//! Reading objects of a directory store.

use std::{
    fs::{self, File, Metadata},
    io,
    ops::Range,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    sync::Arc,
};

use bytes::Bytes;
use convault_core::{ByteStream, ObjectInfo, StoreErrorKind};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;

use super::{blocking, paths::Paths};
use crate::failure::Attempt;

const READ_CHUNK_BYTES: u64 = 256 << 10;

/// Opens an object and tells its size. A folder is no object.
pub(super) fn open(paths: &Paths, key: &str) -> io::Result<(File, u64)> {
    let file = File::open(paths.object(key)?).map_err(absent)?;
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok((file, metadata.len())) } else { Err(io::ErrorKind::NotFound.into()) }
}

pub(super) fn head(paths: &Paths, key: &str) -> io::Result<ObjectInfo> {
    let metadata = fs::metadata(paths.object(key)?).map_err(absent)?;
    if metadata.is_file() { Ok(info(key, &metadata)) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// A key below another object names nothing, just as one in a folder that is not there.
pub(super) fn absent(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::NotADirectory { io::ErrorKind::NotFound.into() } else { error }
}

pub(super) fn info(key: &str, metadata: &Metadata) -> ObjectInfo {
    ObjectInfo {
        key: key.to_owned(),
        size_bytes: metadata.len(),
        modified: modified(metadata),
        etag: Some(etag(metadata)),
    }
}

pub(super) fn modified(metadata: &Metadata) -> Timestamp {
    let nanoseconds = i32::try_from(metadata.mtime_nsec()).unwrap_or_default();
    Timestamp::new(metadata.mtime(), nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Every write makes a new file, so its number, time and size tell one object from the next of the same key.
pub(super) fn etag(metadata: &Metadata) -> String {
    format!("{:x}-{:x}.{:x}-{:x}", metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len())
}

/// Opens an object and tells what it is.
pub(super) fn open_with(paths: &Paths, key: &str) -> io::Result<(File, ObjectInfo)> {
    let (file, _) = open(paths, key)?;
    let metadata = file.metadata()?;
    Ok((file, info(key, &metadata)))
}

/// The bytes `range` of an open file, which ends with an error where the file was written to meanwhile. Others than we
/// write files in place.
pub(super) fn unchanged_stream(
    paths: Arc<Paths>,
    attempt: Attempt,
    file: File,
    range: Range<u64>,
    expected: String,
) -> ByteStream {
    let again = file.try_clone();
    let (last_paths, last_attempt) = (paths.clone(), attempt.clone());
    let last = async move {
        let told = last_attempt.clone();
        let now = blocking(&last_paths, &last_attempt, move |_| Ok(etag(&again?.metadata()?))).await;
        match now {
            Ok(now) if now == expected => None,
            Ok(_) => Some(Err(told.failed(StoreErrorKind::Corrupt, "the file changed while it was read"))),
            Err(error) => Some(Err(error)),
        }
    };
    let last = stream::once(last).filter_map(std::future::ready);
    stream(paths, attempt, file, range).chain(last).boxed()
}

/// The bytes `range` of an open file, a chunk at a time.
pub(super) fn stream(paths: Arc<Paths>, attempt: Attempt, file: File, range: Range<u64>) -> ByteStream {
    let file = Arc::new(file);
    let chunks = stream::try_unfold(range, move |left| {
        let (paths, attempt, file) = (paths.clone(), attempt.clone(), file.clone());
        async move {
            if left.is_empty() {
                return Ok(None);
            }
            let end = left.end.min(left.start + READ_CHUNK_BYTES);
            let chunk = left.start..end;
            let bytes = blocking(&paths, &attempt, move |_| read_chunk(&file, chunk)).await?;
            Ok(Some((bytes, end..left.end)))
        }
    });
    chunks.boxed()
}

fn read_chunk(file: &File, chunk: Range<u64>) -> io::Result<Bytes> {
    let length = usize::try_from(chunk.end - chunk.start).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, chunk.start)?;
    Ok(bytes.into())
}
