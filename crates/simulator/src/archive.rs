//! A completed export: what its ZIP holds and how long it is, ready to be written out any number of times.

/// A completed export.
#[derive(Debug)]
pub(crate) struct Archive {
    size_bytes: u64,
}

impl Archive {
    /// The length of the ZIP.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}
