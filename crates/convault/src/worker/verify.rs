//! A verify task as a run: a share of what is stored is read again, and what was found is proven.

use std::time::Duration;

use convault_core::{DestinationResult, RunOutcome, RunRecord, StoreErrorKind};
use convault_jobs::{Destination, JobError, RunContext, VerifyDepth, VerifyReport};

use super::{VERSION, Worker, failed, why_stopped};
use crate::task::VerifyTask;

/// So many faults are named in a message; `list` and `show` have them all.
const FAULTS_NAMED: usize = 5;
/// Taken for the time between two runs of a schedule that comes only once more.
const RARE: Duration = Duration::from_hours(24);

impl Worker {
    pub(super) async fn verify(
        &self,
        task: &VerifyTask,
        running: RunRecord,
        context: &RunContext,
    ) -> RunRecord {
        let destination = &self.destinations[&task.destination];
        let interval = task.settings.schedule.expected_interval_seconds(self.clock.now());
        let depth = VerifyDepth::Share {
            within: task.settings.read_all_within,
            interval: interval.map_or(RARE, Duration::from_secs_f64),
        };
        let mut warnings = Vec::new();
        let verified = async {
            let report = convault_jobs::verify(destination, &task.deployment, &[], depth, context).await?;
            warnings.extend(prove(destination, task, &report, context).await?);
            for text in self.tend_ledger(task).await {
                context.warning(text.clone());
                warnings.push(text);
            }
            Ok(report)
        };
        match verified.await {
            Ok(report) => RunRecord { warnings, ..record(task, &report, running, context) },
            Err(error) => failed(running, &why_stopped(error, context), context),
        }
    }
}

impl Worker {
    /// Brings entries of the erasure ledger where they are missing, as far as that takes no key.
    async fn tend_ledger(&self, task: &VerifyTask) -> Vec<String> {
        let all: Vec<Destination> = self.destinations.values().cloned().collect();
        convault_jobs::erasure::tend_ledger(&task.deployment, &all).await
    }
}

/// Writes the proofs; credentials that may not are a warning.
async fn prove(
    destination: &Destination,
    task: &VerifyTask,
    report: &VerifyReport,
    context: &RunContext,
) -> Result<Option<String>, JobError> {
    let proven = convault_jobs::record_proofs(destination, &task.deployment, report, VERSION, context).await;
    match proven {
        Ok(_) => Ok(None),
        Err(JobError::Store(error)) if error.kind == StoreErrorKind::Denied => {
            let text = format!("what was found could not be proven there: {}", convault_jobs::chain(&error));
            context.warning(text.clone());
            Ok(Some(text))
        }
        Err(error) => Err(error),
    }
}

fn record(task: &VerifyTask, report: &VerifyReport, running: RunRecord, context: &RunContext) -> RunRecord {
    let seen = format!(
        "{} snapshots are sound, {} of them read whole ({} bytes)",
        report.sound.len(),
        report.read.len(),
        report.read_bytes
    );
    let problem = damage(report);
    let (outcome, message) = match &problem {
        None => (RunOutcome::Good, seen),
        Some(problem) => (RunOutcome::Failed, format!("{problem}; {seen}")),
    };
    let destination = DestinationResult { destination: task.destination.clone(), stored_bytes: 0, problem };
    RunRecord {
        finished: Some(context.clock.now()),
        outcome: Some(outcome),
        message,
        destinations: vec![destination],
        ..running
    }
}

/// What is wrong, and the remedy; `None` where nothing is.
fn damage(report: &VerifyReport) -> Option<String> {
    let faults = &report.faults;
    if faults.is_empty() {
        return None;
    }
    let named = faults.iter().take(FAULTS_NAMED);
    let named: Vec<String> =
        named.map(|fault| format!("{} {}: {}", fault.id, fault.object, fault.what)).collect();
    let more = match faults.len().saturating_sub(FAULTS_NAMED) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    Some(format!("damage: {}{more}; `convault repair` makes whole what can be", named.join("; ")))
}
