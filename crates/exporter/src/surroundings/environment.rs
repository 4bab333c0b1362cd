//! The environment variables of a deployment.

use std::collections::BTreeMap;

use async_trait::async_trait;
use convault_convex_client::Deployment;
use convault_core::{
    Collect, NotCovered, Secret, Surrounding, SurroundingError, SurroundingKind, SurroundingName,
};

use super::errors::Errors;
use super::gaps::Gaps;
use super::variables::{put, put_variables};
use crate::backoff::retrying;
use crate::settings::DeploymentSettings;

/// A deployment's environment variables (`variables.env`, `variables.json`), and what each component is given of them
/// (`components.json`).
#[derive(Debug)]
pub struct EnvironmentVariables {
    settings: DeploymentSettings,
    errors: Errors,
}

impl EnvironmentVariables {
    /// Those of the deployment that `settings` reach, called `name`. Nothing is sent.
    pub fn new(name: SurroundingName, settings: DeploymentSettings) -> Self {
        Self { settings, errors: Errors::new(name) }
    }

    /// A listing of one way may leave some out (the server's own code says so of secret ones), so that both are asked.
    async fn variables(&self, deployment: &Deployment) -> Result<BTreeMap<String, Secret>, SurroundingError> {
        let retry = &self.settings.retry;
        let queried = retrying(retry, || deployment.query_environment()).await;
        let listed = retrying(retry, || deployment.list_environment()).await;
        match (queried, listed) {
            (Ok(queried), Ok(mut variables)) => {
                variables.extend(queried);
                Ok(variables)
            }
            (Ok(variables), Err(_)) | (Err(_), Ok(variables)) => Ok(variables),
            (Err(error), Err(_)) => Err(self.errors.failed("cannot read the environment variables", error)),
        }
    }
}

#[async_trait]
impl Surrounding for EnvironmentVariables {
    fn name(&self) -> &SurroundingName {
        self.errors.surrounding()
    }

    fn kind(&self) -> SurroundingKind {
        SurroundingKind::Secrets
    }

    fn is_required(&self) -> bool {
        false
    }

    async fn collect(&self, taker: &mut dyn Collect) -> Result<Vec<NotCovered>, SurroundingError> {
        let deployment = self.errors.connected(&self.settings).await?;
        let variables = self.variables(&deployment).await?;
        put_variables(taker, "", &variables).await?;
        let mut gaps = Gaps::new(false);
        match retrying(&self.settings.retry, || deployment.component_list()).await {
            Ok(components) => put(taker, "components.json", components.get().as_bytes()).await?,
            Err(error) => {
                let error = self.errors.failed("cannot list the components", error);
                gaps.missed("which environment variables each component is given", error)?;
            }
        }
        Ok(gaps.into_noted())
    }
}
