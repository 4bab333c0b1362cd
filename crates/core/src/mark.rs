//! [`Mark`]: what was said of a snapshot after its manifest was written. Written once, never changed; the newest wins.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{DeploymentName, RunId, Sha256, SnapshotId};

/// The mark format this build writes, and the newest it reads.
pub const MARK_FORMAT: u32 = 1;

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarkKind {
    /// A person looked at a suspect snapshot: it counts as good.
    Accept,
    /// It may not be deleted.
    Hold,
    /// It may be deleted again as retention says.
    Release,
    /// What is stored of it is not what its manifest says: it does not count as good.
    Damaged,
    /// It was damaged or had lost its manifest, and is whole again.
    Repaired,
}

impl MarkKind {
    /// The kind in one lower-case word, as in keys and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Damaged => "damaged",
            Self::Repaired => "repaired",
        }
    }
}

/// One mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// [`MARK_FORMAT`].
    pub format: u32,
    /// What it says.
    pub kind: MarkKind,
    /// What it is called, also in its key: when it was made, and a random part.
    pub mark: RunId,
    /// The repository.
    pub repository: RunId,
    /// The deployment.
    pub deployment: DeploymentName,
    /// The snapshot it speaks of.
    pub id: SnapshotId,
    /// The SHA-256 of the manifest it speaks of: it says nothing of another one. `None` where there was none to read.
    pub manifest_sha256: Option<Sha256>,
    /// When, by the clock of whoever made it.
    pub at: Timestamp,
    /// Why, for people.
    pub reason: String,
    /// `accept`: the stored files whose damage on the deployment is known; `damaged`: the objects that are not whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// `repaired`: the store's entity tags of the objects that were written again, by name, in place of those in the
    /// manifest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub store_tags: BTreeMap<String, String>,
    /// `hold`: until when; `None` means until released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The fencing number of the lease under which it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<u64>,
}
