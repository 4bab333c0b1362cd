//! What could not be read although the rest was.

use convault_core::{NotCovered, SurroundingError};

/// Notes what is missing, or fails at once where nothing may be.
#[derive(Debug)]
pub(crate) struct Gaps {
    required: bool,
    noted: Vec<NotCovered>,
}

impl Gaps {
    /// `required`: what should be there and cannot be read fails the whole.
    pub(crate) fn new(required: bool) -> Self {
        Self { required, noted: Vec::new() }
    }

    /// Notes that `what` could not be read, because of `error`.
    pub(crate) fn missed(
        &mut self,
        what: impl Into<String>,
        error: SurroundingError,
    ) -> Result<(), SurroundingError> {
        if self.required {
            return Err(error);
        }
        tracing::debug!(%error, cause = error.source.as_deref().map(tracing::field::display), "not collected");
        self.inherent(what, error.message);
        Ok(())
    }

    /// Notes that `what` can never be had from there, which is nobody's failure.
    pub(crate) fn inherent(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.noted.push(NotCovered { what: what.into(), why: why.into() });
    }

    pub(crate) fn into_noted(self) -> Vec<NotCovered> {
        self.noted
    }
}
