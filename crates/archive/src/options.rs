//! The bounds within which a ZIP is read.

use crate::Suspects;

/// The longest line read, bytes. A document of nearly 1 MiB of control characters gives 6.3 MB of JSON.
pub(crate) const MAX_LINE_BYTES: usize = 16 << 20;

/// Compressed bytes of a `documents.jsonl` between two resume points.
const RESUME_EVERY_BYTES: u64 = 8 << 20;

/// The bounds within which a ZIP is read. [`Options::default`] suits every export Convex can make.
#[derive(Debug, Clone)]
pub struct Options {
    /// The length the sender announced. More or fewer bytes are an error.
    pub announced_bytes: Option<u64>,
    /// The longest line, bytes without the line feed.
    pub max_line_bytes: usize,
    /// The most bytes all entries together may inflate to.
    pub max_content_bytes: u64,
    /// The most user tables of all components together. Convex allows 10,000 in a deployment.
    pub max_tables: usize,
    /// Compressed bytes between two resume points of a `documents.jsonl`.
    pub resume_every_bytes: u64,
    /// What an earlier reading of the same ZIP left unexplained: which stored files to name.
    pub suspects: Option<Suspects>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            announced_bytes: None,
            max_line_bytes: MAX_LINE_BYTES,
            max_content_bytes: 16 << 40,
            max_tables: 1 << 16,
            resume_every_bytes: RESUME_EVERY_BYTES,
            suspects: None,
        }
    }
}
