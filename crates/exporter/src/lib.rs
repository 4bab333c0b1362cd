//! [`DeploymentSource`]: a Convex deployment as a [`convault_core::Source`].
//!
//! It checks the key, asks for an export and knows it as its own, waits for it over plain HTTP, cancels it when it is
//! stuck, streams it, and lets it expire on the deployment. It lists stored files and fetches them one by one, paced.
//! Every wait goes through the runtime's timers.
//!
//! Deliberately absent: what is done with the bytes, when a run is due, and the WebSocket. Somebody else's export is
//! never cancelled and its expiry never changed.

mod ask;
mod backoff;
mod connect;
mod download;
mod files;
mod own_export;
mod preflight;
mod release;
mod settings;
mod source;
mod surroundings;
mod teller;
mod wait;
mod watch;

pub use settings::{DeploymentSettings, FileSettings, PollSettings, RetrySettings};
pub use source::DeploymentSource;
pub use surroundings::{
    Code, CommandOutput, CommandSettings, EnvironmentVariables, Files, ProjectDefaults,
    ProjectDefaultsSettings, Repository, RepositoryPlace, RepositorySettings, ScheduledFunctions,
    VercelSettings, VercelVariables,
};
