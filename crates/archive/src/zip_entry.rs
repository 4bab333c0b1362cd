//! Reads one entry of a ZIP that [`crate::ZipWriter`] made, by its directory, and nothing else of it.

use bytes::Bytes;

use crate::{
    inflate::Inflater,
    ranged::{RangedError, RangedReader},
    record::{
        CENTRAL, CentralFixed, END, END_LENGTH, LOCAL, LOCATOR, LOCATOR_LENGTH, LocalFixed, ZIP64_END,
        ZIP64_END_LENGTH,
    },
};

/// A directory over this is not believed.
const MAX_DIRECTORY_BYTES: u64 = 256 << 20;
/// What the end of a ZIP without a comment has at most.
const TAIL_BYTES: u64 = (4 + ZIP64_END_LENGTH + 4 + LOCATOR_LENGTH + 4 + END_LENGTH) as u64;

/// Why an entry could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ZipEntryError {
    /// The store failed.
    #[error("the ZIP could not be read")]
    Read(#[source] RangedError),
    /// It is no ZIP of ours, or is damaged.
    #[error("the ZIP is damaged: {what}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
    /// The entry is larger than the caller would take.
    #[error("the entry has {size_bytes} bytes, more than {limit_bytes}")]
    TooLarge {
        /// Its size.
        size_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
}

fn damaged(what: &'static str) -> ZipEntryError {
    ZipEntryError::Damaged { what }
}

/// The content of the entry `name`, of at most `limit_bytes`, its CRC-32 checked; `None` where the ZIP has no such entry.
/// Besides it, the directory is read.
pub async fn read_zip_entry(
    zip: &dyn RangedReader,
    name: &str,
    limit_bytes: u64,
) -> Result<Option<Vec<u8>>, ZipEntryError> {
    let directory = directory(zip).await?;
    let Some(found) = find(&directory, name)? else { return Ok(None) };
    if found.size_bytes > limit_bytes {
        return Err(ZipEntryError::TooLarge { size_bytes: found.size_bytes, limit_bytes });
    }
    let start = data_offset(zip, found.offset).await?;
    let data = read(zip, start, found.compressed_bytes).await?;
    let content = if found.is_deflated { inflate(&data, found.size_bytes)? } else { data.to_vec() };
    let is_whole = content.len() as u64 == found.size_bytes && crc32fast::hash(&content) == found.crc32;
    if is_whole {
        Ok(Some(content))
    } else {
        Err(damaged("the content of an entry is not what it should be"))
    }
}

async fn read(zip: &dyn RangedReader, start: u64, length: u64) -> Result<Bytes, ZipEntryError> {
    let end = start.checked_add(length).filter(|end| *end <= zip.length());
    let end = end.ok_or(damaged("something should lie behind its end"))?;
    zip.read(start..end).await.map_err(ZipEntryError::Read)
}

async fn directory(zip: &dyn RangedReader) -> Result<Bytes, ZipEntryError> {
    let length = TAIL_BYTES.min(zip.length());
    let tail = read(zip, zip.length() - length, length).await?;
    let end = tail.len().checked_sub(4 + END_LENGTH).ok_or(damaged("it is too short"))?;
    let (before, end) = tail.split_at(end);
    if end[..4] != END {
        return Err(damaged("it does not end like one"));
    }
    let narrow = |at: usize| u64::from(u32::from_le_bytes(end[at..at + 4].try_into().expect("four bytes")));
    let (mut bytes, mut offset) = (narrow(12), narrow(16));
    if bytes == u64::from(u32::MAX) || offset == u64::from(u32::MAX) {
        let records = before.len().checked_sub(4 + LOCATOR_LENGTH + 4 + ZIP64_END_LENGTH);
        let record = &before[records.ok_or(damaged("it is too short"))?..];
        if record[..4] != ZIP64_END || record[4 + ZIP64_END_LENGTH..][..4] != LOCATOR {
            return Err(damaged("its zip64 records are not where they should be"));
        }
        let wide = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().expect("eight bytes"));
        (bytes, offset) = (wide(40), wide(48));
    }
    if bytes > MAX_DIRECTORY_BYTES {
        return Err(damaged("its directory is too large"));
    }
    read(zip, offset, bytes).await
}

struct Found {
    is_deflated: bool,
    crc32: u32,
    compressed_bytes: u64,
    size_bytes: u64,
    offset: u64,
}

fn find(mut directory: &[u8], name: &str) -> Result<Option<Found>, ZipEntryError> {
    let broken = || damaged("its directory cannot be read");
    while !directory.is_empty() {
        let rest = directory.strip_prefix(&CENTRAL).ok_or_else(broken)?;
        let (fixed, rest) = rest.split_at_checked(CentralFixed::LENGTH).ok_or_else(broken)?;
        let line = CentralFixed::parse(fixed);
        let (own, rest) = rest.split_at_checked(usize::from(line.name_length)).ok_or_else(broken)?;
        let (extra, rest) = rest.split_at_checked(usize::from(line.extra_length)).ok_or_else(broken)?;
        directory = rest.get(usize::from(line.comment_length)..).ok_or_else(broken)?;
        if own == name.as_bytes() {
            let place = line.place(extra, 0).map_err(|_| broken())?;
            return Ok(Some(Found {
                is_deflated: line.method == 8,
                crc32: line.crc32,
                compressed_bytes: place.compressed,
                size_bytes: place.content,
                offset: place.offset,
            }));
        }
    }
    Ok(None)
}

/// Where the data begins of the entry whose local header is at `offset`.
async fn data_offset(zip: &dyn RangedReader, offset: u64) -> Result<u64, ZipEntryError> {
    let header = read(zip, offset, (4 + LocalFixed::LENGTH) as u64).await?;
    if header[..4] != LOCAL {
        return Err(damaged("an entry is not where it should be"));
    }
    let fixed = LocalFixed::parse(&header[4..]);
    Ok(offset + header.len() as u64 + u64::from(fixed.name_length) + u64::from(fixed.extra_length))
}

fn inflate(data: &[u8], size_bytes: u64) -> Result<Vec<u8>, ZipEntryError> {
    let broken = || damaged("an entry does not inflate");
    let mut inflater = Inflater::new();
    inflater.reset(None);
    let (mut content, mut rest) = (Vec::new(), data);
    loop {
        let step = inflater.step(rest).map_err(|_| broken())?;
        content.extend_from_slice(&inflater.output()[..step.produced]);
        rest = &rest[step.consumed..];
        if step.ended {
            return Ok(content);
        }
        let stands_still = step.consumed == 0 && step.produced == 0;
        if stands_still || content.len() as u64 > size_bytes {
            return Err(broken());
        }
    }
}
