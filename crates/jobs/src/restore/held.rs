//! [`Held`]: a deployment between its safety snapshot and the end of what is done to it, for imports that are made of what
//! is live.

use std::sync::atomic::{AtomicBool, Ordering};

use convault_core::TargetContents;

use super::{
    guard::{Guard, Pause, counted, not_another, still_as_planned},
    prepared::{Imported, Prepared},
    safety::SafetySnapshot,
};
use crate::{JobError, RunContext, error::chain};

/// A deployment whose safety snapshot is stored and read back, and that is paused if that is wanted. Ended by
/// [`Held::end`], whatever becomes of the imports.
pub(crate) struct Held<'a> {
    guard: &'a Guard<'a>,
    pause: Pause<'a>,
    context: &'a RunContext,
    /// Whether an import of ours took place.
    has_imported: AtomicBool,
    /// The snapshot of what was live; `None` where nothing was.
    pub(crate) safety: Option<SafetySnapshot>,
}

impl<'a> Held<'a> {
    /// Pauses the target if that is wanted, and takes its safety snapshot. Where that fails, it serves as it did.
    pub(crate) async fn begin(guard: &'a Guard<'a>, context: &'a RunContext) -> Result<Self, JobError> {
        let pause = Pause { target: guard.target, context, was_set: false };
        let mut held = Self { guard, pause, context, has_imported: AtomicBool::new(false), safety: None };
        match held.secure().await {
            Ok(()) => Ok(held),
            Err(error) => {
                if let Some(problem) = held.pause.end().await {
                    context.warning(problem);
                }
                Err(error)
            }
        }
    }

    async fn secure(&mut self) -> Result<(), JobError> {
        if self.guard.pause {
            self.context.or_stop(self.pause.begin()).await??;
        }
        if let Some(safety) = &self.guard.safety {
            let taken = safety.take(self.guard.target.name(), self.guard.expected, self.context).await?;
            self.safety = Some(taken);
        }
        Ok(())
    }

    /// Performs an import that was prepared meanwhile, if the target is still who it was and nobody wrote to what it
    /// replaces; otherwise it is cancelled.
    pub(crate) async fn perform<S: Send>(
        &self,
        prepared: Prepared<S>,
        is_as_stored: impl AsyncFnOnce() -> Result<(), JobError>,
    ) -> Result<Imported<S>, JobError> {
        let looked = async {
            not_another(self.guard, &prepared, self.context).await?;
            is_as_stored().await?;
            let filled_by_us = self.has_imported.load(Ordering::Relaxed);
            self.context.or_stop(still_as_planned(self.guard, &prepared, filled_by_us)).await?
        };
        if let Err(error) = looked.await {
            if let Err(error) = prepared.cancel(self.guard.target).await {
                self.context.warning(format!("the import waits there unconfirmed: {}", chain(&error)));
            }
            return Err(error);
        }
        let imported = prepared.perform(self.guard.target, self.context).await?;
        self.has_imported.store(true, Ordering::Relaxed);
        Ok(imported)
    }

    /// Counts what is there, and lets the target serve its users again, unless what ended the imports leaves it open what
    /// became of one. Gives what went wrong, too.
    pub(crate) async fn end(
        mut self,
        failure: Option<&JobError>,
    ) -> (Option<SafetySnapshot>, Option<TargetContents>, Vec<String>) {
        let mut problems = Vec::new();
        let contents = counted(self.guard, &mut problems).await;
        problems.extend(self.pause.end_after(failure).await);
        (self.safety, contents, problems)
    }
}
