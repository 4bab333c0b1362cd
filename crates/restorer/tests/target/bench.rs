//! A deployment that is written to, and the export of another to write there.

use std::time::Duration;

use bytes::Bytes;
use convault_convex_client::{ConnectionSettings, Deployment, ExportState, Url};
use convault_core::{
    DeploymentName, ImportId, ImportKind, ImportMode, ImportRequest, ImportStatus, Secret, Target as _,
    TargetError,
};
use convault_restorer::{DeploymentTarget, TargetSettings};
use convault_simulator::{Data, Database, Fault, RunningSimulator, Simulator, SimulatorConfig};
use futures::TryStreamExt as _;

pub(crate) const KEY: &str = "rainy-otter-123|0123456789abcdef0123";
pub(crate) const PART_BYTES: usize = 40_000;

pub(crate) struct Bench {
    pub(crate) simulator: RunningSimulator,
    pub(crate) target: DeploymentTarget,
}

impl Bench {
    pub(crate) async fn new(data: Data, faults: &[&str]) -> Self {
        let config = SimulatorConfig {
            data,
            faults: faults.iter().map(|fault| fault.parse::<Fault>().unwrap()).collect(),
            ..SimulatorConfig::new(Secret::new(KEY))
        };
        let simulator = Simulator::start(config).await.unwrap();
        let target = target(&simulator.url(), KEY);
        Self { simulator, target }
    }

    pub(crate) async fn empty(faults: &[&str]) -> Self {
        Self::new(Data::Empty, faults).await
    }

    pub(crate) async fn crm(faults: &[&str]) -> Self {
        Self::new(Data::Database(Box::new(Database::crm(1))), faults).await
    }

    /// Uploads `zip` and waits until it can be confirmed.
    pub(crate) async fn prepare(&self, zip: &[u8], mode: ImportMode) -> Result<ImportId, TargetError> {
        let mut upload = self.target.begin_upload().await?;
        for part in zip.chunks(PART_BYTES) {
            upload.send(Bytes::copy_from_slice(part)).await?;
        }
        let id = upload.finish(&request(mode)).await?;
        self.until(&id, |status| !matches!(status, ImportStatus::Uploaded)).await?;
        Ok(id)
    }

    /// Asks until the status is as told.
    pub(crate) async fn until(
        &self,
        id: &ImportId,
        is_it: impl Fn(&ImportStatus) -> bool,
    ) -> Result<ImportStatus, TargetError> {
        loop {
            let status = self.target.import(id).await?;
            if is_it(&status) {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn ended(&self, id: &ImportId) -> ImportStatus {
        let has_ended = |status: &ImportStatus| {
            matches!(status, ImportStatus::Completed { .. } | ImportStatus::Failed { .. })
        };
        self.until(id, has_ended).await.unwrap()
    }

    pub(crate) fn requests(&self, route: &str) -> u64 {
        self.simulator.counters().requests.get(route).copied().unwrap_or(0)
    }
}

pub(crate) fn target(url: &str, key: &str) -> DeploymentTarget {
    DeploymentTarget::new(TargetSettings {
        deployment: DeploymentName::new("throw-away").unwrap(),
        url: Some(Url::parse(url).unwrap()),
        key: Secret::new(key),
        provision_url: None,
        connection: ConnectionSettings::default(),
    })
}

pub(crate) fn request(mode: ImportMode) -> ImportRequest {
    ImportRequest { mode, kind: ImportKind::Zip }
}

/// The ZIP of a deployment.
pub(crate) async fn exported(simulator: &RunningSimulator) -> Vec<u8> {
    let url = Url::parse(&simulator.url()).unwrap();
    let deployment = Deployment::new(url, &Secret::new(KEY), &ConnectionSettings::default()).unwrap();
    deployment.request_export(true).await.unwrap();
    let row = loop {
        let row = deployment.latest_export().await.unwrap().unwrap();
        if row.state == ExportState::Completed {
            break row;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let pieces: Vec<Bytes> = deployment.download(&row.id).await.unwrap().bytes.try_collect().await.unwrap();
    pieces.concat()
}

/// The ZIP of a small company.
pub(crate) async fn crm_zip() -> Vec<u8> {
    let source = Bench::crm(&[]).await;
    let zip = exported(&source.simulator).await;
    source.simulator.stop().await;
    zip
}
