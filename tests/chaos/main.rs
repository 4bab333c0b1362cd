//! A good copy is never lost: random sequences of everything that can happen, from printed seeds; every call of a whole
//! run failing in turn; and manifests that are deleted, cut short or forged.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[cfg(test)]
mod bucket;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod daemon;
#[cfg(test)]
mod deployment;
#[cfg(test)]
mod export;
#[cfg(test)]
#[path = "../../crates/jobs/tests/support/job.rs"]
mod job;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod nth;
#[cfg(test)]
mod process;
#[cfg(test)]
mod proxy;
#[cfg(test)]
#[path = "../../crates/jobs/tests/support/source.rs"]
mod source;
#[cfg(test)]
mod time;
#[cfg(test)]
mod world;
