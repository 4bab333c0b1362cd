//! Putting back what was kept: [`DeploymentEnvironment`], a deployment's environment variables as a
//! [`convault_core::Environment`].
//!
//! Deliberately absent: which variables are put back, and from where. Nothing here is ever logged but names.

mod connect;
mod environment;
mod retry;

pub use connect::TargetSettings;
pub use environment::DeploymentEnvironment;
