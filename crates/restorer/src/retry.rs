//! Repeating a request that may be made twice.

use std::time::Duration;

use convault_convex_client::{ClientError, RetryClass};

/// A person waits for what is done here, so not for long.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(800), Duration::from_millis(3200)];
/// What an import is waited for with: a server that starts anew meanwhile must not end a restore.
const PATIENT: [Duration; 7] = [
    Duration::from_millis(200),
    Duration::from_millis(800),
    Duration::from_millis(3200),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(30),
];

/// Makes a request until it succeeds, is not worth repeating, or was made four times.
pub(crate) async fn retrying<T, F>(request: impl FnMut() -> F + Send) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>> + Send,
{
    retrying_where(&PAUSES, is_worth_repeating, request).await
}

/// Like [`retrying`], for a minute and more.
pub(crate) async fn retrying_patiently<T, F>(request: impl FnMut() -> F + Send) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>> + Send,
{
    retrying_where(&PATIENT, is_worth_repeating, request).await
}

/// Like [`retrying`], for a request that may be made again only where it certainly was not carried out.
pub(crate) async fn retrying_unsent<T, F>(request: impl FnMut() -> F + Send) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>> + Send,
{
    let was_not_sent = |error: &ClientError| error.is_unsent() && is_worth_repeating(error);
    retrying_where(&PAUSES, was_not_sent, request).await
}

/// Like [`retrying_unsent`], and where the server says that it did not come to it.
pub(crate) async fn retrying_where_not_run<T, F>(request: impl FnMut() -> F + Send) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>> + Send,
{
    let was_not_run = |error: &ClientError| {
        matches!(error.status(), Some(429 | 503)) || (error.is_unsent() && is_worth_repeating(error))
    };
    retrying_where(&PAUSES, was_not_run, request).await
}

/// Like [`retrying`], and for a minute and more while the server counts its tables.
pub(crate) async fn retrying_counts<T, F>(request: impl FnMut() -> F + Send) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>> + Send,
{
    let mut failures = 0;
    let is_worth_it = |error: &ClientError| {
        failures += 1;
        error.is_still_counting() || (failures <= PAUSES.len() && is_worth_repeating(error))
    };
    retrying_where(&PATIENT, is_worth_it, request).await
}

async fn retrying_where<T, F>(
    pauses: &[Duration],
    mut is_worth_it: impl FnMut(&ClientError) -> bool + Send,
    mut request: impl FnMut() -> F + Send,
) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>> + Send,
{
    for pause in pauses {
        match request().await {
            Err(error) if is_worth_it(&error) => {
                let pause = error.retry_after().map_or(*pause, |asked| asked.min(LONGEST_PAUSE).max(*pause));
                tracing::debug!(%error, pause_ms = pause.as_millis(), "a request failed and will be repeated");
                tokio::time::sleep(pause).await;
            }
            result => return result,
        }
    }
    request().await
}

/// A server that asks to wait longer than this is as good as one that does not answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

fn is_worth_repeating(error: &ClientError) -> bool {
    error.retry_class() != RetryClass::Never
        && error.missing_permission().is_none()
        && !error.is_unknown_function()
}
