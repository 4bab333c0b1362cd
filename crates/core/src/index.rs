//! The index of a snapshot: every entry of its ZIP, one JSON object per line (`docs/format.md` is the reference).

use serde::{Deserialize, Serialize};

use crate::{Sha256, TableDigest};

/// The index format this build writes.
pub const INDEX_FORMAT: u32 = 1;

/// One line of `index.jsonl`, told apart by its `line` field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
pub enum IndexLine {
    /// The first line.
    Header(IndexHeader),
    /// A point inside the entry named by the next `entry` line from which inflating can start again.
    Resume(ResumePoint),
    /// One entry of the ZIP, in the order of the ZIP, after its resume points.
    Entry(IndexEntry),
    /// The last line. An index without it is not complete.
    Totals(IndexTotals),
}

/// The first line of an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexHeader {
    /// [`INDEX_FORMAT`].
    pub format: u32,
}

/// What an entry of the ZIP is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryKind {
    /// `README.md`, or anything else that carries no data of the deployment.
    Other,
    /// `_tables/documents.jsonl` of one component.
    Tables,
    /// `documents.jsonl` of a user table.
    Documents,
    /// `generated_schema.jsonl` of a user table.
    Schema,
    /// `_storage/documents.jsonl` of one component.
    StorageRows,
    /// One stored file.
    File,
}

/// One entry of the ZIP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexEntry {
    /// The full name in the ZIP.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// Component path, names joined by `/`; empty for the root.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub component: String,
    /// Table name, for `documents` and `schema`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Offset of the local header in the ZIP, bytes.
    pub header_offset: u64,
    /// Offset of the first compressed byte in the ZIP.
    pub data_offset: u64,
    /// Compressed size in bytes.
    pub compressed_bytes: u64,
    /// Size in bytes after inflating.
    pub size_bytes: u64,
    /// ZIP compression method: 0 stored, 8 deflate.
    pub method: u16,
    /// CRC-32 of the content.
    pub crc32: u32,
    /// SHA-256 of the content.
    pub sha256: Sha256,
    /// Number of lines, for the entries that are JSON Lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<u64>,
    /// Order-independent digest of the lines, for the entries that are JSON Lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<TableDigest>,
}

/// Where inflating of a `documents.jsonl` can start again without reading what is before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumePoint {
    /// Offset in the compressed data of the entry, in bits, at which a deflate block begins.
    pub compressed_bits: u64,
    /// Offset in the inflated content of that block's first byte.
    pub content_offset: u64,
    /// The up to 32 KiB of content before that, base64: the window deflate refers back to.
    pub window: String,
    /// Content offset of the first line that begins at or after `content_offset`.
    pub line_offset: u64,
    /// That line's number, from 0.
    pub line_number: u64,
    /// That line's `_id`; absent where the content ends before another line begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_id: Option<String>,
}

/// The last line of an index: sums over its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct IndexTotals {
    /// Entries of the ZIP.
    pub entries: u64,
    /// Documents in user tables of all components.
    pub documents: u64,
    /// Bytes of those documents, line feeds included.
    pub document_bytes: u64,
    /// Stored files.
    pub files: u64,
    /// Bytes of those files.
    pub file_bytes: u64,
}
