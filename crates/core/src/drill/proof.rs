//! [`DrillProof`]: a write-once record of a drill.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    DeploymentName, DestinationName, DocumentFormat, DrillName, RunId, Sha256, SnapshotId, TableNames,
    TargetIdentity, drill::permit::DrillRight,
};

/// The format of drills' proofs that this build writes, and the newest it reads.
pub const DRILL_PROOF_FORMAT: u32 = 1;

/// Where the scratch deployment came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScratchKind {
    /// It was there.
    Deployment,
    /// It was made on the platform, and deleted afterwards.
    Platform,
    /// A command started it, and stopped it afterwards.
    Command,
}

/// A step of a drill, in the order of the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrillPhase {
    /// Finding the newest good snapshot.
    Find,
    /// Making or reaching the scratch deployment, and making sure that it is none of the sources.
    Scratch,
    /// Reading, opening and uploading the content, until the deployment had looked through it.
    Upload,
    /// The import itself.
    Import,
    /// Asking for a new export of the scratch deployment, and reading it.
    Export,
    /// Comparing counts and content.
    Compare,
    /// What the settings assert.
    Assert,
}

impl DrillPhase {
    /// The step in one lower-case word, as in metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Find => "find",
            Self::Scratch => "scratch",
            Self::Upload => "upload",
            Self::Import => "import",
            Self::Export => "export",
            Self::Compare => "compare",
            Self::Assert => "assert",
        }
    }
}

/// How long a step took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PhaseTime {
    /// Which step.
    pub phase: DrillPhase,
    /// How long.
    pub seconds: f64,
}

/// What content that came back was compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Comparison {
    /// Every entry, byte for byte.
    Bytes,
    /// The values of documents: types of numbers are not compared, nor is text told from a number or bytes written like
    /// it. For snapshots in the old format of documents, which come back in the new one.
    Values,
}

/// What was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrillSubject {
    /// That the content could be read and imported.
    Restored,
    /// Documents of each table and files of each component, by the deployment's own count.
    Counts,
    /// A new export of the scratch deployment against what was sent, entry by entry.
    Content,
    /// What was sent against the snapshot's index, where no rule touched it.
    AsStored,
    /// [`crate::Assertion::MinDocuments`].
    MinDocuments,
    /// [`crate::Assertion::NewestYoungerThan`].
    NewestYoungerThan,
    /// [`crate::Assertion::References`].
    References,
    /// [`crate::Assertion::Query`].
    Query,
    /// [`crate::Assertion::Http`].
    Http,
}

impl DrillSubject {
    /// What was checked, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Restored => "the content is read, opened and imported",
            Self::Counts => "documents of every table and files of every component, counted there",
            Self::Content => "a new export of the scratch deployment against what was sent, entry by entry",
            Self::AsStored => "what was sent against the snapshot's index, where no rule touched it",
            Self::MinDocuments => "a table has at least so many documents",
            Self::NewestYoungerThan => "the newest document of a table is young enough",
            Self::References => "the ids in a field are those of documents",
            Self::Query => "a query succeeds",
            Self::Http => "a page answers as it should",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillCheck {
    /// What was checked.
    pub subject: DrillSubject,
    /// Of an assertion, its place in the settings, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// Of an assertion, what it says; absent where names of tables are hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// How many tables, entries, documents or ids were compared.
    pub compared: u64,
    /// How many were not as they should be.
    pub failed: u64,
}

/// Something that was not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillFailure {
    /// What was checked.
    pub subject: DrillSubject,
    /// Of an assertion, its place in the settings, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// The component's path; absent for the root.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub component: String,
    /// The table, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// What is wrong: a sentence without names and data.
    pub what: String,
    /// Words of the deployment, or which document: absent where names of tables are hashed, since it may tell them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
}

impl DrillFailure {
    /// Something of the whole.
    pub fn new(subject: DrillSubject, what: impl Into<String>) -> Self {
        let (component, what) = (String::new(), what.into());
        Self { subject, number: None, component, table: None, what, details: None }
    }

    /// Something of a table.
    pub fn of_table(subject: DrillSubject, table: &crate::TableRef, what: impl Into<String>) -> Self {
        let (component, name) = (table.component.clone(), Some(table.table.clone()));
        Self { component, table: name, ..Self::new(subject, what) }
    }

    /// Something of a component.
    pub fn of_component(subject: DrillSubject, component: &str, what: impl Into<String>) -> Self {
        Self { component: component.to_owned(), ..Self::new(subject, what) }
    }

    /// The same with more to tell.
    #[must_use]
    pub fn with(self, details: impl Into<String>) -> Self {
        Self { details: Some(details.into()), ..self }
    }

    /// What it is about, for people: a table, a component, or nothing.
    pub fn place(&self) -> String {
        match (&self.table, self.component.as_str()) {
            (Some(table), "") => table.clone(),
            (Some(table), component) => format!("{component}/{table}"),
            (None, "") => String::new(),
            (None, component) => format!("component {component}"),
        }
    }

    /// All of it in one line.
    pub fn line(&self) -> String {
        let place = self.place();
        let place = if place.is_empty() { place } else { format!("{place}: ") };
        let details = self.details.as_ref().map_or(String::new(), |details| format!(" ({details})"));
        format!("{place}{}{details}", self.what)
    }
}

/// A table as it was sent and as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrilledTable {
    /// The component's path; absent for the root.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub component: String,
    /// The table.
    pub table: String,
    /// Documents that were sent.
    pub sent: u64,
    /// Documents that the deployment counted; `None` where it has no such table, or was not asked.
    pub counted: Option<u64>,
    /// Whether it came back as it was sent; `None` where that was not looked at.
    pub same: Option<bool>,
    /// Whether a rule (an erasure, a mask, a quiet table) changed it on its way, so that it is not what is stored.
    #[serde(default, skip_serializing_if = "is_false")]
    pub changed_by_rule: bool,
}

/// The stored files of a component as they were sent and as they were found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrilledComponent {
    /// Its path; empty for the root.
    pub component: String,
    /// Files that were sent.
    pub sent: u64,
    /// Bytes of them.
    pub sent_bytes: u64,
    /// Files that the deployment counted.
    pub counted: Option<u64>,
    /// Whether they came back as they were sent, every byte read; `None` where that was not looked at.
    pub same: Option<bool>,
}

/// What was sent, in sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillTotals {
    /// Tables of all components.
    pub tables: u64,
    /// Documents.
    pub documents: u64,
    /// Bytes of documents.
    pub document_bytes: u64,
    /// Stored files.
    pub files: u64,
    /// Bytes of stored files.
    pub file_bytes: u64,
}

/// Where it was restored to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillTarget {
    /// Where the deployment came from.
    pub kind: ScratchKind,
    /// Why it could be written to.
    pub right: DrillRight,
    /// Who it says it is.
    pub identity: TargetIdentity,
}

/// One drill. Lies in the snapshot's folder of proofs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrillProof {
    /// [`DRILL_PROOF_FORMAT`].
    pub format: u32,
    /// `drill`.
    pub kind: String,
    /// The run that made it.
    pub run: RunId,
    /// The repository.
    pub repository: RunId,
    /// The drill's name in the settings.
    pub drill: DrillName,
    /// The deployment whose snapshot it was.
    pub deployment: DeploymentName,
    /// The destination it was read from, by its name in the settings.
    pub destination: DestinationName,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// SHA-256 of its manifest.
    pub manifest_sha256: Sha256,
    /// The snapshot's time, by the deployment's clock.
    pub snapshot_time: Timestamp,
    /// When the drill began, by the clock of whoever made it.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// Whether everything was as it should be.
    pub passed: bool,
    /// Where it was restored to.
    pub target: DrillTarget,
    /// How long each step took.
    pub phases: Vec<PhaseTime>,
    /// From the beginning until the data was there: the recovery time that was measured. `None` where it never was.
    pub restore_seconds: Option<f64>,
    /// How old the data was when the drill began: the recovery point that was measured.
    pub data_age_seconds: f64,
    /// The newest entry of the erasure ledger that was applied; 0: there is none.
    pub erasure: u64,
    /// How the snapshot's documents are written.
    pub documents: DocumentFormat,
    /// What came back was compared by this.
    pub comparison: Comparison,
    /// What was sent.
    pub totals: DrillTotals,
    /// How tables are named here.
    pub table_names: TableNames,
    /// Where names are hashed, the key id of the names key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names_key: Option<String>,
    /// Every table that was sent or found.
    pub tables: Vec<DrilledTable>,
    /// Every component that was sent.
    pub components: Vec<DrilledComponent>,
    /// What was checked.
    pub checks: Vec<DrillCheck>,
    /// What was not as it should be.
    pub failures: Vec<DrillFailure>,
    /// Further ones that found no room.
    #[serde(default)]
    pub failures_unlisted: u64,
    /// Stored bytes read.
    pub read_bytes: u64,
    /// What a person should know although nothing is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The version of Convault.
    pub convault_version: String,
}

impl DrillProof {
    /// How long a step took; 0 where it was not reached.
    pub fn seconds(&self, phase: DrillPhase) -> f64 {
        self.phases.iter().filter(|time| time.phase == phase).map(|time| time.seconds).sum()
    }

    /// From the beginning to the end, seconds.
    pub fn elapsed_seconds(&self) -> f64 {
        self.finished.duration_since(self.started).as_secs_f64()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
fn is_false(value: &bool) -> bool {
    !value
}
