//! Putting, getting, copying and deleting objects.

use std::sync::Arc;

use hyper::header::HeaderValue;
use s3s::{
    S3Request, S3Response, S3Result, TrailingHeaders,
    dto::{
        ChecksumMode, ChecksumType, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource,
        DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, Error,
        GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, PutObjectInput, PutObjectOutput,
    },
    s3_error,
};

use super::{
    bytes_store::Received,
    faults::S3FaultKind,
    service::Service,
    state::{BREAK_CONNECTION, Headers, Object, State, base64, etag, etag_of, signed, timestamp},
};

impl Service {
    pub(super) async fn put(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        self.state.enter_write("PutObject").await?;
        let has_checksum = req.headers.keys().any(|name| is_checksum(name.as_str()));
        let (input, trailing) = (req.input, req.trailing_headers);
        self.state.check_lock_at_create(input.object_lock_mode.is_some(), has_checksum)?;
        let (body, length) = (input.body, input.content_length);
        let received = self.state.bytes.receive(body, length, &self.state.counters).await?;
        let checked = self.check_sha256(&received, input.checksum_sha256.as_deref(), trailing.as_ref());
        let sha256 = self.or_discard(checked, &received)?;
        let object = Object {
            size: received.piece.size,
            etag: etag_of(&received.sha256),
            sha256: sha256.clone(),
            modified: self.state.now(),
            content_type: input.content_type,
            metadata: input.metadata.map(|all| all.into_iter().collect()),
            headers: Box::new(Headers {
                cache_control: input.cache_control,
                content_disposition: input.content_disposition,
                content_encoding: input.content_encoding,
                content_language: input.content_language,
            }),
            record: 0,
            version: String::new(),
            retention: None,
            pieces: Arc::new(vec![received.piece.clone()]),
        };
        let tag = object.etag.clone();
        let (none_match, matches) = (input.if_none_match.as_ref(), input.if_match.as_ref());
        let put = {
            let mut held = self.state.held();
            let allowed = self.state.check_conditions(&held, &input.bucket, &input.key, none_match, matches);
            allowed.and_then(|()| self.state.commit(&mut held, &input.bucket, &input.key, object))
        };
        let version_id = self.or_discard(put, &received)?;
        let output = PutObjectOutput {
            e_tag: Some(etag(&tag)),
            checksum_sha256: sha256,
            version_id,
            ..PutObjectOutput::default()
        };
        Ok(self.answer_or_lose(output))
    }

    /// Compares the SHA-256 that was sent, if one was, and gives it back in the form it is kept in.
    pub(super) fn check_sha256(
        &self,
        received: &Received,
        in_header: Option<&str>,
        trailing: Option<&TrailingHeaders>,
    ) -> S3Result<Option<String>> {
        if self.state.faults.strikes(S3FaultKind::NoChecksums) {
            return Ok(None);
        }
        let in_trailer = trailing.and_then(|trailing| {
            let value = |headers: &hyper::HeaderMap| headers.get("x-amz-checksum-sha256").cloned();
            trailing.read(value).flatten()
        });
        let in_trailer = in_trailer.as_ref().and_then(|value| value.to_str().ok());
        let Some(sent) = in_header.or(in_trailer) else { return Ok(None) };
        let found = base64(&received.sha256);
        if sent == found {
            Ok(Some(found))
        } else {
            Err(s3_error!(BadDigest, "the SHA-256 is {found}, not {sent}"))
        }
    }

    /// Forgets what was received if it is of no use.
    pub(super) fn or_discard<T>(&self, outcome: S3Result<T>, received: &Received) -> S3Result<T> {
        outcome.inspect_err(|_| self.state.bytes.discard([&received.piece]))
    }

    /// The answer to a write, unless it is to be lost.
    pub(super) fn answer_or_lose<T>(&self, output: T) -> S3Response<T> {
        let mut answer = S3Response::new(output);
        if self.state.faults.strikes(S3FaultKind::LostAnswer) {
            answer.headers.insert(BREAK_CONNECTION, HeaderValue::from_static("1"));
        }
        answer
    }

    pub(super) fn find(&self, bucket: &str, key: &str, version: Option<&str>) -> S3Result<Object> {
        self.state.held().object(bucket, key, version).cloned()
    }

    pub(super) async fn get(&self, input: GetObjectInput) -> S3Result<S3Response<GetObjectOutput>> {
        self.state.enter_read("GetObject").await?;
        let object = self.find(&input.bucket, &input.key, input.version_id.as_deref())?;
        State::check_read(&object, input.if_match.as_ref())?;
        let range = input.range.map(|range| range.check(object.size)).transpose()?;
        let content_range =
            range.as_ref().map(|range| format!("bytes {}-{}/{}", range.start, range.end - 1, object.size));
        let range = range.unwrap_or(0..object.size);
        let whole = content_range.is_none();
        let (checksum_sha256, checksum_type) = self.checksum(&object, input.checksum_mode.as_ref(), whole);
        let version_id = self.named_version(&object);
        let content_length = signed(range.end - range.start);
        let corrupt = self.state.faults.strikes(S3FaultKind::CorruptGet);
        let body = self.state.bytes.read(object.pieces, range, corrupt, self.state.counters.clone());
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(body),
            checksum_sha256,
            checksum_type,
            content_length,
            content_range,
            content_type: object.content_type,
            cache_control: object.headers.cache_control,
            content_disposition: object.headers.content_disposition,
            content_encoding: object.headers.content_encoding,
            content_language: object.headers.content_language,
            e_tag: Some(etag(&object.etag)),
            last_modified: Some(timestamp(object.modified)),
            version_id,
            metadata: object.metadata.map(|all| all.into_iter().collect()),
            ..GetObjectOutput::default()
        }))
    }

    pub(super) async fn head(&self, input: HeadObjectInput) -> S3Result<S3Response<HeadObjectOutput>> {
        self.state.enter_read("HeadObject").await?;
        let object = self.find(&input.bucket, &input.key, input.version_id.as_deref())?;
        State::check_read(&object, input.if_match.as_ref())?;
        let (checksum_sha256, checksum_type) = self.checksum(&object, input.checksum_mode.as_ref(), true);
        let version_id = self.named_version(&object);
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            checksum_sha256,
            checksum_type,
            content_length: signed(object.size),
            content_type: object.content_type,
            cache_control: object.headers.cache_control,
            content_disposition: object.headers.content_disposition,
            content_encoding: object.headers.content_encoding,
            content_language: object.headers.content_language,
            e_tag: Some(etag(&object.etag)),
            last_modified: Some(timestamp(object.modified)),
            version_id,
            metadata: object.metadata.map(|all| all.into_iter().collect()),
            ..HeadObjectOutput::default()
        }))
    }

    fn named_version(&self, object: &Object) -> Option<String> {
        self.state.keeping.versions.then(|| object.version_id().to_owned())
    }

    /// The checksum of an object, where it was asked for.
    fn checksum(
        &self,
        object: &Object,
        mode: Option<&ChecksumMode>,
        whole: bool,
    ) -> (Option<String>, Option<ChecksumType>) {
        let asked = whole && mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED);
        if !asked || self.state.faults.strikes(S3FaultKind::NoChecksums) {
            return (None, None);
        }
        let kind = object.sha256.as_ref().map(|checksum| {
            let composite = checksum.contains('-');
            ChecksumType::from_static(if composite {
                ChecksumType::COMPOSITE
            } else {
                ChecksumType::FULL_OBJECT
            })
        });
        (object.sha256.clone(), kind)
    }

    pub(super) async fn copy(&self, input: CopyObjectInput) -> S3Result<S3Response<CopyObjectOutput>> {
        self.state.enter_write("CopyObject").await?;
        let CopySource::Bucket { bucket, key, version_id } = &input.copy_source else {
            return Err(s3_error!(NotImplemented, "only objects of buckets can be copied"));
        };
        let source = self.find(bucket, key, version_id.as_deref())?;
        State::check_read(&source, input.copy_source_if_match.as_ref())?;
        let wants_sha256 =
            input.checksum_algorithm.as_ref().is_some_and(|algorithm| algorithm.as_str() == "SHA256");
        let has_sha256 =
            (wants_sha256 || source.sha256.is_some()) && !self.state.faults.strikes(S3FaultKind::NoChecksums);
        let body =
            self.state.bytes.read(source.pieces.clone(), 0..source.size, false, self.state.counters.clone());
        let received =
            self.state.bytes.receive(Some(body), signed(source.size), &self.state.counters).await?;
        let object = Object {
            etag: etag_of(&received.sha256),
            sha256: has_sha256.then(|| base64(&received.sha256)),
            modified: self.state.now(),
            pieces: Arc::new(vec![received.piece.clone()]),
            ..source
        };
        let result = CopyObjectResult {
            e_tag: Some(etag(&object.etag)),
            last_modified: Some(timestamp(object.modified)),
            checksum_sha256: object.sha256.clone(),
            ..CopyObjectResult::default()
        };
        let copied = self.state.commit(&mut self.state.held(), &input.bucket, &input.key, object);
        self.or_discard(copied, &received)?;
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(result),
            ..CopyObjectOutput::default()
        }))
    }

    async fn enter_delete(&self, operation: &'static str) -> S3Result<()> {
        self.state.enter(operation).await?;
        if self.state.faults.strikes(S3FaultKind::DenyDelete) {
            return Err(s3_error!(AccessDenied, "not allowed to delete objects"));
        }
        Ok(())
    }

    /// Deletes an object, or the version of it that is named. Gives the version that was deleted or that the deletion
    /// has become, and whether it is one.
    fn remove(
        &self,
        bucket: &str,
        key: &str,
        version: Option<String>,
        bypass: bool,
    ) -> S3Result<(Option<String>, Option<bool>)> {
        let Some(version) = version else {
            let marker = self.state.remove(bucket, key);
            let is_one = marker.is_some().then_some(true);
            return Ok((marker, is_one));
        };
        let was_one = self.state.remove_version(bucket, key, &version, bypass)?;
        Ok((Some(version), was_one.then_some(true)))
    }

    pub(super) async fn delete(&self, input: DeleteObjectInput) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.enter_delete("DeleteObject").await?;
        let bypass = input.bypass_governance_retention.unwrap_or(false);
        let (version_id, delete_marker) = self.remove(&input.bucket, &input.key, input.version_id, bypass)?;
        Ok(S3Response::new(DeleteObjectOutput { version_id, delete_marker, ..DeleteObjectOutput::default() }))
    }

    pub(super) async fn delete_several(
        &self,
        input: DeleteObjectsInput,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        self.enter_delete("DeleteObjects").await?;
        let quiet = input.delete.quiet.unwrap_or(false);
        let bypass = input.bypass_governance_retention.unwrap_or(false);
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in input.delete.objects {
            match self.remove(&input.bucket, &object.key, object.version_id.clone(), bypass) {
                Ok((_, delete_marker)) => deleted.push(DeletedObject {
                    key: Some(object.key),
                    version_id: object.version_id,
                    delete_marker,
                    ..DeletedObject::default()
                }),
                Err(error) => errors.push(Error {
                    key: Some(object.key),
                    version_id: object.version_id,
                    code: Some(error.code().as_str().to_owned()),
                    message: error.message().map(str::to_owned),
                }),
            }
        }
        let deleted = (!quiet).then_some(deleted);
        let errors = (!errors.is_empty()).then_some(errors);
        Ok(S3Response::new(DeleteObjectsOutput { deleted, errors, ..DeleteObjectsOutput::default() }))
    }
}

fn is_checksum(header: &str) -> bool {
    header == "content-md5" || header == "x-amz-trailer" || header.starts_with("x-amz-checksum-")
}
