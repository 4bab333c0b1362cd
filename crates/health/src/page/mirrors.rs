//! A card for each mirror.

use std::fmt::Write as _;

use convault_core::MirrorStatus;
use jiff::Timestamp;

use super::time;
use crate::{
    verdict::Verdict,
    words::{Escaped, count, size},
};

/// The cards below their heading; nothing where there is no mirror.
pub(super) fn cards(mirrors: &[MirrorStatus], now: Timestamp) -> String {
    if mirrors.is_empty() {
        return String::new();
    }
    let cards: String = mirrors.iter().map(|mirror| card(mirror, now)).collect();
    format!("<h2>Mirrors</h2><div class=\"cards\">{cards}</div>")
}

fn card(mirror: &MirrorStatus, now: Timestamp) -> String {
    let Verdict { class, word } = Verdict::of_mirror(mirror, now);
    let running = mirror.running.as_ref().map_or("", |_| "<span class=\"pill info\">running</span> ");
    let mut rows = String::new();
    let mut row = |name: &str, value: String| {
        write!(rows, "<dt>{name}</dt><dd>{value}</dd>").expect("writing to a String cannot fail");
    };
    row("From", Escaped(&mirror.from).to_string());
    row("To", Escaped(&mirror.destination).to_string());
    row("Schedule", Escaped(mirror.schedule.as_deref().unwrap_or("on request")).to_string());
    row("Next due", mirror.next_due.map_or_else(|| "–".to_owned(), |due| time(due, now)));
    row("Up to date", mirror.last_success.map_or("never".to_owned(), |at| time(at, now)));
    row("Objects", count(mirror.objects));
    row("Size", size(mirror.bytes));
    row("States", count(mirror.states));
    let name = Escaped(&mirror.mirror);
    format!(
        "<div class=\"card\"><div class=\"head\"><h3>{name}</h3><span>{running}<span class=\"pill {class}\">{word}</span>\
         </span></div><dl>{rows}</dl></div>"
    )
}
