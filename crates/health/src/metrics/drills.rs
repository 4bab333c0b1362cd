//! What is known of drills. A daemon without any says nothing here.

use std::fmt::Error;

use convault_core::{DrillStatus, RunOutcome, Status};
use prometheus_client::registry::Unit;

use super::{Labels, Out, ended, number, seconds_of, truth};

pub(super) fn write(out: &mut Out<'_>, status: &Status) -> Result<(), Error> {
    let seconds = Some(&Unit::Seconds);
    let each =
        |value: fn(&DrillStatus) -> f64| status.drills.iter().map(move |drill| (labels(drill), value(drill)));
    let help = "When the newest drill ended that was passed, as a Unix time; 0 for never.";
    out.gauges("drill_last_passed_timestamp", seconds, help, each(|drill| seconds_of(drill.last_passed)))?;
    let help = "When the newest drill ended, however it went, as a Unix time; 0 for never.";
    let attempts = each(|drill| ended(drill.last_attempt.as_ref()));
    out.gauges("drill_last_attempt_timestamp", seconds, help, attempts)?;
    let help = "How the newest drill ended: 1 for that outcome, 0 for the others. One that was not passed is failed.";
    let outcomes = status.drills.iter().flat_map(|drill| {
        let last = drill.last_attempt.as_ref().and_then(|run| run.outcome);
        RunOutcome::ALL.into_iter().map(move |outcome| {
            let mut labels = labels(drill);
            labels.push(("outcome", outcome.as_str()));
            (labels, truth(last == Some(outcome)))
        })
    });
    out.gauges("drill_last_outcome", None, help, outcomes)?;
    let help = "How long ago the last drill that was passed may be; 0 where nothing was said.";
    out.gauges("drill_max_age", seconds, help, each(|drill| drill.max_age_seconds.unwrap_or(0.0)))?;
    let help = "When the drill is due next, as a Unix time; 0 for one that is made only on request.";
    out.gauges("drill_next_due_timestamp", seconds, help, each(|drill| seconds_of(drill.next_due)))?;
    let help = "How long the newest drill took until the data was there: the measured recovery time. 0 where it never was.";
    out.gauges("drill_restore", seconds, help, each(|drill| drill.restore_seconds.unwrap_or(0.0)))?;
    let help =
        "How old the data was when the newest drill began: the measured recovery point. 0 before the first.";
    out.gauges("drill_data_age", seconds, help, each(|drill| drill.data_age_seconds.unwrap_or(0.0)))?;
    let help = "What was not as it should be in the newest drill that left a proof.";
    out.gauges("drill_failures", None, help, each(|drill| number(drill.failures)))?;
    let help = "How long each step of the newest drill took.";
    let phases = status.drills.iter().flat_map(|drill| {
        drill.phases.iter().map(move |(phase, seconds)| {
            let mut labels = labels(drill);
            labels.push(("phase", phase.as_str()));
            (labels, *seconds)
        })
    });
    out.gauges("drill_phase", seconds, help, phases)
}

fn labels(drill: &DrillStatus) -> Labels<'_> {
    vec![("drill", drill.drill.as_str()), ("deployment", drill.deployment.as_str())]
}
