//! Brings single documents, tables, stored files or fields of documents back: to files, or into a deployment.

mod choice;
mod feed;
mod into;
mod patch;
mod to_file;

pub(crate) use self::to_file::file_place;
pub use self::{
    choice::{Choice, Chosen, choose},
    into::{Recovered, RecoveredTable, Way, recover_into, unrecoverable},
    to_file::{Written, recover_to_file},
};
