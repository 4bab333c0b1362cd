//! What a lock forbids, in the same words for every store.

use convault_core::{Lock, LockMode};

/// A lock and its end.
pub(crate) fn until(lock: Lock) -> String {
    let mode = match lock.mode {
        LockMode::Governance => "governance",
        LockMode::Compliance => "compliance",
    };
    format!("it is locked until {} ({mode})", lock.until)
}

/// Whether `wanted` takes something away from `present`, which no store allows without a permission of its own.
pub(crate) fn weakens(present: Lock, wanted: Lock) -> bool {
    let milder = present.mode == LockMode::Compliance && wanted.mode == LockMode::Governance;
    present.until > wanted.until || milder
}

/// Why a lock could not be set over `present`.
pub(crate) fn only_longer(present: Lock) -> String {
    format!("{}, and a lock can only be made longer", until(present))
}
