//! A run in its turn: where several daemons share the work, under the lease of its deployment.

use std::{sync::Arc, time::Duration};

use convault_core::{Holder, RunOutcome, RunRecord};
use convault_jobs::{Coordinated, DueTime, JobError, RunContext, coordinate};
use convault_scheduler::CancelReason;

use super::{Sharing, Worker};
use crate::task::Order;

/// What became of a run's turn.
#[derive(Debug)]
pub(crate) enum Turn {
    /// It took place here.
    Ran(Box<RunRecord>),
    /// Another daemon has done this due time.
    Done,
    /// Another daemon works on the deployment.
    Elsewhere {
        /// Which one; `None` where it has just ended.
        holder: Option<Holder>,
        /// When to try again.
        retry_after: Duration,
    },
}

impl Worker {
    /// Makes the run, if it is its turn. `context.stop` is cancelled where the lease is lost meanwhile.
    pub(crate) async fn take_turn(&self, order: &Order<'_>, context: &RunContext) -> Turn {
        let Some(sharing) = &self.sharing else {
            return Turn::Ran(Box::new(self.run(order, context).await));
        };
        let turn = self.under_lease(sharing, order, context).await;
        sharing.gave_back(order.task.deployment());
        match turn {
            Ok(turn) => turn,
            Err(error) => Turn::Ran(Box::new(self.not_begun(order, &error, context).await)),
        }
    }

    async fn under_lease(
        &self,
        sharing: &Sharing,
        order: &Order<'_>,
        context: &RunContext,
    ) -> Result<Turn, JobError> {
        let deployment = order.task.deployment();
        let wanted = order.due.map(|due| (order.task.name(), due));
        let leases = sharing.leases().await?;
        let coordinated = coordinate(leases, deployment, wanted, &context.stop, |held| {
            sharing.took(deployment, held.fence());
            let context = context.clone().under(Arc::clone(&held));
            async move {
                let record = self.run(order, &context).await;
                let due_time = due_time(order, &record);
                (record, due_time)
            }
        });
        Ok(match coordinated.await? {
            Coordinated::Ran(record) => Turn::Ran(Box::new(record)),
            Coordinated::Done => {
                sharing.left_to_others();
                Turn::Done
            }
            Coordinated::Elsewhere { holder, retry_after } => Turn::Elsewhere { holder, retry_after },
            Coordinated::Lost(record) => {
                sharing.lost();
                match record {
                    Some(record) => Turn::Ran(Box::new(record)),
                    None => return Err(JobError::LeaseLost { deployment: deployment.clone() }),
                }
            }
        })
    }
}

/// Whether anybody need do the due time again.
fn due_time(order: &Order<'_>, record: &RunRecord) -> DueTime {
    let reason = order.cancel.as_ref().and_then(convault_scheduler::Cancel::reason);
    match record.outcome {
        Some(RunOutcome::Good | RunOutcome::Partial | RunOutcome::Suspect) => DueTime::Settled,
        Some(RunOutcome::Cancelled) if reason == Some(CancelReason::Asked) => DueTime::Settled,
        // What fails here for good, by its settings say, may work for another daemon.
        _ => DueTime::Open,
    }
}
