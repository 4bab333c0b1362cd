//! Listing objects, folders and unfinished uploads, a page at a time.

use std::sync::Arc;

use aws_sdk_s3::{
    operation::list_objects_v2::ListObjectsV2Output,
    types::{MultipartUpload, Object},
};
use convault_core::{ObjectInfo, StoreError, StoreErrorKind, UnfinishedUpload};
use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};

use super::{ABORT, Bucket, LIST, LIST_UPLOADS, confirm::length, explain::explain, read::timestamp};
use crate::failure::Attempt;

/// Where a listing goes on.
#[derive(Debug)]
enum Page {
    First,
    After(String),
}

pub(super) fn objects(
    bucket: Arc<Bucket>,
    prefix: &str,
) -> BoxStream<'static, Result<ObjectInfo, StoreError>> {
    let attempt = bucket.attempt("list", prefix);
    let prefix = bucket.full_key(prefix);
    let pages = stream::try_unfold(Some(Page::First), move |page| {
        let (bucket, attempt, prefix) = (bucket.clone(), attempt.clone(), prefix.clone());
        async move {
            let Some(page) = page else { return Ok(None) };
            let (answer, next) = bucket.list_page(&prefix, None, page, &attempt).await?;
            let found = answer.contents.unwrap_or_default();
            let infos: Vec<_> = found.iter().filter_map(|object| bucket.info(object)).collect();
            Ok(Some((stream::iter(infos).map(Ok), next)))
        }
    });
    pages.try_flatten().boxed()
}

impl Bucket {
    async fn list_page(
        &self,
        full_prefix: &str,
        delimiter: Option<&str>,
        page: Page,
        attempt: &Attempt,
    ) -> Result<(ListObjectsV2Output, Option<Page>), StoreError> {
        let request = self.client.list_objects_v2().bucket(&self.place.bucket).prefix(full_prefix);
        let mut request = request.set_delimiter(delimiter.map(str::to_owned));
        if let Page::After(token) = page {
            request = request.continuation_token(token);
        }
        let answer = request.send().await.map_err(|error| explain(error, LIST, &self.place, attempt))?;
        let next = match (answer.is_truncated(), answer.next_continuation_token()) {
            (Some(true), Some(token)) => Some(Page::After(token.to_owned())),
            (Some(true), None) => {
                let message = "the server cut the listing and did not say where it goes on";
                return Err(attempt.failed(StoreErrorKind::Other, message));
            }
            _ => None,
        };
        Ok((answer, next))
    }

    fn info(&self, object: &Object) -> Option<ObjectInfo> {
        Some(ObjectInfo {
            key: self.own_key(object.key()?),
            size_bytes: length(object.size()),
            modified: timestamp(object.last_modified()),
            etag: object.e_tag().map(str::to_owned),
        })
    }

    pub(super) async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let attempt = self.attempt("list the folders of", prefix);
        let prefix = self.full_key(prefix);
        let mut folders = Vec::new();
        let mut page = Some(Page::First);
        while let Some(this) = page {
            let (answer, next) = self.list_page(&prefix, Some("/"), this, &attempt).await?;
            let found = answer.common_prefixes().iter().filter_map(|folder| folder.prefix());
            let names = found.filter_map(|folder| folder.strip_prefix(&prefix)?.strip_suffix('/'));
            folders.extend(names.map(str::to_owned));
            page = next;
        }
        folders.sort_unstable();
        folders.dedup();
        Ok(folders)
    }

    pub(super) async fn list_uploads(&self, prefix: &str) -> Result<Vec<UnfinishedUpload>, StoreError> {
        let attempt = self.attempt("list the unfinished uploads of", prefix);
        let prefix = self.full_key(prefix);
        let mut uploads = Vec::new();
        let (mut key_marker, mut upload_marker) = (None, None);
        loop {
            let request = self.client.list_multipart_uploads().bucket(&self.place.bucket).prefix(&prefix);
            let request = request.set_key_marker(key_marker).set_upload_id_marker(upload_marker);
            let answer =
                request.send().await.map_err(|error| explain(error, LIST_UPLOADS, &self.place, &attempt))?;
            let found = answer.uploads().iter().filter_map(|upload| self.unfinished(upload));
            // Some servers take the prefix of this listing as a mere hint.
            uploads.extend(found.filter(|upload| self.full_key(&upload.key).starts_with(&prefix)));
            (key_marker, upload_marker) = (answer.next_key_marker, answer.next_upload_id_marker);
            if !answer.is_truncated.unwrap_or(false) || key_marker.is_none() {
                break;
            }
        }
        uploads.sort_by(|a, b| (&a.key, &a.upload_id).cmp(&(&b.key, &b.upload_id)));
        Ok(uploads)
    }

    fn unfinished(&self, upload: &MultipartUpload) -> Option<UnfinishedUpload> {
        Some(UnfinishedUpload {
            key: self.own_key(upload.key()?),
            upload_id: upload.upload_id()?.to_owned(),
            started: timestamp(upload.initiated()),
        })
    }

    pub(super) async fn abort_upload(&self, key: &str, upload_id: &str) -> Result<(), StoreError> {
        let attempt = self.attempt("abort the upload of", key);
        let request = self.client.abort_multipart_upload().bucket(&self.place.bucket).key(self.full_key(key));
        match request
            .upload_id(upload_id)
            .send()
            .await
            .map_err(|error| explain(error, ABORT, &self.place, &attempt))
        {
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(()),
            answer => answer.map(drop),
        }
    }
}
