//! Downloading a finished export, and holding the deployment to the length it announced.

use bytes::Bytes;
use convault_convex_client::{ClientError, Deployment, Download};
use convault_core::{Export, ExportStream, SourceError, SourceErrorKind};
use futures::stream::{self, BoxStream, StreamExt as _};

use crate::backoff::retrying;
use crate::settings::RetrySettings;
use crate::teller::Teller;

/// Begins to download `export`. Only the beginning is repeated: there are no ranges, so a download that breaks has to
/// begin again, which is for whoever stores the bytes to decide.
pub(crate) async fn open(
    deployment: &Deployment,
    retry: &RetrySettings,
    teller: &Teller,
    export: &Export,
) -> Result<ExportStream, SourceError> {
    let download = begin(deployment, retry, export).await.map_err(|error| refused(teller, export, error))?;
    let length_bytes = announced(teller, export, download.head.length_bytes)?;
    Ok(ExportStream { length_bytes, bytes: held_to(length_bytes, download.bytes, teller.clone()) })
}

/// By id; where the server takes only the snapshot's time (before 2024-10-30), by that.
async fn begin(
    deployment: &Deployment,
    retry: &RetrySettings,
    export: &Export,
) -> Result<Download, ClientError> {
    match retrying(retry, || deployment.download(&export.id)).await {
        Err(error) if error.status() == Some(400) && error.code() != "ExportNotComplete" => {
            let start_ts = export.snapshot_ts_ns.to_string();
            retrying(retry, || deployment.download(&start_ts)).await
        }
        result => result,
    }
}

fn refused(teller: &Teller, export: &Export, error: ClientError) -> SourceError {
    let id = &export.id;
    if matches!(error.code(), "ExportNotFound" | "ExportNotComplete" | "BadSnapshotId") {
        let message =
            format!("the export {id} is no longer there to download; the next attempt asks for a new one");
        return teller.caused(SourceErrorKind::ExportLost, message, error);
    }
    teller.failed(&format!("cannot download the export {id}"), error)
}

/// The length that must arrive: what the answer's header says, which must be what the row said.
fn announced(teller: &Teller, export: &Export, header: Option<u64>) -> Result<u64, SourceError> {
    match (header, export.size_bytes) {
        (Some(header), Some(row)) if header != row => Err(teller.error(
            SourceErrorKind::Transit,
            format!(
                "the download of export {} announces {header} bytes, but the export has {row}; check what stands \
                 between here and the deployment (a proxy?)",
                export.id
            ),
        )),
        (Some(length), _) | (None, Some(length)) => Ok(length),
        (None, None) => Err(teller.error(
            SourceErrorKind::Unsupported,
            format!(
                "nothing says how long the export {} is, so a cut could not be noticed; update the server, or remove \
                 the proxy that leaves out `Content-Length`",
                export.id
            ),
        )),
    }
}

/// `bytes`, failing when they are fewer or more than `length_bytes`. Ends after the first error.
fn held_to(
    length_bytes: u64,
    bytes: BoxStream<'static, Result<Bytes, ClientError>>,
    teller: Teller,
) -> BoxStream<'static, Result<Bytes, SourceError>> {
    let state = Some((bytes, 0_u64));
    stream::unfold(state, move |state| {
        let teller = teller.clone();
        async move {
            let (mut bytes, before) = state?;
            let wrong = |got: u64| wrong_length(&teller, got, length_bytes);
            match bytes.next().await {
                Some(Ok(chunk)) => {
                    let got = before + chunk.len() as u64;
                    if got > length_bytes {
                        Some((Err(wrong(got)), None))
                    } else {
                        Some((Ok(chunk), Some((bytes, got))))
                    }
                }
                Some(Err(error)) => Some((Err(broken(&teller, before, length_bytes, error)), None)),
                None if before < length_bytes => Some((Err(wrong(before)), None)),
                None => None,
            }
        }
    })
    .boxed()
}

fn wrong_length(teller: &Teller, got: u64, length_bytes: u64) -> SourceError {
    let what = if got < length_bytes { "ended after" } else { "went on past its end, to" };
    let message = format!("the download {what} {got} of {length_bytes} bytes; it has to begin again");
    teller.error(SourceErrorKind::Transit, message)
}

fn broken(teller: &Teller, got: u64, length_bytes: u64, error: ClientError) -> SourceError {
    let message = format!("the download broke after {got} of {length_bytes} bytes; it has to begin again");
    teller.caused(SourceErrorKind::Transit, message, error)
}
