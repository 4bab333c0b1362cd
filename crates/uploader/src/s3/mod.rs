//! [`S3Store`]: a destination that is a bucket, reached through the AWS SDK.

mod checksum;
mod client;
mod confirm;
mod copy;
mod explain;
mod listing;
mod locks;
mod read;
mod repeat;
mod settings;
mod upload;
mod versions;
mod write;

use std::{
    fmt,
    ops::Range,
    sync::{Arc, atomic::AtomicBool},
};

use async_trait::async_trait;
use aws_sdk_s3::Client;
use bytes::Bytes;
use convault_core::{
    Abilities, Attributes, ByteStream, Copied, DestinationName, Fetched, Lock, ObjectInfo, ObjectVersion,
    Origin, PutMode, Sha256, Store, StoreError, Stored, UnfinishedUpload, Upload,
};
use futures::stream::BoxStream;

pub use self::settings::{S3Settings, S3Timeouts};
use self::{
    explain::{Operation, Place},
    upload::S3Upload,
};
use crate::{
    UploaderError,
    failure::Attempt,
    probe::{self, BucketSays},
};

const GET: Operation = Operation { permission: "s3:GetObject" };
const PUT: Operation = Operation { permission: "s3:PutObject" };
const GET_VERSION: Operation = Operation { permission: "s3:GetObjectVersion" };
const DELETE_VERSION: Operation = Operation { permission: "s3:DeleteObjectVersion" };
const LIST_VERSIONS: Operation = Operation { permission: "s3:ListBucketVersions" };
const GET_VERSIONING: Operation = Operation { permission: "s3:GetBucketVersioning" };
const GET_LOCK: Operation = Operation { permission: "s3:GetObjectRetention" };
const SET_LOCK: Operation = Operation { permission: "s3:PutObjectRetention" };
const GET_LOCKING: Operation = Operation { permission: "s3:GetBucketObjectLockConfiguration" };
const DELETE: Operation = Operation { permission: "s3:DeleteObject" };
const LIST: Operation = Operation { permission: "s3:ListBucket" };
const ABORT: Operation = Operation { permission: "s3:AbortMultipartUpload" };
const LIST_UPLOADS: Operation = Operation { permission: "s3:ListBucketMultipartUploads" };

/// A destination in a bucket. Clones share connections.
///
/// Every write carries a SHA-256 that the server checks, and afterwards the server is asked what it holds
/// ([`Stored::checksum_confirmed`]); where the credentials may not ask that, the answer to the write and a listing
/// stand in. Transient failures are repeated a bounded number of times ([`S3Timeouts::tries`]). A conditional
/// write and the completion of an upload are repeated knowing that the answer to an earlier try may be what was
/// lost: what is there then counts as written if it is what was sent.
///
/// Listings come in the order the server gives. Amazon's is that of keys; servers that keep objects as files in
/// folders (`SeaweedFS`) list folder by folder, so that `a/1` comes before `a-b`, and may show a folder for a while
/// after its last object is gone. Within one folder the order is that of keys everywhere. Listings of versions have the
/// same orders, and there `SeaweedFS` 4.48 was seen to lose keys where a page (of a thousand) ends: behind `q/y` it goes
/// on after that name, and never shows `q-z`. So versions are best listed below one folder, whose name ends the prefix
/// in a slash.
///
/// Versions and locks need a bucket that has them: a bucket that never had versioning is an error, since its listing
/// would pass what is there now for what has always been. Times are whole seconds. A lock is kept to the second it ends
/// in; `SeaweedFS` 4.48 refused every deletion and shortening within it that the contract suite tries, and lets an
/// administrator lift one in governance mode by a header, which is never sent here.
///
/// Credentials need no permission to delete, nor to read what they write: `s3:PutObject`, `s3:ListBucket` and
/// `s3:AbortMultipartUpload` are enough to upload with a confirmed checksum.
#[derive(Clone)]
pub struct S3Store(Arc<Bucket>);

struct Bucket {
    client: Client,
    destination: DestinationName,
    place: Place,
    endpoint: Option<String>,
    key_prefix: String,
    /// Equal for buckets that one pair of keys reaches on one server.
    server: String,
    timeouts: S3Timeouts,
    sends_checksums: bool,
    /// Set once the bucket was found to keep versions, or not to say.
    may_keep_versions: AtomicBool,
}

impl S3Store {
    /// The destination in the bucket of `settings`. Reads the file of certificate authorities, and sends nothing:
    /// a missing bucket or a wrong key shows in the first call.
    pub fn new(destination: DestinationName, settings: &S3Settings) -> Result<Self, UploaderError> {
        let endpoint = settings.endpoint(&destination)?;
        let client = client::build(settings, &destination, endpoint.as_deref())?;
        Ok(Self(Arc::new(Bucket {
            client,
            destination,
            place: Place { bucket: settings.bucket.clone(), region: settings.region.clone() },
            endpoint,
            key_prefix: settings.key_prefix(),
            server: server(settings),
            timeouts: settings.timeouts,
            sends_checksums: settings.sends_checksums,
            may_keep_versions: AtomicBool::new(false),
        })))
    }
}

/// Tells servers and pairs of keys apart without telling the keys.
fn server(settings: &S3Settings) -> String {
    let endpoint = settings.endpoint.as_deref().unwrap_or_default();
    let all = format!("{endpoint}\n{}\n{}", settings.region, settings.access_key.expose());
    Sha256::of(all.as_bytes()).to_string()
}

impl Bucket {
    fn attempt(&self, action: &'static str, key: &str) -> Attempt {
        Attempt::new(&self.destination, action, key)
    }

    /// The key in the bucket.
    fn full_key(&self, key: &str) -> String {
        format!("{}{key}", self.key_prefix)
    }

    /// The key below the destination's prefix of what a listing with that prefix gave.
    fn own_key(&self, full_key: &str) -> String {
        full_key.strip_prefix(&self.key_prefix).unwrap_or(full_key).to_owned()
    }
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store")
            .field("destination", &self.0.destination)
            .field("location", &self.location())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for S3Store {
    fn destination(&self) -> &DestinationName {
        &self.0.destination
    }

    fn location(&self) -> String {
        let Place { bucket, region } = &self.0.place;
        let place = match &self.0.endpoint {
            Some(endpoint) => format!("at {endpoint}"),
            None => format!("in {region}"),
        };
        format!("s3://{bucket}/{} {place}", self.0.key_prefix.trim_end_matches('/'))
    }

    async fn put_with(
        &self,
        key: &str,
        body: Bytes,
        mode: PutMode,
        attributes: &Attributes,
    ) -> Result<Stored, StoreError> {
        self.0.put(key, body, &mode, attributes).await
    }

    async fn upload_with(
        &self,
        key: &str,
        part_bytes: u64,
        mode: PutMode,
        attributes: &Attributes,
    ) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(S3Upload::begin(self.0.clone(), key, part_bytes, mode, attributes).await?))
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        self.0.get(key, range).await
    }

    async fn fetch(
        &self,
        key: &str,
        range: Option<Range<u64>>,
        if_match: Option<&str>,
    ) -> Result<Fetched, StoreError> {
        self.0.fetch(key, range, if_match).await
    }

    fn origin(&self) -> Option<Origin> {
        let (server, bucket) = (self.0.server.clone(), self.0.place.bucket.clone());
        Some(Origin { server, bucket, key_prefix: self.0.key_prefix.clone() })
    }

    async fn copy_from(&self, origin: &Origin, from: &ObjectInfo, key: &str) -> Result<Copied, StoreError> {
        self.0.copy_from(origin, from, key).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        self.0.head(key).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<ObjectInfo, StoreError>> {
        listing::objects(self.0.clone(), prefix)
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
        self.0.abort_upload(&upload.key, &upload.upload_id).await
    }

    fn list_versions(&self, prefix: &str) -> BoxStream<'static, Result<ObjectVersion, StoreError>> {
        versions::all(self.0.clone(), prefix)
    }

    async fn get_version(
        &self,
        key: &str,
        version: &str,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, StoreError> {
        self.0.get_version(key, version, range).await
    }

    async fn delete_version(&self, key: &str, version: &str) -> Result<(), StoreError> {
        self.0.delete_version(key, version).await
    }

    async fn lock(&self, key: &str) -> Result<Option<Lock>, StoreError> {
        self.0.lock(key, None, &self.0.attempt("read the lock of", key)).await
    }

    async fn set_lock(&self, key: &str, lock: Lock) -> Result<(), StoreError> {
        self.0.set_lock(key, lock).await
    }

    async fn abilities(&self) -> Result<Abilities, StoreError> {
        let attempt = self.0.attempt("probe", "");
        let versions = self.0.versioning(&attempt).await?;
        let locking = self.0.locking(&attempt).await?;
        probe::abilities(self, BucketSays { versions, locking }).await
    }
}
