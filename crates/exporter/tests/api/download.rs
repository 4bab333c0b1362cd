//! Downloading.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use convault_core::{Export, ExportStream, Source as _, SourceError, SourceErrorKind};
use futures::{StreamExt as _, stream};

use crate::fake::{Fake, OURS, after_start, error, pass, zip};

fn export(size_bytes: Option<u64>) -> Export {
    Export {
        id: OURS.to_owned(),
        snapshot_ts_ns: after_start(60),
        size_bytes,
        include_files: true,
        adopted: false,
    }
}

async fn collect(stream: ExportStream) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    let mut stream = stream.bytes;
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(bytes)
}

#[tokio::test]
async fn an_export_is_downloaded_by_its_id() {
    let fake = Fake::start(|_| zip(10)).await;
    let stream = fake.source().open(&export(Some(10))).await.unwrap();
    assert_eq!(stream.length_bytes, 10);
    assert_eq!(collect(stream).await.unwrap(), b"0123456789");
    assert_eq!(fake.names(), ["download gg2ours"]);
}

#[tokio::test]
async fn an_old_server_is_asked_by_the_snapshots_time() {
    let by_time = format!("download {}", after_start(60));
    let fake =
        Fake::start(move |call| if call.is(&by_time) { zip(10) } else { error(400, "BadPathArgs") }).await;
    assert_eq!(collect(fake.source().open(&export(Some(10))).await.unwrap()).await.unwrap().len(), 10);
}

#[tokio::test]
async fn opening_is_repeated_while_the_deployment_is_busy() {
    let fake = Fake::start(|call| if call.nth < 2 { error(503, "Busy") } else { zip(10) }).await;
    assert_eq!(collect(fake.source().open(&export(None)).await.unwrap()).await.unwrap().len(), 10);
    assert_eq!(fake.count("download gg2ours"), 3);
}

#[tokio::test]
async fn a_deployment_that_stays_busy_is_a_transient_error() {
    let fake = Fake::start(|_| error(503, "Busy")).await;
    assert_eq!(fake.source().open(&export(None)).await.unwrap_err().kind, SourceErrorKind::Transient);
}

#[tokio::test]
async fn an_export_that_is_gone_is_lost() {
    for (status, code) in [(404, "ExportNotFound"), (400, "ExportNotComplete"), (400, "BadSnapshotId")] {
        let fake = Fake::start(move |_| error(status, code)).await;
        let failure = fake.source().open(&export(None)).await.unwrap_err();
        assert_eq!(failure.kind, SourceErrorKind::ExportLost, "{code}");
    }
}

#[tokio::test]
async fn a_length_other_than_the_rows_is_refused() {
    let fake = Fake::start(|_| zip(10)).await;
    let failure = fake.source().open(&export(Some(110))).await.unwrap_err();
    assert_eq!(failure.kind, SourceErrorKind::Transit);
    assert!(failure.message.contains("announces 10 bytes, but the export has 110"), "{failure}");
}

/// A body of 10 bytes without an announced length.
fn unannounced() -> Response {
    let chunks = ["01234", "56789"].map(Ok::<_, std::convert::Infallible>);
    Response::new(Body::from_stream(stream::iter(chunks)))
}

#[tokio::test]
async fn without_an_announced_length_the_rows_is_held_to() {
    for (size, words) in
        [(10, ""), (12, "ended after 10 of 12 bytes"), (7, "went on past its end, to 10 of 7 bytes")]
    {
        let fake = Fake::start(|_| Some(unannounced())).await;
        let stream = fake.source().open(&export(Some(size))).await.unwrap();
        assert_eq!(stream.length_bytes, size);
        match collect(stream).await {
            Ok(bytes) => assert_eq!((bytes.len(), words), (10, "")),
            Err(failure) => {
                assert_eq!(failure.kind, SourceErrorKind::Transit);
                assert!(!words.is_empty() && failure.message.contains(words), "{failure}");
            }
        }
    }
    let fake = Fake::start(|_| Some(unannounced())).await;
    assert_eq!(fake.source().open(&export(None)).await.unwrap_err().kind, SourceErrorKind::Unsupported);
}

#[tokio::test]
async fn a_download_that_falls_silent_ends_in_a_transit_error() {
    let fake = Fake::start(|_| {
        let first = stream::iter([Ok::<_, std::convert::Infallible>("01234")]);
        Some(Response::new(Body::from_stream(first.chain(stream::pending()))))
    })
    .await;
    let mut stream = fake.source().open(&export(Some(10))).await.unwrap();
    assert_eq!(stream.bytes.next().await.unwrap().unwrap(), b"01234"[..]);
    let (rest, ()) = tokio::join!(collect(stream), pass(Duration::from_mins(3), || true));
    let failure = rest.unwrap_err();
    assert_eq!(failure.kind, SourceErrorKind::Transit);
    assert!(failure.message.contains("broke after 5 of 10 bytes"), "{failure}");
}

#[tokio::test]
async fn the_stream_ends_after_its_error() {
    let fake = Fake::start(|_| Some(unannounced())).await;
    let stream = fake.source().open(&export(Some(12))).await.unwrap();
    let chunks: Vec<_> = stream.bytes.collect().await;
    assert_eq!(chunks.iter().filter(|chunk| chunk.is_err()).count(), 1);
    assert!(chunks.last().is_some_and(Result::is_err));
}
