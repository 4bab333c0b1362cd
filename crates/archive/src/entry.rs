//! One entry of the ZIP while its content passes.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use convault_core::{EntryKind, IndexEntry, ResumePoint, Sha256, Sha256Stream, TableDigest};

use crate::{
    ArchiveError, LineProblem, SchemaFormat,
    book::{Book, Totals},
    index::IndexWriter,
    inflate::Boundary,
    json,
    lines::{Line, Lines, Stop},
    name::EntryName,
    record::{Method, Promise},
    taker::LineTaker,
};

/// One entry of the ZIP while its content passes.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: EntryName,
    pub(crate) method: Method,
    pub(crate) flags: u16,
    pub(crate) promise: Option<Promise>,
    pub(crate) header_offset: u64,
    pub(crate) data_offset: u64,
    pub(crate) compressed_bytes: u64,
    pub(crate) size_bytes: u64,
    crc32: crc32fast::Hasher,
    sha256: Sha256Stream,
    facts: Facts,
    mark: Option<Mark>,
    boundary: Option<Boundary>,
}

/// What the lines of an entry add up to.
#[derive(Debug, Default)]
struct Facts {
    digest: TableDigest,
    out_of_order: bool,
    previous_id: String,
    is_uniform: bool,
    is_bad: bool,
}

/// A place where a resume point may come to be, and the first line behind it once that is known.
#[derive(Debug)]
struct Mark {
    content_offset: u64,
    line: Option<MarkedLine>,
}

#[derive(Debug)]
struct MarkedLine {
    offset: u64,
    number: u64,
    id: Option<String>,
}

impl Entry {
    /// An entry whose data begins at `data_offset`.
    pub(crate) fn new(
        name: EntryName,
        method: Method,
        flags: u16,
        promise: Option<Promise>,
        (header_offset, data_offset): (u64, u64),
    ) -> Self {
        Self {
            name,
            method,
            flags,
            promise,
            header_offset,
            data_offset,
            compressed_bytes: 0,
            size_bytes: 0,
            crc32: crc32fast::Hasher::new(),
            sha256: Sha256Stream::new(),
            facts: Facts::default(),
            mark: None,
            boundary: None,
        }
    }

    /// Whether the content is cut into lines.
    pub(crate) fn has_lines(&self) -> bool {
        !matches!(self.name.kind, EntryKind::Other | EntryKind::File)
    }

    /// Whether its lines count as documents: of a schema entry they do not.
    fn has_documents(&self) -> bool {
        matches!(self.name.kind, EntryKind::Tables | EntryKind::Documents | EntryKind::StorageRows)
    }

    /// Takes in the next content.
    pub(crate) fn take(
        &mut self,
        content: &[u8],
        lines: &mut Lines,
        book: &mut Book,
        taker: &mut LineTaker,
    ) -> Result<(), ArchiveError> {
        self.size_bytes += content.len() as u64;
        self.crc32.update(content);
        self.sha256.update(content);
        if !self.has_lines() {
            return Ok(());
        }
        let (name, facts, mark) = (&self.name, &mut self.facts, &mut self.mark);
        let each = |line: Line<'_>| {
            taker.take(name, line.text);
            take_line(name, facts, mark, book, line)
        };
        lines.push(content, each).map_err(|stop| match stop {
            Stop::Refused(error) => error,
            Stop::TooLong(line) => ArchiveError::LineTooLong {
                entry: name.full.clone(),
                line_number: line.number,
                limit: lines.limit() as u64,
            },
        })
    }

    /// Inflating has stopped at a block boundary.
    pub(crate) fn mark(&mut self, content_offset: u64) {
        self.mark = Some(Mark { content_offset, line: None });
    }

    /// The boundary marked last has been proven.
    pub(crate) fn proven(&mut self, boundary: Boundary) {
        self.boundary = Some(boundary);
    }

    /// The resume point, once both the boundary is proven and the line behind it is known.
    pub(crate) fn take_resume_point(&mut self) -> Option<ResumePoint> {
        let offset = self.boundary.as_ref()?.content_offset;
        let mark = self.mark.take_if(|mark| mark.content_offset == offset && mark.line.is_some())?;
        let (boundary, line) = (self.boundary.take()?, mark.line?);
        Some(ResumePoint {
            compressed_bits: boundary.compressed_bits,
            content_offset: boundary.content_offset,
            window: STANDARD.encode(&boundary.window),
            line_offset: line.offset,
            line_number: line.number,
            first_id: line.id,
        })
    }

    /// The CRC-32 of what has come.
    pub(crate) fn crc32(&self) -> u32 {
        self.crc32.clone().finalize()
    }

    /// The content has come whole: books it and writes its line of the index.
    pub(crate) fn finish(
        mut self,
        lines: &mut Lines,
        book: &mut Book,
        index: &mut IndexWriter,
        taker: &mut LineTaker,
    ) -> Result<(), ArchiveError> {
        let (name, facts, mark) = (&self.name, &mut self.facts, &mut self.mark);
        lines.finish(|line| {
            taker.take(name, line.text);
            take_line(name, facts, mark, book, line)
        })?;
        if let Some(point) = self.take_resume_point() {
            index.resume(&self.name.full, point);
        }
        let crc32 = self.crc32();
        let documents = self.has_documents().then(|| lines.count());
        let digest = self.has_documents().then_some(self.facts.digest);
        let Self { name, sha256, size_bytes: bytes, facts, .. } = self;
        let sha256 = sha256.finish();
        if facts.out_of_order {
            book.not_in_order(&name);
        }
        match name.kind {
            EntryKind::Documents => {
                let totals = Totals { documents: lines.count(), bytes, sha256, digest: facts.digest };
                book.documents(&name, totals)?;
            }
            EntryKind::Schema => book.schema(&name, facts.schema(lines.count()))?,
            EntryKind::File => book.file(&name, sha256, bytes),
            EntryKind::Tables | EntryKind::StorageRows | EntryKind::Other => {}
        }
        book.totals.entries += 1;
        let has_table = matches!(name.kind, EntryKind::Documents | EntryKind::Schema);
        index.entry(IndexEntry {
            kind: name.kind,
            component: name.component,
            table: has_table.then_some(name.subject),
            name: name.full,
            header_offset: self.header_offset,
            data_offset: self.data_offset,
            compressed_bytes: self.compressed_bytes,
            size_bytes: bytes,
            method: self.method.number(),
            crc32,
            sha256,
            documents,
            digest,
        });
        Ok(())
    }
}

impl Facts {
    fn schema(&self, lines: u64) -> Option<SchemaFormat> {
        match (lines, self.is_bad, self.is_uniform) {
            (0, ..) | (_, true, _) => None,
            (1, false, true) => Some(SchemaFormat::Uniform),
            _ => Some(SchemaFormat::Legacy),
        }
    }

    /// Compares an id with the one before.
    fn follow(&mut self, id: &str) -> Option<LineProblem> {
        let order = id.cmp(self.previous_id.as_str());
        self.out_of_order |= order.is_lt();
        self.previous_id.clear();
        self.previous_id.push_str(id);
        order.is_eq().then_some(LineProblem::SameId)
    }
}

fn take_line(
    name: &EntryName,
    facts: &mut Facts,
    mark: &mut Option<Mark>,
    book: &mut Book,
    line: Line<'_>,
) -> Result<(), ArchiveError> {
    facts.digest.add(&Sha256::of(line.text));
    let mut id = None;
    let problem = match name.kind {
        EntryKind::Tables => book.listed_table(&name.component, line.text)?,
        EntryKind::Schema => {
            facts.is_uniform |= line.number == 0 && line.text == br#""uniform""#;
            facts.is_bad |= serde_json::from_slice::<serde::de::IgnoredAny>(line.text).is_err();
            None
        }
        _ => match json::id_of(line.text) {
            Err(problem) => Some(problem),
            Ok(found) => {
                let mut problem = facts.follow(&found);
                if name.kind == EntryKind::StorageRows {
                    problem = book.storage_row(&name.component, &found, line.text).or(problem);
                }
                id = Some(found);
                problem
            }
        },
    };
    if let Some(problem) = problem {
        book.bad_line(name, line.number, problem);
    }
    if let Some(mark) = mark.as_mut().filter(|mark| mark.line.is_none() && line.offset >= mark.content_offset)
    {
        let id = id.map(std::borrow::Cow::into_owned);
        mark.line = Some(MarkedLine { offset: line.offset, number: line.number, id });
    }
    Ok(())
}
