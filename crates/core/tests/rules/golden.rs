//! Whole lives of deployments, as golden files that say what is kept or removed, and why.
//!
//! `CONVAULT_BLESS=1 cargo test -p convault-core --test rules golden` writes the files anew; read the difference
//! before committing it.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf};

use convault_core::{
    Candidate, Decision, Hold, Keep, Reason, RetentionPlan, SnapshotId, Standing, Tier, plan_retention,
    wanted_by,
};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use crate::snapshots::{at, every, good, taken, zone};

const DAY: SignedDuration = SignedDuration::from_hours(24);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

#[expect(clippy::disallowed_methods, reason = "no setting of the program, but a wish of who runs the test")]
fn is_blessed() -> bool {
    std::env::var_os("CONVAULT_BLESS").is_some()
}

fn compare(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if is_blessed() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, golden, "{} differs; CONVAULT_BLESS=1 writes it anew", path.display());
}

fn line(decision: &Decision, time_zone: &TimeZone) -> String {
    let reasons: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
    let time = decision.time.to_zoned(time_zone.clone()).strftime("%a %Y-%m-%d %H:%M%:z").to_string();
    format!("{} {time}  {}", if decision.keep { "keep  " } else { "remove" }, reasons.join("; "))
}

fn text(title: &str, plan: &RetentionPlan, time_zone: &TimeZone) -> String {
    let kept = plan.decisions.iter().filter(|decision| decision.keep).count();
    let frozen = if plan.frozen { "; frozen" } else { "" };
    let mut text = format!("{title}\n{kept} of {} kept{frozen}\n\n", plan.decisions.len());
    for decision in &plan.decisions {
        writeln!(text, "{}", line(decision, time_zone)).unwrap();
    }
    text
}

/// Lets a deployment live: a prune after every snapshot. Gives what is left, and every decision ever made to remove
/// one.
fn live(all: Vec<Candidate>, keep: &Keep, time_zone: &TimeZone) -> (Vec<Candidate>, Vec<Decision>) {
    let mut there: Vec<Candidate> = Vec::new();
    let mut removed = Vec::new();
    for next in all {
        let now = next.since;
        there.push(next);
        let plan = plan_retention(&there, keep, time_zone, now);
        for decision in plan.removed() {
            there.retain(|candidate| candidate.id != decision.id);
            removed.push(decision.clone());
        }
    }
    (there, removed)
}

#[test]
fn nightly_for_a_year() {
    let london = zone("Europe/London");
    let keep = Keep { daily: 7, weekly: 4, monthly: 6, yearly: 2, ..Keep::default() };
    let nights = every(DAY, at("2025-11-22T03:00:00Z"), 366);
    let now = at("2026-11-22T12:00:00Z");
    let plan = plan_retention(&nights, &keep, &london, now);
    let mut golden = text("daily 7, weekly 4, monthly 6, yearly 2; one snapshot a night", &plan, &london);

    let (left, _) = live(nights, &keep, &london);
    let plan = plan_retention(&left, &keep, &london, now);
    golden.push_str(&text("\nThe same, pruned every night", &plan, &london));
    compare("nightly-for-a-year.txt", &golden);
}

#[test]
fn hourly_for_a_week() {
    let keep =
        Keep { last: 3, hourly: 24, daily: 5, within: Some(6 * HOUR.unsigned_abs()), ..Keep::default() };
    let hours = every(HOUR / 2, at("2026-11-15T00:05:00Z"), 7 * 48);
    let plan = plan_retention(&hours, &keep, &TimeZone::UTC, at("2026-11-22T00:00:00Z"));
    let golden =
        text("last 3, hourly 24, daily 5, within 6 hours; two snapshots an hour", &plan, &TimeZone::UTC);
    compare("hourly-for-a-week.txt", &golden);
}

#[test]
fn clock_changes() {
    let london = zone("Europe/London");
    let keep = Keep { hourly: 30, daily: 2, at_least_verified: 1, ..Keep::default() };
    let mut golden = String::new();
    for (title, first) in
        [("The clock goes back", "2026-10-24T22:30:00Z"), ("The clock goes forward", "2027-03-27T23:30:00Z")]
    {
        let halves = every(HOUR / 2, at(first), 8);
        let plan = plan_retention(&halves, &keep, &london, at(first) + DAY);
        golden.push_str(&text(
            &format!("{title}: hourly 30, daily 2; two snapshots an hour"),
            &plan,
            &london,
        ));
        golden.push('\n');
    }
    compare("clock-changes.txt", &golden);
}

/// A second destination that accepts two tiers and cannot be reached for some weeks.
#[test]
fn weekly_and_monthly_with_missed_weeks() {
    let london = zone("Europe/London");
    let accept = [Tier::Weekly, Tier::Monthly];
    let keep = Keep { daily: 7, weekly: 8, monthly: 6, ..Keep::default() }.restricted_to(&accept);
    let unreachable = |time: Timestamp| {
        let between = |from: &str, to: &str| (at(from)..at(to)).contains(&time);
        between("2026-05-03T00:00:00Z", "2026-05-19T00:00:00Z")
            || between("2026-07-27T00:00:00Z", "2026-07-30T00:00:00Z")
    };
    let mut golden = String::from("accept weekly, monthly; weekly 8, monthly 6; a run every night\n");
    let mut there: Vec<Candidate> = Vec::new();
    for night in every(DAY, at("2026-04-01T03:00:00Z"), 140) {
        let wanted = wanted_by(&accept, &there, night.time, &london, night.since);
        let day = night.time.to_zoned(london.clone()).strftime("%a %Y-%m-%d").to_string();
        let slots: Vec<String> = wanted.iter().map(|(tier, slot)| format!("{tier} {slot}")).collect();
        if wanted.is_empty() {
            continue;
        }
        if unreachable(night.time) {
            writeln!(golden, "{day}  unreachable, wanted {}", slots.join(", ")).unwrap();
            continue;
        }
        writeln!(golden, "{day}  taken for {}", slots.join(", ")).unwrap();
        let now = night.since;
        there.push(night);
        for removed in plan_retention(&there, &keep, &london, now).removed() {
            writeln!(golden, "{day}    {}", line(removed, &london)).unwrap();
            there.retain(|candidate| candidate.id != removed.id);
        }
    }
    let plan = plan_retention(&there, &keep, &london, at("2026-08-19T00:00:00Z"));
    golden.push_str(&text("\nIn the end", &plan, &london));
    compare("accept-weekly-and-monthly.txt", &golden);
}

fn wished_and_doubted() -> Vec<Candidate> {
    let mut all = every(DAY, at("2026-11-01T03:00:00Z"), 21);
    let until = |time: &str| Some(at(time));
    all[0].hold = Some(Hold { until: None });
    all[1].hold = Some(Hold { until: until("2026-12-24T00:00:00Z") });
    all[2].hold = Some(Hold { until: until("2026-11-20T00:00:00Z") });
    all[3].keep_until = until("2027-01-31T00:00:00Z");
    all[4].standing = Standing::Suspect;
    all[15].standing = Standing::Damaged;
    all[18].standing = Standing::Damaged;
    // Accepted days later: another had come to represent its week.
    all[8].since = at("2026-11-12T10:00:00Z");
    all.push(taken(at("2026-09-01T03:00:00Z"), Standing::Suspect));
    all.push(taken(at("2026-09-02T03:00:00Z"), Standing::Damaged));
    all.push(Candidate {
        hold: Some(Hold { until: None }),
        ..taken(at("2026-09-03T03:00:00Z"), Standing::Suspect)
    });
    all.push(good(at("2027-11-22T03:00:00Z")));
    all.push(taken(at("2028-11-22T03:00:00Z"), Standing::Suspect));
    all
}

#[test]
fn holds_suspect_and_damaged_ones() {
    let keep = Keep { daily: 3, weekly: 4, ..Keep::default() };
    let now = at("2026-11-22T12:00:00Z");
    let mut all = wished_and_doubted();
    let plan = plan_retention(&all, &keep, &TimeZone::UTC, now);
    let mut golden = text("daily 3, weekly 4", &plan, &TimeZone::UTC);
    all.push(taken(at("2026-11-22T03:00:00Z"), Standing::Suspect));
    let plan = plan_retention(&all, &keep, &TimeZone::UTC, now);
    golden.push_str(&text("\nThe same, and the newest is suspect", &plan, &TimeZone::UTC));
    compare("holds-suspect-and-damaged.txt", &golden);
}

#[test]
fn calendar() {
    let plan = plan_retention(
        &wished_and_doubted(),
        &Keep { daily: 3, weekly: 4, ..Keep::default() },
        &TimeZone::UTC,
        at("2026-11-22T12:00:00Z"),
    );
    let mut golden = String::new();
    for day in plan.calendar(&zone("America/New_York")) {
        for entry in day.entries {
            let deed = if entry.keep { "keep  " } else { "remove" };
            writeln!(golden, "{} {deed} {} {}", day.date, entry.id, entry.reasons.join(", ")).unwrap();
        }
    }
    compare("calendar.txt", &golden);
}

/// Everything that can be added after the fact, a thousand times over: it pushes nothing out.
#[test]
fn flood() {
    let keep = Keep { daily: 7, weekly: 4, at_least_verified: 5, ..Keep::default() };
    let now = at("2026-11-22T12:00:00Z");
    let real = every(DAY, at("2026-10-20T03:00:00Z"), 34);
    let before = plan_retention(&real, &keep, &TimeZone::UTC, now);
    let mut all = real.clone();
    for number in 1..=1000 {
        let id = |time| SnapshotId::new(time, number);
        let past = now - HOUR * i32::try_from(number).unwrap() / 2;
        let future = now + HOUR * i32::try_from(number).unwrap();
        let add = |time, standing| Candidate { id: id(time), since: now, ..taken(time, standing) };
        all.push(add(past, Standing::Damaged));
        all.push(add(future, Standing::Good));
        // Suspect ones behind the newest, since a newer one would freeze everything.
        all.push(add(past - DAY, Standing::Suspect));
    }
    let after = plan_retention(&all, &keep, &TimeZone::UTC, now);
    let is_real = |decision: &&Decision| real.iter().any(|candidate| candidate.id == decision.id);
    let real_after: Vec<Decision> = after.decisions.iter().filter(is_real).cloned().collect();
    assert_eq!(real_after, before.decisions);

    let mut added: BTreeMap<String, u32> = BTreeMap::new();
    for decision in after.decisions.iter().filter(|decision| !is_real(decision)) {
        let reasons: Vec<String> = decision.reasons.iter().map(Reason::to_string).collect();
        *added.entry(reasons.join("; ")).or_default() += 1;
    }
    let mut golden = text("daily 7, weekly 4, floor 5; before and after the flood", &before, &TimeZone::UTC);
    golden.push_str("\nThe flood\n");
    for (reasons, number) in added {
        writeln!(golden, "{number} times: {reasons}").unwrap();
    }
    compare("flood.txt", &golden);
}
