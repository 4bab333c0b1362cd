//! The settings: one TOML file and the environment, read once. What comes out is typed [`Settings`] with every
//! secret read, or every problem at once ([`SettingsProblems`]).
//!
//! Deliberately absent: connecting to anything, creating any folder, and reading again later. A key of a part that
//! does not exist yet is an unknown key. `docs/settings.md` is the reference; a test holds it to `keys.rs`.

mod across;
mod anomaly;
mod daemon;
mod deployment;
mod destination;
mod drill;
mod effective;
mod encryption;
mod environment;
mod erasure;
mod job;
mod keys;
mod mask;
mod mirror;
mod names;
mod nearest;
mod problem;
mod quantity;
mod reading;
mod s3;
mod schedule;
mod secret;
mod section;
mod settings;
mod signing;
mod surrounding;

pub use daemon::{DaemonSettings, LogFormat};
pub use deployment::DeploymentSettings;
pub use destination::{DestinationPlace, DestinationSettings, VerifySettings};
pub use drill::{DrillInto, DrillSettings};
pub use effective::{Effective, Origin};
pub use encryption::EncryptionSettings;
pub use environment::Environment;
pub use erasure::ErasureSettings;
pub use job::{JobSettings, RetrySettings};
pub use mask::MaskSettings;
pub use mirror::MirrorSettings;
pub use problem::{Place, Problem, SettingsProblems, Warning};
pub use s3::S3Settings;
pub use settings::{Settings, socket_path};
pub use signing::SigningSettings;
pub use surrounding::{JobSurrounding, RepositoryPlace, SurroundingSettings, SurroundingSource};
