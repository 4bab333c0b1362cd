//! [`Control`]: how the HTTP endpoint and the Unix socket see and steer the daemon, without knowing how it works.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Abilities, DestinationResult, MarkKind, RunEvent, RunId, RunOutcome, RunRecord, SnapshotId, Verb,
    names::{DeploymentName, DestinationName, DrillName, JobName, MirrorName},
};

/// Upper bounds, in seconds, of the buckets in which run times are counted.
pub const DURATION_BUCKETS_SECONDS: [f64; 10] =
    [1.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 21_600.0];

/// How often runs took how long.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DurationHistogram {
    /// Runs per bucket of [`DURATION_BUCKETS_SECONDS`], not cumulative; one more at the end for longer runs.
    pub counts: [u64; DURATION_BUCKETS_SECONDS.len() + 1],
    /// Sum of all run times, seconds.
    pub sum_seconds: f64,
}

impl DurationHistogram {
    /// Counts one run.
    pub fn observe(&mut self, seconds: f64) {
        let bucket = DURATION_BUCKETS_SECONDS.iter().position(|bound| seconds <= *bound);
        self.counts[bucket.unwrap_or(DURATION_BUCKETS_SECONDS.len())] += 1;
        self.sum_seconds += seconds;
    }
}

/// What is known of one job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// The job.
    pub job: JobName,
    /// What it protects.
    pub deployment: DeploymentName,
    /// Where its snapshots go.
    pub destinations: Vec<DestinationName>,
    /// The schedule as written; `None` for a job that runs only on demand.
    pub schedule: Option<String>,
    /// The schedule's time zone.
    pub time_zone: String,
    /// When it is due next.
    pub next_due: Option<Timestamp>,
    /// The longest time between two due times in the near future, seconds.
    pub expected_interval_seconds: Option<f64>,
    /// The run that is going on.
    pub running: Option<RunId>,
    /// The newest run that has ended.
    pub last_attempt: Option<RunRecord>,
    /// The newest run that stored a good snapshot.
    pub last_success: Option<RunRecord>,
    /// Runs ended since the daemon started, by outcome.
    pub runs: BTreeMap<String, u64>,
    /// Further attempts made after a failure since the daemon started.
    pub retries: u64,
    /// Bytes read from the deployment since the daemon started.
    pub read_bytes: u64,
    /// Bytes stored since the daemon started, all destinations together.
    pub stored_bytes: u64,
    /// Run times since the daemon started.
    pub durations: DurationHistogram,
}

impl JobStatus {
    /// How many runs ended with `outcome` since the daemon started.
    pub fn runs_with(&self, outcome: RunOutcome) -> u64 {
        self.runs.get(outcome.as_str()).copied().unwrap_or(0)
    }
}

/// What a destination holds of one deployment, from the last time it was looked at.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HoldingStatus {
    /// Snapshot folders by state: `good`, `suspect`, `damaged`, `headless`, `unreadable`, `untrusted`, `interrupted`,
    /// `under-way`, `being-removed`, `fenced-off`.
    pub states: BTreeMap<String, u64>,
    /// Bytes of everything of the deployment.
    pub stored_bytes: u64,
    /// The newest good snapshot's time, by the deployment's clock.
    pub newest_good: Option<Timestamp>,
    /// The newest snapshot's time where it is suspect: pruning is frozen until it is accepted or a good one follows.
    pub frozen_since: Option<Timestamp>,
    /// When the snapshot whose last full reading is longest ago was read, or else written.
    pub oldest_read: Option<Timestamp>,
    /// When a verify here last found everything sound.
    pub last_verified: Option<Timestamp>,
    /// Why the last prune here did not remove all that it should have; each a sentence.
    pub held_back: Vec<String>,
}

impl HoldingStatus {
    /// How many snapshot folders have that state.
    pub fn count(&self, state: &str) -> u64 {
        self.states.get(state).copied().unwrap_or(0)
    }
}

/// What is known of one destination, from the last time it was used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DestinationStatus {
    /// The destination.
    pub destination: DestinationName,
    /// Where it is, for people. Never a credential.
    pub location: String,
    /// Whether the last use succeeded; `None` before the first.
    pub up: Option<bool>,
    /// What went wrong the last time.
    pub problem: Option<String>,
    /// When that was.
    pub checked: Option<Timestamp>,
    /// What it was seen to be able to do when the daemon started; `None` while that is not known.
    pub abilities: Option<Abilities>,
    /// What it holds of each deployment.
    pub holdings: BTreeMap<DeploymentName, HoldingStatus>,
}

/// What is known of the verifying of one deployment in one destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifyStatus {
    /// The destination.
    pub destination: DestinationName,
    /// The deployment.
    pub deployment: DeploymentName,
    /// The schedule as written.
    pub schedule: String,
    /// When it is due next.
    pub next_due: Option<Timestamp>,
    /// Within how many seconds every stored byte is to be read again.
    pub read_all_within_seconds: f64,
    /// The newest run that has ended.
    pub last_attempt: Option<RunRecord>,
}

/// What is known of one mirror.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MirrorStatus {
    /// The mirror.
    pub mirror: MirrorName,
    /// What is mirrored, for people. Never a credential.
    pub from: String,
    /// Where to.
    pub destination: DestinationName,
    /// The schedule as written; `None` for one that runs only on demand.
    pub schedule: Option<String>,
    /// When it is due next.
    pub next_due: Option<Timestamp>,
    /// The longest time between two due times in the near future, seconds.
    pub expected_interval_seconds: Option<f64>,
    /// The run that is going on.
    pub running: Option<RunId>,
    /// The newest run that has ended.
    pub last_attempt: Option<RunRecord>,
    /// When the newest run ended after which the destination had everything of the source.
    pub last_success: Option<Timestamp>,
    /// Objects of the newest state.
    pub objects: u64,
    /// Bytes of them, as the source has them.
    pub bytes: u64,
    /// States that can be restored.
    pub states: u64,
    /// Since when the brake holds; `None` while it does not.
    pub braked_since: Option<Timestamp>,
    /// Why it holds.
    pub braked_why: Option<String>,
    /// Why the last run did not remove all that it should have; each a sentence.
    pub held_back: Vec<String>,
}

/// What is known of the looks at a job's secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WatchStatus {
    /// The job whose surroundings they are.
    pub job: JobName,
    /// The deployment.
    pub deployment: DeploymentName,
    /// The schedule as written.
    pub schedule: String,
    /// When it is due next.
    pub next_due: Option<Timestamp>,
    /// The longest time between two due times in the near future, seconds.
    pub expected_interval_seconds: Option<f64>,
    /// The newest look that has ended.
    pub last_attempt: Option<RunRecord>,
    /// When the newest look ended that read everything.
    pub last_success: Option<Timestamp>,
    /// How many secrets there were then.
    pub secrets: u64,
    /// When a look last found them changed.
    pub changed: Option<Timestamp>,
}

/// What is known of one drill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrillStatus {
    /// The drill.
    pub drill: DrillName,
    /// Whose snapshots it practises with.
    pub deployment: DeploymentName,
    /// The schedule as written; `None` for one that is made only on demand.
    pub schedule: Option<String>,
    /// When it is due next.
    pub next_due: Option<Timestamp>,
    /// How long ago the last one that was passed may be, seconds; `None` where nothing was said.
    pub max_age_seconds: Option<f64>,
    /// The run that is going on.
    pub running: Option<RunId>,
    /// The newest run that has ended.
    pub last_attempt: Option<RunRecord>,
    /// When the newest drill ended that was passed.
    pub last_passed: Option<Timestamp>,
    /// Of the newest drill that left a proof: how long it took until the data was there, seconds. `None` where it never was.
    pub restore_seconds: Option<f64>,
    /// Of the newest drill that left a proof: how old the data was when it began, seconds.
    pub data_age_seconds: Option<f64>,
    /// Of the newest drill that left a proof: how long each step took, seconds.
    pub phases: BTreeMap<String, f64>,
    /// Of the newest drill that left a proof: how many things were not as they should be.
    pub failures: u64,
}

impl DrillStatus {
    /// Whether the last drill that was passed is older than it may be; where none ever was, that counts from the daemon's
    /// start. The same rule as the alert `ConvaultDrillTooOld`.
    pub fn is_too_old(&self, started: Timestamp, now: Timestamp) -> bool {
        let age = now.duration_since(self.last_passed.unwrap_or(started)).as_secs_f64();
        self.max_age_seconds.is_some_and(|limit| age > limit)
    }
}

/// What is known of the sharing of work with other daemons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CoordinationStatus {
    /// The destination that holds the leases.
    pub destination: DestinationName,
    /// What this daemon calls itself.
    pub instance: String,
    /// Leases it holds now, each with its fencing number.
    pub held: BTreeMap<DeploymentName, u64>,
    /// Runs since the start that were left to another daemon.
    pub left_to_others: u64,
    /// Leases lost since the start.
    pub lost: u64,
}

/// What is known of the daemon. Made from memory: asking costs nothing and touches no network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version of Convault.
    pub version: String,
    /// When the daemon started.
    pub started: Timestamp,
    /// When this was said.
    pub now: Timestamp,
    /// Why it is not ready, each a sentence; empty means ready.
    pub not_ready: Vec<String>,
    /// Every job, in the order of the settings.
    pub jobs: Vec<JobStatus>,
    /// Every destination, in the order of the settings.
    pub destinations: Vec<DestinationStatus>,
    /// Every verify task, by destination and deployment.
    #[serde(default)]
    pub verifying: Vec<VerifyStatus>,
    /// Every mirror, in the order of the settings.
    #[serde(default)]
    pub mirrors: Vec<MirrorStatus>,
    /// The looks at secrets, in the order of the jobs.
    #[serde(default)]
    pub watching: Vec<WatchStatus>,
    /// Every drill, in the order of the settings.
    #[serde(default)]
    pub drills: Vec<DrillStatus>,
    /// The sharing of work, where there is any.
    #[serde(default)]
    pub coordination: Option<CoordinationStatus>,
}

/// A wish to run a job now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartRequest {
    /// Which job.
    pub job: JobName,
    /// What to do: back up (the default), prune, or repair.
    #[serde(default)]
    pub verb: Verb,
    /// `repair`: only this snapshot.
    #[serde(default)]
    pub snapshot: Option<SnapshotId>,
    /// `prune`: how much of what is there the sweep of objects without an owner may remove, percent.
    #[serde(default)]
    pub sweep_limit_percent: Option<u32>,
    /// `prune`: snapshots that are missing are known to be gone.
    #[serde(default)]
    pub accept_missing: bool,
    /// `mirror`: what vanished or changed is right, and is to be propagated.
    #[serde(default)]
    pub release_brake: bool,
    /// Tags for the snapshot, where one is made.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Retention may not delete the snapshot before this time.
    #[serde(default)]
    pub keep_until: Option<Timestamp>,
}

impl StartRequest {
    /// A plain wish for `verb` of `job`.
    pub fn new(job: JobName, verb: Verb) -> Self {
        Self {
            job,
            verb,
            snapshot: None,
            sweep_limit_percent: None,
            accept_missing: false,
            release_brake: false,
            tags: Vec::new(),
            keep_until: None,
        }
    }
}

/// A wish to say something of a snapshot, in every destination that has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkWish {
    /// The deployment.
    pub deployment: DeploymentName,
    /// The snapshot.
    pub id: SnapshotId,
    /// What to say.
    pub kind: MarkKind,
    /// Why, for people.
    #[serde(default)]
    pub reason: String,
    /// `accept`: the stored files whose damage on the deployment is known.
    #[serde(default)]
    pub names: Vec<String>,
    /// `hold`: until when.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// Only in this destination.
    #[serde(default)]
    pub destination: Option<DestinationName>,
}

/// Why a wish was not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The settings have no such job.
    #[error("there is no job named {0}")]
    NoSuchJob(JobName),
    /// No run of that identifier is known any more.
    #[error("no run {0} is going on or was remembered")]
    NoSuchRun(RunId),
    /// The daemon is stopping and starts nothing.
    #[error("the daemon is stopping")]
    Stopping,
    /// The history could not be read.
    #[error("{0}")]
    Other(String),
}

/// Sees and steers the daemon.
#[async_trait]
pub trait Control: Send + Sync + std::fmt::Debug {
    /// What is known now.
    fn status(&self) -> Status;

    /// The newest runs first, `limit` at most.
    async fn runs(&self, limit: usize) -> Result<Vec<RunRecord>, ControlError>;

    /// Starts a run of a job as soon as it may (one at a time per job and deployment) and gives its identifier at once.
    /// A wish for a job whose requested run still waits is a further run.
    async fn start(&self, request: StartRequest) -> Result<RunId, ControlError>;

    /// Marks a snapshot in every destination that has it, and says for each what became of that.
    async fn mark(&self, wish: MarkWish) -> Result<Vec<DestinationResult>, ControlError>;

    /// Asks a run to stop at its next safe point.
    async fn cancel(&self, run: &RunId) -> Result<(), ControlError>;

    /// What a run tells, from event number `after` on (0 is the first), each with its number, then as it comes.
    /// The stream ends after [`RunEvent::Finished`]. Old progress events may be left out, so numbers may have gaps.
    fn watch(&self, run: &RunId, after: u64) -> Result<BoxStream<'static, (u64, RunEvent)>, ControlError>;
}
