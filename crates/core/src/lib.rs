//! The nouns and pure rules of Convault: identifiers, the manifest, the index, retention, due times, and the
//! traits through which everything else is reached ([`Source`], [`Store`], [`Journal`], [`Control`], [`Clock`]).
//!
//! Deliberately absent: input and output, tasks, reading a clock, and any knowledge of Convex, S3, HTTP or SQL.
//! A function here gives the same answer for the same arguments, so everything here can be tested with a table.

mod clock;
mod control;
mod digest;
mod event;
mod id;
mod index;
mod journal;
mod layout;
mod manifest;
mod names;
mod parts;
mod retention;
mod schedule;
mod secret;
mod source;
mod store;

pub use clock::{Clock, SystemClock};
pub use control::{
    Control, ControlError, DURATION_BUCKETS_SECONDS, DestinationStatus, DurationHistogram, JobStatus,
    StartRequest, Status,
};
pub use digest::{ParseDigestError, Sha256, Sha256Stream, TableDigest};
pub use event::{RunEvent, RunPhase};
pub use id::{ParseRunIdError, RunId, SnapshotId};
pub use index::{EntryKind, INDEX_FORMAT, IndexEntry, IndexHeader, IndexLine, IndexTotals, ResumePoint};
pub use journal::{DestinationResult, Journal, JournalError, RunOutcome, RunRecord, Verb};
pub use layout::{Layout, REPOSITORY_KEY, RepositoryFile};
pub use manifest::{
    Coverage, FilesMode, Kind, MANIFEST_FORMAT, Manifest, ManifestError, NotCovered, ObjectRole, Problem,
    ReadBack, SourceFacts, StoredObject, TableNames, TableTotals, Totals, Verdict, Verification,
};
pub use names::{DeploymentName, DestinationName, InvalidName, JobName};
pub use parts::{MAX_PARTS, MIN_PART_BYTES, PartPlan, PartPlanError};
pub use retention::{Candidate, Decision, Keep, Reason, RetentionPlan, plan as plan_retention};
pub use schedule::{Schedule, ScheduleError};
pub use secret::Secret;
pub use source::{
    Export, ExportRequest, ExportStream, Preflight, Progress, Release, Source, SourceError, SourceErrorKind,
};
pub use store::{
    Abilities, Ability, ByteStream, ObjectInfo, Part, PutMode, Store, StoreError, StoreErrorKind, Stored,
    UnfinishedUpload, Upload,
};
