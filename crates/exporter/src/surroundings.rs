//! What a Convex snapshot leaves out, one file for each kind of [`convault_core::Surrounding`].

mod child;
mod code;
mod command;
mod component;
mod config_stream;
mod dotenv;
mod environment;
mod errors;
mod files;
mod gaps;
mod glob;
mod project_defaults;
mod repository;
mod scheduled;
mod variables;
mod vercel;

pub use code::Code;
pub use command::{CommandOutput, CommandSettings};
pub use environment::EnvironmentVariables;
pub use files::Files;
pub use project_defaults::{ProjectDefaults, ProjectDefaultsSettings};
pub use repository::{Repository, RepositoryPlace, RepositorySettings};
pub use scheduled::ScheduledFunctions;
pub use vercel::{VercelSettings, VercelVariables};
