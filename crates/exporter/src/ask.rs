//! Asking for an export, and knowing which row is the answer.

use std::sync::Arc;

use convault_convex_client::{ClientError, Deployment, ExportRow, RetryClass};

use crate::backoff::{Backoff, attempts, retrying};
use crate::own_export::{Canceller, OwnExport};
use crate::settings::RetrySettings;

/// What became of asking for an export.
#[derive(Debug)]
pub(crate) enum Asked {
    /// This row is ours: the deployment said yes, and the row was not there before.
    Ours(OwnExport, ExportRow),
    /// The answer was lost, and there is a row that was not there before. It is as good as ours to use, but it could
    /// be somebody else's, so it is never cancelled.
    Perhaps(ExportRow),
    /// Another export holds the slot.
    SlotTaken,
    /// The answer was lost and no new row is there: worth asking again.
    Unanswered(ClientError),
    /// The deployment said yes, but the row cannot be seen. An export of ours is running that cannot be named.
    Unseen(Option<ClientError>),
    /// The deployment refuses.
    Refused(ClientError),
}

/// Asks for an export once. `before` is the newest row's id as seen just before.
///
/// Runs to its end even if nobody waits for it any more: only then is it known what would have to be cancelled, which
/// dropping the answer does.
pub(crate) async fn ask(canceller: Arc<Canceller>, include_files: bool, before: Option<String>) -> Asked {
    let deployment = canceller.deployment.clone();
    let lost = match deployment.request_export(include_files).await {
        Ok(()) => None,
        Err(error) if error.code() == "ExportInProgress" => return Asked::SlotTaken,
        Err(error) if error.missing_permission().is_some() || error.retry_class() == RetryClass::Never => {
            return Asked::Refused(error);
        }
        Err(error) => Some(error),
    };
    let look = Look { deployment: &deployment, include_files, before: before.as_deref() };
    match lost {
        Some(error) => look.after_no_answer(&canceller.retry, error).await,
        None => match look.until_seen(&canceller.retry).await {
            Ok(Some(row)) => Asked::Ours(OwnExport::new(row.id.clone(), Arc::clone(&canceller)), row),
            Ok(None) => Asked::Unseen(None),
            Err(error) => Asked::Unseen(Some(error)),
        },
    }
}

/// Whether `row` came after the row with the id `before` and is of the kind we asked for.
pub(crate) fn is_new(row: &ExportRow, before: Option<&str>, include_files: bool) -> bool {
    before != Some(row.id.as_str()) && row.include_storage.is_none_or(|included| included == include_files)
}

struct Look<'a> {
    deployment: &'a Deployment,
    include_files: bool,
    before: Option<&'a str>,
}

impl Look<'_> {
    async fn once(&self) -> Result<Option<ExportRow>, ClientError> {
        let row = self.deployment.latest_export().await?;
        Ok(row.filter(|row| is_new(row, self.before, self.include_files)))
    }

    /// The request is committed before it is answered, so the first look shows the row; a few more cost little.
    async fn until_seen(&self, retry: &RetrySettings) -> Result<Option<ExportRow>, ClientError> {
        let mut backoff = Backoff::retrying(retry);
        for attempt in 1.. {
            match self.once().await {
                Ok(None) if attempt < retry.attempts => tokio::time::sleep(backoff.pause()).await,
                Err(error) if attempt < attempts(retry, &error) => backoff.wait_after(&error).await,
                result => return result,
            }
        }
        Ok(None)
    }

    async fn after_no_answer(&self, retry: &RetrySettings, lost: ClientError) -> Asked {
        match retrying(retry, || self.once()).await {
            Ok(Some(row)) => Asked::Perhaps(row),
            Ok(None) => Asked::Unanswered(lost),
            Err(error) => Asked::Unanswered(error),
        }
    }
}
