//! [`SqliteJournal`]: the run history in one `SQLite` file.
//!
//! The bucket is the only truth, so the file is a convenience: it may be deleted at any time, also while the daemon
//! runs; a damaged one is set aside with a warning and a new one begun. Several processes may have it open. It stays
//! below 16 MiB, its write-ahead log included.
//!
//! Deliberately absent: anything a restore needs, and any secret.

mod database;
mod journal;

pub use journal::SqliteJournal;
