//! Looks into stored snapshots without downloading them: for documents, for what became of one, for what changed.

mod changes;
mod diff;
mod find;
mod history;
mod id;
mod lookup;
mod merge;
mod path;
mod token;
mod wanted;

pub use self::{
    changes::{FieldChange, changes},
    diff::{DocumentDifference, TableDifference, diff},
    find::{Looked, find_documents},
    history::{Life, LifeStep},
    id::table_number,
    lookup::Lookup,
    path::{FieldPath, ParseFieldPathError},
    token::{Token, members},
    wanted::{FieldValue, Wanted},
};
pub(crate) use self::{
    diff::Side,
    find::no_table,
    lookup::tables_of,
    merge::{Held, Meeting, Merge, TableLines},
    token::id_of,
};
