//! [`Intervals`]: how often verify comes, and what is overdue by that.

use std::collections::BTreeMap;

use convault_core::{HoldingStatus, Schedule, Status, VerifyStatus};
use jiff::Timestamp;

use crate::verdict::LATE_AFTER_SECONDS;

/// The longest time between two due times, by schedule. Each schedule is computed once, however many use it.
pub(crate) struct Intervals<'a> {
    by_schedule: BTreeMap<&'a str, Option<f64>>,
    started: Timestamp,
    now: Timestamp,
}

impl<'a> Intervals<'a> {
    /// Those of every verify task of `status`. In UTC: another zone makes an hour's difference on two days a year.
    pub(crate) fn of(status: &'a Status) -> Self {
        let mut by_schedule = BTreeMap::new();
        for task in &status.verifying {
            by_schedule.entry(task.schedule.as_str()).or_insert_with(|| {
                Schedule::new(&task.schedule, "UTC").ok()?.expected_interval_seconds(status.now)
            });
        }
        Self { by_schedule, started: status.started, now: status.now }
    }

    /// Seconds; `None` where the schedule cannot be read.
    pub(crate) fn seconds_of(&self, task: &VerifyStatus) -> Option<f64> {
        self.by_schedule.get(task.schedule.as_str()).copied().flatten()
    }

    /// Whether twice the interval has gone by without a verify that found everything sound. Where there never was one,
    /// that counts from when there were both a daemon and a snapshot. The same rule as the alert
    /// `ConvaultVerifyOverdue`.
    pub(crate) fn is_overdue(&self, task: &VerifyStatus, holding: &HoldingStatus) -> bool {
        let never = holding.oldest_read.map(|read| read.max(self.started));
        let since = holding.last_verified.or(never);
        self.seconds_of(task)
            .zip(since)
            .is_some_and(|(interval, since)| self.age(since) > 2.0 * interval + LATE_AFTER_SECONDS)
    }

    /// Whether something was read in full longer ago than the settings allow. The same rule as the alert
    /// `ConvaultReadingOverdue`.
    pub(crate) fn is_reading_overdue(&self, task: &VerifyStatus, holding: &HoldingStatus) -> bool {
        let limit = task.read_all_within_seconds + LATE_AFTER_SECONDS;
        holding.oldest_read.is_some_and(|read| self.age(read) > limit)
    }

    fn age(&self, time: Timestamp) -> f64 {
        self.now.duration_since(time).as_secs_f64()
    }
}
