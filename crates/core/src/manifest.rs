//! The manifest: written last, it makes a snapshot exist (`docs/format.md` is the reference).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{DeploymentName, JobName, RunId, SecretsRecord, Sha256, SnapshotId, TableDigest};

/// The manifest format this build writes, and the newest it reads.
pub const MANIFEST_FORMAT: u32 = 1;

/// A manifest that cannot be used. Its snapshot's objects are never touched because of this.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not JSON, or lacks a field.
    #[error("this is not a manifest")]
    NotAManifest(#[source] serde_json::Error),
    /// A newer Convault wrote it.
    #[error(
        "the manifest has format {found}; this version reads up to {MANIFEST_FORMAT}: use a newer convault"
    )]
    NewerFormat {
        /// Its `format`.
        found: u32,
    },
    /// Its own checksum says that it was changed since it was written.
    #[error("the manifest is not as it was written: its checksum is wrong")]
    Changed,
    /// It lies where another snapshot belongs.
    #[error("the manifest says it is {found}, but lies in the folder of {expected}")]
    WrongPlace {
        /// Deployment and identifier in the manifest.
        found: String,
        /// Deployment and identifier of its folder.
        expected: String,
    },
    /// An object's name would lead out of the snapshot's folder.
    #[error("the manifest names an object `{name}`, which is not a plain file name")]
    BadObjectName {
        /// The name.
        name: String,
    },
}

/// Why a snapshot was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The schedule was due.
    Scheduled,
    /// Somebody asked.
    OnDemand,
}

/// How stored files are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilesMode {
    /// Inside the snapshot's ZIP.
    Inline,
    /// Each distinct file once per destination, beside the snapshots that need it.
    Shared,
    /// Left out, and said so in every report.
    None,
}

/// How the documents of an export are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DocumentFormat {
    /// Since 2026-03-11: lossless.
    #[default]
    Uniform,
    /// Before: number types are in the schema entries.
    Legacy,
}

/// Facts about the deployment the snapshot was taken of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFacts {
    /// The name the server gives itself.
    pub instance: String,
    /// The server's version, `unknown` where it does not say.
    pub server_version: String,
    /// The deployment's identifier of the export.
    pub export_id: String,
    /// Whether the export had been asked for by somebody else.
    pub adopted: bool,
    /// How the export's documents are written.
    #[serde(default)]
    pub documents: DocumentFormat,
}

/// What an object of a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectRole {
    /// Convex's own ZIP.
    Snapshot,
    /// The index of its entries.
    Index,
    /// Which stored file is which object, with its row: [`FilesMode::Shared`] only.
    Files,
    /// The file objects that the snapshot needs, sorted, never encrypted: [`FilesMode::Shared`] only.
    Refs,
    /// What a Convex snapshot leaves out; always encrypted.
    Surroundings,
}

/// How it was made sure that the store holds what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadBack {
    /// The store compared SHA-256 values and gave them back when asked.
    Checksum,
    /// Every byte was read back and its SHA-256 compared.
    Data,
}

/// An object of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredObject {
    /// Its name in the snapshot's folder.
    pub name: String,
    /// What it is.
    pub role: ObjectRole,
    /// Size in bytes, as stored.
    pub size_bytes: u64,
    /// SHA-256 of the bytes as stored.
    pub sha256: Sha256,
    /// How it was made sure that the store holds them.
    pub read_back: ReadBack,
    /// The store's entity tag when it was written, where the store gives one: a cheap sign of a later change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_tag: Option<String>,
}

/// One user table in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableTotals {
    /// The component path, empty for the root.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub component: String,
    /// The table's name.
    pub table: String,
    /// Number of documents.
    pub documents: u64,
    /// Bytes of its `documents.jsonl`.
    pub bytes: u64,
    /// SHA-256 of its `documents.jsonl`.
    pub sha256: Sha256,
    /// Digest that does not depend on the order of documents.
    pub digest: TableDigest,
}

/// Sums over a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// User tables, of all components.
    pub tables: u64,
    /// Documents in them.
    pub documents: u64,
    /// Bytes of those documents.
    pub document_bytes: u64,
    /// Stored files.
    pub files: u64,
    /// Bytes of those files.
    pub file_bytes: u64,
}

/// Something that is not in the snapshot although the deployment has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotCovered {
    /// What: `environment variables`, `stored files`.
    pub what: String,
    /// Why.
    pub why: String,
}

/// What the snapshot leaves out, for reports.
pub type Coverage = Vec<NotCovered>;

/// Something wrong with what was stored, which makes the snapshot suspect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// In one hyphenated word: `source-damage`.
    pub kind: String,
    /// One sentence for people.
    pub what: String,
    /// The storage ids or tables it concerns, a bounded number of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
}

/// Whether the snapshot counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// It does.
    Good,
    /// It is kept, but does not count as good.
    Suspect {
        /// Why.
        problems: Vec<Problem>,
    },
}

/// How the snapshot's content was checked before the manifest was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// When the last byte had been checked.
    pub at: Timestamp,
    /// The checks that passed, each in a few words, in the order made.
    pub checks: Vec<String>,
}

/// A snapshot that was written anew, and is or will be gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewritten {
    /// The snapshot.
    pub id: SnapshotId,
    /// SHA-256 of its manifest, so that what was said and proven of it can still be laid beside it.
    pub manifest_sha256: Sha256,
    /// Why.
    pub reason: String,
    /// Documents that were left out.
    pub documents: u64,
    /// Stored files that were left out.
    pub files: u64,
}

/// The manifest of one snapshot in one destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`].
    pub format: u32,
    /// The snapshot's identifier, also its folder's name.
    pub id: SnapshotId,
    /// The deployment's name in the settings, also its folder's name.
    pub deployment: DeploymentName,
    /// The identifier of the repository, from `convault.json`.
    pub repository: RunId,
    /// The version of Convault that wrote this.
    pub convault_version: String,
    /// Why it was made.
    pub kind: Kind,
    /// Words given by whoever asked for it.
    pub tags: Vec<String>,
    /// Retention may not delete it before this time.
    pub keep_until: Option<Timestamp>,
    /// The job that made it; `None` in manifests of before this field.
    #[serde(default)]
    pub job: Option<JobName>,
    /// The time it was due, for a scheduled one.
    #[serde(default)]
    pub due: Option<Timestamp>,
    /// When the run began, by the daemon's clock.
    pub started: Timestamp,
    /// The snapshot's time by the deployment's clock: nanoseconds since the Unix epoch, as a decimal string
    /// because it is above 2^53.
    #[serde(with = "decimal_string")]
    pub snapshot_ts_ns: i64,
    /// The deployment.
    pub source: SourceFacts,
    /// How stored files are kept.
    pub files: FilesMode,
    /// Every object of the snapshot but this one.
    pub objects: Vec<StoredObject>,
    /// Sums.
    pub totals: Totals,
    /// How `tables` names tables: plainly, or, where the destination is encrypted, by a keyed hash.
    pub table_names: TableNames,
    /// Which names key that hash is under: what tells it from others, and nothing else of it. `None` where tables are
    /// named plainly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names_key: Option<String>,
    /// Every user table.
    pub tables: Vec<TableTotals>,
    /// What is not in the snapshot.
    pub not_covered: Coverage,
    /// Who may decrypt the objects: age recipients. Empty: the objects are not encrypted.
    pub recipients: Vec<String>,
    /// Keyed hashes of the secrets among its surroundings; `None` where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<SecretsRecord>,
    /// The snapshot whose content this one has, written anew to other recipients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reencrypted_from: Option<SnapshotId>,
    /// The snapshots in whose place it is, written anew without what was to be erased, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rewritten_from: Vec<Rewritten>,
    /// How the content was checked.
    pub verification: Verification,
    /// Whether the snapshot counts.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The fencing number of the lease the run held; `None` where one daemon works alone.
    pub fence: Option<u64>,
    /// The newest entry of the erasure ledger when the run began; 0: the ledger is empty.
    pub erasure: u64,
}

/// How a manifest names tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TableNames {
    /// As they are.
    Plain,
    /// `component`, `table`, `sha256` and `digest` are keyed hashes of what they would be, so that two manifests can be
    /// compared by whoever has the names key, and tell nothing to anybody else.
    Keyed,
}

mod decimal_string {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
    pub(super) fn serialize<S: Serializer>(value: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

impl Manifest {
    /// Reads a manifest found in the folder of `id` of `deployment`, and checks that it belongs there.
    pub fn parse(bytes: &[u8], deployment: &DeploymentName, id: &SnapshotId) -> Result<Self, ManifestError> {
        let FormatOnly { format } = serde_json::from_slice(bytes).map_err(ManifestError::NotAManifest)?;
        if format > MANIFEST_FORMAT || format == 0 {
            return Err(ManifestError::NewerFormat { found: format });
        }
        if !checksum_holds(bytes) {
            return Err(ManifestError::Changed);
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(ManifestError::NotAManifest)?;
        if manifest.id != *id || manifest.deployment != *deployment {
            return Err(ManifestError::WrongPlace {
                found: format!("{} {}", manifest.deployment, manifest.id),
                expected: format!("{deployment} {id}"),
            });
        }
        if let Some(object) = manifest.objects.iter().find(|object| !is_plain_file_name(&object.name)) {
            return Err(ManifestError::BadObjectName { name: object.name.clone() });
        }
        Ok(manifest)
    }

    /// The manifest as it is stored: pretty JSON with a line feed at the end. Its last line but one holds the SHA-256
    /// of everything before that line, so that bit rot shows where nobody signs.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a manifest has only string keys");
        bytes.truncate(bytes.len() - CLOSING.len());
        bytes.extend_from_slice(b",\n");
        let checksum = Sha256::of(&bytes);
        bytes.extend_from_slice(format!("{CHECKSUM}{checksum}\"{CLOSING}\n").as_bytes());
        bytes
    }

    /// The object of that role.
    pub fn object(&self, role: ObjectRole) -> Option<&StoredObject> {
        self.objects.iter().find(|object| object.role == role)
    }

    /// Whether the snapshot counts.
    pub fn is_good(&self) -> bool {
        self.verdict == Verdict::Good
    }

    /// The snapshot's time by the deployment's clock.
    pub fn snapshot_time(&self) -> Timestamp {
        Timestamp::from_nanosecond(i128::from(self.snapshot_ts_ns))
            .expect("every i64 of nanoseconds is a timestamp")
    }

    /// Whether tables are named here as they are there: plainly, or hashed under the same key.
    pub fn names_tables_like(&self, other: &Self) -> bool {
        (self.table_names, &self.names_key) == (other.table_names, &other.names_key)
    }

    /// Bytes stored for this snapshot, without the manifest itself.
    pub fn stored_bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.size_bytes).sum()
    }
}

const CHECKSUM: &str = "  \"checksum\": \"";
const CLOSING: &str = "\n}";

/// Whether the checksum is right, or there is none, as before it was introduced.
fn checksum_holds(bytes: &[u8]) -> bool {
    let line = format!("\n{CHECKSUM}");
    let Some(at) = bytes.windows(line.len()).rposition(|window| window == line.as_bytes()) else {
        // Manifests of before the checksum had no `due` either.
        return !bytes.windows(5).any(|window| window == b"\"due\"");
    };
    let (content, rest) = (&bytes[..=at], &bytes[at + line.len()..]);
    rest == format!("{}\"{CLOSING}\n", Sha256::of(content)).as_bytes()
}

fn is_plain_file_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && !matches!(name, "manifest.json" | "manifest.json.minisig" | "start.json" | "start.json.minisig")
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> Manifest {
        let id = RunId::parse("20261122T030056Z-700000").unwrap();
        Manifest {
            format: 1,
            id: id.clone(),
            deployment: DeploymentName::new("crm").unwrap(),
            repository: id,
            convault_version: "0.1.0".into(),
            kind: Kind::Scheduled,
            tags: vec!["before-release".into()],
            keep_until: None,
            job: None,
            due: None,
            started: "2026-11-22T03:00:56Z".parse().unwrap(),
            snapshot_ts_ns: 1_795_316_460_123_456_789,
            source: SourceFacts {
                instance: "happy-animal-123".into(),
                server_version: "unknown".into(),
                export_id: "x".into(),
                adopted: false,
                documents: DocumentFormat::Uniform,
            },
            files: FilesMode::Inline,
            objects: vec![StoredObject {
                name: "snapshot_1795316460123456789.zip".into(),
                role: ObjectRole::Snapshot,
                size_bytes: 3,
                sha256: Sha256::of(b"zip"),
                read_back: ReadBack::Data,
                store_tag: None,
            }],
            totals: Totals::default(),
            table_names: TableNames::Plain,
            names_key: None,
            tables: vec![],
            not_covered: vec![],
            recipients: vec![],
            secrets: None,
            reencrypted_from: None,
            rewritten_from: Vec::new(),
            verification: Verification {
                at: "2026-11-22T03:01:56Z".parse().unwrap(),
                checks: vec!["crc-32".into()],
            },
            verdict: Verdict::Good,
            fence: None,
            erasure: 0,
        }
    }

    #[test]
    fn a_manifest_survives_being_written_and_read() {
        let manifest = example();
        let bytes = manifest.to_bytes();
        assert_eq!(Manifest::parse(&bytes, &manifest.deployment, &manifest.id).unwrap(), manifest);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(r#""snapshot_ts_ns": "1795316460123456789""#), "{text}");
        assert!(text.contains(r#""verdict": "good""#), "{text}");
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let manifest = example();
        let bytes = manifest.to_bytes();
        for place in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1;
            let read = Manifest::parse(&flipped, &manifest.deployment, &manifest.id);
            assert!(read.is_err(), "at byte {place}: {}", String::from_utf8_lossy(&flipped));
        }
    }

    #[test]
    fn a_manifest_of_before_the_checksum_is_read() {
        let manifest = example();
        let text = serde_json::to_string_pretty(&manifest).unwrap();
        let bytes = text.replace("  \"job\": null,\n  \"due\": null,\n", "").into_bytes();
        assert_eq!(Manifest::parse(&bytes, &manifest.deployment, &manifest.id).unwrap(), manifest);
    }

    #[test]
    fn a_suspect_manifest_keeps_its_problems() {
        let mut manifest = example();
        let problem = Problem { kind: "source-damage".into(), what: "one".into(), ids: vec!["kg2".into()] };
        manifest.verdict = Verdict::Suspect { problems: vec![problem] };
        let read = Manifest::parse(&manifest.to_bytes(), &manifest.deployment, &manifest.id).unwrap();
        assert_eq!(read, manifest);
        assert!(!read.is_good());
    }

    #[test]
    fn a_manifest_from_elsewhere_is_refused() {
        let manifest = example();
        let other = RunId::parse("20261122T030056Z-800000").unwrap();
        let error = Manifest::parse(&manifest.to_bytes(), &manifest.deployment, &other).unwrap_err();
        assert!(matches!(error, ManifestError::WrongPlace { .. }), "{error}");
        let mut newer = manifest.clone();
        newer.format = 2;
        let error = Manifest::parse(&newer.to_bytes(), &manifest.deployment, &manifest.id).unwrap_err();
        assert!(matches!(error, ManifestError::NewerFormat { found: 2 }), "{error}");
        let mut climbing = manifest.clone();
        climbing.objects[0].name = "../../other/snapshots/x/y.zip".into();
        let error = Manifest::parse(&climbing.to_bytes(), &manifest.deployment, &manifest.id).unwrap_err();
        assert!(matches!(error, ManifestError::BadObjectName { .. }), "{error}");
    }
}
