//! Runs jobs and verify tasks for the scheduler, each in its turn, and reports to the hub.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use convault_core::{Holder, JobName, RunEvent, RunOutcome, RunRecord, StartRequest, Verb};
use convault_jobs::RunContext;
use convault_scheduler::{Outcome, Run, Runner, Why};

use crate::{
    hub::{Hub, Wish, failed_in, held_back, went_through},
    look::{look, look_at_drill, look_at_mirror},
    task::{Order, Task},
    worker::{Turn, Worker},
};

/// Runs a job for the scheduler and reports to the hub.
#[derive(Debug)]
pub(super) struct DaemonRunner {
    pub(super) worker: Arc<Worker>,
    pub(super) hub: Arc<Hub>,
}

#[async_trait]
impl Runner for DaemonRunner {
    type Wish = Wish;

    async fn run(&self, run: Run<Wish>) -> Outcome {
        let task = self.worker.task(&run.job).expect("the scheduler only knows jobs of the settings");
        let (first, due) = (run.postponed == 0, run.why.due());
        let requested = due.is_none();
        let wish = match run.why {
            Why::Requested(wish) => wish,
            _ => Wish { id: self.worker.new_id(), request: StartRequest::new(run.job.clone(), task.verb()) },
        };
        let id = wish.id;
        self.hub.begin(&id, &run.job, wish.request.verb, run.attempt > 1 && first, run.cancel.clone());
        let (hub, feed) = (Arc::clone(&self.hub), id.clone());
        let context = RunContext::new(
            id.clone(),
            Arc::clone(&self.worker.clock),
            // The loss of a lease stops this run, and is no wish that it be cancelled.
            run.cancel.token().child_token(),
            Arc::new(move |event| hub.tell(&feed, event)),
        );
        let known = match self.worker.sharing {
            // Others prune, too: what this machine has seen is no measure.
            Some(_) => BTreeMap::new(),
            None => self.hub.known(task.deployment()),
        };
        let order = Order { task, request: wish.request, due, known, cancel: Some(run.cancel) };
        match self.worker.take_turn(&order, &context).await {
            Turn::Ran(record) => {
                self.hub.end(&record);
                self.look_after(task, &record).await;
                outcome(&record)
            }
            Turn::Done => {
                tracing::debug!(job = %run.job, ?due, "another daemon has done this");
                self.hub.put_back(&id, &run.job, requested);
                Outcome::Succeeded
            }
            Turn::Elsewhere { holder, retry_after } => {
                if first {
                    self.tell_who(task, holder.as_ref(), &context);
                }
                self.hub.put_back(&id, &run.job, requested);
                Outcome::Postponed { after: retry_after }
            }
        }
    }

    fn dropped(&self, job: &JobName, wish: Wish) {
        self.hub.drop_wish(job, &wish, "the daemon stopped before it began");
    }
}

impl DaemonRunner {
    fn tell_who(&self, task: Task<'_>, holder: Option<&Holder>, context: &RunContext) {
        let text = elsewhere(task.deployment().as_str(), holder);
        tracing::info!(job = %task.name(), "{text}");
        let at = self.worker.clock.now();
        context.tell(RunEvent::Message { at, text });
    }

    /// Looks at what the run left.
    async fn look_after(&self, task: Task<'_>, record: &RunRecord) {
        if let Task::Mirror(task) = task {
            return look_at_mirror(&self.hub, task).await;
        }
        if let Task::Drill(task) = task {
            return look_at_drill(&self.worker, &self.hub, task).await;
        }
        let prunes = matches!(record.verb, Verb::Backup | Verb::Prune) && went_through(record);
        for name in task.destinations() {
            let settled = prunes && !failed_in(record, name) && held_back(record, name).is_empty();
            look(&self.worker, &self.hub, name, task.deployment(), settled).await;
        }
    }
}

/// Says who works on a deployment.
pub(crate) fn elsewhere(deployment: &str, holder: Option<&Holder>) -> String {
    match holder {
        Some(holder) => format!(
            "another convault, on {} ({}), works on {deployment}: waiting until it is done",
            holder.host, holder.instance
        ),
        None => format!("another convault works on {deployment}: waiting until it is done"),
    }
}

fn outcome(record: &RunRecord) -> Outcome {
    match record.outcome {
        // A snapshot that looks wrong will look the same the next time; a destination that is missing one gets the next.
        Some(RunOutcome::Good | RunOutcome::Partial | RunOutcome::Suspect) => Outcome::Succeeded,
        Some(RunOutcome::Cancelled | RunOutcome::Interrupted) => Outcome::Cancelled,
        _ => Outcome::Failed { retryable: record.retryable },
    }
}
