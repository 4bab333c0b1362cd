//! Putting back what was kept: [`DeploymentTarget`], a deployment that is written to, and [`DeploymentEnvironment`], its
//! environment variables.
//!
//! Deliberately absent: what is put back, from where, and whether it may be. No value is ever logged.

mod connect;
mod environment;
mod failure;
mod retry;
mod target;
mod upload;

pub use connect::TargetSettings;
pub use environment::DeploymentEnvironment;
pub use target::DeploymentTarget;
