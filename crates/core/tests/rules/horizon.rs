//! The horizon that Object Lock dates are set to.

use std::time::Duration;

use convault_core::{Candidate, Hold, Keep, Standing, keep_horizon, plan_retention};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use crate::snapshots::{any_candidates, any_keep, any_zone, at, good, now, taken, zone};

const DAY: Duration = Duration::from_hours(24);

fn horizon(candidate: &Candidate, keep: &Keep, zone_name: &str) -> Option<Timestamp> {
    keep_horizon(candidate, &[], keep, &zone(zone_name), Some(DAY), candidate.time)
}

#[test]
fn slots_end_by_the_clock_on_the_wall_also_when_it_changes() {
    let none = Keep::default();
    let cases = [
        // The clock goes back on 25 October and forward on 28 March.
        (Keep { daily: 1, ..none.clone() }, "2026-10-25T00:30:00Z", "2026-10-26T00:00:00Z"),
        (Keep { daily: 2, ..none.clone() }, "2026-10-24T12:00:00Z", "2026-10-26T00:00:00Z"),
        (Keep { daily: 7, ..none.clone() }, "2026-10-20T12:00:00Z", "2026-10-27T00:00:00Z"),
        (Keep { daily: 1, ..none.clone() }, "2027-03-28T12:00:00Z", "2027-03-28T23:00:00Z"),
        (Keep { hourly: 2, ..none.clone() }, "2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z"),
        (Keep { hourly: 2, ..none.clone() }, "2027-03-28T00:30:10.5Z", "2027-03-28T02:00:00Z"),
        (Keep { weekly: 1, ..none.clone() }, "2026-10-25T12:00:00Z", "2026-10-26T00:00:00Z"),
        (Keep { weekly: 4, ..none.clone() }, "2027-03-10T12:00:00Z", "2027-04-04T23:00:00Z"),
        (Keep { monthly: 6, ..none.clone() }, "2026-11-30T12:00:00Z", "2027-04-30T23:00:00Z"),
        (Keep { yearly: 2, ..none.clone() }, "2026-11-30T12:00:00Z", "2028-01-01T00:00:00Z"),
        (Keep { daily: 7, weekly: 4, ..none.clone() }, "2026-11-20T12:00:00Z", "2026-12-14T00:00:00Z"),
        (Keep { last: 5, ..none.clone() }, "2026-11-20T12:00:00Z", "2026-11-25T12:00:00Z"),
        (Keep { within: Some(DAY * 10), ..none.clone() }, "2026-11-20T12:00:00Z", "2026-11-30T12:00:00Z"),
        (none, "2026-11-20T12:00:00Z", "2027-11-20T12:00:00Z"),
    ];
    for (keep, time, end) in cases {
        assert_eq!(horizon(&good(at(time)), &keep, "Europe/London"), Some(at(end)), "{time} {keep:?}");
    }
}

#[test]
fn a_day_whose_midnight_does_not_exist_ends_all_the_same() {
    // In Santiago the clock goes from 24:00 to 01:00 on 6 September 2026.
    let keep = Keep { daily: 1, ..Keep::default() };
    let end = horizon(&good(at("2026-09-05T12:00:00Z")), &keep, "America/Santiago");
    assert_eq!(end, Some(at("2026-09-06T04:00:00Z")));
}

#[test]
fn only_who_represents_a_slot_is_foreseen_to_be_kept_for_it() {
    let first = good(at("2026-11-20T03:00:00Z"));
    let second = good(at("2026-11-20T04:00:00Z"));
    let keep = Keep { daily: 7, ..Keep::default() };
    let all = [first.clone(), second.clone()];
    let utc = zone("UTC");
    let of = |candidate| keep_horizon(candidate, &all, &keep, &utc, None, at("2026-11-20T05:00:00Z"));
    assert_eq!(of(&first), Some(at("2026-11-27T00:00:00Z")));
    assert_eq!(of(&second), None);
    let future = keep_horizon(&second, &all, &keep, &utc, None, at("2026-11-20T02:00:00Z"));
    assert_eq!(future, None, "its own time is not in the future to itself, nor is what came before");
}

#[test]
fn pins_count_for_all_and_rules_for_good_ones_only() {
    let until = at("2027-01-01T00:00:00Z");
    let keep = Keep { daily: 7, last: 3, ..Keep::default() };
    for standing in [Standing::Suspect, Standing::Damaged] {
        let plain = taken(at("2026-11-20T03:00:00Z"), standing);
        assert_eq!(horizon(&plain, &keep, "UTC"), None);
        let wished = Candidate { keep_until: Some(until), ..plain.clone() };
        assert_eq!(horizon(&wished, &keep, "UTC"), Some(until));
        let held = Candidate { hold: Some(Hold { until: Some(until) }), ..plain };
        assert_eq!(horizon(&held, &keep, "UTC"), Some(until));
    }
    let held = Candidate { hold: Some(Hold { until: None }), ..good(at("2026-11-20T03:00:00Z")) };
    assert_eq!(horizon(&held, &keep, "UTC"), Some(at("2026-11-27T00:00:00Z")));
}

#[test]
fn numbers_beyond_all_time_are_the_end_of_time() {
    let keep = Keep { hourly: u32::MAX, last: u32::MAX, yearly: u32::MAX, ..Keep::default() };
    assert_eq!(horizon(&good(at("2026-11-20T03:00:00Z")), &keep, "UTC"), Some(Timestamp::MAX));
}

proptest! {
    /// Newer snapshots, however many, push nothing out before its horizon.
    #[test]
    fn what_is_kept_stays_until_its_horizon(
        all in any_candidates(),
        keep in any_keep(),
        zone in any_zone(),
        steps in proptest::collection::vec(1_i64..30 * 24 * 60, 0..30),
    ) {
        // How many newer ones `last` will have to count cannot be foreseen.
        let keep = Keep { last: 0, ..keep };
        let mut all: Vec<Candidate> = all
            .into_iter()
            .filter(|one| one.time <= now())
            .map(|one| Candidate { since: one.since.min(now()), ..one })
            .collect();
        let foreseen: Vec<_> = all
            .iter()
            .filter_map(|one| Some((one.id.clone(), keep_horizon(one, &all, &keep, &zone, None, now())?)))
            .collect();
        let mut time = now();
        for step in steps {
            time += SignedDuration::from_mins(step);
            all.push(good(time));
            let plan = plan_retention(&all, &keep, &zone, time);
            for (id, _) in foreseen.iter().filter(|(_, horizon)| time < *horizon) {
                prop_assert!(plan.decisions.iter().any(|one| one.keep && one.id == *id), "{}", id);
            }
        }
    }
}
