//! [`plan_restore`]: what a restore would do, before anything is sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use convault_archive::TableFindings;
use convault_core::{DocumentFormat, EntryKind, FilesMode, ImportMode, IndexEntry, TableRef, TargetContents};
use serde::Serialize;

use super::{
    damaged::{DamagedFile, damaged_files},
    lossy::{Lossy, look_at},
};
use crate::{Content, JobError, Rules};

/// What a self-hosted backend on a small machine was seen to do; a cloud deployment does more.
const DOCUMENTS_PER_SECOND: u64 = 4_000;
const BYTES_PER_SECOND: u64 = 20 << 20;
/// The day from which on backends understand the exports of today.
const UNIFORM_SINCE: &str = "2026-03-11";

/// What would become of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedTable {
    /// Which.
    pub table: TableRef,
    /// Documents that the snapshot has of it; `None` where it has no such table, so that the table is deleted.
    pub incoming: Option<u64>,
    /// Documents that the target has of it, which go; `None` where it has no such table.
    pub outgoing: Option<u64>,
}

/// What would become of the stored files of one component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedFiles {
    /// Its path, empty for the root.
    pub component: String,
    /// Files that the snapshot has; `None` where it says nothing of them, so that those of the target stay.
    pub incoming: Option<u64>,
    /// Files that the target has.
    pub existing: u64,
}

/// What a restore would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestorePlan {
    /// What the import does with what is there.
    pub mode: ImportMode,
    /// Whether nothing is there that could be lost.
    pub onto_empty: bool,
    /// Every table that would be written or deleted.
    pub tables: Vec<PlannedTable>,
    /// Every component that has stored files on either side and is written to.
    pub files: Vec<PlannedFiles>,
    /// Bytes of documents and stored files that go in.
    pub incoming_bytes: u64,
    /// About how long the import takes, seconds.
    pub import_seconds: u64,
    /// About how long the safety snapshot takes, seconds.
    pub safety_seconds: u64,
    /// Tables named `…_storage`, whose `generated_schema.jsonl` no backend imports, with the fields that would change
    /// where it is left out.
    pub storage_names: BTreeMap<TableRef, Lossy>,
    /// Stored files that cannot be imported.
    pub damaged: Vec<DamagedFile>,
    /// Whether the documents are written as before 2026-03-11.
    pub old_format: bool,
}

impl RestorePlan {
    /// Components of which stored files stay although everything else is replaced: with them stay references to what is
    /// gone.
    pub fn keeps_files(&self) -> impl Iterator<Item = &PlannedFiles> {
        let stays = |files: &&PlannedFiles| files.incoming.is_none() && files.existing > 0;
        self.files.iter().filter(move |files| self.mode == ImportMode::ReplaceAll && stays(files))
    }
}

/// What goes in, by the index.
#[derive(Default)]
struct Incoming {
    tables: BTreeMap<TableRef, u64>,
    /// Rows of stored files, by component; `None` where there is no entry for them.
    files: BTreeMap<String, Option<u64>>,
    bytes: u64,
    storage_names: BTreeSet<TableRef>,
}

impl Incoming {
    fn take(&mut self, entry: &IndexEntry, rules: &Rules) {
        let files = rules.takes_files(&entry.component);
        match (entry.kind, &entry.table) {
            (EntryKind::Documents, Some(name)) => {
                let table = TableRef::new(&entry.component, name);
                if rules.takes_table(&table) {
                    let documents = entry.documents.unwrap_or(0);
                    let stays = !rules.quiet.contains(&table);
                    self.bytes += if stays { entry.size_bytes } else { 0 };
                    self.tables.insert(table, if stays { documents } else { 0 });
                }
            }
            (EntryKind::Schema, Some(name)) => {
                let table = TableRef::new(&entry.component, name);
                if is_storage_name(name) && rules.takes_table(&table) {
                    self.storage_names.insert(table);
                }
            }
            (EntryKind::Tables, _) => {
                self.files.entry(entry.component.clone()).or_default();
            }
            (EntryKind::StorageRows, _) if files => {
                self.files.insert(entry.component.clone(), entry.documents);
            }
            (EntryKind::File, _) if files => self.bytes += entry.size_bytes,
            _ => {}
        }
    }
}

/// A backend takes anything behind `_storage/` for a stored file, also where that ends the name of a table.
pub fn is_storage_name(table: &str) -> bool {
    table.ends_with("_storage") && table != "_storage"
}

/// What a run warns of where a table has such a name: a plain import of its snapshot fails.
pub(crate) fn storage_name_warning(tables: &[TableFindings]) -> Option<String> {
    let names = tables.iter().filter(|table| is_storage_name(&table.table));
    let names: Vec<String> =
        names.map(|table| TableRef::new(&table.component, &table.table).to_string()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "no backend imports its own export of a table whose name ends in `_storage`: {}; `convault restore` gets around \
             that where the table has neither Int64 nor bytes; better give it another name",
            names.join(", ")
        )
    })
}

/// Plans to bring `content`, by its rules, into a deployment that holds `existing`. Reads the index, tables named
/// `…_storage`, and, where the backup found damage, the rows of stored files.
pub async fn plan_restore(content: &Content<'_>, existing: &TargetContents) -> Result<RestorePlan, JobError> {
    let rules = content.rules();
    let mut incoming = Incoming::default();
    content
        .each_entry(|entry| {
            incoming.take(&entry, rules);
            Ok(())
        })
        .await?;
    shared_files(content, rules, &mut incoming).await?;
    let mut storage_names = BTreeMap::new();
    for table in &incoming.storage_names {
        storage_names.insert(table.clone(), lossy(content, table).await?);
    }
    let components =
        incoming.files.keys().filter(|component| rules.takes_files(component)).cloned().collect();
    let damaged = damaged_files(content, &components).await?;
    let mode = mode(rules, existing);
    let documents = incoming.tables.values().sum();
    let leaving = existing.components.values().flat_map(|component| component.tables.values()).sum();
    Ok(RestorePlan {
        mode,
        onto_empty: existing.is_empty(),
        tables: tables(&incoming, existing, mode),
        files: files(&incoming, rules, existing),
        incoming_bytes: incoming.bytes,
        import_seconds: seconds(documents, incoming.bytes),
        safety_seconds: if existing.is_empty() { 0 } else { seconds(leaving, 0) * 2 },
        storage_names,
        damaged: damaged.into_iter().filter(|file| is_new(file, rules)).collect(),
        old_format: content.manifest().source.documents == DocumentFormat::Legacy,
    })
}

/// What is left out anyway needs no word.
fn is_new(file: &DamagedFile, rules: &Rules) -> bool {
    let key = (file.component.clone(), file.id.clone());
    !rules.erased.files.contains(&key)
}

/// Shared files are not in the index: their rows are counted.
async fn shared_files(content: &Content<'_>, rules: &Rules, incoming: &mut Incoming) -> Result<(), JobError> {
    if content.manifest().files != FilesMode::Shared {
        return Ok(());
    }
    for (component, files) in &mut incoming.files {
        if !rules.takes_files(component) {
            continue;
        }
        let Some(mut rows) = content.lines(&TableRef::new(component, "_storage")).await? else { continue };
        let mut number = 0;
        while rows.next().await?.is_some() {
            number += 1;
        }
        *files = Some(number);
    }
    if rules.only.is_none() && !rules.without_files {
        incoming.bytes += content.manifest().totals.file_bytes;
    }
    Ok(())
}

async fn lossy(content: &Content<'_>, table: &TableRef) -> Result<Lossy, JobError> {
    let mut found = Lossy::new();
    let Some(mut lines) = content.lines(table).await? else { return Ok(found) };
    while let Some(line) = lines.next().await? {
        look_at(&line, &mut found).map_err(|problem| JobError::Damaged {
            place: format!("table {table} of {}", content.manifest().id),
            what: problem.to_string(),
        })?;
    }
    Ok(found)
}

/// A part replaces what it names. The whole replaces everything, except where nothing at all is there: then the server
/// itself makes sure of that.
fn mode(rules: &Rules, existing: &TargetContents) -> ImportMode {
    let has_tables = existing.components.values().any(|component| !component.tables.is_empty());
    match (&rules.only, has_tables || !existing.is_empty()) {
        (Some(_), _) => ImportMode::Replace,
        (None, true) => ImportMode::ReplaceAll,
        (None, false) => ImportMode::RequireEmpty,
    }
}

fn tables(incoming: &Incoming, existing: &TargetContents, mode: ImportMode) -> Vec<PlannedTable> {
    let mut tables: BTreeMap<TableRef, PlannedTable> = BTreeMap::new();
    for (table, documents) in &incoming.tables {
        let planned = PlannedTable { table: table.clone(), incoming: Some(*documents), outgoing: None };
        tables.insert(table.clone(), planned);
    }
    for (component, contents) in &existing.components {
        for (name, documents) in &contents.tables {
            let table = TableRef::new(component, name);
            match tables.get_mut(&table) {
                Some(planned) => planned.outgoing = Some(*documents),
                None if mode == ImportMode::ReplaceAll => {
                    let planned =
                        PlannedTable { table: table.clone(), incoming: None, outgoing: Some(*documents) };
                    tables.insert(table, planned);
                }
                None => {}
            }
        }
    }
    tables.into_values().collect()
}

fn files(incoming: &Incoming, rules: &Rules, existing: &TargetContents) -> Vec<PlannedFiles> {
    let of_target = existing.components.iter().filter(|(_, contents)| contents.files > 0);
    let names: BTreeSet<&String> = incoming.files.keys().chain(of_target.map(|(name, _)| name)).collect();
    let planned = |component: &String| PlannedFiles {
        component: component.clone(),
        incoming: incoming.files.get(component).copied().flatten(),
        existing: existing.components.get(component).map_or(0, |contents| contents.files),
    };
    let concerned = |files: &PlannedFiles| {
        let chosen = rules.only.is_none() || rules.takes_files(&files.component);
        chosen && (files.incoming.unwrap_or(0) > 0 || files.existing > 0)
    };
    names.into_iter().map(planned).filter(concerned).collect()
}

fn seconds(documents: u64, bytes: u64) -> u64 {
    let estimate = documents / DOCUMENTS_PER_SECOND + bytes / BYTES_PER_SECOND;
    Duration::from_secs(estimate.max(1)).as_secs()
}

/// Why a server cannot take these documents, where its version tells. Versions of self-hosted servers have a day in them.
pub fn too_old(server_version: &str, old_format: bool) -> Option<String> {
    let is_day = |text: &str| {
        let shape = |(place, byte): (usize, u8)| match place {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        };
        text.len() == UNIFORM_SINCE.len() && text.bytes().enumerate().all(shape)
    };
    let windows = (0..server_version.len()).filter_map(|at| server_version.get(at..at + UNIFORM_SINCE.len()));
    let day = windows.into_iter().find(|text| is_day(text))?;
    let refused = !old_format && day < UNIFORM_SINCE;
    refused.then(|| {
        format!(
            "its server is of {day} and does not understand exports of servers since {UNIFORM_SINCE}; upgrade it first"
        )
    })
}

#[cfg(test)]
mod tests {
    use convault_core::ComponentContents;

    use super::*;

    fn existing(tables: &[(&str, u64)], files: u64) -> TargetContents {
        let tables = tables.iter().map(|(name, documents)| ((*name).to_owned(), *documents)).collect();
        let root = ComponentContents { tables, files };
        TargetContents { components: [(String::new(), root)].into() }
    }

    #[test]
    fn the_mode_follows_from_what_is_there_and_what_was_chosen() {
        let whole = Rules::default();
        let part = Rules { only: Some(BTreeSet::new()), ..Rules::default() };
        assert_eq!(mode(&whole, &existing(&[], 0)), ImportMode::RequireEmpty);
        assert_eq!(mode(&whole, &existing(&[("a", 0)], 0)), ImportMode::ReplaceAll);
        assert_eq!(mode(&whole, &existing(&[], 1)), ImportMode::ReplaceAll);
        assert_eq!(mode(&part, &existing(&[("a", 1)], 0)), ImportMode::Replace);
    }

    #[test]
    fn tables_that_only_the_target_has_go_with_everything_and_stay_with_a_part() {
        let incoming = Incoming { tables: [(TableRef::new("", "a"), 3)].into(), ..Incoming::default() };
        let existing = existing(&[("a", 1), ("b", 2)], 0);
        let whole = tables(&incoming, &existing, ImportMode::ReplaceAll);
        let told: Vec<_> = whole.iter().map(|table| (table.incoming, table.outgoing)).collect();
        assert_eq!(told, [(Some(3), Some(1)), (None, Some(2))]);
        assert_eq!(tables(&incoming, &existing, ImportMode::Replace).len(), 1);
    }

    #[test]
    fn files_stay_where_the_snapshot_says_nothing_of_them() {
        let incoming = Incoming { files: [(String::new(), None)].into(), ..Incoming::default() };
        let planned = files(&incoming, &Rules::default(), &existing(&[], 4));
        assert_eq!(planned, [PlannedFiles { component: String::new(), incoming: None, existing: 4 }]);
    }

    #[test]
    fn a_server_is_too_old_by_the_day_in_its_version() {
        assert!(too_old("precompiled-2026-03-10-abcdef0", false).is_some());
        assert!(too_old("precompiled-2026-03-11-abcdef0", false).is_none());
        assert!(too_old("precompiled-2025-03-10-abcdef0", true).is_none());
        assert!(too_old("unknown", false).is_none());
        assert!(too_old("20260310-é-2026-1-1", false).is_none());
    }

    #[test]
    fn only_endings_of_table_names_are_traps() {
        assert!(is_storage_name("order_storage"));
        assert!(
            !is_storage_name("_storage") && !is_storage_name("storage") && !is_storage_name("order_storages")
        );
    }
}
