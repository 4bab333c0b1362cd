//! Retention: which snapshots are kept, and why. A pure function of what is there, the rule, and the time.
//!
//! A slot (an hour, a day, a week, a month, a year in the job's time zone) is represented by the *first good*
//! snapshot in it, for ever. A slot belongs to a snapshot by the deployment's clock, not the daemon's and not the
//! order of keys; which was the first is decided by the store's clock, so that nothing added later takes its place.
//! Only good snapshots represent slots. A suspect or damaged one is kept for a while for people to look at; while a
//! suspect one is the newest, nothing is removed at all. A snapshot from the future is kept and counts for nothing.

mod calendar;
mod horizon;
mod keep;
mod slots;

use std::{collections::BTreeMap, fmt};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde::Serialize;

pub use self::{
    calendar::{CalendarDay, CalendarEntry},
    horizon::keep_horizon,
    keep::Keep,
    slots::wanted_by,
};
use crate::{Hold, SnapshotId, Standing, Tier};

/// How long a suspect or damaged snapshot is kept for people to look at, once a good one has followed it.
const KEPT_FOR_PEOPLE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A snapshot, as far as retention is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its identifier.
    pub id: SnapshotId,
    /// Its time, by the deployment's clock.
    pub time: Timestamp,
    /// Whether it counts as good.
    pub standing: Standing,
    /// Since when, by the store's clock: when its manifest was written; for an accepted one the later of that and of
    /// its accept mark; for a damaged one when its newest damaged mark was written.
    pub since: Timestamp,
    /// A wish that it is not deleted.
    pub hold: Option<Hold>,
    /// It may not be deleted before this time.
    pub keep_until: Option<Timestamp>,
}

impl Candidate {
    /// Whether it may represent slots, be among the newest, and count towards the floor.
    fn counts(&self, now: Timestamp) -> bool {
        self.standing == Standing::Good && self.time <= now
    }

    /// Of all that count in a slot, the one with the least of this represents it.
    fn precedence(&self) -> (Timestamp, Timestamp, &SnapshotId) {
        (self.since, self.time, &self.id)
    }

    /// The newest has the greatest of this.
    fn recency(&self) -> (Timestamp, &SnapshotId) {
        (self.time, &self.id)
    }
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
        /// The unit.
        tier: Tier,
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
    /// A person put a hold on it.
    Held {
        /// Until when; `None` means until somebody releases it.
        until: Option<Timestamp>,
    },
    /// It looks wrong, and a person has not looked yet.
    Suspect,
    /// What is stored of it is not what its manifest says, and it may yet be repaired.
    Damaged,
    /// The newest snapshot looks wrong: nothing is removed until a good one follows.
    Frozen,
    /// Its time is in the future by the daemon's clock; one of the two clocks may be wrong.
    Future,
    /// No rule keeps it.
    NotKept,
    /// It looked wrong, a good one followed, and the time for looking at it is over.
    SuspectExpired,
    /// It is damaged, a good one followed, and the time for repairing it is over.
    DamagedExpired,
}

impl Reason {
    /// The reason in one or two words, for a calendar.
    fn in_short(&self) -> &'static str {
        match self {
            Self::NoRule => "no rule",
            Self::Last { .. } => "last",
            Self::Slot { tier, .. } => tier.as_str(),
            Self::Within => "within",
            Self::Floor => "floor",
            Self::KeepUntil { .. } => "until",
            Self::Held { .. } => "held",
            Self::Suspect | Self::SuspectExpired => "suspect",
            Self::Damaged | Self::DamagedExpired => "damaged",
            Self::Frozen => "frozen",
            Self::Future => "future",
            Self::NotKept => "not kept",
        }
    }
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
            Self::Held { until: Some(until) } => write!(f, "held until {until}"),
            Self::Held { until: None } => f.write_str("held until it is released"),
            Self::Suspect => f.write_str("suspect, kept to be looked at"),
            Self::Damaged => f.write_str("damaged, kept to be repaired"),
            Self::Frozen => f.write_str("frozen: the newest snapshot is suspect"),
            Self::Future => f.write_str("its time is in the future"),
            Self::NotKept => f.write_str("no rule keeps it"),
            Self::SuspectExpired => f.write_str("suspect, followed by a good one, and 30 days old"),
            Self::DamagedExpired => f.write_str("damaged for 30 days, and followed by a good one"),
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

/// Decides what is kept of `candidates`, in any order. `now` decides what is in the future, and is used for
/// `within`, `keep_until`, holds and ages; for nothing else.
pub fn plan(candidates: &[Candidate], keep: &Keep, time_zone: &TimeZone, now: Timestamp) -> RetentionPlan {
    let mut sorted: Vec<&Candidate> = candidates.iter().collect();
    sorted.sort_by(|a, b| b.recency().cmp(&a.recency()));
    let mut reasons: Vec<Vec<Reason>> = sorted.iter().map(|_| Vec::new()).collect();

    pin(&sorted, &mut reasons, keep, now);
    keep_newest(&sorted, &mut reasons, keep, now);
    for tier in Tier::ALL {
        keep_slots(&sorted, &mut reasons, (tier, keep.of(tier)), time_zone, now);
    }
    keep_floor(&sorted, &mut reasons, keep, now);

    let frozen = sorted
        .iter()
        .find(|candidate| candidate.time <= now && candidate.standing != Standing::Damaged)
        .is_some_and(|newest| newest.standing == Standing::Suspect);
    let decisions = sorted
        .iter()
        .zip(reasons)
        .map(|(candidate, mut reasons)| {
            let keep = frozen || !reasons.is_empty();
            if reasons.is_empty() {
                reasons.push(if frozen { Reason::Frozen } else { reason_to_remove(candidate) });
            }
            Decision { id: candidate.id.clone(), time: candidate.time, keep, reasons }
        })
        .collect();
    RetentionPlan { decisions, frozen }
}

fn reason_to_remove(candidate: &Candidate) -> Reason {
    match candidate.standing {
        Standing::Good => Reason::NotKept,
        Standing::Suspect => Reason::SuspectExpired,
        Standing::Damaged => Reason::DamagedExpired,
    }
}

/// What keeps a snapshot whatever else is there, and what keeps those that do not count.
fn pin(sorted: &[&Candidate], reasons: &mut [Vec<Reason>], keep: &Keep, now: Timestamp) {
    let newest_good = sorted.iter().find(|candidate| candidate.counts(now)).map(|candidate| candidate.time);
    for (candidate, reasons) in sorted.iter().zip(reasons) {
        if keep.keeps_everything() {
            reasons.push(Reason::NoRule);
        }
        if let Some(until) = candidate.keep_until.filter(|until| *until > now) {
            reasons.push(Reason::KeepUntil { until });
        }
        if let Some(Hold { until }) = candidate.hold.filter(|hold| hold.until.is_none_or(|until| until > now))
        {
            reasons.push(Reason::Held { until });
        }
        if candidate.time > now {
            reasons.push(Reason::Future);
        }
        let followed = newest_good.is_some_and(|good| good > candidate.time);
        let age = now.duration_since(candidate.time.max(candidate.since));
        if !followed || age <= KEPT_FOR_PEOPLE {
            match candidate.standing {
                Standing::Good => {}
                Standing::Suspect => reasons.push(Reason::Suspect),
                Standing::Damaged => reasons.push(Reason::Damaged),
            }
        }
    }
}

fn keep_newest(sorted: &[&Candidate], reasons: &mut [Vec<Reason>], keep: &Keep, now: Timestamp) {
    let counting = sorted.iter().zip(reasons).filter(|(candidate, _)| candidate.counts(now));
    for (number, (candidate, reasons)) in (1..).zip(counting) {
        if number <= keep.last {
            reasons.push(Reason::Last { number });
        }
        let age = now.duration_since(candidate.time);
        if keep.within.is_some_and(|within| age.unsigned_abs() <= within) {
            reasons.push(Reason::Within);
        }
    }
}

fn keep_slots(
    sorted: &[&Candidate],
    reasons: &mut [Vec<Reason>],
    (tier, number): (Tier, u32),
    time_zone: &TimeZone,
    now: Timestamp,
) {
    let counting = || sorted.iter().copied().filter(|candidate| candidate.counts(now));
    if number == 0 {
        return;
    }
    let newest = slots::newest_slots(tier, number, counting(), time_zone);
    let mut represented: BTreeMap<&SnapshotId, String> = slots::representatives(tier, counting(), time_zone)
        .into_iter()
        .filter(|(slot, _)| newest.contains(slot))
        .map(|(slot, first)| (&first.id, slot))
        .collect();
    for (candidate, reasons) in sorted.iter().zip(reasons) {
        if let Some(slot) = represented.remove(&candidate.id) {
            reasons.push(Reason::Slot { tier, slot });
        }
    }
}

/// The floor is the newest good ones, and not any that the other rules keep: what is added below them takes nothing
/// from them.
fn keep_floor(sorted: &[&Candidate], reasons: &mut [Vec<Reason>], keep: &Keep, now: Timestamp) {
    let counting = sorted.iter().zip(reasons).filter(|(candidate, _)| candidate.counts(now));
    for (_, reasons) in counting.take(keep.floor()).filter(|(_, reasons)| reasons.is_empty()) {
        reasons.push(Reason::Floor);
    }
}
