//! [`Reader`]: a Convex ZIP, forward only, as it streams.

use bytes::Bytes;
use convault_core::{EntryKind, Sha256Stream};

use crate::{
    ArchiveError, Culprits, Findings, Options, Suspects,
    book::Book,
    entry::Entry,
    index::IndexWriter,
    inflate::Inflater,
    ledger::{Ledger, Twins},
    lines::Lines,
    name::{EntryName, MAX_NAME_BYTES},
    record::{
        self, CENTRAL, CentralFixed, DESCRIPTOR_WINDOW, Directory, END, LOCAL, LOCATOR, LocalFixed, Method,
        Place, ZIP64_END,
    },
    taker::LineTaker,
};

/// Entries other than tables and stored files (the README) may inflate to this much, bytes.
const MAX_OTHER_BYTES: u64 = 64 << 20;

/// Stored files may together inflate to what their rows announce and this much more, bytes: files that grew on the
/// deployment's disk are source damage, and still have to be stored.
const FILES_SLACK_BYTES: u64 = 1 << 30;

/// Reads a Convex ZIP forward only, as it streams, checks everything that can be checked while it passes, and writes
/// its index. Does no input or output; [`Reader::push`] takes processor time in proportion to its chunk and can be
/// called on any thread.
///
/// Memory: about 3 MiB, one line (up to [`Options::max_line_bytes`]), and some hundred bytes for each table. It does
/// not grow with the number of documents or files.
#[derive(Debug)]
pub struct Reader {
    options: Options,
    sha256: Sha256Stream,
    received: u64,
    /// Offset of the next byte to be understood.
    position: u64,
    /// Bytes that have come, of a record that has not come whole.
    pending: Vec<u8>,
    state: State,
    inflater: Inflater,
    lines: Lines,
    entry: Option<Entry>,
    taker: LineTaker,
    book: Book,
    index: IndexWriter,
    content_bytes: u64,
    /// Running hashes of what the entries were, and of what the directory says they are.
    seen: Sha256Stream,
    listed: Sha256Stream,
    directory: Directory,
    listed_entries: u64,
    twins: Option<Twins>,
    zip64_end: Option<u64>,
}

/// What a reading has given, once the last byte was understood.
#[derive(Debug)]
pub struct Finished {
    /// What was found.
    pub findings: Findings,
    /// The last bytes of the index, after all that [`Reader::take_index`] gave.
    pub index: Bytes,
    /// Where stored files and rows disagree: what a second reading needs to name the culprits.
    pub suspects: Option<Suspects>,
    /// The culprits, where this reading was given [`Options::suspects`].
    pub culprits: Option<Culprits>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Signature(Expected),
    Local,
    LocalName(LocalFixed),
    Data,
    Descriptor,
    Central,
    CentralName(CentralFixed),
    Zip64End,
    Locator,
    End,
    Done,
}

/// Which records may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Start,
    Entry,
    DirectoryEntry,
    Locator,
    End,
}

impl Reader {
    /// A reader of a ZIP that is about to come.
    pub fn new(mut options: Options) -> Self {
        let ledger = Ledger::new(options.suspects.take());
        Self {
            sha256: Sha256Stream::new(),
            received: 0,
            position: 0,
            pending: Vec::new(),
            state: State::Signature(Expected::Start),
            inflater: Inflater::new(),
            lines: Lines::new(options.max_line_bytes),
            entry: None,
            taker: LineTaker::default(),
            book: Book::new(options.max_tables, ledger),
            index: IndexWriter::new(),
            content_bytes: 0,
            seen: Sha256Stream::new(),
            listed: Sha256Stream::new(),
            directory: Directory { entries: 0, offset: 0, bytes: 0 },
            listed_entries: 0,
            twins: None,
            zip64_end: None,
            options,
        }
    }

    /// Hands every document of a user table to `take` as it passes: component path, table, and its line without line feed.
    /// It has not been checked then, and is none of a ZIP that can be trusted until [`Reader::finish`].
    #[must_use]
    pub fn with_lines(self, take: impl FnMut(&str, &str, &[u8]) + Send + 'static) -> Self {
        Self { taker: LineTaker::new(take), ..self }
    }

    /// Takes in the next bytes of the ZIP; chunks may have any size. After an error the reader is of no more use.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), ArchiveError> {
        self.received += chunk.len() as u64;
        if let Some(announced) = self.options.announced_bytes.filter(|announced| self.received > *announced) {
            return Err(ArchiveError::WrongLength { announced, received: self.received });
        }
        self.sha256.update(chunk);
        let mut input = chunk;
        while !input.is_empty() {
            match self.state {
                State::Data => self.data(&mut input)?,
                State::Done => return self.trailing(input),
                state => {
                    let length = state.record_length();
                    if self.fill(&mut input, length) {
                        let record: Vec<u8> = self.pending.drain(..length).collect();
                        self.position += length as u64;
                        self.record(state, record)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Bytes of the index that are ready, in order. They belong beside the ZIP, in `index.jsonl.zst`.
    pub fn take_index(&mut self) -> Bytes {
        self.index.take()
    }

    /// The last byte has been pushed.
    pub fn finish(mut self) -> Result<Finished, ArchiveError> {
        let received = self.received;
        if let Some(announced) = self.options.announced_bytes.filter(|announced| received < *announced) {
            return Err(ArchiveError::WrongLength { announced, received });
        }
        if !matches!(self.state, State::Done) {
            return Err(ArchiveError::Truncated { received, place: self.state.place() });
        }
        if !self.pending.is_empty() {
            return Err(ArchiveError::TrailingBytes { offset: self.position });
        }
        self.book.close();
        let findings = Findings {
            sha256: self.sha256.finish(),
            length_bytes: received,
            format: self.book.format(),
            files_included: self.book.files_included(),
            components: self.book.components(),
            tables: self.book.tables(),
            totals: self.book.totals,
            damage: self.book.damage.listed,
            damage_unlisted: self.book.damage.unlisted,
            warnings: self.book.warnings.listed,
            warnings_unlisted: self.book.warnings.unlisted,
        };
        Ok(Finished {
            suspects: self.book.ledger.suspects(),
            culprits: self.book.ledger.culprits(),
            index: self.index.finish(findings.totals),
            findings,
        })
    }

    /// Adds to `pending` until it has `length` bytes; `false` where the input did not suffice.
    fn fill(&mut self, input: &mut &[u8], length: usize) -> bool {
        let wanted = length.saturating_sub(self.pending.len()).min(input.len());
        let (more, rest) = input.split_at(wanted);
        self.pending.extend_from_slice(more);
        *input = rest;
        self.pending.len() >= length
    }

    fn record(&mut self, state: State, bytes: Vec<u8>) -> Result<(), ArchiveError> {
        self.state = match state {
            State::Signature(expected) => self.signature(expected, &bytes)?,
            State::Local => State::LocalName(Self::checked_local(LocalFixed::parse(&bytes))?),
            State::LocalName(fixed) => self.begin_entry(fixed, &bytes)?,
            State::Descriptor => self.descriptor(bytes)?,
            State::Central => self.central(CentralFixed::parse(&bytes))?,
            State::CentralName(fixed) => self.listed_entry(fixed, &bytes)?,
            State::Zip64End => {
                record::check_zip64_end(&bytes, &self.directory)?;
                State::Signature(Expected::Locator)
            }
            State::Locator => {
                record::check_locator(&bytes, self.zip64_end.unwrap_or_default())?;
                State::Signature(Expected::End)
            }
            State::End => {
                record::check_end(&bytes, &self.directory, self.zip64_end.is_some(), self.position)?;
                State::Done
            }
            State::Data | State::Done => state,
        };
        Ok(())
    }

    fn signature(&mut self, expected: Expected, bytes: &[u8]) -> Result<State, ArchiveError> {
        let found: [u8; 4] = bytes.try_into().expect("a signature has four bytes");
        let offset = self.position - 4;
        match (found, expected) {
            (LOCAL, Expected::Start | Expected::Entry) => Ok(State::Local),
            (CENTRAL, Expected::Entry) => {
                self.directory.offset = offset;
                self.twins = self.book.ledger.twins();
                Ok(State::Central)
            }
            (CENTRAL, Expected::DirectoryEntry) => Ok(State::Central),
            (ZIP64_END, Expected::DirectoryEntry) => {
                self.close_directory(offset)?;
                self.zip64_end = Some(offset);
                Ok(State::Zip64End)
            }
            (END, Expected::DirectoryEntry) => {
                self.close_directory(offset)?;
                Ok(State::End)
            }
            (LOCATOR, Expected::Locator) => Ok(State::Locator),
            (END, Expected::End) => Ok(State::End),
            (_, Expected::Start) => Err(ArchiveError::NotAZip { found }),
            _ => Err(ArchiveError::UnknownBytes { offset, found }),
        }
    }

    fn checked_local(fixed: LocalFixed) -> Result<LocalFixed, ArchiveError> {
        check_name_length(fixed.name_length)?;
        if fixed.name_length == 0 {
            EntryName::parse(&[])?;
        }
        Ok(fixed)
    }

    fn begin_entry(&mut self, fixed: LocalFixed, bytes: &[u8]) -> Result<State, ArchiveError> {
        let (name, extra) = bytes.split_at(usize::from(fixed.name_length));
        let name = EntryName::parse(name)?;
        let method = fixed.method(&name.full)?;
        let promise = fixed.promise(extra, self.position)?;
        self.book.begin(&name)?;
        let header_bytes = 4 + LocalFixed::LENGTH as u64 + bytes.len() as u64;
        let boundaries = (name.kind == EntryKind::Documents).then_some(self.options.resume_every_bytes);
        let offsets = (self.position - header_bytes, self.position);
        self.inflater.reset(boundaries);
        self.lines.reset();
        let entry = Entry::new(name, method, fixed.flags, promise, offsets);
        let is_empty = method == Method::Stored && promise.is_some_and(|promise| promise.compressed == 0);
        self.entry = Some(entry);
        if is_empty { self.end_entry() } else { Ok(State::Data) }
    }

    fn data(&mut self, input: &mut &[u8]) -> Result<(), ArchiveError> {
        let entry = self.entry.as_mut().expect("data belongs to an entry");
        let (consumed, content, ended) =
            if let (Method::Stored, Some(promise)) = (entry.method, entry.promise) {
                let rest = promise.compressed - entry.compressed_bytes;
                let length = usize::try_from(rest).unwrap_or(usize::MAX).min(input.len());
                (length, &input[..length], length as u64 == rest)
            } else {
                let step = self.inflater.step(input).map_err(|_| ArchiveError::Inflate {
                    entry: entry.name.full.clone(),
                    offset: self.position,
                })?;
                (step.consumed, &self.inflater.output()[..step.produced], step.ended)
            };
        entry.compressed_bytes += consumed as u64;
        entry.take(content, &mut self.lines, &mut self.book, &mut self.taker)?;
        self.content_bytes += content.len() as u64;
        self.position += consumed as u64;
        *input = &input[consumed..];
        self.resume_points();
        self.check_bomb()?;
        if ended {
            let has_descriptor = self.entry.as_ref().is_some_and(|entry| entry.promise.is_none());
            self.state = if has_descriptor { State::Descriptor } else { self.end_entry()? };
        }
        Ok(())
    }

    fn resume_points(&mut self) {
        let entry = self.entry.as_mut().expect("data belongs to an entry");
        if let Some(offset) = self.inflater.take_stop() {
            entry.mark(offset);
        }
        if let Some(boundary) = self.inflater.take_boundary() {
            entry.proven(boundary);
        }
        if let Some(point) = entry.take_resume_point() {
            self.index.resume(&entry.name.full, point);
        }
    }

    fn check_bomb(&self) -> Result<(), ArchiveError> {
        let entry = self.entry.as_ref().expect("data belongs to an entry");
        let (bytes, limit) = match entry.name.kind {
            EntryKind::Other => (entry.size_bytes, MAX_OTHER_BYTES),
            EntryKind::File => {
                let announced = self.book.ledger.row_bytes;
                (self.book.totals.file_bytes + entry.size_bytes, announced.saturating_add(FILES_SLACK_BYTES))
            }
            _ => (0, u64::MAX),
        };
        let (bytes, limit) =
            if bytes > limit { (bytes, limit) } else { (self.content_bytes, self.options.max_content_bytes) };
        if bytes > limit {
            return Err(ArchiveError::ZipBomb { entry: entry.name.full.clone(), limit });
        }
        Ok(())
    }

    /// Reads the data descriptor at the start of `bytes`, and gives back what lies behind it.
    fn descriptor(&mut self, mut bytes: Vec<u8>) -> Result<State, ArchiveError> {
        let offset = self.position - bytes.len() as u64;
        let entry = self.entry.as_ref().expect("a descriptor belongs to an entry");
        let crc32 = entry.crc32();
        let length = record::descriptor_length(&bytes, crc32, entry.compressed_bytes, entry.size_bytes);
        let Some(length) = length else {
            let entry = entry.name.full.clone();
            return Err(match record::descriptor_crc32(&bytes) {
                Some(expected) if expected != crc32 => ArchiveError::Crc { entry, expected, found: crc32 },
                _ => ArchiveError::Descriptor { entry, offset },
            });
        };
        self.position = offset + length as u64;
        bytes.drain(..length);
        self.pending.splice(..0, bytes);
        self.end_entry()
    }

    fn end_entry(&mut self) -> Result<State, ArchiveError> {
        let entry = self.entry.take().expect("only an entry ends");
        let crc32 = entry.crc32();
        if let Some(promise) = entry.promise {
            let name = || entry.name.full.clone();
            if promise.crc32 != crc32 {
                return Err(ArchiveError::Crc { entry: name(), expected: promise.crc32, found: crc32 });
            }
            for (which, expected, found) in [
                ("compressed", promise.compressed, entry.compressed_bytes),
                ("content", promise.content, entry.size_bytes),
            ] {
                if expected != found {
                    return Err(ArchiveError::Size { entry: name(), which, expected, found });
                }
            }
        }
        let place = Place {
            content: entry.size_bytes,
            compressed: entry.compressed_bytes,
            offset: entry.header_offset,
        };
        let facts = (entry.flags, entry.method.number(), crc32);
        absorb(&mut self.seen, entry.name.full.as_bytes(), facts, place);
        self.directory.entries += 1;
        entry.finish(&mut self.lines, &mut self.book, &mut self.index, &mut self.taker)?;
        Ok(State::Signature(Expected::Entry))
    }

    fn central(&self, fixed: CentralFixed) -> Result<State, ArchiveError> {
        check_name_length(fixed.name_length)?;
        if fixed.comment_length > 0 {
            let length = u64::from(fixed.comment_length);
            return Err(ArchiveError::Comment { offset: self.position, length });
        }
        Ok(State::CentralName(fixed))
    }

    fn listed_entry(&mut self, fixed: CentralFixed, bytes: &[u8]) -> Result<State, ArchiveError> {
        let (name, extra) = bytes.split_at(usize::from(fixed.name_length));
        let place = fixed.place(extra, self.position)?;
        absorb(&mut self.listed, name, (fixed.flags, fixed.method, fixed.crc32), place);
        self.listed_entries += 1;
        if let Some(twins) = &mut self.twins {
            let name = EntryName::parse(name)?;
            if name.kind == EntryKind::File && twins.came_before(&name.component, &name.subject, &name.full) {
                return Err(ArchiveError::DuplicateName { name: name.full });
            }
        }
        Ok(State::Signature(Expected::DirectoryEntry))
    }

    fn close_directory(&mut self, end: u64) -> Result<(), ArchiveError> {
        self.directory.bytes = end - self.directory.offset;
        let (listed, seen) = (self.listed_entries, self.directory.entries);
        if listed != seen {
            return Err(ArchiveError::DirectoryCount { listed, seen });
        }
        if std::mem::take(&mut self.listed).finish() != std::mem::take(&mut self.seen).finish() {
            return Err(ArchiveError::DirectoryDiffers);
        }
        Ok(())
    }

    /// Something follows the end of the ZIP.
    fn trailing(&mut self, mut input: &[u8]) -> Result<(), ArchiveError> {
        let offset = self.position;
        if !self.fill(&mut input, 4) {
            return Ok(());
        }
        let is_end = self.pending == END || self.pending == ZIP64_END;
        Err(if is_end { ArchiveError::SecondEnd { offset } } else { ArchiveError::TrailingBytes { offset } })
    }
}

impl State {
    /// Bytes of the record that is being waited for.
    fn record_length(self) -> usize {
        match self {
            Self::Signature(_) | Self::Done => 4,
            Self::Local => LocalFixed::LENGTH,
            Self::LocalName(fixed) => usize::from(fixed.name_length) + usize::from(fixed.extra_length),
            Self::Data => 0,
            Self::Descriptor => DESCRIPTOR_WINDOW,
            Self::Central => CentralFixed::LENGTH,
            Self::CentralName(fixed) => usize::from(fixed.name_length) + usize::from(fixed.extra_length),
            Self::Zip64End => record::ZIP64_END_LENGTH,
            Self::Locator => record::LOCATOR_LENGTH,
            Self::End => record::END_LENGTH,
        }
    }

    /// For an error's text.
    fn place(self) -> &'static str {
        match self {
            Self::Signature(Expected::Start) => "its first bytes",
            Self::Signature(Expected::Entry) | Self::Local | Self::LocalName(_) => "an entry's header",
            Self::Data => "an entry's data",
            Self::Descriptor => "a data descriptor",
            Self::Signature(Expected::DirectoryEntry) | Self::Central | Self::CentralName(_) => {
                "its directory"
            }
            Self::Signature(_) | Self::Zip64End | Self::Locator | Self::End | Self::Done => "its end records",
        }
    }
}

fn check_name_length(length: u16) -> Result<(), ArchiveError> {
    if length > MAX_NAME_BYTES {
        return Err(ArchiveError::NameTooLong {
            length: u64::from(length),
            limit: u64::from(MAX_NAME_BYTES),
        });
    }
    Ok(())
}

/// Takes one entry's facts into a running hash, so that two readings of the same facts can be compared.
fn absorb(hash: &mut Sha256Stream, name: &[u8], (flags, method, crc32): (u16, u16, u32), place: Place) {
    let mut facts = Vec::with_capacity(name.len() + 40);
    facts.extend_from_slice(&(name.len() as u64).to_le_bytes());
    facts.extend_from_slice(name);
    facts.extend_from_slice(&flags.to_le_bytes());
    facts.extend_from_slice(&method.to_le_bytes());
    facts.extend_from_slice(&crc32.to_le_bytes());
    for value in [place.content, place.compressed, place.offset] {
        facts.extend_from_slice(&value.to_le_bytes());
    }
    hash.update(&facts);
}
