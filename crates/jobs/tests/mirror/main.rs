//! Mirrors against stores in memory: what is propagated, held, removed and given back.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bench;
mod encrypted;
mod keeping;
mod states;
