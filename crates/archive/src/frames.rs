//! The container of an index: zstd frames that can be fetched apart, and a directory of them at the end.
//! `docs/format.md`, "The index", is the reference.

use serde::{Deserialize, Serialize};

/// The magic number of the zstd skippable frame that holds the directory.
pub(crate) const DIRECTORY_MAGIC: u32 = 0x184d_2a5c;

/// The last bytes of an index.
pub(crate) const FOOTER_MAGIC: &[u8; 8] = b"convidx1";

/// Bytes after the directory's JSON Lines: their length as a 32-bit number, and [`FOOTER_MAGIC`].
pub(crate) const FOOTER_BYTES: usize = 12;

/// What the lines of a frame are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FrameKind {
    /// The header line.
    Header,
    /// Entry lines.
    Entries,
    /// One resume line.
    Resume,
    /// The totals line.
    Totals,
}

/// One frame of an index, as a line of its directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// What its lines are.
    pub kind: FrameKind,
    /// Where it begins in the index, bytes.
    pub offset: u64,
    /// Its length there, bytes.
    pub length: u64,
    /// Its length after decompression, bytes.
    pub content: u64,
    /// Entries: how many. Others: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// Entries: the least name, by bytes. Resume: the name of the entry it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// Entries: the greatest name, by bytes. Resume: the `first_id` of its point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

impl Frame {
    /// Whether the line of the entry of that name can be in here.
    pub(crate) fn may_hold_entry(&self, name: &str) -> bool {
        self.kind == FrameKind::Entries
            && self.first.as_deref().is_some_and(|first| first <= name)
            && self.last.as_deref().is_some_and(|last| name <= last)
    }
}
