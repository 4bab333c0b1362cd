//! Stored files that snapshots share: each distinct content once in a destination, named by every snapshot that needs it.
//!
//! Before the export the files are listed, and those that a destination does not have are fetched and stored; after it
//! they are listed again. What was found goes into `files.jsonl.zst`, which file is which object, and `refs.zst`, the
//! objects a snapshot needs (`docs/format.md`, "Shared files"). Nothing here holds more than some forty bytes for a file.

mod again;
mod book;
mod collect;
mod condemned;
mod examine;
mod fetch;
mod found;
mod kept;
mod listing;
mod lock;
mod names;
mod place;
mod refs;
mod rows;
mod run;
mod sweep;
mod without;

pub(crate) use again::collect_again;
pub(crate) use book::Collected;
pub(crate) use examine::{FileFaults, Reading, examine_files, key_of};
pub(crate) use found::objects_of_files;
pub(crate) use listing::{ListedFile, ListingLine};
pub(crate) use rows::{component_prefix, entry_name};
pub(crate) use run::{as_possible, collect_after, collect_before};
pub(crate) use sweep::{is_unchanged, plan_files, unneeded};
pub(crate) use without::without_files;
