//! How a deployment is reached and how patiently.

use std::time::Duration;

use convault_convex_client::{ConnectionSettings, Url};
use convault_core::{DeploymentName, Secret};

/// How a deployment is reached, and how its exports are handled.
#[derive(Debug, Clone)]
pub struct DeploymentSettings {
    /// Its name in the settings.
    pub deployment: DeploymentName,
    /// Its address; `None` asks the platform which address the key belongs to (cloud only).
    pub url: Option<Url>,
    /// A deploy key, or a self-hosted instance's admin key.
    pub key: Secret,
    /// Whether a stored export is made to expire on the deployment.
    pub expire_exports: bool,
    /// Where the platform answers; `None` is Convex's own.
    pub provision_url: Option<Url>,
    /// Certificate authorities and time limits.
    pub connection: ConnectionSettings,
    /// How often an export is looked at.
    pub poll: PollSettings,
    /// How failed requests are repeated.
    pub retry: RetrySettings,
    /// How fast stored files are fetched one by one.
    pub files: FileSettings,
}

impl DeploymentSettings {
    /// A deployment with everything but its key left as it is by default.
    pub fn new(deployment: DeploymentName, url: Option<Url>, key: Secret) -> Self {
        Self {
            deployment,
            url,
            key,
            expire_exports: true,
            provision_url: None,
            connection: ConnectionSettings::default(),
            poll: PollSettings::default(),
            retry: RetrySettings::default(),
            files: FileSettings::default(),
        }
    }
}

/// How often an export is looked at: first often, since small ones take no time, then ever less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollSettings {
    /// The first pause.
    pub shortest: Duration,
    /// The longest pause. The server refreshes its words about every 5 s.
    pub longest: Duration,
}

impl Default for PollSettings {
    fn default() -> Self {
        Self { shortest: Duration::from_millis(200), longest: Duration::from_secs(5) }
    }
}

/// How a failed request that is worth repeating is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetrySettings {
    /// How often a request is made at most.
    pub attempts: u32,
    /// The pause after the first failure; each next one is twice as long.
    pub first_pause: Duration,
    /// The longest pause, unless the server asks for a longer one.
    pub longest_pause: Duration,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self { attempts: 6, first_pause: Duration::from_millis(500), longest_pause: Duration::from_secs(30) }
    }
}

/// How fast stored files are fetched one by one, so that the deployment serves its own users meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSettings {
    /// So many at a time.
    pub at_once: usize,
    /// So many begun in a second.
    pub per_second: u32,
}

impl Default for FileSettings {
    fn default() -> Self {
        Self { at_once: 8, per_second: 200 }
    }
}
