//! One file per verb: [`backup`](backup()), [`survey`](survey()), [`verify`](verify()), [`prune`](prune()),
//! [`mark`](mark()), [`download`](download()).
//!
//! Written against the traits of `convault-core` only: no verb knows S3, Convex or SQL. Deliberately absent:
//! schedules, settings, exit codes, and the words people read on a terminal.

mod access;
mod analysis;
mod as_of;
mod backup;
mod contents;
mod context;
mod coordinate;
mod coverage;
mod destination;
mod download;
mod entry;
mod error;
mod fan_out;
mod group;
mod judged;
mod keyed;
mod lane;
mod lease;
mod mark;
mod mirror;
mod opens;
mod pool;
mod prepare;
mod proof;
mod prune;
mod read;
mod rebuild;
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
pub use as_of::AsOf;
pub use backup::{BackupJob, backup};
pub use context::RunContext;
pub use coordinate::{Coordinated, DueTime, coordinate};
pub use destination::{Destination, Encryption, ORPHAN_GRACE};
pub use download::{Downloaded, download, download_entry_to_file, download_to_file};
pub use entry::StoredEntry;
pub use error::{JobError, chain};
pub use lease::{Attempt, HeldLease, Leases};
pub use mark::{MarkRequest, mark};
pub use mirror::{
    Difference, Mirror, MirrorHistory, MirrorState, Mirrored, RestoreTarget, Restored, StateLine, difference,
    difference_to_source, mirror, read_mirror_run, restore_mirror,
};
pub use opens::{EscrowedNames, OpenDepth, Opened, escrowed_names, prove_opens};
pub use proof::record_proofs;
pub use prune::{PrunePlan, PruneRules, Pruned, SWEEP_LIMIT_PERCENT, plan_prune, prune, retain};
pub use reencrypt::{OldSnapshot, ReencryptRules, Reencrypted, needs_reencryption, reencrypt};
pub use repair::{RepairReport, RepairRules, repair};
pub use restore::{Imported, LineOutput, LineSource, Prepared, SentLines, import_lines};
pub use secrets::{
    ListedSecret, SecretChanges, SecretValue, SecretsOrigin, SecretsRestore, StoredSecrets, WatchJob,
    Watched, compare_secrets, list_secrets, plan_secrets_restore, read_secrets, restore_secrets,
    stored_secrets, watch,
};
pub use survey::{Folder, FolderState, Inventory, Snapshot, Survey, find, survey};
pub use transfer::LEAST_UPLOAD_MEMORY_BYTES;
pub use trust::Trust;
pub use verify::{ObjectFault, VerifyDepth, VerifyReport, verify};
