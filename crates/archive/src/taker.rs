//! [`LineTaker`]: whoever wants to see the documents that pass.

use std::fmt;

use convault_core::EntryKind;

use crate::name::EntryName;

type Take = Box<dyn FnMut(&str, &str, &[u8]) + Send>;

/// Whoever wants to see the lines of user tables as they pass; nobody by default.
#[derive(Default)]
pub(crate) struct LineTaker(Option<Take>);

impl LineTaker {
    pub(crate) fn new(take: impl FnMut(&str, &str, &[u8]) + Send + 'static) -> Self {
        Self(Some(Box::new(take)))
    }

    /// Hands over a line of an entry, if it is a document.
    pub(crate) fn take(&mut self, name: &EntryName, line: &[u8]) {
        if let (Some(take), EntryKind::Documents) = (&mut self.0, name.kind) {
            take(&name.component, &name.subject, line);
        }
    }
}

impl fmt::Debug for LineTaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LineTaker").field(&self.0.is_some()).finish()
    }
}
