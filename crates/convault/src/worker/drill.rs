//! A drill as a run.

use std::sync::{Arc, PoisonError};

use convault_core::{DestinationResult, RunId, RunOutcome, RunRecord};
use convault_jobs::{Destination, Drilled, JobError, RunContext};
use convault_settings::{DrillInto, DrillSettings};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::OwnedMutexGuard;

use super::{REMEMBERED_RUNS, Worker, failed, why_stopped};
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
        let turn = match self.scratch_turn(&task.settings, context).await {
            Ok(turn) => turn,
            Err(error) => return failed(running, &why_stopped(error, context), context),
        };
        let over = self.runs_that_are_over(task).await;
        let parts = wiring::DrillParts {
            settings: &self.settings,
            from: self.destinations_named(&task.from),
            everywhere: &everywhere,
            identities: self.identities.as_ref(),
            dead_runs: &over,
            clock: &self.clock,
        };
        let drilled = match wiring::drill(&task.settings, parts) {
            Ok(drill) => Box::pin(convault_jobs::drill(&drill, context)).await,
            Err(error) => Err(JobError::Scratch { what: format!("{error:#}"), is_transient: false }),
        };
        drop(turn);
        match drilled {
            Ok(done) => record(done, running, context),
            Err(error) => failed(running, &why_stopped(error, context), context),
        }
    }

    /// Waits until no other drill restores into the same deployment: each would find what the other has restored.
    async fn scratch_turn(
        &self,
        drill: &DrillSettings,
        context: &RunContext,
    ) -> Result<Option<OwnedMutexGuard<()>>, JobError> {
        let DrillInto::Deployment { url, .. } = &drill.into else { return Ok(None) };
        let turn = {
            let mut scratches = self.scratches.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(scratches.entry(url.clone()).or_default())
        };
        if let Ok(guard) = Arc::clone(&turn).try_lock_owned() {
            return Ok(Some(guard));
        }
        context.message("waits until another drill is done with the scratch deployment".to_owned());
        tokio::select! {
            biased;
            () = context.stop.cancelled() => Err(JobError::Stopped),
            guard = turn.lock_owned() => Ok(Some(guard)),
        }
    }

    /// The runs of a drill that cannot be going on any more, whatever came of them: what they have left is deleted.
    async fn runs_that_are_over(&self, task: &DrillTask) -> Vec<RunId> {
        let runs = self.journal.runs(Some(&task.name), REMEMBERED_RUNS).await.unwrap_or_else(|error| {
            tracing::warn!("the run history could not be read: {}", convault_jobs::chain(&error));
            Vec::new()
        });
        let over = runs.into_iter().filter(|run| run.outcome.is_some()).map(|run| run.id);
        self.dead_runs.iter().cloned().chain(over).collect()
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
