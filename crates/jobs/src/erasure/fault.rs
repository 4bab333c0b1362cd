//! What is said where the ledger is not whole.

use convault_core::{DeploymentName, DestinationName};

use crate::JobError;

/// An entry that is not as it should be in one destination.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// Its number.
    pub(crate) number: u64,
    /// What is wrong.
    pub(crate) what: String,
}

impl Fault {
    pub(crate) fn new(number: u64, what: impl Into<String>) -> Self {
        Self { number, what: what.into() }
    }

    /// The error that refuses to read anything in `place`; `elsewhere` have the entry whole.
    pub(crate) fn refusal(
        &self,
        deployment: &DeploymentName,
        place: &str,
        elsewhere: &[DestinationName],
    ) -> JobError {
        let names: Vec<&str> = elsewhere.iter().map(DestinationName::as_str).collect();
        let remedy = if names.is_empty() {
            "no other destination that could be asked has it whole: bring the object back (an older version of the \
             bucket may have it), or type --include-erased where what was erased must be read"
                .to_owned()
        } else {
            format!(
                "{} has it whole: `convault erase --complete --deployment {deployment}` copies it from there",
                names.join(" and ")
            )
        };
        JobError::LedgerNotWhole {
            deployment: deployment.clone(),
            what: format!("{place}: entry {}: {}", self.number, self.what),
            remedy,
        }
    }
}
