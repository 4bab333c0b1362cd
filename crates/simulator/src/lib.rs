//! A Convex deployment in process, faithful to what a real backend was observed to do, with faults on demand.
//!
//! It keeps its data in memory, or makes it up from a seed, and speaks the HTTP and WebSocket protocols well enough
//! for the official command line. It is for tests and for the demonstration. Deliberately absent: running deployed
//! code, keeping data over a restart, and anything a production server needs.

mod api_error;
mod archive;
mod auth;
mod config;
mod contents;
mod crm;
mod database;
mod deployed;
mod document_id;
mod documents;
mod download;
mod environment;
mod error;
mod export;
mod export_table;
mod faults;
mod functions;
mod generated_files;
mod generator;
mod http;
mod identity;
mod import;
mod keys;
mod legacy;
mod plan;
mod planted;
mod platform;
mod server;
mod spool;
mod state;
mod storage;
mod sync;
mod system_functions;
mod value;
mod worker;
mod zip_writer;

pub mod s3;

pub use database::{Component, Database, EnvironmentVariable, StoredFile, Table};
pub use deployed::{Cron, Deployed, Module, ScheduledFunction};
pub use document_id::{DocumentId, FIRST_USER_TABLE_NUMBER, STORAGE_TABLE_NUMBER};
pub use documents::Documents;
pub use error::SimulatorError;
pub use faults::{Fault, FaultDescription, FaultKind, FaultSet, FaultValue};
pub use generator::GeneratorConfig;
pub use platform::{CloudIdentity, PlatformConfig, PlatformCounters, PlatformServer, RunningPlatform};
pub use server::{Data, RunningSimulator, Simulator, SimulatorConfig};
pub use spool::FileContent;
pub use state::{Counters, Writes};
pub use value::{Document, Encoding, Value, write_document};
