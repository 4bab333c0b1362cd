//! The anomaly gate: whether a new snapshot looks like the deployment it is of. A pure function of manifests: it
//! needs no private key, no stored object and no local state, and of table names it uses only whether they are
//! equal, so that hashes serve as well.
//!
//! It says what looks wrong; what follows from that (the snapshot is suspect, pruning freezes) is not decided here.

mod amount;
mod limits;

use std::collections::{BTreeMap, BTreeSet};

pub use self::limits::{AnomalyLimits, NewTables, TableLimits};
use self::{
    amount::Amount,
    limits::{Limits, display_name},
};
use crate::{DocumentFormat, FilesMode, Manifest, Problem, TableTotals};

/// A change of so many documents says nothing, unless none is left.
const DOCUMENTS_OF_NOISE: u64 = 10;

/// A change of so many bytes says nothing.
const BYTES_OF_NOISE: u64 = 64 * 1024;

/// Stored files may grow by so many bytes without a word: the first photographs of a small deployment are a thousand
/// times what was there before.
const FILE_GROWTH_OF_NOISE: u64 = 64 << 20;

/// A change of so many stored files says nothing.
const FILES_OF_NOISE: u64 = 10;

/// What the manifest says where the deployment did not say its name.
const UNKNOWN_INSTANCE: &str = "unknown";

/// More problems than this are counted and not named; the same holds for notes.
const MOST_NAMED: usize = 100;

/// What looks wrong with a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Anomalies {
    /// What makes it suspect; at most 100 and one that counts the rest.
    pub problems: Vec<Problem>,
    /// What is worth saying and does not make it suspect, one sentence each; bounded in the same way.
    pub notes: Vec<String>,
}

/// Compares `next` with the good snapshots of the same deployment, newest first. The newest with the same `files` mode
/// is the measure; where there is none the newest of all, and stored files are not compared. Only `unchanged_for`
/// looks at more than that one: for it, `history` must reach back that far. Where none of them names tables as `next`
/// does, sums are compared and tables are not, which is a note.
pub fn examine(next: &Manifest, history: &[&Manifest], limits: &AnomalyLimits) -> Anomalies {
    let mut found = Anomalies::default();
    found.examine_alone(next, limits);
    let others: Vec<&Manifest> = history.iter().copied().filter(|other| other.id != next.id).collect();
    let comparable: Vec<&Manifest> =
        others.iter().copied().filter(|other| other.names_tables_like(next)).collect();
    let same_mode = || comparable.iter().copied().filter(|other| other.files == next.files);
    if let Some(before) = same_mode().next().or(comparable.first().copied()) {
        found.compare_origin(before, next);
        found.compare_tables(before, next, limits);
        found.compare_sums(before, next, limits);
    } else if let Some(before) = others.iter().find(|other| other.files == next.files).or(others.first()) {
        found.compare_without_names(before, next, limits);
    }
    found.examine_stillness(next, same_mode(), limits);
    found.bounded()
}

impl Anomalies {
    fn problem(&mut self, kind: impl Into<String>, what: String, ids: Vec<String>) {
        self.problems.push(Problem { kind: kind.into(), what, ids });
    }

    /// What is wrong whatever was there before.
    fn examine_alone(&mut self, next: &Manifest, limits: &AnomalyLimits) {
        let totals = next.totals;
        if totals.documents == 0 && totals.files == 0 && !limits.allow_empty {
            let what = "the snapshot has no documents and no stored files; \
                        where that is right, set deployment.anomaly.allow_empty";
            self.problem("empty", what.into(), Vec::new());
        }
        let bytes = totals.document_bytes.saturating_add(totals.file_bytes);
        let amounts = [
            ("documents", "min_documents", totals.documents, limits.min_documents),
            ("bytes", "min_bytes", bytes, limits.min_bytes),
        ];
        for (of, key, amount, least) in amounts {
            if let Some(least) = least.filter(|least| amount < *least) {
                let what = format!("the snapshot has {amount} {of}, fewer than {key} = {least}");
                self.problem("too-small", what, Vec::new());
            }
        }
    }

    fn compare_origin(&mut self, before: &Manifest, next: &Manifest) {
        let (was, is) = (&before.source, &next.source);
        let known = |instance: &str| instance != UNKNOWN_INSTANCE;
        if was.instance != is.instance && known(&was.instance) && known(&is.instance) {
            let what = format!(
                "the deployment calls itself {}, and {} when {} was taken: see whether its address leads where it \
                 should",
                is.instance, was.instance, before.id
            );
            self.problem("instance-changed", what, Vec::new());
        }
        if was.documents != is.documents {
            let what = format!(
                "documents are written in the {} format, and were in the {} one in {}: see whether they can still \
                 be read, then accept the snapshot",
                format_word(is.documents),
                format_word(was.documents),
                before.id
            );
            self.problem("format-changed", what, Vec::new());
        }
    }

    fn compare_tables(&mut self, before: &Manifest, next: &Manifest, limits: &AnomalyLimits) {
        let (was, is) = (Tables::of(before), Tables::of(next));
        self.compare_components(&was, &is, limits);
        for (key, table) in &was.tables {
            let Some(own) = limits.of(table) else { continue };
            match is.tables.get(key) {
                Some(after) => self.compare_table(table, after, own),
                None if is.components.contains(key.0) => self.table_vanished(table),
                None => {}
            }
        }
        for (key, table) in &is.tables {
            let is_new = was.components.contains(key.0) && !was.tables.contains_key(key);
            if is_new && limits.of(table).is_some() {
                let name = display_name(table);
                let what = format!("table {name} is new, with {} documents", table.documents);
                self.something_new("table-new", what, name, limits);
            }
        }
    }

    /// Names that are hashed under different keys say nothing to each other; sums need none, unless some tables are left
    /// out of them.
    fn compare_without_names(&mut self, before: &Manifest, next: &Manifest, limits: &AnomalyLimits) {
        self.compare_origin(before, next);
        if limits.tables.is_empty() {
            self.compare_sums(before, next, limits);
        }
        self.notes.push(format!(
            "tables are not compared with those of {}: their names are hashed under another names key there, or only in \
             one of the two; see whether the setting encryption.names_key is the one that was used before",
            before.id
        ));
    }

    /// A component that came or went is said once, and not table by table.
    fn compare_components(&mut self, was: &Tables<'_>, is: &Tables<'_>, limits: &AnomalyLimits) {
        for component in was.components.difference(&is.components) {
            let (tables, documents) = was.size_of(component, limits);
            let what =
                format!("component {component} is gone, with {tables} tables of {documents} documents");
            match (tables, documents) {
                (0, _) => {}
                (_, 0) => self.notes.push(what),
                _ => self.problem("component-vanished", what, vec![(*component).to_owned()]),
            }
        }
        for component in is.components.difference(&was.components) {
            let (tables, documents) = is.size_of(component, limits);
            if tables > 0 {
                let what =
                    format!("component {component} is new, with {tables} tables of {documents} documents");
                self.something_new("component-new", what, (*component).to_owned(), limits);
            }
        }
    }

    fn something_new(&mut self, kind: &str, what: String, id: String, limits: &AnomalyLimits) {
        match limits.new_tables {
            NewTables::Ignore => {}
            NewTables::Warn => self.notes.push(what),
            NewTables::Suspect => self.problem(kind, what, vec![id]),
        }
    }

    fn table_vanished(&mut self, table: &TableTotals) {
        let name = display_name(table);
        if table.documents == 0 {
            self.notes.push(format!("table {name} is gone; it was empty"));
        } else {
            let what = format!("table {name} is gone; it had {} documents", table.documents);
            self.problem("table-vanished", what, vec![name]);
        }
    }

    fn compare_table(&mut self, before: &TableTotals, after: &TableTotals, limits: Limits) {
        let name = display_name(after);
        if before.documents > 0 && after.documents == 0 {
            if limits.down_percent < 100 {
                let what = format!("table {name} is empty; it had {} documents", before.documents);
                self.problem("table-emptied", what, vec![name]);
            }
            return;
        }
        let documents = Amount {
            of: "documents",
            kind: "documents",
            noise: DOCUMENTS_OF_NOISE,
            before: before.documents,
            after: after.documents,
        };
        let bytes = Amount {
            of: "bytes of documents",
            kind: "bytes",
            noise: BYTES_OF_NOISE,
            before: before.bytes,
            after: after.bytes,
        };
        // Fewer documents are fewer bytes: that is one thing to look at, not two.
        if let Some(step) = documents.step(limits).or_else(|| bytes.step(limits)) {
            self.problem(step.kind, format!("table {name} {}", step.what), vec![name]);
        }
    }

    fn compare_sums(&mut self, before: &Manifest, next: &Manifest, limits: &AnomalyLimits) {
        let (was, is) = (Sums::of(before, limits), Sums::of(next, limits));
        let sum = |of, kind, noise, before, after| Amount { of, kind, noise, before, after };
        let mut amounts = vec![
            sum("documents", "total-documents", DOCUMENTS_OF_NOISE, was.documents, is.documents),
            sum("bytes of documents", "total-bytes", BYTES_OF_NOISE, was.bytes, is.bytes),
        ];
        if before.files == next.files && next.files != FilesMode::None {
            let (was, is) = (before.totals, next.totals);
            let grew = is.file_bytes > was.file_bytes;
            let file_noise = if grew { FILE_GROWTH_OF_NOISE } else { BYTES_OF_NOISE };
            amounts.push(sum("stored files", "files", FILES_OF_NOISE, was.files, is.files));
            amounts.push(sum("bytes of files", "file-bytes", file_noise, was.file_bytes, is.file_bytes));
        }
        for step in amounts.iter().filter_map(|amount| amount.step(limits.general())) {
            self.problem(step.kind, format!("the snapshot {}", step.what), Vec::new());
        }
    }

    fn examine_stillness<'a>(
        &mut self,
        next: &Manifest,
        history: impl Iterator<Item = &'a Manifest>,
        limits: &AnomalyLimits,
    ) {
        let Some(limit) = limits.unchanged_for else { return };
        let oldest_alike = history.take_while(|other| is_alike(next, other)).last();
        let Some(oldest) = oldest_alike else { return };
        let still = next.snapshot_time().duration_since(oldest.snapshot_time());
        if !still.is_negative() && still.unsigned_abs() >= limit {
            let what = format!(
                "nothing has changed since {}: see whether the deployment is the one in use",
                oldest.snapshot_time()
            );
            self.problem("unchanged", what, Vec::new());
        }
    }

    fn bounded(mut self) -> Self {
        if self.problems.len() > MOST_NAMED {
            let more = self.problems.len() - MOST_NAMED;
            self.problems.truncate(MOST_NAMED);
            self.problem("more", format!("and {more} more"), Vec::new());
        }
        if self.notes.len() > MOST_NAMED {
            let more = self.notes.len() - MOST_NAMED;
            self.notes.truncate(MOST_NAMED);
            self.notes.push(format!("and {more} more"));
        }
        self
    }
}

/// The tables of a manifest by component and name.
struct Tables<'a> {
    tables: BTreeMap<(&'a str, &'a str), &'a TableTotals>,
    /// Components with tables. The root always is, so that its tables come and go one by one.
    components: BTreeSet<&'a str>,
}

impl<'a> Tables<'a> {
    fn of(manifest: &'a Manifest) -> Self {
        let key = |table: &'a TableTotals| (table.component.as_str(), table.table.as_str());
        let tables: BTreeMap<_, _> = manifest.tables.iter().map(|table| (key(table), table)).collect();
        let components = tables.keys().map(|(component, _)| *component).chain([""]).collect();
        Self { tables, components }
    }

    /// How many tables of a component are not ignored, and how many documents these have.
    fn size_of(&self, component: &str, limits: &AnomalyLimits) -> (usize, u64) {
        let counted = self
            .tables
            .values()
            .filter(|table| table.component == component && limits.of(table).is_some())
            .map(|table| table.documents);
        counted.fold((0, 0), |(tables, sum), documents| (tables + 1, sum.saturating_add(documents)))
    }
}

/// Sums over the tables without limits of their own.
struct Sums {
    documents: u64,
    bytes: u64,
}

impl Sums {
    fn of(manifest: &Manifest, limits: &AnomalyLimits) -> Self {
        let general = || manifest.tables.iter().filter(|table| limits.is_general(table));
        Self {
            documents: general().map(|table| table.documents).fold(0, u64::saturating_add),
            bytes: general().map(|table| table.bytes).fold(0, u64::saturating_add),
        }
    }
}

/// Whether two snapshots have the same content, as far as manifests say: of stored files only number and size.
fn is_alike(a: &Manifest, b: &Manifest) -> bool {
    let (a_tables, b_tables) = (Tables::of(a), Tables::of(b));
    let digests = |tables: &Tables<'_>| tables.tables.values().map(|table| table.digest).collect::<Vec<_>>();
    a.totals == b.totals
        && a_tables.tables.keys().eq(b_tables.tables.keys())
        && digests(&a_tables) == digests(&b_tables)
}

fn format_word(format: DocumentFormat) -> &'static str {
    match format {
        DocumentFormat::Uniform => "uniform",
        DocumentFormat::Legacy => "legacy",
    }
}
