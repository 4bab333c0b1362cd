//! A card for each drill.

use convault_core::{DrillStatus, Status};

use super::{
    card::{self, Rows},
    time,
};
use crate::{
    attention::seconds,
    verdict::Verdict,
    words::{Escaped, count, span},
};

/// The cards below their heading; nothing where there is no drill.
pub(super) fn cards(status: &Status) -> String {
    card::section("Drills", status.drills.iter().map(|drill| card(drill, status)))
}

fn card(drill: &DrillStatus, status: &Status) -> String {
    let now = status.now;
    let mut rows = Rows::default();
    let length = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| span(seconds(value)));
    rows.add("Snapshots of", Escaped(&drill.deployment).to_string());
    rows.add("Schedule", Escaped(drill.schedule.as_deref().unwrap_or("on request")).to_string());
    rows.add("Next due", drill.next_due.map_or_else(|| "–".to_owned(), |due| time(due, now)));
    rows.add("Last passed", drill.last_passed.map_or("never".to_owned(), |at| time(at, now)));
    if let Some(limit) = drill.max_age_seconds {
        rows.add("May be old", span(seconds(limit)));
    }
    rows.add("Restored after", length(drill.restore_seconds));
    rows.add("Data was old", length(drill.data_age_seconds));
    if drill.failures > 0 {
        rows.add("Not as it should be", count(drill.failures));
    }
    card::card(&drill.drill, Verdict::of_drill(drill, status.started, now), drill.running.is_some(), rows, "")
}
