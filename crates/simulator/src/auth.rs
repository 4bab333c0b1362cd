//! Who is asking, and what they may do.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use crate::api_error::ApiError;
use crate::faults::FaultKind;
use crate::state::AppState;

/// Something a key may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    CreateBackups,
    ViewBackups,
    DownloadBackups,
    DeleteBackups,
    ImportBackups,
    ViewData,
    ViewEnvironmentVariables,
    WriteEnvironmentVariables,
    PauseDeployment,
    UnpauseDeployment,
    WriteData,
    RunInternalQueries,
    Deploy,
}

impl Operation {
    pub(crate) const ALL: [Self; 13] = [
        Self::CreateBackups,
        Self::ViewBackups,
        Self::DownloadBackups,
        Self::DeleteBackups,
        Self::ImportBackups,
        Self::ViewData,
        Self::ViewEnvironmentVariables,
        Self::WriteEnvironmentVariables,
        Self::PauseDeployment,
        Self::UnpauseDeployment,
        Self::WriteData,
        Self::RunInternalQueries,
        Self::Deploy,
    ];

    /// The name in `allowedOps`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CreateBackups => "CreateBackups",
            Self::ViewBackups => "ViewBackups",
            Self::DownloadBackups => "DownloadBackups",
            Self::DeleteBackups => "DeleteBackups",
            Self::ImportBackups => "ImportBackups",
            Self::ViewData => "ViewData",
            Self::ViewEnvironmentVariables => "ViewEnvironmentVariables",
            Self::WriteEnvironmentVariables => "WriteEnvironmentVariables",
            Self::PauseDeployment => "PauseDeployment",
            Self::UnpauseDeployment => "UnpauseDeployment",
            Self::WriteData => "WriteData",
            Self::RunInternalQueries => "RunInternalQueries",
            Self::Deploy => "Deploy",
        }
    }

    /// The permission that error messages name.
    pub(crate) fn permission(self) -> &'static str {
        match self {
            Self::CreateBackups => "deployment:backups:create",
            Self::ViewBackups => "deployment:backups:view",
            Self::DownloadBackups => "deployment:backups:download",
            Self::DeleteBackups => "deployment:backups:delete",
            Self::ImportBackups => "deployment:backups:import",
            Self::ViewData => "deployment:data:view",
            Self::ViewEnvironmentVariables => "deployment:env:view",
            Self::WriteEnvironmentVariables => "deployment:env:write",
            Self::PauseDeployment => "deployment:pause",
            Self::UnpauseDeployment => "deployment:unpause",
            Self::WriteData => "deployment:data:write",
            Self::RunInternalQueries => "deployment:functions:runInternalQueries",
            Self::Deploy => "deployment:deploy",
        }
    }

    /// The sentence that refuses it.
    pub(crate) fn refusal(self) -> String {
        format!("You do not have permission to perform this operation. ({})", self.permission())
    }
}

/// What a read-only key may do.
const READ_ONLY_OPERATIONS: [&str; 12] = [
    "ViewEnvironmentVariables",
    "ViewLogs",
    "ViewMetrics",
    "ViewIntegrations",
    "ViewData",
    "ViewBackups",
    "DownloadBackups",
    "RunInternalQueries",
    "RunTestQuery",
    "ViewAuditLog",
    "ViewUsageLimits",
    "ViewUsage",
];

/// Somebody who showed a valid key.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    /// The operations allowed; empty means all, as in the answer of `check_admin_key`.
    pub(crate) allowed_operations: Vec<String>,
    pub(crate) is_read_only: bool,
    refused: Option<Operation>,
}

impl Admin {
    /// Checks a key as it is sent, whole, in a header, a query string or a WebSocket message.
    pub(crate) fn from_key(state: &AppState, key: &str) -> Result<Self, ApiError> {
        let made = state.deploy_keys.find(without_kind(key), state.clock.now());
        let is_own = without_kind(key) == without_kind(state.key.expose());
        if state.faults.is_on(FaultKind::BadKey) || !(is_own || made.is_some()) {
            return Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "BadAdminKey",
                "The provided admin key was invalid for this instance",
            ));
        }
        let is_read_only = state.faults.is_on(FaultKind::ReadOnlyKey);
        let of_its_own = made.map(|made| made.operations).filter(|operations| !operations.is_empty());
        let limited = state.faults.allowed_operations().or(of_its_own);
        let read_only = || READ_ONLY_OPERATIONS.map(str::to_owned).to_vec();
        Ok(Self {
            allowed_operations: limited
                .unwrap_or_else(|| if is_read_only { read_only() } else { Vec::new() }),
            is_read_only,
            refused: state.faults.is_on(FaultKind::ExpiryDenied).then_some(Operation::DeleteBackups),
        })
    }

    /// Whether the key allows an operation.
    pub(crate) fn may(&self, operation: Operation) -> bool {
        let listed = || self.allowed_operations.iter().any(|name| name == operation.name());
        self.refused != Some(operation) && (self.allowed_operations.is_empty() || listed())
    }

    /// Refuses, as routes do, an operation that the key does not allow.
    pub(crate) fn require(&self, operation: Operation) -> Result<(), ApiError> {
        if self.may(operation) {
            return Ok(());
        }
        Err(ApiError::new(StatusCode::FORBIDDEN, "OperationNotPermitted", operation.refusal()))
    }
}

/// A key without its `prod:`, `dev:` or other kind in front, which the server strips before checking.
pub(crate) fn without_kind(key: &str) -> &str {
    match (key.find(':'), key.find('|')) {
        (Some(colon), Some(bar)) if colon < bar => &key[colon + 1..],
        _ => key,
    }
}

impl FromRequestParts<AppState> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let admin = <Self as OptionalFromRequestParts<AppState>>::from_request_parts(parts, state).await?;
        admin.ok_or_else(|| {
            ApiError::new(
                StatusCode::FORBIDDEN,
                "BadDeployKey",
                "The provided deploy key was invalid for this deployment. Double check that the environment this \
                 key was generated for matches the desired deployment.",
            )
        })
    }
}

impl OptionalFromRequestParts<AppState> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Option<Self>, ApiError> {
        let Some(header) = parts.headers.get(AUTHORIZATION) else {
            return admin_key_parameter(parts).map(|key| Self::from_key(state, &key)).transpose();
        };
        let header = header.to_str().map_err(|_| {
            ApiError::bad_request("HeaderParseFailure", "The Authorization header is not valid text")
        })?;
        let (scheme, key) = header.split_once(' ').unwrap_or((header, ""));
        if header.len() < 7 {
            return Err(ApiError::bad_request(
                "InvalidHeaderFailure",
                "The Authorization header is too short",
            ));
        }
        if scheme.eq_ignore_ascii_case("convex") {
            return Self::from_key(state, key.trim()).map(Some);
        }
        Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "InvalidAuthHeader",
            "Could not parse JWT payload. Check that the token is a valid JWT format with three base64-encoded parts \
             separated by dots.",
        ))
    }
}

/// The key in `?adminKey=`, where a browser that cannot send a header puts it.
fn admin_key_parameter(parts: &Parts) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Parameters {
        #[serde(rename = "adminKey")]
        admin_key: Option<String>,
    }
    let parameters = axum::extract::Query::<Parameters>::try_from_uri(&parts.uri).ok()?;
    parameters.0.admin_key
}

#[cfg(test)]
mod tests {
    use super::without_kind;

    #[test]
    fn the_kind_of_a_key_is_not_part_of_it() {
        assert_eq!(without_kind("prod:happy-animal-123|ab:c"), "happy-animal-123|ab:c");
        assert_eq!(without_kind("happy-animal-123|ab:c"), "happy-animal-123|ab:c");
        assert_eq!(without_kind("a:b"), "a:b");
    }
}
