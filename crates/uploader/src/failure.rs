//! Making a [`StoreError`]: which destination, what was tried, with which key.

use std::error::Error;

use convault_core::{DestinationName, StoreError, StoreErrorKind};

/// One thing that is being tried, so that whatever goes wrong in it is reported alike.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    destination: DestinationName,
    action: &'static str,
    key: String,
}

impl Attempt {
    pub(crate) fn new(destination: &DestinationName, action: &'static str, key: &str) -> Self {
        Self { destination: destination.clone(), action, key: key.to_owned() }
    }

    /// A failure that this crate found itself, without a cause underneath.
    pub(crate) fn failed(&self, kind: StoreErrorKind, message: impl Into<String>) -> StoreError {
        self.error(kind, message.into(), None)
    }

    /// A failure with the cause underneath, whose text `message` must not repeat.
    pub(crate) fn failed_by(
        &self,
        kind: StoreErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> StoreError {
        self.error(kind, message.into(), Some(source.into()))
    }

    fn error(
        &self,
        kind: StoreErrorKind,
        message: String,
        source: Option<Box<dyn Error + Send + Sync>>,
    ) -> StoreError {
        StoreError {
            kind,
            destination: self.destination.clone(),
            action: self.action,
            key: self.key.clone(),
            message,
            source,
        }
    }
}
