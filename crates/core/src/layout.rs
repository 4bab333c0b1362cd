//! Where things are stored: the keys of every object, relative to a destination's prefix (`docs/format.md`).

use serde::{Deserialize, Serialize};

use crate::{DeploymentName, RunId, SnapshotId};

/// The key of the file that makes a prefix a repository.
pub const REPOSITORY_KEY: &str = "convault.json";

/// The content of [`REPOSITORY_KEY`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryFile {
    /// The format of everything below the prefix: 1.
    pub format: u32,
    /// The identifier of this repository, made once.
    pub repository: RunId,
}

/// The keys of one deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    deployment: DeploymentName,
}

impl Layout {
    /// The keys of `deployment`.
    pub fn new(deployment: DeploymentName) -> Self {
        Self { deployment }
    }

    /// The prefix of everything of this deployment, ending in a slash.
    pub fn deployment_prefix(&self) -> String {
        format!("{}/", self.deployment)
    }

    /// The prefix below which each snapshot has a folder named after its identifier, ending in a slash.
    pub fn snapshots_prefix(&self) -> String {
        format!("{}/snapshots/", self.deployment)
    }

    /// The prefix of one snapshot, ending in a slash.
    pub fn snapshot_prefix(&self, id: &SnapshotId) -> String {
        format!("{}/snapshots/{id}/", self.deployment)
    }

    /// The manifest, written last: with it the snapshot exists.
    pub fn manifest(&self, id: &SnapshotId) -> String {
        format!("{}/snapshots/{id}/manifest.json", self.deployment)
    }

    /// An object of a snapshot by the name its manifest gives it.
    pub fn object(&self, id: &SnapshotId, name: &str) -> String {
        format!("{}/snapshots/{id}/{name}", self.deployment)
    }

    /// The name of a snapshot's ZIP, from the snapshot's time in nanoseconds: `snapshot_<ts>.zip`.
    pub fn zip_name(snapshot_ts_ns: i64) -> String {
        format!("snapshot_{snapshot_ts_ns}.zip")
    }

    /// The name of a snapshot's index.
    pub const INDEX_NAME: &'static str = "index.jsonl.zst";
}
