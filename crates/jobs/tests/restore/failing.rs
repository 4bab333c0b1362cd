//! A target and a source of which a chosen call fails, or comes with the restore being stopped.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use convault_core::{
    DeploymentName, Export, ExportRequest, ExportStream, ImportId, ImportRequest, ImportStatus, ImportUpload,
    Preflight, Progress, Release, Source, SourceError, SourceErrorKind, Target, TargetContents, TargetError,
    TargetErrorKind, TargetIdentity,
};
use tokio_util::sync::CancellationToken;

/// What a chosen call meets.
#[derive(Debug, Clone)]
pub(crate) enum Planted {
    Failure(TargetErrorKind),
    /// Every call once the import was confirmed.
    Silence(TargetErrorKind),
    /// The call is made, and the restore is asked to stop just before.
    Stop(CancellationToken),
}

/// Counts calls, and says which of them meets what.
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    made: Arc<AtomicU64>,
    /// The number of the call that confirmed; 0 before.
    confirmed: Arc<AtomicU64>,
    planted: Option<(u64, Planted)>,
}

impl Calls {
    pub(crate) fn new(planted: Option<(u64, Planted)>) -> Self {
        Self { made: Arc::default(), confirmed: Arc::default(), planted }
    }

    pub(crate) fn confirmation(&self) -> u64 {
        self.confirmed.load(Ordering::Relaxed)
    }

    fn count(&self) -> Result<(), TargetError> {
        let number = self.made.fetch_add(1, Ordering::Relaxed) + 1;
        let failed = |kind: TargetErrorKind| TargetError {
            kind,
            target: "crm".to_owned(),
            message: format!("call {number} was asked to fail"),
            source: None,
        };
        match &self.planted {
            Some((chosen, Planted::Failure(kind))) if *chosen == number => Err(failed(*kind)),
            Some((_, Planted::Silence(kind))) if self.confirmation() > 0 => Err(failed(*kind)),
            Some((chosen, Planted::Stop(stop))) if *chosen == number => {
                stop.cancel();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
pub(crate) struct FailingTarget<'a> {
    pub(crate) target: &'a dyn Target,
    pub(crate) calls: Calls,
}

struct FailingUpload(Box<dyn ImportUpload>, Calls);

#[async_trait]
impl ImportUpload for FailingUpload {
    async fn send(&mut self, part: Bytes) -> Result<(), TargetError> {
        self.1.count()?;
        self.0.send(part).await
    }

    async fn finish(self: Box<Self>, request: &ImportRequest) -> Result<ImportId, TargetError> {
        self.1.count()?;
        self.0.finish(request).await
    }
}

#[async_trait]
impl Target for FailingTarget<'_> {
    fn name(&self) -> &str {
        self.target.name()
    }

    async fn identity(&self) -> Result<TargetIdentity, TargetError> {
        self.calls.count()?;
        self.target.identity().await
    }

    async fn missing_permissions(&self, may_pause: bool) -> Result<Vec<String>, TargetError> {
        self.calls.count()?;
        self.target.missing_permissions(may_pause).await
    }

    async fn contents(&self) -> Result<TargetContents, TargetError> {
        self.calls.count()?;
        self.target.contents().await
    }

    async fn begin_upload(&self) -> Result<Box<dyn ImportUpload>, TargetError> {
        self.calls.count()?;
        Ok(Box::new(FailingUpload(self.target.begin_upload().await?, self.calls.clone())))
    }

    async fn import(&self, id: &ImportId) -> Result<ImportStatus, TargetError> {
        self.calls.count()?;
        self.target.import(id).await
    }

    async fn confirm(&self, id: &ImportId) -> Result<(), TargetError> {
        self.calls.count()?;
        self.calls.confirmed.store(self.calls.made.load(Ordering::Relaxed), Ordering::Relaxed);
        self.target.confirm(id).await
    }

    async fn cancel(&self, id: &ImportId) -> Result<(), TargetError> {
        self.target.cancel(id).await
    }

    async fn is_paused(&self) -> Result<bool, TargetError> {
        self.calls.count()?;
        self.target.is_paused().await
    }

    async fn pause(&self) -> Result<(), TargetError> {
        self.calls.count()?;
        self.target.pause().await
    }

    async fn unpause(&self) -> Result<(), TargetError> {
        self.target.unpause().await
    }

    async fn delete_files(&self, component: &str, ids: &[String]) -> Result<(), TargetError> {
        self.target.delete_files(component, ids).await
    }

    async fn run_query(&self, function: &str, arguments: &str) -> Result<String, TargetError> {
        self.target.run_query(function, arguments).await
    }
}

/// A source of which one step fails for good, or comes with the restore being stopped.
#[derive(Debug)]
pub(crate) struct FailingSource<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) step: &'static str,
    pub(crate) stop: Option<CancellationToken>,
}

pub(crate) const STEPS: [&str; 3] = ["preflight", "export", "open"];

impl FailingSource<'_> {
    fn count(&self, step: &str) -> Result<(), SourceError> {
        if self.step != step {
            return Ok(());
        }
        if let Some(stop) = &self.stop {
            stop.cancel();
            return Ok(());
        }
        Err(SourceError {
            kind: SourceErrorKind::Transient,
            deployment: self.source.deployment().clone(),
            message: format!("{step} was asked to fail"),
            source: None,
        })
    }
}

#[async_trait]
impl Source for FailingSource<'_> {
    fn deployment(&self) -> &DeploymentName {
        self.source.deployment()
    }

    async fn preflight(&self) -> Result<Preflight, SourceError> {
        self.count("preflight")?;
        self.source.preflight().await
    }

    async fn export(
        &self,
        request: ExportRequest,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Export, SourceError> {
        self.count("export")?;
        self.source.export(request, progress).await
    }

    async fn open(&self, export: &Export) -> Result<ExportStream, SourceError> {
        self.count("open")?;
        self.source.open(export).await
    }

    async fn release(&self, export: &Export) -> Release {
        self.source.release(export).await
    }
}
