//! The list of shared files, and their rows in the order of an export.

use std::collections::{BTreeMap, VecDeque};

use convault_archive::LineUnpacker;
use convault_core::{ObjectRole, Sha256};
use serde::Deserialize;

use super::{forward::Whole, stored::Stored};
use crate::{
    JobError,
    error::chain,
    shared::{ListedFile, ListingLine, entry_name},
};

/// So many rows are held and sorted at once. The list is read once more for each further lot.
const ROWS: u64 = 40_000;
/// Rows are counted by so much of the beginnings of their ids.
const KEY_CHARS: usize = 6;

/// A component and the beginning of an id: rows are sorted by both.
type Key = (String, String);

/// A stored file of the list.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) component: String,
    /// Its object's name, without suffix; `None` where it could not be fetched.
    pub(super) object: Option<Sha256>,
    /// Its line of `_storage/documents.jsonl`, without line feed.
    pub(super) row: String,
    pub(super) fields: RowFields,
}

impl Listed {
    /// The full name of its entry in a ZIP.
    pub(super) fn entry_name(&self) -> String {
        entry_name(&self.component, &self.fields.id, self.fields.content_type.as_deref())
    }
}

/// What a row says that its entry needs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RowFields {
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) sha256: String,
    pub(super) size: u64,
    pub(super) content_type: Option<String>,
}

/// The list of shared files being read. It ends only where it was whole and is what the manifest says.
pub(super) struct Listing<'c> {
    stored: &'c Stored<'c>,
    whole: Whole<'c>,
    unpacker: LineUnpacker,
    found: u64,
    announced: Option<u64>,
}

impl<'c> Listing<'c> {
    pub(super) fn open(stored: &'c Stored<'c>) -> Result<Self, JobError> {
        let whole = stored.whole(stored.object(ObjectRole::Files)?)?;
        Ok(Self { stored, whole, unpacker: LineUnpacker::new(), found: 0, announced: None })
    }

    pub(super) async fn next(&mut self) -> Result<Option<Listed>, JobError> {
        loop {
            let text = self.unpacker.next_text();
            let line = match text.map_err(|error| damaged(self.stored, &chain(&error)))? {
                Some(text) => ListingLine::parse(text),
                None => match self.whole.next().await? {
                    Some(bytes) => {
                        self.unpacker.push(&bytes);
                        continue;
                    }
                    None if self.announced == Some(self.found) => return Ok(None),
                    None => return Err(damaged(self.stored, "it is not whole")),
                },
            };
            match line.map_err(|error| damaged(self.stored, &error.to_string()))? {
                ListingLine::File(file) => {
                    self.found += 1;
                    return self.listed(file).map(Some);
                }
                ListingLine::Totals(totals) => self.announced = Some(totals.files),
                ListingLine::Uncertain(_) | ListingLine::Other => {}
            }
        }
    }

    fn listed(&self, file: ListedFile) -> Result<Listed, JobError> {
        let fields = serde_json::from_str(file.row.get())
            .map_err(|error| damaged(self.stored, &format!("a row in it: {error}")))?;
        let row = String::from(Box::<str>::from(file.row));
        Ok(Listed { component: file.component, object: file.object, row, fields })
    }
}

fn damaged(stored: &Stored<'_>, what: &str) -> JobError {
    JobError::Damaged { place: stored.place(ObjectRole::Files), what: format!("the list of files: {what}") }
}

/// A row in its place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) component: String,
    pub(super) id: String,
    /// Without line feed.
    pub(super) line: String,
}

/// The rows of shared files, by component and id.
pub(super) struct SortedRows<'c> {
    stored: &'c Stored<'c>,
    /// Of these components: of one, or of all.
    component: Option<String>,
    lots: VecDeque<(Key, Key)>,
    held: std::vec::IntoIter<Row>,
}

impl<'c> SortedRows<'c> {
    /// Goes through the list once, to see how many rows there are where.
    pub(super) async fn new(stored: &'c Stored<'c>, component: Option<&str>) -> Result<Self, JobError> {
        let mut counted: BTreeMap<Key, u64> = BTreeMap::new();
        let mut listing = Listing::open(stored)?;
        while let Some(file) = listing.next().await? {
            if component.is_none_or(|component| file.component == component) {
                *counted.entry(key(&file.component, &file.fields.id)).or_default() += 1;
            }
        }
        let component = component.map(str::to_owned);
        Ok(Self { stored, component, lots: lots(&counted), held: Vec::new().into_iter() })
    }

    pub(super) async fn next(&mut self) -> Result<Option<Row>, JobError> {
        loop {
            if let Some(row) = self.held.next() {
                return Ok(Some(row));
            }
            let Some((first, last)) = self.lots.pop_front() else { return Ok(None) };
            let mut rows = Vec::new();
            let mut listing = Listing::open(self.stored)?;
            while let Some(file) = listing.next().await? {
                let is_wanted = self.component.as_ref().is_none_or(|component| file.component == *component);
                if is_wanted && (&first..=&last).contains(&&key(&file.component, &file.fields.id)) {
                    rows.push(Row { component: file.component, id: file.fields.id, line: file.row });
                }
            }
            rows.sort_unstable();
            self.held = rows.into_iter();
        }
    }
}

/// What rows are sorted by, first of all.
fn key(component: &str, id: &str) -> Key {
    (component.to_owned(), id.chars().take(KEY_CHARS).collect())
}

/// The first and the last key of each lot of rows.
fn lots(counted: &BTreeMap<Key, u64>) -> VecDeque<(Key, Key)> {
    let mut lots: VecDeque<(Key, Key)> = VecDeque::new();
    let mut held = 0;
    for (key, count) in counted {
        match lots.back_mut() {
            Some((_, last)) if held + count <= ROWS => *last = key.clone(),
            _ => {
                held = 0;
                lots.push_back((key.clone(), key.clone()));
            }
        }
        held += count;
    }
    lots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lots_cover_every_key_and_hold_no_more_than_fits() {
        let counted: BTreeMap<Key, u64> =
            (0..100).map(|at| (key(if at < 50 { "" } else { "b" }, &format!("{at:06}")), 20_000)).collect();
        let lots = lots(&counted);
        assert_eq!(lots.len(), 50);
        for at in counted.keys() {
            assert_eq!(lots.iter().filter(|(first, last)| (first..=last).contains(&at)).count(), 1);
        }
        assert_eq!(super::lots(&BTreeMap::new()).len(), 0);
    }
}
