//! Versions of objects: listing them, reading one, deleting one for good.

use std::{
    cmp::Reverse,
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use aws_sdk_s3::{
    operation::list_object_versions::ListObjectVersionsOutput,
    types::{BucketVersioningStatus, DeleteMarkerEntry, ObjectVersion as ListedVersion},
};
use convault_core::{
    Ability, ByteStream, Clock as _, Lock, ObjectVersion, StoreError, StoreErrorKind, SystemClock,
};
use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};

use super::{
    Bucket, DELETE_VERSION, GET_VERSIONING, LIST_VERSIONS, confirm::length, explain::explain, locks,
    read::timestamp,
};
use crate::{failure::Attempt, locked};

/// Where a listing goes on: behind this version of this key.
#[derive(Debug, Default)]
struct Marker {
    key: Option<String>,
    version: Option<String>,
}

/// A listing under way.
struct Listing {
    bucket: Arc<Bucket>,
    attempt: Attempt,
    full_prefix: String,
    /// None when the last page was read.
    next: Option<Marker>,
    /// Versions of the key that the last page ended in: the next page may have more of them.
    held_back: Vec<ObjectVersion>,
}

pub(super) fn all(
    bucket: Arc<Bucket>,
    prefix: &str,
) -> BoxStream<'static, Result<ObjectVersion, StoreError>> {
    let listing = Listing {
        attempt: bucket.attempt("list versions of", prefix),
        full_prefix: bucket.full_key(prefix),
        bucket,
        next: Some(Marker::default()),
        held_back: Vec::new(),
    };
    let begin = async move {
        let refused = listing.bucket.why_no_versions(&listing.attempt).await?;
        refused.map_or(Ok(listing), Err)
    };
    let pages = stream::once(begin).map_ok(|listing| stream::try_unfold(listing, Listing::page));
    pages.try_flatten().try_flatten().boxed()
}

type Page = stream::Iter<std::vec::IntoIter<Result<ObjectVersion, StoreError>>>;

impl Listing {
    /// The next page, with what was held back of the one before. Versions and deletions come in two lists, which
    /// are put in one order here: the newest of a key first.
    async fn page(mut self) -> Result<Option<(Page, Self)>, StoreError> {
        let Some(marker) = self.next.take() else { return Ok(None) };
        let answer = self.bucket.versions_page(&self.full_prefix, marker, &self.attempt).await?;
        let mut found = std::mem::take(&mut self.held_back);
        found.extend(answer.versions().iter().filter_map(|listed| self.bucket.version(listed)));
        found.extend(answer.delete_markers().iter().filter_map(|listed| self.bucket.deletion(listed)));
        found.sort_by(|a, b| newest_first(a).cmp(&newest_first(b)));
        if answer.is_truncated().unwrap_or(false) {
            let key = answer.next_key_marker.ok_or_else(|| {
                let message = "the server cut the listing and did not say where it goes on";
                self.attempt.failed(StoreErrorKind::Other, message)
            })?;
            let own_key = self.bucket.own_key(&key);
            (self.held_back, found) = found.into_iter().partition(|version| version.key == own_key);
            self.next = Some(Marker { key: Some(key), version: answer.next_version_id_marker });
        }
        let found: Vec<_> = found.into_iter().map(Ok).collect();
        Ok(Some((stream::iter(found), self)))
    }
}

/// The order of a listing. Where a version and a deletion have the same time, which S3 tells in seconds, and neither
/// is the latest, the version counts as the newer one, so that a reader of the past sees too much rather than nothing.
fn newest_first(version: &ObjectVersion) -> (&str, bool, Reverse<jiff::Timestamp>, bool) {
    (&version.key, !version.latest, Reverse(version.modified), version.deletion)
}

impl Bucket {
    /// Whether the bucket keeps versions, as it says itself: `None` where it may not be asked.
    pub(super) async fn versioning(&self, attempt: &Attempt) -> Result<Option<Ability>, StoreError> {
        let status = match self.versioning_status(attempt).await {
            Ok(status) => status,
            Err(error) => return if locks::is_passing(&error) { Err(error) } else { Ok(None) },
        };
        let enabled = status == Some(BucketVersioningStatus::Enabled);
        Ok(Some(if enabled { Ability::Works } else { Ability::Refused }))
    }

    async fn versioning_status(
        &self,
        attempt: &Attempt,
    ) -> Result<Option<BucketVersioningStatus>, StoreError> {
        let request = self.client.get_bucket_versioning().bucket(&self.place.bucket);
        let answer = request.send().await;
        let answer = answer.map_err(|error| explain(error, GET_VERSIONING, &self.place, attempt))?;
        Ok(answer.status)
    }

    /// The error for a bucket that never kept versions: its listing would show what is there now as if it had always
    /// been. One where versioning was on and is suspended still has those of that time. Asked until it is known once.
    async fn why_no_versions(&self, attempt: &Attempt) -> Result<Option<StoreError>, StoreError> {
        if self.may_keep_versions.load(Ordering::Relaxed) {
            return Ok(None);
        }
        match self.versioning_status(attempt).await {
            Ok(None) => {
                let message = format!(
                    "bucket `{}` keeps no versions: turn versioning on, which saves what is overwritten or deleted \
                     from then on",
                    self.place.bucket
                );
                Ok(Some(attempt.failed(StoreErrorKind::Unsupported, message)))
            }
            Err(error) if locks::is_passing(&error) => Err(error),
            // Who may not ask, or asks a server that cannot tell, sees in the listing itself.
            Ok(Some(_)) | Err(_) => {
                self.may_keep_versions.store(true, Ordering::Relaxed);
                Ok(None)
            }
        }
    }

    async fn versions_page(
        &self,
        full_prefix: &str,
        marker: Marker,
        attempt: &Attempt,
    ) -> Result<ListObjectVersionsOutput, StoreError> {
        let request = self.client.list_object_versions().bucket(&self.place.bucket).prefix(full_prefix);
        let request = request.set_key_marker(marker.key).set_version_id_marker(marker.version);
        let answer = request.send().await;
        answer.map_err(|error| explain(error, LIST_VERSIONS, &self.place, attempt))
    }

    fn version(&self, listed: &ListedVersion) -> Option<ObjectVersion> {
        Some(ObjectVersion {
            key: self.own_key(listed.key()?),
            version: listed.version_id()?.to_owned(),
            size_bytes: length(listed.size()),
            modified: timestamp(listed.last_modified()),
            etag: listed.e_tag().map(str::to_owned),
            latest: listed.is_latest().unwrap_or(false),
            deletion: false,
        })
    }

    fn deletion(&self, listed: &DeleteMarkerEntry) -> Option<ObjectVersion> {
        Some(ObjectVersion {
            key: self.own_key(listed.key()?),
            version: listed.version_id()?.to_owned(),
            size_bytes: 0,
            modified: timestamp(listed.last_modified()),
            etag: None,
            latest: listed.is_latest().unwrap_or(false),
            deletion: true,
        })
    }

    pub(super) async fn get_version(
        &self,
        key: &str,
        version: &str,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, StoreError> {
        let attempt = self.attempt("get a version of", key);
        let read = self.read(key, Some(version), range, attempt.clone()).await;
        read.map_err(|error| match &error.source {
            // The answer for a deletion; `SeaweedFS` 4.48 says 404.
            Some(answer) if answer.to_string().contains("answered 405") => {
                attempt.failed(StoreErrorKind::NotFound, "this version is a deletion and has no content")
            }
            _ => error,
        })
    }

    pub(super) async fn delete_version(&self, key: &str, version: &str) -> Result<(), StoreError> {
        let attempt = self.attempt("delete a version of", key);
        let request = self.client.delete_object().bucket(&self.place.bucket).key(self.full_key(key));
        let answer = request.version_id(version).send().await;
        match answer.map_err(|error| explain(error, DELETE_VERSION, &self.place, &attempt)) {
            Ok(_) => Ok(()),
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(()),
            Err(error) if matches!(error.kind, StoreErrorKind::Denied | StoreErrorKind::Other) => {
                let lock = self.lock(key, Some(version), &attempt).await;
                Err(why_not_deleted(error, lock.unwrap_or(None), &attempt))
            }
            Err(error) => Err(error),
        }
    }
}

/// The error for a version that could not be deleted, which is either locked or not the credentials' to delete.
/// The answer seldom tells: `SeaweedFS` 4.48 says 403 `AccessDenied` to both.
fn why_not_deleted(error: StoreError, lock: Option<Lock>, attempt: &Attempt) -> StoreError {
    let says_so = error.source.as_ref().is_some_and(|answer| {
        let answer = answer.to_string().to_lowercase();
        ["lock", "retention", "legal hold", "worm"].iter().any(|word| answer.contains(word))
    });
    match lock.filter(|lock| lock.until > SystemClock.now()) {
        Some(lock) => attempt.failed(StoreErrorKind::Denied, locked::until(lock)),
        None if says_so => attempt
            .failed(StoreErrorKind::Denied, "this version is locked, and the server does not say until when"),
        None => error,
    }
}
