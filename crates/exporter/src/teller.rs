//! Telling what went wrong: from one request's error to a run's, with the remedy.

use convault_convex_client::{ClientError, RetryClass};
use convault_core::{DeploymentName, SourceError, SourceErrorKind};

/// Makes the errors of one deployment.
#[derive(Debug, Clone)]
pub(crate) struct Teller {
    deployment: DeploymentName,
}

impl Teller {
    pub(crate) fn new(deployment: DeploymentName) -> Self {
        Self { deployment }
    }

    pub(crate) fn deployment(&self) -> &DeploymentName {
        &self.deployment
    }

    /// An error with no other underneath.
    pub(crate) fn error(&self, kind: SourceErrorKind, message: impl Into<String>) -> SourceError {
        SourceError { kind, deployment: self.deployment.clone(), message: message.into(), source: None }
    }

    /// An error caused by `cause`, whose words `message` does not repeat.
    pub(crate) fn caused(
        &self,
        kind: SourceErrorKind,
        message: impl Into<String>,
        cause: ClientError,
    ) -> SourceError {
        SourceError { source: Some(Box::new(cause)), ..self.error(kind, message) }
    }

    /// What a failed request means for a run. `undone` is what could not be done, like `cannot check the key`.
    pub(crate) fn failed(&self, undone: &str, cause: ClientError) -> SourceError {
        let kind = kind(&cause);
        let message = format!("{undone}: {}", remedy(kind, &cause));
        self.caused(kind, message, cause)
    }
}

fn kind(error: &ClientError) -> SourceErrorKind {
    if error.missing_permission().is_some() {
        return SourceErrorKind::Permission;
    }
    match error {
        ClientError::KeyText | ClientError::Api { status: 401 | 403, .. } => SourceErrorKind::Key,
        ClientError::Answer { .. } | ClientError::Api { status: 404 | 405 | 501, .. } => {
            SourceErrorKind::Unsupported
        }
        _ if error.is_unknown_function() => SourceErrorKind::Unsupported,
        _ if error.retry_class() == RetryClass::Never => SourceErrorKind::Other,
        _ => SourceErrorKind::Transient,
    }
}

fn remedy(kind: SourceErrorKind, error: &ClientError) -> String {
    let fixed = match kind {
        SourceErrorKind::Key => {
            "the key is refused; give a deploy key of this deployment (or the admin key of this self-hosted instance) \
             that has not expired or been revoked"
        }
        SourceErrorKind::Permission => {
            let permission = error.missing_permission().unwrap_or_default();
            return format!("the key lacks the permission `{permission}`; make a deploy key that has it");
        }
        SourceErrorKind::Unsupported => {
            "the server is not a Convex deployment, or is too old; check `url`, and update a self-hosted server"
        }
        SourceErrorKind::Transient => {
            "it did not answer as it should; check that it is running and can be reached from here, then try again"
        }
        _ => match error {
            ClientError::CaFile { .. } | ClientError::Certificate { .. } => "check `ca_file`",
            ClientError::Redirect { .. } | ClientError::Address { .. } => "check `url`",
            _ => "the server refuses this",
        },
    };
    fixed.to_owned()
}
