//! Drills: a restore that is practised into a scratch deployment and compared with what was sent there.
//!
//! Pure: who may be written to ([`may_drill_into`]), what is compared ([`compare_counts`], [`compare_content`],
//! [`compare_stored`]), what else must hold ([`Assertion`]), and the proof that is left ([`DrillProof`]).

mod assertion;
mod compare;
mod permit;
mod proof;

pub use assertion::Assertion;
pub use compare::{DrillFindings, MOST_FAILURES, compare_content, compare_counts, compare_stored};
pub use permit::{
    DrillRight, KnownSource, MayNotDrill, ScratchFacts, SourceIdentity, may_drill_into, may_prepare,
};
pub use proof::{
    Comparison, DRILL_PROOF_FORMAT, DrillCheck, DrillFailure, DrillPhase, DrillProof, DrillSubject,
    DrillTarget, DrillTotals, DrilledComponent, DrilledTable, PhaseTime, ScratchKind,
};

/// The environment variable that marks a deployment as one that drills may write to; its value is the repository's
/// identifier.
pub const SCRATCH_VARIABLE: &str = "CONVAULT_SCRATCH";

/// What the reference of a deployment begins with that a drill makes on the platform.
pub const DRILL_REFERENCE: &str = "convault-drill-";
