//! Looks into stored snapshots without downloading them: for documents, for what became of one, for what changed.

mod changes;
mod id;
mod merge;
mod path;
mod token;
mod wanted;

pub use self::{
    changes::{FieldChange, changes},
    id::table_number,
    path::{FieldPath, ParseFieldPathError},
    token::{Token, members},
    wanted::{FieldValue, Wanted},
};
