//! [`ContentSummary`]: what content is, in few words, so that what was sent somewhere can be compared with what came back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{EntryKind, IndexEntry, Sha256, TableDigest, TableRef};

/// What the content of a snapshot is. Two with equal summaries hold the same tables, documents, stored files and
/// rows of files, whatever the order of their entries. Does not grow with the number of documents and files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentSummary {
    /// Every user table.
    pub tables: BTreeMap<TableRef, TableSummary>,
    /// Every component's list of tables and its stored files, by its path.
    pub components: BTreeMap<String, ComponentSummary>,
}

/// What a table is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSummary {
    /// Documents.
    pub documents: u64,
    /// Bytes of its `documents.jsonl`.
    pub size_bytes: u64,
    /// SHA-256 of its `documents.jsonl`; `None` where it has no such entry.
    pub sha256: Option<Sha256>,
    /// SHA-256 of its `generated_schema.jsonl`; `None` where it has none.
    pub schema: Option<Sha256>,
}

/// What belongs to a component as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentSummary {
    /// SHA-256 of its `_tables/documents.jsonl`.
    pub tables: Option<Sha256>,
    /// SHA-256 of its `_storage/documents.jsonl`; `None` where it has none.
    pub rows: Option<Sha256>,
    /// Stored files.
    pub files: u64,
    /// Bytes of stored files.
    pub file_bytes: u64,
    /// A digest of the ids and contents of all stored files, whatever their order.
    pub digest: TableDigest,
}

impl ContentSummary {
    /// Takes in one entry, as an index has it or as it was written.
    pub fn add(&mut self, entry: &IndexEntry) {
        let component = entry.component.clone();
        match (entry.kind, &entry.table) {
            (EntryKind::Documents, Some(table)) => {
                let summary = self.tables.entry(TableRef::new(component, table)).or_default();
                summary.documents = entry.documents.unwrap_or(0);
                summary.size_bytes = entry.size_bytes;
                summary.sha256 = Some(entry.sha256);
            }
            (EntryKind::Schema, Some(table)) => {
                self.tables.entry(TableRef::new(component, table)).or_default().schema = Some(entry.sha256);
            }
            (EntryKind::Tables, _) => {
                self.components.entry(component).or_default().tables = Some(entry.sha256);
            }
            (EntryKind::StorageRows, _) => {
                self.components.entry(component).or_default().rows = Some(entry.sha256);
            }
            (EntryKind::File, _) => {
                let summary = self.components.entry(component).or_default();
                summary.files += 1;
                summary.file_bytes += entry.size_bytes;
                summary.digest.add(&file_digest(&entry.name, &entry.sha256));
            }
            (EntryKind::Documents | EntryKind::Schema | EntryKind::Other, _) => {}
        }
    }
}

/// A file is its id and its content; the ending of its name is guessed from its type and says nothing.
fn file_digest(name: &str, content: &Sha256) -> Sha256 {
    let file = name.rsplit('/').next().unwrap_or_default();
    let id = file.split('.').next().unwrap_or_default();
    Sha256::of(&[id.as_bytes(), b"\n", &content.0].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, kind: EntryKind, table: Option<&str>, content: &[u8]) -> IndexEntry {
        IndexEntry {
            name: name.to_owned(),
            kind,
            component: String::new(),
            table: table.map(str::to_owned),
            header_offset: 0,
            data_offset: 0,
            compressed_bytes: 0,
            size_bytes: content.len() as u64,
            method: 8,
            crc32: 0,
            sha256: Sha256::of(content),
            documents: table.map(|_| 1),
            digest: None,
        }
    }

    fn summary(entries: &[IndexEntry]) -> ContentSummary {
        let mut summary = ContentSummary::default();
        for entry in entries {
            summary.add(entry);
        }
        summary
    }

    #[test]
    fn order_makes_no_difference_and_content_does() {
        let documents = entry("t/documents.jsonl", EntryKind::Documents, Some("t"), b"{}\n");
        let (one, two) = (
            entry("_storage/a.png", EntryKind::File, None, b"1"),
            entry("_storage/b", EntryKind::File, None, b"2"),
        );
        let swapped = [
            entry("_storage/a.png", EntryKind::File, None, b"2"),
            entry("_storage/b", EntryKind::File, None, b"1"),
        ];
        let all = summary(&[documents.clone(), one.clone(), two.clone()]);
        assert_eq!(all, summary(&[two, one, documents.clone()]));
        assert_ne!(all, summary(&[documents, swapped[0].clone(), swapped[1].clone()]));
    }

    #[test]
    fn a_summary_survives_being_written_and_read() {
        let all = summary(&[
            entry("t/documents.jsonl", EntryKind::Documents, Some("t"), b"{}\n"),
            entry("t/generated_schema.jsonl", EntryKind::Schema, Some("t"), b"\"uniform\"\n"),
            entry("_tables/documents.jsonl", EntryKind::Tables, None, b""),
        ]);
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<ContentSummary>(&text).unwrap(), all);
    }
}
