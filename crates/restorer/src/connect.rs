//! How the deployment that is written to is reached.

use convault_convex_client::{
    ClientError, ConnectionSettings, DEFAULT_PROVISION_URL, Deployment, Platform, Url,
};
use convault_core::{DeploymentName, Secret};

use crate::retry::retrying;

/// The deployment that is written to.
#[derive(Debug, Clone)]
pub struct TargetSettings {
    /// Its name in the settings.
    pub deployment: DeploymentName,
    /// Its address; `None` asks the platform which address the key belongs to (cloud only).
    pub url: Option<Url>,
    /// A deploy key, or a self-hosted instance's admin key.
    pub key: Secret,
    /// Where the platform answers; `None` is Convex's own.
    pub provision_url: Option<Url>,
    /// Certificate authorities and time limits.
    pub connection: ConnectionSettings,
}

impl TargetSettings {
    /// Prepares to talk to the deployment, asking the platform for its address where there is none.
    pub(crate) async fn connect(&self) -> Result<Deployment, ClientError> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => self.url_for_key().await?,
        };
        Deployment::new(url, &self.key, &self.connection)
    }

    async fn url_for_key(&self) -> Result<Url, ClientError> {
        let own = || {
            Url::parse(DEFAULT_PROVISION_URL).expect("the platform's own address is a constant that parses")
        };
        let provision_url = self.provision_url.clone().unwrap_or_else(own);
        let platform = Platform::new(provision_url, &self.key, &self.connection)?;
        retrying(|| platform.url_for_key()).await
    }
}
