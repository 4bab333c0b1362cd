//! [`Surrounding`]: the trait that reaches what a Convex snapshot leaves out, one kind at a time.

use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{DeploymentName, NotCovered, Secret, SurroundingName};

/// Why something could not be collected, which decides what is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SurroundingErrorKind {
    /// The key or token may not read it. Not worth a retry.
    Permission,
    /// It is not there: no such file, project, or path in the repository.
    NotFound,
    /// It took longer, or gave more, than was allowed.
    Limit,
    /// Nothing answered in time, or the server is overloaded: worth a retry.
    Transient,
    /// Who takes the entries could not go on: the failure of the run, not of what is collected.
    Taker,
    /// Anything else.
    Other,
}

/// A failure to collect. `Display` names what was collected, what happened, and the remedy; never a value.
#[derive(Debug, thiserror::Error)]
#[error("surroundings `{surrounding}`: {message}")]
pub struct SurroundingError {
    /// What kind of failure this is.
    pub kind: SurroundingErrorKind,
    /// Which part of the surroundings.
    pub surrounding: SurroundingName,
    /// What happened, then the remedy.
    pub message: String,
    /// The cause underneath, whose text `message` does not repeat.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What sort of thing a part of the surroundings is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SurroundingKind {
    /// Named values that change seldom: looked at often, and stored again only when one changed.
    Secrets,
    /// Everything else: stored with each snapshot.
    State,
}

/// What is known of an entry before its first byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryDetails {
    /// Permission bits of a file, such as `0o600`.
    pub mode: Option<u32>,
    /// Numeric owner and group of a file.
    pub owner: Option<(u32, u32)>,
    /// When it was changed last.
    pub modified: Option<Timestamp>,
}

/// Takes what is collected, in order: `begin`, any number of `write`, and so on; the next `begin` ends an entry.
/// An error of kind [`SurroundingErrorKind::Taker`] ends the collecting.
#[async_trait]
pub trait Collect: Send {
    /// Begins an entry: a relative path of plain segments joined by `/`, below the folder of the surrounding.
    async fn begin(&mut self, path: &str, details: EntryDetails) -> Result<(), SurroundingError>;

    /// The next bytes of the entry.
    async fn write(&mut self, bytes: &[u8]) -> Result<(), SurroundingError>;

    /// Says that the entries hold a named value, such as an environment variable: for noticing, by keyed hash, which
    /// ones were added, changed and removed. `name` is unique within the surrounding, e.g. `STRIPE_KEY`, or
    /// `production/STRIPE_KEY` where there are several targets.
    async fn value(&mut self, name: &str, value: &Secret) -> Result<(), SurroundingError>;

    /// Says that there is something of this name whose value could not be had, so that the name, which a sentence of
    /// *not covered* may have, is kept from where everybody can read.
    fn unread(&mut self, name: &str);
}

/// One part of the surroundings of a deployment, such as its environment variables. It may be collected many times,
/// one at a time.
#[async_trait]
pub trait Surrounding: Send + Sync + fmt::Debug {
    /// What it is called in the settings, and its folder in the ZIP.
    fn name(&self) -> &SurroundingName;

    /// What sort of thing it is.
    fn kind(&self) -> SurroundingKind;

    /// Whether a snapshot without it is no good snapshot.
    fn is_required(&self) -> bool;

    /// Hands everything to `taker`, in a stable order, entries as large as they are without holding one whole. Gives what
    /// it could not read although the rest was, each for the manifest's *not covered*: a sentence that names no value,
    /// and no variable or file but those said by [`Collect::value`] or [`Collect::unread`], since everybody who has the
    /// bucket can read it.
    async fn collect(&self, taker: &mut dyn Collect) -> Result<Vec<NotCovered>, SurroundingError>;
}

/// A change to an environment variable.
#[derive(Debug, Clone)]
pub struct EnvironmentChange {
    /// Its name.
    pub name: String,
    /// Its value from then on; `None` removes it.
    pub value: Option<Secret>,
}

/// The environment variables of a deployment, to be read and written.
#[async_trait]
pub trait Environment: Send + Sync + fmt::Debug {
    /// The deployment's name in the settings.
    fn deployment(&self) -> &DeploymentName;

    /// All variables.
    async fn read(&self) -> Result<BTreeMap<String, Secret>, SurroundingError>;

    /// Makes all the changes, or none.
    async fn write(&self, changes: &[EnvironmentChange]) -> Result<(), SurroundingError>;
}
