//! Reads single entries, and documents from a resume point on, without reading what lies before them.

use std::{ops::Range, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Buf as _, Bytes};
use convault_core::{IndexEntry, IndexLine, ResumePoint};

use crate::{
    entry_decoder::EntryDecoder,
    frames::{DIRECTORY_MAGIC, FOOTER_BYTES, FOOTER_MAGIC, Frame, FrameKind},
    inflate::{Resumed, WINDOW_BYTES},
    ranged::{RangedError, RangedReader},
};

/// Bytes fetched at once.
const FETCH_BYTES: u64 = 1 << 20;

/// Bytes fetched from the end of an index at first: its directory is mostly within them.
const TAIL_BYTES: u64 = 64 << 10;

/// A directory over this is not believed.
const MAX_DIRECTORY_BYTES: u64 = 256 << 20;

/// A frame over this, after decompression, is not believed. One line has at most a name of 4 KiB or a window.
const MAX_FRAME_BYTES: u64 = 4 << 20;

/// Why an entry could not be read at random.
#[derive(Debug, thiserror::Error)]
pub enum RandomError {
    /// The store failed.
    #[error("cannot read bytes {start} to {end} of the stored {object}")]
    Read {
        /// `index` or `ZIP`.
        object: &'static str,
        /// The first byte.
        start: u64,
        /// Behind the last byte.
        end: u64,
        /// The store's error.
        source: RangedError,
    },
    /// The index is not one, or is damaged.
    #[error("the index is damaged: {what}; verify the snapshot with `--read-data`")]
    BadIndex {
        /// What is wrong.
        what: &'static str,
    },
    /// What lies in the ZIP is not what the index says.
    #[error(
        "`{entry}` in the stored ZIP is not what the index says: {what}; verify the snapshot with `--read-data`"
    )]
    Differs {
        /// The entry.
        entry: String,
        /// What differs.
        what: &'static str,
    },
}

async fn fetch(
    reader: &dyn RangedReader,
    object: &'static str,
    range: Range<u64>,
) -> Result<Bytes, RandomError> {
    let Range { start, end } = range;
    if start > end || end > reader.length() {
        let source = "the object is shorter than its index says".into();
        return Err(RandomError::Read { object, start, end, source });
    }
    let bytes =
        reader.read(start..end).await.map_err(|source| RandomError::Read { object, start, end, source })?;
    if bytes.len() as u64 != end - start {
        let source = format!("{} bytes came", bytes.len()).into();
        return Err(RandomError::Read { object, start, end, source });
    }
    Ok(bytes)
}

/// An index of which only the directory is held; its frames are fetched when they are needed.
#[derive(Debug)]
pub struct Index<R> {
    reader: R,
    frames: Arc<[Frame]>,
}

impl<R: RangedReader> Index<R> {
    /// Reads the directory of an index: one ranged read, or two where it is large.
    pub async fn open(reader: R) -> Result<Self, RandomError> {
        let length = reader.length();
        let tail = fetch(&reader, "index", length.saturating_sub(TAIL_BYTES)..length).await?;
        let size = directory_size(&tail)?;
        let tail = if size + 8 > tail.len() as u64 {
            let start = length.checked_sub(size + 8).ok_or(bad("its directory is longer than itself"))?;
            fetch(&reader, "index", start..length).await?
        } else {
            tail.slice(tail.len() - length_of(size + 8)..)
        };
        let frames = parse_directory(&tail)?;
        let end = length - tail.len() as u64;
        if frames.last().map(|frame| frame.kind) != Some(FrameKind::Totals) {
            return Err(bad("it has no totals"));
        }
        if frames.iter().any(|frame| frame.offset.checked_add(frame.length).is_none_or(|past| past > end)) {
            return Err(bad("a frame lies outside of it"));
        }
        Ok(Self { reader, frames: frames.into() })
    }

    /// An index whose directory was read before: nothing is read.
    pub fn known(reader: R, frames: Arc<[Frame]>) -> Self {
        Self { reader, frames }
    }

    /// Its frames, in order.
    pub fn frames(&self) -> &Arc<[Frame]> {
        &self.frames
    }

    /// The lines of one frame.
    pub async fn lines(&self, frame: &Frame) -> Result<Vec<IndexLine>, RandomError> {
        if frame.content > MAX_FRAME_BYTES {
            return Err(bad("a frame is too large"));
        }
        let bytes = fetch(&self.reader, "index", frame.offset..frame.offset + frame.length).await?;
        let text = zstd::bulk::decompress(&bytes, length_of(frame.content))
            .map_err(|_| bad("a frame does not decompress"))?;
        text.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).map_err(|_| bad("a line cannot be read")))
            .collect()
    }

    /// The line of the entry of that name, if the ZIP has one: mostly one ranged read.
    pub async fn entry(&self, name: &str) -> Result<Option<IndexEntry>, RandomError> {
        for frame in self.frames.iter().filter(|frame| frame.may_hold_entry(name)) {
            let found = self.lines(frame).await?.into_iter().find_map(|line| match line {
                IndexLine::Entry(entry) if entry.name == name => Some(entry),
                _ => None,
            });
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The last resume point of that entry whose first id is not greater than `id`: where reading towards the
    /// document of that id best begins. `None`: at the entry's start. One ranged read.
    pub async fn resume_point(&self, entry: &str, id: &str) -> Result<Option<ResumePoint>, RandomError> {
        let before = |frame: &&Frame| {
            frame.kind == FrameKind::Resume
                && frame.first.as_deref() == Some(entry)
                && frame.last.as_deref().is_some_and(|first_id| first_id <= id)
        };
        let Some(frame) = self.frames.iter().rfind(before) else { return Ok(None) };
        match self.lines(frame).await?.pop() {
            Some(IndexLine::Resume(point)) => Ok(Some(point)),
            _ => Err(bad("a resume frame holds something else")),
        }
    }
}

pub(crate) fn bad(what: &'static str) -> RandomError {
    RandomError::BadIndex { what }
}

fn length_of(size: u64) -> usize {
    usize::try_from(size).expect("sizes are bounded before they are used")
}

/// Bytes of the directory frame's content, read from the index's last bytes.
fn directory_size(tail: &[u8]) -> Result<u64, RandomError> {
    let footer = tail.len().checked_sub(FOOTER_BYTES).ok_or(bad("it is too short"))?;
    let (length, magic) = tail[footer..].split_at(4);
    if magic != FOOTER_MAGIC {
        return Err(bad("it does not end like one"));
    }
    let length = u32::from_le_bytes(length.try_into().expect("four bytes"));
    let size = u64::from(length) + FOOTER_BYTES as u64;
    if size > MAX_DIRECTORY_BYTES { Err(bad("its directory is too large")) } else { Ok(size) }
}

/// The frames of a directory, given with its skippable frame's header.
fn parse_directory(bytes: &[u8]) -> Result<Vec<Frame>, RandomError> {
    let (header, content) = bytes.split_at_checked(8).ok_or(bad("it is too short"))?;
    let size = u32::try_from(content.len()).map_err(|_| bad("its directory is too large"))?;
    if header[..4] != DIRECTORY_MAGIC.to_le_bytes() || header[4..] != size.to_le_bytes() {
        return Err(bad("its directory is not in a frame"));
    }
    content[..content.len() - FOOTER_BYTES]
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).map_err(|_| bad("a line of its directory cannot be read")))
        .collect()
}

/// The content of one entry, read at random and checked at its end.
pub struct EntryContent<'a> {
    zip: Arc<dyn RangedReader + 'a>,
    decoder: EntryDecoder,
    /// What remains to be fetched.
    rest: Range<u64>,
    /// Content to be left out before the first line, after a resume point.
    skip: u64,
}

impl std::fmt::Debug for EntryContent<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EntryContent").field("decoder", &self.decoder).finish_non_exhaustive()
    }
}

impl<'a> EntryContent<'a> {
    /// The whole content of an entry. Its size, CRC-32 and SHA-256 are checked: only after [`EntryContent::next`]
    /// has given `None` is what came before to be believed.
    pub fn whole(zip: Arc<dyn RangedReader + 'a>, entry: &IndexEntry) -> Result<Self, RandomError> {
        let (decoder, rest) = (EntryDecoder::new(entry)?, data_range(entry)?);
        Ok(Self { zip, decoder, rest, skip: 0 })
    }

    /// The content of an entry of documents from the first line after a resume point on; that line's number and
    /// `_id` are in the point. Only the entry's size is checked: a part of the content has no SHA-256 of its own.
    pub async fn resume(
        zip: Arc<dyn RangedReader + 'a>,
        entry: &IndexEntry,
        point: &ResumePoint,
    ) -> Result<Self, RandomError> {
        let window = STANDARD.decode(&point.window).map_err(|_| bad("a window cannot be read"))?;
        let bits = u8::try_from(point.compressed_bits % 8).expect("a remainder of 8");
        let data = data_range(entry)?;
        let first = data.start.saturating_add(point.compressed_bits / 8);
        if window.len() > WINDOW_BYTES || first >= data.end || point.line_offset < point.content_offset {
            return Err(bad("a resume point contradicts itself"));
        }
        let (unused, start) = if bits == 0 { (0, first) } else { (8 - bits, first + 1) };
        let last_byte = fetch(zip.as_ref(), "ZIP", first..first + 1).await?[0];
        let resumed = Resumed::start(&window, unused, last_byte);
        let decoder = EntryDecoder::resumed(entry, resumed, data.end - start, point.content_offset);
        Ok(Self { zip, decoder, rest: start..data.end, skip: point.line_offset - point.content_offset })
    }

    /// The next content, never empty; `None` once it has come whole and every check has passed.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RandomError> {
        loop {
            while let Some(mut content) = self.decoder.next_content()? {
                let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(content.len());
                self.skip -= skipped as u64;
                content.advance(skipped);
                if !content.is_empty() {
                    return Ok(Some(content));
                }
            }
            if self.rest.is_empty() {
                return Ok(None);
            }
            let end = self.rest.end.min(self.rest.start + FETCH_BYTES);
            self.decoder.push(fetch(self.zip.as_ref(), "ZIP", self.rest.start..end).await?);
            self.rest.start = end;
        }
    }
}

fn data_range(entry: &IndexEntry) -> Result<Range<u64>, RandomError> {
    let end = entry.data_offset.checked_add(entry.compressed_bytes).ok_or(bad("an entry has no end"))?;
    Ok(entry.data_offset..end)
}
