//! Letting a stored export expire on the deployment.

use convault_convex_client::{ClientError, Deployment, Operation};
use convault_core::{Export, Release};
use jiff::{SignedDuration, Timestamp};

use crate::backoff::retrying;
use crate::settings::RetrySettings;

/// The deployment removes an export 30 days after its expiry, at default settings, so an expiry that lies further
/// back lets the next clean-up, half an hour later at most, remove it. The extra day is for clocks that differ.
const EXPIRED_FOR: SignedDuration = SignedDuration::from_hours(31 * 24);

/// Sets the expiry of `export` 31 days before `now`.
pub(crate) async fn expire(
    deployment: &Deployment,
    retry: &RetrySettings,
    export: &Export,
    now: Timestamp,
) -> Release {
    let expires_ts = u64::try_from((now - EXPIRED_FOR).as_nanosecond()).unwrap_or_default();
    match retrying(retry, || deployment.set_export_expiration(&export.id, expires_ts)).await {
        Ok(()) => Release::ExpirySet,
        Err(error) => Release::Refused(refusal(&export.id, &error)),
    }
}

fn refusal(id: &str, error: &ClientError) -> String {
    let why = match error.status() {
        Some(403) => {
            let permission = Operation::DeleteBackups.permission();
            format!("the key lacks the permission `{permission}`; add it, or set `expire_exports = false`")
        }
        Some(404) => {
            "the server is older than 2025-05-12; update it, or set `expire_exports = false`".to_owned()
        }
        _ => error.to_string(),
    };
    format!("the export {id} stays on the deployment until its own expiry: {why}")
}
