//! Slots: who represents them, and which of them a new snapshot would be the first of.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, tz::TimeZone};

use super::Candidate;
use crate::Tier;

/// The slots of one tier that have a snapshot, with the one that represents each.
pub(super) fn representatives<'a>(
    tier: Tier,
    counting: impl IntoIterator<Item = &'a Candidate>,
    time_zone: &TimeZone,
) -> BTreeMap<String, &'a Candidate> {
    let mut slots: BTreeMap<String, &Candidate> = BTreeMap::new();
    for candidate in counting {
        let first = slots.entry(slot_of(tier, candidate.time, time_zone)).or_insert(candidate);
        if candidate.precedence() < first.precedence() {
            *first = candidate;
        }
    }
    slots
}

/// The `number` newest slots of one tier. `counting` comes newest first.
pub(super) fn newest_slots<'a>(
    tier: Tier,
    number: u32,
    counting: impl IntoIterator<Item = &'a Candidate>,
    time_zone: &TimeZone,
) -> BTreeSet<String> {
    let mut slots = BTreeSet::new();
    for candidate in counting {
        if slots.len() >= number as usize {
            break;
        }
        slots.insert(slot_of(tier, candidate.time, time_zone));
    }
    slots
}

/// The slots of the accepted tiers that a good snapshot of this time would be the first good one of, the shortest
/// tier first. Empty: a destination that accepts only these tiers does not take it. A slot that was missed is so
/// filled by the next snapshot in it, and a slot whose only snapshot is suspect or damaged gets another.
pub fn wanted_by(
    accept: &[Tier],
    candidates: &[Candidate],
    snapshot_time: Timestamp,
    time_zone: &TimeZone,
    now: Timestamp,
) -> Vec<(Tier, String)> {
    let now = now.max(snapshot_time);
    let taken = |tier: Tier, slot: &str| {
        candidates.iter().any(|other| other.counts(now) && slot_of(tier, other.time, time_zone) == slot)
    };
    Tier::ALL
        .into_iter()
        .filter(|tier| accept.contains(tier))
        .map(|tier| (tier, slot_of(tier, snapshot_time, time_zone)))
        .filter(|(tier, slot)| !taken(*tier, slot))
        .collect()
}

fn slot_of(tier: Tier, time: Timestamp, time_zone: &TimeZone) -> String {
    tier.slot(&time.to_zoned(time_zone.clone()))
}
