//! Making the errors of one part of the surroundings.

use std::error::Error;

use convault_convex_client::{ClientError, Deployment, RetryClass};
use convault_core::{SourceError, SourceErrorKind, SurroundingError, SurroundingErrorKind, SurroundingName};

use crate::{connect::connect, settings::DeploymentSettings, teller::Teller};

/// Makes the errors of one part of the surroundings.
#[derive(Debug, Clone)]
pub(crate) struct Errors {
    surrounding: SurroundingName,
}

impl Errors {
    pub(crate) fn new(surrounding: SurroundingName) -> Self {
        Self { surrounding }
    }

    pub(crate) fn surrounding(&self) -> &SurroundingName {
        &self.surrounding
    }

    /// An error with no other underneath.
    pub(crate) fn error(&self, kind: SurroundingErrorKind, message: impl Into<String>) -> SurroundingError {
        SurroundingError {
            kind,
            surrounding: self.surrounding.clone(),
            message: message.into(),
            source: None,
        }
    }

    /// An error caused by `cause`, whose words `message` does not repeat.
    pub(crate) fn caused(
        &self,
        kind: SurroundingErrorKind,
        message: impl Into<String>,
        cause: impl Error + Send + Sync + 'static,
    ) -> SurroundingError {
        SurroundingError { source: Some(Box::new(cause)), ..self.error(kind, message) }
    }

    /// What a failed request to a deployment or to Convex's platform means. `undone` is what could not be done, like
    /// `cannot read the variables`.
    pub(crate) fn failed(&self, undone: &str, cause: ClientError) -> SurroundingError {
        let remedy = match (kind(&cause), cause.missing_permission()) {
            (_, Some(permission)) => {
                format!("the key lacks the permission `{permission}`; make a deploy key that has it")
            }
            (kind, None) => remedy(kind).to_owned(),
        };
        self.caused(kind(&cause), format!("{undone}: {remedy}"), cause)
    }

    /// Prepares to talk to the deployment.
    pub(crate) async fn connected(
        &self,
        settings: &DeploymentSettings,
    ) -> Result<Deployment, SurroundingError> {
        let teller = Teller::new(settings.deployment.clone());
        connect(settings, &teller).await.map_err(|error| self.unreached(error))
    }

    fn unreached(&self, error: SourceError) -> SurroundingError {
        let kind = match error.kind {
            SourceErrorKind::Key | SourceErrorKind::Permission => SurroundingErrorKind::Permission,
            SourceErrorKind::Transient => SurroundingErrorKind::Transient,
            _ => SurroundingErrorKind::Other,
        };
        SurroundingError { source: error.source, ..self.error(kind, error.message) }
    }
}

/// What kind of failure a request's error is.
pub(crate) fn kind(error: &ClientError) -> SurroundingErrorKind {
    if error.missing_permission().is_some() {
        return SurroundingErrorKind::Permission;
    }
    match error {
        ClientError::KeyText | ClientError::Api { status: 401 | 403, .. } => SurroundingErrorKind::Permission,
        ClientError::Api { status: 404 | 405 | 501, .. } => SurroundingErrorKind::NotFound,
        _ if error.is_unknown_function() => SurroundingErrorKind::NotFound,
        _ if error.retry_class() == RetryClass::Never => SurroundingErrorKind::Other,
        _ => SurroundingErrorKind::Transient,
    }
}

fn remedy(kind: SurroundingErrorKind) -> &'static str {
    match kind {
        SurroundingErrorKind::Permission => {
            "the key or token is refused; give one that may read this and has not expired or been revoked"
        }
        SurroundingErrorKind::NotFound => {
            "it is not there; check the address, and update a self-hosted server"
        }
        SurroundingErrorKind::Transient => {
            "it did not answer as it should; check that it is running and can be reached from here, then try again"
        }
        _ => "the server refuses this",
    }
}
