//! Where things are stored: the keys of every object, relative to a destination's prefix (`docs/format.md`).

use serde::{Deserialize, Serialize};

use crate::{DeploymentName, MarkKind, RunId, SnapshotId};

/// The key of the file that makes a prefix a repository.
pub const REPOSITORY_KEY: &str = "convault.json";

/// The content of [`REPOSITORY_KEY`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryFile {
    /// The format of everything below the prefix: 1.
    pub format: u32,
    /// The identifier of this repository, made once.
    pub repository: RunId,
    /// The public key that signed manifests when the repository was made, as minisign writes it; later ones lie under
    /// `keys/`. For people who check by hand: which keys are trusted, the settings say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
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

    /// The deployment.
    pub fn deployment(&self) -> &DeploymentName {
        &self.deployment
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

    /// What a run writes first, in the folder of the snapshot it may become.
    pub fn run_start(&self, id: &SnapshotId) -> String {
        self.object(id, Self::RUN_START_NAME)
    }

    /// The prefix below which each snapshot has a folder of marks, ending in a slash.
    pub fn marks_prefix(&self) -> String {
        format!("{}/marks/", self.deployment)
    }

    /// A mark on a snapshot.
    pub fn mark(&self, id: &SnapshotId, mark: &RunId, kind: MarkKind) -> String {
        format!("{}/marks/{id}/{mark}-{}.json", self.deployment, kind.as_str())
    }

    /// The prefix of proofs, ending in a slash.
    pub fn proofs_prefix(&self) -> String {
        format!("{}/proofs/", self.deployment)
    }

    /// The proof of a run that read a snapshot's data, or found it damaged.
    pub fn snapshot_proof(&self, id: &SnapshotId, run: &RunId) -> String {
        format!("{}/proofs/{id}/{run}-verify.json", self.deployment)
    }

    /// The proof of a drill of a snapshot.
    pub fn drill_proof(&self, id: &SnapshotId, run: &RunId) -> String {
        format!("{}/proofs/{id}/{run}{}", self.deployment, Self::DRILL_PROOF_SUFFIX)
    }

    /// What the key of a drill's proof has behind the run.
    pub const DRILL_PROOF_SUFFIX: &'static str = "-drill.json";

    /// The proof of everything else that run looked at.
    pub fn run_proof(&self, run: &RunId) -> String {
        format!("{}/proofs/runs/{run}-verify.json", self.deployment)
    }

    /// The prefix of prune records, ending in a slash.
    pub fn prunes_prefix(&self) -> String {
        format!("{}/prunes/", self.deployment)
    }

    /// The record of a prune.
    pub fn prune_record(&self, run: &RunId) -> String {
        format!("{}/prunes/{run}.json", self.deployment)
    }

    /// The deployment's lease.
    pub fn lease(&self) -> String {
        format!("leases/{}.json", self.deployment)
    }

    /// The signature of the object `key`.
    pub fn signature_of(key: &str) -> String {
        format!("{key}{}", Self::SIGNATURE_SUFFIX)
    }

    /// A public key, as a file that stock minisign reads.
    pub fn public_key(key_id: &str) -> String {
        format!("keys/{key_id}.pub")
    }

    /// What a signature's key has behind that of what it signs.
    pub const SIGNATURE_SUFFIX: &'static str = ".minisig";

    /// The name of the record that a run writes first.
    pub const RUN_START_NAME: &'static str = "start.json";

    /// The name of a snapshot's ZIP, from the snapshot's time in nanoseconds: `snapshot_<ts>.zip`.
    pub fn zip_name(snapshot_ts_ns: i64) -> String {
        format!("snapshot_{snapshot_ts_ns}.zip")
    }

    /// The name of a snapshot's index.
    pub const INDEX_NAME: &'static str = "index.jsonl.zst";

    /// Which stored file is which object, where files are shared between snapshots.
    pub const FILES_NAME: &'static str = "files.jsonl.zst";

    /// The file objects that a snapshot needs, where files are shared. Never encrypted.
    pub const REFS_NAME: &'static str = "refs.zst";

    /// What a Convex snapshot leaves out. Always encrypted, so that it always has [`Self::ENCRYPTED_SUFFIX`].
    pub const SURROUNDINGS_NAME: &'static str = "surroundings.zip";

    /// What the name of an encrypted object ends in.
    pub const ENCRYPTED_SUFFIX: &'static str = ".age";

    /// The prefix of the erasure ledger, ending in a slash.
    pub fn erasures_prefix(&self) -> String {
        format!("{}/erasures/", self.deployment)
    }

    /// An entry of the erasure ledger; `suffix` is empty or [`Self::ENCRYPTED_SUFFIX`].
    pub fn erasure(&self, number: u64, suffix: &str) -> String {
        format!("{}/erasures/{number:06}.json{suffix}", self.deployment)
    }

    /// The number in the key of an entry of the erasure ledger.
    pub fn erasure_number(&self, key: &str) -> Option<u64> {
        let name = key.strip_prefix(&self.erasures_prefix())?;
        let name = name.strip_suffix(Self::ENCRYPTED_SUFFIX).unwrap_or(name).strip_suffix(".json")?;
        let is_number = name.len() >= 6 && name.bytes().all(|byte| byte.is_ascii_digit());
        name.parse().ok().filter(|number| is_number && *number > 0)
    }

    /// The prefix of shared files, ending in a slash.
    pub fn files_prefix(&self) -> String {
        format!("{}/files/", self.deployment)
    }

    /// A shared file, by its name of hexadecimal digits; `suffix` is empty or [`Self::ENCRYPTED_SUFFIX`].
    pub fn file(&self, name: &str, suffix: &str) -> String {
        let folder: String = name.chars().take(2).collect();
        format!("{}/files/{folder}/{name}{suffix}", self.deployment)
    }

    /// The prefix of condemned lists, ending in a slash.
    pub fn condemned_prefix(&self) -> String {
        format!("{}/condemned/", self.deployment)
    }

    /// The list of shared files that a sweep condemned.
    pub fn condemned(&self, run: &RunId) -> String {
        format!("{}/condemned/{run}.zst", self.deployment)
    }

    /// The names key, encrypted to the recipients whose fingerprint begins with these digits.
    pub fn names_key(key_id: &str, recipients: &str) -> String {
        format!("keys/names-{key_id}-{recipients}{}", Self::ENCRYPTED_SUFFIX)
    }

    /// The prefix of the sets of surroundings that were stored between snapshots, ending in a slash.
    pub fn surroundings_prefix(&self) -> String {
        format!("{}/surroundings/", self.deployment)
    }

    /// One object of such a set.
    pub fn surroundings_object(&self, set: &RunId, name: &str) -> String {
        format!("{}/surroundings/{set}/{name}", self.deployment)
    }
}
