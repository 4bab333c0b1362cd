//! A fixed number of equal buffers: the memory budget of uploads. A buffer comes back when the last use of it ends.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Buffers of equal size, made on first use and reused, so that memory neither grows nor fragments.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    buffer_bytes: usize,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Pool {
    /// `number` buffers of `buffer_bytes` each.
    pub(crate) fn new(number: usize, buffer_bytes: usize) -> Self {
        Self { buffer_bytes, permits: Arc::new(Semaphore::new(number)), idle: Arc::default() }
    }

    /// An empty buffer, as soon as one is free.
    pub(crate) async fn take(&self) -> Buffer {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        let reused = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = reused.unwrap_or_else(|| Vec::with_capacity(self.buffer_bytes));
        Buffer { bytes, pool: self.clone(), _permit: permit }
    }
}

/// One buffer of a [`Pool`].
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    pool: Pool,
    _permit: OwnedSemaphorePermit,
}

impl Buffer {
    /// Copies as much of `bytes` as there is room for, and gives the rest back.
    pub(crate) fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let room = self.pool.buffer_bytes - self.bytes.len();
        let (taken, rest) = bytes.split_at(bytes.len().min(room));
        self.bytes.extend_from_slice(taken);
        rest
    }

    /// Whether nothing more fits in.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() == self.pool.buffer_bytes
    }

    /// The content, shared without copying; the buffer is free again when the last clone is dropped.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_share_is_dropped() {
        let pool = Pool::new(1, 4);
        let mut buffer = pool.take().now_or_never().expect("one buffer is free");
        assert_eq!(buffer.fill(b"abcdef"), b"ef");
        assert!(buffer.is_full());
        let first = buffer.freeze();
        let second = first.clone();
        drop(first);
        assert!(pool.take().now_or_never().is_none(), "a share is still in use");
        assert_eq!(&second[..], b"abcd");
        drop(second);
        let again = pool.take().now_or_never().expect("the buffer is free again");
        assert!(again.as_ref().is_empty());
    }
}
