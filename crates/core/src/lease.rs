//! [`Lease`]: the one object that is rewritten. Whoever holds a deployment's lease is the only one to work on it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{DeploymentName, names::JobName};

/// The lease format this build writes, and the newest it reads.
pub const LEASE_FORMAT: u32 = 1;

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// A random identifier of the process, new at every start.
    pub instance: String,
    /// The host, for people.
    pub host: String,
}

/// The content of `leases/<deployment>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// [`LEASE_FORMAT`].
    pub format: u32,
    /// The deployment.
    pub deployment: DeploymentName,
    /// Goes up by one whenever the lease is taken, never down: the fencing number.
    pub fence: u64,
    /// Who holds it; `None` where it was given back.
    pub holder: Option<Holder>,
    /// For how long it holds after its last change, seconds. Who watches counts that long on a clock of its own.
    pub lease_seconds: u64,
    /// Goes up by one with every heartbeat, so that each makes another entity tag.
    pub beat: u64,
    /// When it was last changed, by the holder's clock: for people only.
    pub at: Timestamp,
    /// For each job, the newest due time that is done: nobody does it again.
    pub done: BTreeMap<JobName, Timestamp>,
}
