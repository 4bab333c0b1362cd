//! Listing stored files and fetching them one by one, no faster than the settings allow.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use convault_convex_client::{ClientError, ComponentRow, Deployment, FileDownload, ListedFile};
use convault_core::{FileRow, FileStream, Secret, SourceError, SourceErrorKind};
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::backoff::retrying;
use crate::settings::{FileSettings, RetrySettings};
use crate::teller::Teller;

/// A UUID that no file has: asking for it tells whether files are served at all.
const NO_FILE: &str = "00000000-0000-4000-8000-000000000000";
const PAUSED: &str = "BackendIsNotRunning";

/// How fast files are fetched: so many at once, and so many begun in a second.
#[derive(Debug)]
pub(crate) struct Pace {
    at_once: Arc<Semaphore>,
    between: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    pub(crate) fn new(settings: FileSettings) -> Self {
        Self {
            at_once: Arc::new(Semaphore::new(settings.at_once.max(1))),
            between: Duration::from_secs(1) / settings.per_second.max(1),
            next: Mutex::new(None),
        }
    }

    /// Waits for a turn, which lasts until the permit is dropped.
    async fn turn(&self) -> OwnedSemaphorePermit {
        let permit = Arc::clone(&self.at_once).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let at = {
            let mut next = self.next.lock().await;
            let at = next.map_or_else(Instant::now, |next| next.max(Instant::now()));
            *next = Some(at + self.between);
            at
        };
        tokio::time::sleep_until(at).await;
        permit
    }
}

/// Why files cannot be fetched; `None` where they can.
pub(crate) async fn why_not(
    deployment: &Deployment,
    retry: &RetrySettings,
    teller: &Teller,
) -> Result<Option<String>, SourceError> {
    let nobody = Secret::new(NO_FILE);
    match retrying(retry, || look_for(deployment, &nobody)).await {
        Ok(why) => Ok(why),
        Err(error) => Err(teller.failed("cannot see whether stored files can be fetched", error)),
    }
}

async fn look_for(deployment: &Deployment, nobody: &Secret) -> Result<Option<String>, ClientError> {
    match deployment.open_file(nobody, None).await {
        Err(error) if error.code() == PAUSED => {
            Ok(Some("the deployment is paused, and serves no stored files until it is resumed".to_owned()))
        }
        Ok(_) => Ok(None),
        Err(error) if error.code() == "FileNotFound" => Ok(None),
        Err(error) => Err(error),
    }
}

/// All files of all components, as [`convault_core::Source::list_files`] gives them.
pub(crate) fn list(
    deployment: Deployment,
    retry: RetrySettings,
    teller: Teller,
) -> BoxStream<'static, Result<FileRow, SourceError>> {
    let listing = Listing { deployment, retry, teller, components: None, cursor: None };
    let pages = stream::unfold(Some(listing), |listing| async move {
        let mut listing = listing?;
        match listing.next_page().await {
            Ok(Some(rows)) => Some((stream::iter(rows.into_iter().map(Ok)).boxed(), Some(listing))),
            Ok(None) => None,
            Err(error) => {
                let error = listing.teller.failed("cannot list the stored files", error);
                Some((stream::iter([Err(error)]).boxed(), None))
            }
        }
    });
    pages.flatten().boxed()
}

struct Listing {
    deployment: Deployment,
    retry: RetrySettings,
    teller: Teller,
    /// Those still to be listed, the next one last; `None` before they are known.
    components: Option<Vec<ComponentRow>>,
    cursor: Option<String>,
}

impl Listing {
    /// The next page, perhaps an empty one; `None` after the last.
    async fn next_page(&mut self) -> Result<Option<Vec<FileRow>>, ClientError> {
        if self.components.is_none() {
            let mut components = retrying(&self.retry, || self.deployment.components()).await?;
            components.reverse();
            self.components = Some(components);
        }
        let components = self.components.as_mut().expect("they were asked for above");
        let Some(component) = components.last() else { return Ok(None) };
        let id = (!component.path.is_empty()).then_some(component.id.as_str());
        let cursor = self.cursor.as_deref();
        let page = retrying(&self.retry, || self.deployment.list_files(id, cursor)).await?;
        let rows = page.files.into_iter().map(|file| row(&component.path, file)).collect();
        self.cursor = page.next;
        if self.cursor.is_none() {
            components.pop();
        }
        Ok(Some(rows))
    }
}

fn row(component: &str, file: ListedFile) -> FileRow {
    FileRow {
        component: component.to_owned(),
        component_id: file.component,
        id: file.id,
        creation_time: file.creation_time,
        sha256: file.sha256,
        size_bytes: file.size_bytes,
        content_type: file.content_type,
        internal_id: file.internal_id,
    }
}

/// Begins to fetch a file once it is its turn.
pub(crate) async fn open(
    deployment: &Deployment,
    retry: &RetrySettings,
    teller: &Teller,
    pace: &Pace,
    row: &FileRow,
) -> Result<FileStream, SourceError> {
    let turn = pace.turn().await;
    let open = || deployment.open_file(&row.internal_id, row.component_id.as_deref());
    let file = retrying(retry, open).await.map_err(|error| refused(teller, row, error))?;
    announced(teller, row, &file)?;
    let bytes = held_to(row.size_bytes, file.bytes, teller.clone(), row.shown_id(), turn);
    Ok(FileStream { length_bytes: row.size_bytes, bytes })
}

fn refused(teller: &Teller, row: &FileRow, error: ClientError) -> SourceError {
    let id = row.shown_id();
    match error.code() {
        "FileNotFound" => {
            teller.caused(SourceErrorKind::Missing, format!("the stored file {id} is not there"), error)
        }
        PAUSED => {
            let message = format!("the deployment was paused before the stored file {id} could be fetched");
            teller.caused(SourceErrorKind::Transient, message, error)
        }
        _ => teller.failed(&format!("cannot fetch the stored file {id}"), error),
    }
}

/// What the headers announce must be what the row says; the content is compared by whoever stores it.
fn announced(teller: &Teller, row: &FileRow, file: &FileDownload) -> Result<(), SourceError> {
    let what = if file.length_bytes.is_some_and(|length| length != row.size_bytes) {
        "with another length"
    } else if file.sha256.is_some_and(|sha256| sha256 != row.sha256) {
        "with another digest"
    } else {
        return Ok(());
    };
    let message = format!("the stored file {} comes {what} than its row says", row.shown_id());
    Err(teller.error(SourceErrorKind::Transit, message))
}

/// `bytes`, failing when they are fewer or more than `length_bytes`; the turn ends with them.
fn held_to(
    length_bytes: u64,
    bytes: BoxStream<'static, Result<Bytes, ClientError>>,
    teller: Teller,
    id: String,
    turn: OwnedSemaphorePermit,
) -> BoxStream<'static, Result<Bytes, SourceError>> {
    let state = Some((bytes, 0_u64, turn, teller, id));
    stream::unfold(state, move |state| async move {
        let (mut bytes, before, turn, teller, id) = state?;
        let wrong = |got: u64| {
            let message = format!("the stored file {id} came as {got} of {length_bytes} bytes");
            teller.error(SourceErrorKind::Transit, message)
        };
        match bytes.next().await {
            Some(Ok(chunk)) => {
                let got = before + chunk.len() as u64;
                if got > length_bytes {
                    return Some((Err(wrong(got)), None));
                }
                Some((Ok(chunk), Some((bytes, got, turn, teller, id))))
            }
            Some(Err(error)) => {
                let message =
                    format!("the stored file {id} broke off after {before} of {length_bytes} bytes");
                Some((Err(teller.caused(SourceErrorKind::Transit, message, error)), None))
            }
            None if before < length_bytes => Some((Err(wrong(before)), None)),
            None => None,
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn files_are_begun_no_faster_than_allowed() {
        let pace = Pace::new(FileSettings { at_once: 2, per_second: 10 });
        let begun = Instant::now();
        for _ in 0..21 {
            drop(pace.turn().await);
        }
        assert_eq!(begun.elapsed().as_secs(), 2);
        let held = (pace.turn().await, pace.turn().await);
        assert!(tokio::time::timeout(Duration::from_hours(1), pace.turn()).await.is_err());
        drop(held);
        drop(pace.turn().await);
    }
}
