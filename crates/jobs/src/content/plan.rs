//! [`Plan`]: what becomes of each entry of the ZIP.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use convault_archive::NamesKey;
use convault_core::{EntryKind, IndexEntry, Mask, Sha256, TableRef};

use super::{
    rules::{Dropped, Rules},
    sieve::{Keeps, Sieve},
};

/// The content of every `generated_schema.jsonl` of today's exports.
const UNIFORM: &[u8] = b"\"uniform\"\n";

/// What becomes of an entry.
#[derive(Debug)]
pub(super) enum Deed<'c> {
    /// It is left out.
    LeaveOut,
    /// It is copied as it is compressed.
    Copy,
    /// It stays, with nothing in it.
    Empty,
    /// Its lines go through a sieve.
    Sift(Sieve<'c>),
}

/// What has to be known of a snapshot before its entries are gone through.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Tables whose numbers the list of tables tells.
    pub(super) numbers: BTreeMap<TableRef, u64>,
    /// Tables whose `generated_schema.jsonl` is not of today's form.
    pub(super) old_format: BTreeSet<TableRef>,
}

/// Decides what becomes of entries.
#[derive(Debug)]
pub(super) struct Plan<'c> {
    pub(super) rules: &'c Rules,
    pub(super) dropped: &'c Dropped<'c>,
    pub(super) key: &'c NamesKey,
    pub(super) facts: Facts,
    /// The table numbers of the documents that are left out, by component; `None` where one tells no number.
    numbers: HashMap<&'c str, Option<HashSet<u64>>>,
}

/// The id of the stored file in the entry of that name.
pub(super) fn file_id(entry_name: &str) -> &str {
    let file = entry_name.rsplit('/').next().unwrap_or_default();
    file.split('.').next().unwrap_or_default()
}

impl Facts {
    /// Takes in what the index says of one entry.
    pub(super) fn see(&mut self, entry: &IndexEntry) {
        if let (EntryKind::Schema, Some(table)) = (entry.kind, &entry.table)
            && entry.sha256 != Sha256::of(UNIFORM)
        {
            self.old_format.insert(TableRef::new(&entry.component, table));
        }
    }
}

impl<'c> Plan<'c> {
    pub(super) fn new(rules: &'c Rules, dropped: &'c Dropped<'c>, key: &'c NamesKey, facts: Facts) -> Self {
        let numbers_of = |ids: &HashSet<&str>| ids.iter().map(|id| table_number(id)).collect();
        let numbers = dropped.components().map(|(component, ids)| (component, numbers_of(ids))).collect();
        Self { rules, dropped, key, facts, numbers }
    }

    /// The table that is to be masked and cannot be: the types in an export of the old format are told beside the
    /// documents, and a changed value may not be of its type any more.
    pub(super) fn unmaskable(&self) -> Option<&TableRef> {
        let masked = |table: &&TableRef| self.rules.takes_table(table) && !self.masks(table).is_empty();
        self.facts.old_format.iter().find(masked)
    }

    fn masks(&self, table: &TableRef) -> Vec<&'c Mask> {
        self.rules.masks.iter().filter(|mask| mask.table == *table).collect()
    }

    pub(super) fn deed(&self, entry: &IndexEntry) -> Deed<'c> {
        let component = entry.component.as_str();
        match (entry.kind, &entry.table) {
            (EntryKind::Documents, Some(table)) => self.documents(&TableRef::new(component, table)),
            (EntryKind::Schema, Some(table)) => self.schema(&TableRef::new(component, table)),
            (EntryKind::Tables, _) => self.tables(component),
            (EntryKind::StorageRows, _) => self.rows(component),
            (EntryKind::File, _) => {
                let is_taken = self.rules.takes_files(component)
                    && !self.dropped.has_file(component, file_id(&entry.name));
                if is_taken { Deed::Copy } else { Deed::LeaveOut }
            }
            (EntryKind::Other | EntryKind::Documents | EntryKind::Schema, _) => {
                if component.is_empty() || self.rules.takes_component(component) {
                    Deed::Copy
                } else {
                    Deed::LeaveOut
                }
            }
        }
    }

    fn documents(&self, table: &TableRef) -> Deed<'c> {
        if !self.rules.takes_table(table) {
            return Deed::LeaveOut;
        }
        if self.rules.quiet.contains(table) {
            return Deed::Empty;
        }
        let keeps = match self.dropped.documents(&table.component) {
            Some(ids) if self.may_hold_dropped(table) => Keeps::Without(ids),
            _ => Keeps::All,
        };
        let masks = self.masks(table);
        match keeps {
            Keeps::All if masks.is_empty() => Deed::Copy,
            keeps => Deed::Sift(Sieve::new(keeps, &masks, self.key)),
        }
    }

    /// Whether one of the documents that are left out is in a table, or may be, by the number that is in its id.
    fn may_hold_dropped(&self, table: &TableRef) -> bool {
        if self.rules.erased.tables.contains(table) {
            return true;
        }
        match self.numbers.get(table.component.as_str()) {
            None => false,
            Some(None) => true,
            Some(Some(numbers)) => {
                self.facts.numbers.get(table).is_none_or(|number| numbers.contains(number))
            }
        }
    }

    fn schema(&self, table: &TableRef) -> Deed<'c> {
        if !self.rules.takes_table(table) || self.rules.without_schema.contains(table) {
            return Deed::LeaveOut;
        }
        if !self.facts.old_format.contains(table) {
            return Deed::Copy;
        }
        let dropped = match self.documents(table) {
            Deed::Empty => None,
            Deed::Sift(_) => self.dropped.documents(&table.component),
            Deed::Copy | Deed::LeaveOut => return Deed::Copy,
        };
        Deed::Sift(Sieve::new(Keeps::Shapes { seen: false, dropped }, &[], self.key))
    }

    fn tables(&self, component: &str) -> Deed<'c> {
        if self.rules.takes_component(component) {
            return Deed::Copy;
        }
        let names: HashSet<&'c str> = self.rules.chosen_in(component);
        if names.is_empty() {
            return Deed::LeaveOut;
        }
        Deed::Sift(Sieve::new(Keeps::Named(names), &[], self.key))
    }

    fn rows(&self, component: &str) -> Deed<'c> {
        if !self.rules.takes_files(component) {
            return Deed::LeaveOut;
        }
        match self.dropped.files(component) {
            Some(ids) => Deed::Sift(Sieve::new(Keeps::Without(ids), &[], self.key)),
            None => Deed::Copy,
        }
    }
}

/// The number of the table that a document is in, which its id begins with; `None` where the text is no id. An id is, in
/// Crockford's base32, that number (seven bits a byte, the least first), 16 bytes, and a Fletcher-16 sum of both.
fn table_number(id: &str) -> Option<u64> {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let (mut bytes, mut held, mut bits) = (Vec::with_capacity(24), 0_u32, 0);
    for character in id.bytes() {
        let digit = ALPHABET.iter().position(|known| *known == character)?;
        held = held << 5 | u32::try_from(digit).ok()?;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits).ok()?);
            held &= (1 << bits) - 1;
        }
    }
    let (content, sum) = bytes.split_last_chunk::<2>()?;
    let (first, second) = content.iter().fold((0_u8, 0_u8), |(first, second), byte| {
        let first = first.wrapping_add(*byte);
        (first, second.wrapping_add(first))
    });
    let number = content.get(..content.len().checked_sub(16)?)?;
    if *sum != [first, second] || !(1..=5).contains(&number.len()) {
        return None;
    }
    Some(number.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_the_number_of_its_table() {
        for (id, number) in [
            ("kg27rxfv99gzp01wmph0gvt92d6hnvy6", Some(540)),
            ("kg2000820c20a1g7104gm2rc1m70y674", Some(540)),
            ("j5700000000000000000000000001qv0", Some(10001)),
            ("j57000820c20a1g7104gm2rc1m70ynr8", Some(10001)),
            ("", None),
            ("user-1", None),
            ("a1", None),
            ("kg27rxfv99gzp01wmph0gvt92d6hnvy7", None),
        ] {
            assert_eq!(table_number(id), number, "{id}");
        }
    }

    #[test]
    fn the_id_of_a_file_is_its_name_up_to_the_first_dot() {
        assert_eq!(file_id("_components/a/_storage/kg2x.tar.gz"), "kg2x");
        assert_eq!(file_id("_storage/kg2x"), "kg2x");
    }
}
