//! The nouns and pure rules of Convault: identifiers, the manifest, the index, retention, due times, and the
//! traits through which everything else is reached ([`Source`], [`Target`], [`Platform`], [`Store`], [`Journal`], [`Control`], [`Clock`]).
//!
//! Deliberately absent: input and output, tasks, reading a clock, and any knowledge of Convex, S3, HTTP or SQL.
//! A function here gives the same answer for the same arguments, so everything here can be tested with a table.

mod anomaly;
mod clock;
mod control;
mod digest;
mod drill;
mod erasure;
mod event;
mod files;
mod id;
mod index;
mod journal;
mod judgement;
mod layout;
mod lease;
mod manifest;
mod mark;
mod mask;
mod mirror;
mod names;
mod parts;
mod platform;
mod proof;
mod prune_record;
mod reading;
mod refs;
mod retention;
mod run_start;
mod schedule;
mod secret;
mod secret_set;
mod source;
mod store;
mod summary;
mod surrounding;
mod table_ref;
mod target;
mod tier;

pub use anomaly::{Anomalies, AnomalyLimits, NewTables, TableLimits, examine};
pub use clock::{Clock, SystemClock};
pub use control::{
    Control, ControlError, CoordinationStatus, DURATION_BUCKETS_SECONDS, DestinationStatus, DrillStatus,
    DurationHistogram, HoldingStatus, JobStatus, MarkWish, MirrorStatus, StartRequest, Status, VerifyStatus,
    WatchStatus,
};
pub use digest::{ParseDigestError, Sha256, Sha256Stream, TableDigest};
pub use drill::{
    Assertion, Comparison, DRILL_PROOF_FORMAT, DRILL_REFERENCE, DrillCheck, DrillFailure, DrillFindings,
    DrillPhase, DrillProof, DrillRight, DrillSubject, DrillTarget, DrillTotals, DrilledComponent,
    DrilledTable, KnownSource, MOST_FAILURES, MayNotDrill, PhaseTime, SCRATCH_VARIABLE, ScratchFacts,
    ScratchKind, SourceIdentity, compare_content, compare_counts, compare_stored, may_drill_into,
    may_prepare,
};
pub use erasure::{
    CERTIFICATE_FORMAT, Cascade, CascadeSide, CertifiedCopy, CertifiedEntry, CopyState, DocumentFields,
    ERASURE_FORMAT, ErasureCertificate, ErasureEntry, ErasureRecord, ErasureSearch, FieldPath, KeyedHash,
    LedgerEntry, ParseCascadeError, ParseFieldPathError, Remaining, Subject, TooManyErased, chain_fault,
};
pub use event::{RunEvent, RunPhase};
pub use files::{FileRow, FileStream};
pub use id::{ParseRunIdError, RunId, SnapshotId};
pub use index::{EntryKind, INDEX_FORMAT, IndexEntry, IndexHeader, IndexLine, IndexTotals, ResumePoint};
pub use journal::{DestinationResult, Journal, JournalError, RunOutcome, RunRecord, Verb};
pub use judgement::{Hold, Judgement, Standing, is_fenced_off};
pub use layout::{Layout, REPOSITORY_KEY, RepositoryFile};
pub use lease::{Holder, LEASE_FORMAT, Lease};
pub use manifest::{
    Coverage, DocumentFormat, FilesMode, Kind, MANIFEST_FORMAT, Manifest, ManifestError, NotCovered,
    ObjectRole, Problem, ReadBack, Rewritten, SourceFacts, StoredObject, TableNames, TableTotals, Totals,
    Verdict, Verification,
};
pub use mark::{MARK_FORMAT, Mark, MarkKind};
pub use mask::{Mask, MaskWith};
pub use mirror::{
    Brake, EntryName, EntryVersion, LEAST_BULK, ListingFacts, MIRROR_FORMAT, MIRRORS_FOLDER, MirrorDetails,
    MirrorEntry, MirrorKeep, MirrorLayout, MirrorRun, MirrorTally, MirrorVerdict, ParseEntryNameError,
    expired_runs,
};
pub use names::{
    DeploymentName, DestinationName, DrillName, InvalidName, JobName, MirrorName, SurroundingName,
};
pub use parts::{MAX_PARTS, MIN_PART_BYTES, PartPlan, PartPlanError};
pub use platform::{MadeDeployment, NewDeployment, Platform, PlatformError};
pub use proof::{PROOF_FORMAT, Proof, ProofDepth, ProofFault, ProofResult};
pub use prune_record::{Known, PRUNE_RECORD_FORMAT, PruneRecord};
pub use reading::{Readable, share};
pub use refs::FileRef;
pub use retention::{
    CalendarDay, CalendarEntry, Candidate, Decision, Keep, Reason, RetentionPlan, keep_horizon,
    plan as plan_retention, wanted_by,
};
pub use run_start::{RUN_START_FORMAT, RunStart};
pub use schedule::{Schedule, ScheduleError};
pub use secret::Secret;
pub use secret_set::{
    HashChanges, SECRET_SET_FORMAT, SecretHashes, SecretSet, SecretSetError, SecretsRecord,
};
pub use source::{
    Export, ExportRequest, ExportStream, Preflight, Progress, Release, Source, SourceError, SourceErrorKind,
};
pub use store::{
    Abilities, Ability, Attributes, ByteStream, Copied, DefaultLock, Fetched, Lock, LockMode, ObjectInfo,
    ObjectVersion, Origin, Part, PutMode, Store, StoreError, StoreErrorKind, Stored, UnfinishedUpload,
    Upload,
};
pub use summary::{ComponentSummary, ContentSummary, TableSummary};
pub use surrounding::{
    Collect, EntryDetails, Environment, EnvironmentChange, Surrounding, SurroundingError,
    SurroundingErrorKind, SurroundingKind,
};
pub use table_ref::{ParseTableRefError, TableRef};
pub use target::{
    ComponentContents, ImportId, ImportKind, ImportMode, ImportRequest, ImportStatus, ImportUpload, Target,
    TargetContents, TargetError, TargetErrorKind, TargetIdentity,
};
pub use tier::Tier;
