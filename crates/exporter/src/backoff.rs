//! Growing pauses with jitter, and repeating requests that are worth it.

use std::time::Duration;

use convault_convex_client::{ClientError, RetryClass};

use crate::settings::{PollSettings, RetrySettings};

/// How often a request is made whose failure may be for good.
const FEW_ATTEMPTS: u32 = 3;
/// The longest pause that a server may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);
/// By how much a pause is made longer or shorter, so that many clients do not come at once.
const JITTER: f64 = 0.2;

/// A pause that grows.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
    factor: f64,
}

impl Backoff {
    /// Pauses between looks at an export.
    pub(crate) fn polling(poll: &PollSettings) -> Self {
        Self { next: poll.shortest, longest: poll.longest, factor: 1.5 }
    }

    /// Pauses between tries of a request.
    pub(crate) fn retrying(retry: &RetrySettings) -> Self {
        Self { next: retry.first_pause, longest: retry.longest_pause, factor: 2.0 }
    }

    /// The next pause, up to a fifth longer or shorter than it would be, and the one after it longer.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next.min(self.longest);
        self.next = pause.mul_f64(self.factor);
        pause.mul_f64(rand::random_range(1.0 - JITTER..1.0 + JITTER))
    }

    /// Waits for the next pause, or for as long as the server that gave `error` asks, if that is longer.
    pub(crate) async fn wait_after(&mut self, error: &ClientError) {
        let asked = error.retry_after().unwrap_or_default().min(MAX_RETRY_AFTER);
        let pause = self.pause().max(asked);
        tracing::debug!(%error, pause_ms = pause.as_millis(), "a request failed and will be repeated");
        tokio::time::sleep(pause).await;
    }
}

/// Makes a request until it succeeds, is not worth repeating, or has been made often enough. Only for requests that
/// may be made twice.
pub(crate) async fn retrying<T, F>(
    settings: &RetrySettings,
    mut request: impl FnMut() -> F + Send,
) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>> + Send,
{
    let mut backoff = Backoff::retrying(settings);
    let mut attempt = 1;
    loop {
        match request().await {
            Err(error) if attempt < attempts(settings, &error) => backoff.wait_after(&error).await,
            result => return result,
        }
        attempt += 1;
    }
}

/// How often a request that failed with `error` is made in all.
pub(crate) fn attempts(settings: &RetrySettings, error: &ClientError) -> u32 {
    // A missing permission or function may be reported as a failure inside a function; it will not come back.
    if error.missing_permission().is_some() || error.is_unknown_function() {
        return 1;
    }
    match error.retry_class() {
        RetryClass::Never => 1,
        RetryClass::FewTimes => settings.attempts.min(FEW_ATTEMPTS),
        RetryClass::BackOff => settings.attempts,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use convault_convex_client::ClientError;
    use tokio::time::Instant;

    use super::{Backoff, retrying};
    use crate::settings::{PollSettings, RetrySettings};

    fn api(status: u16, code: &str, message: &str, retry_after: Option<Duration>) -> ClientError {
        ClientError::Api {
            call: "x",
            status,
            code: code.to_owned(),
            message: message.to_owned(),
            retry_after,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_repeated_as_often_as_their_class_says() {
        for (status, code, expected) in
            [(503, "", 6), (500, "", 3), (404, "", 3), (400, "BadQueryArgs", 1), (401, "", 1)]
        {
            let made = std::sync::atomic::AtomicU32::new(0);
            let result: Result<(), _> = retrying(&RetrySettings::default(), || {
                made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                async { Err(api(status, code, "", None)) }
            })
            .await;
            assert_eq!(result.unwrap_err().status(), Some(status));
            assert_eq!(made.into_inner(), expected, "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_may_ask_for_a_longer_pause_but_not_for_ever() {
        for (asked, at_least, at_most) in [(20, 20, 21), (100_000, 300, 301)] {
            let begun = Instant::now();
            Backoff::retrying(&RetrySettings::default())
                .wait_after(&api(429, "", "", Some(Duration::from_secs(asked))))
                .await;
            let waited = begun.elapsed().as_secs();
            assert!((at_least..=at_most).contains(&waited), "{waited}");
        }
    }

    #[test]
    fn pauses_grow_to_the_longest_with_a_little_jitter() {
        let mut backoff = Backoff::polling(&PollSettings::default());
        let expected = Cell::new(0.2_f64);
        for _ in 0..20 {
            let pause = backoff.pause().as_secs_f64();
            assert!((expected.get() * 0.799..expected.get() * 1.201).contains(&pause), "{pause}");
            expected.set((expected.get() * 1.5).min(5.0));
        }
    }
}
