//! The real program, as a person and a service manager use it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a real process takes real time")]

mod care;
mod daemon;
mod drill;
mod encryption;
mod look;
mod recover;
mod restore;
mod sharing;
mod signing;
mod stored;
mod support;
mod thief;
mod verbs;
