//! A multipart upload: every part with its SHA-256, and all of them again when it is completed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use aws_sdk_s3::{
    config::retry::RetryConfig,
    primitives::ByteStream,
    types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart},
};
use bytes::Bytes;
use convault_core::{Attributes, Part, PutMode, Sha256, StoreError, StoreErrorKind, Stored, Upload};

use super::{
    Bucket, PUT,
    checksum::{self, SentPart, SentParts},
    client,
    confirm::{Sent, Written},
    explain::explain,
    repeat::{self, Next},
    write::{metadata, no_object_to_match},
};
use crate::{extent, failure::Attempt};

pub(super) struct S3Upload {
    bucket: Arc<Bucket>,
    key: String,
    part_bytes: u64,
    mode: PutMode,
    upload_id: String,
    sent: Mutex<SentParts>,
}

impl S3Upload {
    /// Announces SHA-256 at once: servers that are told of a checksum only at the end refuse it.
    pub(super) async fn begin(
        bucket: Arc<Bucket>,
        key: &str,
        part_bytes: u64,
        mode: PutMode,
        attributes: &Attributes,
    ) -> Result<Self, StoreError> {
        let attempt = bucket.attempt("begin the upload of", key);
        let algorithm = bucket.sends_checksums.then_some(ChecksumAlgorithm::Sha256);
        let upload_id = bucket.begin_multipart(key, algorithm, attributes, &attempt).await?;
        Ok(Self { bucket, key: key.to_owned(), part_bytes, mode, upload_id, sent: Mutex::default() })
    }

    fn sent(&self) -> MutexGuard<'_, SentParts> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn complete(
        &self,
        parts: CompletedMultipartUpload,
        attempt: &Attempt,
    ) -> Result<Written, StoreError> {
        let bucket = &self.bucket;
        let mut request = bucket
            .client
            .complete_multipart_upload()
            .bucket(&bucket.place.bucket)
            .key(bucket.full_key(&self.key))
            .upload_id(&self.upload_id)
            .multipart_upload(parts);
        match &self.mode {
            PutMode::Overwrite => {}
            PutMode::IfAbsent => request = request.if_none_match("*"),
            PutMode::IfMatch(etag) => request = request.if_match(etag),
        }
        let limits = client::completing(bucket.timeouts).retry_config(RetryConfig::disabled());
        let answer = request.customize().config_override(limits).send().await;
        let answer = answer.map_err(|error| explain(error, PUT, &bucket.place, attempt))?;
        Ok(Written { etag: answer.e_tag, checksum: answer.checksum_sha256 })
    }

    /// Completes the upload, and again while that fails for the moment. A try whose answer was lost ends the
    /// upload, so that the next one does not find it: then the object that is there is ours if it is as large
    /// and has the checksum of what was sent.
    async fn complete_until_known(
        &self,
        parts: &CompletedMultipartUpload,
        sent: &Sent<'_>,
        attempt: &Attempt,
    ) -> Result<Written, StoreError> {
        let timeouts = self.bucket.timeouts;
        for tried in 1.. {
            let outcome = self.complete(parts.clone(), attempt).await;
            let in_the_way: &[_] = match tried {
                1 => &[StoreErrorKind::NotFound],
                _ => &[StoreErrorKind::NotFound, StoreErrorKind::AlreadyExists],
            };
            match repeat::next(outcome, tried, timeouts, in_the_way) {
                Next::Done(outcome) => return outcome,
                Next::Again => repeat::back_off(timeouts, tried).await,
                Next::Look(error) => {
                    // Without a checksum the size must do: the caller then reads the bytes back.
                    let held = self.bucket.held_or_listed(&self.key, &Written::default(), attempt).await;
                    let ours = held.is_ok_and(|held| {
                        held.is(sent).unwrap_or(error.kind != StoreErrorKind::AlreadyExists)
                    });
                    let error = no_object_to_match(error, &self.mode, attempt);
                    return if ours { Ok(Written::default()) } else { Err(error) };
                }
            }
        }
        unreachable!("the last try ends the loop")
    }

    /// The parts as the completion names them.
    fn completed(&self, parts: &SentParts) -> CompletedMultipartUpload {
        let sends_checksums = self.bucket.sends_checksums;
        let completed = parts.iter().map(|(number, part)| {
            CompletedPart::builder()
                .part_number(part_number(*number))
                .set_e_tag(part.etag.clone())
                .set_checksum_sha256(sends_checksums.then(|| checksum::encode(&part.sha256)))
                .build()
        });
        CompletedMultipartUpload::builder().set_parts(Some(completed.collect())).build()
    }
}

impl Bucket {
    /// Begins a multipart upload and gives its identifier.
    pub(super) async fn begin_multipart(
        &self,
        key: &str,
        algorithm: Option<ChecksumAlgorithm>,
        attributes: &Attributes,
        attempt: &Attempt,
    ) -> Result<String, StoreError> {
        let request = self
            .client
            .create_multipart_upload()
            .bucket(&self.place.bucket)
            .key(self.full_key(key))
            .set_checksum_algorithm(algorithm)
            .set_content_type(attributes.content_type.clone())
            .set_content_encoding(attributes.content_encoding.clone())
            .set_content_language(attributes.content_language.clone())
            .set_content_disposition(attributes.content_disposition.clone())
            .set_cache_control(attributes.cache_control.clone())
            .set_metadata(metadata(attributes));
        let answer = request.send().await.map_err(|error| explain(error, PUT, &self.place, attempt))?;
        answer.upload_id.ok_or_else(|| {
            attempt.failed(StoreErrorKind::Other, "the server began the upload and did not name it")
        })
    }
}

#[async_trait]
impl Upload for S3Upload {
    async fn put_part(&self, part: Part) -> Result<(), StoreError> {
        let attempt = self.bucket.attempt("upload a part of", &self.key);
        let bucket = &self.bucket;
        let size_bytes = part.body.len() as u64;
        let request = bucket
            .client
            .upload_part()
            .bucket(&bucket.place.bucket)
            .key(bucket.full_key(&self.key))
            .upload_id(&self.upload_id)
            .part_number(part_number(part.number))
            .set_checksum_sha256(bucket.sends_checksums.then(|| checksum::encode(&part.sha256)))
            .body(ByteStream::from(part.body));
        let limits = client::patient(bucket.timeouts, size_bytes);
        let answer = request.customize().config_override(limits).send().await;
        let answer = answer.map_err(|error| explain(error, PUT, &bucket.place, &attempt))?;
        let sent = SentPart { size_bytes, sha256: part.sha256, etag: answer.e_tag };
        self.sent().insert(part.number, sent);
        Ok(())
    }

    async fn finish(&self) -> Result<Stored, StoreError> {
        let attempt = self.bucket.attempt("finish the upload of", &self.key);
        if self.sent().is_empty() {
            // An upload cannot be completed without a part; one without bytes makes an empty object.
            let body = Bytes::new();
            self.put_part(Part { number: 1, sha256: Sha256::of(&body), body }).await?;
        }
        let parts = self.sent().clone();
        let sizes = parts.iter().map(|(number, part)| (*number, part.size_bytes)).collect();
        let size_bytes = extent::whole(&sizes, self.part_bytes, &attempt)?;
        let digests = parts.values().map(|part| &part.sha256);
        let checksum = self.bucket.sends_checksums.then(|| checksum::composite(digests));
        let sent = Sent { key: &self.key, size_bytes, checksum, attributes: None };
        let written = self.complete_until_known(&self.completed(&parts), &sent, &attempt).await?;
        self.bucket.confirm(&sent, written, &attempt).await
    }

    async fn abort(&self) -> Result<(), StoreError> {
        self.bucket.abort_upload(&self.key, &self.upload_id).await
    }
}

/// Parts are at most 10,000, so their numbers fit.
fn part_number(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
