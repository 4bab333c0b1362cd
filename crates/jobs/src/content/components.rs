//! Which components and tables a snapshot has, by its index.

use convault_archive::FrameKind;
use convault_core::{EntryKind, FilesMode, IndexEntry, IndexLine, TableRef};

use super::{Content, documents_name, is_file};
use crate::JobError;

impl Content<'_> {
    /// What the index says of a table's documents, or with the name `_storage` of the rows in the ZIP; whatever the rules say.
    pub(crate) async fn table_entry(&self, table: &TableRef) -> Result<Option<IndexEntry>, JobError> {
        self.entry_named(&documents_name(table)).await
    }

    /// The paths of all components, the root's first. Of the index only what does not describe stored files is read.
    pub(crate) async fn components(&self) -> Result<Vec<String>, JobError> {
        let mut components = Vec::new();
        let index = self.index().await?;
        let entries = index.frames().iter().filter(|frame| frame.kind == FrameKind::Entries);
        for frame in entries.filter(|frame| !frame.first.as_deref().is_some_and(is_file)) {
            for line in index.lines(frame).await.map_err(|error| self.unread(error))? {
                if let IndexLine::Entry(entry) = line
                    && entry.kind == EntryKind::Tables
                {
                    components.push(entry.component);
                }
            }
        }
        components.sort_unstable();
        Ok(components)
    }

    /// Whether stored files belong to the snapshot, wherever they lie.
    pub(crate) fn has_files(&self) -> bool {
        self.manifest.files != FilesMode::None && !self.rules.without_files
    }
}
