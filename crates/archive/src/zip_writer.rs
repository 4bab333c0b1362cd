//! [`ZipWriter`]: makes a ZIP forward only, as the contents of its entries come.

use bytes::{BufMut as _, BytesMut};
use jiff::Timestamp;
use zlib_rs::{Deflate, DeflateFlush, Status};

use crate::{
    record::Method,
    zip_record::{Header, Whole, put_descriptor, put_end},
};

/// What `deflate` uses when nothing else is said.
const LEVEL: i32 = 6;
const WINDOW_BITS: u8 = 15;
/// Compressed bytes are taken over in pieces of this size.
const PIECE_BYTES: usize = 16 << 10;
/// The most that one stored block of deflate can hold.
const BLOCK_BYTES: usize = 65_535;
/// An empty final block with fixed codes: what ends a stream of stored blocks.
const LAST_BLOCK: [u8; 2] = [0x03, 0x00];
/// So much of the directory is held as it will be written; what came before is held compressed.
const PLAIN_DIRECTORY_BYTES: usize = 1 << 20;
/// The directory is mostly names and sizes that resemble each other; higher levels gain little.
const DIRECTORY_LEVEL: i32 = 1;

/// How content becomes deflate. What comes of both is method 8, with a data descriptor behind it, since a stored entry
/// (method 0) of unknown size can be read by nobody who reads forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Compressed.
    Deflate,
    /// In blocks that are stored as they are: for what is compressed already, such as pictures.
    Blocks,
}

/// An entry before its content.
#[derive(Debug, Clone, Copy)]
pub struct ZipEntry<'a> {
    /// The name in the ZIP; at most 60,000 bytes.
    pub name: &'a str,
    /// Permission bits; `0o644` where there are none.
    pub mode: Option<u32>,
    /// Numeric owner and group.
    pub owner: Option<(u32, u32)>,
    /// When it was changed last; 1980-01-01, the earliest that a ZIP can say, where that is not known.
    pub modified: Option<Timestamp>,
}

impl<'a> ZipEntry<'a> {
    /// An entry of which only its name is known.
    pub fn named(name: &'a str) -> Self {
        Self { name, mode: None, owner: None, modified: None }
    }
}

/// What another ZIP says of an entry whose compressed data is taken over as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawEntry {
    /// 0 stored, 8 deflate.
    pub method: u16,
    /// CRC-32 of the content.
    pub crc32: u32,
    /// Bytes of the data.
    pub compressed_bytes: u64,
    /// Bytes of the content.
    pub size_bytes: u64,
}

/// What cannot be written. Names the entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ZipWriteError {
    /// The name is too long for a ZIP.
    #[error("the name of a ZIP entry may have {MAX_NAME_BYTES} bytes, not {length}")]
    NameTooLong {
        /// Its bytes.
        length: usize,
    },
    /// Data was taken over that is not as long as was announced.
    #[error("{found} bytes of data came for the ZIP entry `{entry}`, not {announced}")]
    RawLength {
        /// The entry.
        entry: String,
        /// How many bytes came.
        found: u64,
        /// How many were announced.
        announced: u64,
    },
}

/// Longer names are refused, which leaves room for extra fields.
const MAX_NAME_BYTES: usize = 60_000;

/// Makes a ZIP of what is pushed into it: the same calls give the same bytes, whatever the pieces of content. `unzip`,
/// Python's `zipfile` and `npx convex import` read it, and so does [`crate::Reader`], forward. zip64 is used where it
/// is needed. It holds the directory, compressed to some 50 bytes an entry, and otherwise less than 2 MiB.
///
/// The bytes are appended to `out`, which the caller empties as it likes.
pub struct ZipWriter {
    offset: u64,
    directory: Directory,
    entries: u64,
    deflate: Deflate,
    open: Option<Open>,
}

/// The entry whose content is coming.
struct Open {
    header: Header,
    name: String,
    offset: u64,
    /// Of the content; not of data that is taken over.
    crc32: crc32fast::Hasher,
    compressed_bytes: u64,
    /// Bytes that were pushed.
    size_bytes: u64,
    content: Content,
}

enum Content {
    /// Packed a block at a time, so that the pieces in which content comes make no difference.
    Packed(Packing, Vec<u8>),
    Raw(RawEntry),
}

impl Default for ZipWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl ZipWriter {
    /// An empty ZIP.
    pub fn new() -> Self {
        Self {
            offset: 0,
            directory: Directory::default(),
            entries: 0,
            deflate: Deflate::new(LEVEL, false, WINDOW_BITS),
            open: None,
        }
    }

    /// Ends the entry before, and begins one whose size is not known yet.
    pub fn begin(
        &mut self,
        entry: &ZipEntry<'_>,
        packing: Packing,
        out: &mut BytesMut,
    ) -> Result<(), ZipWriteError> {
        self.open(entry, Content::Packed(packing, Vec::with_capacity(BLOCK_BYTES)), out)
    }

    /// Ends the entry before, and begins one whose compressed data is taken over from another ZIP: what is written next
    /// is that data. Nobody checks that it is what `raw` says.
    pub fn begin_raw(
        &mut self,
        entry: &ZipEntry<'_>,
        raw: RawEntry,
        out: &mut BytesMut,
    ) -> Result<(), ZipWriteError> {
        self.open(entry, Content::Raw(raw), out)
    }

    fn open(
        &mut self,
        entry: &ZipEntry<'_>,
        content: Content,
        out: &mut BytesMut,
    ) -> Result<(), ZipWriteError> {
        self.end_entry(out)?;
        let length = entry.name.len();
        if length > MAX_NAME_BYTES {
            return Err(ZipWriteError::NameTooLong { length });
        }
        let (method, whole) = match &content {
            Content::Packed(..) => (Method::Deflate.number(), None),
            Content::Raw(raw) => (raw.method, Some(raw.whole())),
        };
        self.deflate.reset();
        let header = Header::new(entry, method, whole.is_none());
        let offset = self.offset;
        self.counted(out, |out| header.put_local(whole, out));
        self.open = Some(Open {
            header,
            name: entry.name.to_owned(),
            offset,
            crc32: crc32fast::Hasher::new(),
            compressed_bytes: 0,
            size_bytes: 0,
            content,
        });
        Ok(())
    }

    /// Appends to `out` what `put` makes, and counts it.
    fn counted(&mut self, out: &mut BytesMut, put: impl FnOnce(&mut BytesMut)) {
        let before = out.len();
        put(out);
        self.offset += (out.len() - before) as u64;
    }

    /// Takes the next content of the entry that was begun last, or its data, where that is taken over.
    pub fn write(&mut self, bytes: &[u8], out: &mut BytesMut) {
        let before = out.len();
        let open = self.open.as_mut().expect("an entry is begun before it is written");
        open.size_bytes += bytes.len() as u64;
        match &mut open.content {
            Content::Packed(packing, block) => {
                open.crc32.update(bytes);
                pack(*packing, block, bytes, &mut self.deflate, out);
            }
            Content::Raw(_) => out.put_slice(bytes),
        }
        let written = (out.len() - before) as u64;
        open.compressed_bytes += written;
        self.offset += written;
    }

    fn end_entry(&mut self, out: &mut BytesMut) -> Result<(), ZipWriteError> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let before = out.len();
        match &mut open.content {
            Content::Packed(Packing::Deflate, block) => {
                deflate(&mut self.deflate, block, DeflateFlush::Finish, out);
            }
            Content::Packed(Packing::Blocks, block) => {
                put_block(block, out);
                out.put_slice(&LAST_BLOCK);
            }
            Content::Raw(raw) if raw.compressed_bytes == open.size_bytes => {}
            Content::Raw(raw) => {
                let (found, announced) = (open.size_bytes, raw.compressed_bytes);
                return Err(ZipWriteError::RawLength { entry: open.name, found, announced });
            }
        }
        open.compressed_bytes += (out.len() - before) as u64;
        let whole = match open.content {
            Content::Raw(raw) => raw.whole(),
            Content::Packed(..) => {
                let (crc32, compressed_bytes) = (open.crc32.finalize(), open.compressed_bytes);
                let whole = Whole { crc32, compressed_bytes, size_bytes: open.size_bytes };
                put_descriptor(whole, out);
                whole
            }
        };
        self.offset += (out.len() - before) as u64;
        self.directory.add(|plain| open.header.put_central(whole, open.offset, plain));
        self.entries += 1;
        Ok(())
    }

    /// Ends the last entry, and appends the directory. Without it, this is no ZIP.
    pub fn finish(self, out: &mut BytesMut) -> Result<(), ZipWriteError> {
        for piece in self.into_tail(out)? {
            out.put_slice(&piece);
        }
        Ok(())
    }

    /// Ends the last entry, and gives the directory in pieces of about 1 MiB, which belong behind what is in `out` then.
    pub fn into_tail(mut self, out: &mut BytesMut) -> Result<ZipTail, ZipWriteError> {
        self.end_entry(out)?;
        let Directory { packed, plain, length } = self.directory;
        let mut end = BytesMut::new();
        put_end(self.entries, length, self.offset, &mut end);
        let last = [plain.as_slice(), &end].concat();
        Ok(ZipTail { packed: packed.into_iter(), last: Some(last) })
    }
}

/// The directory as it grows.
#[derive(Default)]
struct Directory {
    packed: Vec<Vec<u8>>,
    plain: Vec<u8>,
    /// Bytes of all of it.
    length: u64,
}

impl Directory {
    fn add(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        let before = self.plain.len();
        put(&mut self.plain);
        self.length += (self.plain.len() - before) as u64;
        if self.plain.len() >= PLAIN_DIRECTORY_BYTES {
            let packed = zstd::bulk::compress(&self.plain, DIRECTORY_LEVEL);
            let mut packed = packed.expect("zstd compresses any bytes where there is memory");
            packed.shrink_to_fit();
            self.packed.push(packed);
            self.plain.clear();
        }
    }
}

/// What stands behind the last entry of a ZIP, in pieces.
pub struct ZipTail {
    packed: std::vec::IntoIter<Vec<u8>>,
    last: Option<Vec<u8>>,
}

impl Iterator for ZipTail {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let Some(packed) = self.packed.next() else { return self.last.take() };
        let most = PLAIN_DIRECTORY_BYTES + MAX_NAME_BYTES + (1 << 10);
        Some(zstd::bulk::decompress(&packed, most).expect("it was compressed here"))
    }
}

impl std::fmt::Debug for ZipTail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ZipTail").finish_non_exhaustive()
    }
}

impl RawEntry {
    fn whole(self) -> Whole {
        Whole { crc32: self.crc32, compressed_bytes: self.compressed_bytes, size_bytes: self.size_bytes }
    }
}

impl std::fmt::Debug for ZipWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ZipWriter").field("entries", &self.entries).finish_non_exhaustive()
    }
}

/// Compresses `input` wholly, to the end of the stream where `flush` says so.
fn deflate(deflate: &mut Deflate, mut input: &[u8], flush: DeflateFlush, out: &mut BytesMut) {
    let is_last = matches!(flush, DeflateFlush::Finish);
    let mut piece = [0; PIECE_BYTES];
    loop {
        let (before_in, before_out) = (deflate.total_in(), deflate.total_out());
        let status = deflate.compress(input, &mut piece, flush);
        let status = status.expect("deflate fails only where it is called after its end");
        let length = |after: u64, before: u64| usize::try_from(after - before).expect("it lay in memory");
        let produced = length(deflate.total_out(), before_out);
        input = &input[length(deflate.total_in(), before_in)..];
        out.put_slice(&piece[..produced]);
        let done =
            if is_last { status == Status::StreamEnd } else { input.is_empty() && produced < PIECE_BYTES };
        if done {
            return;
        }
    }
}

/// Fills blocks with `input`, and packs each that is full.
fn pack(packing: Packing, block: &mut Vec<u8>, mut input: &[u8], packer: &mut Deflate, out: &mut BytesMut) {
    while !input.is_empty() {
        let (now, later) = input.split_at(input.len().min(BLOCK_BYTES - block.len()));
        block.extend_from_slice(now);
        input = later;
        if block.len() == BLOCK_BYTES {
            match packing {
                Packing::Deflate => deflate(packer, block, DeflateFlush::NoFlush, out),
                Packing::Blocks => put_block(block, out),
            }
            block.clear();
        }
    }
}

/// Puts a stored block that is not the last; none where it would be empty.
fn put_block(block: &[u8], out: &mut BytesMut) {
    let length = u16::try_from(block.len()).expect("a block holds no more than fits into its header");
    if length > 0 {
        out.put_u8(0);
        out.put_u16_le(length);
        out.put_u16_le(!length);
        out.put_slice(block);
    }
}
