//! Everything that makes a ZIP unusable as a snapshot, each under its own name.

/// Whose doing an [`ArchiveError`] is, which decides what is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Bytes were lost or changed on the way: fetch the export again.
    Transit,
    /// The deployment sent this: fetching again is worth one try, then a person has to look.
    Source,
    /// A well-formed ZIP of a kind Convex does not write, or beyond a limit of this build.
    Unsupported,
}

/// What is wrong with a name in the ZIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NameProblem {
    /// It has no characters.
    #[error("it is empty")]
    Empty,
    /// It begins with `/` or a drive letter.
    #[error("it is absolute")]
    Absolute,
    /// It has a `..` or `.` segment.
    #[error("it has a `..` or `.` segment")]
    Climbing,
    /// It has an empty segment, or ends with `/`.
    #[error("it has an empty segment")]
    EmptySegment,
    /// It has a backslash, which some systems take for a separator.
    #[error("it has a backslash")]
    Backslash,
    /// It has a NUL or another control character.
    #[error("it has a control character")]
    Control,
    /// It is not UTF-8.
    #[error("it is not UTF-8")]
    NotUtf8,
}

/// Why the bytes are not a usable snapshot. Offsets count from the first byte of the ZIP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// The stream ended in the middle.
    #[error("the ZIP ends after {received} bytes, in the middle of {place}: fetch the export again")]
    Truncated {
        /// Bytes that came.
        received: u64,
        /// What was being read.
        place: &'static str,
    },
    /// The number of bytes is not what was announced.
    #[error("{received} bytes came where {announced} were announced: fetch the export again")]
    WrongLength {
        /// The announced length.
        announced: u64,
        /// Bytes that came, at least.
        received: u64,
    },
    /// The first bytes are not the start of a ZIP.
    #[error("this does not begin like a ZIP (first bytes {found:02x?})")]
    NotAZip {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// Bytes between two structures are neither.
    #[error(
        "unknown bytes {found:02x?} at offset {offset} of the ZIP, where its next structure should begin"
    )]
    UnknownBytes {
        /// Where.
        offset: u64,
        /// What is there.
        found: [u8; 4],
    },
    /// The compressed data of an entry is not valid deflate.
    #[error("the compressed data of `{entry}` is damaged, near offset {offset} of the ZIP")]
    Inflate {
        /// The entry.
        entry: String,
        /// Where, roughly.
        offset: u64,
    },
    /// An entry's content does not have its CRC-32.
    #[error("`{entry}` has CRC-32 {found:08x} where {expected:08x} is recorded")]
    Crc {
        /// The entry.
        entry: String,
        /// The recorded value.
        expected: u32,
        /// That of the content.
        found: u32,
    },
    /// An entry has another size than its header or descriptor records.
    #[error("`{entry}` has {found} {which} bytes where {expected} are recorded")]
    Size {
        /// The entry.
        entry: String,
        /// `compressed` or `content`.
        which: &'static str,
        /// The recorded size.
        expected: u64,
        /// The size found.
        found: u64,
    },
    /// No known form of data descriptor fits what follows an entry's data.
    #[error("no data descriptor that fits follows `{entry}`, at offset {offset} of the ZIP")]
    Descriptor {
        /// The entry.
        entry: String,
        /// Where.
        offset: u64,
    },
    /// The central directory lists another number of entries than came.
    #[error("the ZIP's directory lists {listed} entries where {seen} came")]
    DirectoryCount {
        /// Listed.
        listed: u64,
        /// Entries that came.
        seen: u64,
    },
    /// The central directory lists other names, sizes, checksums or places than the entries had.
    #[error("the ZIP's directory does not describe the entries that came before it")]
    DirectoryDiffers,
    /// A record at the end of the ZIP contradicts what came before it.
    #[error("the {record} of the ZIP says {field} is {found} where {expected} is true")]
    EndRecord {
        /// Which record.
        record: &'static str,
        /// Which field.
        field: &'static str,
        /// The field's value.
        found: u64,
        /// The true value.
        expected: u64,
    },
    /// Bytes follow the end of the ZIP.
    #[error("bytes follow the end of the ZIP, at offset {offset}")]
    TrailingBytes {
        /// Where the ZIP ended.
        offset: u64,
    },
    /// A second end record follows the first.
    #[error("a second end record follows the end of the ZIP, at offset {offset}")]
    SecondEnd {
        /// Where the first ZIP ended.
        offset: u64,
    },
    /// The ZIP or an entry carries a comment, which Convex never writes.
    #[error("the ZIP carries a comment of {length} bytes, at offset {offset}")]
    Comment {
        /// Where.
        offset: u64,
        /// Its length.
        length: u64,
    },
    /// An extra field runs past its end, or the zip64 field lacks a value.
    #[error("the extra field at offset {offset} of the ZIP is malformed")]
    ExtraField {
        /// Where the structure that holds it ends.
        offset: u64,
    },
    /// A name that could lead out of a folder, or be read in two ways.
    #[error("the ZIP has an entry named `{name}`: {problem}")]
    UnsafeName {
        /// The name, made printable.
        name: String,
        /// What is wrong with it.
        problem: NameProblem,
    },
    /// A name longer than the limit.
    #[error("an entry's name has {length} bytes; at most {limit} are read")]
    NameTooLong {
        /// Its length.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// Two entries with one name.
    #[error("the ZIP has two entries named `{name}`")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// Content grows past what the deployment can have meant.
    #[error("`{entry}` inflates to more than {limit} bytes: this looks like a ZIP bomb")]
    ZipBomb {
        /// The entry.
        entry: String,
        /// The bound it passed.
        limit: u64,
    },
    /// A line longer than the limit.
    #[error("line {line_number} of `{entry}` is longer than {limit} bytes")]
    LineTooLong {
        /// The entry.
        entry: String,
        /// The line, from 0.
        line_number: u64,
        /// The limit.
        limit: u64,
    },
    /// More tables, components or unknown entries than the limit.
    #[error("the ZIP has more than {limit} {what}")]
    TooMany {
        /// What of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A compression method other than stored and deflate.
    #[error("`{entry}` is compressed by method {method}; only stored (0) and deflate (8) are read")]
    Method {
        /// The entry.
        entry: String,
        /// The method.
        method: u16,
    },
    /// An entry is encrypted in the ZIP's own way.
    #[error("`{entry}` is encrypted; Convex does not write such entries")]
    Encrypted {
        /// The entry.
        entry: String,
    },
    /// General-purpose flags with a meaning this build does not know.
    #[error("`{entry}` has general-purpose flags {flags:#06x}, which are not all known")]
    Flags {
        /// The entry.
        entry: String,
        /// All flags.
        flags: u16,
    },
    /// A stored entry whose size is only known behind it.
    #[error("`{entry}` is stored with its size only in a data descriptor, so where it ends cannot be told")]
    StoredWithDescriptor {
        /// The entry.
        entry: String,
    },
    /// A ZIP in several parts.
    #[error("this is one part of a ZIP in several parts")]
    Multipart,
    /// The end records use a feature this build does not read.
    #[error("the zip64 end record has {length} bytes where 44 are read")]
    Zip64Record {
        /// Its length.
        length: u64,
    },
}

impl ArchiveError {
    /// Whose doing this is. One flipped byte can look like any of them, so a caller that has the means fetches
    /// once more in every case, and goes by the second answer.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Truncated { .. }
            | Self::WrongLength { .. }
            | Self::NotAZip { .. }
            | Self::UnknownBytes { .. }
            | Self::Inflate { .. }
            | Self::Crc { .. }
            | Self::Size { .. }
            | Self::Descriptor { .. }
            | Self::DirectoryCount { .. }
            | Self::DirectoryDiffers
            | Self::EndRecord { .. }
            | Self::TrailingBytes { .. }
            | Self::SecondEnd { .. }
            | Self::ExtraField { .. } => Cause::Transit,
            Self::UnsafeName { .. } | Self::DuplicateName { .. } | Self::ZipBomb { .. } => Cause::Source,
            Self::Comment { .. }
            | Self::NameTooLong { .. }
            | Self::LineTooLong { .. }
            | Self::TooMany { .. }
            | Self::Method { .. }
            | Self::Encrypted { .. }
            | Self::Flags { .. }
            | Self::StoredWithDescriptor { .. }
            | Self::Multipart
            | Self::Zip64Record { .. } => Cause::Unsupported,
        }
    }
}
