//! What is known of the looks at secrets.

use std::fmt::Error;

use convault_core::{RunOutcome, Status, WatchStatus};
use prometheus_client::registry::Unit;

use super::{Labels, Out, ended, seconds_of, truth};

pub(super) fn write(out: &mut Out<'_>, status: &Status) -> Result<(), Error> {
    let seconds = Some(&Unit::Seconds);
    let each = |value: fn(&WatchStatus) -> f64| {
        status.watching.iter().map(move |watch| (labels(watch), value(watch)))
    };
    let help = "How the newest look at secrets ended: 1 for that outcome, 0 for the others.";
    let outcomes = status.watching.iter().flat_map(|watch| {
        let last = watch.last_attempt.as_ref().and_then(|run| run.outcome);
        RunOutcome::ALL.into_iter().map(move |outcome| {
            let mut labels = labels(watch);
            labels.push(("outcome", outcome.as_str()));
            (labels, truth(last == Some(outcome)))
        })
    });
    out.gauges("secrets_last_outcome", None, help, outcomes)?;
    let help = "When the newest look at secrets ended, however it went, as a Unix time; 0 for never.";
    let attempts = each(|watch| ended(watch.last_attempt.as_ref()));
    out.gauges("secrets_last_attempt_timestamp", seconds, help, attempts)?;
    let help = "When the newest look ended that could read all secrets, as a Unix time; 0 for never.";
    out.gauges(
        "secrets_last_success_timestamp",
        seconds,
        help,
        each(|watch| seconds_of(watch.last_success)),
    )?;
    let help = "When a look last found secrets changed and stored them, as a Unix time; 0 for never.";
    out.gauges("secrets_changed_timestamp", seconds, help, each(|watch| seconds_of(watch.changed)))?;
    let help = "The longest time between two due times of looking at secrets.";
    let expected =
        status.watching.iter().filter_map(|watch| Some((labels(watch), watch.expected_interval_seconds?)));
    out.gauges("secrets_expected_interval", seconds, help, expected)?;
    let help = "How many secrets there were at the newest look that could read all.";
    #[expect(clippy::cast_precision_loss, reason = "nobody has so many secrets")]
    let known = each(|watch| watch.secrets as f64);
    out.gauges("secrets", None, help, known)
}

fn labels(watch: &WatchStatus) -> Labels<'_> {
    vec![("job_name", watch.job.as_str()), ("deployment", watch.deployment.as_str())]
}
