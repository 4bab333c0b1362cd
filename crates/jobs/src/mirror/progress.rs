//! What a run has stored so far, written down as it goes, so that a run that is cut off need not be done again.

use std::collections::BTreeSet;

use convault_core::{MirrorDetails, MirrorEntry, MirrorLayout, RunId, Store};
use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};

use super::{
    Mirror,
    lines::{LinesReader, put_lines},
    window::Window,
};
use crate::{JobError, RunContext};

/// A piece is written after so many objects,
const PIECE_OBJECTS: usize = 1000;
/// or after so many bytes of them, whichever comes first.
const PIECE_BYTES: u64 = 1 << 30;

/// A line of a piece of details: what of an encrypted object only those may read who have a private key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DetailsLine {
    /// The entry's name; the run is that of the piece.
    pub(crate) name: convault_core::EntryName,
    pub(crate) details: MirrorDetails,
}

/// What the run has stored and not written down yet.
pub(crate) struct Progress<'a> {
    mirror: &'a Mirror,
    run: RunId,
    next: u32,
    entries: Vec<MirrorEntry>,
    details: Vec<DetailsLine>,
    bytes: u64,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(mirror: &'a Mirror, run: RunId) -> Self {
        Self { mirror, run, next: 0, entries: Vec::new(), details: Vec::new(), bytes: 0 }
    }

    /// Takes note of an object that was stored.
    pub(crate) async fn add(
        &mut self,
        entry: MirrorEntry,
        hidden: Option<MirrorDetails>,
    ) -> Result<(), JobError> {
        self.bytes += entry.stored_bytes;
        self.details.extend(hidden.map(|details| DetailsLine { name: entry.name, details }));
        self.entries.push(entry);
        if self.entries.len() >= PIECE_OBJECTS || self.bytes >= PIECE_BYTES {
            self.write().await?;
        }
        Ok(())
    }

    /// Writes down what is not yet.
    pub(crate) async fn write(&mut self) -> Result<(), JobError> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let (store, layout) = (self.mirror.destination.store.as_ref(), self.mirror.layout());
        if let Some(encryption) = &self.mirror.destination.encryption {
            let key = layout.details(&self.run, self.next);
            put_lines(store, &key, &self.details, Some(&encryption.recipients)).await?;
        }
        put_lines(store, &layout.progress(&self.run, self.next), &self.entries, None).await?;
        self.next += 1;
        self.entries.clear();
        self.details.clear();
        self.bytes = 0;
        Ok(())
    }
}

/// Takes over into `window` what runs that were cut off have stored of it.
pub(crate) async fn take_over(
    store: &dyn Store,
    layout: &MirrorLayout,
    window: &mut Window,
    context: &RunContext,
) -> Result<(), JobError> {
    let mut pieces = store.list(&layout.progress_prefix());
    while let Some(piece) = pieces.try_next().await? {
        let mut reader = LinesReader::new(store, piece.key, piece.size_bytes, None, None);
        while let Some(entry) = context.or_stop(reader.next::<MirrorEntry>()).await?? {
            let found = window.get_mut(entry.name).filter(|found| found.version == entry.version);
            if let Some(found) = found {
                found.stored = Some(Box::new(entry));
            }
        }
    }
    Ok(())
}

/// The runs that have written something down.
pub(crate) async fn runs(store: &dyn Store, layout: &MirrorLayout) -> Result<BTreeSet<RunId>, JobError> {
    let folders = store.list_folders(&layout.progress_prefix()).await?;
    Ok(folders.iter().filter_map(|folder| RunId::parse(folder).ok()).collect())
}
