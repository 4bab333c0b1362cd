//! An upload of parts into a directory store: each part goes to its place in one growing file.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use convault_core::{Part, PutMode, StoreError, StoreErrorKind, Stored, Upload};

use super::{
    DirectoryStore,
    write::{self, Temporary},
};
use crate::extent;

#[derive(Debug)]
pub(super) struct DirectoryUpload {
    store: DirectoryStore,
    key: String,
    part_bytes: u64,
    mode: PutMode,
    temporary: Arc<Temporary>,
    /// Size of each part written so far, by number.
    written: Mutex<BTreeMap<u32, u64>>,
}

impl DirectoryUpload {
    pub(super) fn new(
        store: DirectoryStore,
        key: &str,
        part_bytes: u64,
        mode: PutMode,
        temporary: Temporary,
    ) -> Self {
        let temporary = Arc::new(temporary);
        Self { store, key: key.to_owned(), part_bytes, mode, temporary, written: Mutex::default() }
    }

    fn written(&self) -> MutexGuard<'_, BTreeMap<u32, u64>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Upload for DirectoryUpload {
    async fn put_part(&self, part: Part) -> Result<(), StoreError> {
        let attempt = self.store.attempt("upload a part of", &self.key);
        let size_bytes = part.body.len() as u64;
        if part.number == 0 || size_bytes > self.part_bytes {
            let message = format!("part {} of {size_bytes} bytes does not fit the upload", part.number);
            return Err(attempt.failed(StoreErrorKind::Other, message));
        }
        let offset = u64::from(part.number - 1) * self.part_bytes;
        let temporary = self.temporary.clone();
        self.store.blocking(&attempt, move |_| temporary.write_at(&part.body, offset)).await?;
        self.written().insert(part.number, size_bytes);
        Ok(())
    }

    async fn finish(&self) -> Result<Stored, StoreError> {
        let attempt = self.store.attempt("finish the upload of", &self.key);
        let expected = extent::whole(&self.written(), self.part_bytes, &attempt)?;
        let (temporary, key, mode) = (self.temporary.clone(), self.key.clone(), self.mode.clone());
        let finished = move |paths: &super::Paths| -> io::Result<Stored> {
            let stored = temporary.publish(paths, &key, &mode)?;
            write::tidy(paths, &temporary.upload_id);
            Ok(stored)
        };
        let stored = self.store.blocking(&attempt, finished).await?;
        if stored.size_bytes == expected {
            return Ok(stored);
        }
        let message = format!("{} bytes were written, {} are there", expected, stored.size_bytes);
        Err(attempt.failed(StoreErrorKind::Corrupt, message))
    }

    async fn abort(&self) -> Result<(), StoreError> {
        let attempt = self.store.attempt("abort the upload of", &self.key);
        let upload_id = self.temporary.upload_id.clone();
        self.store.blocking(&attempt, move |paths| write::remove_temporary(paths, &upload_id)).await
    }
}
