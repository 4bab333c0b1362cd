//! Putting back what was kept: [`DeploymentTarget`], a deployment that is written to, and [`DeploymentEnvironment`], its
//! environment variables; and [`ManagementPlatform`], where deployments are made and deleted.
//!
//! Deliberately absent: what is put back, from where, and whether it may be. No value is ever logged.

mod connect;
mod environment;
mod failure;
mod platform;
mod retry;
mod target;
mod upload;

pub use connect::TargetSettings;
pub use environment::DeploymentEnvironment;
pub use platform::{ManagementPlatform, PlatformSettings};
pub use target::{DeploymentTarget, unpause_by_hand};
