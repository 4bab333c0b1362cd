//! Several daemons on one bucket, in a simulated world: each has a runtime of its own, which the test drives second by
//! second, so that one can be paused (its time then jumps, as that of a frozen process does) or killed while the
//! others go on. The bucket obeys requests when they arrive, whether or not whoever sent them still waits.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bucket;
mod contenders;
mod fitness;
mod ledger;
mod notes;
mod process;
mod replica;
mod week;

/// Says something to whoever reads the output of a test: `tests/shows` takes its figure from there.
#[expect(clippy::print_stdout, reason = "the output of a test")]
fn say(text: &str) {
    println!("{text}");
}
