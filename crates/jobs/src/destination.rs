//! [`Destination`]: a store together with what the settings say of it.

use std::{sync::Arc, time::Duration};

use convault_archive::{NamesKey, encryption::Recipients};
use convault_core::{LockMode, Store, Tier};

use crate::Trust;

/// How long an object without an owner stays, where nothing else was said.
const ORPHAN_GRACE: Duration = Duration::from_hours(7 * 24);

/// How what is stored is kept from being read by whoever has the bucket.
#[derive(Debug, Clone)]
pub struct Encryption {
    /// Who can open the objects. Destinations with equal recipients get equal bytes.
    pub recipients: Recipients,
    /// Under which names are hashed. The same in every destination of a repository.
    pub names: NamesKey,
}

/// A destination as verbs are handed it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Destination {
    /// What reaches it.
    pub store: Arc<dyn Store>,
    /// Whose signatures count, and who signs.
    pub trust: Trust,
    /// It takes only the first snapshot of each slot of these tiers; `None` means every snapshot.
    pub accept: Option<Vec<Tier>>,
    /// Its credentials cannot delete: nothing is ever removed from here, which is somebody else's work.
    pub append_only: bool,
    /// How old an object without an owner must be before it is removed.
    pub orphan_grace: Duration,
    /// Lock what is stored against deletion for as long as retention keeps it.
    pub object_lock: Option<LockMode>,
    /// Whom it is encrypted to; `None` stores everything as it is.
    pub encryption: Option<Arc<Encryption>>,
}

impl Destination {
    /// A destination that takes everything, signs nothing and trusts everything.
    pub fn plain(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            trust: Trust::default(),
            accept: None,
            append_only: false,
            orphan_grace: ORPHAN_GRACE,
            object_lock: None,
            encryption: None,
        }
    }

    /// The same destination, reached in another way.
    #[must_use]
    pub fn over(&self, store: Arc<dyn Store>) -> Self {
        Self { store, ..self.clone() }
    }
}
