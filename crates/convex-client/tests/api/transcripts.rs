//! The answers that a real backend was recorded giving, given again. Skipped where the recordings are absent.

use std::path::PathBuf;

use crate::server::{Server, raw};
use convault_convex_client::{ClientError, Deployment, ExportState, RetryClass};
use convault_core::{ImportId, ImportStatus};

/// One recorded exchange: the request's first line, and the answer.
struct Exchange {
    request: String,
    status: u16,
    answer: String,
}

#[expect(clippy::print_stderr, reason = "a test that did nothing says so")]
#[expect(clippy::disallowed_methods, reason = "where the recordings are is not a setting of the product")]
/// The exchanges of one recording, or `None`, saying so, where it is absent.
fn recording(name: &str) -> Option<Vec<Exchange>> {
    let folder = std::env::var_os("CONVAULT_FIXTURES").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures/convex")),
        PathBuf::from,
    );
    let path = folder.join("transcripts").join(name);
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: {} is absent", path.display());
        return None;
    };
    Some(text.split("\n### ").map(exchange).collect())
}

fn exchange(text: &str) -> Exchange {
    let text = text.trim_start_matches("### ");
    let request = text.lines().nth(1).unwrap_or_default().to_owned();
    let answer = text.split_once("\nHTTP/1.1 ").map(|(_, answer)| answer).unwrap_or_default();
    let (head, body) = answer.split_once("\n\n").unwrap_or((answer, ""));
    let headers: Vec<_> = head.lines().filter(|line| !line.starts_with("content-length")).collect();
    let body = body.trim();
    let answer = format!("HTTP/1.1 {}\r\ncontent-length: {}\r\n\r\n{body}", headers.join("\r\n"), body.len());
    Exchange { request, status: head[..3].parse().unwrap(), answer }
}

async fn server(exchange: &Exchange) -> Server {
    let answer = exchange.answer.clone();
    Server::start(move |_| raw(answer.clone())).await
}

/// Makes the request that an exchange records, if it is one that this crate makes.
async fn repeat(deployment: &Deployment, request: &str) -> Option<Result<(), ClientError>> {
    Some(match request.split('?').next()?.split(" HTTP").next()? {
        "GET /version" => deployment.version().await.map(drop),
        "GET /instance_name" => deployment.instance_name().await.map(drop),
        "GET /api/check_admin_key" => deployment.check_admin_key().await.map(drop),
        "POST /api/export/request/zip" => deployment.request_export(true).await,
        path if path.starts_with("POST /api/export/cancel/") => deployment.cancel_export("x").await,
        path if path.starts_with("POST /api/export/set_expiration/") => {
            deployment.set_export_expiration("x", 0).await
        }
        path if path.starts_with("GET /api/export/zip/") => deployment.download("x").await.map(drop),
        _ => return None,
    })
}

#[tokio::test]
async fn every_recorded_answer_is_understood() {
    let mut repeated = 0;
    for name in [
        "01-server.http",
        "02-auth.http",
        "09-export.http",
        "10-export-variants.http",
        "11-export-cancel.http",
    ] {
        let Some(exchanges) = recording(name) else { return };
        for exchange in exchanges {
            let server = server(&exchange).await;
            let Some(result) = repeat(&server.deployment(), &exchange.request).await else { continue };
            repeated += 1;
            match result {
                Ok(()) => assert_eq!(exchange.status, 200, "{name}: {}", exchange.request),
                Err(error) => {
                    assert_eq!(
                        error.status(),
                        Some(exchange.status),
                        "{name}: {}: {error}",
                        exchange.request
                    );
                    let is_named = !error.code().is_empty() || error.status() == Some(404);
                    assert!(is_named, "{name}: {}: {error}", exchange.request);
                    if matches!(exchange.status, 400..=403) {
                        assert_eq!(error.retry_class(), RetryClass::Never, "{error}");
                    }
                }
            }
        }
    }
    assert!(repeated > 25, "{repeated}");
}

#[tokio::test]
async fn every_recorded_row_is_read() {
    let mut states = Vec::new();
    for name in [
        "09-export.http",
        "11-export-cancel.http",
        "15-export-crash-and-cancel.http",
        "21-export-missing-file.http",
    ] {
        let Some(exchanges) = recording(name) else { return };
        for exchange in exchanges.iter().filter(|exchange| exchange.answer.contains("\"requestor\"")) {
            let row = server(exchange).await.deployment().latest_export().await.unwrap().unwrap();
            assert!(row.id.starts_with("gg2") && row.creation_time_ms > 1e12);
            assert_eq!(row.size_bytes.is_some(), row.state == ExportState::Completed);
            states.push(row.state);
        }
    }
    for state in [ExportState::InProgress, ExportState::Completed, ExportState::Canceled] {
        assert!(states.contains(&state), "{state:?}");
    }
}

#[tokio::test]
async fn every_recorded_import_is_read() {
    let (mut waiting, mut going, mut completed, mut failures) = (0, 0, Vec::new(), Vec::new());
    for name in ["05-import-stored.http", "06-import-cancel.http", "07-import-failures.http"] {
        let Some(exchanges) = recording(name) else { return };
        for exchange in exchanges.iter().filter(|exchange| exchange.answer.contains("\"requestor\"")) {
            let server = server(exchange).await;
            let row = server.deployment().import(&ImportId("km2".to_owned())).await.unwrap().unwrap();
            assert!(row.id.0.starts_with("km2"));
            match row.status {
                ImportStatus::Uploaded => {}
                ImportStatus::WaitingForConfirmation { message, .. } => {
                    assert!(message.starts_with("Import change summary:\ntable"), "{message}");
                    waiting += 1;
                }
                ImportStatus::InProgress { message } => {
                    assert!(message.starts_with("Import"), "{message}");
                    going += 1;
                }
                ImportStatus::Completed { documents } => completed.push(documents),
                ImportStatus::Failed { message } => {
                    assert!(!message.is_empty() && !message.contains('\n'), "{message}");
                    failures.push(message);
                }
            }
        }
    }
    assert!(waiting > 0 && going > 0 && completed.iter().any(|documents| *documents > 0), "{completed:?}");
    assert!(failures.iter().any(|message| message.contains("Import canceled")), "{failures:?}");
}
