//! Reading everything again within a period, with even load.

use std::{collections::BTreeSet, time::Duration};

use convault_core::{Readable, SnapshotId, share};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use crate::snapshots::at;

const DAY: Duration = Duration::from_hours(24);
const MONTH: Duration = Duration::from_hours(30 * 24);

fn readable(number: u32, stored_bytes: u64, read: Timestamp) -> Readable {
    Readable { id: SnapshotId::new(read, number), stored_bytes, read }
}

/// Reads what is due, and gives the bytes read.
fn run(all: &mut [Readable], within: Duration, interval: Duration, now: Timestamp) -> u64 {
    let chosen: BTreeSet<SnapshotId> = share(all, within, interval, now).into_iter().collect();
    let read = all.iter_mut().filter(|one| chosen.contains(&one.id));
    read.map(|one| {
        one.read = now;
        one.stored_bytes
    })
    .sum()
}

/// How long the longest unread snapshot has been unread; nothing where there is none.
fn oldest_unread(all: &[Readable], now: Timestamp) -> Duration {
    let ages = all.iter().map(|one| Duration::try_from(now.duration_since(one.read)).unwrap());
    ages.max().unwrap_or_default()
}

fn after(days: i32) -> Timestamp {
    at("2026-01-01T00:00:00Z") + SignedDuration::from_hours(24) * days
}

#[test]
fn nothing_is_unread_where_nothing_is_stored() {
    assert!(share(&[], MONTH, DAY, after(0)).is_empty());
}

#[test]
fn what_was_all_written_on_one_day_is_read_evenly_over_the_period() {
    let mut all: Vec<Readable> = (0..60).map(|number| readable(number, 1000, after(0))).collect();
    let loads: Vec<u64> = (1..=90).map(|day| run(&mut all, MONTH, DAY, after(day))).collect();
    assert!(loads.iter().all(|load| (2000..=3000).contains(load)), "{loads:?}");
}

#[test]
fn a_lone_large_snapshot_is_not_read_at_every_run() {
    let mut all = vec![readable(0, 1_000_000, after(0))];
    let reads = (1..=360).filter(|day| run(&mut all, MONTH, DAY, after(*day)) > 0).count();
    assert!((12..=13).contains(&reads), "{reads}");
}

#[test]
fn what_is_overdue_is_read_at_once_and_the_longest_unread_first() {
    let all: Vec<Readable> = (0..365).map(|day| readable(0, 1000, after(day))).collect();
    let overdue = share(&all, MONTH, DAY, after(365));
    assert_eq!(overdue.len(), 365 - 29);
    assert_eq!(overdue[0], all[0].id);
}

#[test]
fn a_period_shorter_than_the_interval_reads_everything() {
    for stored_bytes in [0, 10] {
        let all: Vec<Readable> = (0..5).map(|number| readable(number, stored_bytes, after(0))).collect();
        assert_eq!(share(&all, DAY, MONTH, after(0)).len(), 5);
    }
}

proptest! {
    /// With runs at most `interval` apart nothing is ever unread for longer than `within`; a run that comes late
    /// adds its delay. Snapshots come and go as they like.
    #[test]
    fn nothing_is_unread_for_longer_than_the_period(
        runs in proptest::collection::vec(
            (
                proptest::collection::vec(0_u64..5_000_000, 0..4),
                proptest::collection::vec(any::<prop::sample::Index>(), 0..3),
                1_u64..=24,
                prop_oneof![9 => Just(0_u64), 1 => 1_u64..100],
            ),
            1..200,
        ),
        days in 1_u64..40,
    ) {
        let (interval, within) = (DAY, DAY * u32::try_from(days).unwrap());
        let mut now = after(0);
        let mut all: Vec<Readable> = Vec::new();
        let mut delays = Duration::ZERO;
        for (number, (added, removed, hours, delay)) in (0_u32..).zip(runs) {
            for (place, bytes) in (0..).zip(added) {
                all.push(readable(number * 8 + place, bytes, now));
            }
            for index in removed {
                if !all.is_empty() {
                    all.swap_remove(index.index(all.len()));
                }
            }
            let hours = if delay > 0 { 24 + delay } else { hours };
            now += SignedDuration::from_hours(i64::try_from(hours).unwrap());
            delays = delays.max(Duration::from_hours(hours).saturating_sub(interval));
            let oldest = oldest_unread(&all, now);
            prop_assert!(oldest <= within.max(interval) + delays, "{oldest:?}");
            run(&mut all, within, interval, now);
        }
    }

    #[test]
    fn the_order_says_nothing(ages in proptest::collection::vec((0_i32..60, 0_u64..1000), 0..30)) {
        let mut all: Vec<Readable> = (0..)
            .zip(ages)
            .map(|(number, (age, bytes))| readable(number, bytes, after(-age)))
            .collect();
        let chosen = share(&all, MONTH, DAY, after(0));
        all.reverse();
        prop_assert_eq!(share(&all, MONTH, DAY, after(0)), chosen);
    }
}
