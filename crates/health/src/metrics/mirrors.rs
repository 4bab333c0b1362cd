//! What is known of mirrors. A daemon without any says nothing here.

use std::fmt::Error;

use convault_core::{MirrorStatus, RunOutcome, Status};
use prometheus_client::registry::Unit;

use super::{Labels, Out, ended, number, seconds_of, truth};

pub(super) fn write(out: &mut Out<'_>, status: &Status) -> Result<(), Error> {
    let seconds = Some(&Unit::Seconds);
    let each = |value: fn(&MirrorStatus) -> f64| {
        status.mirrors.iter().map(move |mirror| (labels(mirror), value(mirror)))
    };
    let help = "When the newest run ended after which the destination had everything of the source, as a Unix time; 0 for never.";
    let successes = each(|mirror| seconds_of(mirror.last_success));
    out.gauges("mirror_last_success_timestamp", seconds, help, successes)?;
    let help = "When the newest run of the mirror ended, however it went, as a Unix time; 0 for never.";
    let attempts = each(|mirror| ended(mirror.last_attempt.as_ref()));
    out.gauges("mirror_last_attempt_timestamp", seconds, help, attempts)?;
    let help = "How the newest run of the mirror ended: 1 for that outcome, 0 for the others.";
    let outcomes = status.mirrors.iter().flat_map(|mirror| {
        let last = mirror.last_attempt.as_ref().and_then(|run| run.outcome);
        RunOutcome::ALL.into_iter().map(move |outcome| {
            let mut labels = labels(mirror);
            labels.push(("outcome", outcome.as_str()));
            (labels, truth(last == Some(outcome)))
        })
    });
    out.gauges("mirror_last_outcome", None, help, outcomes)?;
    let help = "The longest time between two due times of the mirror; 0 for one that runs only on request.";
    let intervals = each(|mirror| mirror.expected_interval_seconds.unwrap_or(0.0));
    out.gauges("mirror_expected_interval", seconds, help, intervals)?;
    let help = "When the mirror is due next, as a Unix time; 0 for one that runs only on request.";
    out.gauges("mirror_next_due_timestamp", seconds, help, each(|mirror| seconds_of(mirror.next_due)))?;
    let help = "Objects of the newest state; 0 for none.";
    out.gauges("mirror_objects", None, help, each(|mirror| number(mirror.objects)))?;
    let help = "Bytes of the objects of the newest state.";
    out.gauges("mirror_size", Some(&Unit::Bytes), help, each(|mirror| number(mirror.bytes)))?;
    let help = "States that can be restored.";
    out.gauges("mirror_states", None, help, each(|mirror| number(mirror.states)))?;
    let help = "Whether the brake holds, since too much vanished or changed at once: 1 or 0.";
    out.gauges("mirror_braked", None, help, each(|mirror| truth(mirror.braked_since.is_some())))?;
    let help = "Reasons why the newest run did not remove all that is not kept any more.";
    out.gauges("mirror_held_back", None, help, each(|mirror| number(mirror.held_back.len() as u64)))
}

fn labels(mirror: &MirrorStatus) -> Labels<'_> {
    vec![("mirror", mirror.mirror.as_str()), ("destination", mirror.destination.as_str())]
}
