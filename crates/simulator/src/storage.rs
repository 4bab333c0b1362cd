//! The route by which stored files are read: by the UUID in their URL, without a key.

use std::io::{self, Write};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use convault_core::Sha256;
use futures::stream;
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::api_error::ApiError;
use crate::database::is_uuid;
use crate::faults::FaultKind;
use crate::generator::Generator;
use crate::spool::FileContent;
use crate::state::AppState;

const CACHE_CONTROL: &str = "private, max-age=2592000";
/// Larger files that are made up are made while they are sent.
const AT_ONCE_BYTES: u64 = 1 << 20;
const PIECES_AHEAD: usize = 4;

pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/api/storage/{uuid}", get(stored_file))
}

#[derive(Deserialize)]
struct Where {
    component: Option<String>,
}

/// A stored file that was found.
struct Found {
    content: Content,
    size_bytes: u64,
    sha256: Sha256,
    content_type: Option<String>,
    /// Whether the faults that strike one file strike this one: it is the first of its component that has any bytes.
    is_chosen: bool,
}

enum Content {
    Held(FileContent),
    Generated { generator: Arc<Generator>, index: u64 },
}

async fn stored_file(
    State(state): State<AppState>,
    Path(uuid): Path<String>,
    Query(place): Query<Where>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if state.is_paused() {
        let message = "Cannot run functions while this deployment is disabled. The deployment is paused.";
        return Err(ApiError::bad_request("BackendIsNotRunning", message));
    }
    if state.faults.strike(FaultKind::File503) {
        return Err(ApiError::busy());
    }
    if !is_uuid(&uuid) {
        let message = format!(
            "Invalid storage path: \"{uuid}\". Please use `storage.getUrl(storageId: Id<\"_storage\">)` to generate a \
             valid URL to retrieve files. See https://docs.convex.dev/file-storage/serve-files for more details"
        );
        return Err(ApiError::bad_request("InvalidStoragePath", message));
    }
    let found = find(&state, &uuid, place.component.as_deref());
    let not_there = |found: &Found| found.is_chosen && state.faults.is_on(FaultKind::FileNotFound);
    let mut found = found
        .filter(|found| !not_there(found))
        .ok_or_else(|| ApiError::not_found("FileNotFound", format!("File {uuid} not found")))?;
    let is_damaged = found.is_chosen && state.faults.is_on(FaultKind::DamagedFile);
    let content_type = found.content_type.take().and_then(|text| HeaderValue::try_from(text).ok());
    let mut response = match headers.get(header::RANGE).and_then(|range| byte_range(range.to_str().ok()?)) {
        Some((first, last)) => partial_file(&state, &found, is_damaged, first, last),
        None => whole_file(&state, found, is_damaged),
    };
    if let Some(content_type) = content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    Ok(response)
}

fn find(state: &AppState, uuid: &str, component: Option<&str>) -> Option<Found> {
    let held = state.read(|database| {
        let path = match component {
            None => "",
            Some(id) => database.component_path(id.parse().ok()?)?,
        };
        let file = database.file_by_uuid(path, uuid)?;
        let mut files = database.component(path)?.files().values();
        let chosen = files.find(|file| !file.content.is_empty());
        Some(Found {
            size_bytes: file.content.len(),
            sha256: file.sha256,
            content_type: file.content_type.clone(),
            is_chosen: chosen.is_some_and(|chosen| chosen.id == file.id),
            content: Content::Held(file.content.clone()),
        })
    });
    if held.is_some() || component.is_some() {
        return held;
    }
    let generator = state.generator()?;
    let index = generator.files.by_uuid(uuid)?;
    Some(Found {
        size_bytes: generator.files.size_bytes(),
        sha256: generator.files.sha256(index),
        content_type: generator.files.content_type(index).map(str::to_owned),
        is_chosen: index == 0,
        content: Content::Generated { generator, index },
    })
}

/// What a digest says is what the row says, also where the content is damaged: a real server does not look.
fn whole_file(state: &AppState, found: Found, is_damaged: bool) -> Response {
    let headers = [
        (HeaderName::from_static("digest"), format!("sha-256={}", STANDARD.encode(found.sha256.0))),
        (header::CONTENT_LENGTH, found.size_bytes.to_string()),
        (header::CACHE_CONTROL, CACHE_CONTROL.to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
    ];
    let body = if state.faults.strike(FaultKind::TruncatedFile) {
        let bytes = bytes_of(&found, is_damaged);
        let half = bytes.slice(..bytes.len() / 2);
        count(state, half.len() as u64);
        let broken = io::Error::from(io::ErrorKind::ConnectionAborted);
        Body::from_stream(stream::unfold(Some(half), move |half| {
            let broken = io::Error::from(broken.kind());
            async move {
                match half {
                    Some(half) if !half.is_empty() => Some((Ok(half), Some(Bytes::new()))),
                    Some(_) => {
                        // While the body is pending the server sends what it has.
                        tokio::task::yield_now().await;
                        Some((Err(broken), None))
                    }
                    None => None,
                }
            }
        }))
    } else {
        count(state, found.size_bytes);
        match found.content {
            Content::Generated { generator, index } if found.size_bytes > AT_ONCE_BYTES => {
                streamed(state, generator, index, is_damaged)
            }
            _ => Body::from(bytes_of(&found, is_damaged)),
        }
    };
    (headers, body).into_response()
}

fn count(state: &AppState, bytes: u64) {
    state.count(|counters| {
        counters.files += 1;
        counters.file_bytes += bytes;
    });
}

fn bytes_of(found: &Found, is_damaged: bool) -> Bytes {
    match &found.content {
        Content::Held(content) if !is_damaged => content.bytes(),
        Content::Held(content) => {
            let mut damaged = content.bytes().to_vec();
            if let Some(first) = damaged.first_mut() {
                *first = !*first;
            }
            Bytes::from(damaged)
        }
        Content::Generated { generator, index } => {
            let mut bytes = Vec::new();
            generator.files.write(*index, is_damaged, &mut bytes).expect("memory takes whatever is written");
            Bytes::from(bytes)
        }
    }
}

/// A large file that is made up, on a thread of its own.
fn streamed(state: &AppState, generator: Arc<Generator>, index: u64, is_damaged: bool) -> Body {
    struct Pieces(mpsc::Sender<Bytes>);
    impl Write for Pieces {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let piece = Bytes::copy_from_slice(bytes);
            self.0.blocking_send(piece).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    state.tracker.spawn_blocking(move || {
        if let Err(error) = generator.files.write(index, is_damaged, &mut Pieces(sender)) {
            tracing::debug!(%error, "a stored file was not taken to its end");
        }
    });
    Body::from_stream(stream::unfold(receiver, |mut receiver| async {
        Some((Ok::<_, io::Error>(receiver.recv().await?), receiver))
    }))
}

/// A range past the end gives an empty 206 with an odd `content-range`, as the real server does.
fn partial_file(
    state: &AppState,
    found: &Found,
    is_damaged: bool,
    first: usize,
    last: Option<usize>,
) -> Response {
    let content = bytes_of(found, is_damaged);
    let last = last.unwrap_or(content.len().saturating_sub(1));
    let part =
        content.slice(first.min(content.len())..(last + 1).clamp(first.min(content.len()), content.len()));
    count(state, part.len() as u64);
    let headers = [
        (header::CONTENT_RANGE, format!("bytes {first}-{last}/{}", content.len())),
        (header::CACHE_CONTROL, CACHE_CONTROL.to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
    ];
    (StatusCode::PARTIAL_CONTENT, headers, Body::from(part)).into_response()
}

/// Reads `bytes=a-` and `bytes=a-b`.
fn byte_range(header: &str) -> Option<(usize, Option<usize>)> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let last = if last.is_empty() { None } else { Some(last.parse().ok()?) };
    Some((first.parse().ok()?, last))
}

#[cfg(test)]
mod tests {
    use super::byte_range;

    #[test]
    fn ranges_with_a_first_byte_are_read() {
        assert_eq!(byte_range("bytes=10-19"), Some((10, Some(19))));
        assert_eq!(byte_range("bytes=10-"), Some((10, None)));
        assert_eq!(byte_range("bytes=-10"), None);
    }
}
