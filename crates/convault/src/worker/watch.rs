//! A look at a job's secrets as a run.

use std::{sync::Arc, time::Duration};

use convault_core::{RunOutcome, RunRecord, Surrounding, SurroundingKind};
use convault_jobs::{RunContext, WatchJob, Watched};

use super::{VERSION, Worker, failed, why_stopped};
use crate::task::WatchTask;

impl Worker {
    pub(super) async fn watch(
        &self,
        task: &WatchTask,
        running: RunRecord,
        context: &RunContext,
    ) -> RunRecord {
        let watch = self.watch_job(task);
        let destinations = self.destinations_named(&task.job.to);
        match convault_jobs::watch(&watch, &destinations, context).await {
            Ok(watched) => record(&watched, running, context),
            Err(error) => failed(running, &why_stopped(error, context), context),
        }
    }

    fn watch_job(&self, task: &WatchTask) -> WatchJob {
        let surroundings = crate::wiring::surroundings(&self.settings, &task.job);
        let is_secret = |one: &Arc<dyn Surrounding>| one.kind() == SurroundingKind::Secrets;
        let interval = task.schedule.expected_interval_seconds(self.clock.now());
        WatchJob {
            job: task.job.name.clone(),
            deployment: task.job.deployment.clone(),
            surroundings: surroundings.into_iter().filter(is_secret).collect(),
            keep: task.job.keep.clone(),
            time_zone: task.job.time_zone.clone(),
            expected_interval: interval.map(Duration::from_secs_f64),
            stall_limit: self.settings.daemon.stall_limit,
            version: VERSION.to_owned(),
        }
    }
}

fn record(watched: &Watched, running: RunRecord, context: &RunContext) -> RunRecord {
    let message = message(watched);
    if watched.stored.is_some() {
        context.message(message.clone());
    }
    let read_nothing = watched.secrets == 0 && !watched.unread.is_empty();
    let outcome = match watched.is_whole() {
        true => RunOutcome::Good,
        false if read_nothing || watched.destinations.iter().all(|result| result.problem.is_some()) => {
            RunOutcome::Failed
        }
        false => RunOutcome::Partial,
    };
    RunRecord {
        finished: Some(context.clock.now()),
        outcome: Some(outcome),
        message,
        snapshot_time: watched.newest_set,
        documents: watched.secrets as u64,
        destinations: watched.destinations.clone(),
        warnings: watched.warnings.clone(),
        retryable: outcome == RunOutcome::Failed && watched.is_transient,
        ..running
    }
}

/// Names of secrets are told, and never a value.
fn message(watched: &Watched) -> String {
    let mut told = vec![format!("{} secrets", watched.secrets)];
    told.push(match watched.since {
        Some(since) if !watched.changes.is_empty() => format!("since {since} {}", watched.changes),
        _ if watched.stored.is_some() => "not stored before, or not whole any more".to_owned(),
        _ => "nothing has changed".to_owned(),
    });
    told.extend(watched.stored.iter().map(|set| format!("stored as set {set}")));
    let failed = watched
        .destinations
        .iter()
        .filter_map(|result| Some((&result.destination, result.problem.as_ref()?)));
    told.extend(failed.map(|(destination, problem)| format!("not in {destination}: {problem}")));
    told.extend(watched.unread.iter().map(|unread| format!("not read: {unread}")));
    told.join("; ")
}
