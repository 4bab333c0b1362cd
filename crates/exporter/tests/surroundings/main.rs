//! Each kind of surroundings: what is collected, what is refused, and that no value shows where it should not.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like the tests")]

#[cfg(test)]
mod code;
#[cfg(test)]
mod command;
#[cfg(test)]
mod environment;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod files;
#[cfg(test)]
mod log;
#[cfg(test)]
mod project_defaults;
#[cfg(test)]
mod repository;
#[cfg(test)]
mod scheduled;
#[cfg(test)]
mod taker;
#[cfg(test)]
mod vercel;
