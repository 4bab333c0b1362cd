//! Practises a restore: the newest good snapshot into a scratch deployment, and what is there then compared with what was
//! sent. Leaves a proof, and never touches what is stored or a source.

mod again;
mod assertions;
mod attempt;
mod find;
mod permit;
mod platform;
mod record;
mod reexport;
mod references;
mod run;
mod scratch;
mod values;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use convault_archive::encryption::Identities;
use convault_core::{Assertion, DeploymentName, DrillName, DrillProof, Environment, RunId, TableRef, Target};

pub use self::{
    permit::{ScratchMarked, prepare_scratch},
    platform::PlatformScratch,
    record::{DrillRecord, newest_drills, reveal_drill},
    run::drill,
    scratch::{Connect, Pages, Reached, Scratch, ScratchDeployment},
};
use crate::{
    Destination,
    erasure::{ErasureLimits, LedgerKeys},
};

/// A deployment that no drill may write to, reached with its own key.
#[derive(Debug, Clone)]
pub struct DrillSource {
    /// Its name in the settings.
    pub name: DeploymentName,
    /// It, asked who it is and whether it knows an import; never written to.
    pub target: Arc<dyn Target>,
    /// Its environment variables, of which one is read.
    pub environment: Arc<dyn Environment>,
}

/// What a drill is made of.
#[derive(Debug)]
pub struct Drill<'a> {
    /// Its name in the settings.
    pub name: DrillName,
    /// The deployment whose newest good snapshot is restored.
    pub deployment: DeploymentName,
    /// The destinations to look into; the one with the newest good snapshot is read.
    pub destinations: Vec<Destination>,
    /// Every destination that may say something of the erasure ledger.
    pub everywhere: &'a [Destination],
    /// What opens what is encrypted.
    pub identities: Option<&'a Identities>,
    /// What opens the erasure ledger.
    pub ledger_keys: LedgerKeys,
    /// How much may be erased.
    pub erasure_limits: ErasureLimits,
    /// Tables that are left empty.
    pub quiet: BTreeSet<TableRef>,
    /// Where it is restored to.
    pub scratch: Arc<dyn Scratch>,
    /// Every deployment of the settings.
    pub sources: Vec<DrillSource>,
    /// What else must hold.
    pub assertions: Vec<Assertion>,
    /// What fetches pages, for assertions.
    pub pages: Arc<dyn Pages>,
    /// How long the scratch deployment's export may take.
    pub export_deadline: Duration,
    /// How long it may show no progress.
    pub no_progress_limit: Duration,
    /// Runs that are over, whatever came of them: what they made and could not delete may be deleted.
    pub dead_runs: Vec<RunId>,
    /// The version of Convault.
    pub version: String,
}

/// A drill that took place.
#[derive(Debug, Clone)]
pub struct Drilled {
    /// What is to be said of it, with names of tables as they are.
    pub proof: DrillProof,
    /// Where its proof lies: the object's key. `None` where it could not be written.
    pub key: Option<String>,
    /// What a person should know, each a sentence.
    pub warnings: Vec<String>,
}
