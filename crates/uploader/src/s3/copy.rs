//! Copies that the server makes by itself, between buckets that one pair of keys reaches.

use std::fmt::Write as _;

use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use convault_core::{Attributes, Copied, MAX_PARTS, ObjectInfo, Origin, Sha256, StoreError, StoreErrorKind};

use super::{Bucket, PUT, client, confirm::length, explain::explain};
use crate::failure::Attempt;

/// What S3 copies in one request. Bytes.
const LARGEST_COPY: u64 = 5 << 30;
/// Parts of larger objects are at least this long. Bytes.
const SMALLEST_COPIED_PART: u64 = 256 << 20;

impl Bucket {
    pub(super) async fn copy_from(
        &self,
        origin: &Origin,
        from: &ObjectInfo,
        key: &str,
    ) -> Result<Copied, StoreError> {
        self.copy_in_parts_above(LARGEST_COPY, SMALLEST_COPIED_PART, origin, from, key).await
    }

    async fn copy_in_parts_above(
        &self,
        limit: u64,
        part_bytes: u64,
        origin: &Origin,
        from: &ObjectInfo,
        key: &str,
    ) -> Result<Copied, StoreError> {
        let attempt = self.attempt("copy to", key);
        let source = Source::new(origin, from);
        let (info, attributes) = self.look_at(origin, from, &attempt).await?;
        let sha256 = if info.size_bytes <= limit {
            self.copy_whole(&source, &info, key, &attempt).await?
        } else {
            self.copy_parts(&source, &info, &attributes, key, part_bytes, &attempt).await?;
            None
        };
        let copy = self.held(key, &attempt).await?;
        if copy.size_bytes != info.size_bytes {
            let message =
                format!("the copy has {} bytes, and its source {}", copy.size_bytes, info.size_bytes);
            return Err(attempt.failed(StoreErrorKind::Corrupt, message));
        }
        Ok(Copied { info, attributes, sha256 })
    }

    /// What the source is now, if it is still the one that was listed.
    async fn look_at(
        &self,
        origin: &Origin,
        from: &ObjectInfo,
        attempt: &Attempt,
    ) -> Result<(ObjectInfo, Attributes), StoreError> {
        let request = self.client.head_object().bucket(&origin.bucket);
        let request =
            request.key(format!("{}{}", origin.key_prefix, from.key)).set_if_match(from.etag.clone());
        let head = request.send().await.map_err(|error| explain(error, super::GET, &self.place, attempt))?;
        let info = ObjectInfo {
            key: from.key.clone(),
            size_bytes: length(head.content_length()),
            modified: super::read::timestamp(head.last_modified()),
            etag: head.e_tag().map(str::to_owned),
        };
        let attributes = Attributes {
            content_type: head.content_type().map(str::to_owned),
            content_encoding: head.content_encoding().map(str::to_owned),
            content_language: head.content_language().map(str::to_owned),
            content_disposition: head.content_disposition().map(str::to_owned),
            cache_control: head.cache_control().map(str::to_owned),
            metadata: head.metadata().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
        };
        Ok((info, attributes))
    }

    async fn copy_whole(
        &self,
        source: &Source,
        info: &ObjectInfo,
        key: &str,
        attempt: &Attempt,
    ) -> Result<Option<Sha256>, StoreError> {
        let request = self
            .client
            .copy_object()
            .bucket(&self.place.bucket)
            .key(self.full_key(key))
            .copy_source(&source.0)
            .set_copy_source_if_match(info.etag.clone())
            .set_checksum_algorithm(self.sends_checksums.then_some(ChecksumAlgorithm::Sha256));
        let limits = client::patient(self.timeouts, info.size_bytes);
        let answer = request.customize().config_override(limits).send().await;
        let answer = answer.map_err(|error| explain(error, PUT, &self.place, attempt))?;
        let checksum = answer.copy_object_result().and_then(|result| result.checksum_sha256());
        Ok(checksum.and_then(decode))
    }

    async fn copy_parts(
        &self,
        source: &Source,
        info: &ObjectInfo,
        attributes: &Attributes,
        key: &str,
        least_part_bytes: u64,
        attempt: &Attempt,
    ) -> Result<(), StoreError> {
        let upload_id = self.begin_multipart(key, None, attributes, attempt).await?;
        let completed =
            match self.copy_each_part(source, info, key, &upload_id, least_part_bytes, attempt).await {
                Ok(parts) => self.complete_copy(info, key, &upload_id, parts, attempt).await,
                Err(error) => Err(error),
            };
        if completed.is_err()
            && let Err(error) = self.abort_upload(key, &upload_id).await
        {
            tracing::warn!(%error, "an unfinished copy stays");
        }
        completed
    }

    /// A try whose answer was lost ends the upload, and the next one does not find it: what is there then is ours, if it
    /// is as large. That there is no such upload says nothing of the source.
    async fn complete_copy(
        &self,
        info: &ObjectInfo,
        key: &str,
        upload_id: &str,
        parts: Vec<CompletedPart>,
        attempt: &Attempt,
    ) -> Result<(), StoreError> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = self.client.complete_multipart_upload().bucket(&self.place.bucket);
        let request = request.key(self.full_key(key)).upload_id(upload_id).multipart_upload(parts);
        let answer = request.customize().config_override(client::completing(self.timeouts)).send().await;
        let Err(error) = answer.map_err(|error| explain(error, PUT, &self.place, attempt)) else {
            return Ok(());
        };
        if !matches!(error.kind, StoreErrorKind::NotFound | StoreErrorKind::Transient) {
            return Err(error);
        }
        let held = self.held(key, attempt).await;
        if held.is_ok_and(|held| held.size_bytes == info.size_bytes) {
            return Ok(());
        }
        Err(StoreError { kind: StoreErrorKind::Transient, ..error })
    }

    async fn copy_each_part(
        &self,
        source: &Source,
        info: &ObjectInfo,
        key: &str,
        upload_id: &str,
        least_part_bytes: u64,
        attempt: &Attempt,
    ) -> Result<Vec<CompletedPart>, StoreError> {
        let part_bytes = info.size_bytes.div_ceil(MAX_PARTS).max(least_part_bytes);
        let mut parts = Vec::new();
        let (mut start, mut number) = (0, 1);
        while start < info.size_bytes {
            let end = (start + part_bytes).min(info.size_bytes);
            let request = self
                .client
                .upload_part_copy()
                .bucket(&self.place.bucket)
                .key(self.full_key(key))
                .upload_id(upload_id)
                .part_number(number)
                .copy_source(&source.0)
                .copy_source_range(format!("bytes={start}-{}", end - 1))
                .set_copy_source_if_match(info.etag.clone());
            let limits = client::patient(self.timeouts, end - start);
            let answer = request.customize().config_override(limits).send().await;
            let answer = answer.map_err(|error| explain(error, PUT, &self.place, attempt))?;
            let etag = answer.copy_part_result().and_then(|part| part.e_tag()).map(str::to_owned);
            parts.push(CompletedPart::builder().part_number(number).set_e_tag(etag).build());
            (start, number) = (end, number + 1);
        }
        Ok(parts)
    }
}

/// A source as the header `x-amz-copy-source` names it: `bucket/key`, percent-encoded.
struct Source(String);

impl Source {
    fn new(origin: &Origin, from: &ObjectInfo) -> Self {
        let path = format!("{}/{}{}", origin.bucket, origin.key_prefix, from.key);
        let mut encoded = String::with_capacity(path.len());
        for byte in path.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
                encoded.push(char::from(byte));
            } else {
                write!(encoded, "%{byte:02X}").expect("writing to a string does not fail");
            }
        }
        Self(encoded)
    }
}

/// A SHA-256 over all bytes; a composite of parts' digests is none.
fn decode(checksum: &str) -> Option<Sha256> {
    Some(Sha256(BASE64_STANDARD.decode(checksum).ok()?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use convault_core::{DestinationName, PutMode, Secret, Store as _};
    use convault_simulator::s3::{S3Server, S3ServerConfig};
    use futures::TryStreamExt as _;

    use super::*;
    use crate::{S3Settings, S3Store, S3Timeouts};

    #[test]
    fn a_copy_source_is_percent_encoded() {
        let origin =
            Origin { server: String::new(), bucket: "media".to_owned(), key_prefix: "a b/".to_owned() };
        let from = ObjectInfo {
            key: "é+x.jpg".to_owned(),
            size_bytes: 0,
            modified: jiff::Timestamp::UNIX_EPOCH,
            etag: None,
        };
        assert_eq!(Source::new(&origin, &from).0, "media/a%20b/%C3%A9%2Bx.jpg");
        assert_eq!(decode("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=-2"), None);
        assert_eq!(decode("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="), Some(Sha256::of(b"")));
    }

    #[tokio::test]
    async fn an_object_too_large_for_one_request_is_copied_in_parts() {
        let server = S3Server::new(S3ServerConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            root: None,
            access_key: "convault".to_owned(),
            secret_key: Secret::new("convault-secret"),
            faults: Vec::new(),
        });
        let running = server.start().await.unwrap();
        let store = |bucket: &str| {
            let settings = S3Settings {
                bucket: bucket.to_owned(),
                prefix: "p".to_owned(),
                region: "us-east-1".to_owned(),
                endpoint: Some(running.endpoint()),
                path_style: true,
                sends_checksums: true,
                access_key: Secret::new("convault"),
                secret_key: Secret::new("convault-secret"),
                session_token: None,
                ca_file: None,
                timeouts: S3Timeouts::default(),
            };
            S3Store::new(DestinationName::new("offsite").unwrap(), &settings).unwrap()
        };
        let (from, to) = (store("originals"), store("copies"));
        let body = Bytes::from((0..12 << 20).map(|at: u32| at.to_le_bytes()[1]).collect::<Vec<u8>>());
        let attributes = Attributes { content_type: Some("video/mp4".to_owned()), ..Attributes::default() };
        from.put_with("v.mp4", body.clone(), PutMode::Overwrite, &attributes).await.unwrap();
        let info = from.head("v.mp4").await.unwrap();
        let origin = from.origin().unwrap();
        assert_eq!(origin.server, to.origin().unwrap().server);
        let copied = to.0.copy_in_parts_above(1 << 20, 5 << 20, &origin, &info, "copy").await.unwrap();
        assert_eq!((copied.sha256, copied.info.etag), (None, info.etag.clone()));
        let fetched = to.fetch("copy", None, None).await.unwrap();
        assert_eq!(fetched.attributes, attributes);
        let chunks: Vec<Bytes> = fetched.stream.try_collect().await.unwrap();
        assert!(chunks.concat() == body);

        // That the answer to the end was lost does not mean that the source is gone.
        running.set_faults(&["s3-lost-answer=1".parse().unwrap()]);
        let copied = to.0.copy_in_parts_above(1 << 20, 5 << 20, &origin, &info, "again").await.unwrap();
        assert_eq!(copied.info.etag, info.etag);
        assert_eq!(to.head("again").await.unwrap().size_bytes, info.size_bytes);
        running.stop().await;
    }
}
