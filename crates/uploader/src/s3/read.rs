//! Reading objects, and their sizes.

use std::{error::Error, ops::Range};

use aws_sdk_s3::{
    primitives::{ByteStream as SdkStream, ByteStreamError, DateTime},
    types::ChecksumMode,
};
use aws_smithy_checksums::body::validate::Error as ChecksumError;
use bytes::Bytes;
use convault_core::{Attributes, ByteStream, Fetched, ObjectInfo, StoreError, StoreErrorKind};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;

use super::{Bucket, GET, GET_VERSION, confirm::length, explain::explain};
use crate::{extent, failure::Attempt};

impl Bucket {
    pub(super) async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        self.read(key, None, range, self.attempt("get", key)).await
    }

    /// Reads an object: its newest version, or the one that is named.
    pub(super) async fn read(
        &self,
        key: &str,
        version: Option<&str>,
        range: Option<Range<u64>>,
        attempt: Attempt,
    ) -> Result<ByteStream, StoreError> {
        let operation = if version.is_some() { GET_VERSION } else { GET };
        if let Some(range) = range.clone().filter(Range::is_empty) {
            // HTTP has no way to ask for no bytes: the size says whether the range is a good one.
            let held = self.held_version(key, version, operation, &attempt).await?;
            extent::within(Some(range), held.size_bytes, &attempt)?;
            return Ok(stream::empty().boxed());
        }
        let request = self.client.get_object().bucket(&self.place.bucket).key(self.full_key(key));
        let request = request.set_version_id(version.map(str::to_owned));
        let request = match &range {
            Some(range) => request.range(header(range)),
            // Asks the SDK to compare the whole object with its checksum as it passes.
            None => request.checksum_mode(ChecksumMode::Enabled),
        };
        let answer = request.send().await.map_err(|error| explain(error, operation, &self.place, &attempt));
        let answer = answer.map_err(|error| out_of_range(error, range.as_ref(), &attempt))?;
        Ok(chunks(answer.body, attempt))
    }

    /// Reads an object with what is kept beside it. No checksum is compared: that of several parts could not be.
    pub(super) async fn fetch(
        &self,
        key: &str,
        range: Option<Range<u64>>,
        if_match: Option<&str>,
    ) -> Result<Fetched, StoreError> {
        let attempt = self.attempt("get", key);
        let request = self.client.get_object().bucket(&self.place.bucket).key(self.full_key(key));
        let request = request.set_range(range.as_ref().map(header)).set_if_match(if_match.map(str::to_owned));
        let answer = request.send().await.map_err(|error| explain(error, GET, &self.place, &attempt));
        let answer = answer.map_err(|error| out_of_range(error, range.as_ref(), &attempt))?;
        let etag = answer.e_tag().map(str::to_owned);
        if if_match.is_some() && etag.as_deref() != if_match {
            // A server that ignores the condition.
            return Err(attempt.failed(StoreErrorKind::AlreadyExists, "another object has taken its place"));
        }
        let info = ObjectInfo {
            key: key.to_owned(),
            size_bytes: whole_length(answer.content_range(), answer.content_length()),
            modified: timestamp(answer.last_modified()),
            etag,
        };
        let beside = |value: Option<&str>| value.map(str::to_owned);
        let attributes = Attributes {
            content_type: beside(answer.content_type()),
            content_encoding: beside(answer.content_encoding()),
            content_language: beside(answer.content_language()),
            content_disposition: beside(answer.content_disposition()),
            cache_control: beside(answer.cache_control()),
            metadata: answer.metadata().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
        };
        Ok(Fetched { info, attributes, stream: chunks(answer.body, attempt) })
    }

    pub(super) async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        let attempt = self.attempt("read the size of", key);
        let request = self.client.head_object().bucket(&self.place.bucket).key(self.full_key(key));
        let head = request.send().await.map_err(|error| explain(error, GET, &self.place, &attempt))?;
        Ok(ObjectInfo {
            key: key.to_owned(),
            size_bytes: length(head.content_length()),
            modified: timestamp(head.last_modified()),
            etag: head.e_tag().map(str::to_owned),
        })
    }
}

/// The length of the whole object: behind the slash of `bytes 0-9/100` where a range was asked for.
fn whole_length(content_range: Option<&str>, content_length: Option<i64>) -> u64 {
    let of_range = content_range.and_then(|range| range.rsplit_once('/')?.1.parse().ok());
    of_range.unwrap_or_else(|| length(content_length))
}

fn header(range: &Range<u64>) -> String {
    // Servers keep positions in signed numbers: a bound past those means the end.
    match i64::try_from(range.end) {
        Ok(end) => format!("bytes={}-{}", range.start, end - 1),
        Err(_) => format!("bytes={}-", range.start),
    }
}

fn out_of_range(error: StoreError, range: Option<&Range<u64>>, attempt: &Attempt) -> StoreError {
    match range {
        Some(range) if error.message.contains("past the end") => extent::past_the_end(range, None, attempt),
        _ => error,
    }
}

fn chunks(body: SdkStream, attempt: Attempt) -> ByteStream {
    let next = |(mut body, attempt): (SdkStream, Attempt)| async move {
        match body.try_next().await {
            Ok(None) => Ok(None),
            Ok(Some(chunk)) => Ok::<Option<(Bytes, _)>, _>(Some((chunk, (body, attempt)))),
            Err(error) => Err(broken_off(error, &attempt)),
        }
    };
    stream::try_unfold((body, attempt), next).boxed()
}

fn broken_off(error: ByteStreamError, attempt: &Attempt) -> StoreError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(inner) = cause {
        if inner.is::<ChecksumError>() {
            let message = "what arrived does not have the checksum in the store";
            return attempt.failed_by(StoreErrorKind::Corrupt, message, error);
        }
        cause = inner.source();
    }
    attempt.failed_by(StoreErrorKind::Transient, "the transfer broke off", error)
}

/// A time as S3 gives it; the epoch where a server leaves it out.
pub(super) fn timestamp(time: Option<&DateTime>) -> Timestamp {
    let nanoseconds = |time: &DateTime| i32::try_from(time.subsec_nanos()).unwrap_or_default();
    time.and_then(|time| Timestamp::new(time.secs(), nanoseconds(time)).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}
