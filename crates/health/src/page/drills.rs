//! A card for each drill.

use std::fmt::Write as _;

use convault_core::{DrillStatus, Status};

use super::time;
use crate::{
    attention::seconds,
    verdict::Verdict,
    words::{Escaped, count, span},
};

/// The cards below their heading; nothing where there is no drill.
pub(super) fn cards(status: &Status) -> String {
    if status.drills.is_empty() {
        return String::new();
    }
    let cards: String = status.drills.iter().map(|drill| card(drill, status)).collect();
    format!("<h2>Drills</h2><div class=\"cards\">{cards}</div>")
}

fn card(drill: &DrillStatus, status: &Status) -> String {
    let now = status.now;
    let Verdict { class, word } = Verdict::of_drill(drill, status.started, now);
    let running = drill.running.as_ref().map_or("", |_| "<span class=\"pill info\">running</span> ");
    let mut rows = String::new();
    let mut row = |name: &str, value: String| {
        write!(rows, "<dt>{name}</dt><dd>{value}</dd>").expect("writing to a String cannot fail");
    };
    let length = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| span(seconds(value)));
    row("Snapshots of", Escaped(&drill.deployment).to_string());
    row("Schedule", Escaped(drill.schedule.as_deref().unwrap_or("on request")).to_string());
    row("Next due", drill.next_due.map_or_else(|| "–".to_owned(), |due| time(due, now)));
    row("Last passed", drill.last_passed.map_or("never".to_owned(), |at| time(at, now)));
    if let Some(limit) = drill.max_age_seconds {
        row("May be old", span(seconds(limit)));
    }
    row("Restored after", length(drill.restore_seconds));
    row("Data was old", length(drill.data_age_seconds));
    if drill.failures > 0 {
        row("Not as it should be", count(drill.failures));
    }
    let name = Escaped(&drill.drill);
    format!(
        "<div class=\"card\"><div class=\"head\"><h3>{name}</h3><span>{running}<span class=\"pill {class}\">{word}</span>\
         </span></div><dl>{rows}</dl></div>"
    )
}
