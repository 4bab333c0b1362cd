//! [`Journal`]: the run history. Local, and a convenience: the bucket is the only truth, so it may be deleted at any time.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    RunId, SnapshotId,
    names::{DeploymentName, DestinationName, JobName},
};

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Makes a snapshot.
    #[default]
    Backup,
    /// Compares stored snapshots with their manifests.
    Verify,
    /// Deletes what retention does not keep.
    Prune,
    /// Makes damaged snapshots whole again.
    Repair,
    /// Brings a mirror of media up to date.
    Mirror,
    /// Looks whether secrets changed. Its record's `documents` are how many there are, and its `snapshot_time` is when the
    /// newest set of them was stored.
    Watch,
    /// Practises a restore into a scratch deployment. Its record's `snapshot` is the one that was practised with, where the
    /// drill took place.
    Drill,
    /// Brings a snapshot into a deployment; never a task of the daemon. Its record's `deployment` is the one that was
    /// written to, and its `snapshot` the one that was restored.
    Restore,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    /// Everything asked for was done, and checked.
    Good,
    /// At least one destination has a good snapshot, and at least one has none.
    Partial,
    /// A snapshot was stored, but it looks wrong: it does not count as good.
    Suspect,
    /// There is no new snapshot.
    Failed,
    /// Somebody asked it to stop.
    Cancelled,
    /// The daemon stopped, or the process ended, in the middle. A scheduled run is made up for at the next start.
    Interrupted,
}

impl RunOutcome {
    /// Every outcome, in the order of their declaration.
    pub const ALL: [Self; 6] =
        [Self::Good, Self::Partial, Self::Suspect, Self::Failed, Self::Cancelled, Self::Interrupted];

    /// The outcome in one lower-case word, as in metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Partial => "partial",
            Self::Suspect => "suspect",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What became of a run in one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationResult {
    /// Which destination.
    pub destination: DestinationName,
    /// Bytes stored there, manifest included; 0 where there is no snapshot.
    pub stored_bytes: u64,
    /// What went wrong and the remedy; `None` where the snapshot is stored.
    pub problem: Option<String>,
}

/// One run, as the history keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The run's identifier; that of its snapshot, where it made one.
    pub id: RunId,
    /// The job it belongs to.
    pub job: JobName,
    /// The job's deployment.
    pub deployment: DeploymentName,
    /// What it does.
    pub verb: Verb,
    /// Whether the schedule started it, or somebody asked.
    pub scheduled: bool,
    /// The time it was due, for a scheduled run. Known so that a restart does not run it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; `None` while it goes on.
    pub finished: Option<Timestamp>,
    /// How it ended; `None` while it goes on.
    pub outcome: Option<RunOutcome>,
    /// One sentence for people: what was stored, or what went wrong and the remedy.
    pub message: String,
    /// The snapshot, where one exists in at least one destination.
    pub snapshot: Option<SnapshotId>,
    /// The snapshot's time, by the deployment's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_time: Option<Timestamp>,
    /// What became of it in each destination.
    pub destinations: Vec<DestinationResult>,
    /// Bytes read from the deployment.
    pub read_bytes: u64,
    /// Documents in the snapshot.
    pub documents: u64,
    /// Stored files in the snapshot.
    pub files: u64,
    /// What a person should know although the run went on.
    pub warnings: Vec<String>,
    /// Whether another attempt can help, for a run that failed.
    pub retryable: bool,
    /// Whether it failed since it must not be done there: nothing was touched.
    #[serde(default)]
    pub refused: bool,
}

impl RunRecord {
    /// The record of a run that goes on: without outcome. One with a due time was started by the schedule.
    pub fn begun(
        id: &RunId,
        job: &JobName,
        deployment: &DeploymentName,
        verb: Verb,
        due: Option<Timestamp>,
        started: Timestamp,
    ) -> Self {
        Self {
            id: id.clone(),
            job: job.clone(),
            deployment: deployment.clone(),
            verb,
            scheduled: due.is_some(),
            due,
            started,
            finished: None,
            outcome: None,
            message: String::new(),
            snapshot: None,
            snapshot_time: None,
            destinations: Vec::new(),
            read_bytes: 0,
            documents: 0,
            files: 0,
            warnings: Vec::new(),
            retryable: false,
            refused: false,
        }
    }

    /// Bytes stored in all destinations together.
    pub fn stored_bytes(&self) -> u64 {
        self.destinations.iter().map(|result| result.stored_bytes).sum()
    }

    /// How long it took, in seconds; `None` while it goes on.
    pub fn elapsed_seconds(&self) -> Option<f64> {
        Some(self.finished?.duration_since(self.started).as_secs_f64())
    }
}

/// A failure of the journal. A run goes on without it; a warning says so.
#[derive(Debug, thiserror::Error)]
#[error("run history {path}: {message}")]
pub struct JournalError {
    /// The file.
    pub path: String,
    /// What happened, and the remedy.
    pub message: String,
    /// The cause underneath, whose text `message` does not repeat.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The run history and small caches.
#[async_trait]
pub trait Journal: Send + Sync + std::fmt::Debug {
    /// Writes a run, new or known, durably. Identified by [`RunRecord::id`].
    async fn record(&self, run: &RunRecord) -> Result<(), JournalError>;

    /// The newest runs first, of one job or of all, `limit` at most.
    async fn runs(&self, job: Option<&JobName>, limit: usize) -> Result<Vec<RunRecord>, JournalError>;

    /// The newest run of a job with outcome good or partial.
    async fn last_success(&self, job: &JobName) -> Result<Option<RunRecord>, JournalError>;

    /// The newest due time of a job that a run was started for.
    async fn last_due(&self, job: &JobName) -> Result<Option<Timestamp>, JournalError>;

    /// Marks every run that has no outcome as interrupted and gives them back. Called once, at start.
    async fn close_interrupted(&self, now: Timestamp) -> Result<Vec<RunRecord>, JournalError>;
}
