//! `repair` as a run: what is not whole in the destinations of a job is made whole again.

use convault_core::{DestinationName, DestinationResult, RunOutcome, RunRecord};
use convault_jobs::{Destination, JobError, RepairReport, RepairRules, RunContext};
use convault_settings::JobSettings;

use super::{VERSION, Worker, failed, why_stopped};
use crate::task::Order;

impl Worker {
    pub(super) async fn repair(
        &self,
        job: &JobSettings,
        order: &Order<'_>,
        running: RunRecord,
        context: &RunContext,
    ) -> RunRecord {
        let (mut results, mut reports) = (Vec::new(), Vec::new());
        let mut retryable = false;
        for destination in self.destinations_named(&job.to) {
            let name = destination.store.destination().clone();
            let problem = match self.repair_in(&destination, job, order, context).await {
                Ok(report) => {
                    let problem = not_whole(&report);
                    reports.push(report);
                    problem
                }
                Err(error) => {
                    let error = why_stopped(error, context);
                    if matches!(error, JobError::Stopped | JobError::LeaseLost { .. }) {
                        return failed(running, &error, context);
                    }
                    retryable |= error.is_retryable();
                    Some(convault_jobs::chain(&error))
                }
            };
            results.push(DestinationResult { destination: name, stored_bytes: 0, problem });
        }
        let repaired = reports.iter().map(|report| report.repaired.len()).sum();
        RunRecord {
            finished: Some(context.clock.now()),
            outcome: Some(outcome(&results, repaired)),
            message: summary(&results, repaired),
            destinations: results,
            retryable,
            ..running
        }
    }

    async fn repair_in(
        &self,
        destination: &Destination,
        job: &JobSettings,
        order: &Order<'_>,
        context: &RunContext,
    ) -> Result<RepairReport, JobError> {
        let others = self.others_with(job, destination.store.destination());
        let deployment = self.settings.deployment(&job.deployment);
        let rules = RepairRules {
            version: VERSION.to_owned(),
            upload_memory_bytes: self.upload_memory_bytes(),
            stall_limit: self.settings.daemon.stall_limit,
            identities: self.identities.clone(),
            anomaly: deployment.map(|deployment| deployment.anomaly.clone()).unwrap_or_default(),
        };
        let only = order.request.snapshot.as_ref();
        convault_jobs::repair(destination, &others, &job.deployment, only, &rules, context).await
    }

    /// The other destinations that any job stores the same deployment in.
    fn others_with(&self, job: &JobSettings, name: &DestinationName) -> Vec<Destination> {
        let stores_it = |other: &DestinationName| {
            let mut jobs = self.settings.jobs.iter();
            other != name && jobs.any(|one| one.deployment == job.deployment && one.to.contains(other))
        };
        let others = self.destinations.iter().filter(|(other, _)| stores_it(other));
        others.map(|(_, destination)| destination.clone()).collect()
    }
}

fn not_whole(report: &RepairReport) -> Option<String> {
    let failed: Vec<String> = report.failed.iter().map(|(id, why)| format!("{id}: {why}")).collect();
    (!failed.is_empty()).then(|| failed.join("; "))
}

fn outcome(results: &[DestinationResult], repaired: usize) -> RunOutcome {
    let all_whole = results.iter().all(|result| result.problem.is_none());
    match (all_whole, repaired) {
        (true, _) => RunOutcome::Good,
        (false, 0) => RunOutcome::Failed,
        (false, _) => RunOutcome::Partial,
    }
}

fn summary(results: &[DestinationResult], repaired: usize) -> String {
    let problems = results.iter().filter_map(|result| {
        let problem = result.problem.as_ref()?;
        Some(format!("{}: {problem}", result.destination))
    });
    let problems: Vec<String> = problems.collect();
    let mut parts = vec![match repaired {
        0 if problems.is_empty() => "nothing was to be repaired".to_owned(),
        0 => "nothing was repaired".to_owned(),
        1 => "1 snapshot is whole again".to_owned(),
        number => format!("{number} snapshots are whole again"),
    }];
    parts.extend(problems);
    parts.join("; ")
}
