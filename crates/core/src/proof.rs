//! [`Proof`]: a write-once record of what a verify found.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{DeploymentName, DestinationName, RunId, Sha256, SnapshotId};

/// The proof format this build writes, and the newest it reads.
pub const PROOF_FORMAT: u32 = 1;

/// How thoroughly a snapshot was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProofDepth {
    /// Sizes, and the store's entity tags against those seen when the snapshot was written.
    Sizes,
    /// Every stored byte was read and its SHA-256 compared.
    Data,
}

/// Something that is not as the manifest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofFault {
    /// The object's name in the snapshot's folder.
    pub object: String,
    /// What is wrong.
    pub what: String,
}

/// What was found of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofResult {
    /// The snapshot.
    pub id: SnapshotId,
    /// How thoroughly it was looked at.
    pub depth: ProofDepth,
    /// SHA-256 of its manifest; `None` where it could not be read.
    pub manifest_sha256: Option<Sha256>,
    /// Everything wrong; empty means sound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<ProofFault>,
}

/// One proof. Lies in the snapshot's folder of proofs where it speaks of a single snapshot whose data was read or
/// which is damaged; what was found of all the others together lies under the run's own identifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// [`PROOF_FORMAT`].
    pub format: u32,
    /// `verify`.
    pub kind: String,
    /// The run that made it.
    pub run: RunId,
    /// The repository.
    pub repository: RunId,
    /// The deployment.
    pub deployment: DeploymentName,
    /// The destination's name in the settings.
    pub destination: DestinationName,
    /// When the looking began, by the clock of whoever looked.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// What was found.
    pub results: Vec<ProofResult>,
    /// Bytes read from the store.
    pub read_bytes: u64,
    /// The version of Convault that looked.
    pub convault_version: String,
}
