//! What is known of the destinations: whether they are up, what they can do, and what they hold.

use std::fmt::Error;

use convault_core::{DestinationStatus, HoldingStatus, Status};
use prometheus_client::registry::Unit;

use super::{Labels, Out, number, seconds_of, truth};
use crate::words::{STATES, abilities, ability};

pub(super) fn write(out: &mut Out<'_>, status: &Status) -> Result<(), Error> {
    uses(out, status)?;
    what_they_can(out, status)?;
    snapshots(out, status)?;
    times(out, status)?;
    pruning(out, status)
}

fn uses(out: &mut Out<'_>, status: &Status) -> Result<(), Error> {
    let each = || status.destinations.iter();
    let help = "Whether the last use of the destination succeeded: 1 or 0; absent before the first use.";
    out.gauges("destination_up", None, help, each().filter_map(|place| Some((at(place), truth(place.up?)))))?;
    let help = "When the destination was last used, as a Unix time; 0 for never.";
    let checked = each().map(|place| (at(place), seconds_of(place.checked)));
    out.gauges("destination_checked_timestamp", Some(&Unit::Seconds), help, checked)
}

fn what_they_can(out: &mut Out<'_>, status: &Status) -> Result<(), Error> {
    let known = || status.destinations.iter().filter_map(|place| Some((place, place.abilities.as_ref()?)));
    let help =
        "What the store was seen to do when the ability was tried: 1 for that result; absent while unknown.";
    let results = known().flat_map(|(place, seen)| {
        abilities(seen).into_iter().map(move |(name, result)| {
            let mut labels = at(place);
            labels.extend([("ability", name), ("result", ability(result))]);
            (labels, 1.0)
        })
    });
    out.gauges("destination_ability", None, help, results)?;
    let help = "Whether the bucket locks every new object by itself: 1 or 0; absent while unknown.";
    let locks = known().map(|(place, seen)| (at(place), truth(seen.default_lock.is_some())));
    out.gauges("destination_locks_by_default", None, help, locks)
}

fn snapshots(out: &mut Out<'_>, status: &Status) -> Result<(), Error> {
    let help = "Snapshot folders in the destination, by state.";
    let counts = holdings(status).flat_map(|(labels, holding)| {
        STATES.into_iter().map(move |state| {
            let mut labels = labels.clone();
            labels.push(("state", state));
            (labels, number(holding.count(state)))
        })
    });
    out.gauges("destination_snapshots", None, help, counts)?;
    let help = "Bytes of everything of the deployment in the destination.";
    out.gauges("destination_stored", Some(&Unit::Bytes), help, each(status, |held| number(held.stored_bytes)))
}

fn times(out: &mut Out<'_>, status: &Status) -> Result<(), Error> {
    let seconds = Some(&Unit::Seconds);
    let help = "The time of the newest good snapshot, by the deployment's clock, as a Unix time; 0 for none.";
    let newest = each(status, |holding| seconds_of(holding.newest_good));
    out.gauges("destination_newest_good_timestamp", seconds, help, newest)?;
    let help = "When the snapshot was read in full, or else written, for which that is longest ago, as a Unix time; \
                0 for none.";
    let oldest = each(status, |holding| seconds_of(holding.oldest_read));
    out.gauges("destination_oldest_read_timestamp", seconds, help, oldest)?;
    let help = "When a verify last found everything sound, as a Unix time; 0 for never.";
    let verified = each(status, |holding| seconds_of(holding.last_verified));
    out.gauges("destination_verified_timestamp", seconds, help, verified)
}

fn pruning(out: &mut Out<'_>, status: &Status) -> Result<(), Error> {
    let help = "Whether pruning is frozen, since the newest snapshot is suspect: 1 or 0.";
    let frozen = each(status, |holding| truth(holding.frozen_since.is_some()));
    out.gauges("destination_pruning_frozen", None, help, frozen)?;
    let help = "How many reasons kept the last prune from removing all that it should have.";
    let reasons = each(status, |holding| number(holding.held_back.len() as u64));
    out.gauges("destination_prune_held_back", None, help, reasons)
}

fn at(place: &DestinationStatus) -> Labels<'_> {
    vec![("destination", place.destination.as_str())]
}

fn holdings(status: &Status) -> impl Iterator<Item = (Labels<'_>, &HoldingStatus)> {
    status.destinations.iter().flat_map(|place| {
        place.holdings.iter().map(|(deployment, holding)| {
            let mut labels = at(place);
            labels.push(("deployment", deployment.as_str()));
            (labels, holding)
        })
    })
}

fn each(status: &Status, value: fn(&HoldingStatus) -> f64) -> impl Iterator<Item = (Labels<'_>, f64)> {
    holdings(status).map(move |(labels, holding)| (labels, value(holding)))
}
