//! Listing objects and unfinished uploads.

use std::ops::Bound;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use s3s::{
    S3Response, S3Result,
    dto::{
        ChecksumAlgorithm, CommonPrefix, EncodingType, ListMultipartUploadsInput, ListMultipartUploadsOutput,
        ListObjectsV2Input, ListObjectsV2Output, MultipartUpload, Object as ListedObject,
    },
    s3_error,
};

use super::{
    faults::S3FaultKind,
    service::Service,
    state::{Object, Objects, etag, signed, timestamp},
};

pub(super) const LARGEST_PAGE: i32 = 1000;

/// A key of the listing, or what several have in common up to a delimiter.
enum Found {
    Object(String, Box<ListedObject>),
    Prefix(String),
}

impl Service {
    pub(super) async fn list(&self, input: ListObjectsV2Input) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.state.enter("ListObjectsV2").await?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let delimiter = input.delimiter.clone().filter(|delimiter| !delimiter.is_empty());
        let most = input.max_keys.unwrap_or(LARGEST_PAGE).clamp(0, LARGEST_PAGE);
        let after = match &input.continuation_token {
            Some(token) => decode_token(token)?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let (found, next) = {
            let mut held = self.state.held();
            let objects = held.buckets.entry(input.bucket.clone()).or_default();
            page(objects, &prefix, delimiter.as_deref(), &after, usize::try_from(most).unwrap_or_default())
        };
        let spell = Spelling::of(input.encoding_type.as_ref());
        let key_count = i32::try_from(found.len()).ok();
        let (mut contents, mut common_prefixes) = (Vec::new(), Vec::new());
        for one in found {
            match one {
                Found::Object(key, object) => {
                    contents.push(ListedObject { key: Some(spell.write(key)), ..*object });
                }
                Found::Prefix(prefix) => {
                    common_prefixes.push(CommonPrefix { prefix: Some(spell.write(prefix)) });
                }
            }
        }
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(spell.write(prefix)),
            delimiter: delimiter.map(|it| spell.write(it)),
            start_after: input.start_after.map(|it| spell.write(it)),
            max_keys: Some(most),
            key_count,
            continuation_token: input.continuation_token,
            is_truncated: Some(next.is_some()),
            next_continuation_token: next.map(|last| BASE64_URL_SAFE_NO_PAD.encode(last)),
            encoding_type: input.encoding_type,
            contents: Some(contents),
            common_prefixes: Some(common_prefixes),
            ..ListObjectsV2Output::default()
        }))
    }

    pub(super) async fn list_uploads(
        &self,
        input: ListMultipartUploadsInput,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        self.state.enter("ListMultipartUploads").await?;
        if self.state.faults.strikes(S3FaultKind::NoListUploads) {
            return Err(s3_error!(NotImplemented, "unfinished uploads cannot be listed"));
        }
        let prefix = input.prefix.clone().unwrap_or_default();
        let most = input.max_uploads.unwrap_or(LARGEST_PAGE).clamp(1, LARGEST_PAGE);
        let spell = Spelling::of(input.encoding_type.as_ref());
        let mut found = self.unfinished(&input.bucket, &prefix);
        let marker = (input.key_marker.as_deref(), input.upload_id_marker.as_deref());
        found.retain(|(key, upload_id, _)| is_after(key, upload_id, marker));
        let more = found.len() > usize::try_from(most).unwrap_or_default();
        found.truncate(usize::try_from(most).unwrap_or_default());
        let last = found.last().filter(|_| more).map(|(key, upload_id, _)| (key.clone(), upload_id.clone()));
        let (next_key, next_upload) = last.unzip();
        let uploads = found
            .into_iter()
            .map(|(key, _, upload)| MultipartUpload { key: Some(spell.write(key)), ..upload });
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: Some(spell.write(prefix)),
            key_marker: input.key_marker.map(|it| spell.write(it)),
            upload_id_marker: input.upload_id_marker,
            max_uploads: Some(most),
            is_truncated: Some(more),
            next_key_marker: next_key.map(|it| spell.write(it)),
            next_upload_id_marker: next_upload,
            encoding_type: input.encoding_type,
            uploads: Some(uploads.collect()),
            ..ListMultipartUploadsOutput::default()
        }))
    }

    /// Key, identifier and description of every unfinished upload, in their order.
    fn unfinished(&self, bucket: &str, prefix: &str) -> Vec<(String, String, MultipartUpload)> {
        let held = self.state.held();
        let of_bucket = held.uploads.iter().filter(|(_, upload)| upload.bucket == bucket);
        let wanted = of_bucket.filter(|(_, upload)| upload.key.starts_with(prefix));
        let mut found: Vec<_> = wanted
            .map(|(upload_id, upload)| {
                let sha256 = ChecksumAlgorithm::from_static(ChecksumAlgorithm::SHA256);
                let listed = MultipartUpload {
                    upload_id: Some(upload_id.clone()),
                    initiated: Some(timestamp(upload.started)),
                    checksum_algorithm: upload.sha256.then_some(sha256),
                    ..MultipartUpload::default()
                };
                (upload.key.clone(), upload_id.clone(), listed)
            })
            .collect();
        found.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        found
    }
}

fn is_after(key: &str, upload_id: &str, marker: (Option<&str>, Option<&str>)) -> bool {
    match marker {
        (None, _) => true,
        (Some(key_marker), None) => key > key_marker,
        (Some(key_marker), Some(upload_marker)) => (key, upload_id) > (key_marker, upload_marker),
    }
}

/// The entries after `after`, `most` of them, and the last one of them if more follow.
fn page(
    objects: &Objects,
    prefix: &str,
    delimiter: Option<&str>,
    after: &str,
    most: usize,
) -> (Vec<Found>, Option<String>) {
    let (mut found, mut last) = (Vec::new(), after.to_owned());
    let mut from =
        if after < prefix { Bound::Included(prefix.to_owned()) } else { past(after, prefix, delimiter) };
    while let Some((key, object)) = objects.range((from, Bound::Unbounded)).next() {
        if !key.starts_with(prefix) {
            break;
        }
        if found.len() == most {
            return (found, Some(last));
        }
        let common = delimiter.and_then(|delimiter| common_prefix(key, prefix, delimiter));
        common.unwrap_or(key).clone_into(&mut last);
        found.push(common.map_or_else(|| listed(key, object), |common| Found::Prefix(common.to_owned())));
        from = past(&last, prefix, delimiter);
    }
    (found, None)
}

fn listed(key: &str, object: &Object) -> Found {
    let listed = ListedObject {
        e_tag: Some(etag(&object.etag)),
        last_modified: Some(timestamp(object.modified)),
        size: signed(object.size),
        ..ListedObject::default()
    };
    Found::Object(key.to_owned(), Box::new(listed))
}

/// The part of `key` up to the first delimiter behind the prefix.
fn common_prefix<'a>(key: &'a str, prefix: &str, delimiter: &str) -> Option<&'a str> {
    let end = key[prefix.len()..].find(delimiter)? + prefix.len() + delimiter.len();
    Some(&key[..end])
}

/// Where a listing goes on behind an entry: behind a key, or behind all keys with a common prefix.
fn past(entry: &str, prefix: &str, delimiter: Option<&str>) -> Bound<String> {
    let is_common = delimiter.is_some_and(|delimiter| {
        entry.starts_with(prefix) && common_prefix(entry, prefix, delimiter) == Some(entry)
    });
    if !is_common {
        return Bound::Excluded(entry.to_owned());
    }
    // The largest character ends the keys that begin with the common prefix: none goes on with it.
    Bound::Excluded(format!("{entry}{}", char::MAX))
}

fn decode_token(token: &str) -> S3Result<String> {
    let invalid = || s3_error!(InvalidArgument, "the continuation token is not one of this server");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
    String::from_utf8(bytes).map_err(|_| invalid())
}

/// How keys are written in an answer: as they are, or percent-encoded where `encoding-type=url` asks for it.
#[derive(Clone, Copy)]
pub(super) struct Spelling {
    url: bool,
}

impl Spelling {
    pub(super) fn of(encoding: Option<&EncodingType>) -> Self {
        Self { url: encoding.is_some_and(|encoding| encoding.as_str() == EncodingType::URL) }
    }

    pub(super) fn write(self, key: String) -> String {
        if !self.url {
            return key;
        }
        let mut text = Vec::with_capacity(key.len());
        for byte in key.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => text.push(byte),
                _ => text.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]),
            }
        }
        // Every byte that is not ASCII was just replaced.
        String::from_utf8(text).unwrap_or_default()
    }
}

fn digit(half: u8) -> u8 {
    if half < 10 { b'0' + half } else { b'A' + half - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_percent_encoded_only_where_that_is_asked_for() {
        let url = Spelling { url: true };
        assert_eq!(url.write("a b+c/%é".to_owned()), "a%20b%2Bc/%25%C3%A9");
        assert_eq!(Spelling { url: false }.write("a b+c".to_owned()), "a b+c");
    }

    #[test]
    fn a_continuation_token_is_read_back() {
        let token = BASE64_URL_SAFE_NO_PAD.encode("a/é");
        assert_eq!(decode_token(&token).unwrap(), "a/é");
        assert!(decode_token("!").is_err());
    }
}
