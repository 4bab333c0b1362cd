//! Candidates for retention, made by hand and by chance.

use convault_core::{Candidate, Hold, Keep, SnapshotId, Standing, Tier};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use proptest::prelude::*;

/// The middle of the time that chance draws from: what is later is in the future.
pub(crate) const NOW: i64 = 1_780_000_000;

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

/// A snapshot whose manifest was written ten minutes after its time.
pub(crate) fn taken(time: Timestamp, standing: Standing) -> Candidate {
    Candidate {
        id: SnapshotId::new(time, 0),
        time,
        standing,
        since: time + SignedDuration::from_mins(10),
        hold: None,
        keep_until: None,
    }
}

pub(crate) fn good(time: Timestamp) -> Candidate {
    taken(time, Standing::Good)
}

pub(crate) fn every(step: SignedDuration, first: Timestamp, number: i32) -> Vec<Candidate> {
    (0..number).map(|nth| good(first + step * nth)).collect()
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn minute(minute: i64) -> Timestamp {
    Timestamp::from_second(NOW + minute * 60).unwrap()
}

prop_compose! {
    /// Up to 400 days old, one in twenty from the future; written up to two days later.
    fn any_candidate()(
        time in -400 * 24 * 60_i64..20 * 24 * 60,
        late in 0_i64..2 * 24 * 60,
        standing in prop_oneof![
            6 => Just(Standing::Good), 1 => Just(Standing::Suspect), 1 => Just(Standing::Damaged)
        ],
        keep_until in proptest::option::weighted(0.1, -400 * 24 * 60_i64..400 * 24 * 60),
        hold in proptest::option::weighted(0.1, proptest::option::of(-400 * 24 * 60_i64..400 * 24 * 60)),
    ) -> Candidate {
        Candidate {
            id: SnapshotId::new(minute(time), 0),
            time: minute(time),
            standing,
            since: minute(time + late),
            hold: hold.map(|until| Hold { until: until.map(minute) }),
            keep_until: keep_until.map(minute),
        }
    }
}

pub(crate) fn any_candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let numbered = |(number, candidate): (u32, Candidate)| Candidate {
        id: SnapshotId::new(candidate.time, number),
        ..candidate
    };
    proptest::collection::vec(any_candidate(), 0..60)
        .prop_map(move |list| (0..).zip(list).map(numbered).collect())
}

/// Gives candidates identifiers that no others have, and lets them be written after everything else.
pub(crate) fn added_later(candidates: Vec<Candidate>) -> Vec<Candidate> {
    let later = |(number, candidate): (u32, Candidate)| Candidate {
        id: SnapshotId::new(candidate.time, number),
        since: candidate.since + SignedDuration::from_hours(3 * 365 * 24),
        ..candidate
    };
    (1000..).zip(candidates).map(later).collect()
}

pub(crate) fn any_keep() -> impl Strategy<Value = Keep> {
    let within =
        proptest::option::of((1_u64..60).prop_map(|days| std::time::Duration::from_secs(days * 86_400)));
    (0_u32..4, 0_u32..4, 0_u32..8, 0_u32..6, 0_u32..6, 0_u32..3, within, 0_u32..5).prop_map(
        |(last, hourly, daily, weekly, monthly, yearly, within, at_least_verified)| Keep {
            last,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
            within,
            at_least_verified,
        },
    )
}

pub(crate) fn any_tiers() -> impl Strategy<Value = Vec<Tier>> {
    proptest::sample::subsequence(Tier::ALL.to_vec(), 0..=5)
}

pub(crate) fn any_zone() -> impl Strategy<Value = TimeZone> {
    proptest::sample::select(vec![
        "UTC",
        "Europe/London",
        "America/New_York",
        "Asia/Kathmandu",
        "Pacific/Apia",
    ])
    .prop_map(zone)
}
