//! Putting and deleting single objects.

use std::collections::HashMap;

use aws_sdk_s3::{config::retry::RetryConfig, primitives::ByteStream};
use bytes::Bytes;
use convault_core::{Attributes, PutMode, Sha256, StoreError, StoreErrorKind, Stored};
use futures::TryStreamExt as _;

use super::{
    Bucket, DELETE, PUT, checksum, client,
    confirm::{Sent, Written},
    explain::explain,
    repeat::{self, Next},
};
use crate::failure::Attempt;

impl Bucket {
    pub(super) async fn put(
        &self,
        key: &str,
        body: Bytes,
        mode: &PutMode,
        attributes: &Attributes,
    ) -> Result<Stored, StoreError> {
        let attempt = self.attempt("put", key);
        let checksum = self.sends_checksums.then(|| checksum::encode(&Sha256::of(&body)));
        let sent = Sent { key, size_bytes: body.len() as u64, checksum, attributes: Some(attributes) };
        let written = match mode {
            PutMode::Overwrite => self.send(&sent, &body, mode, &attempt).await?,
            PutMode::IfAbsent | PutMode::IfMatch(_) => {
                self.send_until_known(&sent, &body, mode, &attempt).await?
            }
        };
        self.confirm(&sent, written, &attempt).await
    }

    /// Repeats a conditional put. A try whose answer was lost leaves an object that stands in the way of the
    /// next one, and that is ours if it has our bytes.
    async fn send_until_known(
        &self,
        sent: &Sent<'_>,
        body: &Bytes,
        mode: &PutMode,
        attempt: &Attempt,
    ) -> Result<Written, StoreError> {
        for tried in 1.. {
            let outcome = self.send(sent, body, mode, attempt).await;
            let in_the_way: &[_] = if tried > 1 { &[StoreErrorKind::AlreadyExists] } else { &[] };
            match repeat::next(outcome, tried, self.timeouts, in_the_way) {
                Next::Done(outcome) => return outcome,
                Next::Again => repeat::back_off(self.timeouts, tried).await,
                Next::Look(error) => {
                    let ours = self.holds(sent, body, attempt).await;
                    return if ours.unwrap_or(false) { Ok(Written::default()) } else { Err(error) };
                }
            }
        }
        unreachable!("the last try ends the loop")
    }

    async fn send(
        &self,
        sent: &Sent<'_>,
        body: &Bytes,
        mode: &PutMode,
        attempt: &Attempt,
    ) -> Result<Written, StoreError> {
        let mut request = self
            .client
            .put_object()
            .bucket(&self.place.bucket)
            .key(self.full_key(sent.key))
            .set_checksum_sha256(sent.checksum.clone())
            .body(ByteStream::from(body.clone()));
        if let Some(beside) = sent.attributes {
            request = request
                .set_content_type(beside.content_type.clone())
                .set_content_encoding(beside.content_encoding.clone())
                .set_content_language(beside.content_language.clone())
                .set_content_disposition(beside.content_disposition.clone())
                .set_cache_control(beside.cache_control.clone())
                .set_metadata(metadata(beside));
        }
        let mut limits = client::patient(self.timeouts, sent.size_bytes);
        match mode {
            PutMode::Overwrite => {}
            PutMode::IfAbsent => request = request.if_none_match("*"),
            PutMode::IfMatch(etag) => request = request.if_match(etag),
        }
        if *mode != PutMode::Overwrite {
            limits = limits.retry_config(RetryConfig::disabled());
        }
        let answer = request.customize().config_override(limits).send().await;
        let answer = answer.map_err(|error| {
            let error = explain(error, PUT, &self.place, attempt);
            no_object_to_match(error, mode, attempt)
        })?;
        let (etag, checksum) =
            (answer.e_tag().map(str::to_owned), answer.checksum_sha256().map(str::to_owned));
        Ok(Written { etag, checksum })
    }

    /// Whether the store holds just these bytes.
    async fn holds(&self, sent: &Sent<'_>, body: &Bytes, attempt: &Attempt) -> Result<bool, StoreError> {
        if let Some(known) = self.held(sent.key, attempt).await?.is(sent) {
            return Ok(known);
        }
        let chunks: Vec<Bytes> = self.get(sent.key, None).await?.try_collect().await?;
        Ok(chunks.concat() == *body)
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let attempt = self.attempt("delete", key);
        let request = self.client.delete_object().bucket(&self.place.bucket).key(self.full_key(key));
        match request.send().await.map_err(|error| explain(error, DELETE, &self.place, &attempt)) {
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(()),
            answer => answer.map(drop),
        }
    }
}

/// The owner's metadata, as the SDK takes it.
pub(super) fn metadata(attributes: &Attributes) -> Option<HashMap<String, String>> {
    let all = || attributes.metadata.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    (!attributes.metadata.is_empty()).then(all)
}

/// Servers answer 404 where there is nothing to match, which to the caller is just another object than it saw.
pub(super) fn no_object_to_match(error: StoreError, mode: &PutMode, attempt: &Attempt) -> StoreError {
    match mode {
        PutMode::IfMatch(_) if error.kind == StoreErrorKind::NotFound => {
            attempt.failed(StoreErrorKind::AlreadyExists, "the object to be replaced is gone")
        }
        _ => error,
    }
}
