//! A retention plan by days, for people to look at before anything is removed.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::Serialize;

use super::RetentionPlan;
use crate::SnapshotId;

/// One day of the job's time zone that has snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CalendarDay {
    /// Which day.
    pub date: Date,
    /// Its snapshots, oldest first; never empty.
    pub entries: Vec<CalendarEntry>,
}

/// What happens to one snapshot of a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CalendarEntry {
    /// Which.
    pub id: SnapshotId,
    /// Its time.
    pub time: Timestamp,
    /// Whether it stays.
    pub keep: bool,
    /// Why, in a word or two each: `daily`, `last`, `held`.
    pub reasons: Vec<&'static str>,
}

impl RetentionPlan {
    /// The plan by days of `time_zone`, oldest first. Days without a snapshot are left out.
    pub fn calendar(&self, time_zone: &TimeZone) -> Vec<CalendarDay> {
        let mut days: BTreeMap<Date, Vec<CalendarEntry>> = BTreeMap::new();
        for decision in self.decisions.iter().rev() {
            days.entry(decision.time.to_zoned(time_zone.clone()).date()).or_default().push(CalendarEntry {
                id: decision.id.clone(),
                time: decision.time,
                keep: decision.keep,
                reasons: decision.reasons.iter().map(super::Reason::in_short).collect(),
            });
        }
        days.into_iter().map(|(date, entries)| CalendarDay { date, entries }).collect()
    }
}
