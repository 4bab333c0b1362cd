//! [`diff`]: what is different between two snapshots, table by table.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use convault_core::{EntryKind, IndexEntry, TableRef};

use super::{
    find::{no_table, place},
    merge::{Held, Meeting, Merge, TableLines},
};
use crate::{Content, JobError, Lines, RunContext};

/// A document that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocumentDifference {
    /// Only the later snapshot has it.
    Added(Bytes),
    /// Only the earlier snapshot has it.
    Removed(Bytes),
    /// Both have it, not alike.
    Changed {
        /// How it was.
        before: Bytes,
        /// How it is.
        after: Bytes,
    },
}

/// How a table differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDifference {
    /// Which table.
    pub table: TableRef,
    /// Whether the earlier snapshot has such a table.
    pub was_there: bool,
    /// Whether the later one has.
    pub is_there: bool,
    /// Whether its documents were read. Where the digests in both indexes are equal, they were not.
    pub was_read: bool,
    /// Documents that only the later one has.
    pub added: u64,
    /// Documents that only the earlier one has.
    pub removed: u64,
    /// Documents that both have, not alike.
    pub changed: u64,
}

impl TableDifference {
    /// Whether there is any.
    pub fn differs(&self) -> bool {
        self.was_there != self.is_there || self.added + self.removed + self.changed > 0
    }
}

/// Compares two snapshots, all tables or one, and gives `take` every document that differs, table by table in the order
/// of ids. Rows of stored files are compared like documents (table `_storage`). Holds a line of each side: tables whose
/// documents are not in the order of their ids are an error.
pub async fn diff(
    before: &Content<'_>,
    after: &Content<'_>,
    only: Option<&TableRef>,
    context: &RunContext,
    mut take: impl FnMut(&TableRef, DocumentDifference),
) -> Result<Vec<TableDifference>, JobError> {
    let (olds, news) = (tables(before).await?, tables(after).await?);
    let all: BTreeSet<&TableRef> = olds.keys().chain(news.keys()).collect();
    if let Some(missing) = only.filter(|table| !all.contains(table)) {
        return Err(no_table(after, missing));
    }
    let mut found = Vec::new();
    for table in all.into_iter().filter(|table| only.is_none_or(|only| only == *table)) {
        let (old, new) = (olds.get(table), news.get(table));
        let mut difference = TableDifference {
            table: table.clone(),
            was_there: old.is_some(),
            is_there: new.is_some(),
            was_read: false,
            added: 0,
            removed: 0,
            changed: 0,
        };
        if !is_known_equal(old, new) {
            difference.was_read = true;
            let (one, two) = (Side::of(before, table).await?, Side::of(after, table).await?);
            compare(Merge::new(one, two), &mut difference, context, &mut take).await?;
        }
        found.push(difference);
    }
    Ok(found)
}

/// What the index says of a table; nothing of rows of files that are shared.
type Known = Option<IndexEntry>;

async fn tables(content: &Content<'_>) -> Result<BTreeMap<TableRef, Known>, JobError> {
    let mut found = BTreeMap::new();
    for table in content.tables().await? {
        let entry = content.table_entry(&table).await?;
        found.insert(table, entry.filter(|entry| entry.kind == EntryKind::Documents));
    }
    for component in content.components().await? {
        let rows = TableRef::new(component, "_storage");
        if content.has_files() {
            let entry = content.table_entry(&rows).await?;
            found.insert(rows, entry);
        }
    }
    Ok(found)
}

fn is_known_equal(old: Option<&Known>, new: Option<&Known>) -> bool {
    match (old, new) {
        (Some(Some(old)), Some(Some(new))) => {
            old.sha256 == new.sha256 || old.digest.is_some() && old.digest == new.digest
        }
        _ => false,
    }
}

async fn compare(
    mut merge: Merge<Side<'_>, Side<'_>>,
    difference: &mut TableDifference,
    context: &RunContext,
    take: &mut impl FnMut(&TableRef, DocumentDifference),
) -> Result<(), JobError> {
    while let Some(meeting) = context.or_stop(merge.next()).await?? {
        let one = match meeting {
            Meeting::Both(before, after) if before == after => continue,
            Meeting::Both(before, after) => {
                difference.changed += 1;
                DocumentDifference::Changed { before, after }
            }
            Meeting::First(line) => {
                difference.removed += 1;
                DocumentDifference::Removed(line)
            }
            Meeting::Second(line) => {
                difference.added += 1;
                DocumentDifference::Added(line)
            }
        };
        take(&difference.table, one);
    }
    Ok(())
}

/// The lines of a table of one snapshot; none, where it has no such table.
pub(crate) enum Side<'a> {
    Stored(Lines<'a>, String),
    Missing(Held),
}

impl<'a> Side<'a> {
    pub(crate) async fn of(content: &'a Content<'_>, table: &TableRef) -> Result<Side<'a>, JobError> {
        let place = format!("{} {table}", place(content));
        Ok(match content.lines(table).await? {
            Some(lines) => Self::Stored(lines, place),
            None => Self::Missing(Held::new(Vec::new(), place)),
        })
    }
}

impl TableLines for Side<'_> {
    async fn next_line(&mut self) -> Result<Option<Bytes>, JobError> {
        match self {
            Self::Stored(lines, _) => lines.next().await,
            Self::Missing(held) => held.next_line().await,
        }
    }

    fn place(&self) -> String {
        match self {
            Self::Stored(_, place) => place.clone(),
            Self::Missing(held) => held.place(),
        }
    }
}
