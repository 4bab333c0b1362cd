//! An S3 server in process: what Convault needs of S3, held in memory or under a folder, with faults on demand.
//!
//! It checks signatures, SHA-256 checksums, conditions and part sizes as Amazon S3 does. A bucket exists from its
//! first use. On request all its buckets keep versions and have Object Lock, and pairs of keys have policies
//! ([`S3Server::with_versions`], [`S3Server::with_locks`], [`S3Server::with_keys`]). Deliberately absent: legal holds,
//! turning versioning on and off, locks at create, encryption, and checksums other than SHA-256, which are accepted
//! and not looked at.

mod bytes_store;
mod counters;
mod faults;
mod listing;
mod locks;
mod objects;
mod persist;
mod policy;
mod server;
mod service;
mod state;
mod uploads;
mod versions;

pub use counters::S3Counters;
pub use faults::{S3Fault, S3FaultDescription, S3FaultKind};
pub use policy::S3Policy;
pub use server::{RunningS3, S3Server, S3ServerConfig, S3ServerError};
