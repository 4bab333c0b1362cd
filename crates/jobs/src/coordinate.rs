//! [`coordinate`]: what a daemon does around a run when several daemons share the work.

use std::{sync::Arc, time::Duration};

use convault_core::{DeploymentName, Holder, JobName};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{Attempt, HeldLease, JobError, Leases, chain};

/// What became of a run that needed a lease.
#[derive(Debug)]
pub enum Coordinated<T> {
    /// It took place here, under the lease from its beginning to its end.
    Ran(T),
    /// Somebody has done this due time, or a later one of the same job: there is nothing to do.
    Done,
    /// Another daemon works on the deployment: try the same again after that time.
    Elsewhere {
        /// Which one; `None` where it has just ended.
        holder: Option<Holder>,
        /// When to try again.
        retry_after: Duration,
    },
    /// The lease was lost while it took place; nothing of it counts. `None` where it did not stop in time and was
    /// dropped.
    Lost(Option<T>),
}

/// What a run leaves of the due time it was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DueTime {
    /// Nobody need do it again: it is done, or cannot be done, or somebody did not want it.
    Settled,
    /// It is still to be done, here or elsewhere: the run failed in a way that may pass, or this daemon stops.
    Open,
}

/// Takes the lease of `deployment`, does `work` under it, and gives it back, with the due time in `wanted` if `work`
/// has settled that. If the lease is lost meanwhile, `stop` is cancelled, which `work` must obey; it is dropped if it
/// has not ended when others may take the lease over.
pub async fn coordinate<T, W>(
    leases: &Leases,
    deployment: &DeploymentName,
    wanted: Option<(&JobName, Timestamp)>,
    stop: &CancellationToken,
    work: impl FnOnce(Arc<HeldLease>) -> W,
) -> Result<Coordinated<T>, JobError>
where
    W: Future<Output = (T, DueTime)>,
{
    let held = match leases.try_take(deployment, wanted).await? {
        Attempt::Held(held) => held,
        Attempt::Done => return Ok(Coordinated::Done),
        Attempt::Elsewhere { holder, retry_after } => {
            return Ok(Coordinated::Elsewhere { holder, retry_after });
        }
    };
    let lost = held.lost();
    let work = work(Arc::clone(&held));
    tokio::pin!(work);
    let (result, due_time) = tokio::select! {
        biased;
        () = lost.cancelled() => {
            stop.cancel();
            let ended = tokio::time::timeout(leases.margin(), work).await;
            return Ok(Coordinated::Lost(ended.ok().map(|(result, _)| result)));
        }
        ended = &mut work => ended,
    };
    let done = wanted.filter(|_| due_time == DueTime::Settled);
    match held.release(done.map(|(job, due)| (job.clone(), due))).await {
        Ok(()) => {}
        // What was done before the lease was lost counts; whoever holds it now looks before doing it again.
        Err(error) => tracing::warn!(%deployment, "the lease was not given back: {}", chain(&error)),
    }
    Ok(Coordinated::Ran(result))
}
