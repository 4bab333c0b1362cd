//! [`AnomalyLimits`]: how far a snapshot may differ from the one before it.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::TableTotals;

/// What to make of a table that the snapshot before did not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NewTables {
    /// A note.
    #[default]
    Warn,
    /// A problem.
    Suspect,
    /// Nothing.
    Ignore,
}

/// Limits of one table, in place of the general ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct TableLimits {
    /// As [`AnomalyLimits::down_percent`].
    pub down_percent: Option<u32>,
    /// As [`AnomalyLimits::up_percent`].
    pub up_percent: Option<u32>,
    /// Nothing about this table is a problem.
    pub ignore: bool,
}

/// How far a snapshot may differ from the last good one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AnomalyLimits {
    /// How much less there may be: 30 lets 70 of 100 pass. 100 lets everything pass, also a table emptied.
    pub down_percent: u32,
    /// How much more there may be: 300 lets 400 pass after 100.
    pub up_percent: u32,
    /// What to make of new tables.
    pub new_tables: NewTables,
    /// Whether a snapshot without a document and without a stored file is all right.
    pub allow_empty: bool,
    /// The fewest documents a snapshot must have.
    pub min_documents: Option<u64>,
    /// The fewest bytes of documents and stored files together.
    pub min_bytes: Option<u64>,
    /// How long the deployment may stay as it is.
    pub unchanged_for: Option<Duration>,
    /// Limits of single tables, by `table` or `component/table`. Such a table is judged by these alone and left out
    /// of the sums of documents and their bytes.
    pub tables: BTreeMap<String, TableLimits>,
}

impl Default for AnomalyLimits {
    fn default() -> Self {
        Self {
            down_percent: 30,
            up_percent: 300,
            new_tables: NewTables::default(),
            allow_empty: false,
            min_documents: None,
            min_bytes: None,
            unchanged_for: None,
            tables: BTreeMap::new(),
        }
    }
}

/// What holds for one amount.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) down_percent: u32,
    pub(super) up_percent: u32,
}

impl AnomalyLimits {
    /// The general limits.
    pub(super) fn general(&self) -> Limits {
        Limits { down_percent: self.down_percent, up_percent: self.up_percent }
    }

    /// The limits of a table, or `None` where it is ignored.
    pub(super) fn of(&self, table: &TableTotals) -> Option<Limits> {
        let own = self.tables.get(&display_name(table)).copied().unwrap_or_default();
        (!own.ignore).then(|| Limits {
            down_percent: own.down_percent.unwrap_or(self.down_percent),
            up_percent: own.up_percent.unwrap_or(self.up_percent),
        })
    }

    /// Whether a table is judged by the general limits and so part of the sums.
    pub(super) fn is_general(&self, table: &TableTotals) -> bool {
        !self.tables.contains_key(&display_name(table))
    }
}

/// `table`, or `component/table`.
pub(super) fn display_name(table: &TableTotals) -> String {
    if table.component.is_empty() {
        table.table.clone()
    } else {
        format!("{}/{}", table.component, table.table)
    }
}
