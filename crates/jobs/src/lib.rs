//! One file per verb: [`backup`](backup()), [`list`](list()), [`verify`](verify()), [`prune`](prune()),
//! [`download`](download()).
//!
//! Written against the traits of `convault-core` only: no verb knows S3, Convex or SQL. Deliberately absent:
//! schedules, settings, exit codes, and the words people read on a terminal.

mod analysis;
mod backup;
mod context;
mod coordinate;
mod coverage;
mod download;
mod error;
mod fan_out;
mod lane;
mod lease;
mod list;
mod pool;
mod prune;
mod read;
mod repository;
mod settle;
mod sweep;
mod transfer;
mod verify;

pub use backup::{BackupJob, backup, running};
pub use context::RunContext;
pub use coordinate::{Coordinated, DueTime, coordinate};
pub use download::{Downloaded, download, download_to_file};
pub use error::{JobError, chain};
pub use lease::{Attempt, HeldLease, Leases};
pub use list::{Inventory, Listed, ListedState, find, inventory, list};
pub use prune::{PrunePlan, Pruned, plan_prune, prune};
pub use transfer::LEAST_UPLOAD_MEMORY_BYTES;
pub use verify::{ObjectFault, VerifyDepth, VerifyReport, verify};
