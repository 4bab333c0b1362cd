//! [`DirectoryStore`]: a destination that is a folder of the machine, for instance a mounted disk.

mod paths;
mod read;
mod upload;
mod walk;
mod write;

use std::{io, ops::Range, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use convault_core::{
    Abilities, Ability, Attributes, ByteStream, DestinationName, Fetched, ObjectInfo, PutMode, Store,
    StoreError, StoreErrorKind, Stored, UnfinishedUpload, Upload,
};
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};

use self::{paths::Paths, upload::DirectoryUpload, walk::Walk};
use crate::{
    extent,
    failure::Attempt,
    probe::{self, BucketSays},
};

/// A destination below a folder: the object `a/b` is the file `a/b` below it.
///
/// What is written first grows in `.uploads` below the root, which no listing shows, and is moved to its place
/// when it is complete: file and folders are synced before a call returns. Put-if-absent is a hard link, or a
/// rename under a lock where the file system has no hard links; replace-if-match is a rename under the same
/// lock, which binds every Convault that writes here. No checksum is ever confirmed: callers read back.
///
/// The root must exist. It is never made, because a folder made where a disk is not mounted would take the
/// backups that belong on the disk.
#[derive(Debug, Clone)]
pub struct DirectoryStore {
    destination: DestinationName,
    paths: Arc<Paths>,
}

impl DirectoryStore {
    /// The destination below the folder `root`. Touches nothing: a missing root shows in the first call.
    pub fn new(destination: DestinationName, root: impl Into<PathBuf>) -> Self {
        Self { destination, paths: Arc::new(Paths::new(root.into())) }
    }

    fn attempt(&self, action: &'static str, key: &str) -> Attempt {
        Attempt::new(&self.destination, action, key)
    }

    /// Runs `work` where it may block, and tells what its failure means.
    async fn blocking<T: Send + 'static>(
        &self,
        attempt: &Attempt,
        work: impl FnOnce(&Paths) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        blocking(&self.paths, attempt, work).await
    }
}

async fn blocking<T: Send + 'static>(
    paths: &Arc<Paths>,
    attempt: &Attempt,
    work: impl FnOnce(&Paths) -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let (paths, attempt) = (paths.clone(), attempt.clone());
    let done =
        tokio::task::spawn_blocking(move || work(&paths).map_err(|error| failure(error, &paths, &attempt)));
    done.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// What an error of the file system means to the caller, with the remedy.
fn failure(error: io::Error, paths: &Paths, attempt: &Attempt) -> StoreError {
    use io::ErrorKind as Io;
    let root = paths.root().display();
    match error.kind() {
        Io::NotFound | Io::NotADirectory if !paths.root().is_dir() => attempt.failed_by(
            StoreErrorKind::Other,
            format!("{root} is not there or not a directory: mount or make it"),
            error,
        ),
        Io::NotFound => attempt.failed(StoreErrorKind::NotFound, "there is no such object"),
        Io::AlreadyExists => attempt.failed(
            StoreErrorKind::AlreadyExists,
            "there is an object of this key, or not the one to be replaced, and it was left as it was",
        ),
        Io::PermissionDenied | Io::ReadOnlyFilesystem => attempt.failed_by(
            StoreErrorKind::Denied,
            format!("let the user Convault runs as read and write below {root}"),
            error,
        ),
        Io::StorageFull | Io::QuotaExceeded => attempt.failed_by(
            StoreErrorKind::Full,
            format!("free space on the file system of {root}, or raise the quota"),
            error,
        ),
        Io::TimedOut | Io::StaleNetworkFileHandle | Io::HostUnreachable | Io::NetworkUnreachable => attempt
            .failed_by(StoreErrorKind::Transient, format!("the file system of {root} did not answer"), error),
        Io::UnexpectedEof => {
            attempt.failed(StoreErrorKind::Corrupt, "the file became shorter while it was read")
        }
        Io::InvalidFilename | Io::InvalidInput => attempt.failed_by(
            StoreErrorKind::Other,
            "no file of this name can be there: use a shorter or plainer key",
            error,
        ),
        _ => attempt.failed_by(StoreErrorKind::Other, format!("the file system of {root} refused"), error),
    }
}

#[async_trait]
impl Store for DirectoryStore {
    fn destination(&self) -> &DestinationName {
        &self.destination
    }

    fn location(&self) -> String {
        self.paths.root().display().to_string()
    }

    async fn put_with(
        &self,
        key: &str,
        body: Bytes,
        mode: PutMode,
        _attributes: &Attributes,
    ) -> Result<Stored, StoreError> {
        let attempt = self.attempt("put", key);
        let key = key.to_owned();
        self.blocking(&attempt, move |paths| write::put(paths, &key, &body, &mode)).await
    }

    async fn upload_with(
        &self,
        key: &str,
        part_bytes: u64,
        mode: PutMode,
        _attributes: &Attributes,
    ) -> Result<Box<dyn Upload>, StoreError> {
        let attempt = self.attempt("begin the upload of", key);
        let wanted = key.to_owned();
        let temporary =
            self.blocking(&attempt, move |paths| write::Temporary::create(paths, &wanted)).await?;
        Ok(Box::new(DirectoryUpload::new(self.clone(), key, part_bytes, mode, temporary)))
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        let attempt = self.attempt("get", key);
        let wanted = key.to_owned();
        let (file, size_bytes) = self.blocking(&attempt, move |paths| read::open(paths, &wanted)).await?;
        let range = extent::within(range, size_bytes, &attempt)?;
        Ok(read::stream(self.paths.clone(), attempt, file, range))
    }

    async fn fetch(
        &self,
        key: &str,
        range: Option<Range<u64>>,
        if_match: Option<&str>,
    ) -> Result<Fetched, StoreError> {
        let attempt = self.attempt("get", key);
        let wanted = key.to_owned();
        let (file, info) = self.blocking(&attempt, move |paths| read::open_with(paths, &wanted)).await?;
        if if_match.is_some() && info.etag.as_deref() != if_match {
            return Err(attempt.failed(StoreErrorKind::AlreadyExists, "another file has taken its place"));
        }
        let range = extent::within(range, info.size_bytes, &attempt)?;
        let etag = info.etag.clone().unwrap_or_default();
        let stream = read::unchanged_stream(self.paths.clone(), attempt, file, range, etag);
        Ok(Fetched { info, attributes: Attributes::default(), stream })
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        let attempt = self.attempt("read the size of", key);
        let key = key.to_owned();
        self.blocking(&attempt, move |paths| read::head(paths, &key)).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<ObjectInfo, StoreError>> {
        let (attempt, paths) = (self.attempt("list", prefix), self.paths.clone());
        let pages = stream::try_unfold(Walk::new(prefix), move |mut walk| {
            let (attempt, paths) = (attempt.clone(), paths.clone());
            async move {
                let next = move |paths: &Paths| Ok((walk.next_page(paths)?, walk));
                let (page, walk) = blocking(&paths, &attempt, next).await?;
                Ok((!page.is_empty()).then_some((page, walk)))
            }
        });
        let in_pages = |page: Result<Vec<ObjectInfo>, StoreError>| match page {
            Ok(page) => stream::iter(page.into_iter().map(Ok)).boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        };
        pages.flat_map(in_pages).boxed()
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let attempt = self.attempt("list the folders of", prefix);
        let prefix = prefix.to_owned();
        self.blocking(&attempt, move |paths| walk::folders(paths, &prefix)).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let attempt = self.attempt("delete", key);
        let key = key.to_owned();
        self.blocking(&attempt, move |paths| write::delete(paths, &key)).await
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<UnfinishedUpload>, StoreError> {
        let attempt = self.attempt("list the unfinished uploads of", prefix);
        let prefix = prefix.to_owned();
        self.blocking(&attempt, move |paths| walk::uploads(paths, &prefix)).await
    }

    async fn abort_upload(&self, upload: &UnfinishedUpload) -> Result<(), StoreError> {
        let attempt = self.attempt("abort the upload of", &upload.key);
        let upload_id = upload.upload_id.clone();
        self.blocking(&attempt, move |paths| write::remove_temporary(paths, &upload_id)).await
    }

    async fn abilities(&self) -> Result<Abilities, StoreError> {
        // A directory is never asked for a checksum, so it cannot be said to ignore the question.
        Ok(Abilities { checksums: Ability::Refused, ..probe::abilities(self, BucketSays::NEITHER).await? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_file_system_have_their_kind_and_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path().to_owned());
        let attempt = Attempt::new(&DestinationName::new("shelf").unwrap(), "put", "a/b");
        // The numbers are Linux's: ENOENT, EACCES, EROFS, ENOSPC, EDQUOT, ESTALE, EIO.
        let cases = [
            (2, StoreErrorKind::NotFound, "no such object"),
            (13, StoreErrorKind::Denied, "read and write below"),
            (30, StoreErrorKind::Denied, "read and write below"),
            (28, StoreErrorKind::Full, "free space"),
            (122, StoreErrorKind::Full, "quota"),
            (116, StoreErrorKind::Transient, "did not answer"),
            (5, StoreErrorKind::Other, "refused"),
        ];
        for (number, kind, part) in cases {
            let error = failure(io::Error::from_raw_os_error(number), &paths, &attempt);
            assert_eq!(error.kind, kind, "errno {number}");
            assert!(error.to_string().contains(part), "errno {number}: {error}");
        }
    }
}
