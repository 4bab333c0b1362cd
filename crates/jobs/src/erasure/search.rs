//! What of one snapshot is to be erased.

use std::{borrow::Cow, collections::BTreeMap, ops::Range};

use convault_archive::Line;
use convault_core::{DocumentFields, ErasureSearch, FieldPath, TableRef};

use crate::{
    JobError,
    content::{Content, ErasedSet},
    erasure::ledger::Ledger,
};

/// The table that the rows of stored files are in.
const FILES: &str = "_storage";

/// How much may be erased of one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErasureLimits {
    /// So many documents and stored files, whose ids are held in memory.
    pub max_erased_ids: usize,
}

impl Default for ErasureLimits {
    fn default() -> Self {
        Self { max_erased_ids: 100_000 }
    }
}

/// What is to be erased of a snapshot.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Its documents and stored files.
    pub set: ErasedSet,
    /// How many documents of each table; none is left out where there are none.
    pub documents: BTreeMap<TableRef, u64>,
    /// How many stored files of each component.
    pub files: BTreeMap<String, u64>,
    /// How often tables were read.
    pub passes: u64,
}

impl Found {
    /// Documents and stored files, all together.
    pub fn total(&self) -> u64 {
        self.documents.values().chain(self.files.values()).sum()
    }
}

/// As [`search_erased`], without the numbers.
pub async fn erased(
    content: &Content<'_>,
    ledger: &Ledger,
    limits: ErasureLimits,
) -> Result<ErasedSet, JobError> {
    Ok(search_erased(content, ledger, limits).await?.set)
}

/// Looks for everything in `content`, which must have no rules of its own, that the ledger wants erased. Only tables that
/// entries name are read, in passes, until nothing more is found.
pub async fn search_erased(
    content: &Content<'_>,
    ledger: &Ledger,
    limits: ErasureLimits,
) -> Result<Found, JobError> {
    let Some(names) = ledger.names().filter(|_| !ledger.is_empty()) else { return Ok(Found::default()) };
    let mut search = ErasureSearch::new(ledger.entries(), limits.max_erased_ids);
    loop {
        let tables = search.begin_pass();
        if tables.is_empty() {
            break;
        }
        for table in tables {
            search.begin_table(&table);
            let Some(mut lines) = content.lines(&table).await? else { continue };
            while let Some(line) = lines.next().await? {
                let damaged = || damaged(content, &table);
                let parsed = Line::parse(&line).map_err(|_| damaged())?;
                let id = parsed.text(&["_id"]).ok_or_else(damaged)?;
                let seen = search.see(&table, &id, &Document { line: &parsed, bytes: &line }, names);
                seen.map_err(|error| JobError::TooManyErased { limit: error.limit })?;
            }
        }
    }
    let mut found = Found { passes: search.passes(), ..Found::default() };
    for (table, ids) in search.found() {
        let pairs = ids.iter().map(|id| (table.component.clone(), id.clone()));
        if table.table == FILES {
            found.files.insert(table.component.clone(), ids.len() as u64);
            found.set.files.extend(pairs);
        } else {
            found.documents.insert(table.clone(), ids.len() as u64);
            found.set.tables.insert(table.clone());
            found.set.documents.extend(pairs);
        }
    }
    Ok(found)
}

struct Document<'a> {
    line: &'a Line<'a>,
    bytes: &'a [u8],
}

impl Document<'_> {
    fn spans(&self, field: &FieldPath) -> Vec<Range<usize>> {
        let path: Vec<&str> = field.names().collect();
        self.line.spans(&path)
    }

    /// The plain values there, and those in arrays and objects, as they are written.
    fn leaves(&self, spans: &[Range<usize>]) -> Vec<&[u8]> {
        let leaves = spans.iter().flat_map(|span| self.line.leaves(span.clone()));
        leaves.map(|leaf| &self.bytes[leaf]).collect()
    }
}

impl DocumentFields for Document<'_> {
    fn values(&self, field: &FieldPath) -> Vec<String> {
        let leaves = self.leaves(&self.spans(field));
        // Whoever types `42` means the number, and cannot know that JavaScript's is written `42.0`.
        let others = leaves.iter().filter_map(|raw| other_spelling(raw));
        leaves.iter().map(|raw| text_of(raw)).chain(others).collect()
    }

    fn ids(&self, field: &FieldPath) -> Vec<String> {
        let spans = self.spans(field);
        let texts: Vec<String> = self.leaves(&spans).into_iter().map(text_of).collect();
        // A record is an object whose members are named by ids.
        let names = spans.into_iter().flat_map(|span| self.line.names(span));
        texts.into_iter().chain(names.map(Cow::into_owned)).collect()
    }
}

/// Of a whole number written with a point the spelling without, and the other way round; none of anything else.
fn other_spelling(raw: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(raw).ok()?;
    let is_whole = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    match text.strip_suffix(".0") {
        Some(whole) => is_whole(whole).then(|| whole.to_owned()),
        None => is_whole(text).then(|| format!("{text}.0")),
    }
}

/// A string as it reads, anything else as it is written.
fn text_of(raw: &[u8]) -> String {
    match serde_json::from_slice::<String>(raw) {
        Ok(text) => text,
        Err(_) => String::from_utf8_lossy(raw).into_owned(),
    }
}

fn damaged(content: &Content<'_>, table: &TableRef) -> JobError {
    JobError::Damaged {
        place: content.manifest().id.to_string(),
        what: format!("a line of {table} is no document"),
    }
}
