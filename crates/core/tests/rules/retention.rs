//! What retention promises, whatever is there.

use std::collections::{BTreeMap, BTreeSet};

use convault_core::{
    Candidate, Hold, Keep, Reason, RetentionPlan, SnapshotId, Standing, Tier, plan_retention, wanted_by,
};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use proptest::prelude::*;

use crate::snapshots::{
    added_later, any_candidates, any_keep, any_tiers, any_zone, at, every, good, now, taken, zone,
};

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn kept(plan: &RetentionPlan) -> BTreeSet<SnapshotId> {
    plan.decisions.iter().filter(|decision| decision.keep).map(|decision| decision.id.clone()).collect()
}

/// Who represents which slot.
fn representatives(plan: &RetentionPlan) -> BTreeMap<(Tier, String), SnapshotId> {
    let mut slots = BTreeMap::new();
    for decision in &plan.decisions {
        for reason in &decision.reasons {
            if let Reason::Slot { tier, slot } = reason {
                slots.insert((*tier, slot.clone()), decision.id.clone());
            }
        }
    }
    slots
}

/// No rule, and the lowest floor.
fn least() -> Keep {
    Keep { at_least_verified: 1, ..Keep::default() }
}

#[test]
fn the_first_written_represents_a_slot_though_its_time_is_not_the_earliest() {
    let noon = good(at("2026-11-20T12:00:00Z"));
    let copied = Candidate { since: at("2026-11-21T09:00:00Z"), ..good(at("2026-11-20T03:00:00Z")) };
    let newest = good(at("2026-11-22T03:00:00Z"));
    let keep = Keep { daily: 7, ..least() };
    let plan = plan_retention(
        &[noon.clone(), copied, newest.clone()],
        &keep,
        &TimeZone::UTC,
        at("2026-11-22T12:00:00Z"),
    );
    assert_eq!(kept(&plan), [noon.id, newest.id].into());
}

#[test]
fn a_snapshot_from_the_future_is_kept_and_counts_for_nothing() {
    let mut all = every(DAY, at("2026-11-18T03:00:00Z"), 4);
    all.push(taken(at("2027-11-22T03:00:00Z"), Standing::Suspect));
    all.push(good(at("2027-11-23T03:00:00Z")));
    let keep = Keep { last: 2, ..least() };
    let plan = plan_retention(&all, &keep, &TimeZone::UTC, at("2026-11-21T12:00:00Z"));
    assert!(!plan.frozen);
    assert_eq!(plan.decisions[0].reasons, [Reason::Future]);
    assert_eq!(plan.decisions[2].reasons, [Reason::Last { number: 1 }]);
    assert_eq!(plan.removed().map(|removed| &removed.id).collect::<Vec<_>>(), [&all[0].id, &all[1].id]);
}

#[test]
fn a_suspect_newest_freezes_also_behind_a_damaged_one_and_a_damaged_newest_does_not() {
    let mut all = every(DAY, at("2026-11-18T03:00:00Z"), 3);
    let keep = Keep { last: 1, ..least() };
    let plan = |all: &[Candidate]| plan_retention(all, &keep, &TimeZone::UTC, at("2026-11-25T12:00:00Z"));
    all.push(taken(at("2026-11-23T03:00:00Z"), Standing::Damaged));
    assert_eq!((plan(&all).frozen, plan(&all).removed().count()), (false, 2));
    all.push(taken(at("2026-11-22T03:00:00Z"), Standing::Suspect));
    assert_eq!((plan(&all).frozen, plan(&all).removed().count()), (true, 0));
}

#[test]
fn a_damaged_snapshot_waits_for_repair_thirty_days_after_the_damage_was_found() {
    let found = at("2026-11-01T03:00:00Z");
    let old = Candidate { since: found, ..taken(at("2024-01-01T03:00:00Z"), Standing::Damaged) };
    let keep = Keep { last: 1, ..least() };
    let reasons = |all: &[Candidate], now: Timestamp| {
        plan_retention(all, &keep, &TimeZone::UTC, now).decisions.pop().unwrap().reasons
    };
    let later = [old.clone(), good(at("2026-10-01T03:00:00Z"))];
    assert_eq!(reasons(&later, found + DAY * 30), [Reason::Damaged]);
    assert_eq!(reasons(&later, found + DAY * 31), [Reason::DamagedExpired]);
    assert_eq!(reasons(&[old], found + DAY * 400), [Reason::Damaged], "nothing better has followed");
}

#[test]
fn a_hold_pins_until_its_end_or_until_it_is_released() {
    let keep = Keep { last: 1, ..least() };
    let until = at("2026-12-01T00:00:00Z");
    let with = |hold| Candidate { hold, ..good(at("2026-11-01T03:00:00Z")) };
    let is_kept = |hold, now| {
        let all = [with(hold), good(at("2026-11-20T03:00:00Z"))];
        plan_retention(&all, &keep, &TimeZone::UTC, now).removed().count() == 0
    };
    assert!(is_kept(Some(Hold { until: Some(until) }), at("2026-11-30T23:59:59Z")));
    assert!(!is_kept(Some(Hold { until: Some(until) }), until));
    assert!(is_kept(Some(Hold { until: None }), at("2036-11-30T23:59:59Z")));
    assert!(!is_kept(None, at("2026-11-30T00:00:00Z")));
}

#[test]
fn a_day_is_a_day_of_the_jobs_time_zone() {
    // 23:30 in London, summer, is the next day in UTC but not there.
    let all =
        ["2026-07-01T21:30:00Z", "2026-07-01T22:30:00Z", "2026-07-01T23:30:00Z"].map(|time| good(at(time)));
    let keep = Keep { daily: 2, ..least() };
    let plan = plan_retention(&all, &keep, &zone("Europe/London"), at("2026-07-02T12:00:00Z"));
    assert_eq!(plan.decisions.iter().map(|decision| decision.keep).collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn a_destination_takes_what_its_slots_lack_and_no_more() {
    let weekly_and_monthly = [Tier::Monthly, Tier::Weekly];
    let london = zone("Europe/London");
    let wanted = |all: &[Candidate], time: &str| {
        let wanted = wanted_by(&weekly_and_monthly, all, at(time), &london, at(time));
        wanted.into_iter().map(|(tier, slot)| format!("{tier} {slot}")).collect::<Vec<_>>()
    };
    let monday = good(at("2026-11-16T03:00:00Z"));
    assert_eq!(wanted(&[], "2026-11-16T03:00:00Z"), ["weekly 2026-W47", "monthly 2026-11"]);
    assert!(wanted(std::slice::from_ref(&monday), "2026-11-17T03:00:00Z").is_empty());
    assert_eq!(
        wanted(std::slice::from_ref(&monday), "2026-11-25T03:00:00Z"),
        ["weekly 2026-W48"],
        "a missed Monday"
    );
    let damaged = Candidate { standing: Standing::Damaged, ..monday };
    assert_eq!(wanted(&[damaged], "2026-11-18T03:00:00Z"), ["weekly 2026-W47", "monthly 2026-11"]);
    let future = good(at("2026-11-20T03:00:00Z"));
    assert_eq!(wanted(&[future], "2026-11-18T03:00:00Z"), ["weekly 2026-W47", "monthly 2026-11"]);
    assert_eq!(wanted_by(&[], &[], at("2026-11-18T03:00:00Z"), &london, now()), []);
}

#[test]
fn a_destination_with_tiers_keeps_these_and_the_floor() {
    let keep = Keep { last: 9, hourly: 8, daily: 7, weekly: 6, monthly: 5, yearly: 4, ..Keep::default() };
    let restricted = keep.restricted_to(&[Tier::Weekly, Tier::Monthly]);
    assert_eq!(restricted, Keep { weekly: 6, monthly: 5, ..Keep::default() });
    assert_eq!(Tier::ALL.map(|tier| keep.of(tier)), [8, 7, 6, 5, 4]);
}

#[test]
fn a_calendar_has_days_of_the_time_zone_from_oldest_to_newest() {
    let all = [
        good(at("2026-07-01T22:30:00Z")),
        good(at("2026-07-01T23:30:00Z")),
        taken(at("2026-06-30T12:00:00Z"), Standing::Suspect),
    ];
    let keep = Keep { daily: 1, ..least() };
    let calendar = plan_retention(&all, &keep, &TimeZone::UTC, at("2026-07-02T12:00:00Z"))
        .calendar(&zone("Europe/London"));
    let text: Vec<String> = calendar
        .iter()
        .map(|day| {
            let entry = |entry: &convault_core::CalendarEntry| format!("{} {:?}", entry.keep, entry.reasons);
            format!("{}: {}", day.date, day.entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        })
        .collect();
    assert_eq!(
        text,
        [r#"2026-06-30: true ["suspect"]"#, r#"2026-07-01: true ["daily"]"#, r#"2026-07-02: true ["floor"]"#,]
    );
}

proptest! {
    #[test]
    fn never_below_the_floor(all in any_candidates(), keep in any_keep(), zone in any_zone()) {
        let plan = plan_retention(&all, &keep, &zone, now());
        let kept = kept(&plan);
        let there = all.iter().filter(|one| one.standing == Standing::Good && one.time <= now());
        let (there, left) = there.fold((0, 0), |(there, left), one| {
            (there + 1, left + usize::from(kept.contains(&one.id)))
        });
        prop_assert!(left >= there.min(keep.at_least_verified.max(1) as usize));
        prop_assert!(plan.decisions.iter().all(|decision| !decision.reasons.is_empty()));
        prop_assert_eq!(plan.decisions.len(), all.len());
    }

    #[test]
    fn what_is_left_is_kept_the_second_time(all in any_candidates(), keep in any_keep(), zone in any_zone()) {
        let kept = kept(&plan_retention(&all, &keep, &zone, now()));
        let left: Vec<Candidate> = all.into_iter().filter(|one| kept.contains(&one.id)).collect();
        prop_assert_eq!(plan_retention(&left, &keep, &zone, now()).removed().count(), 0);
    }

    #[test]
    fn the_order_of_candidates_says_nothing(
        (all, shuffled) in any_candidates().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        keep in any_keep(),
    ) {
        let plan = |all: &[Candidate]| plan_retention(all, &keep, &TimeZone::UTC, now());
        prop_assert_eq!(plan(&all), plan(&shuffled));
    }

    /// Whatever is written after everything else that is there takes nothing from what is newer than it: `last` and
    /// the floor count from the newest, and slots keep their representatives. (It may take from what is older.)
    #[test]
    fn an_addition_removes_nothing_newer_than_itself(
        all in any_candidates(),
        addition in any_candidates(),
        keep in any_keep(),
        zone in any_zone(),
    ) {
        let before = plan_retention(&all, &keep, &zone, now());
        for addition in added_later(addition).into_iter().take(4) {
            let mut more = all.clone();
            more.push(addition.clone());
            let kept = kept(&plan_retention(&more, &keep, &zone, now()));
            for decision in before.decisions.iter().filter(|one| one.keep && one.time > addition.time) {
                prop_assert!(kept.contains(&decision.id), "{:?} because of {:?}", decision, addition);
            }
        }
    }

    #[test]
    fn a_flood_of_what_does_not_count_removes_nothing_good(
        all in any_candidates(),
        flood in any_candidates(),
        keep in any_keep(),
        zone in any_zone(),
    ) {
        let before = kept(&plan_retention(&all, &keep, &zone, now()));
        let mut more = all.clone();
        more.extend(
            added_later(flood).into_iter().filter(|one| one.standing != Standing::Good || one.time > now()),
        );
        let after = kept(&plan_retention(&more, &keep, &zone, now()));
        for good in all.iter().filter(|one| one.standing == Standing::Good && before.contains(&one.id)) {
            prop_assert!(after.contains(&good.id), "{:?}", good);
        }
    }

    #[test]
    fn a_represented_slot_keeps_its_representative(
        all in any_candidates(),
        flood in any_candidates(),
        keep in any_keep(),
        zone in any_zone(),
    ) {
        let represented = |all: &[Candidate]| representatives(&plan_retention(all, &keep, &zone, now()));
        let before = represented(&all);
        let mut more = all.clone();
        more.extend(added_later(flood));
        for (slot, id) in represented(&more) {
            if let Some(first) = before.get(&slot) {
                prop_assert_eq!(&id, first, "of {:?}", slot);
            }
        }
    }

    #[test]
    fn what_a_destination_takes_represents_what_it_was_wanted_for(
        all in any_candidates(),
        accept in any_tiers(),
        zone in any_zone(),
    ) {
        let wanted = wanted_by(&accept, &all, now(), &zone, now());
        let mut next = good(now());
        next.since = now() + SignedDuration::from_hours(4 * 365 * 24);
        let id = next.id.clone();
        let mut more = all;
        more.push(next);
        let keep = Keep { hourly: 1, daily: 1, weekly: 1, monthly: 1, yearly: 1, ..Keep::default() };
        let slots = representatives(&plan_retention(&more, &keep, &zone, now()));
        let represented: Vec<_> =
            slots.into_iter().filter(|(_, first)| *first == id).map(|(slot, _)| slot).collect();
        let accepted: Vec<_> =
            represented.into_iter().filter(|(tier, _)| accept.contains(tier)).collect();
        prop_assert_eq!(wanted, accepted);
    }
}
