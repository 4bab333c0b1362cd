//! When a job runs: its due times, one run of it at a time, catching up, retrying, and an orderly stop.
//!
//! It knows no particular job: what a run does is the caller's [`Runner`]. Due times come from
//! [`convault_core::Schedule`]; the crate `tokio-cron-scheduler` is named in `trigger.rs` alone, as the thing that
//! says "look at the clock now" about once a second. Decisions live in `timetable.rs` and `board.rs`, which are
//! plain state machines; [`Scheduler::run`] feeds them ticks, requests and ended runs.
//!
//! Deliberately absent: the run history (the caller hands in what it remembers as [`Past`]), leases (a runner that
//! finds the work taken says [`Outcome::Postponed`]), and any state on disk.

mod board;
mod handle;
mod job;
mod runner;
mod scheduler;
mod state;
mod timetable;
mod trigger;

pub use handle::{Handle, RequestError};
pub use job::{Past, RetryPolicy, ScheduledJob};
pub use runner::{Cancel, CancelReason, Outcome, Run, Runner, Why};
pub use scheduler::{Scheduler, SchedulerError, Stop, StopReport};
pub use state::{Cause, Ended, JobState, LastRun, RetryState, RunningState};
pub use trigger::{TICKER_LOG_TARGET, Ticker, TriggerError};
