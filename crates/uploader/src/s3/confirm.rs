//! Asking the store what it holds, after it has taken something.

use aws_sdk_s3::types::{ChecksumMode, ChecksumType};
use convault_core::{Attributes, StoreError, StoreErrorKind, Stored};

use super::{
    Bucket, GET, LIST,
    explain::{Operation, explain},
};
use crate::failure::Attempt;

/// What was sent, to compare with.
#[derive(Debug)]
pub(super) struct Sent<'a> {
    pub(super) key: &'a str,
    pub(super) size_bytes: u64,
    /// In the form S3 gives back; none where no checksum was sent.
    pub(super) checksum: Option<String>,
    /// What goes beside the bytes, where they are put in one request.
    pub(super) attributes: Option<&'a Attributes>,
}

/// What the answer to a write said; nothing, where the answer was lost.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) etag: Option<String>,
    pub(super) checksum: Option<String>,
}

/// What a store says it holds.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) size_bytes: u64,
    pub(super) etag: Option<String>,
    checksum: Option<String>,
}

impl Held {
    /// Whether it is what was sent: `None` where the store gives no checksum to tell.
    pub(super) fn is(&self, sent: &Sent<'_>) -> Option<bool> {
        if self.size_bytes != sent.size_bytes {
            return Some(false);
        }
        Some(same(sent.checksum.as_deref()?, self.checksum.as_deref()?))
    }
}

/// Some servers leave out the number of parts that a composite ends in.
fn same(sent: &str, held: &str) -> bool {
    held == sent || sent.split_once('-').is_some_and(|(digest, _)| held == digest)
}

impl Bucket {
    /// Size, entity tag and checksum of what is stored.
    pub(super) async fn held(&self, key: &str, attempt: &Attempt) -> Result<Held, StoreError> {
        self.held_version(key, None, GET, attempt).await
    }

    /// The same of a version that is named.
    pub(super) async fn held_version(
        &self,
        key: &str,
        version: Option<&str>,
        operation: Operation,
        attempt: &Attempt,
    ) -> Result<Held, StoreError> {
        let request = self.client.head_object().bucket(&self.place.bucket).key(self.full_key(key));
        let request = request.set_version_id(version.map(str::to_owned));
        let answer = request.checksum_mode(ChecksumMode::Enabled).send().await;
        let head = answer.map_err(|error| explain(error, operation, &self.place, attempt))?;
        // Over all bytes, where the parts' digests were sent: of no use for comparing, and no sign of damage.
        let over_all_bytes = head.checksum_type() == Some(&ChecksumType::FullObject);
        let comparable = |checksum: &&str| over_all_bytes != checksum.contains('-');
        let checksum = head.checksum_sha256().filter(|it| head.checksum_type().is_none() || comparable(it));
        Ok(Held {
            size_bytes: length(head.content_length()),
            etag: head.e_tag().map(str::to_owned),
            checksum: checksum.map(str::to_owned),
        })
    }

    /// Reads back what was written. Credentials that may write and list, but not read, are told by the listing.
    pub(super) async fn confirm(
        &self,
        sent: &Sent<'_>,
        written: Written,
        attempt: &Attempt,
    ) -> Result<Stored, StoreError> {
        let held = self.held_or_listed(sent.key, &written, attempt).await?;
        if written.etag.is_some() && held.etag.is_some() && written.etag != held.etag {
            // Somebody has replaced it since. It was written; what is there now is not ours to judge.
            return Ok(Stored { size_bytes: sent.size_bytes, checksum_confirmed: false, etag: written.etag });
        }
        if held.is(sent) == Some(false) {
            let message = if held.size_bytes == sent.size_bytes {
                "its checksum in the store is not that of what was sent".to_owned()
            } else {
                format!("it has {} bytes in the store, and {} were sent", held.size_bytes, sent.size_bytes)
            };
            return Err(attempt.failed(StoreErrorKind::Corrupt, message));
        }
        let checksum_confirmed = held.is(sent) == Some(true);
        Ok(Stored { size_bytes: held.size_bytes, checksum_confirmed, etag: held.etag })
    }

    /// What is stored, as the store says it when asked, or where the credentials may not ask, as a listing and the
    /// answer to the write together say it.
    pub(super) async fn held_or_listed(
        &self,
        key: &str,
        written: &Written,
        attempt: &Attempt,
    ) -> Result<Held, StoreError> {
        match self.held(key, attempt).await {
            Err(error) if error.kind == StoreErrorKind::Denied => self.listed(key, written, attempt).await,
            held => held,
        }
    }

    /// What a listing says of one object, with the checksum that the answer to its write gave.
    async fn listed(&self, key: &str, written: &Written, attempt: &Attempt) -> Result<Held, StoreError> {
        let full_key = self.full_key(key);
        let request = self.client.list_objects_v2().bucket(&self.place.bucket).prefix(&full_key).max_keys(1);
        let answer = request.send().await.map_err(|error| explain(error, LIST, &self.place, attempt))?;
        let object = answer.contents().iter().find(|object| object.key() == Some(&full_key));
        let object = object.ok_or_else(|| {
            attempt.failed(StoreErrorKind::NotFound, "it was written, and no listing shows it")
        })?;
        Ok(Held {
            size_bytes: length(object.size()),
            etag: object.e_tag().map(str::to_owned),
            checksum: written.checksum.clone(),
        })
    }
}

/// A length as S3 gives it; servers leave it out where it is 0.
pub(super) fn length(of: Option<i64>) -> u64 {
    of.and_then(|length| u64::try_from(length).ok()).unwrap_or(0)
}
