//! [`Rules`]: what is done to content on its way out.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
};

use convault_archive::NamesKey;
use convault_core::{Mask, TableRef};

/// What is done to content on its way out. The default does nothing.
#[derive(Clone, Default)]
pub struct Rules {
    /// What is to be forgotten: these documents and files are left out.
    pub erased: ErasedSet,
    /// Which values are masked.
    pub masks: Vec<Mask>,
    /// What masks hash with. Without it, each [`super::Content`] makes a key of its own.
    pub mask_key: Option<NamesKey>,
    /// Tables that are left empty.
    pub quiet: BTreeSet<TableRef>,
    /// Nothing but these, where there is a choice. `README.md` comes with everything.
    pub only: Option<BTreeSet<Selected>>,
    /// Stored files and their rows are left out.
    pub without_files: bool,
    /// Stored files that are left out with their rows: component path and id.
    pub left_out_files: BTreeSet<(String, String)>,
    /// Tables whose `generated_schema.jsonl` is left out.
    pub without_schema: BTreeSet<TableRef>,
}

/// Documents and files to be left out, by component path and id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErasedSet {
    /// Documents of user tables.
    pub documents: BTreeSet<(String, String)>,
    /// Tables in which some of them were found, where that is known. Any other table is looked through as well if the
    /// numbers in their ids say that they may be in it.
    pub tables: BTreeSet<TableRef>,
    /// Stored files.
    pub files: BTreeSet<(String, String)>,
}

/// What is chosen of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selected {
    /// A component by its path (the root's is empty) with its tables and stored files; not those inside it.
    Component(String),
    /// One table; `_storage` for the stored files of a component.
    Table(TableRef),
}

/// What rules did to one table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RuleCounts {
    /// Documents that were left out.
    pub dropped: u64,
    /// Values that were masked.
    pub masked: u64,
}

impl Rules {
    /// Whether content leaves as it is stored.
    pub(super) fn change_nothing(&self) -> bool {
        self.erased == ErasedSet::default()
            && self.masks.is_empty()
            && self.quiet.is_empty()
            && self.only.is_none()
            && !self.without_files
            && self.left_out_files.is_empty()
            && self.without_schema.is_empty()
    }

    /// Whether a user table is among what is chosen.
    pub(crate) fn takes_table(&self, table: &TableRef) -> bool {
        let Some(only) = &self.only else { return true };
        only.contains(&Selected::Component(table.component.clone()))
            || only.contains(&Selected::Table(table.clone()))
    }

    /// Whether the stored files of a component are among what is chosen.
    pub(crate) fn takes_files(&self, component: &str) -> bool {
        !self.without_files && self.takes_table(&TableRef::new(component, "_storage"))
    }

    /// Whether all tables of a component are among what is chosen.
    pub(crate) fn takes_component(&self, component: &str) -> bool {
        let Some(only) = &self.only else { return true };
        only.contains(&Selected::Component(component.to_owned()))
    }

    /// The names of the user tables of a component that were chosen one by one.
    pub(super) fn chosen_in(&self, component: &str) -> HashSet<&str> {
        let tables = self.only.iter().flatten().filter_map(move |selected| match selected {
            Selected::Table(table) if table.component == component && table.table != "_storage" => {
                Some(table.table.as_str())
            }
            _ => None,
        });
        tables.collect()
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("erased_documents", &self.erased.documents.len())
            .field("erased_files", &self.erased.files.len())
            .field("masks", &self.masks)
            .field("quiet", &self.quiet)
            .field("only", &self.only)
            .field("without_files", &self.without_files)
            .field("left_out_files", &self.left_out_files.len())
            .field("without_schema", &self.without_schema)
            .finish_non_exhaustive()
    }
}

/// The ids that are left out, by component.
#[derive(Debug, Default)]
pub(super) struct Dropped<'a> {
    documents: HashMap<&'a str, HashSet<&'a str>>,
    files: HashMap<&'a str, HashSet<&'a str>>,
}

impl<'a> Dropped<'a> {
    pub(super) fn of(rules: &'a Rules) -> Self {
        let mut dropped = Self::default();
        for (component, id) in &rules.erased.documents {
            dropped.documents.entry(component).or_default().insert(id);
        }
        for (component, id) in rules.erased.files.iter().chain(&rules.left_out_files) {
            dropped.files.entry(component).or_default().insert(id);
        }
        dropped
    }

    /// Documents of a component.
    pub(super) fn documents(&self, component: &str) -> Option<&HashSet<&'a str>> {
        self.documents.get(component)
    }

    /// Stored files of a component.
    pub(super) fn files(&self, component: &str) -> Option<&HashSet<&'a str>> {
        self.files.get(component)
    }

    pub(super) fn has_file(&self, component: &str, id: &str) -> bool {
        self.files(component).is_some_and(|files| files.contains(id))
    }

    /// The components of which documents are left out.
    pub(super) fn components(&self) -> impl Iterator<Item = (&'a str, &HashSet<&'a str>)> {
        self.documents.iter().map(|(component, ids)| (*component, ids))
    }
}
