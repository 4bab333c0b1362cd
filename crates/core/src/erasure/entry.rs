//! An entry of the erasure ledger: who is to be forgotten, never what they are called.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Cascade, DeploymentName, FieldPath, RunId, Sha256, TableRef};

/// The format of entries this build writes, and the newest it reads.
pub const ERASURE_FORMAT: u32 = 1;

/// What is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// In which table.
    pub table: TableRef,
    /// The field whose value is meant; absent: a document's id is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<FieldPath>,
    /// The keyed hash of the id, or of the value.
    pub hash: Sha256,
}

/// One entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureEntry {
    /// [`ERASURE_FORMAT`].
    pub format: u32,
    /// Its place: 1, 2, …
    pub number: u64,
    /// SHA-256 of the record before it, as it is without encryption; `None` for the first.
    pub previous: Option<Sha256>,
    /// Which ledger: the identifier of the run that wrote its first entry.
    pub ledger: RunId,
    /// The deployment.
    pub deployment: DeploymentName,
    /// When it was written.
    pub at: Timestamp,
    /// Why, for people.
    pub reason: String,
    /// Which names key the hashes are under.
    pub names_key: String,
    /// Who is to be forgotten.
    pub subjects: Vec<Subject>,
    /// What goes with them.
    pub cascades: Vec<Cascade>,
    /// The version of Convault that wrote it.
    pub convault_version: String,
}

/// An entry as it is stored, before encryption: its text, and what vouches for that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureRecord {
    /// Keyed hash of `entry`: whoever lacks the names key cannot make or change one.
    pub mac: Sha256,
    /// The signature of `entry`, as minisign writes it, where entries are signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The entry, as JSON.
    pub entry: String,
}

impl ErasureRecord {
    /// The record as it is stored before encryption.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a record has only string keys");
        bytes.push(b'\n');
        bytes
    }
}
