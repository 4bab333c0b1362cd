//! [`Intervals`]: how often verify comes.

use std::collections::BTreeMap;

use convault_core::{Schedule, Status, VerifyStatus};

/// The longest time between two due times, by schedule. Each schedule is computed once, however many use it.
pub(crate) struct Intervals<'a>(BTreeMap<&'a str, Option<f64>>);

impl<'a> Intervals<'a> {
    /// Those of every verify task of `status`. In UTC: another zone makes an hour's difference on two days a year.
    pub(crate) fn of(status: &'a Status) -> Self {
        let mut found = BTreeMap::new();
        for task in &status.verifying {
            found.entry(task.schedule.as_str()).or_insert_with(|| {
                Schedule::new(&task.schedule, "UTC").ok()?.expected_interval_seconds(status.now)
            });
        }
        Self(found)
    }

    /// Seconds; `None` where the schedule cannot be read.
    pub(crate) fn seconds_of(&self, task: &VerifyStatus) -> Option<f64> {
        self.0.get(task.schedule.as_str()).copied().flatten()
    }
}
