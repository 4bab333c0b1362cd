//! Which components and tables a snapshot has, by its index.

use convault_archive::{Frame, FrameKind};
use convault_core::{EntryKind, FilesMode, IndexEntry, IndexLine, TableRef};

use super::{Content, documents_name};
use crate::JobError;

impl Content<'_> {
    /// The user tables that leave, those of the root first. Of the index only what does not describe stored files is read.
    pub async fn tables(&self) -> Result<Vec<TableRef>, JobError> {
        let mut tables = Vec::new();
        self.each_without_files(|entry| {
            if let (EntryKind::Documents, Some(table)) = (entry.kind, entry.table) {
                tables.push(TableRef::new(entry.component, table));
            }
        })
        .await?;
        tables.retain(|table| self.stored.rules.takes_table(table));
        tables.sort_unstable();
        Ok(tables)
    }

    /// What the index says of a table's documents, or with the name `_storage` of the rows in the ZIP; whatever the rules say.
    pub(crate) async fn table_entry(&self, table: &TableRef) -> Result<Option<IndexEntry>, JobError> {
        self.entry_named(&self.index().await?, &documents_name(table)).await
    }

    /// The paths of all components, the root's first. Of the index only what does not describe stored files is read.
    pub async fn components(&self) -> Result<Vec<String>, JobError> {
        let mut components = Vec::new();
        self.each_without_files(|entry| {
            if entry.kind == EntryKind::Tables {
                components.push(entry.component);
            }
        })
        .await?;
        components.sort_unstable();
        Ok(components)
    }

    /// Whether stored files belong to the snapshot, wherever they lie.
    pub(crate) fn has_files(&self) -> bool {
        self.stored.manifest.files != FilesMode::None && !self.stored.rules.without_files
    }

    async fn each_without_files(&self, mut take: impl FnMut(IndexEntry)) -> Result<(), JobError> {
        let index = self.index().await?;
        // A frame has stored files and nothing else, or none.
        let of_files = |frame: &&Frame| frame.first.as_deref().is_some_and(is_file);
        let entries = index.frames().iter().filter(|frame| frame.kind == FrameKind::Entries);
        for frame in entries.filter(|frame| !of_files(frame)) {
            let lines = self.stored.context.or_stop(index.lines(frame)).await?;
            for line in lines.map_err(|error| self.stored.unread(error))? {
                if let IndexLine::Entry(entry) = line {
                    take(entry);
                }
            }
        }
        Ok(())
    }
}

/// Whether the entry of that name is a stored file.
fn is_file(name: &str) -> bool {
    let in_storage = name.starts_with("_storage/") || name.contains("/_storage/");
    in_storage && !name.ends_with("/documents.jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_files_are_told_from_tables_by_their_names() {
        for name in ["_storage/kg2.png", "_components/a/_storage/kg2"] {
            assert!(is_file(name), "{name}");
        }
        for name in ["_storage/documents.jsonl", "my_storage/generated_schema.jsonl", "README.md"] {
            assert!(!is_file(name), "{name}");
        }
    }
}
