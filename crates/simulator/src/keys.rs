//! Deploy keys that were made for a deployment beside its own: each may do some things, until it expires.

use std::sync::Mutex;

use convault_core::Secret;
use jiff::Timestamp;

use crate::auth::Operation;

/// A deploy key.
#[derive(Debug, Clone)]
pub(crate) struct DeployKey {
    pub(crate) name: String,
    pub(crate) key: Secret,
    /// What it may do, as in `allowedOps`; empty for everything.
    pub(crate) operations: Vec<String>,
    pub(crate) created: Timestamp,
    pub(crate) expires: Option<Timestamp>,
}

/// The deploy keys of a deployment.
#[derive(Debug, Default)]
pub(crate) struct DeployKeys(Mutex<Vec<DeployKey>>);

impl DeployKeys {
    pub(crate) fn add(&self, key: DeployKey) {
        self.lock().push(key);
    }

    /// The one that is this text, its kind in front left out, and has not expired.
    pub(crate) fn find(&self, without_kind: &str, now: Timestamp) -> Option<DeployKey> {
        let keys = self.lock();
        let is_it = |key: &&DeployKey| crate::auth::without_kind(key.key.expose()) == without_kind;
        keys.iter().find(is_it).filter(|key| key.expires.is_none_or(|expires| now < expires)).cloned()
    }

    /// Every one, in the order in which they were made.
    pub(crate) fn all(&self) -> Vec<DeployKey> {
        self.lock().clone()
    }

    /// Revokes the one that is called so, or is this key, or has this secret part. False where there is none.
    pub(crate) fn remove(&self, id: &str) -> bool {
        let mut keys = self.lock();
        let before = keys.len();
        keys.retain(|key| {
            let text = key.key.expose();
            key.name != id && text != id && text.rsplit('|').next() != Some(id)
        });
        keys.len() < before
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<DeployKey>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

/// The operation of an action, as keys are limited by: `deployment:backups:import` is `ImportBackups`. Actions that
/// nothing here asks for stand for themselves.
pub(crate) fn operation_of(action: &str) -> String {
    let known = Operation::ALL.into_iter().find(|operation| operation.permission() == action);
    known.map_or_else(|| action.to_owned(), |operation| operation.name().to_owned())
}
