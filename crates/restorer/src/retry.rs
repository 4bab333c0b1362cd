//! Repeating a request that may be made twice.

use std::time::Duration;

use convault_convex_client::{ClientError, RetryClass};

/// A person waits for what is done here, so not for long.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(800), Duration::from_millis(3200)];

/// Makes a request until it succeeds, is not worth repeating, or was made four times.
pub(crate) async fn retrying<T, F>(mut request: impl FnMut() -> F + Send) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>> + Send,
{
    for pause in PAUSES {
        match request().await {
            Err(error) if is_worth_repeating(&error) => {
                tracing::debug!(%error, pause_ms = pause.as_millis(), "a request failed and will be repeated");
                tokio::time::sleep(pause).await;
            }
            result => return result,
        }
    }
    request().await
}

fn is_worth_repeating(error: &ClientError) -> bool {
    error.retry_class() != RetryClass::Never
        && error.missing_permission().is_none()
        && !error.is_unknown_function()
}
