//! [`AsOf`]: a bucket as it was at a time, read through the versions it keeps.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use convault_core::{
    Abilities, Attributes, ByteStream, DestinationName, ObjectInfo, ObjectVersion, PutMode, Store,
    StoreError, StoreErrorKind, Stored, UnfinishedUpload, Upload,
};
use futures::{StreamExt as _, TryStreamExt as _, future::ready, stream::BoxStream};
use jiff::Timestamp;

/// A destination as it was at a time: of each key the newest version written no later than then, unless that is a
/// deletion. Whatever was deleted or overwritten since, by a thief or by retention, can be read again as long as the
/// bucket keeps its version. Every write is refused.
///
/// The times are the store's, which S3 tells in whole seconds. An object that was uploaded in parts counts from the
/// beginning of its upload where the store dates it so, as Amazon documents; a snapshot is still only there from its
/// manifest, which is put at once.
///
/// A listing reads the versions of everything below its prefix, a page at a time, and holds no more than a page.
#[derive(Debug, Clone)]
pub struct AsOf {
    inner: Arc<dyn Store>,
    time: Timestamp,
}

impl AsOf {
    /// The destination `inner` as it was at `time`.
    pub fn new(inner: Arc<dyn Store>, time: Timestamp) -> Self {
        Self { inner, time }
    }

    /// The version of `key` that was there then.
    async fn find(&self, action: &'static str, key: &str) -> Result<ObjectVersion, StoreError> {
        let mut versions = self.inner.list_versions(key);
        let mut passed = false;
        while let Some(version) = versions.next().await {
            let version = version.map_err(|error| self.explain(error))?;
            if version.key != key {
                // Keys that only begin alike, behind all versions of this one.
                if passed {
                    break;
                }
                continue;
            }
            passed = true;
            if version.modified <= self.time {
                if version.deletion {
                    break;
                }
                return Ok(version);
            }
        }
        Err(self.error(
            StoreErrorKind::NotFound,
            action,
            key,
            format!("there was no such object at {}", self.time),
        ))
    }

    /// Every version that was what a read found then.
    fn then(&self, prefix: &str) -> BoxStream<'static, Result<ObjectVersion, StoreError>> {
        let (this, time) = (self.clone(), self.time);
        let mut decided: Option<String> = None;
        let versions = self.inner.list_versions(prefix).map_err(move |error| this.explain(error));
        let then = versions.try_filter(move |version| {
            let first = version.modified <= time && decided.as_ref() != Some(&version.key);
            if first {
                decided = Some(version.key.clone());
            }
            ready(first && !version.deletion)
        });
        then.boxed()
    }

    /// A store that keeps no versions cannot show the past, which its own words may not say.
    fn explain(&self, error: StoreError) -> StoreError {
        if error.kind != StoreErrorKind::Unsupported {
            return error;
        }
        let message = format!(
            "it cannot be read as of {}, because it keeps no versions: turn versioning on in its bucket, which keeps \
             what is overwritten or deleted from then on",
            self.time
        );
        StoreError { message, source: None, ..error }
    }

    fn error(&self, kind: StoreErrorKind, action: &'static str, key: &str, message: String) -> StoreError {
        let destination = self.destination().clone();
        StoreError { kind, destination, action, key: key.to_owned(), message, source: None }
    }

    fn read_only(&self, action: &'static str, key: &str) -> StoreError {
        let message =
            format!("it is shown as it was at {}, and the past is only read: leave that time out", self.time);
        self.error(StoreErrorKind::Denied, action, key, message)
    }
}

#[async_trait]
impl Store for AsOf {
    fn destination(&self) -> &DestinationName {
        self.inner.destination()
    }

    fn location(&self) -> String {
        format!("{} as of {}", self.inner.location(), self.time)
    }

    async fn put_with(
        &self,
        key: &str,
        _body: Bytes,
        _mode: PutMode,
        _attributes: &Attributes,
    ) -> Result<Stored, StoreError> {
        Err(self.read_only("put", key))
    }

    async fn upload_with(
        &self,
        key: &str,
        _part_bytes: u64,
        _mode: PutMode,
        _attributes: &Attributes,
    ) -> Result<Box<dyn Upload>, StoreError> {
        Err(self.read_only("begin the upload of", key))
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        let version = self.find("get", key).await?;
        self.inner.get_version(key, &version.version, range).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        self.find("read the size of", key).await.map(info)
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<ObjectInfo, StoreError>> {
        self.then(prefix).map_ok(info).boxed()
    }

    /// Reads the versions of everything below `prefix`: versions cannot be listed by folder.
    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let mut folders: Vec<String> = Vec::new();
        let mut versions = self.then(prefix);
        while let Some(version) = versions.try_next().await? {
            let folder = version.key.get(prefix.len()..).and_then(|rest| rest.split_once('/'));
            let folder = folder.map(|(folder, _)| folder);
            if let Some(folder) = folder.filter(|folder| folders.last().is_none_or(|last| last != folder)) {
                folders.push(folder.to_owned());
            }
        }
        folders.sort_unstable();
        folders.dedup();
        Ok(folders)
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        Err(self.read_only("delete", key))
    }

    /// None: what was unfinished then is not known.
    async fn list_uploads(&self, _prefix: &str) -> Result<Vec<UnfinishedUpload>, StoreError> {
        Ok(Vec::new())
    }

    async fn abort_upload(&self, upload: &UnfinishedUpload) -> Result<(), StoreError> {
        Err(self.read_only("abort the upload of", &upload.key))
    }

    fn list_versions(&self, prefix: &str) -> BoxStream<'static, Result<ObjectVersion, StoreError>> {
        let time = self.time;
        let this = self.clone();
        let versions = self.inner.list_versions(prefix).map_err(move |error| this.explain(error));
        versions.try_filter(move |version| ready(version.modified <= time)).boxed()
    }

    async fn get_version(
        &self,
        key: &str,
        version: &str,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, StoreError> {
        self.inner.get_version(key, version, range).await
    }

    async fn delete_version(&self, key: &str, _version: &str) -> Result<(), StoreError> {
        Err(self.read_only("delete a version of", key))
    }

    async fn set_lock(&self, key: &str, _lock: convault_core::Lock) -> Result<(), StoreError> {
        Err(self.read_only("lock", key))
    }

    async fn abilities(&self) -> Result<Abilities, StoreError> {
        Err(self.read_only("probe", ""))
    }
}

fn info(version: ObjectVersion) -> ObjectInfo {
    ObjectInfo {
        key: version.key,
        size_bytes: version.size_bytes,
        modified: version.modified,
        etag: version.etag,
    }
}
