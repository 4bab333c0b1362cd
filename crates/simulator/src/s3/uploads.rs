//! Uploads of several parts.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumAlgorithm, ChecksumType,
        CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart, CopyPartResult,
        CopySource, CreateMultipartUploadInput, CreateMultipartUploadOutput, ListPartsInput, ListPartsOutput,
        Part, UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
    },
    s3_error,
};
use sha2::{Digest as _, Sha256};

use super::{
    bytes_store::Received,
    faults::S3FaultKind,
    service::Service,
    state::{
        Headers, Held, Object, PendingPart, PendingUpload, State, base64, etag, etag_of, signed, timestamp,
    },
};

const LAST_PART_NUMBER: i32 = 10_000;
/// Every part but the last is at least this long. Bytes.
const SMALLEST_PART: u64 = 5 << 20;
const LARGEST_PAGE: i32 = 1000;

impl Service {
    pub(super) async fn begin_upload(
        &self,
        input: CreateMultipartUploadInput,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.state.enter_write("CreateMultipartUpload").await?;
        self.state.check_lock_at_create(input.object_lock_mode.is_some(), true)?;
        let algorithm = input.checksum_algorithm.as_ref().map(ChecksumAlgorithm::as_str);
        let sha256 = algorithm == Some(ChecksumAlgorithm::SHA256);
        let upload_id = format!("{:032x}", rand::random::<u128>());
        let upload = PendingUpload {
            bucket: input.bucket.clone(),
            key: input.key.clone(),
            started: self.state.now(),
            sha256: sha256 && !self.state.faults.strikes(S3FaultKind::NoChecksums),
            content_type: input.content_type,
            metadata: input.metadata.map(|all| all.into_iter().collect()),
            headers: Box::new(Headers {
                cache_control: input.cache_control,
                content_disposition: input.content_disposition,
                content_encoding: input.content_encoding,
                content_language: input.content_language,
            }),
            parts: BTreeMap::new(),
        };
        let (checksum_algorithm, composite) = if upload.sha256 {
            (input.checksum_algorithm, Some(ChecksumType::from_static(ChecksumType::COMPOSITE)))
        } else {
            (None, None)
        };
        self.state.held().uploads.insert(upload_id.clone(), upload);
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(upload_id),
            checksum_algorithm,
            checksum_type: composite,
            ..CreateMultipartUploadOutput::default()
        }))
    }

    pub(super) async fn put_part(
        &self,
        req: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        self.state.enter_write("UploadPart").await?;
        let (input, trailing) = (req.input, req.trailing_headers);
        if !(1..=LAST_PART_NUMBER).contains(&input.part_number) {
            return Err(s3_error!(InvalidArgument, "part numbers are 1 to {LAST_PART_NUMBER}"));
        }
        pending(&mut self.state.held(), &input.bucket, &input.key, &input.upload_id)?;
        let (body, length) = (input.body, input.content_length);
        let received = self.state.bytes.receive(body, length, &self.state.counters).await?;
        let checked = self.check_sha256(&received, input.checksum_sha256.as_deref(), trailing.as_ref());
        let checksum_sha256 = self.or_discard(checked, &received)?;
        let place = (input.bucket.as_str(), input.key.as_str(), input.upload_id.as_str());
        let e_tag = Some(etag(&self.keep_part(place, input.part_number, &received)?));
        Ok(S3Response::new(UploadPartOutput { e_tag, checksum_sha256, ..UploadPartOutput::default() }))
    }

    /// Keeps a part that has arrived, and gives its entity tag.
    fn keep_part(
        &self,
        (bucket, key, upload_id): (&str, &str, &str),
        number: i32,
        received: &Received,
    ) -> S3Result<String> {
        let part = PendingPart {
            piece: received.piece.clone(),
            sha256: received.sha256,
            etag: etag_of(&received.sha256),
            modified: self.state.now(),
        };
        let tag = part.etag.clone();
        // The upload may have been aborted while the part arrived.
        let kept = pending(&mut self.state.held(), bucket, key, upload_id)
            .map(|upload| upload.parts.insert(number, part));
        if let Some(replaced) = self.or_discard(kept, received)? {
            self.state.bytes.discard([&replaced.piece]);
        }
        Ok(tag)
    }

    pub(super) async fn copy_part(
        &self,
        input: UploadPartCopyInput,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        self.state.enter_write("UploadPartCopy").await?;
        let CopySource::Bucket { bucket, key, version_id } = &input.copy_source else {
            return Err(s3_error!(NotImplemented, "only objects of buckets can be copied"));
        };
        let source = self.find(bucket, key, version_id.as_deref())?;
        State::check_read(&source, input.copy_source_if_match.as_ref())?;
        let range = copied_range(input.copy_source_range.as_deref(), source.size)?;
        let length = signed(range.end - range.start);
        let body = self.state.bytes.read(source.pieces.clone(), range, false, self.state.counters.clone());
        let received = self.state.bytes.receive(Some(body), length, &self.state.counters).await?;
        let place = (input.bucket.as_str(), input.key.as_str(), input.upload_id.as_str());
        let tag = self.keep_part(place, input.part_number, &received)?;
        let result = CopyPartResult { e_tag: Some(etag(&tag)), ..CopyPartResult::default() };
        Ok(S3Response::new(UploadPartCopyOutput {
            copy_part_result: Some(result),
            ..UploadPartCopyOutput::default()
        }))
    }

    pub(super) async fn complete_upload(
        &self,
        input: CompleteMultipartUploadInput,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        self.state.enter_write("CompleteMultipartUpload").await?;
        let listed = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let version_id;
        let object = {
            let mut held = self.state.held();
            let upload = pending(&mut held, &input.bucket, &input.key, &input.upload_id)?;
            let object = assemble(upload, &listed, self.state.now())?;
            let (none_match, matches) = (input.if_none_match.as_ref(), input.if_match.as_ref());
            if !self.state.faults.strikes(S3FaultKind::IgnoreConditionalComplete) {
                self.state.check_conditions(&held, &input.bucket, &input.key, none_match, matches)?;
            }
            version_id = self.state.commit(&mut held, &input.bucket, &input.key, object.clone())?;
            if let Some(upload) = held.uploads.remove(&input.upload_id) {
                let unused = upload.parts.iter().filter(|(number, _)| !is_listed(&listed, **number));
                self.state.bytes.discard(unused.map(|(_, part)| &part.piece));
            }
            object
        };
        let checksum_type =
            object.sha256.is_some().then(|| ChecksumType::from_static(ChecksumType::COMPOSITE));
        Ok(self.answer_or_lose(CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(etag(&object.etag)),
            checksum_sha256: object.sha256,
            checksum_type,
            version_id,
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    pub(super) async fn abort_upload(
        &self,
        input: AbortMultipartUploadInput,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.state.enter("AbortMultipartUpload").await?;
        let mut held = self.state.held();
        pending(&mut held, &input.bucket, &input.key, &input.upload_id)?;
        if let Some(upload) = held.uploads.remove(&input.upload_id) {
            self.state.bytes.discard(upload.parts.values().map(|part| &part.piece));
        }
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    pub(super) async fn list_parts_of(&self, input: ListPartsInput) -> S3Result<S3Response<ListPartsOutput>> {
        self.state.enter("ListParts").await?;
        let most = input.max_parts.unwrap_or(LARGEST_PAGE).clamp(1, LARGEST_PAGE);
        let after = input.part_number_marker.unwrap_or(0);
        let mut held = self.state.held();
        let upload = pending(&mut held, &input.bucket, &input.key, &input.upload_id)?;
        let sha256 = upload.sha256;
        let later = upload.parts.range(after + 1..);
        let mut parts: Vec<Part> = later.map(|(number, part)| part_info(*number, part, sha256)).collect();
        let more = parts.len() > usize::try_from(most).unwrap_or_default();
        parts.truncate(usize::try_from(most).unwrap_or_default());
        let last = parts.last().and_then(|part| part.part_number);
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            max_parts: Some(most),
            part_number_marker: Some(after),
            is_truncated: Some(more),
            next_part_number_marker: last.filter(|_| more),
            parts: Some(parts),
            ..ListPartsOutput::default()
        }))
    }
}

/// `bytes=0-9`: both ends are given, and lie in the object.
fn copied_range(header: Option<&str>, size: u64) -> S3Result<Range<u64>> {
    let Some(header) = header else { return Ok(0..size) };
    let bounds = header.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let parsed = bounds.and_then(|(first, last)| Some((first.parse().ok()?, last.parse::<u64>().ok()?)));
    match parsed {
        Some((first, last)) if first <= last && last < size => Ok(first..last + 1),
        _ => Err(s3_error!(InvalidArgument, "the range {header} is not one of the object's {size} bytes")),
    }
}

fn part_info(number: i32, part: &PendingPart, sha256: bool) -> Part {
    Part {
        part_number: Some(number),
        size: signed(part.piece.size),
        e_tag: Some(etag(&part.etag)),
        checksum_sha256: sha256.then(|| base64(&part.sha256)),
        last_modified: Some(timestamp(part.modified)),
        ..Part::default()
    }
}

fn is_listed(listed: &[CompletedPart], number: i32) -> bool {
    listed.binary_search_by_key(&Some(number), |part| part.part_number).is_ok()
}

fn pending<'a>(
    held: &'a mut Held,
    bucket: &str,
    key: &str,
    upload_id: &str,
) -> S3Result<&'a mut PendingUpload> {
    let upload =
        held.uploads.get_mut(upload_id).filter(|upload| upload.bucket == bucket && upload.key == key);
    upload.ok_or_else(|| s3_error!(NoSuchUpload, "the upload was completed, aborted or never begun"))
}

/// The object that the listed parts make, if they are as S3 wants them.
fn assemble(upload: &PendingUpload, listed: &[CompletedPart], now: u64) -> S3Result<Object> {
    if listed.is_empty() {
        return Err(s3_error!(MalformedXML, "a completion lists at least one part"));
    }
    if !listed.is_sorted_by(|a, b| a.part_number < b.part_number) {
        return Err(s3_error!(InvalidPartOrder, "parts are listed in ascending order"));
    }
    let (mut pieces, mut etags, mut digests) = (Vec::new(), Sha256::new(), Sha256::new());
    for (place, part) in listed.iter().enumerate() {
        let found = check_part(upload, part)?;
        if place + 1 < listed.len() && found.piece.size < SMALLEST_PART {
            return Err(s3_error!(EntityTooSmall, "every part but the last has at least 5 MiB"));
        }
        etags.update(&found.etag);
        digests.update(found.sha256);
        pieces.push(found.piece.clone());
    }
    Ok(Object {
        size: pieces.iter().map(|piece| piece.size).sum(),
        etag: format!("{}-{}", etag_of(&etags.finalize()), listed.len()),
        sha256: upload.sha256.then(|| format!("{}-{}", base64(&digests.finalize()), listed.len())),
        modified: now,
        content_type: upload.content_type.clone(),
        metadata: upload.metadata.clone(),
        headers: upload.headers.clone(),
        record: 0,
        version: String::new(),
        retention: None,
        pieces: Arc::new(pieces),
    })
}

fn check_part<'a>(upload: &'a PendingUpload, listed: &CompletedPart) -> S3Result<&'a PendingPart> {
    let number = listed.part_number.unwrap_or_default();
    let invalid = || s3_error!(InvalidPart, "part {number} was not uploaded, or is another one than listed");
    let found = upload.parts.get(&number).ok_or_else(invalid)?;
    if listed.e_tag.as_ref().is_some_and(|tag| tag.value() != found.etag) {
        return Err(invalid());
    }
    match &listed.checksum_sha256 {
        None if upload.sha256 => {
            Err(s3_error!(InvalidRequest, "part {number} is listed without its SHA-256"))
        }
        Some(sent) if upload.sha256 && *sent != base64(&found.sha256) => Err(invalid()),
        _ => Ok(found),
    }
}
