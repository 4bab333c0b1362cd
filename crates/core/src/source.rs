//! [`Source`]: the trait that reaches a deployment, as a backup needs it.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    files::{FileRow, FileStream},
    names::DeploymentName,
};

/// What kind of failure a source met, which decides what is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceErrorKind {
    /// The key is wrong, expired or revoked. Not worth a retry.
    Key,
    /// The key lacks a permission, which the message names. Not worth a retry.
    Permission,
    /// Somebody else's export holds the only slot, and did so past the deadline.
    Busy,
    /// Our export did not finish before the deadline.
    Deadline,
    /// Our export made no progress for the whole limit.
    Stuck,
    /// Our export was cancelled, failed, or vanished.
    ExportLost,
    /// The server is too old, or is not a Convex deployment.
    Unsupported,
    /// What arrived is cut short, too long, or not what was announced: worth another download.
    Transit,
    /// A stored file that was listed is not there to be fetched.
    Missing,
    /// Nothing answered in time, or the server is overloaded: worth a retry.
    Transient,
    /// Anything else.
    Other,
}

/// A failure of a source. `Display` names the deployment, what happened, and the remedy. Never a key.
#[derive(Debug, thiserror::Error)]
#[error("deployment {deployment}: {message}")]
pub struct SourceError {
    /// What kind of failure this is.
    pub kind: SourceErrorKind,
    /// Which deployment it happened in.
    pub deployment: DeploymentName,
    /// What happened, then the remedy.
    pub message: String,
    /// The cause underneath, whose text `message` does not repeat.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What was learned about a deployment before anything was asked of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preflight {
    /// `/instance_name`, or the name in the key where the server does not say.
    pub instance: String,
    /// `/version`; `unknown` where the server does not say.
    pub server_version: String,
    /// Where it was reached. Never with a credential.
    pub url: String,
    /// What will be less than it could be with this key or server, each a sentence for a person.
    pub warnings: Vec<String>,
}

/// Which export a run wants.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportRequest {
    /// Whether stored files are in it.
    pub include_files: bool,
    /// When the run began: an older snapshot is never used.
    pub run_started: Timestamp,
    /// Whether an export that somebody else has asked for may be used, if its snapshot is not older than the run.
    /// True for a scheduled run, false for one on demand.
    pub may_adopt: bool,
    /// How long the whole wait may take, counted from the call.
    pub deadline: Duration,
    /// How long our own export may show no sign of progress.
    pub no_progress_limit: Duration,
}

/// A finished export, ready to be downloaded as often as needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The deployment's identifier of the export (`_exports` document id).
    pub id: String,
    /// The snapshot's time: nanoseconds since the Unix epoch, by the deployment's clock.
    pub snapshot_ts_ns: i64,
    /// Size in bytes as the row announced it; `None` on rows that do not say.
    pub size_bytes: Option<u64>,
    /// Whether stored files are in it.
    pub include_files: bool,
    /// Whether somebody else asked for it: then its expiry is left alone.
    pub adopted: bool,
}

/// The bytes of an export, as they arrive.
pub struct ExportStream {
    /// The announced length in bytes. A stream that ends earlier or later fails with [`SourceErrorKind::Transit`].
    pub length_bytes: u64,
    /// The bytes; an error ends the stream.
    pub bytes: BoxStream<'static, Result<Bytes, SourceError>>,
}

impl fmt::Debug for ExportStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportStream").field("length_bytes", &self.length_bytes).finish_non_exhaustive()
    }
}

/// Something worth telling while waiting for an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "progress", rename_all = "kebab-case")]
pub enum Progress {
    /// Somebody else's export holds the slot.
    WaitingForSlot {
        /// Who: `cloudBackup` or `snapshotExport`.
        holder: String,
    },
    /// The export was asked for, or an existing one is being used.
    Requested {
        /// The export's id.
        export: String,
        /// Whether it is somebody else's.
        adopted: bool,
    },
    /// What the deployment says about the export; text for people, of no fixed form.
    Exporting {
        /// The deployment's words.
        message: String,
    },
    /// Something that does not stop the run but that a person should know.
    Warning {
        /// What, and the remedy.
        message: String,
    },
}

/// What became of the wish to let the export expire on the deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// Its expiry was set, so that the deployment's next clean-up removes it.
    ExpirySet,
    /// It was left as it was, and why (somebody else's; switched off).
    Kept(&'static str),
    /// The key may not, or the call failed: the export stays on the deployment until its own expiry.
    Refused(String),
}

/// A deployment, as a backup needs it. One value may be used for many runs, one at a time.
#[async_trait]
pub trait Source: Send + Sync + fmt::Debug {
    /// The deployment's name in the settings.
    fn deployment(&self) -> &DeploymentName;

    /// Checks the key, its permissions and the server, without changing anything.
    async fn preflight(&self) -> Result<Preflight, SourceError>;

    /// Asks for an export and waits until it is finished. `progress` is called often and must not block.
    /// Dropping the future, like every error, leaves no export of ours running where the key may cancel it;
    /// where it may not, the error's message has the command that does.
    async fn export(
        &self,
        request: ExportRequest,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Export, SourceError>;

    /// Begins to download a finished export, from its first byte; there are no ranges.
    async fn open(&self, export: &Export) -> Result<ExportStream, SourceError>;

    /// Lets the export expire on the deployment, once it is stored or given up. Never fails a run.
    async fn release(&self, export: &Export) -> Release;
    /// Why stored files cannot be fetched one by one just now, as of a paused deployment; `None` where they can.
    async fn why_no_files(&self) -> Result<Option<String>, SourceError> {
        Ok(Some("this kind of source does not hand out single files".to_owned()))
    }

    /// Every stored file of every component, a page at a time underneath: component by component, the root first, in
    /// each from the oldest to the newest. An error ends the stream.
    fn list_files(&self) -> BoxStream<'_, Result<FileRow, SourceError>> {
        Box::pin(futures::stream::empty())
    }

    /// Begins to fetch a stored file, no faster than the settings allow. One that is not there is an error of kind
    /// [`SourceErrorKind::Missing`]; one that the deployment announces with another digest or length than its row's, of
    /// kind [`SourceErrorKind::Transit`].
    async fn open_file(&self, row: &FileRow) -> Result<FileStream, SourceError> {
        let message =
            format!("the stored file {} cannot be fetched from this kind of source", row.shown_id());
        let deployment = self.deployment().clone();
        Err(SourceError { kind: SourceErrorKind::Unsupported, deployment, message, source: None })
    }
}
