//! The exit codes, which scripts and deploy pipelines trust. `docs/operations.md` lists them.

use std::process::ExitCode;

use convault_core::RunOutcome;
use convault_jobs::JobError;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything asked for was done, and checked.
    Done = 0,
    /// It was not done; what was said tells why.
    Failed = 1,
    /// The arguments are wrong.
    Arguments = 2,
    /// A good snapshot is stored, but not in every destination.
    Partial = 3,
    /// A snapshot is stored, but looks wrong and does not count as good.
    Suspect = 4,
    /// What is stored is not what its manifest says.
    Damaged = 5,
    /// There is no such snapshot, job or destination.
    NotFound = 6,
    /// It was stopped before it was done.
    Stopped = 7,
    /// The erasure ledger is not whole, or a certificate of erasure does not hold.
    Erasures = 8,
    /// The target is not what it must be; nothing was touched.
    Refused = 9,
    /// A drill took place, and not everything was as it should be.
    Drill = 10,
    /// The daemon cannot be reached any more.
    Unreachable = 69,
    /// The settings are wrong.
    Settings = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<RunOutcome> for Exit {
    fn from(outcome: RunOutcome) -> Self {
        match outcome {
            RunOutcome::Good => Self::Done,
            RunOutcome::Partial => Self::Partial,
            RunOutcome::Suspect => Self::Suspect,
            RunOutcome::Failed => Self::Failed,
            RunOutcome::Cancelled | RunOutcome::Interrupted => Self::Stopped,
        }
    }
}

/// The exit code of an error that ended the program.
pub(crate) fn of_error(error: &anyhow::Error) -> Exit {
    if let Some(exit) = error.downcast_ref::<ExitWith>() {
        return exit.0;
    }
    match error.downcast_ref::<JobError>() {
        Some(
            JobError::Damaged { .. }
            | JobError::Manifest { .. }
            | JobError::Untrusted { .. }
            | JobError::NotRepairable { .. },
        ) => Exit::Damaged,
        Some(
            JobError::NoGoodSnapshot { .. }
            | JobError::NoSuchSnapshot { .. }
            | JobError::NoSuchEntry { .. }
            | JobError::NoSuchState { .. },
        ) => Exit::NotFound,
        Some(JobError::LedgerNotWhole { .. } | JobError::CertificateFails { .. }) => Exit::Erasures,
        Some(JobError::NoNamesKey) => Exit::Settings,
        Some(JobError::Stopped) => Exit::Stopped,
        Some(JobError::Refused { .. } | JobError::MayNotDrill { .. }) => Exit::Refused,
        _ if error.is::<convault_settings::SettingsProblems>() => Exit::Settings,
        _ => Exit::Failed,
    }
}

/// An error that knows its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{1}")]
pub(crate) struct ExitWith(pub(crate) Exit, pub(crate) String);
