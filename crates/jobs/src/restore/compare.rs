//! Compares what was sent with what is there afterwards.

use convault_core::{ContentSummary, ImportMode, TargetContents};
use serde::Serialize;

/// A number that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CountDifference {
    /// `table orders`, `stored files`, with the component's path in front where it is not the root.
    pub what: String,
    /// How many were sent.
    pub expected: u64,
    /// How many are there.
    pub found: u64,
}

/// What was compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Tables whose documents were counted.
    pub tables: u64,
    /// Documents in them.
    pub documents: u64,
    /// Stored files.
    pub files: u64,
    /// What is not as it should be.
    pub differences: Vec<CountDifference>,
}

/// Compares documents per table, and stored files per component, with what was sent. After an import of everything there
/// must be nothing else.
pub fn compare_counts(sent: &ContentSummary, mode: ImportMode, found: &TargetContents) -> Counted {
    let mut counted = Counted::default();
    for (table, summary) in &sent.tables {
        let there = found.components.get(&table.component);
        let documents = there.and_then(|component| component.tables.get(&table.table)).copied().unwrap_or(0);
        counted.tables += 1;
        counted.documents += documents;
        counted.note(format!("table {table}"), summary.documents, documents);
    }
    for (path, summary) in &sent.components {
        if summary.rows.is_some() {
            let files = found.components.get(path).map_or(0, |component| component.files);
            counted.files += files;
            counted.note(format!("{}stored files", prefix(path)), summary.files, files);
        }
    }
    if mode == ImportMode::ReplaceAll {
        let rest = found.components.iter().flat_map(|(path, component)| {
            component.tables.iter().map(move |(name, documents)| (path, name, *documents))
        });
        for (path, name, documents) in rest {
            let was_sent = sent.tables.keys().any(|table| table.component == *path && table.table == *name);
            if !was_sent {
                counted.note(format!("table {}{name}", prefix(path)), 0, documents);
            }
        }
    }
    counted
}

fn prefix(component: &str) -> String {
    if component.is_empty() { String::new() } else { format!("{component}/") }
}

impl Counted {
    fn note(&mut self, what: String, expected: u64, found: u64) {
        if expected != found {
            self.differences.push(CountDifference { what, expected, found });
        }
    }
}
