//! A card for each job whose secrets are looked at between its snapshots.

use convault_core::{Status, WatchStatus};

use super::{
    card::{self, Rows},
    time,
};
use crate::{
    verdict::Verdict,
    words::{Escaped, count},
};

/// The cards below their heading; nothing where no secrets are looked at.
pub(super) fn cards(status: &Status) -> String {
    card::section("Secrets", status.watching.iter().map(|watch| card(watch, status)))
}

fn card(watch: &WatchStatus, status: &Status) -> String {
    let now = status.now;
    let mut rows = Rows::default();
    rows.add("Deployment", Escaped(&watch.deployment).to_string());
    rows.add("Schedule", Escaped(&watch.schedule).to_string());
    rows.add("Next look", watch.next_due.map_or_else(|| "–".to_owned(), |due| time(due, now)));
    rows.add("All read", watch.last_success.map_or("never".to_owned(), |at| time(at, now)));
    rows.add("Secrets", count(watch.secrets));
    rows.add("Last change", watch.changed.map_or_else(|| "–".to_owned(), |at| time(at, now)));
    card::card(&watch.job, Verdict::of_watch(watch, status.started, now), false, rows, "")
}
