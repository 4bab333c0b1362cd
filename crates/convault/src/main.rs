//! Off-platform, proven backups of Convex deployments: the program.

#![allow(clippy::similar_names, reason = "content leaves in a context: both words are those of the field")]

mod arguments;
mod commands;
mod daemon;
mod exit;
mod hub;
mod logging;
mod look;
mod print;
mod progress;
mod remote;
mod socket;
mod sqlite;
mod task;
mod wiring;
mod worker;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    leave_no_core();
    let arguments = arguments::Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            print::note(&format!("convault: cannot start: {error}"));
            return exit::Exit::Failed.into();
        }
    };
    let exit = match runtime.block_on(commands::perform(arguments)) {
        Ok(exit) => exit,
        Err(error) => {
            print::error(&error);
            exit::of_error(&error)
        }
    };
    // A blocking read of a vanished network mount must not keep the program from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    exit.into()
}

/// An image of the memory would have every secret in it, in whatever folder the program was started.
fn leave_no_core() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        print::note(&format!("convault: core files cannot be turned off: {error}"));
    }
}
