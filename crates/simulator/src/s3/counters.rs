//! How often each operation was called, and how many bytes went which way.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// What the S3 server has done since its start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct S3Counters {
    /// How often each operation was called, by its name in the S3 API (`PutObject`); refused calls count too,
    /// except those with a wrong signature and those that the policy of their keys forbids.
    pub calls: BTreeMap<&'static str, u64>,
    /// How many calls the policy of their keys forbade.
    pub denied: u64,
    /// Bytes of objects and parts that arrived.
    pub bytes_in: u64,
    /// Bytes of objects that were sent.
    pub bytes_out: u64,
}

impl S3Counters {
    /// How often `operation` was called.
    pub fn calls(&self, operation: &str) -> u64 {
        self.calls.get(operation).copied().unwrap_or(0)
    }
}

#[derive(Debug, Default)]
pub(super) struct LiveCounters {
    calls: Mutex<BTreeMap<&'static str, u64>>,
    denied: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
}

impl LiveCounters {
    pub(super) fn count(&self, operation: &'static str) {
        *self.calls.lock().unwrap_or_else(PoisonError::into_inner).entry(operation).or_default() += 1;
    }

    pub(super) fn count_denied(&self) {
        self.denied.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> S3Counters {
        S3Counters {
            calls: self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            denied: self.denied.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
        }
    }
}
