//! The pure rules, seen from outside: golden files with reasons, tables and properties.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

#[cfg(test)]
mod anomaly;
#[cfg(test)]
mod erasure;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod horizon;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod snapshots;
