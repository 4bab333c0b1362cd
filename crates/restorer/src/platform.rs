//! [`ManagementPlatform`]: making and deleting deployments of one project.

use async_trait::async_trait;
use convault_convex_client::{
    ClientError, CloudDeployment, ConnectionSettings, DEFAULT_PROVISION_URL, Platform as Api, RetryClass, Url,
};
use convault_core::{MadeDeployment, NewDeployment, Platform, PlatformError, Secret};
use jiff::Timestamp;

use crate::failure::was_not_done;
use crate::retry::{retrying, retrying_patiently, retrying_unsent};

/// How often something is asked for that turned out not to have been done.
const ASKS: usize = 3;

/// The project in which deployments are made.
#[derive(Debug, Clone)]
pub struct PlatformSettings {
    /// The project's number.
    pub project: u64,
    /// A token of its team or of the project itself.
    pub token: Secret,
    /// Where the platform answers; `None` is Convex's own.
    pub url: Option<Url>,
    /// Certificate authorities and time limits.
    pub connection: ConnectionSettings,
}

/// A project of Convex's cloud, over the management API.
///
/// A deployment is made once: where the answer is lost, the project's deployments are looked through by the reference.
/// A key whose answer is lost is revoked by its name before another is made.
#[derive(Debug)]
pub struct ManagementPlatform {
    project: u64,
    api: Api,
}

impl ManagementPlatform {
    /// Prepares to talk to the platform. Nothing is sent.
    pub fn new(settings: &PlatformSettings) -> Result<Self, PlatformError> {
        let own = || {
            Url::parse(DEFAULT_PROVISION_URL).expect("the platform's own address is a constant that parses")
        };
        let url = settings.url.clone().unwrap_or_else(own);
        let api = Api::new(url, &settings.token, &settings.connection);
        let api = api.map_err(|error| failed("talk to the platform", error))?;
        Ok(Self { project: settings.project, api })
    }

    async fn all(&self) -> Result<Vec<CloudDeployment>, ClientError> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = retrying(|| self.api.list_deployments(self.project, cursor.as_deref())).await?;
            all.extend(page.deployments);
            if page.next.is_none() || page.next == cursor {
                return Ok(all);
            }
            cursor = page.next;
        }
    }

    async fn found(&self, reference: &str) -> Result<Option<CloudDeployment>, ClientError> {
        let mut all = self.all().await?.into_iter();
        Ok(all.find(|deployment| deployment.reference.as_deref() == Some(reference)))
    }
}

#[async_trait]
impl Platform for ManagementPlatform {
    async fn create(&self, wanted: &NewDeployment) -> Result<MadeDeployment, PlatformError> {
        let undone = "make a deployment";
        let mut asked = 1;
        loop {
            let create = || self.api.create_deployment(self.project, &wanted.reference, wanted.expires);
            let error = match retrying_unsent(create).await {
                Ok(made) => return Ok(made_deployment(made)),
                Err(error) if was_not_done(&error) && asked == 1 => return Err(failed(undone, error)),
                Err(error) => error,
            };
            let found = self.found(&wanted.reference).await;
            match found.map_err(|error| failed("list the project's deployments", error))? {
                Some(made) => {
                    tracing::info!(deployment = %made.name, "an answer was lost; its deployment was found");
                    return Ok(made_deployment(made));
                }
                None if asked < ASKS => asked += 1,
                None => return Err(failed(undone, error)),
            }
        }
    }

    async fn create_key(
        &self,
        deployment: &str,
        name: &str,
        actions: &[&str],
        expires: Timestamp,
    ) -> Result<Secret, PlatformError> {
        let undone = "make a deploy key";
        let mut asked = 1;
        loop {
            let create = || self.api.create_deploy_key(deployment, name, actions, expires);
            let error = match retrying_unsent(create).await {
                Ok(key) => return Ok(key),
                Err(error) if was_not_done(&error) || asked == ASKS => return Err(failed(undone, error)),
                Err(error) => error,
            };
            tracing::debug!(%error, "the answer with a key was lost; that key is revoked");
            // Nobody has it, but it would stay valid until it expires.
            match retrying(|| self.api.delete_deploy_key(deployment, name)).await {
                Err(error) if error.status() != Some(404) => {
                    return Err(failed("revoke a deploy key", error));
                }
                Ok(()) | Err(_) => asked += 1,
            }
        }
    }

    async fn list(&self) -> Result<Vec<MadeDeployment>, PlatformError> {
        let all = self.all().await.map_err(|error| failed("list the project's deployments", error))?;
        // The default one is what people work with, whatever it is called.
        Ok(all.into_iter().filter(|one| !one.is_default).map(made_deployment).collect())
    }

    async fn delete(&self, deployment: &str) -> Result<(), PlatformError> {
        let deleted = retrying_patiently(|| self.api.delete_deployment(deployment)).await;
        let Err(error) = deleted else { return Ok(()) };
        // A second try may find nothing, because the first was carried out although its answer was lost.
        let all = self.all().await;
        match all {
            Ok(all) if !all.iter().any(|one| one.name == deployment) => Ok(()),
            Ok(_) | Err(_) => Err(failed(&format!("delete the deployment {deployment}"), error)),
        }
    }
}

fn made_deployment(deployment: CloudDeployment) -> MadeDeployment {
    MadeDeployment {
        name: deployment.name,
        url: deployment.url.as_str().trim_end_matches('/').to_owned(),
        reference: deployment.reference,
    }
}

fn failed(undone: &str, error: ClientError) -> PlatformError {
    let remedy = match &error {
        ClientError::KeyText | ClientError::Api { status: 401 | 403, .. } => {
            "the token is refused; give an access token of the project's team, or of the project, that is still valid"
        }
        ClientError::Api { status: 404, .. } => {
            "it is not there; check the project's number and that the token is of its team"
        }
        ClientError::Api { status: 400 | 409, .. } => "the platform refuses this, and would refuse it again",
        _ if error.retry_class() == RetryClass::Never => "it could not be done",
        _ => "the platform did not answer as it should; try again later",
    };
    PlatformError {
        is_transient: error.retry_class() != RetryClass::Never,
        message: format!("cannot {undone}: {remedy}"),
        source: Some(Box::new(error)),
    }
}
