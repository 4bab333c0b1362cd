//! One file or folder per verb: [`backup`](backup()), [`survey`](survey()), [`verify`](verify()), [`prune`](prune()),
//! [`mark`](mark()), [`repair`](repair()), [`download`](download()), [`plan_restore`] and what follows it,
//! [`drill`](drill()), [`find_documents`] and what else looks, [`choose`] and what brings back, [`hand_over`], [`erasure`],
//! [`reencrypt`](reencrypt()), [`mirror`](mirror()).
//!
//! Written against the traits of `convault-core` only: no verb knows S3, Convex or SQL. Deliberately absent:
//! schedules, settings, exit codes, and the words people read on a terminal.

#![allow(clippy::similar_names, reason = "content leaves in a context: both words are those of the field")]

mod access;
mod analysis;
mod anew;
mod as_of;
mod backup;
mod content;
mod contents;
mod context;
mod coordinate;
mod coverage;
mod destination;
mod download;
mod drill;
pub mod erasure;
mod error;
mod fan_out;
mod group;
mod handover;
mod judged;
mod keyed;
mod lane;
mod lease;
mod look;
mod mark;
mod mirror;
mod opens;
mod pool;
mod prepare;
mod proof;
mod prune;
mod read;
mod rebuild;
mod recover;
mod reencrypt;
mod repair;
mod repository;
mod restore;
mod secrets;
mod settle;
mod shared;
mod skew;
mod surroundings;
mod survey;
mod sweep;
mod transfer;
mod trust;
mod verify;

pub use access::Access;
pub use anew::{AnewRules, OldSnapshot};
pub use as_of::AsOf;
pub use backup::{BackupJob, backup};
pub use content::{Content, ErasedSet, Lines, Outgone, RuleCounts, Rules, Selected, StoredEntry, StoredFile};
pub use context::RunContext;
pub use coordinate::{Coordinated, DueTime, coordinate};
pub use destination::{Destination, Encryption};
pub use download::{
    Downloaded, content_to_file, download, download_content, download_to_file, entry_to_file,
};
pub use drill::{
    Connect, Drill, DrillRecord, DrillSource, Drilled, Pages, PlatformScratch, Reached, Scratch,
    ScratchDeployment, ScratchMarked, drill, newest_drills, prepare_scratch, reveal_drill,
};
pub use error::{JobError, chain};
pub use handover::{
    CSV_RULES, Column, Columns, Csv, HandedOver, JsonLines, Made, Outlet, Receiver, files_to_folder,
    hand_over,
};
pub use lease::{Attempt, HeldLease, Leases};
pub use look::{
    DocumentDifference, FieldChange, FieldPath, FieldValue, Life, LifeStep, Looked, Lookup,
    ParseFieldPathError, TableDifference, Token, Wanted, changes, diff, find_documents, members,
    table_number,
};
pub use mark::{MarkRequest, mark};
pub use mirror::{
    Difference, Mirror, MirrorHistory, MirrorState, Mirrored, RestoreTarget, Restored, StateLine, difference,
    difference_to_source, mirror, read_mirror_run, restore_mirror,
};
pub use opens::{EscrowedNames, OpenDepth, Opened, escrowed_names, prove_opens};
pub use proof::record_proofs;
pub use prune::{PrunePlan, PruneRules, Pruned, SWEEP_LIMIT_PERCENT, plan_prune, prune, retain};
pub use recover::{
    Choice, Chosen, Recovered, RecoveredTable, Way, Written, choose, recover_into, recover_to_file,
    unrecoverable,
};
pub use reencrypt::{Reencrypted, needs_reencryption, reencrypt};
pub use repair::{RepairReport, RepairRules, repair};
pub use restore::{
    CountDifference, Counted, DamagedFile, Drift, Guard, Guarded, Imported, Lossy, LostTypes, PlannedFiles,
    PlannedTable, Prepared, RestorePlan, Safety, SafetySnapshot, compare_counts, drift, import_content,
    is_storage_name, perform_guarded, plan_restore, read_surrounding, too_old,
};
pub use secrets::{
    ListedSecret, SecretChanges, SecretValue, SecretsOrigin, SecretsRestore, StoredSecrets, WatchJob,
    Watched, compare_secrets, list_secrets, plan_secrets_restore, read_secrets, restore_secrets,
    stored_secrets, watch,
};
pub use survey::{Folder, FolderState, Inventory, Snapshot, Survey, find, survey};
pub use transfer::LEAST_UPLOAD_MEMORY_BYTES;
pub use trust::Trust;
pub use verify::{ObjectFault, VerifyDepth, VerifyReport, verify};
