//! Restores into simulated deployments: what goes in comes out again, and nothing is written before nothing can be lost.

#![allow(
    clippy::disallowed_methods,
    reason = "where the snapshots of a real backend are, the environment says"
)]
#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

#[cfg(test)]
mod bench;
#[cfg(test)]
mod failing;
#[cfg(test)]
mod golden_rule;
#[cfg(test)]
#[path = "../support/job.rs"]
mod job;
#[cfg(test)]
mod recover;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
#[path = "../support/source.rs"]
mod source;
#[cfg(test)]
mod traps;
