//! Each kind of surroundings: what is collected, what is refused, and that no value shows where it should not.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like the tests")]

#[cfg(test)]
mod environment;
#[cfg(test)]
mod taker;
