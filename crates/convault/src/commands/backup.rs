//! `convault backup JOB`: blocks until the snapshot is stored and checked; the exit code can be trusted.

use convault_core::{RunOutcome, RunRecord, StartRequest, Verb};

use super::{Surroundings, act::act};
use crate::{arguments::Backup, exit::Exit, print};

pub(crate) async fn backup(surroundings: &Surroundings, backup: Backup) -> anyhow::Result<Exit> {
    let request = StartRequest {
        tags: backup.tags,
        keep_until: backup.keep_until,
        ..StartRequest::new(backup.job, Verb::Backup)
    };
    let record = act(surroundings, request).await?;
    report(surroundings, &record);
    Ok(exit_of(&record))
}

/// The exit code of an ended run.
pub(crate) fn exit_of(record: &RunRecord) -> Exit {
    record.outcome.map_or(Exit::Failed, Exit::from)
}

/// Prints what became of a run.
pub(crate) fn report(surroundings: &Surroundings, record: &RunRecord) {
    if surroundings.json {
        print::json(record);
        return;
    }
    let outcome = record.outcome.map_or("unknown", RunOutcome::as_str);
    print::line(&format!(
        "{}: {}",
        record.snapshot.as_ref().map_or(outcome, |id| id.as_str()),
        record.message
    ));
    if record.outcome != Some(RunOutcome::Good) && record.snapshot.is_some() {
        print::note(&format!("outcome: {outcome}"));
    }
}
