//! Writes ZIPs as a deployment does, byte for byte but for what Deflate makes of the contents.
//!
//! The layout is that of `async_zip` 0.0.18 as the backend uses it: zip64 always, sizes of `0xFFFFFFFF` wherever the
//! zip64 extra field has the real ones, and data descriptors whose sizes are `0xFFFFFFFF` as well, which is wrong.

use std::io::{self, Write};

use flate2::{Compress, Compression, FlushCompress, Status};

const FLAGS: u16 = 0x0808;
const VERSION_NEEDED: u16 = 20;
const VERSION_NEEDED_ZIP64: u16 = 46;
const MADE_BY_UNIX: u16 = 3 << 8 | 63;
const DEFLATE: u16 = 8;
const ATTRIBUTES: u32 = 0o644 << 16;
const UNKNOWN: u32 = u32::MAX;
const LOCAL_HEADER_BYTES: u64 = 30 + 20;
const DESCRIPTOR_BYTES: u64 = 16;
const STORED_BLOCK_BYTES: usize = 65_535;
/// An empty final block with fixed codes: what ends a stream of stored blocks, and all there is of an empty entry.
const EMPTY_FINAL_BLOCK: [u8; 2] = [0x03, 0x00];

/// How an entry's content becomes a Deflate stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Compressed at this level.
    Deflate(u32),
    /// As stored blocks, which is what a compressor makes of random bytes, only much faster.
    Stored,
}

/// What the central directory has to say of an entry, apart from its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryRecord {
    pub(crate) crc: u32,
    pub(crate) compressed_bytes: u64,
    pub(crate) uncompressed_bytes: u64,
}

/// Writes a ZIP forward: every entry, then its line of the directory in the same order, then the end.
pub(crate) struct ZipWriter<W> {
    out: W,
    written: u64,
    deflate: Option<(u32, Compress)>,
    packed: Vec<u8>,
    stored: Vec<u8>,
    directory: Directory,
}

#[derive(Default)]
struct Directory {
    start: u64,
    count: u64,
    /// Where the local header of the next line's entry is.
    next_header: u64,
}

impl<W: Write> ZipWriter<W> {
    /// The length of what [`Self::finish`] writes.
    pub(crate) const END_BYTES: u64 = 56 + 20 + 22;

    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            written: 0,
            deflate: None,
            packed: Vec::with_capacity(64 * 1024),
            stored: Vec::with_capacity(STORED_BLOCK_BYTES),
            directory: Directory::default(),
        }
    }

    /// Bytes written so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Writes one entry whose content `fill` provides. `crc_error` is added to its true CRC.
    pub(crate) fn entry(
        &mut self,
        name: &str,
        packing: Packing,
        crc_error: u32,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<EntryRecord> {
        self.local_header(name)?;
        let start = self.written;
        self.prepare(packing);
        let mut sink = EntrySink { zip: self, packing, crc: crc32fast::Hasher::new(), uncompressed_bytes: 0 };
        fill(&mut sink)?;
        let (crc, uncompressed_bytes) =
            (sink.crc.finalize().wrapping_add(crc_error), sink.uncompressed_bytes);
        self.end_of_content(packing)?;
        let record = EntryRecord { crc, compressed_bytes: self.written - start, uncompressed_bytes };
        self.descriptor(crc)?;
        Ok(record)
    }

    fn prepare(&mut self, packing: Packing) {
        let Packing::Deflate(level) = packing else { return };
        match &mut self.deflate {
            Some((prepared, deflate)) if *prepared == level => deflate.reset(),
            other => *other = Some((level, Compress::new(Compression::new(level), false))),
        }
    }

    fn pack(&mut self, mut input: &[u8], packing: Packing) -> io::Result<()> {
        if packing == Packing::Stored {
            return self.store(input);
        }
        while !input.is_empty() {
            let consumed = self.deflate_some(input, FlushCompress::None)?.0;
            input = &input[consumed..];
        }
        Ok(())
    }

    fn deflate_some(&mut self, input: &[u8], flush: FlushCompress) -> io::Result<(usize, Status)> {
        let (_, deflate) = self.deflate.as_mut().expect("an entry is prepared before it is packed");
        let before = deflate.total_in();
        self.packed.clear();
        let status = deflate.compress_vec(input, &mut self.packed, flush).map_err(io::Error::other)?;
        let consumed = usize::try_from(deflate.total_in() - before).map_err(io::Error::other)?;
        self.out.write_all(&self.packed)?;
        self.written += self.packed.len() as u64;
        Ok((consumed, status))
    }

    fn store(&mut self, mut input: &[u8]) -> io::Result<()> {
        while !input.is_empty() {
            let room = STORED_BLOCK_BYTES - self.stored.len();
            let (now, later) = input.split_at(room.min(input.len()));
            self.stored.extend_from_slice(now);
            input = later;
            if self.stored.len() == STORED_BLOCK_BYTES {
                self.stored_block()?;
            }
        }
        Ok(())
    }

    fn stored_block(&mut self) -> io::Result<()> {
        let length = u16::try_from(self.stored.len()).expect("a block holds at most 65535 bytes");
        let mut header = [0; 5];
        header[1..3].copy_from_slice(&length.to_le_bytes());
        header[3..].copy_from_slice(&(!length).to_le_bytes());
        self.raw(&header)?;
        self.out.write_all(&self.stored)?;
        self.written += self.stored.len() as u64;
        self.stored.clear();
        Ok(())
    }

    fn end_of_content(&mut self, packing: Packing) -> io::Result<()> {
        match packing {
            Packing::Deflate(_) => {
                while self.deflate_some(&[], FlushCompress::Finish)?.1 != Status::StreamEnd {}
                Ok(())
            }
            Packing::Stored => {
                if !self.stored.is_empty() {
                    self.stored_block()?;
                }
                self.raw(&EMPTY_FINAL_BLOCK)
            }
        }
    }

    fn local_header(&mut self, name: &str) -> io::Result<()> {
        let mut header = Vec::with_capacity(64 + name.len());
        header.extend_from_slice(b"PK\x03\x04");
        put_u16(&mut header, &[VERSION_NEEDED, FLAGS, DEFLATE, 0, 0]);
        put_u32(&mut header, &[0, UNKNOWN, UNKNOWN]);
        put_u16(&mut header, &[name_length(name)?, 20]);
        header.extend_from_slice(name.as_bytes());
        put_u16(&mut header, &[1, 16]);
        put_u64(&mut header, &[0, 0]);
        self.raw(&header)
    }

    fn descriptor(&mut self, crc: u32) -> io::Result<()> {
        let mut descriptor = b"PK\x07\x08".to_vec();
        put_u32(&mut descriptor, &[crc, UNKNOWN, UNKNOWN]);
        self.raw(&descriptor)
    }

    /// Begins the central directory, after the last entry.
    pub(crate) fn begin_directory(&mut self) {
        self.directory = Directory { start: self.written, count: 0, next_header: 0 };
    }

    /// Writes the line of the next entry. `header_name_bytes` is the length of the name in its local header.
    pub(crate) fn directory_line(
        &mut self,
        name: &str,
        header_name_bytes: u64,
        record: &EntryRecord,
    ) -> io::Result<()> {
        let mut line = Vec::with_capacity(128 + name.len());
        line.extend_from_slice(b"PK\x01\x02");
        put_u16(&mut line, &[MADE_BY_UNIX, VERSION_NEEDED, FLAGS, DEFLATE, 0, 0]);
        put_u32(&mut line, &[record.crc, UNKNOWN, UNKNOWN]);
        put_u16(&mut line, &[name_length(name)?, 28, 0, 0, 0]);
        put_u32(&mut line, &[ATTRIBUTES, UNKNOWN]);
        line.extend_from_slice(name.as_bytes());
        put_u16(&mut line, &[1, 24]);
        let offset = self.directory.next_header;
        put_u64(&mut line, &[record.uncompressed_bytes, record.compressed_bytes, offset]);
        self.directory.next_header +=
            LOCAL_HEADER_BYTES + header_name_bytes + record.compressed_bytes + DESCRIPTOR_BYTES;
        self.directory.count += 1;
        self.raw(&line)
    }

    /// Writes the end of the directory and hands back what it was all written to.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        let Directory { start, count, .. } = self.directory;
        let end = self.written;
        let mut tail = b"PK\x06\x06".to_vec();
        put_u64(&mut tail, &[44]);
        put_u16(&mut tail, &[MADE_BY_UNIX, VERSION_NEEDED_ZIP64]);
        put_u32(&mut tail, &[0, 0]);
        put_u64(&mut tail, &[count, count, end - start, start]);
        tail.extend_from_slice(b"PK\x06\x07");
        put_u32(&mut tail, &[0]);
        put_u64(&mut tail, &[end]);
        put_u32(&mut tail, &[1]);
        tail.extend_from_slice(b"PK\x05\x06");
        let short_count = u16::try_from(count).unwrap_or(u16::MAX);
        put_u16(&mut tail, &[0, 0, short_count, short_count]);
        put_u32(&mut tail, &[short(end - start), short(start)]);
        put_u16(&mut tail, &[0]);
        self.raw(&tail)?;
        Ok(self.out)
    }

    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

/// Takes an entry's content: counts it, sums it up and packs it.
struct EntrySink<'a, W> {
    zip: &'a mut ZipWriter<W>,
    packing: Packing,
    crc: crc32fast::Hasher,
    uncompressed_bytes: u64,
}

impl<W: Write> Write for EntrySink<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.crc.update(bytes);
        self.uncompressed_bytes += bytes.len() as u64;
        self.zip.pack(bytes, self.packing)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn name_length(name: &str) -> io::Result<u16> {
    u16::try_from(name.len()).map_err(io::Error::other)
}

fn short(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn put_u16(out: &mut Vec<u8>, numbers: &[u16]) {
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

fn put_u32(out: &mut Vec<u8>, numbers: &[u32]) {
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

fn put_u64(out: &mut Vec<u8>, numbers: &[u64]) {
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read as _};

    use super::{Packing, ZipWriter};

    fn zip_of(entries: &[(&str, Packing, &[u8])]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Vec::new());
        let write = |(name, packing, content): &(&str, Packing, &[u8])| {
            let record = zip.entry(name, *packing, 0, |out| out.write_all(content)).unwrap();
            ((*name).to_owned(), record)
        };
        let records: Vec<_> = entries.iter().map(write).collect();
        zip.begin_directory();
        for (name, record) in &records {
            zip.directory_line(name, name.len() as u64, record).unwrap();
        }
        zip.finish().unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = b"{\"a\":1}\n".repeat(20_000);
        let noise: Vec<u8> =
            (0..200_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        let bytes = zip_of(&[
            ("empty", Packing::Deflate(6), b""),
            ("a/documents.jsonl", Packing::Deflate(6), &text),
            ("b/documents.jsonl", Packing::Deflate(1), &text),
            ("noise", Packing::Stored, &noise),
            ("nothing", Packing::Stored, b""),
        ]);
        let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        for (name, expected) in [
            ("empty", &[][..]),
            ("a/documents.jsonl", &text),
            ("b/documents.jsonl", &text),
            ("noise", &noise),
            ("nothing", &[]),
        ] {
            let mut content = Vec::new();
            archive.by_name(name).unwrap().read_to_end(&mut content).unwrap();
            assert_eq!(content, expected, "{name}");
        }
    }

    #[test]
    fn the_first_bytes_are_those_of_a_real_export() {
        let bytes = zip_of(&[("README.md", Packing::Deflate(6), b"# x\n")]);
        assert_eq!(bytes[..32], hex("504b03041400080808000000000000000000ffffffffffffffff090014005245"));
        let tail = hex("504b060700000000");
        assert_eq!(bytes[bytes.len() - 42..bytes.len() - 34], tail);
    }

    /// The first fields of a line of the directory: up to the length of the name.
    const LINE_BYTES: usize = 46;

    #[test]
    fn a_real_export_written_again_differs_only_in_what_deflate_made_of_it() {
        for name in ["small.zip", "limits.zip", "empty.zip"] {
            let Some(real) = fixture(name) else { continue };
            let mut archive = zip::ZipArchive::new(Cursor::new(real.clone())).unwrap();
            let mut contents = Vec::new();
            for index in 0..archive.len() {
                let mut entry = archive.by_index(index).unwrap();
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                contents.push((entry.name().unwrap().into_owned(), content));
            }
            let entries: Vec<_> = contents
                .iter()
                .map(|(name, content)| (name.as_str(), Packing::Deflate(6), &content[..]))
                .collect();
            let ours = zip_of(&entries);
            assert_eq!(without_sizes(&ours), without_sizes(&real), "{name}");
        }
    }

    /// Everything of a ZIP but what Deflate decides: local headers, descriptors, and the directory less its compressed
    /// sizes and offsets.
    fn without_sizes(zip: &[u8]) -> Vec<Vec<u8>> {
        let number = |at: usize, length: usize| {
            let mut bytes = [0; 8];
            bytes[..length].copy_from_slice(&zip[at..at + length]);
            usize::try_from(u64::from_le_bytes(bytes)).unwrap()
        };
        let end64 = number(zip.len() - 22 - 20 + 8, 8);
        let (count, mut at) = (number(end64 + 32, 8), number(end64 + 48, 8));
        let mut parts = vec![zip[end64..end64 + 40].to_vec(), zip[zip.len() - 22..zip.len() - 10].to_vec()];
        for _ in 0..count {
            let name = number(at + 28, 2);
            let extra = at + LINE_BYTES + name;
            let (compressed, offset) = (number(extra + 12, 8), number(extra + 20, 8));
            let content = offset + 30 + name + 20;
            parts.push(zip[at..extra + 12].to_vec());
            parts.push(zip[offset..content].to_vec());
            parts.push(zip[content + compressed..content + compressed + 16].to_vec());
            at = extra + 28;
        }
        assert_eq!(at, end64);
        parts
    }

    /// A real export, where this checkout has them beside it.
    #[expect(clippy::disallowed_methods, reason = "a test is told in its environment where the fixtures are")]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn fixture(name: &str) -> Option<Vec<u8>> {
        let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures/convex");
        let folder =
            std::env::var_os("CONVAULT_FIXTURES").map_or_else(|| beside.into(), std::path::PathBuf::from);
        let bytes = std::fs::read(folder.join(name)).ok();
        if bytes.is_none() {
            eprintln!("skipped: {name} is not among the fixtures");
        }
        bytes
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }
}
