//! What shows to others that an erasure was carried out: counts and hashes, nobody's data.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{DeploymentName, DestinationName, RunId, Sha256, SnapshotId, TableRef};

/// The format of certificates this build writes, and the newest it reads.
pub const CERTIFICATE_FORMAT: u32 = 1;

/// A certificate of erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureCertificate {
    /// [`CERTIFICATE_FORMAT`].
    pub format: u32,
    /// The run that made it.
    pub run: RunId,
    /// The version of Convault that made it.
    pub convault_version: String,
    /// When.
    pub at: Timestamp,
    /// The deployment.
    pub deployment: DeploymentName,
    /// The ledger it speaks of, whole: each entry in order.
    pub ledger: Vec<CertifiedEntry>,
    /// Every stored snapshot, by destination.
    pub copies: Vec<CertifiedCopy>,
    /// Where erased data is still stored.
    pub remaining: Vec<Remaining>,
    /// What is stored beside that and was not looked through, a phrase each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_looked_through: Vec<String>,
}

/// An entry of the ledger in a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertifiedEntry {
    /// Its number.
    pub number: u64,
    /// SHA-256 of its record, as it is without encryption.
    pub sha256: Sha256,
    /// When it was written.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// How many subjects it names.
    pub subjects: u64,
}

/// What of a stored snapshot is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopyState {
    /// It was written anew without what was to be erased, and a fresh look at it finds none of it.
    Rewritten,
    /// A look at it finds nothing to erase.
    Clean,
    /// It holds erased data, which is held back whenever it is read.
    HeldBack,
}

impl CopyState {
    /// The state in a few words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rewritten => "rewritten",
            Self::Clean => "clean",
            Self::HeldBack => "held back when read",
        }
    }
}

/// A stored snapshot in a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertifiedCopy {
    /// Where it lies.
    pub destination: DestinationName,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// SHA-256 of its manifest.
    pub manifest_sha256: Sha256,
    /// The snapshot's time.
    pub snapshot_time: Timestamp,
    /// What of it is gone.
    pub state: CopyState,
    /// The snapshot in whose place it is, with the SHA-256 of that one's manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place_of: Option<(SnapshotId, Sha256)>,
    /// Documents and stored files that were removed, in this copy and in those it is in place of.
    pub removed: (u64, u64),
    /// Documents that were removed just now, or are held back, by table.
    pub documents: BTreeMap<TableRef, u64>,
    /// Stored files that were removed just now, or are held back, by component.
    pub files: BTreeMap<String, u64>,
}

/// Erased data that is still stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remaining {
    /// Where.
    pub destination: DestinationName,
    /// The snapshot it belongs to; absent: stored files that snapshots share, or the destination as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
    /// What keeps it there.
    pub why: String,
    /// Until when, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

const MAC: &str = "  \"mac\": \"";
const CLOSING: &str = "\n}";

impl ErasureCertificate {
    /// The certificate as a file: indented JSON, on whose last line but one stands `mac` of everything before that line.
    pub fn to_bytes(&self, mac: impl Fn(&[u8]) -> Sha256) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a certificate has only string keys");
        bytes.truncate(bytes.len() - CLOSING.len());
        bytes.extend_from_slice(b",\n");
        let mac = mac(&bytes);
        bytes.extend_from_slice(format!("{MAC}{mac}\"{CLOSING}\n").as_bytes());
        bytes
    }

    /// Reads such a file; `None` where it is none, or is not as it was written.
    pub fn parse(bytes: &[u8], mac: impl Fn(&[u8]) -> Sha256) -> Option<Self> {
        let line = format!("\n{MAC}");
        let at = bytes.windows(line.len()).rposition(|window| window == line.as_bytes())?;
        let (content, rest) = bytes.split_at(at + 1);
        if rest != format!("{MAC}{}\"{CLOSING}\n", mac(content)).as_bytes() {
            return None;
        }
        let certificate: Self = serde_json::from_slice(bytes).ok()?;
        (certificate.format == CERTIFICATE_FORMAT).then_some(certificate)
    }

    /// The certificate for people.
    pub fn to_text(&self) -> String {
        let mut lines = vec![
            format!("Certificate of erasure: {}", self.deployment),
            format!("made {} by convault {} (run {})", self.at, self.convault_version, self.run),
            String::new(),
            format!("Erasure ledger: {} entries", self.ledger.len()),
        ];
        for entry in &self.ledger {
            let CertifiedEntry { number, sha256, at, reason, subjects } = entry;
            lines.push(format!("  {number}. {at}: {subjects} subject(s), {reason}"));
            lines.push(format!("     SHA-256 {sha256}"));
        }
        lines.extend([String::new(), "Stored snapshots".to_owned()]);
        lines.extend(self.copies.iter().flat_map(CertifiedCopy::to_lines));
        lines.extend([String::new(), "Erased data that is still stored".to_owned()]);
        if self.remaining.is_empty() {
            lines.push("  none".to_owned());
        }
        lines.extend(self.remaining.iter().map(|one| {
            let what = one.snapshot.as_ref().map_or(String::new(), |id| format!(" {id}"));
            let until = one.until.map_or(String::new(), |until| format!(", until {until}"));
            format!("  {}{what}: {}{until}", one.destination, one.why)
        }));
        if !self.not_looked_through.is_empty() {
            lines.extend([String::new(), "Not looked through".to_owned()]);
            lines.extend(self.not_looked_through.iter().map(|what| format!("  {what}")));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

impl CertifiedCopy {
    fn to_lines(&self) -> Vec<String> {
        let of = |(id, manifest): &(SnapshotId, Sha256)| format!(", in place of {id} (manifest {manifest})");
        let mut lines = vec![
            format!(
                "  {} {} of {}: {}{}",
                self.destination,
                self.snapshot,
                self.snapshot_time,
                self.state.as_str(),
                self.in_place_of.as_ref().map(of).unwrap_or_default()
            ),
            format!("     manifest SHA-256 {}", self.manifest_sha256),
        ];
        if self.removed != (0, 0) {
            let (documents, files) = self.removed;
            lines.push(format!("     removed in all: {documents} document(s), {files} stored file(s)"));
        }
        lines
            .extend(self.documents.iter().map(|(table, count)| format!("     {table}: {count} document(s)")));
        lines.extend(self.files.iter().map(|(component, count)| match component.as_str() {
            "" => format!("     stored files: {count}"),
            component => format!("     stored files of {component}: {count}"),
        }));
        lines
    }
}
