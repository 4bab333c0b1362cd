//! What a Convex snapshot leaves out, one file for each kind of [`convault_core::Surrounding`].

mod dotenv;
mod environment;
mod errors;
mod gaps;
mod variables;

pub use environment::EnvironmentVariables;
