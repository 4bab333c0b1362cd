//! An export that is ours, and cancelling it: only what is held in an [`OwnExport`] is ever cancelled.

use std::sync::Arc;
use std::time::Duration;

use convault_convex_client::{ClientError, Deployment, Operation};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::backoff::retrying;
use crate::settings::RetrySettings;

/// How long cancelling may take in all, so that a deployment that does not answer cannot hold up the report.
const CANCEL_LIMIT: Duration = Duration::from_mins(1);

/// What became of cancelling an export.
#[derive(Debug)]
pub(crate) enum Cancelled {
    /// It was cancelled.
    Yes,
    /// It had already ended.
    AlreadyEnded,
    /// The key may not.
    Denied,
    /// The server has no such route.
    Unsupported,
    /// It did not work.
    Failed(ClientError),
    /// It took too long.
    TimedOut,
}

/// Cancels exports, and owns the cancels that are under way after their run was dropped.
#[derive(Debug, Clone)]
pub(crate) struct Canceller {
    pub(crate) deployment: Deployment,
    pub(crate) retry: RetrySettings,
    pub(crate) tasks: TaskTracker,
}

impl Canceller {
    async fn cancel(&self, id: &str) -> Cancelled {
        tokio::time::timeout(CANCEL_LIMIT, self.cancel_unlimited(id)).await.unwrap_or(Cancelled::TimedOut)
    }

    /// The row changes under the worker's hands at first, which is a 503 that goes away; an export that has ended
    /// is a 500, like anything else that goes wrong, so the row decides.
    async fn cancel_unlimited(&self, id: &str) -> Cancelled {
        match retrying(&self.retry, || self.deployment.cancel_export(id)).await {
            Ok(()) => Cancelled::Yes,
            Err(error) if error.status() == Some(403) => Cancelled::Denied,
            Err(error) if error.status() == Some(404) => Cancelled::Unsupported,
            Err(error) if error.status() == Some(500) => match self.has_ended(id).await {
                Ok(true) => Cancelled::AlreadyEnded,
                Ok(false) => Cancelled::Failed(error),
                Err(error) => Cancelled::Failed(error),
            },
            Err(error) => Cancelled::Failed(error),
        }
    }

    /// There is one slot: an export that is not the newest has ended.
    async fn has_ended(&self, id: &str) -> Result<bool, ClientError> {
        let row = retrying(&self.retry, || self.deployment.latest_export()).await?;
        Ok(row.is_none_or(|row| row.id != id || !row.state.holds_slot()))
    }

    /// What a person can do to end an export that we may not, or cannot, cancel. The key comes from a variable and
    /// through a pipe, so that it shows in no list of processes.
    pub(crate) fn by_hand(&self, id: &str) -> String {
        format!(
            "cancel it in the dashboard, or, with a key that has `{}` in CONVEX_KEY: \
             printf 'Authorization: Convex %s' \"$CONVEX_KEY\" | curl --fail-with-body -X POST -H @- '{}'",
            Operation::ImportBackups.permission(),
            self.deployment.cancel_url(id),
        )
    }

    /// What is said about an export of ours after cancelling it.
    pub(crate) fn tell(&self, id: &str, cancelled: &Cancelled) -> String {
        let problem = match cancelled {
            Cancelled::Yes => return format!("the export {id} was cancelled"),
            Cancelled::AlreadyEnded => {
                return format!("the export {id} had ended before it could be cancelled");
            }
            Cancelled::Denied => {
                let permission = Operation::ImportBackups.permission();
                format!("this key may not cancel it (cancelling needs `{permission}`)")
            }
            Cancelled::Unsupported => {
                "this server is too old to cancel an export (it can since 2025-05-12)".to_owned()
            }
            Cancelled::Failed(error) => format!("cancelling it failed ({error})"),
            Cancelled::TimedOut => "cancelling it took too long".to_owned(),
        };
        let by_hand = self.by_hand(id);
        format!("the export {id} still holds the deployment's only slot, and {problem}; {by_hand}")
    }
}

/// An export of ours that may be running. Dropped, it is cancelled by a task of its [`Canceller`].
#[derive(Debug)]
pub(crate) struct OwnExport {
    id: String,
    canceller: Arc<Canceller>,
    runtime: Handle,
    armed: bool,
}

impl OwnExport {
    /// Takes an export that is known to be ours. Must be called within the runtime.
    pub(crate) fn new(id: String, canceller: Arc<Canceller>) -> Self {
        Self { id, canceller, runtime: Handle::current(), armed: true }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// It has ended: there is nothing to cancel any more.
    pub(crate) fn ended(mut self) {
        self.armed = false;
    }

    /// Cancels it now, and says in words what became of that.
    pub(crate) async fn cancel(mut self) -> String {
        let outcome = self.canceller.cancel(&self.id).await;
        self.armed = false;
        self.canceller.tell(&self.id, &outcome)
    }
}

impl Drop for OwnExport {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (canceller, id) = (Arc::clone(&self.canceller), std::mem::take(&mut self.id));
        let cancel = async move {
            let outcome = canceller.cancel(&id).await;
            let words = canceller.tell(&id, &outcome);
            match outcome {
                Cancelled::Yes | Cancelled::AlreadyEnded => tracing::info!("{words}"),
                _ => tracing::warn!("{words}"),
            }
        };
        drop(self.canceller.tasks.spawn_on(cancel, &self.runtime));
    }
}
