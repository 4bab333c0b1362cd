//! `prune` as a run: retention in every destination of a job.

use convault_core::{DestinationResult, RunOutcome, RunRecord, StartRequest};
use convault_jobs::{JobError, PruneRules, Pruned, RunContext, SWEEP_LIMIT_PERCENT};
use convault_settings::{JobSettings, Settings};

use super::{Worker, why_stopped};
use crate::task::Order;

/// What a prune of `job` goes by, apart from what this machine knows of earlier runs.
pub(crate) fn prune_rules(settings: &Settings, job: &JobSettings, request: &StartRequest) -> PruneRules {
    PruneRules {
        clock_skew_limit: settings.daemon.clock_skew_limit,
        sweep_limit_percent: request.sweep_limit_percent.unwrap_or(SWEEP_LIMIT_PERCENT),
        accept_missing: request.accept_missing,
        ..PruneRules::new(job.keep.clone(), job.time_zone.clone())
    }
}

/// What was done so far.
#[derive(Default)]
struct Tally {
    pruned: Pruned,
    results: Vec<DestinationResult>,
    warnings: Vec<String>,
    stopped: bool,
    retryable: bool,
}

impl Worker {
    pub(super) async fn prune(
        &self,
        job: &JobSettings,
        order: &Order<'_>,
        running: RunRecord,
        context: &RunContext,
    ) -> RunRecord {
        let mut tally = Tally::default();
        for destination in self.destinations_named(&job.to) {
            let name = destination.store.destination().clone();
            if destination.append_only {
                context.message(format!("{name} is append-only: pruning it is another key's work"));
                continue;
            }
            let rules = PruneRules {
                dead_runs: self.dead_runs.clone(),
                known_locally: order.known.get(&name).copied(),
                ..prune_rules(&self.settings, job, &order.request)
            };
            let done = convault_jobs::retain(&destination, &job.deployment, &rules, None, context).await;
            let problem = match done {
                Ok(pruned) => {
                    tally.add(&name.to_string(), pruned, context);
                    None
                }
                Err(error) => Some(tally.fail(&why_stopped(error, context))),
            };
            tally.results.push(DestinationResult { destination: name, stored_bytes: 0, problem });
        }
        tally.record(running, context)
    }
}

impl Tally {
    fn add(&mut self, name: &str, pruned: Pruned, context: &RunContext) {
        for why in pruned.held_back {
            let text = format!("{name}: {why}");
            context.warning(text.clone());
            self.warnings.push(text);
        }
        self.pruned.removed.extend(pruned.removed);
        self.pruned.freed_bytes += pruned.freed_bytes;
        self.pruned.leftovers += pruned.leftovers;
    }

    fn fail(&mut self, error: &JobError) -> String {
        self.stopped |= matches!(error, JobError::Stopped);
        self.retryable |= error.is_retryable();
        convault_jobs::chain(error)
    }

    fn record(self, running: RunRecord, context: &RunContext) -> RunRecord {
        let failed = self.results.iter().filter(|result| result.problem.is_some()).count();
        let outcome = match failed {
            0 => RunOutcome::Good,
            _ if self.stopped => RunOutcome::Cancelled,
            _ if failed < self.results.len() => RunOutcome::Partial,
            _ => RunOutcome::Failed,
        };
        let mut message = format!(
            "removed {} snapshots and {} leftovers, {} bytes",
            self.pruned.removed.len(),
            self.pruned.leftovers,
            self.pruned.freed_bytes
        );
        for problem in self.results.iter().filter_map(|result| result.problem.as_deref()) {
            message.push_str("; ");
            message.push_str(problem);
        }
        RunRecord {
            finished: Some(context.clock.now()),
            outcome: Some(outcome),
            message,
            destinations: self.results,
            warnings: self.warnings,
            retryable: self.retryable,
            ..running
        }
    }
}
