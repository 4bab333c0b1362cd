//! [`Target`]: the trait that reaches a deployment which is written to.

use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What kind of failure a target met, which decides what is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetErrorKind {
    /// The key is wrong, expired or revoked. Not worth a retry.
    Key,
    /// The key lacks a permission, which the message names. Not worth a retry.
    Permission,
    /// Nothing answered in time, or the server is overloaded, and nothing was changed: worth a retry.
    Transient,
    /// What was asked for may or may not have happened. Never simply repeated.
    Unknown,
    /// The server is too old for this, or is not a Convex deployment.
    Unsupported,
    /// The deployment looked at what it was given and refuses it: the same will be refused again.
    Refused,
    /// Anything else.
    Other,
}

/// A failure of a target. `Display` names the deployment, what happened, and the remedy. Never a key.
#[derive(Debug, thiserror::Error)]
#[error("target {target}: {message}")]
pub struct TargetError {
    /// What kind of failure this is.
    pub kind: TargetErrorKind,
    /// What people call the deployment.
    pub target: String,
    /// What happened, then the remedy.
    pub message: String,
    /// The cause underneath, whose text `message` does not repeat.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Who a deployment says it is. Two addresses may lead to one deployment, so that this is what is compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetIdentity {
    /// `/instance_name`. Self-hosted deployments are all called `convex-self-hosted` unless somebody chose a name.
    pub instance: String,
    /// The deployment's number on the platform; cloud only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// `prod`, `dev`, `preview` or `custom`; cloud only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_type: Option<String>,
    /// Where it was reached. Never with a credential.
    pub url: String,
    /// `/version`; `unknown` where the server does not say.
    pub server_version: String,
}

impl TargetIdentity {
    /// Whether both may be one deployment: their numbers are equal, or, where one has none, their names are.
    pub fn may_be(&self, other: &Self) -> bool {
        match (self.number, other.number) {
            (Some(one), Some(two)) => one == two,
            _ => self.instance == other.instance,
        }
    }
}

/// What a deployment holds, in numbers. Each component's are of one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetContents {
    /// Every component by its path; the root's is empty.
    pub components: BTreeMap<String, ComponentContents>,
}

/// What a component holds, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentContents {
    /// Documents of each user table, empty tables too.
    pub tables: BTreeMap<String, u64>,
    /// Stored files.
    pub files: u64,
}

impl TargetContents {
    /// Whether there is no document and no stored file anywhere. Empty tables do not count.
    pub fn is_empty(&self) -> bool {
        self.components.values().all(|component| {
            component.files == 0 && component.tables.values().all(|documents| *documents == 0)
        })
    }
}

/// What an import does with what is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImportMode {
    /// Fails where a table of the import has documents.
    RequireEmpty,
    /// Adds documents. Not atomic: a failure leaves a part.
    Append,
    /// Replaces the tables of the import, all or none.
    Replace,
    /// Replaces the tables of the import and deletes all others of all components, all or none. Stored files are
    /// replaced only where the ZIP has rows of them.
    ReplaceAll,
}

/// What is imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportKind {
    /// A ZIP as an export has it.
    Zip,
    /// JSON Lines for one table.
    JsonLines {
        /// The component's path; empty for the root.
        component: String,
        /// The table.
        table: String,
    },
}

/// What an import is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportRequest {
    /// What it does with what is there.
    pub mode: ImportMode,
    /// What was uploaded.
    pub kind: ImportKind,
}

/// An import of a deployment, by the identifier that it gave.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImportId(pub String);

/// How far an import is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportStatus {
    /// The server reads through it. Confirming it now is lost without a word.
    Uploaded,
    /// It can be confirmed.
    WaitingForConfirmation {
        /// What the server says will be made and deleted; text for people.
        message: String,
        /// Whether something that is there would be deleted.
        deletes: bool,
    },
    /// It was confirmed and goes on.
    InProgress {
        /// What the server says of it; text for people, of no fixed form.
        message: String,
    },
    /// It ended well.
    Completed {
        /// Documents written; stored files are not counted.
        documents: u64,
    },
    /// It ended without effect (of [`ImportMode::Append`]: with a part), or was cancelled.
    Failed {
        /// Why, in the server's words.
        message: String,
    },
}

/// An upload that becomes an import once it is finished. Dropped before, it becomes nothing.
#[async_trait]
pub trait ImportUpload: Send {
    /// Sends the next bytes, in order, one part at a time. An error of kind [`TargetErrorKind::Unknown`] means that the
    /// part may have arrived: this upload is then of no use any more, and a new one has to be begun.
    async fn send(&mut self, part: Bytes) -> Result<(), TargetError>;

    /// Makes an import of what was sent. Where the answer is lost, the deployment's imports are looked through before
    /// it is asked again, so that there is one import and not two.
    async fn finish(self: Box<Self>, request: &ImportRequest) -> Result<ImportId, TargetError>;
}

/// A deployment that is written to. Of all that is here only [`Target::confirm`], [`Target::delete_files`],
/// [`Target::pause`] and [`Target::unpause`] change anything that its users could notice.
#[async_trait]
pub trait Target: Send + Sync + fmt::Debug {
    /// What people call it: its name in the settings, or its address.
    fn name(&self) -> &str;

    /// Who it says it is.
    async fn identity(&self) -> Result<TargetIdentity, TargetError>;

    /// What the key may not do although a restore needs it, each a sentence with the permission's name; empty is well.
    async fn missing_permissions(&self, may_pause: bool) -> Result<Vec<String>, TargetError>;

    /// What it holds. The counts are exact.
    async fn contents(&self) -> Result<TargetContents, TargetError>;

    /// Begins an upload. Parts have `part_bytes` each but for the last, 5 MiB at least; there are at most 9,999.
    async fn begin_upload(&self) -> Result<Box<dyn ImportUpload>, TargetError>;

    /// How far an import is.
    async fn import(&self, id: &ImportId) -> Result<ImportStatus, TargetError>;

    /// Confirms an import that waits for it. May be repeated.
    async fn confirm(&self, id: &ImportId) -> Result<(), TargetError>;

    /// Cancels an import that was not confirmed. One that has ended already is no error.
    async fn cancel(&self, id: &ImportId) -> Result<(), TargetError>;

    /// Whether it is paused.
    async fn is_paused(&self) -> Result<bool, TargetError>;

    /// Stops it from serving its users.
    async fn pause(&self) -> Result<(), TargetError>;

    /// Lets it serve its users again.
    async fn unpause(&self) -> Result<(), TargetError>;

    /// Deletes stored files of a component by their ids. One that is not there is no error.
    async fn delete_files(&self, component: &str, ids: &[String]) -> Result<(), TargetError>;

    /// Runs a query function of the deployment's own code, `dir/file:name`, with arguments as JSON, and gives what it
    /// returns as JSON text.
    async fn run_query(&self, function: &str, arguments: &str) -> Result<String, TargetError>;
}
