//! [`Outgone`]: what went out.

use std::collections::{BTreeMap, BTreeSet};

use convault_core::{ContentSummary, TableRef};

use super::RuleCounts;

/// What went out as a ZIP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outgone {
    /// Bytes of the ZIP.
    pub size_bytes: u64,
    /// What is in it.
    pub summary: ContentSummary,
    /// What rules did, for every table to which they did something.
    pub changed: BTreeMap<TableRef, RuleCounts>,
    /// Stored files that rules left out, by component; files that were not asked for are not among them.
    pub files_dropped: BTreeMap<String, u64>,
    /// Tables whose `generated_schema.jsonl` was left out.
    pub without_schema: BTreeSet<TableRef>,
    /// Stored files that could not be fetched when the snapshot was made: their rows are there, they are not.
    pub files_missing: u64,
}

impl Outgone {
    pub(super) fn changed(&mut self, table: TableRef, counts: RuleCounts) {
        if counts != RuleCounts::default() {
            let all = self.changed.entry(table).or_default();
            all.dropped += counts.dropped;
            all.masked += counts.masked;
        }
    }

    pub(super) fn dropped_files(&mut self, component: &str, files: u64) {
        if files > 0 {
            *self.files_dropped.entry(component.to_owned()).or_default() += files;
        }
    }
}
