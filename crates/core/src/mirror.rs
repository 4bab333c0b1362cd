//! Mirrors of media: the words for what is stored of one, and the rules of the brake and of keeping.
//! `docs/format.md`, "Media mirrors", is the reference.

mod brake;
mod keeping;
mod layout;
mod listing;
mod name;
mod run;

pub use brake::{Brake, LEAST_BULK};
pub use keeping::{MirrorKeep, expired_runs};
pub use layout::{MIRRORS_FOLDER, MirrorLayout};
pub use listing::{MirrorDetails, MirrorEntry};
pub use name::{EntryName, EntryVersion, ParseEntryNameError};
pub use run::{ListingFacts, MIRROR_FORMAT, MirrorRun, MirrorTally, MirrorVerdict};
