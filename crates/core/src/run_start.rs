//! [`RunStart`]: what a run writes first, so that what it leaves behind when it is cut off can be told from a
//! snapshot that lost its manifest, and so that such a manifest can be made again.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{DeploymentName, FilesMode, JobName, Kind, RunId};

/// The format of start records this build writes, and the newest it reads.
pub const RUN_START_FORMAT: u32 = 1;

/// The start record of a run, in the folder of the snapshot it may become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStart {
    /// [`RUN_START_FORMAT`].
    pub format: u32,
    /// The run, also the folder's name.
    pub id: RunId,
    /// The deployment.
    pub deployment: DeploymentName,
    /// The repository.
    pub repository: RunId,
    /// The job.
    pub job: JobName,
    /// Why it runs.
    pub kind: Kind,
    /// Words given by whoever asked for it.
    pub tags: Vec<String>,
    /// Retention may not delete the snapshot before this time.
    pub keep_until: Option<Timestamp>,
    /// The time it was due, for a scheduled run.
    #[serde(default)]
    pub due: Option<Timestamp>,
    /// When it began, by the daemon's clock.
    pub started: Timestamp,
    /// The name the server gives itself.
    pub instance: String,
    /// The server's version, `unknown` where it does not say.
    pub server_version: String,
    /// How stored files are kept.
    pub files: FilesMode,
    /// The fencing number of the lease it holds.
    pub fence: Option<u64>,
    /// The version of Convault.
    pub convault_version: String,
}
