//! Brings stored content into a deployment. [`plan_restore`] says what would happen; [`import_content`] prepares an
//! import, which changes nothing; [`perform_guarded`] performs it, once nothing can be lost.

mod compare;
mod damaged;
mod drift;
mod guard;
mod held;
mod import;
mod lossy;
mod plan;
mod prepared;
mod progress;
mod safety;
mod surrounded;
mod upload;

pub(crate) use self::plan::storage_name_warning;
pub use self::{
    compare::{CountDifference, Counted, compare_counts},
    damaged::DamagedFile,
    drift::{Drift, drift},
    guard::{Guard, Guarded, perform_guarded},
    import::import_content,
    lossy::{Lossy, LostTypes},
    plan::{PlannedFiles, PlannedTable, RestorePlan, is_storage_name, plan_restore, too_old},
    prepared::{Imported, Prepared},
    safety::{Safety, SafetySnapshot},
    surrounded::read_surrounding,
};
pub(crate) use self::{held::Held, prepared::prepare, upload::Feed};
