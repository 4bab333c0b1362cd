//! [`PruneRecord`]: what a prune is about to remove, written before the first deletion, so that a prune that is cut off
//! can be finished and nothing is ever without an owner.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{DeploymentName, Manifest, RunId};

/// The format of prune records this build writes, and the newest it reads.
pub const PRUNE_RECORD_FORMAT: u32 = 1;

/// What was there when a prune was planned: a later one that finds much less does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Known {
    /// Snapshots with a usable manifest that stay.
    pub manifests: u64,
    /// Of those, the ones that count as good.
    pub good: u64,
}

/// One prune of one deployment in one destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PruneRecord {
    /// [`PRUNE_RECORD_FORMAT`].
    pub format: u32,
    /// The run that prunes, also in the key.
    pub run: RunId,
    /// The repository.
    pub repository: RunId,
    /// The deployment.
    pub deployment: DeploymentName,
    /// When, by the daemon's clock.
    pub at: Timestamp,
    /// What stays.
    pub known: Known,
    /// The manifests of the snapshots that go: they name the objects. Until every one of those is gone, the record stays.
    pub removals: Vec<Manifest>,
    /// The fencing number of the lease it holds.
    pub fence: Option<u64>,
}
