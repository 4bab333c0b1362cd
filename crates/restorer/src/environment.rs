//! [`DeploymentEnvironment`]: reading a deployment's environment variables and changing them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use convault_convex_client::{ClientError, RetryClass};
use convault_core::{
    DeploymentName, Environment, EnvironmentChange, Secret, SurroundingError, SurroundingErrorKind,
    SurroundingName,
};

use crate::connect::TargetSettings;
use crate::retry::retrying;

/// What this part of the surroundings is called wherever it is stored.
const NAME: &str = "environment";

/// The environment variables of a deployment, over its admin HTTP API.
#[derive(Debug)]
pub struct DeploymentEnvironment {
    settings: TargetSettings,
    name: SurroundingName,
}

impl DeploymentEnvironment {
    /// Those of the deployment that `settings` reach. Nothing is sent.
    pub fn new(settings: TargetSettings) -> Self {
        Self { settings, name: SurroundingName::new(NAME).expect("a constant that is a name") }
    }

    fn failed(&self, undone: &str, error: ClientError) -> SurroundingError {
        let kind = kind(&error);
        let deployment = &self.settings.deployment;
        let message = match error.missing_permission() {
            Some(permission) => format!(
                "cannot {undone} of {deployment}: the key lacks the permission `{permission}`; give a deploy key that \
                 has it"
            ),
            None => format!("cannot {undone} of {deployment}: {}", remedy(kind)),
        };
        SurroundingError { kind, surrounding: self.name.clone(), message, source: Some(Box::new(error)) }
    }
}

#[async_trait]
impl Environment for DeploymentEnvironment {
    fn deployment(&self) -> &DeploymentName {
        &self.settings.deployment
    }

    async fn read(&self) -> Result<BTreeMap<String, Secret>, SurroundingError> {
        let undone = "read the environment variables";
        let deployment = self.settings.connect().await.map_err(|error| self.failed(undone, error))?;
        // One of the two listings may leave some out, as the server's own code says of secret ones.
        let queried = retrying(|| deployment.query_environment()).await;
        let listed = retrying(|| deployment.list_environment()).await;
        match (queried, listed) {
            (Ok(queried), Ok(mut variables)) => {
                variables.extend(queried);
                Ok(variables)
            }
            (Ok(variables), Err(_)) | (Err(_), Ok(variables)) => Ok(variables),
            (Err(error), Err(_)) => Err(self.failed(undone, error)),
        }
    }

    async fn write(&self, changes: &[EnvironmentChange]) -> Result<(), SurroundingError> {
        let undone = "change the environment variables";
        let deployment = self.settings.connect().await.map_err(|error| self.failed(undone, error))?;
        // Making the same changes again changes nothing more, so an answer that was lost does no harm.
        retrying(|| deployment.update_environment(changes)).await.map_err(|error| self.failed(undone, error))
    }
}

fn kind(error: &ClientError) -> SurroundingErrorKind {
    if error.missing_permission().is_some() {
        return SurroundingErrorKind::Permission;
    }
    match error {
        ClientError::KeyText | ClientError::Api { status: 401 | 403, .. } => SurroundingErrorKind::Permission,
        ClientError::Api { status: 404 | 405, .. } => SurroundingErrorKind::NotFound,
        _ if error.retry_class() == RetryClass::Never => SurroundingErrorKind::Other,
        _ => SurroundingErrorKind::Transient,
    }
}

fn remedy(kind: SurroundingErrorKind) -> &'static str {
    match kind {
        SurroundingErrorKind::Permission => {
            "the key is refused; give a deploy key of this deployment that has not expired or been revoked"
        }
        SurroundingErrorKind::NotFound => "it is no Convex deployment, or too old; check `url`",
        SurroundingErrorKind::Transient => {
            "it did not answer as it should; check that it is running and can be reached from here, then try again"
        }
        _ => "it refuses them; nothing was changed",
    }
}
