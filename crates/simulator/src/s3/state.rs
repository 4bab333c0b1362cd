//! What the server holds, and what is asked of every request before anything else.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use convault_core::Clock;
use s3s::{
    S3Error, S3ErrorCode, S3Result,
    dto::{ETag, ETagCondition, Timestamp},
    s3_error,
};
use serde::{Deserialize, Serialize};

use super::{
    bytes_store::{BytesStore, Piece},
    counters::LiveCounters,
    faults::{ActiveFaults, S3FaultKind},
    locks::{Keeping, Retention},
    persist::Records,
    versions::{self, History, Past},
};

/// A header by which an operation tells the server to break the connection instead of answering.
pub(super) const BREAK_CONNECTION: &str = "x-simulator-break-connection";
const DEFAULT_SLOW_MS: u64 = 200;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Object {
    pub(super) pieces: Arc<Vec<Piece>>,
    pub(super) size: u64,
    pub(super) etag: String,
    /// In the form S3 gives it back: base64, with `-count` for an object of parts.
    pub(super) sha256: Option<String>,
    /// Seconds since 1970.
    pub(super) modified: u64,
    pub(super) content_type: Option<String>,
    pub(super) metadata: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) headers: Box<Headers>,
    /// The number of its record on disk.
    pub(super) record: u64,
    /// Its identifier among the versions of its key; empty where none are kept.
    #[serde(default)]
    pub(super) version: String,
    #[serde(default)]
    pub(super) retention: Option<Retention>,
}

/// What is served with an object as it was sent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Headers {
    pub(super) cache_control: Option<String>,
    pub(super) content_disposition: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) content_language: Option<String>,
}

#[derive(Debug)]
pub(super) struct PendingPart {
    pub(super) piece: Piece,
    pub(super) sha256: [u8; 32],
    pub(super) etag: String,
    pub(super) modified: u64,
}

#[derive(Debug)]
pub(super) struct PendingUpload {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) started: u64,
    /// Whether SHA-256 was announced.
    pub(super) sha256: bool,
    pub(super) content_type: Option<String>,
    pub(super) metadata: Option<BTreeMap<String, String>>,
    pub(super) headers: Box<Headers>,
    pub(super) parts: BTreeMap<i32, PendingPart>,
}

pub(super) type Objects = BTreeMap<String, Object>;

#[derive(Debug, Default)]
pub(super) struct Held {
    /// The objects that a plain read finds.
    pub(super) buckets: BTreeMap<String, Objects>,
    /// What is below them, by bucket.
    pub(super) history: BTreeMap<String, History>,
    pub(super) uploads: BTreeMap<String, PendingUpload>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) held: Mutex<Held>,
    pub(super) bytes: Arc<BytesStore>,
    pub(super) records: Records,
    pub(super) faults: ActiveFaults,
    pub(super) counters: Arc<LiveCounters>,
    pub(super) keeping: Keeping,
    pub(super) clock: Arc<dyn Clock>,
}

impl State {
    /// The time in whole seconds, which is all that S3 tells.
    pub(super) fn now(&self) -> u64 {
        let since = SystemTime::from(self.clock.now()).duration_since(SystemTime::UNIX_EPOCH);
        since.map(|since| since.as_secs()).unwrap_or_default()
    }

    /// The same as S3 writes it.
    pub(super) fn timestamp_now(&self) -> Timestamp {
        timestamp(self.now())
    }

    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request and lets it meet the faults that strike any request.
    pub(super) async fn enter(&self, operation: &'static str) -> S3Result<()> {
        self.counters.count(operation);
        if let Some(milliseconds) = self.faults.number(S3FaultKind::Slow, DEFAULT_SLOW_MS) {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        }
        if self.faults.strikes(S3FaultKind::Unavailable) {
            return Err(s3_error!(SlowDown, "please reduce your request rate"));
        }
        Ok(())
    }

    /// The faults that strike what writes.
    pub(super) async fn enter_write(&self, operation: &'static str) -> S3Result<()> {
        self.enter(operation).await?;
        if self.faults.strikes(S3FaultKind::Full) {
            let mut full = S3Error::new(S3ErrorCode::Custom("XMinioStorageFull".into()));
            full.set_message("the storage backend has reached its minimum free drive threshold");
            full.set_status_code(hyper::StatusCode::INSUFFICIENT_STORAGE);
            return Err(full);
        }
        if matches!(operation, "PutObject" | "UploadPart") && self.faults.strikes(S3FaultKind::Stall) {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    /// The faults that strike questions about the bucket.
    pub(super) async fn enter_settings(&self, operation: &'static str) -> S3Result<()> {
        self.enter(operation).await?;
        if self.faults.strikes(S3FaultKind::DenySettings) {
            return Err(s3_error!(AccessDenied, "not allowed to read the settings of the bucket"));
        }
        Ok(())
    }

    pub(super) async fn enter_read(&self, operation: &'static str) -> S3Result<()> {
        self.enter(operation).await?;
        if self.faults.strikes(S3FaultKind::DenyGet) {
            return Err(s3_error!(AccessDenied, "not allowed to read objects"));
        }
        Ok(())
    }

    /// Puts an object in its place, and forgets the one that was there or keeps it as a version.
    /// Gives the identifier of the new version, where there is one.
    pub(super) fn commit(
        &self,
        held: &mut Held,
        bucket: &str,
        key: &str,
        mut object: Object,
    ) -> S3Result<Option<String>> {
        if self.keeping.versions {
            object.version = versions::new_version();
            object.retention = self.keeping.retention(object.modified);
        }
        object.record = self.records.write(bucket, key, &object).map_err(super::bytes_store::internal)?;
        let version = self.keeping.versions.then(|| object.version.clone());
        let objects = held.buckets.entry(bucket.to_owned()).or_default();
        let Some(replaced) = objects.insert(key.to_owned(), object) else { return Ok(version) };
        if self.keeping.versions {
            held.bury(bucket, key, Past::Object(replaced));
        } else {
            self.forget(&replaced);
        }
        Ok(version)
    }

    /// Removes what belongs to an object that is no longer held.
    pub(super) fn forget(&self, object: &Object) {
        self.records.remove(object.record);
        self.bytes.discard(object.pieces.iter());
    }

    /// Checks the condition of a reading.
    pub(super) fn check_read(object: &Object, if_match: Option<&ETagCondition>) -> S3Result<()> {
        match if_match.and_then(ETagCondition::as_etag) {
            Some(etag) if etag.value() != object.etag => {
                Err(s3_error!(PreconditionFailed, "it is not the object of that entity tag"))
            }
            _ => Ok(()),
        }
    }

    /// Checks the conditions of a write against what is there.
    pub(super) fn check_conditions(
        &self,
        held: &Held,
        bucket: &str,
        key: &str,
        if_none_match: Option<&ETagCondition>,
        if_match: Option<&ETagCondition>,
    ) -> S3Result<()> {
        let present = held.buckets.get(bucket).and_then(|objects| objects.get(key));
        let is = |condition: &ETagCondition, object: &Object| {
            condition.as_etag().is_none_or(|etag| etag.value() == object.etag)
        };
        let refused = || s3_error!(PreconditionFailed, "at least one of the conditions did not hold");
        if (if_none_match.is_some() || if_match.is_some())
            && self.faults.strikes(S3FaultKind::RefuseConditions)
        {
            return Err(s3_error!(NotImplemented, "a write cannot be conditional"));
        }
        if let (Some(condition), Some(object)) = (if_none_match, present)
            && is(condition, object)
            && !self.faults.strikes(S3FaultKind::IgnoreIfNoneMatch)
        {
            return Err(refused());
        }
        let Some(condition) = if_match else { return Ok(()) };
        if present.is_some_and(|object| is(condition, object))
            || self.faults.strikes(S3FaultKind::IgnoreIfMatch)
        {
            return Ok(());
        }
        Err(if present.is_some() { refused() } else { s3_error!(NoSuchKey, "there is nothing to match") })
    }
}

pub(super) fn timestamp(seconds: u64) -> Timestamp {
    Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// An entity tag made of a digest. It is not as long as an MD5, so that nobody takes it for one.
pub(super) fn etag_of(digest: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let halves = digest.iter().take(20).flat_map(|byte| [byte >> 4, byte & 15]);
    halves.map(|half| char::from(DIGITS[usize::from(half)])).collect()
}

pub(super) fn etag(value: &str) -> ETag {
    ETag::Strong(value.to_owned())
}

pub(super) fn base64(digest: &[u8]) -> String {
    BASE64_STANDARD.encode(digest)
}

pub(super) fn signed(size: u64) -> Option<i64> {
    i64::try_from(size).ok()
}
