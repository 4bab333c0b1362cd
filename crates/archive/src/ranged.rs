//! Reading pieces of a stored object.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

/// Why a piece could not be read: the store's own error.
pub type RangedError = Box<dyn std::error::Error + Send + Sync>;

/// A stored object of which any piece can be read: over a store's ranged get, or over bytes in memory.
#[async_trait]
pub trait RangedReader: Send + Sync {
    /// The length of the object in bytes.
    fn length(&self) -> u64;

    /// The bytes of `range`, exactly as many as it is long. It lies within the object.
    async fn read(&self, range: Range<u64>) -> Result<Bytes, RangedError>;
}

#[async_trait]
impl<T: RangedReader + ?Sized> RangedReader for Arc<T> {
    fn length(&self) -> u64 {
        self.as_ref().length()
    }

    async fn read(&self, range: Range<u64>) -> Result<Bytes, RangedError> {
        self.as_ref().read(range).await
    }
}

#[async_trait]
impl RangedReader for Bytes {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    async fn read(&self, range: Range<u64>) -> Result<Bytes, RangedError> {
        let (start, end) = (usize::try_from(range.start)?, usize::try_from(range.end)?);
        if end > self.len() || start > end {
            return Err(format!("{start}..{end} is not within {} bytes", self.len()).into());
        }
        Ok(self.slice(start..end))
    }
}
