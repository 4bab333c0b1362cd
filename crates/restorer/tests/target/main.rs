//! A deployment as a target, against a simulated one with its faults.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests")]

#[cfg(test)]
mod asking;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod imports;
