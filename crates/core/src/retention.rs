//! Retention: which snapshots are kept, and why. A pure function of what is there, the rule, and the time.
//!
//! A slot (an hour, a day, a week, a month, a year in the job's time zone) is represented by the *first good*
//! snapshot in it. A snapshot's time is the deployment's, not the daemon's and not the order of keys. Only good
//! snapshots represent slots; a suspect one is kept for people to look at, and while it is the newest, nothing is
//! removed at all.

use std::{collections::BTreeSet, fmt, time::Duration};

use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde::Serialize;

use crate::SnapshotId;

/// How long a suspect snapshot is kept once a good one has followed it.
const SUSPECT_KEPT: Duration = Duration::from_hours(30 * 24);

/// What to keep. The default keeps everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Keep {
    /// This many newest good snapshots.
    pub last: u32,
    /// One for each of this many newest hours that have one.
    pub hourly: u32,
    /// One for each of this many newest days that have one.
    pub daily: u32,
    /// One for each of this many newest weeks (from Monday, ISO 8601) that have one.
    pub weekly: u32,
    /// One for each of this many newest months that have one.
    pub monthly: u32,
    /// One for each of this many newest years that have one.
    pub yearly: u32,
    /// Every good snapshot that is not older than this.
    pub within: Option<Duration>,
    /// The floor: never fewer good snapshots than this, whatever the rest says; at least 1.
    pub at_least_verified: u32,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            last: 0,
            hourly: 0,
            daily: 0,
            weekly: 0,
            monthly: 0,
            yearly: 0,
            within: None,
            at_least_verified: 3,
        }
    }
}

impl Keep {
    /// Whether no rule limits anything: then everything is kept.
    pub fn keeps_everything(&self) -> bool {
        self.within.is_none()
            && [self.last, self.hourly, self.daily, self.weekly, self.monthly, self.yearly]
                .iter()
                .all(|n| *n == 0)
    }
}

/// A snapshot, as far as retention is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its identifier.
    pub id: SnapshotId,
    /// Its time, by the deployment's clock.
    pub time: Timestamp,
    /// Whether it counts as good.
    pub good: bool,
    /// It may not be deleted before this time.
    pub keep_until: Option<Timestamp>,
}

/// Why a snapshot is kept or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Reason {
    /// No rule was given.
    NoRule,
    /// Among the newest; the number counts from 1.
    Last {
        /// Which.
        number: u32,
    },
    /// It represents a slot.
    Slot {
        /// `hourly`, `daily`, `weekly`, `monthly` or `yearly`.
        tier: &'static str,
        /// The slot, such as `2026-11-22` or `2026-W47`.
        slot: String,
    },
    /// Not older than `within`.
    Within,
    /// Needed for the floor.
    Floor,
    /// Whoever made it asked for that.
    KeepUntil {
        /// Until when.
        until: Timestamp,
    },
    /// It looks wrong, and a person has not looked yet.
    Suspect,
    /// The newest snapshot looks wrong: nothing is removed until a good one follows.
    Frozen,
    /// Its time is in the future by the daemon's clock, which may be wrong.
    Future,
    /// No rule keeps it.
    NotKept,
    /// It looked wrong, a good one followed, and the time for looking at it is over.
    SuspectExpired,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRule => f.write_str("no rule: everything is kept"),
            Self::Last { number } => write!(f, "last {number}"),
            Self::Slot { tier, slot } => write!(f, "{tier} {slot}"),
            Self::Within => f.write_str("within"),
            Self::Floor => f.write_str("floor"),
            Self::KeepUntil { until } => write!(f, "until {until}"),
            Self::Suspect => f.write_str("suspect, kept to be looked at"),
            Self::Frozen => f.write_str("frozen: the newest snapshot is suspect"),
            Self::Future => f.write_str("its time is in the future"),
            Self::NotKept => f.write_str("no rule keeps it"),
            Self::SuspectExpired => f.write_str("suspect, followed by a good one, and 30 days old"),
        }
    }
}

/// What happens to one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Which.
    pub id: SnapshotId,
    /// Its time.
    pub time: Timestamp,
    /// Whether it stays.
    pub keep: bool,
    /// Every reason for that.
    pub reasons: Vec<Reason>,
}

/// What happens to every snapshot of a deployment in one destination, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RetentionPlan {
    /// One decision for each candidate.
    pub decisions: Vec<Decision>,
    /// Whether nothing is removed because the newest snapshot is suspect.
    pub frozen: bool,
}

impl RetentionPlan {
    /// The snapshots to be removed, oldest first.
    pub fn removed(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter().rev().filter(|decision| !decision.keep)
    }
}

struct Tier {
    name: &'static str,
    number: u32,
    slot: fn(&Zoned) -> String,
}

fn tiers(keep: &Keep) -> [Tier; 5] {
    [
        Tier {
            name: "hourly",
            number: keep.hourly,
            slot: |time| time.strftime("%Y-%m-%d %H:00%:z").to_string(),
        },
        Tier { name: "daily", number: keep.daily, slot: |time| time.strftime("%Y-%m-%d").to_string() },
        Tier { name: "weekly", number: keep.weekly, slot: |time| time.strftime("%G-W%V").to_string() },
        Tier { name: "monthly", number: keep.monthly, slot: |time| time.strftime("%Y-%m").to_string() },
        Tier { name: "yearly", number: keep.yearly, slot: |time| time.strftime("%Y").to_string() },
    ]
}

/// Decides what is kept of `candidates`, in any order. `now` is used only for `within`, `keep_until` and ages.
pub fn plan(candidates: &[Candidate], keep: &Keep, time_zone: &TimeZone, now: Timestamp) -> RetentionPlan {
    let mut sorted: Vec<&Candidate> = candidates.iter().collect();
    sorted.sort_by(|a, b| (b.time, &b.id).cmp(&(a.time, &a.id)));
    let mut decisions: Vec<Decision> = sorted
        .iter()
        .map(|candidate| Decision {
            id: candidate.id.clone(),
            time: candidate.time,
            keep: false,
            reasons: vec![],
        })
        .collect();

    pin(&sorted, &mut decisions, keep, now);
    for tier in tiers(keep) {
        keep_slots(&sorted, &mut decisions, &tier, time_zone);
    }
    keep_floor(&sorted, &mut decisions, keep);

    let frozen = sorted.first().is_some_and(|newest| !newest.good);
    for (candidate, decision) in sorted.iter().zip(&mut decisions) {
        decision.keep = !decision.reasons.is_empty();
        if !decision.keep && frozen {
            decision.keep = true;
            decision.reasons.push(Reason::Frozen);
        }
        if !decision.keep {
            decision.reasons.push(if candidate.good { Reason::NotKept } else { Reason::SuspectExpired });
        }
    }
    RetentionPlan { decisions, frozen }
}

fn pin(sorted: &[&Candidate], decisions: &mut [Decision], keep: &Keep, now: Timestamp) {
    let newest_good = sorted.iter().find(|candidate| candidate.good).map(|candidate| candidate.time);
    let mut good_seen = 0;
    for (candidate, decision) in sorted.iter().zip(decisions) {
        let age = now.duration_since(candidate.time);
        let reasons = &mut decision.reasons;
        if keep.keeps_everything() {
            reasons.push(Reason::NoRule);
        }
        if let Some(until) = candidate.keep_until.filter(|until| *until > now) {
            reasons.push(Reason::KeepUntil { until });
        }
        if age.is_negative() {
            reasons.push(Reason::Future);
        }
        if candidate.good {
            good_seen += 1;
            if good_seen <= keep.last {
                reasons.push(Reason::Last { number: good_seen });
            }
            if keep.within.is_some_and(|within| age.unsigned_abs() <= within && !age.is_negative()) {
                reasons.push(Reason::Within);
            }
        } else if newest_good.is_none_or(|good| good < candidate.time) || age.unsigned_abs() <= SUSPECT_KEPT {
            reasons.push(Reason::Suspect);
        }
    }
}

fn keep_slots(sorted: &[&Candidate], decisions: &mut [Decision], tier: &Tier, time_zone: &TimeZone) {
    let slot_of = |candidate: &Candidate| (tier.slot)(&candidate.time.to_zoned(time_zone.clone()));
    let mut newest_slots = BTreeSet::new();
    for candidate in sorted.iter().filter(|candidate| candidate.good) {
        if newest_slots.len() >= tier.number as usize {
            break;
        }
        newest_slots.insert(slot_of(candidate));
    }
    // From the oldest on, so that the first good snapshot of a slot is the one that represents it.
    for (candidate, decision) in sorted.iter().zip(decisions).rev().filter(|(candidate, _)| candidate.good) {
        let slot = slot_of(candidate);
        if newest_slots.remove(&slot) {
            decision.reasons.push(Reason::Slot { tier: tier.name, slot });
        }
    }
}

fn keep_floor(sorted: &[&Candidate], decisions: &mut [Decision], keep: &Keep) {
    let floor = keep.at_least_verified.max(1) as usize;
    let good = || sorted.iter().enumerate().filter(|(_, candidate)| candidate.good).map(|(place, _)| place);
    let mut kept = good().filter(|place| !decisions[*place].reasons.is_empty()).count();
    for place in good() {
        if kept >= floor {
            break;
        }
        if decisions[place].reasons.is_empty() {
            decisions[place].reasons.push(Reason::Floor);
            kept += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(time: &str, good: bool) -> Candidate {
        let time: Timestamp = time.parse().unwrap();
        Candidate { id: SnapshotId::new(time, 0), time, good, keep_until: None }
    }

    fn text(plan: &RetentionPlan) -> String {
        plan.decisions
            .iter()
            .map(|decision| {
                let reasons: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
                let mark = if decision.keep { "keep  " } else { "remove" };
                format!("{mark} {} {}", decision.time, reasons.join("; "))
            })
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn three_weeks_of_nights_keep_days_weeks_and_months() {
        let nights: Vec<Candidate> = (1..=22)
            .map(|day| candidate(&format!("2026-11-{day:02}T03:00:00Z"), true))
            .chain([candidate("2026-10-31T03:00:00Z", true), candidate("2026-09-30T03:00:00Z", true)])
            .collect();
        let keep = Keep { daily: 3, weekly: 2, monthly: 2, ..Keep::default() };
        let plan = plan(
            &nights,
            &keep,
            &TimeZone::get("Europe/London").unwrap(),
            "2026-11-22T12:00:00Z".parse().unwrap(),
        );
        let kept: Vec<String> =
            text(&plan).lines().filter(|line| line.starts_with("keep")).map(str::to_owned).collect();
        assert_eq!(
            kept,
            [
                "keep   2026-11-22T03:00:00Z daily 2026-11-22",
                "keep   2026-11-21T03:00:00Z daily 2026-11-21",
                "keep   2026-11-20T03:00:00Z daily 2026-11-20",
                "keep   2026-11-16T03:00:00Z weekly 2026-W47",
                "keep   2026-11-09T03:00:00Z weekly 2026-W46",
                "keep   2026-11-01T03:00:00Z monthly 2026-11",
                "keep   2026-10-31T03:00:00Z monthly 2026-10",
            ]
        );
        assert_eq!(plan.removed().count(), 24 - 7);
    }

    #[test]
    fn a_slot_is_represented_by_its_first_good_snapshot() {
        let all = [
            candidate("2026-11-22T01:00:00Z", false),
            candidate("2026-11-22T02:00:00Z", true),
            candidate("2026-11-22T03:00:00Z", true),
            candidate("2026-11-22T04:00:00Z", true),
        ];
        let keep = Keep { daily: 7, at_least_verified: 1, ..Keep::default() };
        let plan = plan(&all, &keep, &TimeZone::UTC, "2027-11-22T12:00:00Z".parse().unwrap());
        assert_eq!(
            text(&plan),
            "remove 2026-11-22T04:00:00Z no rule keeps it\n\
             remove 2026-11-22T03:00:00Z no rule keeps it\n\
             keep   2026-11-22T02:00:00Z daily 2026-11-22\n\
             remove 2026-11-22T01:00:00Z suspect, followed by a good one, and 30 days old"
        );
    }

    #[test]
    fn a_suspect_newest_snapshot_freezes_everything() {
        let all = [
            candidate("2026-11-20T03:00:00Z", true),
            candidate("2026-11-21T03:00:00Z", true),
            candidate("2026-11-22T03:00:00Z", false),
        ];
        let keep = Keep { last: 1, at_least_verified: 1, ..Keep::default() };
        let plan = plan(&all, &keep, &TimeZone::UTC, "2026-11-22T12:00:00Z".parse().unwrap());
        assert!(plan.frozen);
        assert_eq!(plan.removed().count(), 0);
    }

    #[test]
    fn a_day_is_a_day_of_the_jobs_time_zone() {
        // 23:30 in London, summer, is the next day in UTC but not there.
        let all = [
            candidate("2026-07-01T21:30:00Z", true),
            candidate("2026-07-01T22:30:00Z", true),
            candidate("2026-07-01T23:30:00Z", true),
        ];
        let keep = Keep { daily: 2, at_least_verified: 1, ..Keep::default() };
        let plan = plan(
            &all,
            &keep,
            &TimeZone::get("Europe/London").unwrap(),
            "2026-07-02T12:00:00Z".parse().unwrap(),
        );
        let kept: Vec<bool> = plan.decisions.iter().map(|decision| decision.keep).collect();
        assert_eq!(kept, [true, false, true]);
    }

    fn snapshots() -> impl Strategy<Value = Vec<Candidate>> {
        let one = (0_i64..400 * 24, any::<bool>(), proptest::option::of(0_i64..800 * 24));
        proptest::collection::vec(one, 0..60).prop_map(|list| {
            let hour = |hours: i64| Timestamp::from_second(1_760_000_000 + hours * 3600).unwrap();
            let make = |(number, (time, good, until)): (usize, (i64, bool, Option<i64>))| Candidate {
                id: SnapshotId::new(hour(time), u32::try_from(number).unwrap()),
                time: hour(time),
                good,
                keep_until: until.map(hour),
            };
            list.into_iter().enumerate().map(make).collect()
        })
    }

    fn rules() -> impl Strategy<Value = Keep> {
        (0_u32..4, 0_u32..4, 0_u32..8, 0_u32..6, 0_u32..6, 0_u32..3, 0_u32..5).prop_map(
            |(last, hourly, daily, weekly, monthly, yearly, at_least_verified)| Keep {
                last,
                hourly,
                daily,
                weekly,
                monthly,
                yearly,
                within: None,
                at_least_verified,
            },
        )
    }

    proptest! {
        #[test]
        fn never_below_the_floor(all in snapshots(), keep in rules()) {
            let now = Timestamp::from_second(1_800_000_000).unwrap();
            let plan = plan(&all, &keep, &TimeZone::UTC, now);
            let good = |id: &SnapshotId| all.iter().any(|candidate| candidate.good && candidate.id == *id);
            let kept = plan.decisions.iter().filter(|decision| decision.keep && good(&decision.id)).count();
            let there = all.iter().filter(|candidate| candidate.good).count();
            prop_assert!(kept >= there.min(keep.at_least_verified.max(1) as usize));
            prop_assert!(plan.decisions.iter().all(|decision| !decision.reasons.is_empty()));
        }

        #[test]
        fn what_is_left_is_kept_the_second_time(all in snapshots(), keep in rules()) {
            let now = Timestamp::from_second(1_800_000_000).unwrap();
            let first = plan(&all, &keep, &TimeZone::UTC, now);
            let left: Vec<Candidate> = all.iter().filter(|candidate| {
                first.decisions.iter().any(|decision| decision.keep && decision.id == candidate.id)
            }).cloned().collect();
            prop_assert_eq!(plan(&left, &keep, &TimeZone::UTC, now).removed().count(), 0);
        }

        #[test]
        fn an_older_addition_removes_no_newer_snapshot(all in snapshots(), keep in rules(), good in any::<bool>()) {
            let now = Timestamp::from_second(1_800_000_000).unwrap();
            let before = plan(&all, &keep, &TimeZone::UTC, now);
            let time = Timestamp::from_second(1_760_000_000 - 3600).unwrap();
            let mut more = all.clone();
            more.push(Candidate { id: SnapshotId::new(time, 999), time, good, keep_until: None });
            let after = plan(&more, &keep, &TimeZone::UTC, now);
            for decision in before.decisions.iter().filter(|decision| decision.keep) {
                let later = after.decisions.iter().find(|other| other.id == decision.id).unwrap();
                let represented_by_the_addition = decision.reasons.iter().all(|reason| matches!(reason, Reason::Slot { .. }));
                prop_assert!(later.keep || represented_by_the_addition);
            }
        }
    }
}
