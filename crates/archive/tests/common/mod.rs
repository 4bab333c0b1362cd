//! What the tests of this crate share: the recorded exports, and a writer of ZIPs laid out as Convex does.

#![allow(dead_code, reason = "each test binary uses its own part of this")]
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test says where it looks and what it skips"
)]

use std::{io::Write as _, path::PathBuf};

use convault_archive::{ArchiveError, Finished, Options, Reader};
use flate2::{Compression, write::DeflateEncoder};

/// A recorded export and what is expected of it; `None`, said aloud, where the recordings are absent.
pub(crate) fn fixture(name: &str) -> Option<Vec<u8>> {
    let folder = std::env::var_os("CONVAULT_FIXTURES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/convex"),
        PathBuf::from,
    );
    let path = folder.join(name);
    std::fs::read(&path).map_err(|error| eprintln!("skipped: {}: {error}", path.display())).ok()
}

/// Reads a ZIP in chunks of `size`; gives the whole index beside what was found.
pub(crate) fn read_with(
    zip: &[u8],
    size: usize,
    options: Options,
) -> Result<(Finished, Vec<u8>), ArchiveError> {
    let mut reader = Reader::new(options);
    let mut index = Vec::new();
    for chunk in zip.chunks(size) {
        reader.push(chunk)?;
        index.extend_from_slice(&reader.take_index());
    }
    let finished = reader.finish()?;
    index.extend_from_slice(&finished.index);
    Ok((finished, index))
}

/// Reads a ZIP in one chunk.
pub(crate) fn read(zip: &[u8]) -> Result<Finished, ArchiveError> {
    read_with(zip, zip.len().max(1), Options::default()).map(|(finished, _)| finished)
}

/// The lines of an index.
pub(crate) fn lines(index: &[u8]) -> Vec<convault_core::IndexLine> {
    let text = zstd::stream::decode_all(index).unwrap();
    text.split(|byte| *byte == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect()
}

/// What stands behind an entry's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Descriptor {
    /// As Convex writes it: 16 bytes, both sizes `FFFFFFFF`.
    Convex,
    /// As the ZIP specification has it, with 4-byte sizes.
    Narrow,
    /// The same without a signature.
    Bare,
    /// With 8-byte sizes.
    Wide,
    /// The same without a signature.
    WideBare,
    /// None: the header has the sizes.
    InHeader,
}

pub(crate) struct Written {
    name: Vec<u8>,
    flags: u16,
    method: u16,
    crc32: u32,
    compressed: u64,
    content: u64,
    offset: u64,
}

/// Writes a ZIP laid out as Convex does (protocol, "Binary layout").
pub(crate) struct ZipBuilder {
    pub(crate) bytes: Vec<u8>,
    pub(crate) written: Vec<Written>,
    pub(crate) descriptor: Descriptor,
    pub(crate) level: u32,
    pub(crate) stored: bool,
    pub(crate) zip64: bool,
}

impl Default for ZipBuilder {
    fn default() -> Self {
        Self {
            bytes: vec![],
            written: vec![],
            descriptor: Descriptor::Convex,
            level: 6,
            stored: false,
            zip64: true,
        }
    }
}

impl ZipBuilder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn deflate(content: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// Adds an entry.
    pub(crate) fn entry(&mut self, name: &str, content: &[u8]) -> &mut Self {
        self.raw_entry(name.as_bytes(), content)
    }

    /// Adds an entry of any name.
    pub(crate) fn raw_entry(&mut self, name: &[u8], content: &[u8]) -> &mut Self {
        let data = if self.stored { content.to_vec() } else { Self::deflate(content, self.level) };
        self.packed_entry(name, &data, crc32fast::hash(content), content.len() as u64)
    }

    /// Adds an entry whose data is already compressed.
    pub(crate) fn packed_entry(&mut self, name: &[u8], data: &[u8], crc32: u32, content: u64) -> &mut Self {
        let offset = self.bytes.len() as u64;
        let in_header = self.descriptor == Descriptor::InHeader;
        let flags: u16 = if in_header { 0x0800 } else { 0x0808 };
        let method: u16 = if self.stored { 0 } else { 8 };
        let compressed = data.len() as u64;
        let convex = self.descriptor == Descriptor::Convex;
        self.bytes.extend_from_slice(b"PK\x03\x04");
        for value in [20, flags, method, 0, 0] {
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
        let (header_crc, sizes) = match (in_header, convex) {
            (true, _) => (crc32, [compressed, content]),
            (false, true) => (0, [u64::from(u32::MAX); 2]),
            (false, false) => (0, [0; 2]),
        };
        self.bytes.extend_from_slice(&header_crc.to_le_bytes());
        for size in sizes {
            self.bytes.extend_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
        }
        self.bytes.extend_from_slice(&u16::try_from(name.len()).unwrap().to_le_bytes());
        self.bytes.extend_from_slice(&(if convex { 20_u16 } else { 0 }).to_le_bytes());
        self.bytes.extend_from_slice(name);
        if convex {
            self.bytes.extend_from_slice(&[1, 0, 16, 0]);
            self.bytes.extend_from_slice(&[0; 16]);
        }
        self.bytes.extend_from_slice(data);
        self.write_descriptor(crc32, compressed, content);
        self.written.push(Written { name: name.to_vec(), flags, method, crc32, compressed, content, offset });
        self
    }

    fn write_descriptor(&mut self, crc32: u32, compressed: u64, content: u64) {
        let bytes = &mut self.bytes;
        if matches!(self.descriptor, Descriptor::Convex | Descriptor::Narrow | Descriptor::Wide) {
            bytes.extend_from_slice(b"PK\x07\x08");
        }
        if self.descriptor != Descriptor::InHeader {
            bytes.extend_from_slice(&crc32.to_le_bytes());
        }
        match self.descriptor {
            Descriptor::Convex => bytes.extend_from_slice(&[0xff; 8]),
            Descriptor::Narrow | Descriptor::Bare => {
                bytes.extend_from_slice(&u32::try_from(compressed).unwrap().to_le_bytes());
                bytes.extend_from_slice(&u32::try_from(content).unwrap().to_le_bytes());
            }
            Descriptor::Wide | Descriptor::WideBare => {
                bytes.extend_from_slice(&compressed.to_le_bytes());
                bytes.extend_from_slice(&content.to_le_bytes());
            }
            Descriptor::InHeader => {}
        }
    }

    /// Adds the entry of a table of the root component.
    pub(crate) fn table(&mut self, table: &str, documents: &str) -> &mut Self {
        self.entry(&format!("{table}/documents.jsonl"), documents.as_bytes());
        self.entry(&format!("{table}/generated_schema.jsonl"), b"\"uniform\"\n")
    }

    /// Removes the last entry from the directory.
    pub(crate) fn unlist_last(&mut self) -> &mut Self {
        self.written.pop();
        self
    }

    /// Swaps the first two entries of the directory.
    pub(crate) fn swap_listed(&mut self) -> &mut Self {
        self.written.swap(0, 1);
        self
    }

    /// Writes the directory and the end records.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let start = self.bytes.len() as u64;
        for entry in &self.written {
            let bytes = &mut self.bytes;
            bytes.extend_from_slice(b"PK\x01\x02");
            for value in [3 << 8 | 63, 20, entry.flags, entry.method, 0, 0] {
                bytes.extend_from_slice(&u16::to_le_bytes(value));
            }
            bytes.extend_from_slice(&entry.crc32.to_le_bytes());
            bytes.extend_from_slice(&[0xff; 8]);
            bytes.extend_from_slice(&u16::try_from(entry.name.len()).unwrap().to_le_bytes());
            for value in [28_u16, 0, 0, 0] {
                bytes.extend_from_slice(&value.to_le_bytes());
            }
            bytes.extend_from_slice(&(0o644_u32 << 16).to_le_bytes());
            bytes.extend_from_slice(&[0xff; 4]);
            bytes.extend_from_slice(&entry.name);
            bytes.extend_from_slice(&[1, 0, 24, 0]);
            for value in [entry.content, entry.compressed, entry.offset] {
                bytes.extend_from_slice(&value.to_le_bytes());
            }
        }
        let end = self.bytes.len() as u64;
        let entries = self.written.len() as u64;
        let bytes = &mut self.bytes;
        if self.zip64 {
            bytes.extend_from_slice(b"PK\x06\x06");
            bytes.extend_from_slice(&44_u64.to_le_bytes());
            bytes.extend_from_slice(&[63, 3, 45, 0]);
            bytes.extend_from_slice(&[0; 8]);
            for value in [entries, entries, end - start, start] {
                bytes.extend_from_slice(&value.to_le_bytes());
            }
            bytes.extend_from_slice(b"PK\x06\x07\0\0\0\0");
            bytes.extend_from_slice(&end.to_le_bytes());
            bytes.extend_from_slice(&[1, 0, 0, 0]);
        }
        bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0");
        let short = u16::try_from(entries).unwrap_or(u16::MAX);
        bytes.extend_from_slice(&short.to_le_bytes());
        bytes.extend_from_slice(&short.to_le_bytes());
        for value in [end - start, start] {
            bytes.extend_from_slice(&u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
        }
        bytes.extend_from_slice(&[0, 0]);
        std::mem::take(&mut self.bytes)
    }
}

/// A row of `_storage` for a file of that content.
pub(crate) fn storage_row(id: &str, content: &[u8]) -> String {
    use base64::Engine as _;
    let sha256 = base64::engine::general_purpose::STANDARD.encode(convault_core::Sha256::of(content).0);
    format!(
        r#"{{"_id":"{id}","_creationTime":1700000000000.0,"sha256":"{sha256}","size":{},"contentType":null,"internalId":"8c2d5a4e-0d4e-4b1c-9a2e-0f3a1b2c3d4e"}}"#,
        content.len()
    ) + "\n"
}

/// A small sound export with two tables, a component and two files.
pub(crate) fn small() -> ZipBuilder {
    let mut zip = ZipBuilder::new();
    zip.entry("README.md", b"# Welcome\n")
        .entry("_tables/documents.jsonl", b"{\"name\":\"empty\",\"id\":10001}\n{\"name\":\"users\",\"id\":10002}\n")
        .entry("_components/a/_tables/documents.jsonl", b"")
        .table("empty", "")
        .table("users", "{\"_creationTime\":1.5,\"_id\":\"k1\",\"n\":1}\n{\"_creationTime\":2.0,\"_id\":\"k2\",\"n\":1.0}\n");
    zip.entry("_storage/documents.jsonl", (storage_row("f1", b"one") + &storage_row("f2", b"")).as_bytes())
        .entry("_storage/f2.bin", b"")
        .entry("_storage/f1.txt", b"one")
        .entry("_components/a/_storage/documents.jsonl", b"");
    zip
}
