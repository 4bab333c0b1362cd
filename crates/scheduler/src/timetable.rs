//! [`Timetable`]: which due time of one job has come, as a function of the clock.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use convault_core::Schedule;
use jiff::{SignedDuration, Timestamp};

/// A due time noticed this much after its start time was missed: the machine slept, or nothing ran here.
const MISSED_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// How long, in real time, a due time stays taken. When the clock is set back by less, it comes to the same due time
/// again, which must not run again. When it is set back by more (it was a day or a year ahead), the same due time
/// stands for another night, which must not go without a run.
const TAKEN_FOR: Duration = Duration::from_hours(12);

/// Bounds the memory; twelve hours of a schedule that fires every minute.
const TAKEN_MAX: usize = 720;

/// A due time that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// It has come just now.
    OnTime(Timestamp),
    /// It was missed; the newest of those that were.
    Missed(Timestamp),
}

/// The due times of one job: gives each once, in whatever way the clock moves.
#[derive(Debug)]
pub(crate) struct Timetable {
    schedule: Schedule,
    offset: SignedDuration,
    next: Option<Timestamp>,
    seen: Timestamp,
    taken: VecDeque<(Timestamp, Instant)>,
}

impl Timetable {
    /// A job whose runs start `offset` after their due time. What was due after `last_due` is still to come, if that
    /// is known and in the past; else what is due from `now` on.
    pub(crate) fn new(
        schedule: Schedule,
        offset: Duration,
        last_due: Option<Timestamp>,
        now: Timestamp,
        instant: Instant,
    ) -> Self {
        let offset = SignedDuration::try_from(offset).unwrap_or(SignedDuration::MAX);
        let reached = now - offset;
        let next = schedule.next_after(last_due.map_or(reached, |last| last.min(reached)));
        let taken = last_due.map(|last| (last, instant)).into_iter().collect();
        Self { schedule, offset, next, seen: now, taken }
    }

    /// The next due time, without the offset.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.next
    }

    /// When the run for the next due time starts.
    pub(crate) fn next_start(&self) -> Option<Timestamp> {
        Some(self.next? + self.offset)
    }

    /// The due time that has come since the last call. If several have, the newest stands for all.
    pub(crate) fn advance(&mut self, now: Timestamp, instant: Instant) -> Option<Due> {
        let reached = now - self.offset;
        if now < self.seen {
            // The clock was set back: what comes next by the new time may be earlier than what came next by the old.
            let again = self.schedule.next_after(reached);
            self.next = [self.next, again].into_iter().flatten().min();
        }
        self.seen = now;
        let first = self.next.filter(|next| *next <= reached)?;
        let newest = self.schedule.last_between(first, reached).unwrap_or(first);
        self.next = self.schedule.next_after(newest);
        if !self.take(newest, instant) {
            return None;
        }
        let late = reached.duration_since(newest) > MISSED_AFTER;
        Some(if late { Due::Missed(newest) } else { Due::OnTime(newest) })
    }

    /// False if `due` was taken already.
    fn take(&mut self, due: Timestamp, instant: Instant) -> bool {
        self.taken.retain(|(_, when)| instant.saturating_duration_since(*when) < TAKEN_FOR);
        if self.taken.iter().any(|(taken, _)| *taken == due) {
            return false;
        }
        if self.taken.len() == TAKEN_MAX {
            self.taken.pop_front();
        }
        self.taken.push_back((due, instant));
        true
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a first point in real time, from which tests count")]
mod tests {
    use super::*;

    /// A clock whose two hands can be moved apart.
    struct Hands {
        now: Timestamp,
        instant: Instant,
    }

    impl Hands {
        fn at(now: &str) -> Self {
            Self { now: at(now), instant: Instant::now() }
        }

        fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
            self.instant += Duration::from_secs(seconds);
        }

        fn table(&self, expression: &str, zone: &str, last_due: Option<&str>) -> Timetable {
            let schedule = Schedule::new(expression, zone).unwrap();
            Timetable::new(schedule, Duration::ZERO, last_due.map(at), self.now, self.instant)
        }

        /// Looks at the clock every 20 seconds for so many hours.
        fn live(&mut self, table: &mut Timetable, hours: u64) -> Vec<Due> {
            let mut dues = Vec::new();
            for _ in 0..hours * 180 {
                self.pass(20);
                dues.extend(table.advance(self.now, self.instant));
            }
            dues
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn on_time(times: &[&str]) -> Vec<Due> {
        times.iter().map(|time| Due::OnTime(at(time))).collect()
    }

    #[test]
    fn each_due_time_comes_once() {
        let mut hands = Hands::at("2026-11-22T01:00:00Z");
        let mut table = hands.table("0 3 * * *", "UTC", None);
        let dues = hands.live(&mut table, 48);
        assert_eq!(dues, on_time(&["2026-11-22T03:00:00Z", "2026-11-23T03:00:00Z"]));
    }

    #[test]
    fn what_was_missed_comes_once_as_the_newest() {
        let mut hands = Hands::at("2026-11-22T12:00:00Z");
        let mut table = hands.table("0 3 * * *", "UTC", Some("2026-11-18T03:00:00Z"));
        assert_eq!(table.advance(hands.now, hands.instant), Some(Due::Missed(at("2026-11-22T03:00:00Z"))));
        assert_eq!(hands.live(&mut table, 16), on_time(&["2026-11-23T03:00:00Z"]));
    }

    #[test]
    fn a_job_without_a_past_has_missed_nothing() {
        let mut hands = Hands::at("2026-11-22T12:00:00Z");
        let mut table = hands.table("0 3 * * *", "UTC", None);
        assert_eq!(hands.live(&mut table, 14), []);
    }

    #[test]
    fn a_clock_set_back_an_hour_runs_nothing_twice() {
        let mut hands = Hands::at("2026-11-22T02:50:00Z");
        let mut table = hands.table("*/10 * * * *", "UTC", None);
        assert_eq!(hands.live(&mut table, 1).len(), 6);
        hands.now -= Duration::from_hours(1);
        assert_eq!(hands.live(&mut table, 1), []);
        assert_eq!(hands.live(&mut table, 1).len(), 6);
    }

    #[test]
    fn a_clock_that_was_a_year_ahead_does_not_silence_the_job() {
        let mut hands = Hands::at("2026-11-22T12:00:00Z");
        let mut table = hands.table("0 3 * * *", "UTC", None);
        hands.now = at("2027-11-22T12:00:00Z");
        assert_eq!(hands.live(&mut table, 1), [Due::Missed(at("2027-11-22T03:00:00Z"))]);
        hands.now = at("2026-11-22T13:00:00Z");
        assert_eq!(hands.live(&mut table, 24), on_time(&["2026-11-23T03:00:00Z"]));
    }

    #[test]
    fn a_clock_that_was_a_day_ahead_does_not_cost_a_night() {
        let mut hands = Hands::at("2026-11-22T12:00:00Z");
        let mut table = hands.table("0 3 * * *", "UTC", None);
        hands.now = at("2026-11-23T12:00:00Z");
        assert_eq!(hands.live(&mut table, 1), [Due::Missed(at("2026-11-23T03:00:00Z"))]);
        hands.now = at("2026-11-22T13:00:00Z");
        assert_eq!(hands.live(&mut table, 24), on_time(&["2026-11-23T03:00:00Z"]));
    }

    #[test]
    fn a_restart_after_the_clock_was_set_back_does_not_run_the_same_due_time_again() {
        let mut hands = Hands::at("2026-11-22T02:30:00Z");
        let mut table = hands.table("0 3 * * *", "UTC", Some("2026-11-22T03:00:00Z"));
        assert_eq!(hands.live(&mut table, 23), []);
        assert_eq!(hands.live(&mut table, 2), on_time(&["2026-11-23T03:00:00Z"]));
    }

    #[test]
    fn the_offset_moves_the_start_and_not_the_due_time() {
        let mut hands = Hands::at("2026-11-22T03:01:00Z");
        let schedule = Schedule::new("0 3 * * *", "UTC").unwrap();
        let offset = Duration::from_mins(10);
        let mut table = Timetable::new(schedule, offset, None, hands.now, hands.instant);
        assert_eq!(table.next_start(), Some(at("2026-11-22T03:10:00Z")));
        assert_eq!(hands.live(&mut table, 1), on_time(&["2026-11-22T03:00:00Z"]));
    }

    /// The days on which clocks change, and the local hours around it.
    const CHANGES: [(&str, &str); 8] = [
        ("Europe/London", "2026-03-29T01:00:00Z"),
        ("Europe/London", "2026-10-25T01:00:00Z"),
        ("America/New_York", "2026-03-08T07:00:00Z"),
        ("America/New_York", "2026-11-01T06:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
        ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
        ("America/Santiago", "2026-04-05T03:00:00Z"),
        ("America/Santiago", "2026-09-06T04:00:00Z"),
    ];

    #[test]
    fn a_daily_job_runs_once_on_each_day_around_a_clock_change() {
        for (zone, change) in CHANGES {
            let zone_data = jiff::tz::TimeZone::get(zone).unwrap();
            for (hour, minute) in
                (0..5).flat_map(|hour| [(hour, 0), (hour, 15), (hour, 30)]).chain([(23, 45)])
            {
                let mut hands = Hands { now: at(change) - Duration::from_hours(50), instant: Instant::now() };
                let mut table = hands.table(&format!("{minute} {hour} * * *"), zone, None);
                let dues = hands.live(&mut table, 100);
                let days: Vec<_> = dues
                    .iter()
                    .map(|due| match due {
                        Due::OnTime(due) => due.to_zoned(zone_data.clone()).date(),
                        Due::Missed(due) => panic!("{due} was missed"),
                    })
                    .collect();
                assert!(days.len() >= 4, "{zone} {hour}:{minute}: {days:?}");
                assert!(
                    days.windows(2).all(|pair| pair[1] == pair[0].tomorrow().unwrap()),
                    "{zone} {hour}:{minute}: {days:?}"
                );
            }
        }
    }

    #[test]
    fn an_hourly_job_runs_every_hour_through_a_clock_change() {
        for (zone, change) in CHANGES.into_iter().filter(|(zone, _)| *zone != "Australia/Lord_Howe") {
            let mut hands = Hands { now: at(change) - Duration::from_mins(1801), instant: Instant::now() };
            let mut table = hands.table("0 * * * *", zone, None);
            let dues = hands.live(&mut table, 60);
            assert_eq!(dues.len(), 60, "{zone} {change}");
        }
    }

    #[test]
    fn a_start_after_a_clock_change_catches_up_what_looking_at_the_clock_would_have_run() {
        for (zone, change) in CHANGES {
            for (hour, minute) in (0..4).flat_map(|hour| [(hour, 0), (hour, 30)]) {
                let expression = format!("{minute} {hour} * * *");
                let mut hands = Hands { now: at(change) - Duration::from_hours(30), instant: Instant::now() };
                let mut awake = hands.table(&expression, zone, None);
                let mut last = None;
                for _ in 0..60 {
                    for due in hands.live(&mut awake, 1) {
                        let Due::OnTime(due) = due else { panic!("{due:?} was missed") };
                        last = Some(due);
                    }
                    let before = Some("2026-01-01T00:00:00Z");
                    let mut asleep = hands.table(&expression, zone, before);
                    let caught_up = asleep.advance(hands.now, hands.instant);
                    let Some(last) = last else { continue };
                    assert!(
                        matches!(caught_up, Some(Due::OnTime(due) | Due::Missed(due)) if due == last),
                        "{zone} {expression} at {}: {caught_up:?}, not {last}",
                        hands.now
                    );
                }
            }
        }
    }
}
