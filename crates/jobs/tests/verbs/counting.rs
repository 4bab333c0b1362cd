//! A store that counts the bytes that are read of it, and breaks connections off.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use convault_core::{
    Abilities, Attributes, ByteStream, DestinationName, ObjectInfo, PutMode, Store, StoreError,
    StoreErrorKind, Stored, UnfinishedUpload, Upload,
};
use convault_uploader::MemoryStore;
use futures::{StreamExt as _, stream::BoxStream};

#[derive(Debug)]
pub(crate) struct Counting {
    store: MemoryStore,
    read: Arc<AtomicU64>,
    /// After so many bytes an answer breaks off.
    breaks_after: u64,
}

impl Counting {
    pub(crate) fn new(store: &MemoryStore) -> Self {
        Self { store: store.clone(), read: Arc::default(), breaks_after: u64::MAX }
    }

    pub(crate) fn breaking_after(self, bytes: u64) -> Self {
        Self { breaks_after: bytes, ..self }
    }

    fn broken(&self, key: &str) -> StoreError {
        StoreError {
            kind: StoreErrorKind::Transient,
            destination: self.store.destination().clone(),
            action: "get",
            key: key.to_owned(),
            message: "the transfer broke off".to_owned(),
            source: None,
        }
    }

    pub(crate) fn read_bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Store for Counting {
    fn destination(&self) -> &DestinationName {
        self.store.destination()
    }

    fn location(&self) -> String {
        self.store.location()
    }

    async fn put_with(
        &self,
        key: &str,
        body: Bytes,
        mode: PutMode,
        attributes: &Attributes,
    ) -> Result<Stored, StoreError> {
        self.store.put_with(key, body, mode, attributes).await
    }

    async fn upload_with(
        &self,
        key: &str,
        part_bytes: u64,
        mode: PutMode,
        attributes: &Attributes,
    ) -> Result<Box<dyn Upload>, StoreError> {
        self.store.upload_with(key, part_bytes, mode, attributes).await
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        let read = Arc::clone(&self.read);
        let count = move |chunk: &Result<Bytes, StoreError>| {
            if let Ok(chunk) = chunk {
                read.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
        };
        let (mut left, broken) = (self.breaks_after, self.broken(key));
        let breaking = move |chunk: Result<Bytes, StoreError>| {
            let length = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
            left = left.checked_sub(length)?;
            Some(chunk)
        };
        let stream = self.store.get(key, range).await?.inspect(count);
        if self.breaks_after == u64::MAX {
            return Ok(stream.boxed());
        }
        // What is shorter comes whole.
        let whole = self.store.contents(key).is_some_and(|body| body.len() as u64 <= self.breaks_after);
        if whole {
            return Ok(stream.boxed());
        }
        let cut = stream.map(breaking).take_while(|chunk| std::future::ready(chunk.is_some()));
        Ok(cut.filter_map(std::future::ready).chain(futures::stream::once(async { Err(broken) })).boxed())
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        self.store.head(key).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<ObjectInfo, StoreError>> {
        self.store.list(prefix)
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.store.list_folders(prefix).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.store.delete(key).await
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<UnfinishedUpload>, StoreError> {
        self.store.list_uploads(prefix).await
    }

    async fn abort_upload(&self, upload: &UnfinishedUpload) -> Result<(), StoreError> {
        self.store.abort_upload(upload).await
    }

    async fn abilities(&self) -> Result<Abilities, StoreError> {
        self.store.abilities().await
    }
}
