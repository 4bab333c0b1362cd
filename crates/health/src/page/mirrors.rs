//! A card for each mirror.

use convault_core::MirrorStatus;
use jiff::Timestamp;

use super::{
    card::{self, Rows},
    time,
};
use crate::{
    verdict::Verdict,
    words::{Escaped, count, size},
};

/// The cards below their heading; nothing where there is no mirror.
pub(super) fn cards(mirrors: &[MirrorStatus], now: Timestamp) -> String {
    card::section("Mirrors", mirrors.iter().map(|mirror| card(mirror, now)))
}

fn card(mirror: &MirrorStatus, now: Timestamp) -> String {
    let mut rows = Rows::default();
    rows.add("From", Escaped(&mirror.from).to_string());
    rows.add("To", Escaped(&mirror.destination).to_string());
    rows.add("Schedule", Escaped(mirror.schedule.as_deref().unwrap_or("on request")).to_string());
    rows.add("Next due", mirror.next_due.map_or_else(|| "–".to_owned(), |due| time(due, now)));
    rows.add("Up to date", mirror.last_success.map_or("never".to_owned(), |at| time(at, now)));
    rows.add("Objects", count(mirror.objects));
    rows.add("Size", size(mirror.bytes));
    rows.add("States", count(mirror.states));
    card::card(&mirror.mirror, Verdict::of_mirror(mirror, now), mirror.running.is_some(), rows, "")
}
