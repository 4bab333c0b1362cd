//! A drill as a run.

use convault_core::{DestinationResult, RunOutcome, RunRecord};
use convault_jobs::{Destination, Drilled, JobError, RunContext};

use jiff::{SignedDuration, Timestamp};

use super::{Worker, failed, why_stopped};
use crate::{print, task::DrillTask, wiring};

/// So many failures are named in a message; the proof has them all.
const FAILURES_NAMED: usize = 5;

impl Worker {
    pub(super) async fn drill(
        &self,
        task: &DrillTask,
        running: RunRecord,
        context: &RunContext,
    ) -> RunRecord {
        let everywhere: Vec<Destination> = self.destinations.values().cloned().collect();
        let parts = wiring::DrillParts {
            settings: &self.settings,
            from: self.destinations_named(&task.from),
            everywhere: &everywhere,
            identities: self.identities.as_ref(),
            dead_runs: &self.dead_runs,
            clock: &self.clock,
        };
        let drilled = match wiring::drill(&task.settings, parts) {
            Ok(drill) => Box::pin(convault_jobs::drill(&drill, context)).await,
            Err(error) => Err(JobError::Scratch { what: format!("{error:#}"), is_transient: false }),
        };
        match drilled {
            Ok(done) => record(done, running, context),
            Err(error) => failed(running, &why_stopped(error, context), context),
        }
    }
}

fn record(done: Drilled, running: RunRecord, context: &RunContext) -> RunRecord {
    let message = message(&done);
    let proof = done.proof;
    let destination =
        DestinationResult { destination: proof.destination.clone(), stored_bytes: 0, problem: None };
    RunRecord {
        finished: Some(context.clock.now()),
        outcome: Some(if proof.passed { RunOutcome::Good } else { RunOutcome::Failed }),
        message,
        snapshot: Some(proof.snapshot),
        snapshot_time: Some(proof.snapshot_time),
        destinations: vec![destination],
        read_bytes: proof.read_bytes,
        documents: proof.totals.documents,
        files: proof.totals.files,
        warnings: done.warnings.into_iter().chain(proof.notes).collect(),
        ..running
    }
}

fn message(done: &Drilled) -> String {
    let proof = &done.proof;
    let what = format!(
        "{} of {}: {} documents in {} tables and {} stored files",
        proof.snapshot,
        proof.deployment,
        print::number(proof.totals.documents),
        print::number(proof.totals.tables),
        print::number(proof.totals.files)
    );
    let age = span(proof.data_age_seconds);
    if proof.passed {
        let after = span(proof.restore_seconds.unwrap_or_default());
        return format!(
            "passed: {what} came back as they were sent, {after} after the beginning; the data was {age} old"
        );
    }
    let named = proof.failures.iter().take(FAILURES_NAMED).map(convault_core::DrillFailure::line);
    let named: Vec<String> = named.collect();
    let more = proof.failures.len() as u64 + proof.failures_unlisted - named.len() as u64;
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("NOT passed, {what}: {}{more}", named.join("; "))
}

/// A length of time, as people say it.
fn span(seconds: f64) -> String {
    let length = SignedDuration::try_from_secs_f64(seconds).unwrap_or_default();
    print::distance(Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH.saturating_add(length).unwrap_or_default())
}
