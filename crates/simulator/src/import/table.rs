//! All imports of a deployment, and the uploads that have not become one.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::row::ImportRow;
use crate::document_id::DocumentId;
use crate::spool::Spool;

/// How many imports `queryImport:list` shows.
const LISTED: usize = 20;

/// All imports of a deployment, oldest first.
#[derive(Debug, Default)]
pub(crate) struct ImportTable {
    rows: Vec<ImportRow>,
    uploads: BTreeMap<String, Arc<Spool>>,
}

impl ImportTable {
    /// Begins an upload under this key.
    pub(crate) fn start_upload(&mut self, object_key: &str) -> io::Result<()> {
        self.uploads.insert(object_key.to_owned(), Arc::new(Spool::new()?));
        Ok(())
    }

    /// An upload that is not finished. Parts are added at its end, whatever numbers they have: a backend with local
    /// storage does the same.
    pub(crate) fn upload(&self, object_key: &str) -> Option<Arc<Spool>> {
        self.uploads.get(object_key).cloned()
    }

    /// Ends an upload and hands out its bytes.
    pub(crate) fn finish_upload(&mut self, object_key: &str) -> Option<Arc<Spool>> {
        self.uploads.remove(object_key)
    }

    pub(crate) fn add(&mut self, row: ImportRow) {
        self.rows.push(row);
    }

    pub(crate) fn get(&self, id: DocumentId) -> Option<&ImportRow> {
        self.rows.iter().find(|row| row.id == id)
    }

    pub(crate) fn get_mut(&mut self, id: DocumentId) -> Option<&mut ImportRow> {
        self.rows.iter_mut().find(|row| row.id == id)
    }

    /// The latest imports, newest first.
    pub(crate) fn latest(&self) -> impl Iterator<Item = &ImportRow> {
        self.rows.iter().rev().take(LISTED)
    }
}
