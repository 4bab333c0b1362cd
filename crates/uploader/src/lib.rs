//! [`convault_core::Store`] on S3 ([`S3Store`]), on a directory ([`DirectoryStore`]) and in memory
//! ([`MemoryStore`], for tests).
//!
//! Deliberately absent: every decision. What is written where, how large the parts are, what a checksum is
//! compared with, when to give up on a destination: all of that is the caller's. Only what a single request
//! needs to arrive (a bounded number of repeats) happens here. Versions and locks are those of the bucket: nothing here
//! turns versioning on, locks anything by itself, or lifts a lock.

mod directory;
mod error;
mod extent;
mod failure;
mod locked;
mod memory;
mod probe;
mod s3;

pub use directory::DirectoryStore;
pub use error::UploaderError;
pub use memory::{MemoryFault, MemoryOperation, MemoryStore};
pub use s3::{S3Settings, S3Store, S3Timeouts};
