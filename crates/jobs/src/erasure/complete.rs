//! Brings the ledger to every destination: what was written while one could not be reached, and what was lost or
//! changed in one of them.

use std::collections::BTreeSet;

use bytes::Bytes;
use convault_core::{DeploymentName, DestinationName, Layout, LedgerEntry, PutMode, chain_fault};
use futures::TryStreamExt as _;

use crate::{
    Destination, JobError, RunContext,
    erasure::{
        fault::Fault,
        ledger::{Ledger, LedgerKeys, Place, beyond},
        listing::{Listing, last_in_a_row, listing},
        record::{LARGEST_RECORD_BYTES, Opened, seal},
    },
    error::chain,
    read::read_small,
    trust::put_own,
};

/// What completing the ledger did.
#[derive(Debug, Clone)]
pub struct Completed {
    /// The ledger.
    pub ledger: Ledger,
    /// Entries that were written, or written again, by destination.
    pub written: Vec<(DestinationName, u64)>,
    /// Destinations that do not have all of it, and why.
    pub behind: Vec<(DestinationName, String)>,
}

/// Puts the ledger of a deployment together from `destinations`, and writes to each what it lacks or has otherwise. An
/// entry that none of them has whole is [`JobError::LedgerNotWhole`]. Needs what opens the ledger.
pub async fn complete_ledger(
    deployment: &DeploymentName,
    destinations: &[Destination],
    keys: &LedgerKeys,
    context: &RunContext,
) -> Result<Completed, JobError> {
    let mut behind = Vec::new();
    let mut places = Vec::new();
    for destination in destinations {
        match Place::look(destination, deployment, context).await {
            Ok(place) => places.push(place),
            Err(error) => behind.push((destination.store.destination().clone(), chain(&error))),
        }
    }
    let newest = places.iter().map(Place::newest).max().unwrap_or(0);
    let (mut entries, mut records) = (Vec::new(), Vec::new());
    for number in 1..=newest {
        let (entry, record) = whole(&places, deployment, number, &entries, keys).await?;
        entries.push(entry);
        records.push(record);
    }
    let mut written = Vec::new();
    for place in &places {
        match write_missing(place, deployment, &entries, &records, keys, context).await {
            Ok(numbers) => written.extend(numbers.into_iter().map(|number| (place.name().clone(), number))),
            Err(error) => behind.push((place.name().clone(), chain(&error))),
        }
    }
    let ledger = Ledger::new(deployment.clone(), entries, keys.names.clone());
    Ok(Completed { ledger, written, behind })
}

/// The entry of a number that follows those before it, with its record, from wherever it is whole.
async fn whole(
    places: &[Place<'_>],
    deployment: &DeploymentName,
    number: u64,
    before: &[LedgerEntry],
    keys: &LedgerKeys,
) -> Result<(LedgerEntry, Bytes), JobError> {
    let mut found: Option<(LedgerEntry, Bytes)> = None;
    let (mut faults, mut unread) = (Vec::new(), None);
    for place in places {
        let at = place.destination.store.location();
        let fault = |what: String| format!("{at}: {what}");
        match place.open(number, keys).await {
            Ok(Opened::Broken(what)) => faults.push(fault(what)),
            Err(error) => unread = Some(error),
            Ok(Opened::Whole(entry, record)) => {
                let entry = *entry;
                let chain: Vec<LedgerEntry> = before.iter().cloned().chain([entry.clone()]).collect();
                match (chain_fault(&chain, deployment, 0), &found) {
                    (Some((_, what)), _) => faults.push(fault(what)),
                    (None, Some((other, _))) if *other != entry => {
                        let what = "two destinations have different ones, both whole: look at when and why each was \
                                    written, remove the one that is not to count, and `erase` again what it named";
                        return Err(Fault::new(number, what).refusal(deployment, &at, &[]));
                    }
                    (None, Some(_)) => {}
                    (None, None) => found = Some((entry, record)),
                }
            }
        }
    }
    match (found, unread) {
        (Some(found), _) => Ok(found),
        (None, Some(error)) => Err(error),
        (None, None) => {
            let what = format!("{}{}", faults.join("; "), beyond(places, number));
            Err(Fault::new(number, what).refusal(deployment, "every destination", &[]))
        }
    }
}

async fn write_missing(
    place: &Place<'_>,
    deployment: &DeploymentName,
    entries: &[LedgerEntry],
    records: &[Bytes],
    keys: &LedgerKeys,
    context: &RunContext,
) -> Result<Vec<u64>, JobError> {
    let mut written = Vec::new();
    for ((number, entry), record) in (1..).zip(entries).zip(records) {
        let mode = match place.open(number, keys).await {
            Ok(Opened::Whole(there, _)) if *there == *entry => continue,
            // Somebody else's identity would tell; what is there is not written over unseen.
            Err(JobError::Encrypted { .. }) => continue,
            Err(error) => return Err(error),
            Ok(_) if place.listing.contains_key(&number) => PutMode::Overwrite,
            Ok(_) => PutMode::IfAbsent,
        };
        let destination = place.destination;
        context.check_lease().await?;
        // What is broken keeps its key, so that none is left beside the whole one.
        let (sealed, suffix) = seal(record, destination.encryption.as_deref());
        let key = Layout::new(deployment.clone()).erasure(number, suffix);
        put_own(destination.store.as_ref(), &key, sealed, mode).await?;
        for other in place.listing.get(&number).into_iter().flatten().filter(|other| **other != key) {
            destination.store.delete(other).await?;
        }
        written.push(number);
    }
    Ok(written)
}

/// Copies entries as they are stored to destinations that lack them from others with the same recipients, which takes no
/// key. Gives the newest number that any of them lists, and what a person has to know, a sentence each.
pub(crate) async fn complete_by_copy(
    deployment: &DeploymentName,
    destinations: &[&Destination],
) -> (u64, Vec<String>) {
    let mut told = Vec::new();
    let mut listings: Vec<(&Destination, Listing)> = Vec::new();
    for destination in destinations {
        match listing(destination, deployment).await {
            Ok(listing) => listings.push((destination, listing)),
            Err(error) => told.push(format!("the erasure ledger cannot be listed: {}", chain(&error))),
        }
    }
    let numbers: BTreeSet<u64> = listings.iter().flat_map(|(_, listing)| listing.keys().copied()).collect();
    let newest = last_in_a_row(numbers);
    for (destination, own) in &listings {
        told.extend(beyond_a_gap(destination, own, newest, deployment));
        for number in 1..=newest {
            if own.contains_key(&number) {
                continue;
            }
            let name = destination.store.destination();
            told.push(match copy_one(destination, number, &listings).await {
                Ok(Some(from)) => {
                    format!("{name}: entry {number} of the erasure ledger was missing; copied from {from}")
                }
                Ok(None) => format!(
                    "{name}: entry {number} of the erasure ledger is missing, so that nothing of {deployment} can be read \
                     there; `convault erase --complete --deployment {deployment}` brings it, where there is an identity"
                ),
                Err(error) => format!(
                    "{name}: entry {number} of the erasure ledger is missing and cannot be copied: {}",
                    chain(&error)
                ),
            });
        }
    }
    (newest, told)
}

/// What is to be said of an entry of a number that cannot be its turn yet.
fn beyond_a_gap(
    destination: &Destination,
    listing: &Listing,
    newest: u64,
    deployment: &DeploymentName,
) -> Option<String> {
    let (_, keys) = listing.range(newest + 1..).next()?;
    let (location, key) = (destination.store.location(), keys.first()?);
    Some(format!(
        "{location} {key} lies beyond a gap in the erasure ledger, of which no destination has entry {}: nothing of \
         {deployment} can be read until that is back, or, where there never was one, until what lies beyond is removed",
        newest + 1
    ))
}

/// Brings the ledger to every destination that holds anything of a deployment, as far as that takes no key. Gives what a
/// person has to know: a sentence each.
pub async fn tend_ledger(deployment: &DeploymentName, destinations: &[Destination]) -> Vec<String> {
    let prefix = Layout::new(deployment.clone()).deployment_prefix();
    let mut holding = Vec::new();
    for destination in destinations {
        // One that does not answer is told by whoever looks for more there.
        if let Ok(Some(_)) = destination.store.list(&prefix).try_next().await {
            holding.push(destination);
        }
    }
    complete_by_copy(deployment, &holding).await.1
}

async fn copy_one(
    to: &Destination,
    number: u64,
    listings: &[(&Destination, Listing)],
) -> Result<Option<DestinationName>, JobError> {
    let recipients =
        |one: &Destination| one.encryption.as_ref().map(|encryption| encryption.recipients.clone());
    let wanted = recipients(to);
    for (from, listing) in listings {
        if recipients(from) != wanted {
            continue;
        }
        let Some([key]) = listing.get(&number).map(Vec::as_slice) else { continue };
        // One of before its destination had recipients is not for another one's eyes either.
        if key.ends_with(Layout::ENCRYPTED_SUFFIX) != to.encryption.is_some() {
            continue;
        }
        let bytes = read_small(from.store.as_ref(), key, LARGEST_RECORD_BYTES).await?;
        put_own(to.store.as_ref(), key, bytes, PutMode::IfAbsent).await?;
        return Ok(Some(from.store.destination().clone()));
    }
    Ok(None)
}
