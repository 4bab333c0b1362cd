//! A deployment made of bytes.

use async_trait::async_trait;
use bytes::Bytes;
use convault_core::{
    DeploymentName, Export, ExportRequest, ExportStream, Preflight, Progress, Release, Source, SourceError,
};
use futures::StreamExt as _;
use jiff::Timestamp;

/// A deployment whose export is this.
#[derive(Debug, Clone)]
pub(crate) struct FakeSource {
    pub(crate) deployment: DeploymentName,
    pub(crate) zip: Bytes,
    pub(crate) snapshot_time: Timestamp,
}

#[async_trait]
impl Source for FakeSource {
    fn deployment(&self) -> &DeploymentName {
        &self.deployment
    }

    async fn preflight(&self) -> Result<Preflight, SourceError> {
        Ok(Preflight {
            instance: "happy-animal-123".to_owned(),
            server_version: "unknown".to_owned(),
            url: "http://127.0.0.1:3210".to_owned(),
            warnings: Vec::new(),
        })
    }

    async fn export(
        &self,
        request: ExportRequest,
        _: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Export, SourceError> {
        Ok(Export {
            id: "export-1".to_owned(),
            snapshot_ts_ns: i64::try_from(self.snapshot_time.as_nanosecond()).unwrap(),
            size_bytes: Some(self.zip.len() as u64),
            include_files: request.include_files,
            adopted: false,
        })
    }

    async fn open(&self, _: &Export) -> Result<ExportStream, SourceError> {
        let (length_bytes, zip) = (self.zip.len() as u64, self.zip.clone());
        Ok(ExportStream { length_bytes, bytes: futures::stream::iter([Ok(zip)]).boxed() })
    }

    async fn release(&self, _: &Export) -> Release {
        Release::ExpirySet
    }
}
