//! Which entries of the ledger lie where. Takes no key.

use std::collections::BTreeMap;

use convault_core::{DeploymentName, Layout};
use futures::TryStreamExt as _;

use crate::{Destination, FolderState, JobError, Survey};

/// The entries of a destination by number, each with the keys under which it lies: one, or, where recipients were
/// added between two who wrote at once, an encrypted and a plain one.
pub(crate) type Listing = BTreeMap<u64, Vec<String>>;

/// Lists the ledger of a destination.
pub(crate) async fn listing(
    destination: &Destination,
    deployment: &DeploymentName,
) -> Result<Listing, JobError> {
    let layout = Layout::new(deployment.clone());
    let mut listing = Listing::new();
    let mut objects = destination.store.list(&layout.erasures_prefix());
    while let Some(object) = objects.try_next().await? {
        if let Some(number) = layout.erasure_number(&object.key) {
            listing.entry(number).or_default().push(object.key);
        }
    }
    Ok(listing)
}

/// The number of the newest entry that a destination lists; 0: there is none.
pub(crate) async fn newest_listed(
    destination: &Destination,
    deployment: &DeploymentName,
) -> Result<u64, JobError> {
    Ok(last_in_a_row(listing(destination, deployment).await?.into_keys()))
}

/// The last of the numbers 1, 2, … that are all there; `numbers` are in order. What lies beyond a gap does not count:
/// whoever may add an object could name any number, and there would be no end to what is missing, nor to what the next
/// manifests speak of.
pub(super) fn last_in_a_row(numbers: impl IntoIterator<Item = u64>) -> u64 {
    (1..).zip(numbers).take_while(|(expected, number)| expected == number).count() as u64
}

/// The newest entry that any manifest speaks of which counts.
pub(crate) fn newest_stated(survey: &Survey) -> u64 {
    let stated = survey.folders.iter().filter_map(|folder| match &folder.state {
        FolderState::Snapshot(snapshot) => Some(snapshot.manifest.erasure),
        FolderState::FencedOff(manifest) => Some(manifest.erasure),
        _ => None,
    });
    stated.max().unwrap_or(0)
}
