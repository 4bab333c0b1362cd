//! What the management API is sent, and what it refuses of it.

use axum::body::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::api_error::ApiError;
use crate::keys::operation_of;

const LEAST_LIFE: SignedDuration = SignedDuration::from_mins(30);

/// Unknown fields are refused, as most of these calls do.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateDeployment {
    #[serde(rename = "type")]
    pub(super) deployment_type: String,
    pub(super) class: Option<String>,
    pub(super) region: Option<String>,
    pub(super) reference: Option<String>,
    pub(super) is_default: Option<bool>,
    expires_at: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateDeployKey {
    pub(super) name: String,
    allowed_actions: Option<Vec<String>>,
    expires_at: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteDeployKey {
    /// The whole key, its secret part, or its name.
    pub(super) id: String,
}

/// Reads a body.
pub(super) fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| ApiError::bad_request("BadJsonBody", error.to_string()))
}

impl CreateDeployment {
    /// Refuses what cannot be made.
    pub(super) fn check(&self, now: Timestamp) -> Result<(), ApiError> {
        if !["dev", "prod", "preview", "custom"].contains(&&*self.deployment_type) {
            let message = format!("unknown deployment type {}", self.deployment_type);
            return Err(ApiError::bad_request("BadJsonBody", message));
        }
        let is_sign = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '/');
        if let Some(wrong) = self
            .reference
            .as_deref()
            .filter(|text| !(3..=100).contains(&text.len()) || !text.chars().all(is_sign))
        {
            let message = format!("A reference has 3 to 100 of a-z, 0-9, - and /, and `{wrong}` does not");
            return Err(ApiError::bad_request("InvalidReference", message));
        }
        self.expires(now).map(drop)
    }

    /// When it is deleted.
    pub(super) fn expires(&self, now: Timestamp) -> Result<Option<Timestamp>, ApiError> {
        expiry(self.expires_at, now)
    }
}

impl CreateDeployKey {
    /// What the key may do, as in `allowedOps`; empty for everything.
    pub(super) fn operations(&self) -> Result<Vec<String>, ApiError> {
        let Some(actions) = &self.allowed_actions else { return Ok(Vec::new()) };
        if actions.is_empty() || !actions.iter().all(|action| action.starts_with("deployment:")) {
            let message = "allowedActions must name actions such as deployment:backups:import";
            return Err(ApiError::bad_request("InvalidAllowedActions", message));
        }
        Ok(actions.iter().map(|action| operation_of(action)).collect())
    }

    /// When it stops being valid.
    pub(super) fn expires(&self, now: Timestamp) -> Result<Option<Timestamp>, ApiError> {
        expiry(self.expires_at, now)
    }
}

/// A time in milliseconds since the Unix epoch, which must be half an hour ahead.
fn expiry(expires_at: Option<i64>, now: Timestamp) -> Result<Option<Timestamp>, ApiError> {
    let Some(ms) = expires_at else { return Ok(None) };
    let expires = Timestamp::from_millisecond(ms).ok();
    let expires = expires.filter(|expires| expires.duration_since(now) >= LEAST_LIFE);
    let refused =
        || ApiError::bad_request("InvalidExpiresAt", "expiresAt must be at least 30 minutes in the future");
    expires.map(Some).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use jiff::Timestamp;

    use super::{CreateDeployKey, CreateDeployment, body};

    fn code(json: &'static str) -> &'static str {
        let now = Timestamp::from_millisecond(1_000_000_000_000).unwrap();
        let wanted = body::<CreateDeployment>(&Bytes::from_static(json.as_bytes()));
        match wanted.and_then(|wanted| wanted.check(now)) {
            Ok(()) => "",
            Err(error) => error.code,
        }
    }

    #[test]
    fn what_cannot_be_made_is_refused() {
        assert_eq!(code(r#"{"type":"dev","reference":"drill/crm-1","expiresAt":1000001800000}"#), "");
        assert_eq!(code(r#"{"type":"dev","reference":"a-b","expiresAt":1000001799999}"#), "InvalidExpiresAt");
        assert_eq!(code(r#"{"type":"dev","reference":"A-b"}"#), "InvalidReference");
        assert_eq!(code(r#"{"type":"dev","reference":"ab"}"#), "InvalidReference");
        assert_eq!(code(r#"{"type":"test"}"#), "BadJsonBody");
        assert_eq!(code(r#"{"type":"dev","comment":"x"}"#), "BadJsonBody");
    }

    #[test]
    fn a_key_that_may_do_nothing_is_not_made() {
        let operations = |json: &'static str| {
            body::<CreateDeployKey>(&Bytes::from_static(json.as_bytes())).unwrap().operations()
        };
        let limited = r#"{"name":"n","allowedActions":["deployment:backups:import","deployment:logs:view"]}"#;
        assert_eq!(operations(limited).unwrap(), ["ImportBackups", "deployment:logs:view"]);
        assert!(operations(r#"{"name":"n"}"#).unwrap().is_empty());
        assert!(operations(r#"{"name":"n","allowedActions":[]}"#).is_err());
        assert!(operations(r#"{"name":"n","allowedActions":["everything"]}"#).is_err());
    }
}
