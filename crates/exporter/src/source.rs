//! [`DeploymentSource`]: the trait's doors, each leading to its own file.

use std::sync::Arc;

use async_trait::async_trait;
use convault_convex_client::Deployment;
use convault_core::{
    Clock, DeploymentName, Export, ExportRequest, ExportStream, FileRow, FileStream, Preflight, Progress,
    Release, Source, SourceError,
};
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use crate::connect::connect;
use crate::files::{self, Pace};
use crate::own_export::Canceller;
use crate::settings::DeploymentSettings;
use crate::teller::Teller;
use crate::wait::{Holding, Wait};
use crate::{download, preflight, release};

/// A Convex deployment, reached over its admin HTTP API.
///
/// Dropping the future of [`Source::export`] while an export of ours runs hands its cancellation to a task that this
/// value owns; [`DeploymentSource::settle`] waits for such tasks.
#[derive(Debug)]
pub struct DeploymentSource {
    settings: DeploymentSettings,
    clock: Arc<dyn Clock>,
    teller: Teller,
    /// Where the deployment was last found. An address from the platform is asked for anew by each pre-flight check.
    deployment: Mutex<Option<Deployment>>,
    tasks: TaskTracker,
    pace: Pace,
}

impl DeploymentSource {
    /// Takes the settings of a deployment. Nothing is sent, and nothing read, until the first call.
    pub fn new(settings: DeploymentSettings, clock: Arc<dyn Clock>) -> Self {
        let teller = Teller::new(settings.deployment.clone());
        let pace = Pace::new(settings.files);
        Self { settings, clock, teller, deployment: Mutex::new(None), tasks: TaskTracker::new(), pace }
    }

    /// Waits until no request is under way that a dropped [`Source::export`] has left to this value: at most about a
    /// minute each. For an orderly stop.
    pub async fn settle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    async fn connected(&self) -> Result<Deployment, SourceError> {
        let mut known = self.deployment.lock().await;
        if let Some(deployment) = known.as_ref() {
            return Ok(deployment.clone());
        }
        let deployment = connect(&self.settings, &self.teller).await?;
        Ok(known.insert(deployment).clone())
    }

    async fn connected_anew(&self) -> Result<Deployment, SourceError> {
        *self.deployment.lock().await = None;
        self.connected().await
    }
}

#[async_trait]
impl Source for DeploymentSource {
    fn deployment(&self) -> &DeploymentName {
        self.teller.deployment()
    }

    async fn preflight(&self) -> Result<Preflight, SourceError> {
        let deployment = self.connected_anew().await?;
        preflight::preflight(&deployment, &self.settings, &self.teller).await
    }

    async fn export(
        &self,
        request: ExportRequest,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Export, SourceError> {
        let deployment = self.connected().await?;
        let canceller = Canceller { deployment, retry: self.settings.retry, tasks: self.tasks.clone() };
        let wait = Wait {
            teller: &self.teller,
            canceller: Arc::new(canceller),
            poll: self.settings.poll,
            request: &request,
            progress,
            holding: Holding::Nothing,
            unanswered: None,
        };
        wait.run().await
    }

    async fn open(&self, export: &Export) -> Result<ExportStream, SourceError> {
        let deployment = self.connected().await?;
        download::open(&deployment, &self.settings.retry, &self.teller, export).await
    }

    async fn release(&self, export: &Export) -> Release {
        if export.adopted {
            return Release::Kept("somebody else asked for it");
        }
        if !self.settings.expire_exports {
            return Release::Kept("`expire_exports` is off");
        }
        match self.connected().await {
            Ok(deployment) => {
                release::expire(&deployment, &self.settings.retry, export, self.clock.now()).await
            }
            Err(error) => Release::Refused(format!(
                "the export {} stays on the deployment until its own expiry: {error}",
                export.id
            )),
        }
    }

    async fn why_no_files(&self) -> Result<Option<String>, SourceError> {
        let deployment = self.connected().await?;
        files::why_not(&deployment, &self.settings.retry, &self.teller).await
    }

    fn list_files(&self) -> BoxStream<'_, Result<FileRow, SourceError>> {
        let begun = async {
            let deployment = self.connected().await?;
            Ok(files::list(deployment, self.settings.retry, self.teller.clone()))
        };
        futures::stream::once(begun).try_flatten().boxed()
    }

    async fn open_file(&self, row: &FileRow) -> Result<FileStream, SourceError> {
        let deployment = self.connected().await?;
        files::open(&deployment, &self.settings.retry, &self.teller, &self.pace, row).await
    }
}
