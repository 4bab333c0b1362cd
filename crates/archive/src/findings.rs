//! What reading a ZIP through to its end has shown.

use std::fmt;

use convault_core::{IndexTotals, Sha256, TableDigest};

/// How many items of [`Findings::damage`] and [`Findings::warnings`] are kept.
pub(crate) const MAX_LISTED: usize = 100;

/// How the documents of an export are written, told by its `generated_schema.jsonl` entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExportFormat {
    /// Since 2026-03-11: lossless, every schema entry is the one line `"uniform"`.
    Uniform,
    /// Before: documents without their number types, which the schema entries give back.
    Legacy,
}

/// What a table's `generated_schema.jsonl` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SchemaFormat {
    /// The one line `"uniform"`: the documents are lossless.
    Uniform,
    /// A shape and overrides, as written before 2026-03-11.
    Legacy,
    /// There is no such entry: an import would read every number as a float.
    Missing,
}

/// One user table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFindings {
    /// Component path, names joined by `/`; empty for the root.
    pub component: String,
    /// Its name.
    pub table: String,
    /// Lines of its `documents.jsonl`.
    pub documents: u64,
    /// Bytes of its `documents.jsonl`.
    pub bytes: u64,
    /// SHA-256 of its `documents.jsonl`.
    pub sha256: Sha256,
    /// Digest that does not depend on the order of documents.
    pub digest: TableDigest,
    /// What its `generated_schema.jsonl` says.
    pub schema: SchemaFormat,
}

/// What is wrong with one line of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum LineProblem {
    /// It is blank.
    #[error("is blank")]
    Blank,
    /// It is not JSON in UTF-8.
    #[error("is not JSON")]
    NotJson,
    /// It is JSON, but not an object.
    #[error("is not an object")]
    NotAnObject,
    /// The object has no `_id` that is a string.
    #[error("has no `_id`")]
    NoId,
    /// The object has the `_id` of the line before.
    #[error("repeats the `_id` of the line before")]
    SameId,
    /// A line of `_tables` lacks `name`, or a line of `_storage` lacks `_id`, `sha256` or `size`, or has one
    /// that cannot be read.
    #[error("lacks a field or has one that cannot be read")]
    BadField,
}

/// Damage at the source: every CRC is right, but the content is not what a sound deployment exports. Seen twice
/// in a row it is stored, and the snapshot is suspect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// The stored files are not those that the rows of `_storage` announce. [`crate::Suspects`] leads to which.
    StoredFiles {
        /// Rows, over all components.
        rows: u64,
        /// Files, over all components.
        files: u64,
        /// Bytes the rows announce.
        row_bytes: u64,
        /// Bytes of the files.
        file_bytes: u64,
    },
    /// A line that no import would take, or that would be lost by it.
    Line {
        /// The entry.
        entry: String,
        /// The line, from 0.
        line_number: u64,
        /// What is wrong.
        problem: LineProblem,
    },
    /// `_tables` lists a table whose documents are not in the ZIP.
    TableMissing {
        /// Component path.
        component: String,
        /// The table.
        table: String,
    },
    /// A table's documents are in the ZIP, but `_tables` does not list it.
    TableNotListed {
        /// Component path.
        component: String,
        /// The table.
        table: String,
    },
    /// `_tables` lists a table twice.
    TableListedTwice {
        /// Component path.
        component: String,
        /// The table.
        table: String,
    },
    /// A component has tables or files but no `_tables` entry.
    TablesMissing {
        /// Component path.
        component: String,
    },
    /// Stored files are included, but this component has no `_storage/documents.jsonl`.
    StorageRowsMissing {
        /// Component path.
        component: String,
    },
    /// A `generated_schema.jsonl` is empty or not JSON Lines, so that its table cannot be imported.
    BadSchema {
        /// Component path.
        component: String,
        /// The table.
        table: String,
    },
}

fn place(component: &str) -> String {
    if component.is_empty() { "the root component".into() } else { format!("component `{component}`") }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StoredFiles { rows, files, row_bytes, file_bytes } => write!(
                f,
                "the stored files ({files}, {file_bytes} bytes) are not those that the rows of `_storage` \
                 announce ({rows}, {row_bytes} bytes)"
            ),
            Self::Line { entry, line_number, problem } => {
                write!(f, "line {line_number} of `{entry}` {problem}")
            }
            Self::TableMissing { component, table } => {
                write!(f, "table `{table}` of {} is listed but not in the ZIP", place(component))
            }
            Self::TableNotListed { component, table } => {
                write!(f, "table `{table}` of {} is in the ZIP but not listed", place(component))
            }
            Self::TableListedTwice { component, table } => {
                write!(f, "table `{table}` of {} is listed twice", place(component))
            }
            Self::TablesMissing { component } => write!(f, "{} has no list of tables", place(component)),
            Self::StorageRowsMissing { component } => {
                write!(f, "{} has no `_storage/documents.jsonl`", place(component))
            }
            Self::BadSchema { component, table } => {
                write!(f, "the schema entry of table `{table}` of {} cannot be read", place(component))
            }
        }
    }
}

/// Something to tell a person, which does not make the snapshot suspect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A user table's name ends in `_storage`: Convex exports it, but refuses to import that ZIP, because it takes
    /// the table's schema entry for a stored file.
    StorageLikeTable {
        /// Component path.
        component: String,
        /// The table.
        table: String,
    },
    /// A table has no `generated_schema.jsonl`: an import would read every number as a float.
    SchemaMissing {
        /// Component path.
        component: String,
        /// The table.
        table: String,
    },
    /// A table's documents are not in the order of their ids, so single documents are found by reading it all.
    NotInIdOrder {
        /// The entry.
        entry: String,
    },
    /// An entry that no known Convex writes.
    UnknownEntry {
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StorageLikeTable { component, table } => write!(
                f,
                "table `{table}` of {} has a name ending in `_storage`: Convex will refuse to import this snapshot \
                 as it is",
                place(component)
            ),
            Self::SchemaMissing { component, table } => {
                write!(
                    f,
                    "table `{table}` of {} has no schema entry: an import would lose types",
                    place(component)
                )
            }
            Self::NotInIdOrder { entry } => {
                write!(f, "the lines of `{entry}` are not in the order of their ids")
            }
            Self::UnknownEntry { name } => {
                write!(f, "`{name}` is not an entry that Convex is known to write")
            }
        }
    }
}

/// What reading a ZIP through to its end has shown. Equal bytes give equal findings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// SHA-256 of the whole ZIP.
    pub sha256: Sha256,
    /// Its length in bytes.
    pub length_bytes: u64,
    /// How documents are written.
    pub format: ExportFormat,
    /// Whether the export was asked for with stored files.
    pub files_included: bool,
    /// Component paths, sorted; the root is the empty one and always there.
    pub components: Vec<String>,
    /// User tables that have documents in the ZIP, in its order.
    pub tables: Vec<TableFindings>,
    /// Entries, user documents and stored files, with their bytes.
    pub totals: IndexTotals,
    /// Damage at the source, at most 100 of it; empty for a sound export.
    pub damage: Vec<Damage>,
    /// Damage that found no room in `damage`.
    pub damage_unlisted: u64,
    /// Things to tell, at most 100.
    pub warnings: Vec<Warning>,
    /// Warnings that found no room in `warnings`.
    pub warnings_unlisted: u64,
}
