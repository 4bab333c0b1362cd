//! What a run tells while it goes on: for progress bars, the Unix socket and server-sent events alike.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{RunRecord, names::DestinationName};

/// A step of a run, in the order of `design` and of the run itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunPhase {
    /// Checking the key, the server and the destinations.
    Preflight,
    /// Waiting for the deployment to make its export.
    Export,
    /// Reading the export and storing it, checking every byte.
    Transfer,
    /// Reading the export again, to see whether damage is on the deployment or was on the way.
    Confirm,
    /// Reading stored bytes back.
    ReadBack,
    /// Collecting what the export leaves out.
    Surroundings,
    /// Listing the stored files, and fetching those that no destination has yet.
    Files,
    /// Copying to destinations that fell behind.
    Refill,
    /// Writing the manifests.
    Manifest,
    /// Deciding what is kept, and deleting the rest.
    Prune,
    /// Letting the export expire on the deployment.
    Release,
    /// Comparing stored snapshots with their manifests.
    Verify,
    /// Making damaged snapshots whole again.
    Repair,
    /// Bringing content into a deployment.
    Import,
}

/// One thing a run tells. `Display`-free: the binary words it for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum RunEvent {
    /// A step begins.
    Phase {
        /// When.
        at: Timestamp,
        /// Which.
        phase: RunPhase,
    },
    /// How far the current step is, a few times a second at most.
    Transferred {
        /// Bytes so far.
        done_bytes: u64,
        /// Bytes in all, where known.
        total_bytes: Option<u64>,
    },
    /// Words of the deployment or of a step, for people.
    Message {
        /// When.
        at: Timestamp,
        /// The words.
        text: String,
    },
    /// Something that does not stop the run but that a person should know.
    Warning {
        /// When.
        at: Timestamp,
        /// What, and the remedy.
        text: String,
    },
    /// A destination is done or given up.
    Destination {
        /// When.
        at: Timestamp,
        /// Which.
        destination: DestinationName,
        /// What went wrong; `None` where the snapshot is stored.
        problem: Option<String>,
    },
    /// The run has ended; nothing follows.
    Finished {
        /// How it went.
        record: Box<RunRecord>,
    },
}
