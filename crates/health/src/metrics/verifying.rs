//! What is known of verifying on a schedule.

use std::fmt::Error;

use convault_core::{RunOutcome, Status, VerifyStatus};
use prometheus_client::registry::Unit;

use super::{Labels, Out, ended, seconds_of, truth};
use crate::intervals::Intervals;

pub(super) fn write(out: &mut Out<'_>, status: &Status) -> Result<(), Error> {
    let seconds = Some(&Unit::Seconds);
    let each = |value: fn(&VerifyStatus) -> f64| {
        status.verifying.iter().map(move |task| (labels(task), value(task)))
    };
    let help = "How the newest verify ended: 1 for that outcome, 0 for the others.";
    let outcomes = status.verifying.iter().flat_map(|task| {
        let last = task.last_attempt.as_ref().and_then(|run| run.outcome);
        RunOutcome::ALL.into_iter().map(move |outcome| {
            let mut labels = labels(task);
            labels.push(("outcome", outcome.as_str()));
            (labels, truth(last == Some(outcome)))
        })
    });
    out.gauges("verify_last_outcome", None, help, outcomes)?;
    let help = "When the newest verify ended, however it went, as a Unix time; 0 for never.";
    let attempts = each(|task| ended(task.last_attempt.as_ref()));
    out.gauges("verify_last_attempt_timestamp", seconds, help, attempts)?;
    let help = "The longest time between two due times of verify.";
    let intervals = Intervals::of(status);
    let expected =
        status.verifying.iter().filter_map(|task| Some((labels(task), intervals.seconds_of(task)?)));
    out.gauges("verify_expected_interval", seconds, help, expected)?;
    let help = "When verify is due next, as a Unix time; 0 where that is not known.";
    out.gauges("verify_next_due_timestamp", seconds, help, each(|task| seconds_of(task.next_due)))?;
    let help = "Within what time every stored byte is to be read again.";
    out.gauges("verify_read_all_within", seconds, help, each(|task| task.read_all_within_seconds))
}

fn labels(task: &VerifyStatus) -> Labels<'_> {
    vec![("destination", task.destination.as_str()), ("deployment", task.deployment.as_str())]
}
