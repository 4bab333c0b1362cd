//! A destination in memory that gives the buffers of an upload back, as one does that sends them away.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use convault_core::{
    Abilities, ByteStream, DestinationName, ObjectInfo, Part, PutMode, Store, StoreError, Stored,
    UnfinishedUpload, Upload,
};
use convault_uploader::MemoryStore;
use futures::stream::BoxStream;

/// [`MemoryStore`], but what it keeps are copies: the buffers themselves are the memory budget of uploads.
#[derive(Debug, Clone)]
pub(crate) struct Lending(pub(crate) MemoryStore);

struct LendingUpload(Box<dyn Upload>);

#[async_trait]
impl Upload for LendingUpload {
    async fn put_part(&self, part: Part) -> Result<(), StoreError> {
        self.0.put_part(Part { body: Bytes::copy_from_slice(&part.body), ..part }).await
    }

    async fn finish(&self) -> Result<Stored, StoreError> {
        self.0.finish().await
    }

    async fn abort(&self) -> Result<(), StoreError> {
        self.0.abort().await
    }
}

#[async_trait]
impl Store for Lending {
    fn destination(&self) -> &DestinationName {
        self.0.destination()
    }

    fn location(&self) -> String {
        self.0.location()
    }

    async fn put(&self, key: &str, body: Bytes, mode: PutMode) -> Result<Stored, StoreError> {
        self.0.put(key, Bytes::copy_from_slice(&body), mode).await
    }

    async fn upload(&self, key: &str, part_bytes: u64, mode: PutMode) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(LendingUpload(self.0.upload(key, part_bytes, mode).await?)))
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        self.0.get(key, range).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        self.0.head(key).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<ObjectInfo, StoreError>> {
        self.0.list(prefix)
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.0.list_folders(prefix).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.0.delete(key).await
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<UnfinishedUpload>, StoreError> {
        self.0.list_uploads(prefix).await
    }

    async fn abort_upload(&self, upload: &UnfinishedUpload) -> Result<(), StoreError> {
        self.0.abort_upload(upload).await
    }

    async fn abilities(&self) -> Result<Abilities, StoreError> {
        self.0.abilities().await
    }
}
