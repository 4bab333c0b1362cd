//! All imports of a deployment, and the uploads that have not become one.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use super::row::ImportRow;
use crate::document_id::DocumentId;

/// How many imports `queryImport:list` shows.
const LISTED: usize = 20;

/// All imports of a deployment, oldest first.
#[derive(Debug, Default)]
pub(crate) struct ImportTable {
    rows: Vec<ImportRow>,
    uploads: BTreeMap<String, BytesMut>,
}

impl ImportTable {
    /// Begins an upload under this key.
    pub(crate) fn start_upload(&mut self, object_key: &str) {
        self.uploads.insert(object_key.to_owned(), BytesMut::new());
    }

    /// Adds bytes at the end of an upload, whatever part they are said to be: a backend with local storage does the
    /// same. False where there is no such upload.
    pub(crate) fn append(&mut self, object_key: &str, part: &[u8]) -> bool {
        let upload = self.uploads.get_mut(object_key);
        upload.map(|bytes| bytes.extend_from_slice(part)).is_some()
    }

    /// Ends an upload and hands out its bytes.
    pub(crate) fn finish_upload(&mut self, object_key: &str) -> Option<Bytes> {
        self.uploads.remove(object_key).map(BytesMut::freeze)
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
