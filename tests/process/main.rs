//! The real program, as a person and a service manager use it.

mod daemon;
mod support;
mod verbs;
