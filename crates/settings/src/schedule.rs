//! `schedule` and `time_zone`, which several tables have.

use convault_core::{Schedule, ScheduleError};
use jiff::tz::TimeZone;

use crate::{
    keys::Form,
    nearest::nearest,
    reading::{Reading, Refusal},
    section::Section,
};

/// Reads both keys of a table. The zone comes out even where there is no schedule or a wrong one.
pub(crate) fn read(section: &Section<'_>, reading: &mut Reading<'_>) -> (Option<Schedule>, Option<TimeZone>) {
    let mut zone_name = String::from("UTC");
    let time_zone = section.parsed(reading, "time_zone", |_, text, _| {
        let zone = TimeZone::get(text).map_err(|_| wrong_time_zone(text))?;
        text.clone_into(&mut zone_name);
        Ok(zone)
    });
    // Checked in UTC where the zone is wrong, so that what is wrong with both is said at once.
    let schedule = section.parsed(reading, "schedule", |_, text, _| {
        Schedule::new(text, &zone_name).map_err(|error| match error {
            ScheduleError::Expression { why, .. } => {
                Refusal::expected(format!("{} ({why})", Form::Cron.expected()))
            }
            ScheduleError::TimeZone { time_zone } => wrong_time_zone(&time_zone),
        })
    });
    (schedule, time_zone)
}

fn wrong_time_zone(text: &str) -> Refusal {
    let known: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    Refusal {
        found: None,
        expected: Form::TimeZone.expected(),
        nearest: nearest(text, known.iter().map(String::as_str)).map(str::to_owned),
    }
}
