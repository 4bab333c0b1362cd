//! Mirrors: a bucket or folder of media, kept in a destination so that it can be had as of any run.

mod contents;
mod copy;
mod deed;
mod diff;
mod history;
mod lines;
mod names;
mod progress;
mod restore;
mod sweep;
mod tidy;
mod window;

use std::sync::Arc;

use convault_core::{Brake, MirrorKeep, MirrorLayout, MirrorName, MirrorRun, RunId, Store};

pub use self::{
    contents::{MirrorState, StateLine},
    deed::mirror,
    diff::{Difference, difference, difference_to_source},
    history::{MirrorHistory, read_run as read_mirror_run},
    restore::{RestoreTarget, Restored, restore_mirror},
};
pub(crate) use names::Names;

use crate::Destination;

/// So many objects are copied at once.
const COPIED_AT_ONCE: usize = 16;

/// A mirror as verbs are handed it.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// What it is called.
    pub name: MirrorName,
    /// What is mirrored. It is only read.
    pub source: Arc<dyn Store>,
    /// Where to. Its encryption is that of the mirror.
    pub destination: Destination,
    /// How much may vanish or change at once.
    pub brake: Brake,
    /// A person said that what vanished or changed is right.
    pub release_brake: bool,
    /// What is kept.
    pub keep: MirrorKeep,
    /// Bytes that may be on their way at once.
    pub upload_memory_bytes: u64,
    /// How far the store's clock and this one may be apart before nothing is deleted.
    pub clock_skew_limit: std::time::Duration,
    /// Runs that are known to have died.
    pub dead_runs: Vec<RunId>,
    /// The version that records name.
    pub version: String,
}

impl Mirror {
    /// Its keys.
    pub fn layout(&self) -> MirrorLayout {
        MirrorLayout::new(self.name.clone())
    }

    /// How keys become names.
    pub(crate) fn names(&self) -> Names<'_> {
        Names::of(&self.destination)
    }

    /// Whether the server copies from the source to the destination by itself. What is encrypted passes through here.
    pub(crate) fn copies_on_server(&self) -> bool {
        let (from, to) = (self.source.origin(), self.destination.store.origin());
        let one_server = from.zip(to).is_some_and(|(from, to)| from.server == to.server);
        one_server && self.destination.encryption.is_none()
    }
}

/// What a run of a mirror did.
#[derive(Debug, Clone)]
pub struct Mirrored {
    /// Its record.
    pub run: MirrorRun,
    /// Objects that could not be copied, and why; the first of them.
    pub failures: Vec<String>,
    /// What a person should know although the run went on.
    pub warnings: Vec<String>,
    /// Why something was not removed that should have been; each a sentence.
    pub held_back: Vec<String>,
}
