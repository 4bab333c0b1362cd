//! What an uploaded file holds, before any of it is a Convex value.

use bytes::Bytes;

use crate::value::Encoding;

/// The tables and stored files of an uploaded file, in the order in which they stand in it.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    pub(crate) parts: Vec<Part>,
    /// Names taken for stored files, outside of any part, that are no IDs.
    pub(crate) strays: Vec<String>,
}

/// One thing that is imported as a whole.
#[derive(Debug)]
pub(crate) enum Part {
    Table(TableUpload),
    Files(FilesUpload),
}

/// A user table.
#[derive(Debug)]
pub(crate) struct TableUpload {
    /// Path of the component it belongs to; empty for the root.
    pub(crate) component: String,
    pub(crate) name: String,
    /// The number that `_tables` gives it.
    pub(crate) number: Option<u32>,
    pub(crate) rows: Rows,
}

/// Documents as JSON texts, known to be JSON and nothing more.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) texts: Vec<Bytes>,
    pub(crate) encoding: Encoding,
    /// Whether a row is without `_id`, so that one is made up for it.
    pub(crate) missing_id: bool,
}

/// The stored files of one component.
#[derive(Debug)]
pub(crate) struct FilesUpload {
    pub(crate) component: String,
    /// The lines of `_storage/documents.jsonl`.
    pub(crate) rows: Vec<Bytes>,
    /// The files, by the ID in their names, as positions in the ZIP.
    pub(crate) files: Vec<(String, usize)>,
}

impl Part {
    pub(crate) fn component(&self) -> &str {
        match self {
            Self::Table(table) => &table.component,
            Self::Files(files) => &files.component,
        }
    }

    /// The name that people see.
    pub(crate) fn display_name(&self) -> &str {
        match self {
            Self::Table(table) => &table.name,
            Self::Files(_) => "_storage",
        }
    }

    /// How many rows there are to write.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Table(table) => table.rows.texts.len(),
            Self::Files(files) => files.rows.len(),
        }
    }
}
