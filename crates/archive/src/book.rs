//! What the entries add up to: tables against their lists, rows against files, damage and warnings.

use std::collections::{BTreeMap, HashSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use convault_core::{EntryKind, IndexTotals, Sha256, TableDigest};
use serde::Deserialize;

use crate::{
    ArchiveError, Damage, ExportFormat, LineProblem, SchemaFormat, TableFindings, Warning,
    findings::MAX_LISTED, ledger::Ledger, name::EntryName,
};

/// Entries that Convex is not known to write: their names are kept, so they are bounded.
const MAX_UNKNOWN: u64 = 1024;

/// A list that keeps its first items and counts the others.
#[derive(Debug)]
pub(crate) struct Bounded<T> {
    pub(crate) listed: Vec<T>,
    pub(crate) unlisted: u64,
}

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Self { listed: Vec::new(), unlisted: 0 }
    }
}

impl<T> Bounded<T> {
    fn push(&mut self, item: T) {
        if self.listed.len() < MAX_LISTED {
            self.listed.push(item);
        } else {
            self.unlisted += 1;
        }
    }
}

#[derive(Debug, Default)]
struct Component {
    has_list: bool,
    has_storage_rows: bool,
}

#[derive(Debug, Default)]
struct Table {
    listed: u32,
    /// Place among the tables of the ZIP, and the content.
    documents: Option<(usize, Totals)>,
    schema: Option<SchemaFormat>,
}

/// What an entry of documents added up to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Totals {
    pub(crate) documents: u64,
    pub(crate) bytes: u64,
    pub(crate) sha256: Sha256,
    pub(crate) digest: TableDigest,
}

/// What the entries add up to.
#[derive(Debug)]
pub(crate) struct Book {
    components: BTreeMap<String, Component>,
    tables: BTreeMap<(String, String), Table>,
    tables_with_documents: usize,
    others: HashSet<String>,
    max_tables: usize,
    pub(crate) ledger: Ledger,
    pub(crate) totals: IndexTotals,
    pub(crate) damage: Bounded<Damage>,
    pub(crate) warnings: Bounded<Warning>,
}

/// A row of `_tables`. Its `id` is a table number and does not concern us.
#[derive(Deserialize)]
struct ListedTable<'a> {
    #[serde(borrow)]
    name: std::borrow::Cow<'a, str>,
}

/// The fields of a row of `_storage` that announce a file.
#[derive(Deserialize)]
struct StorageRow<'a> {
    #[serde(borrow)]
    sha256: std::borrow::Cow<'a, str>,
    size: u64,
}

impl Book {
    pub(crate) fn new(max_tables: usize, ledger: Ledger) -> Self {
        Self {
            components: BTreeMap::from([(String::new(), Component::default())]),
            tables: BTreeMap::new(),
            tables_with_documents: 0,
            others: HashSet::new(),
            max_tables,
            ledger,
            totals: IndexTotals::default(),
            damage: Bounded::default(),
            warnings: Bounded::default(),
        }
    }

    /// An entry begins: it must not have come before.
    pub(crate) fn begin(&mut self, name: &EntryName) -> Result<(), ArchiveError> {
        let too_many = |what, limit| Err(ArchiveError::TooMany { what, limit });
        let duplicate = || ArchiveError::DuplicateName { name: name.full.clone() };
        if !self.components.contains_key(&name.component) {
            if self.components.len() > self.max_tables {
                return too_many("components", self.max_tables as u64);
            }
            self.components.insert(name.component.clone(), Component::default());
        }
        let component = self.components.get_mut(&name.component).expect("it was put there above");
        let came_before = match name.kind {
            EntryKind::Tables => std::mem::replace(&mut component.has_list, true),
            EntryKind::StorageRows => std::mem::replace(&mut component.has_storage_rows, true),
            EntryKind::Documents => self.table(&name.component, &name.subject)?.documents.is_some(),
            EntryKind::Schema => self.table(&name.component, &name.subject)?.schema.is_some(),
            // The same file twice makes its sum differ, and the directory then tells why.
            EntryKind::File => false,
            EntryKind::Other => !self.others.insert(name.full.clone()),
        };
        if self.others.len() as u64 > MAX_UNKNOWN {
            return too_many("entries that Convex does not write", MAX_UNKNOWN);
        }
        if name.is_unknown() {
            self.warnings.push(Warning::UnknownEntry { name: name.full.clone() });
        }
        if came_before { Err(duplicate()) } else { Ok(()) }
    }

    fn table(&mut self, component: &str, table: &str) -> Result<&mut Table, ArchiveError> {
        let key = (component.to_owned(), table.to_owned());
        if self.tables.len() >= self.max_tables && !self.tables.contains_key(&key) {
            return Err(ArchiveError::TooMany { what: "tables", limit: self.max_tables as u64 });
        }
        Ok(self.tables.entry(key).or_default())
    }

    /// A line of a `_tables` entry.
    pub(crate) fn listed_table(
        &mut self,
        component: &str,
        line: &[u8],
    ) -> Result<Option<LineProblem>, ArchiveError> {
        let Ok(row) = serde_json::from_slice::<ListedTable<'_>>(line) else {
            return Ok(Some(problem_of(line)));
        };
        let table = self.table(component, &row.name)?;
        table.listed += 1;
        if table.listed == 2 {
            let table = row.name.into_owned();
            self.damage.push(Damage::TableListedTwice { component: component.to_owned(), table });
        }
        Ok(None)
    }

    /// A sound line of a `_storage` entry.
    pub(crate) fn storage_row(&mut self, component: &str, id: &str, line: &[u8]) -> Option<LineProblem> {
        let row = serde_json::from_slice::<StorageRow<'_>>(line).ok();
        let sha256 =
            row.as_ref().and_then(|row| STANDARD.decode(row.sha256.as_bytes()).ok()?.try_into().ok());
        match (row, sha256) {
            (Some(row), Some(sha256)) => {
                self.ledger.row(component, id, Sha256(sha256), row.size);
                None
            }
            _ => Some(LineProblem::BadField),
        }
    }

    /// Something is wrong with a line.
    pub(crate) fn bad_line(&mut self, entry: &EntryName, line_number: u64, problem: LineProblem) {
        self.damage.push(Damage::Line { entry: entry.full.clone(), line_number, problem });
    }

    /// The lines of an entry are not in the order of their ids.
    pub(crate) fn not_in_order(&mut self, entry: &EntryName) {
        self.warnings.push(Warning::NotInIdOrder { entry: entry.full.clone() });
    }

    /// A table's documents have come whole.
    pub(crate) fn documents(&mut self, name: &EntryName, totals: Totals) -> Result<(), ArchiveError> {
        self.totals.documents += totals.documents;
        self.totals.document_bytes += totals.bytes;
        let place = self.tables_with_documents;
        self.tables_with_documents += 1;
        self.table(&name.component, &name.subject)?.documents = Some((place, totals));
        if name.subject.ends_with("_storage") {
            let (component, table) = (name.component.clone(), name.subject.clone());
            self.warnings.push(Warning::StorageLikeTable { component, table });
        }
        Ok(())
    }

    /// A table's schema entry has come whole; `None` where it cannot be read.
    pub(crate) fn schema(
        &mut self,
        name: &EntryName,
        format: Option<SchemaFormat>,
    ) -> Result<(), ArchiveError> {
        if format.is_none() {
            let (component, table) = (name.component.clone(), name.subject.clone());
            self.damage.push(Damage::BadSchema { component, table });
        }
        self.table(&name.component, &name.subject)?.schema = Some(format.unwrap_or(SchemaFormat::Legacy));
        Ok(())
    }

    /// A stored file has come whole.
    pub(crate) fn file(&mut self, name: &EntryName, sha256: Sha256, bytes: u64) {
        self.totals.files += 1;
        self.totals.file_bytes += bytes;
        self.ledger.file(&name.component, &name.subject, sha256, bytes);
    }

    /// Everything has come: compares lists with what they list.
    pub(crate) fn close(&mut self) {
        self.compare_tables();
        self.compare_components();
        if !self.ledger.agrees() {
            let Ledger { rows, files, row_bytes, file_bytes, .. } = self.ledger;
            self.damage.push(Damage::StoredFiles { rows, files, row_bytes, file_bytes });
        }
    }

    fn compare_tables(&mut self) {
        for ((component, table), state) in &self.tables {
            let (component, name) = (component.clone(), table.clone());
            match (state.listed > 0, &state.documents) {
                (_, None) => self.damage.push(Damage::TableMissing { component, table: name }),
                (false, Some(_)) => self.damage.push(Damage::TableNotListed { component, table: name }),
                (true, Some(_)) if state.schema.is_none() => {
                    self.warnings.push(Warning::SchemaMissing { component, table: name });
                }
                (true, Some(_)) => {}
            }
        }
    }

    fn compare_components(&mut self) {
        let files_included = self.files_included();
        for (name, component) in &self.components {
            if !component.has_list {
                self.damage.push(Damage::TablesMissing { component: name.clone() });
            }
            if files_included && !component.has_storage_rows {
                self.damage.push(Damage::StorageRowsMissing { component: name.clone() });
            }
        }
    }

    /// Whether the export was asked for with stored files.
    pub(crate) fn files_included(&self) -> bool {
        self.totals.files > 0 || self.components.values().any(|component| component.has_storage_rows)
    }

    /// How documents are written.
    pub(crate) fn format(&self) -> ExportFormat {
        let legacy = self.tables.values().any(|table| table.schema == Some(SchemaFormat::Legacy));
        if legacy { ExportFormat::Legacy } else { ExportFormat::Uniform }
    }

    /// Component paths, sorted.
    pub(crate) fn components(&self) -> Vec<String> {
        self.components.keys().cloned().collect()
    }

    /// User tables, in the order of the ZIP.
    pub(crate) fn tables(&self) -> Vec<TableFindings> {
        let mut tables: Vec<_> = self
            .tables
            .iter()
            .filter_map(|((component, table), state)| {
                let (place, totals) = state.documents?;
                let findings = TableFindings {
                    component: component.clone(),
                    table: table.clone(),
                    documents: totals.documents,
                    bytes: totals.bytes,
                    sha256: totals.sha256,
                    digest: totals.digest,
                    schema: state.schema.unwrap_or(SchemaFormat::Missing),
                };
                Some((place, findings))
            })
            .collect();
        tables.sort_unstable_by_key(|(place, _)| *place);
        tables.into_iter().map(|(_, findings)| findings).collect()
    }
}

/// Why a line that is not a row of `_tables` is none.
fn problem_of(line: &[u8]) -> LineProblem {
    match serde_json::from_slice::<serde_json::Value>(line) {
        Err(_) if line.iter().all(u8::is_ascii_whitespace) => LineProblem::Blank,
        Err(_) => LineProblem::NotJson,
        Ok(value) if !value.is_object() => LineProblem::NotAnObject,
        Ok(_) => LineProblem::BadField,
    }
}
