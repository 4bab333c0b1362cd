//! Writes the index of a snapshot while its ZIP passes.

use bytes::Bytes;
use convault_core::{EntryKind, INDEX_FORMAT, IndexEntry, IndexHeader, IndexLine, IndexTotals, ResumePoint};
use zstd::bulk::Compressor;

use crate::frames::{DIRECTORY_MAGIC, FOOTER_MAGIC, Frame, FrameKind};

/// A frame of entry lines is closed at this size.
const FRAME_BYTES: usize = 512 << 10;

/// Higher levels cost several times the time and save a few per cent.
const ZSTD_LEVEL: i32 = 3;

/// Writes the index of a snapshot while its ZIP passes. Holds one frame and the directory: about 1 MiB, and
/// 0.2 bytes for each entry.
pub(crate) struct IndexWriter {
    compressor: Compressor<'static>,
    lines: Vec<u8>,
    /// The entries frame that `lines` will become.
    entries: u64,
    names: Option<(String, String)>,
    in_files: bool,
    ready: Vec<u8>,
    written: u64,
    directory: Vec<u8>,
}

impl std::fmt::Debug for IndexWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IndexWriter").field("written", &self.written).finish_non_exhaustive()
    }
}

impl IndexWriter {
    /// An index with its header.
    pub(crate) fn new() -> Self {
        let mut compressor = Compressor::new(ZSTD_LEVEL).expect("level 3 exists");
        compressor.include_checksum(true).expect("zstd has checksums");
        let mut writer = Self {
            compressor,
            lines: Vec::new(),
            entries: 0,
            names: None,
            in_files: false,
            ready: Vec::new(),
            written: 0,
            directory: Vec::new(),
        };
        writer.single(
            FrameKind::Header,
            &IndexLine::Header(IndexHeader { format: INDEX_FORMAT }),
            None,
            None,
        );
        writer
    }

    /// Adds the line of an entry.
    pub(crate) fn entry(&mut self, entry: IndexEntry) {
        let is_file = entry.kind == EntryKind::File;
        if self.lines.len() >= FRAME_BYTES || is_file != self.in_files {
            self.close_entries();
        }
        self.in_files = is_file;
        self.entries += 1;
        match &mut self.names {
            None => self.names = Some((entry.name.clone(), entry.name.clone())),
            Some((least, _)) if entry.name < *least => least.clone_from(&entry.name),
            Some((_, greatest)) if entry.name > *greatest => greatest.clone_from(&entry.name),
            Some(_) => {}
        }
        append_line(&mut self.lines, &IndexLine::Entry(entry));
    }

    /// Adds a resume point of the entry whose line will come next.
    pub(crate) fn resume(&mut self, entry: &str, point: ResumePoint) {
        self.close_entries();
        let id = point.first_id.clone();
        self.single(FrameKind::Resume, &IndexLine::Resume(point), Some(entry.to_owned()), id);
    }

    /// The bytes that are ready, in order. Empty most of the time.
    pub(crate) fn take(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.ready))
    }

    /// Closes the index; gives its last bytes.
    pub(crate) fn finish(mut self, totals: IndexTotals) -> Bytes {
        self.close_entries();
        self.single(FrameKind::Totals, &IndexLine::Totals(totals), None, None);
        let length = u32::try_from(self.directory.len()).expect("a directory stays far under 4 GiB");
        let framed = length + u32::try_from(crate::frames::FOOTER_BYTES).expect("12 is small");
        self.ready.extend_from_slice(&DIRECTORY_MAGIC.to_le_bytes());
        self.ready.extend_from_slice(&framed.to_le_bytes());
        self.ready.append(&mut self.directory);
        self.ready.extend_from_slice(&length.to_le_bytes());
        self.ready.extend_from_slice(FOOTER_MAGIC);
        self.take()
    }

    fn close_entries(&mut self) {
        if let Some((least, greatest)) = self.names.take() {
            let lines = std::mem::take(&mut self.lines);
            let entries = std::mem::take(&mut self.entries);
            self.frame(FrameKind::Entries, &lines, Some(entries), Some(least), Some(greatest));
            self.lines = lines;
            self.lines.clear();
        }
    }

    fn single(&mut self, kind: FrameKind, line: &IndexLine, first: Option<String>, last: Option<String>) {
        let mut text = Vec::new();
        append_line(&mut text, line);
        self.frame(kind, &text, None, first, last);
    }

    fn frame(
        &mut self,
        kind: FrameKind,
        lines: &[u8],
        entries: Option<u64>,
        first: Option<String>,
        last: Option<String>,
    ) {
        let frame = self.compressor.compress(lines).expect("zstd compresses any bytes where there is memory");
        let length = frame.len() as u64;
        let line =
            Frame { kind, offset: self.written, length, content: lines.len() as u64, entries, first, last };
        serde_json::to_writer(&mut self.directory, &line).expect("a frame has only string keys");
        self.directory.push(b'\n');
        self.written += length;
        self.ready.extend_from_slice(&frame);
    }
}

fn append_line(lines: &mut Vec<u8>, line: &IndexLine) {
    serde_json::to_writer(&mut *lines, line).expect("an index line has only string keys");
    lines.push(b'\n');
}
