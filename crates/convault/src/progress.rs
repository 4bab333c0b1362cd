//! What a person sees of a run while it goes on: lines, and a bar where standard error is a terminal.

use std::sync::Mutex;

use convault_core::{RunEvent, RunPhase};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::print;

/// Shows the events of one run on standard error.
pub(crate) struct Progress {
    bar: ProgressBar,
    phase: Mutex<Option<RunPhase>>,
    silent: bool,
}

impl Progress {
    /// A display; a silent one shows nothing (`--json`).
    pub(crate) fn new(silent: bool) -> Self {
        let target = if silent || !print::stderr_is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        Self { bar: ProgressBar::with_draw_target(None, target), phase: Mutex::new(None), silent }
    }

    /// Shows one event.
    pub(crate) fn show(&self, event: &RunEvent) {
        match event {
            RunEvent::Phase { phase, .. } => self.enter(*phase),
            RunEvent::Transferred { done_bytes, total_bytes } => {
                if let Some(total) = total_bytes {
                    self.bar.set_style(bar_style());
                    self.bar.set_length(*total);
                }
                self.bar.set_position(*done_bytes);
            }
            RunEvent::Message { text, .. } => self.say(text),
            RunEvent::Warning { text, .. } => self.say(&format!("warning: {text}")),
            RunEvent::Destination { destination, problem: None, .. } => {
                self.say(&format!("{destination}: stored"));
            }
            RunEvent::Destination { destination, problem: Some(problem), .. } => {
                self.say(&format!("{destination}: {problem}"));
            }
            RunEvent::Finished { .. } => self.bar.finish_and_clear(),
        }
    }

    /// Takes the bar off the screen.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn enter(&self, phase: RunPhase) {
        let mut current = self.phase.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if current.replace(phase) != Some(phase) {
            self.bar.set_style(ProgressStyle::default_spinner());
            self.bar.unset_length();
            self.bar.set_position(0);
            self.bar.set_message(words(phase));
            self.bar.tick();
        }
    }

    fn say(&self, text: &str) {
        if !self.silent {
            self.bar.suspend(|| print::note(&format!("  {text}")));
        }
    }
}

fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template("  {msg} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn words(phase: RunPhase) -> &'static str {
    match phase {
        RunPhase::Preflight => "checking",
        RunPhase::Export => "waiting for the export",
        RunPhase::Transfer => "storing",
        RunPhase::Confirm => "reading again",
        RunPhase::ReadBack => "reading back",
        RunPhase::Surroundings => "surroundings",
        RunPhase::Files => "stored files",
        RunPhase::Refill => "copying",
        RunPhase::Manifest => "finishing",
        RunPhase::Prune => "pruning",
        RunPhase::Release => "releasing the export",
        RunPhase::Verify => "verifying",
        RunPhase::Repair => "repairing",
        RunPhase::Import => "importing",
    }
}
