//! The router, called without a socket, and the server on a real one.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod api;
mod drill_report;
mod fake;
mod metrics;
mod page;
mod server;
