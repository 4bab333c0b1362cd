//! [`Store`]: the trait that reaches a destination. Only input and output; every decision is the caller's.

use std::{collections::BTreeMap, fmt, ops::Range};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Sha256, names::DestinationName};

/// What kind of failure a store met, which decides what is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// No object of that key. Not worth a retry.
    NotFound,
    /// Something of that key is there already, and was left as it was.
    AlreadyExists,
    /// The credentials may not do this, or are wrong. Not worth a retry.
    Denied,
    /// What arrived is not what was sent: a checksum or a length differs.
    Corrupt,
    /// No space, or a quota is used up.
    Full,
    /// Nothing answered in time, or the far end is overloaded: worth a retry.
    Transient,
    /// The store does not have this ability (for instance listing unfinished uploads).
    Unsupported,
    /// Anything else: the text says what.
    Other,
}

/// A failure of a store. `Display` names the destination, what was tried, the key, and the remedy where one is known.
#[derive(Debug, thiserror::Error)]
#[error("destination {destination}: cannot {action} `{key}`: {message}")]
pub struct StoreError {
    /// What kind of failure this is.
    pub kind: StoreErrorKind,
    /// Which destination it happened in.
    pub destination: DestinationName,
    /// What was tried, as a verb: `put`, `list`, `finish upload`.
    pub action: &'static str,
    /// The key, or the prefix of a listing.
    pub key: String,
    /// What happened and, where one is known, the remedy. Never a credential.
    pub message: String,
    /// The cause underneath, whose text `message` does not repeat.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// An object as a listing or a head request shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The key, relative to the destination's prefix.
    pub key: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
    /// The store's entity tag, where it has one. Opaque.
    pub etag: Option<String>,
}

/// What a store keeps beside an object's bytes and serves with them. A store that has no place for it drops it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attributes {
    /// `Content-Type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `Content-Encoding`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    /// `Content-Disposition`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    /// `Cache-Control`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// What the owner wrote to it: on S3 the headers `x-amz-meta-…`, names in lower case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// An object being read, with what the same answer said of it: all of one version.
pub struct Fetched {
    /// Its whole size, entity tag and time, also where only a range is read.
    pub info: ObjectInfo,
    /// What is kept beside its bytes.
    pub attributes: Attributes,
    /// Its bytes. A store that can see that the object changed meanwhile ends them with
    /// [`StoreErrorKind::Corrupt`].
    pub stream: ByteStream,
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetched").field("info", &self.info).finish_non_exhaustive()
    }
}

/// Where a store's objects are, for a server that copies between its own buckets ([`Store::copy_from`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Equal where the same server is reached with the same credentials. Opaque; no credential.
    pub server: String,
    /// The bucket.
    pub bucket: String,
    /// What keys in the bucket have before those of the store.
    pub key_prefix: String,
}

/// An object that the server copied by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The object that was copied, as it was then.
    pub info: ObjectInfo,
    /// What is kept beside its bytes, and was copied with them.
    pub attributes: Attributes,
    /// The SHA-256 over all bytes of the copy, where the server gives it.
    pub sha256: Option<Sha256>,
}

/// What a store says of an object it has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Size in bytes, read back from the store after the write.
    pub size_bytes: u64,
    /// Whether the store itself compared a SHA-256 (of the object, or of each part) with what it holds and
    /// gave the same value back when asked afterwards. Where `false`, the caller must read the bytes back.
    pub checksum_confirmed: bool,
    /// The store's entity tag, where it has one. Opaque.
    pub etag: Option<String>,
}

/// How a put treats an object that is there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutMode {
    /// Write it in any case.
    Overwrite,
    /// Write it only where nothing is; otherwise [`StoreErrorKind::AlreadyExists`]. Only as strong as
    /// [`Abilities::put_if_absent`] says.
    IfAbsent,
    /// Write it only over the object with this entity tag; otherwise [`StoreErrorKind::AlreadyExists`].
    IfMatch(String),
}

/// One part of an upload. All parts of one upload have the same size, except the last, which may be smaller.
#[derive(Clone)]
pub struct Part {
    /// From 1, without gaps.
    pub number: u32,
    /// The bytes.
    pub body: Bytes,
    /// The SHA-256 of `body`, made once for all destinations.
    pub sha256: Sha256,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part")
            .field("number", &self.number)
            .field("size_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// An upload under way. Nothing can be read under its key until [`Upload::finish`] has answered.
#[async_trait]
pub trait Upload: Send + Sync {
    /// Sends one part. May be called for several parts at once and in any order; transient failures are retried
    /// inside, and sending the same part again is harmless.
    async fn put_part(&self, part: Part) -> Result<(), StoreError>;

    /// Completes the upload after every part has been sent, makes it durable, and reads size and checksum back.
    /// With [`PutMode::IfAbsent`] (given at [`Store::upload`]) an object that is there already stays.
    async fn finish(&self) -> Result<Stored, StoreError>;

    /// Gives the upload up, so that nothing is billed for its parts. Harmless after `finish` and when repeated.
    async fn abort(&self) -> Result<(), StoreError>;
}

/// An upload that was begun and neither finished nor aborted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedUpload {
    /// The key it would have made.
    pub key: String,
    /// The store's identifier of the upload. Opaque.
    pub upload_id: String,
    /// When it was begun, by the store's clock.
    pub started: Timestamp,
}

/// One version of an object in a bucket that keeps versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectVersion {
    /// The key, relative to the destination's prefix.
    pub key: String,
    /// The store's identifier of the version. Opaque; only good for the same key.
    pub version: String,
    /// Size in bytes; 0 for a deletion.
    pub size_bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
    /// The store's entity tag, where it has one. Opaque.
    pub etag: Option<String>,
    /// Whether this is what a plain read of the key finds.
    pub latest: bool,
    /// Whether this is a deletion (a *delete marker*): it has no content, and what it hides can still be read.
    pub deletion: bool,
}

/// Who may lift a lock before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockMode {
    /// Credentials with a permission of their own for that.
    Governance,
    /// Nobody, not even the owner of the account.
    Compliance,
}

/// A retention date on one version of an object (S3 Object Lock): until then that version cannot be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Who may lift it.
    pub mode: LockMode,
    /// Until when.
    pub until: Timestamp,
}

/// What a bucket puts on every new object by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultLock {
    /// Who may lift it.
    pub mode: LockMode,
    /// For how many days.
    pub days: u32,
}

/// Whether a store has an ability: found out by doing, never assumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ability {
    /// It was tried and did what it should.
    Works,
    /// The store accepted the request and ignored what was asked: the dangerous case.
    Ignored,
    /// The store refused.
    Refused,
}

/// What a store was seen to be able to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abilities {
    /// `If-None-Match: *` on a plain put leaves an existing object alone.
    pub put_if_absent: Ability,
    /// The same when a multipart upload is completed.
    pub finish_if_absent: Ability,
    /// `If-Match` on a plain put.
    pub replace_if_match: Ability,
    /// The store gives a SHA-256 back for what it holds.
    pub checksums: Ability,
    /// Unfinished uploads can be listed.
    pub list_uploads: Ability,
    /// What is overwritten or deleted can still be read as an older version.
    pub versions: Ability,
    /// A version can be locked against deletion for a time. Only what the bucket says of itself: a lock that was
    /// tried out could not be taken off again.
    pub locks: Ability,
    /// What the bucket puts on every new object by itself.
    pub default_lock: Option<DefaultLock>,
}

impl Abilities {
    /// Why this store cannot hold leases; `None` where it can.
    pub fn why_no_leases(&self) -> Option<&'static str> {
        if let Some(_lock) = self.default_lock {
            return Some(
                "its bucket locks every new object by default, and a lease is rewritten every minute",
            );
        }
        match (self.put_if_absent, self.replace_if_match) {
            (Ability::Works, Ability::Works) => None,
            (Ability::Ignored, _) | (_, Ability::Ignored) => {
                Some("it answers conditional writes with success and overwrites all the same")
            }
            _ => Some("it refuses conditional writes"),
        }
    }
}

/// The bytes of an object, or of a range of it, as they arrive.
pub type ByteStream = BoxStream<'static, Result<Bytes, StoreError>>;

/// A place that holds objects. Keys are relative to the destination's prefix, `/`-separated, without a leading
/// slash, and made by [`crate::Layout`].
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// The destination's name in the settings.
    fn destination(&self) -> &DestinationName;

    /// Where it is, for people: `s3://bucket/prefix at https://…` or a path. Never a credential.
    fn location(&self) -> String;

    /// Writes a small object in one request (manifests, marks, proofs); durable when it returns.
    async fn put(&self, key: &str, body: Bytes, mode: PutMode) -> Result<Stored, StoreError> {
        self.put_with(key, body, mode, &Attributes::default()).await
    }

    /// Begins an upload of parts of `part_bytes` each (the last may be smaller).
    async fn upload(&self, key: &str, part_bytes: u64, mode: PutMode) -> Result<Box<dyn Upload>, StoreError> {
        self.upload_with(key, part_bytes, mode, &Attributes::default()).await
    }

    /// Reads an object, or the bytes `range` of it. A range that begins past the end is an error of kind `Other`.
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<ByteStream, StoreError>;

    /// Reads an object, or the bytes `range` of it, together with what is kept beside it; with `if_match` only while
    /// it has that entity tag, and [`StoreErrorKind::AlreadyExists`] where another one has taken its place.
    async fn fetch(
        &self,
        key: &str,
        _range: Option<Range<u64>>,
        _if_match: Option<&str>,
    ) -> Result<Fetched, StoreError> {
        Err(self.unsupported("fetch", key))
    }

    /// [`Store::put`], with what is to be kept beside the bytes. A store without room for it (a folder) leaves it out.
    async fn put_with(
        &self,
        key: &str,
        body: Bytes,
        mode: PutMode,
        attributes: &Attributes,
    ) -> Result<Stored, StoreError>;

    /// [`Store::upload`], with what is to be kept beside the bytes, as for [`Store::put_with`].
    async fn upload_with(
        &self,
        key: &str,
        part_bytes: u64,
        mode: PutMode,
        attributes: &Attributes,
    ) -> Result<Box<dyn Upload>, StoreError>;

    /// Where its objects are, where a server could copy them; `None` where none can.
    fn origin(&self) -> Option<Origin> {
        None
    }

    /// Lets the server copy the object `from` of a store on the same server (equal [`Origin::server`]) to `key`, with
    /// everything that is kept beside it. [`StoreErrorKind::AlreadyExists`] where it is not the one of that entity tag
    /// any more. Bytes do not pass through here.
    async fn copy_from(&self, _origin: &Origin, _from: &ObjectInfo, key: &str) -> Result<Copied, StoreError> {
        Err(self.unsupported("copy to", key))
    }

    /// Size and entity tag of an object.
    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError>;

    /// Every object whose key begins with `prefix`, in ascending key order, a page at a time underneath.
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<ObjectInfo, StoreError>>;

    /// The names directly below `prefix` (which ends in `/` or is empty) that have something below them, ascending,
    /// without slash: folders, found by delimiter and not by listing what is inside.
    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StoreError>;

    /// Deletes an object. Deleting what is not there succeeds.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// Every unfinished upload whose key begins with `prefix`.
    async fn list_uploads(&self, prefix: &str) -> Result<Vec<UnfinishedUpload>, StoreError>;

    /// Aborts an unfinished upload found by [`Store::list_uploads`]. One that is gone already succeeds.
    async fn abort_upload(&self, upload: &UnfinishedUpload) -> Result<(), StoreError>;

    /// Every version of every object whose key begins with `prefix`, in ascending key order, the newest version of a
    /// key first. [`StoreErrorKind::Unsupported`] where the store keeps none.
    fn list_versions(&self, prefix: &str) -> BoxStream<'static, Result<ObjectVersion, StoreError>> {
        let error = self.unsupported("list versions", prefix);
        Box::pin(futures::stream::once(std::future::ready(Err(error))))
    }

    /// Reads one version of an object, or the bytes `range` of it.
    async fn get_version(
        &self,
        key: &str,
        _version: &str,
        _range: Option<Range<u64>>,
    ) -> Result<ByteStream, StoreError> {
        Err(self.unsupported("get a version", key))
    }

    /// Deletes one version of an object for good. One that is locked is an error of kind [`StoreErrorKind::Denied`];
    /// one that is gone already succeeds.
    async fn delete_version(&self, key: &str, _version: &str) -> Result<(), StoreError> {
        Err(self.unsupported("delete a version", key))
    }

    /// The lock on an object's newest version; `None` where there is none.
    async fn lock(&self, key: &str) -> Result<Option<Lock>, StoreError> {
        Err(self.unsupported("read the lock", key))
    }

    /// Locks an object's newest version, or extends its lock. Shortening one is refused by the store.
    async fn set_lock(&self, key: &str, _lock: Lock) -> Result<(), StoreError> {
        Err(self.unsupported("lock", key))
    }

    /// The error of a store that lacks an ability.
    fn unsupported(&self, action: &'static str, key: &str) -> StoreError {
        StoreError {
            kind: StoreErrorKind::Unsupported,
            destination: self.destination().clone(),
            action,
            key: key.to_owned(),
            message: "this kind of destination does not have that".to_owned(),
            source: None,
        }
    }

    /// Tries out what the store can do, with small objects under `probe/`, which it removes again where it may.
    async fn abilities(&self) -> Result<Abilities, StoreError>;
}
