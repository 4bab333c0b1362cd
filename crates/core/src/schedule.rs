//! When a job is due: a cron expression in a time zone.
//!
//! Computed by croner 4 over jiff, which is right on the days the clocks change: a time that does not exist
//! that day is due at the first moment after the gap, and a time that exists twice is due once. Expressions that
//! fire every minute or every hour follow real time instead.

use std::{fmt, str::FromStr as _};

use croner::Cron;
use jiff::{Timestamp, tz::TimeZone};

/// A schedule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The expression is not five cron fields.
    #[error(
        "`{expression}` is not a schedule: expected five fields (minute hour day month weekday), such as `0 3 * * *`: {why}"
    )]
    Expression {
        /// What was written.
        expression: String,
        /// What is wrong with it.
        why: String,
    },
    /// The time zone is not in the database.
    #[error("`{time_zone}` is not a time zone: expected an IANA name, such as `Europe/London` or `UTC`")]
    TimeZone {
        /// What was written.
        time_zone: String,
    },
}

/// A cron expression in a time zone.
#[derive(Clone)]
pub struct Schedule {
    cron: Cron,
    expression: String,
    time_zone: TimeZone,
    time_zone_name: String,
}

impl Schedule {
    /// Reads `expression` (five fields, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`) as local time of
    /// `time_zone` (an IANA name).
    pub fn new(expression: &str, time_zone: &str) -> Result<Self, ScheduleError> {
        let wrong = |why: String| ScheduleError::Expression { expression: expression.to_owned(), why };
        let fields = expression.split_whitespace().count();
        if fields != 5 && !expression.trim_start().starts_with('@') {
            return Err(wrong(format!("it has {fields} fields")));
        }
        let cron = Cron::from_str(expression).map_err(|error| wrong(error.to_string()))?;
        let zone = TimeZone::get(time_zone)
            .map_err(|_| ScheduleError::TimeZone { time_zone: time_zone.to_owned() })?;
        let schedule = Self {
            cron,
            expression: expression.to_owned(),
            time_zone: zone,
            time_zone_name: time_zone.to_owned(),
        };
        // An expression such as `0 0 30 2 *` parses, but never comes.
        let start = Timestamp::from_second(1_700_000_000).expect("a second of 2023 is a timestamp");
        if schedule.next_after(start).is_none() {
            return Err(wrong("it never comes".to_owned()));
        }
        Ok(schedule)
    }

    /// The first due time after `time`.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let local = time.to_zoned(self.time_zone.clone());
        self.cron.find_next_occurrence(&local, false).ok().map(|zoned| zoned.timestamp())
    }

    /// The newest due time in `(after, until]`: what was missed in between, as one.
    pub fn last_between(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let local = until.to_zoned(self.time_zone.clone());
        let newest = self.cron.find_previous_occurrence(&local, true).ok()?.timestamp();
        (newest > after && newest <= until).then_some(newest)
    }

    /// The longest time between two of the next due times after `time`, in seconds: how old the newest snapshot
    /// may get without anything being wrong.
    pub fn expected_interval_seconds(&self, time: Timestamp) -> Option<f64> {
        let mut due = self.next_after(time)?;
        let mut longest: f64 = 0.0;
        for _ in 0..32 {
            let next = self.next_after(due)?;
            longest = longest.max(next.duration_since(due).as_secs_f64());
            due = next;
        }
        Some(longest)
    }

    /// The expression as it was written.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The name of the time zone as it was written.
    pub fn time_zone_name(&self) -> &str {
        &self.time_zone_name
    }

    /// The time zone.
    pub fn time_zone(&self) -> &TimeZone {
        &self.time_zone
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({} {})", self.expression, self.time_zone_name)
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.expression == other.expression && self.time_zone_name == other.time_zone_name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(expression: &str, zone: &str, from: &str, number: usize) -> Vec<String> {
        let schedule = Schedule::new(expression, zone).unwrap();
        let mut time: Timestamp = from.parse().unwrap();
        (0..number)
            .map(|_| {
                time = schedule.next_after(time).unwrap();
                time.to_string()
            })
            .collect()
    }

    #[test]
    fn on_the_spring_day_a_skipped_time_is_due_once() {
        // London skips 01:00 to 02:00 on 2026-03-29.
        assert_eq!(
            due("30 1 * * *", "Europe/London", "2026-03-28T12:00:00Z", 2),
            ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
        assert_eq!(
            due("0 1 * * *", "Europe/London", "2026-03-28T12:00:00Z", 2),
            ["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]
        );
        assert_eq!(
            due("0 3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
            ["2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"]
        );
    }

    #[test]
    fn on_the_autumn_day_a_repeated_time_is_due_once() {
        // London has 01:00 to 02:00 twice on 2026-10-25.
        assert_eq!(
            due("30 1 * * *", "Europe/London", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
        assert_eq!(
            due("0 3 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T02:00:00Z", "2026-10-26T02:00:00Z"]
        );
    }

    #[test]
    fn an_hourly_schedule_follows_real_time_on_both_days() {
        for start in ["2026-03-28T22:10:00Z", "2026-10-24T22:10:00Z"] {
            let times = due("0 * * * *", "Europe/London", start, 8);
            let mut expected: Timestamp =
                start.parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_mins(50);
            for time in times {
                assert_eq!(time, expected.to_string());
                expected += jiff::SignedDuration::from_hours(1);
            }
        }
    }

    #[test]
    fn what_was_missed_is_caught_up_as_one() {
        let schedule = Schedule::new("0 3 * * *", "UTC").unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(
            schedule.last_between(at("2026-11-18T03:00:00Z"), at("2026-11-22T01:00:00Z")),
            Some(at("2026-11-21T03:00:00Z"))
        );
        assert_eq!(schedule.last_between(at("2026-11-21T03:00:00Z"), at("2026-11-22T01:00:00Z")), None);
        assert_eq!(
            schedule.last_between(at("2026-11-21T03:00:00Z"), at("2026-11-22T03:00:00Z")),
            Some(at("2026-11-22T03:00:00Z"))
        );
    }

    #[test]
    fn an_impossible_schedule_is_refused_with_the_reason() {
        for bad in ["", "0 3 * *", "0 0 3 * * *", "61 3 * * *", "0 0 30 2 *", "whenever"] {
            let error = Schedule::new(bad, "UTC").unwrap_err();
            assert!(matches!(error, ScheduleError::Expression { .. }), "{bad}: {error}");
        }
        assert!(matches!(
            Schedule::new("0 3 * * *", "Mars/Base").unwrap_err(),
            ScheduleError::TimeZone { .. }
        ));
        for good in ["@daily", "*/15 * * * *", "0 3 * * MON-FRI", "0 3 L * *"] {
            Schedule::new(good, "UTC").unwrap();
        }
    }

    #[test]
    fn the_expected_interval_is_the_longest_gap() {
        let schedule = Schedule::new("0 3 * * MON-FRI", "UTC").unwrap();
        let start = "2026-11-22T03:00:00Z".parse().unwrap();
        assert_eq!(schedule.expected_interval_seconds(start), Some(3.0 * 86_400.0));
    }
}
