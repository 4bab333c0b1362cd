//! A card for each job whose secrets are looked at between its snapshots.

use std::fmt::Write as _;

use convault_core::{Status, WatchStatus};

use super::time;
use crate::{
    verdict::Verdict,
    words::{Escaped, count},
};

/// The cards below their heading; nothing where no secrets are looked at.
pub(super) fn cards(status: &Status) -> String {
    if status.watching.is_empty() {
        return String::new();
    }
    let cards: String = status.watching.iter().map(|watch| card(watch, status)).collect();
    format!("<h2>Secrets</h2><div class=\"cards\">{cards}</div>")
}

fn card(watch: &WatchStatus, status: &Status) -> String {
    let now = status.now;
    let Verdict { class, word } = Verdict::of_watch(watch, status.started, now);
    let mut rows = String::new();
    let mut row = |name: &str, value: String| {
        write!(rows, "<dt>{name}</dt><dd>{value}</dd>").expect("writing to a String cannot fail");
    };
    row("Deployment", Escaped(&watch.deployment).to_string());
    row("Schedule", Escaped(&watch.schedule).to_string());
    row("Next look", watch.next_due.map_or_else(|| "–".to_owned(), |due| time(due, now)));
    row("All read", watch.last_success.map_or("never".to_owned(), |at| time(at, now)));
    row("Secrets", count(watch.secrets));
    row("Last change", watch.changed.map_or_else(|| "–".to_owned(), |at| time(at, now)));
    let name = Escaped(&watch.job);
    format!(
        "<div class=\"card\"><div class=\"head\"><h3>{name}</h3><span class=\"pill {class}\">{word}</span></div>\
         <dl>{rows}</dl></div>"
    )
}
