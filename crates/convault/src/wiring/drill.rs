//! Makes drills out of settings: what they restore to, and what they must never restore to.

mod command;

use std::{path::PathBuf, sync::Arc};

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use convault_archive::encryption::Identities;
use convault_convex_client::{ConnectionSettings, Url};
use convault_core::{Clock, DeploymentName, DrillName, RunId, ScratchKind, Secret};
use convault_exporter::DeploymentSource;
use convault_jobs::{
    Connect, Destination, Drill, DrillSource, JobError, Pages, PlatformScratch, Reached, Scratch,
    ScratchDeployment,
    erasure::{ErasureLimits, LedgerKeys},
};
use convault_restorer::{
    DeploymentEnvironment, DeploymentTarget, ManagementPlatform, PlatformSettings, TargetSettings,
};
use convault_settings::{DeploymentSettings, DrillInto, DrillSettings, Settings};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use self::command::CommandScratch;
use super::target_settings;
use crate::worker::VERSION;

/// What a drill is made with beside its own settings.
pub(crate) struct DrillParts<'a> {
    pub(crate) settings: &'a Settings,
    /// The destinations that it may read from.
    pub(crate) from: Vec<Destination>,
    /// All destinations.
    pub(crate) everywhere: &'a [Destination],
    pub(crate) identities: Option<&'a Identities>,
    pub(crate) dead_runs: &'a [RunId],
    pub(crate) clock: &'a Arc<dyn Clock>,
}

/// A drill, ready to be made. Connects to nothing and starts nothing.
pub(crate) fn drill<'a>(drill: &DrillSettings, parts: DrillParts<'a>) -> anyhow::Result<Drill<'a>> {
    let settings = parts.settings;
    let deployment = settings.deployment(&drill.deployment).expect("a drill's deployment is always there");
    let automations = deployment.automations.iter().filter(|_| drill.quiet_automations);
    let names = super::names_key(settings)?;
    Ok(Drill {
        name: drill.name.clone(),
        deployment: drill.deployment.clone(),
        destinations: parts.from,
        everywhere: parts.everywhere,
        identities: parts.identities,
        ledger_keys: LedgerKeys { identities: parts.identities.cloned(), names },
        erasure_limits: ErasureLimits { max_erased_ids: settings.erasure.max_erased_ids as usize },
        quiet: automations.cloned().collect(),
        scratch: scratch(drill, parts.clock)?,
        sources: settings.deployments.iter().map(source).collect(),
        assertions: drill.assertions.clone(),
        pages: Arc::new(WebPages),
        export_deadline: deployment.export_deadline,
        no_progress_limit: deployment.no_progress_limit,
        dead_runs: parts.dead_runs.to_vec(),
        version: VERSION.to_owned(),
    })
}

/// A deployment of the settings, to be asked who it is.
fn source(deployment: &DeploymentSettings) -> DrillSource {
    DrillSource {
        name: deployment.name.clone(),
        target: Arc::new(DeploymentTarget::new(target_settings(deployment))),
        environment: Arc::new(DeploymentEnvironment::new(target_settings(deployment))),
    }
}

fn scratch(drill: &DrillSettings, clock: &Arc<dyn Clock>) -> anyhow::Result<Arc<dyn Scratch>> {
    Ok(match &drill.into {
        DrillInto::Deployment { url, key, ca_file } => {
            let connect = connect(&drill.name, ca_file.clone(), clock);
            Arc::new(There { url: url.to_string(), key: key.clone(), connect: Connecting(connect) })
        }
        DrillInto::Platform { token, project, url } => {
            let settings = PlatformSettings {
                project: u64::from(*project),
                token: token.clone(),
                url: Some(url.clone()),
                connection: ConnectionSettings::default(),
            };
            let platform = ManagementPlatform::new(&settings).context("setting `into.platform`")?;
            let connect = connect(&drill.name, None, clock);
            Arc::new(PlatformScratch::new(Arc::new(platform), drill.name.clone(), connect, drill.time_out))
        }
        DrillInto::Command(command) => {
            Arc::new(CommandScratch::new(command.clone(), connect(&drill.name, None, clock)))
        }
    })
}

/// Makes what reaches a scratch deployment, which is called after its drill.
fn connect(drill: &DrillName, ca_file: Option<PathBuf>, clock: &Arc<dyn Clock>) -> Connect {
    let name = DeploymentName::new(drill.as_str()).expect("both kinds of names have one form");
    let clock = Arc::clone(clock);
    Arc::new(move |url: &str, key: &Secret| {
        // What a command printed may be anything, a URL with a password in it too.
        let url =
            Url::parse(url).map_err(|_| "the address of the scratch deployment is no URL".to_owned())?;
        let connection = ConnectionSettings { ca_file: ca_file.clone(), ..ConnectionSettings::default() };
        let settings = TargetSettings {
            deployment: name.clone(),
            url: Some(url.clone()),
            key: key.clone(),
            provision_url: None,
            connection: connection.clone(),
        };
        let of_source = convault_exporter::DeploymentSettings::new(name.clone(), Some(url), key.clone());
        let of_source = convault_exporter::DeploymentSettings { connection, ..of_source };
        Ok(Reached {
            target: Arc::new(DeploymentTarget::new(settings.clone())),
            source: Arc::new(DeploymentSource::new(of_source, Arc::clone(&clock))),
            environment: Arc::new(DeploymentEnvironment::new(settings)),
        })
    })
}

/// A [`Connect`] that can be printed.
struct Connecting(Connect);

impl std::fmt::Debug for Connecting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connecting")
    }
}

impl Connecting {
    fn reach(&self, url: &str, key: &Secret) -> Result<Reached, JobError> {
        (self.0)(url, key).map_err(|what| JobError::Scratch { what, is_transient: false })
    }
}

/// A scratch deployment that is there.
#[derive(Debug)]
struct There {
    url: String,
    key: Secret,
    connect: Connecting,
}

#[async_trait]
impl Scratch for There {
    fn kind(&self) -> ScratchKind {
        ScratchKind::Deployment
    }

    async fn begin(
        &self,
        _: &RunId,
        _: &[RunId],
        _: Timestamp,
        _: &(dyn Fn(String) + Send + Sync),
        _: &CancellationToken,
    ) -> Result<Box<dyn ScratchDeployment>, JobError> {
        Ok(Box::new(Lent(self.connect.reach(&self.url, &self.key)?)))
    }
}

#[derive(Debug)]
struct Lent(Reached);

#[async_trait]
impl ScratchDeployment for Lent {
    fn reached(&self) -> &Reached {
        &self.0
    }

    fn is_made(&self) -> bool {
        false
    }

    async fn end(self: Box<Self>) -> Result<(), String> {
        Ok(())
    }
}

/// Pages of the web.
#[derive(Debug)]
struct WebPages;

#[async_trait]
impl Pages for WebPages {
    async fn get(&self, url: &str) -> Result<(u16, Bytes), String> {
        let url = Url::parse(url).map_err(|_| "its address is no URL".to_owned())?;
        let page = convault_convex_client::page(url, &ConnectionSettings::default()).await;
        page.map_err(|error| convault_jobs::chain(&error))
    }
}
