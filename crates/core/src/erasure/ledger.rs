//! The chain that entries of the ledger make.

use crate::{DeploymentName, ERASURE_FORMAT, ErasureEntry, Sha256};

/// An entry with the hash that the one after it must name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// The entry.
    pub entry: ErasureEntry,
    /// SHA-256 of its record, as it is without encryption.
    pub sha256: Sha256,
}

/// What is wrong with a ledger as a chain, with the number of the entry it is about; `None` where it is whole. `entries`
/// are in the order of their places, and `stated` is the newest number that anything stored speaks of.
pub fn chain_fault(
    entries: &[LedgerEntry],
    deployment: &DeploymentName,
    stated: u64,
) -> Option<(u64, String)> {
    let mut before: Option<&LedgerEntry> = None;
    for (number, one) in (1..).zip(entries) {
        if let Some(what) = fault(one, number, before, deployment) {
            return Some((number, what));
        }
        before = Some(one);
    }
    let newest = entries.len() as u64;
    (newest < stated).then(|| (newest + 1, format!("it ends at {newest}, and there were {stated}")))
}

fn fault(
    one: &LedgerEntry,
    number: u64,
    before: Option<&LedgerEntry>,
    deployment: &DeploymentName,
) -> Option<String> {
    let entry = &one.entry;
    if entry.format == 0 || entry.format > ERASURE_FORMAT {
        return Some(format!("it has format {}: use a newer convault", entry.format));
    }
    if entry.number != number {
        return Some(format!("it says that it is entry {}", entry.number));
    }
    if entry.deployment != *deployment {
        return Some(format!("it is one of the deployment {}", entry.deployment));
    }
    if entry.previous != before.map(|before| before.sha256) {
        return Some("it was not written after the entry that is before it".to_owned());
    }
    if before.is_some_and(|before| before.entry.ledger != entry.ledger) {
        return Some("it is one of another ledger".to_owned());
    }
    None
}
