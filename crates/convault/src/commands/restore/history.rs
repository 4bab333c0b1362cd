//! Writes a restore into the run history, where this machine has one.

use std::path::PathBuf;

use convault_core::{DeploymentName, JobName, Manifest, RunOutcome, RunRecord, Verb};
use convault_jobs::{Guarded, JobError, Outgone, RunContext, chain};
use convault_settings::Settings;

use crate::{daemon::open_journal, print};

/// A restore that goes on.
pub(super) struct History {
    state_dir: PathBuf,
    record: RunRecord,
}

impl History {
    pub(super) fn begin(
        settings: &Settings,
        target: &DeploymentName,
        manifest: &Manifest,
        context: &RunContext,
    ) -> Self {
        let (job, now) = (JobName::restore(target), context.clock.now());
        let begun = RunRecord::begun(&context.id, &job, target, Verb::Restore, None, now);
        let record = RunRecord {
            snapshot: Some(manifest.id.clone()),
            snapshot_time: Some(manifest.snapshot_time()),
            ..begun
        };
        Self { state_dir: settings.daemon.state_dir.clone(), record }
    }

    /// What became of it. A machine without a history, such as one that only restores, goes without.
    pub(super) async fn end(mut self, guarded: &anyhow::Result<Guarded<Outgone>>, context: &RunContext) {
        if !self.state_dir.is_dir() {
            return;
        }
        self.tell(guarded);
        self.record.finished = Some(context.clock.now());
        let written = match open_journal(&self.state_dir).await {
            Ok(journal) => journal.record(&self.record).await.map_err(anyhow::Error::from),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            print::note(&format!("warning: the run history has no word of this restore: {error:#}"));
        }
    }

    fn tell(&mut self, guarded: &anyhow::Result<Guarded<Outgone>>) {
        let record = &mut self.record;
        let is_stop = |error: &JobError| matches!(error, JobError::Stopped);
        let (outcome, message) = match guarded {
            Err(error) => {
                let cause = error.downcast_ref::<JobError>();
                record.refused = matches!(cause, Some(JobError::Refused { .. }));
                let stopped = cause.is_some_and(is_stop);
                let outcome = if stopped { RunOutcome::Cancelled } else { RunOutcome::Failed };
                (outcome, format!("nothing was written: {error:#}"))
            }
            Ok(done) => {
                record.warnings.clone_from(&done.problems);
                let safety = done.safety.as_ref().map_or_else(
                    || "it was empty".to_owned(),
                    |safety| format!("safety snapshot {} in {}", safety.id, safety.destination),
                );
                match &done.imported {
                    Ok(imported) => {
                        record.documents = imported.documents;
                        let text = format!("{} documents restored; {safety}", imported.documents);
                        (RunOutcome::Good, text)
                    }
                    Err(error) if is_stop(error) => (RunOutcome::Cancelled, format!("stopped; {safety}")),
                    Err(error) => (RunOutcome::Failed, format!("{}; {safety}", chain(error))),
                }
            }
        };
        record.outcome = Some(outcome);
        record.message = message;
    }
}
