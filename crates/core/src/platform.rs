//! [`Platform`]: the trait that makes and deletes deployments.

use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::Secret;

/// A deployment to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDeployment {
    /// What it is found by: 3 to 100 of `a-z`, `0-9`, `-` and `/`. One without would become the project's default.
    pub reference: String,
    /// When the platform deletes it if nobody else did; 30 minutes ahead at least.
    pub expires: Timestamp,
}

/// A deployment that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeDeployment {
    /// Its name on the platform, like `happy-animal-123`.
    pub name: String,
    /// Where it is reached.
    pub url: String,
    /// The reference it was made with, where it has one.
    pub reference: Option<String>,
}

/// A failure of a platform. `Display` says what happened and the remedy. Never a token or a key.
#[derive(Debug, thiserror::Error)]
#[error("the platform: {message}")]
pub struct PlatformError {
    /// Whether the same is worth trying again.
    pub is_transient: bool,
    /// What happened, then the remedy.
    pub message: String,
    /// The cause underneath, whose text `message` does not repeat.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Where deployments are made and deleted: one project of the platform.
#[async_trait]
pub trait Platform: Send + Sync + fmt::Debug {
    /// Makes a deployment that is nobody's default.
    async fn create(&self, wanted: &NewDeployment) -> Result<MadeDeployment, PlatformError>;

    /// Makes a deploy key that may do `actions` (like `deployment:backups:import`) and nothing else until `expires`.
    async fn create_key(
        &self,
        deployment: &str,
        name: &str,
        actions: &[&str],
        expires: Timestamp,
    ) -> Result<Secret, PlatformError>;

    /// Every deployment of the project, for finding what an earlier run left behind.
    async fn list(&self) -> Result<Vec<MadeDeployment>, PlatformError>;

    /// Deletes a deployment with all that is in it. One that is not there is no error.
    async fn delete(&self, deployment: &str) -> Result<(), PlatformError>;
}
