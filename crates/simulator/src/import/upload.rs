//! What an uploaded file holds, before any of it is a Convex value.

use std::collections::BTreeMap;

use super::rows::Rows;
use crate::value::Value;

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

/// The stored files of one component.
#[derive(Debug)]
pub(crate) struct FilesUpload {
    pub(crate) component: String,
    /// How many lines `_storage/documents.jsonl` has.
    pub(crate) row_count: usize,
    /// Its rows that could be read, by their `_id`.
    pub(crate) rows: BTreeMap<String, Value>,
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
            Self::Table(table) => table.rows.count,
            Self::Files(files) => files.row_count,
        }
    }
}
