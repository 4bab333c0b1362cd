//! The key is in no error, warning, progress or debug output, even where the server repeats it.

use std::error::Error;
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use convault_core::{Export, ExportRequest, Release, Source as _, SourceError};
use serde_json::{Value, json};

use crate::fake::{Call, Fake, KEY, OURS, Told, error, ok, request, running, some, value};

fn echo(status: u16) -> Option<Response> {
    some(
        status,
        json!({ "code": KEY, "message": format!("no {KEY}"), "status": "error", "errorMessage": KEY }),
    )
}

fn assert_clean(words: &str) {
    let secret = KEY.split_once('|').unwrap().1;
    assert!(!words.contains(secret), "{words}");
}

fn assert_error_is_clean(error: &SourceError) {
    assert_clean(&format!("{error} {error:?}"));
    let mut cause = error.source();
    while let Some(error) = cause {
        assert_clean(&format!("{error} {error:?}"));
        cause = error.source();
    }
}

#[tokio::test]
async fn no_door_of_a_source_shows_the_key() {
    let export = Export {
        id: OURS.to_owned(),
        snapshot_ts_ns: 0,
        size_bytes: None,
        include_files: true,
        adopted: false,
    };
    for status in [200, 302, 400, 401, 403, 404, 500, 503] {
        let fake = Fake::start(move |_| echo(status)).await;
        let source = fake.source();
        assert_clean(&format!("{source:?}"));
        let quick = ExportRequest { deadline: Duration::from_millis(300), ..request() };
        assert_error_is_clean(&source.preflight().await.unwrap_err());
        assert_error_is_clean(&source.export(quick, &|_| {}).await.unwrap_err());
        if let Err(error) = source.open(&export).await {
            assert_error_is_clean(&error);
        }
        if let Release::Refused(reason) = source.release(&export).await {
            assert_clean(&reason);
        }
    }
}

/// Orderly until our export runs, then an echo of the key in answer to everything.
fn turning(call: &Call, status: u16) -> Option<Response> {
    match (call.name.as_str(), call.nth) {
        ("request", _) => ok(),
        ("latest", 0) => value(Value::Null),
        ("latest", 1) => value(running(OURS, "Backing up")),
        _ => echo(status),
    }
}

#[tokio::test]
async fn no_failure_while_waiting_or_cancelling_shows_the_key() {
    for status in [200, 302, 400, 401, 403, 404, 500, 503] {
        let fake = Fake::start(move |call| turning(call, status)).await;
        let limits = ExportRequest { no_progress_limit: Duration::from_millis(100), ..request() };
        let error = fake.source().export(limits, &|_| {}).await.unwrap_err();
        assert!(error.message.contains(OURS), "{error}");
        assert_error_is_clean(&error);
    }
}

#[tokio::test]
async fn a_deployment_that_calls_itself_by_the_key_is_not_quoted() {
    let fake = Fake::start(|call| match call.name.as_str() {
        "GET /api/check_admin_key" => some(200, json!({ "success": true })),
        "GET /instance_name" | "GET /version" => Some(KEY.into_response()),
        "request" | "cancel gg2ours" => ok(),
        "latest" if call.nth < 2 => value(Value::Null),
        "latest" => value(running(OURS, KEY)),
        _ => error(404, ""),
    })
    .await;
    let source = fake.source();
    assert_clean(&format!("{:?}", source.preflight().await.unwrap()));
    let told = Told::default();
    let limits = ExportRequest { no_progress_limit: Duration::from_millis(100), ..request() };
    assert_error_is_clean(&source.export(limits, &told.listener()).await.unwrap_err());
    assert_clean(&format!("{:?}", told.all()));
}
