//! [`Receiver`]: what tables are handed over to.

use std::path::PathBuf;

use bytes::Bytes;
use convault_core::TableRef;

use super::Columns;
use crate::JobError;

/// What tables are handed over to, one after another. May block: it is called where that does no harm.
pub trait Receiver: Send + 'static {
    /// Whether it needs to know the columns of a table before its documents, and if so, whether objects are columns
    /// for each of their fields. Where it does, every table is read twice.
    fn flattens(&self) -> Option<bool>;

    /// A table begins.
    fn begin(&mut self, table: &TableRef, columns: Option<Columns>) -> Result<(), JobError>;

    /// The next documents of the table, each without its line feed.
    fn take(&mut self, lines: &[Bytes]) -> Result<(), JobError>;

    /// The table has come whole, and was compared with its checksums.
    fn end(&mut self) -> Result<(), JobError>;

    /// Everything has come: what was made appears under its name.
    fn finish(self: Box<Self>) -> Result<Made, JobError>;
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The file or folder.
    pub path: PathBuf,
    /// What there is to say of it, a sentence each.
    pub notes: Vec<String>,
}

/// The name of a table's file: `mail.letters.csv` for the table `letters` of the component `mail`.
pub(crate) fn file_name(table: &TableRef, ending: &str) -> String {
    format!("{}.{ending}", table.to_string().replace('/', "."))
}
