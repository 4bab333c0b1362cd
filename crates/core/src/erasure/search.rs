//! Which documents of a snapshot are to be erased: looked for in passes, until nothing more is found.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Cascade, CascadeSide, ErasureEntry, FieldPath, Sha256, TableRef};

/// The keyed hashes that subjects of a ledger are made of.
pub trait KeyedHash {
    /// The hash of `parts` for one purpose.
    fn hash(&self, purpose: &str, parts: &[&[u8]]) -> Sha256;

    /// The hash that stands for a document's id.
    fn of_id(&self, table: &TableRef, id: &str) -> Sha256 {
        self.hash("erased-id", &[table.component.as_bytes(), table.table.as_bytes(), id.as_bytes()])
    }

    /// The hash that stands for a field's value: a text as it reads, anything else as it is written in JSON.
    fn of_value(&self, table: &TableRef, field: &FieldPath, value: &str) -> Sha256 {
        let field = field.to_string();
        let parts = [table.component.as_bytes(), table.table.as_bytes(), field.as_bytes(), value.as_bytes()];
        self.hash("erased-field", &parts)
    }
}

/// What a document has in its fields, for [`ErasureSearch::see`].
pub trait DocumentFields {
    /// The values of a field as somebody may have typed them: one or more spellings of each, of an array's items, of an
    /// object's members, or none.
    fn values(&self, field: &FieldPath) -> Vec<String>;

    /// The texts of a field that may be ids: its own, those of an array's items, of an object's members, and their names.
    fn ids(&self, field: &FieldPath) -> Vec<String>;
}

/// More is to be erased than the settings allow to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {limit} documents and files are to be erased")]
pub struct TooManyErased {
    /// How many may be.
    pub limit: usize,
}

/// A search through one snapshot. Each pass reads the tables that [`ErasureSearch::begin_pass`] names, all documents of
/// each; the search is over when it names none. What is found does not depend on the order of tables or documents.
#[derive(Debug)]
pub struct ErasureSearch {
    tables: BTreeMap<TableRef, Table>,
    cascades: BTreeSet<Cascade>,
    limit: usize,
    held: usize,
    passes: u64,
}

#[derive(Debug, Default)]
struct Table {
    /// Hashes of ids that are to be forgotten.
    ids: BTreeSet<Sha256>,
    /// Hashes of values, by field.
    values: BTreeMap<FieldPath, BTreeSet<Sha256>>,
    /// Ids that are to be forgotten, whether or not such a document was seen.
    known: BTreeSet<String>,
    /// Those that were seen.
    found: BTreeSet<String>,
    /// How often another document has named one of this table anew.
    named: u64,
    /// What was known when the table was last read: how often `named`, and how many each table that it follows knew.
    read_with: Option<Vec<u64>>,
}

impl ErasureSearch {
    /// What these entries ask for. At most `limit` ids are held.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a ErasureEntry>, limit: usize) -> Self {
        let mut search =
            Self { tables: BTreeMap::new(), cascades: BTreeSet::new(), limit, held: 0, passes: 0 };
        for entry in entries {
            search.cascades.extend(entry.cascades.iter().cloned());
            for subject in &entry.subjects {
                let table = search.tables.entry(subject.table.clone()).or_default();
                match &subject.field {
                    None => table.ids.insert(subject.hash),
                    Some(field) => table.values.entry(field.clone()).or_default().insert(subject.hash),
                };
            }
        }
        for cascade in &search.cascades {
            search.tables.entry(cascade.from.clone()).or_default();
            search.tables.entry(cascade.to.clone()).or_default();
        }
        search
    }

    /// Begins a pass. Gives the tables whose documents it has to see; none: the search is over.
    pub fn begin_pass(&mut self) -> Vec<TableRef> {
        let wanted: Vec<TableRef> =
            self.tables.keys().filter(|table| self.is_worth_reading(table)).cloned().collect();
        self.passes += u64::from(!wanted.is_empty());
        wanted
    }

    /// How many passes were made.
    pub fn passes(&self) -> u64 {
        self.passes
    }

    /// The tables that may have something to be erased.
    pub fn tables(&self) -> impl Iterator<Item = &TableRef> {
        self.tables.keys()
    }

    fn is_worth_reading(&self, name: &TableRef) -> bool {
        let table = &self.tables[name];
        if let Some(then) = &table.read_with {
            return *then != self.inputs(name);
        }
        let follows = |cascade: &&Cascade| cascade.to == *name && cascade.side == CascadeSide::To;
        let is_followed = |cascade: &Cascade| {
            let from = &self.tables[&cascade.from];
            !from.ids.is_empty() || !from.known.is_empty()
        };
        !table.ids.is_empty()
            || !table.values.is_empty()
            || !table.known.is_empty()
            || self.cascades.iter().filter(follows).any(is_followed)
    }

    /// Everything that decides which documents of a table are to be erased, in numbers that only grow.
    fn inputs(&self, name: &TableRef) -> Vec<u64> {
        let followed = self.cascades.iter();
        let followed = followed.filter(|cascade| cascade.to == *name && cascade.side == CascadeSide::To);
        let known = |cascade: &Cascade| self.tables[&cascade.from].known.len() as u64;
        std::iter::once(self.tables[name].named).chain(followed.map(known)).collect()
    }

    /// To be called before the first document of a table of this pass.
    pub fn begin_table(&mut self, name: &TableRef) {
        let inputs = self.inputs(name);
        if let Some(table) = self.tables.get_mut(name) {
            table.read_with = Some(inputs);
        }
    }

    /// Takes in one document of a table. Gives whether it is to be erased.
    pub fn see(
        &mut self,
        name: &TableRef,
        id: &str,
        fields: &dyn DocumentFields,
        keyed: &dyn KeyedHash,
    ) -> Result<bool, TooManyErased> {
        if !self.is_erased(name, id, fields, keyed) {
            return Ok(false);
        }
        let table = self.tables.get_mut(name).expect("nothing is erased of a table that no rule names");
        if !table.found.insert(id.to_owned()) {
            return Ok(true);
        }
        self.hold(name, id)?;
        let naming = |cascade: &&Cascade| cascade.from == *name && cascade.side == CascadeSide::From;
        let named: Vec<Cascade> = self.cascades.iter().filter(naming).cloned().collect();
        for cascade in named {
            for other in fields.ids(&cascade.field) {
                if self.hold(&cascade.to, &other)? {
                    self.tables.entry(cascade.to.clone()).or_default().named += 1;
                }
            }
        }
        Ok(true)
    }

    fn hold(&mut self, table: &TableRef, id: &str) -> Result<bool, TooManyErased> {
        let known = &mut self.tables.entry(table.clone()).or_default().known;
        if known.contains(id) {
            return Ok(false);
        }
        if self.held >= self.limit {
            return Err(TooManyErased { limit: self.limit });
        }
        self.held += 1;
        known.insert(id.to_owned());
        Ok(true)
    }

    fn is_erased(
        &self,
        name: &TableRef,
        id: &str,
        fields: &dyn DocumentFields,
        keyed: &dyn KeyedHash,
    ) -> bool {
        let Some(table) = self.tables.get(name) else { return false };
        let has_value = |(field, hashes): (&FieldPath, &BTreeSet<Sha256>)| {
            let values = fields.values(field);
            values.iter().any(|value| hashes.contains(&keyed.of_value(name, field, value)))
        };
        let follows = |cascade: &Cascade| {
            cascade.to == *name
                && cascade.side == CascadeSide::To
                && fields.ids(&cascade.field).iter().any(|other| self.is_meant(&cascade.from, other, keyed))
        };
        self.is_meant(name, id, keyed)
            || table.values.iter().any(has_value)
            || self.cascades.iter().any(follows)
    }

    /// Whether the document of that id is to be forgotten, also where it is not in the snapshot any more.
    fn is_meant(&self, name: &TableRef, id: &str, keyed: &dyn KeyedHash) -> bool {
        let Some(table) = self.tables.get(name) else { return false };
        table.known.contains(id) || !table.ids.is_empty() && table.ids.contains(&keyed.of_id(name, id))
    }

    /// What was found, by table.
    pub fn found(&self) -> impl Iterator<Item = (&TableRef, &BTreeSet<String>)> {
        self.tables.iter().map(|(name, table)| (name, &table.found)).filter(|(_, found)| !found.is_empty())
    }
}
