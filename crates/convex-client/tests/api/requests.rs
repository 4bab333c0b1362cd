//! What is sent, and what is made of the answers, against a server that answers as told.

use std::time::Duration;

use crate::server::{KEY, Reply, Server, all_words, answer, json, raw};
use convault_convex_client::{
    ClientError, ConnectionSettings, Deployment, ExportState, Platform, RetryClass, Url,
};
use convault_core::Secret;
use futures::StreamExt as _;

#[tokio::test]
async fn the_key_and_the_clients_name_are_sent_where_needed_and_only_there() {
    let server = Server::start(|request| {
        if request.starts_with("GET /version") {
            answer(200, "content-type: text/plain\r\n", "unknown")
        } else {
            json(200, r#"{"success":true,"allowedOps":["ViewData"],"isReadOnly":true}"#)
        }
    })
    .await;
    let check = server.deployment().check_admin_key().await.unwrap();
    assert!(check.is_read_only);
    assert_eq!(server.deployment().version().await.unwrap(), "unknown");
    let requests = server.requests();
    assert!(requests[0].contains(&format!("authorization: Convex {KEY}\r\n")), "{}", requests[0]);
    assert!(requests.iter().all(|request| request.contains("convex-client: convault-0.1.0\r\n")));
    assert!(!requests[1].contains("authorization"), "{}", requests[1]);
}

#[tokio::test]
async fn an_export_is_asked_for_cancelled_and_expired_with_the_requests_of_the_protocol() {
    let server = Server::start(|_| answer(200, "", "")).await;
    let deployment = server.deployment();
    deployment.request_export(true).await.unwrap();
    deployment.cancel_export("a/../b").await.unwrap();
    deployment.set_export_expiration("gg2", 1_792_633_789_305_633_818).await.unwrap();
    let requests = server.requests();
    assert!(requests[0].starts_with("POST /api/export/request/zip?includeStorage=true HTTP/1.1\r\n"));
    assert!(requests[1].starts_with("POST /api/export/cancel/a%2F..%2Fb HTTP/1.1\r\n"), "{}", requests[1]);
    assert!(requests[2].starts_with("POST /api/export/set_expiration/gg2 HTTP/1.1\r\n"));
    assert!(requests[2].contains("content-type: application/json\r\n"));
    assert!(requests[2].ends_with(r#"{"expirationTsNs":1792633789305633818}"#));
}

#[tokio::test]
async fn the_latest_export_is_asked_for_in_the_lossless_encoding() {
    let server = Server::start(|_| {
        json(
            200,
            r#"{"status":"success","logLines":[],"value":{"_id":"gg2","_creationTime":1766000000000.25,
            "state":"completed","format":{"format":"zip","include_storage":true},"component":null,
            "requestor":"snapshotExport","start_ts":{"$integer":"QEujsaQXghg="},"size":{"$integer":"BQAAAAAAAAA="}}}"#,
        )
    })
    .await;
    let row = server.deployment().latest_export().await.unwrap().unwrap();
    assert_eq!((row.state, row.size_bytes), (ExportState::Completed, Some(5)));
    assert_eq!(row.start_ts, Some(1_766_000_000_005_000_000));
    let request = &server.requests()[0];
    assert!(request.starts_with("POST /api/query HTTP/1.1\r\n"));
    assert!(
        request.contains(r#""format":"convex_encoded_json""#) && request.contains(r#""args":{}"#),
        "{request}"
    );
}

#[tokio::test]
async fn a_deployment_without_exports_has_no_latest_one() {
    let server = Server::start(|_| json(200, r#"{"status":"success","value":null}"#)).await;
    assert_eq!(server.deployment().latest_export().await.unwrap(), None);
}

#[tokio::test]
async fn a_failure_inside_a_function_is_read_from_the_status_not_from_the_http_code() {
    let message = r"[Request ID: ff88] Server Error\nYou lack the permission (deployment:backups:view)\n";
    let server = Server::start(move |_| {
        json(200, &format!(r#"{{"status":"error","errorMessage":"{message}","errorData":{{}}}}"#))
    })
    .await;
    let error = server.deployment().latest_export().await.unwrap_err();
    assert!(matches!(error, ClientError::Function { .. }));
    assert_eq!(error.missing_permission(), Some("deployment:backups:view"));
}

#[tokio::test]
async fn a_redirect_is_reported_and_never_followed() {
    let elsewhere = Server::start(|_| json(200, r#"{"success":true}"#)).await;
    let to = elsewhere.url.clone();
    let server = Server::start(move |_| answer(307, &format!("location: {to}api/x?k={KEY}\r\n"), "")).await;
    let error = server.deployment().check_admin_key().await.unwrap_err();
    assert_eq!(error.retry_class(), RetryClass::Never);
    let origin = elsewhere.url.origin().ascii_serialization();
    assert!(error.to_string().contains(&format!("redirects to {origin};")), "{error}");
    assert!(elsewhere.requests().is_empty());
    assert_no_key(&error);
}

#[tokio::test]
async fn a_server_that_asks_to_wait_is_heard() {
    let server =
        Server::start(|_| answer(429, "retry-after: 7\r\n", r#"{"code":"TooManyWrites","message":"m"}"#))
            .await;
    let error = server.deployment().request_export(false).await.unwrap_err();
    assert_eq!(error.code(), "TooManyWrites");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!(error.retry_class(), RetryClass::BackOff);
}

#[tokio::test]
async fn a_page_in_front_of_the_deployment_leaves_only_its_status() {
    let server =
        Server::start(|_| answer(502, "content-type: text/html\r\n", "<html>Bad Gateway</html>")).await;
    let error = server.deployment().check_admin_key().await.unwrap_err();
    assert_eq!(error.to_string(), "check_admin_key: HTTP 502");
}

#[tokio::test]
async fn an_answer_that_is_not_convex_is_said_to_be_none() {
    let server =
        Server::start(|_| answer(200, "content-type: text/html\r\n", "<html>Welcome to nginx</html>")).await;
    let error = server.deployment().check_admin_key().await.unwrap_err();
    assert!(error.to_string().contains("is not that of a Convex deployment"), "{error}");
}

#[tokio::test]
async fn a_silent_server_is_given_up_after_the_limit() {
    let server = Server::start(|_| Reply { bytes: Vec::new(), then_silence: true }).await;
    let quick =
        ConnectionSettings { request_timeout: Duration::from_millis(500), ..ConnectionSettings::default() };
    let error = server.deployment_with(&quick).check_admin_key().await.unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    assert!(error.to_string().ends_with("was silent for 0.5 s"), "{error}");
}

#[tokio::test]
async fn an_endless_answer_is_not_held_in_memory() {
    let server = Server::start(|_| json(200, &" ".repeat(9 << 20))).await;
    let error = server.deployment().check_admin_key().await.unwrap_err();
    assert!(error.to_string().ends_with("it is longer than 8 MiB"), "{error}");
}

const ZIP_HEADERS: &str =
    "content-disposition: attachment; filename=snapshot_rainy-otter-123_1795312184278924770.zip\r\n";

#[tokio::test]
async fn a_download_gives_its_bytes_length_and_time() {
    let server = Server::start(|_| answer(200, ZIP_HEADERS, "0123456789")).await;
    let download = server.deployment().download("gg2").await.unwrap();
    assert_eq!(download.head.length_bytes, Some(10));
    assert_eq!(download.head.snapshot_ts, Some(1_795_312_184_278_924_770));
    let chunks: Vec<_> = download.bytes.map(Result::unwrap).collect().await;
    assert_eq!(chunks.concat(), b"0123456789");
}

#[tokio::test]
async fn a_download_that_is_cut_short_ends_in_an_error() {
    let server = Server::start(|_| raw("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234")).await;
    let chunks: Vec<_> = server.deployment().download("gg2").await.unwrap().bytes.collect().await;
    let (last, before) = chunks.split_last().unwrap();
    assert!(before.iter().all(Result::is_ok));
    assert!(matches!(last, Err(ClientError::Network { .. })));
}

#[tokio::test]
async fn a_download_that_falls_silent_ends_in_an_error() {
    let server = Server::start(|_| Reply {
        bytes: b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234".to_vec(),
        then_silence: true,
    })
    .await;
    let quick =
        ConnectionSettings { idle_timeout: Duration::from_millis(200), ..ConnectionSettings::default() };
    let deployment = server.deployment_with(&quick);
    let chunks: Vec<_> = deployment.download("gg2").await.unwrap().bytes.collect().await;
    assert!(matches!(chunks.last(), Some(Err(ClientError::TimedOut { .. }))));
}

#[tokio::test]
async fn the_headers_of_an_export_are_read_without_its_body() {
    let server =
        Server::start(|_| raw(format!("HTTP/1.1 200 OK\r\n{ZIP_HEADERS}content-length: 72871\r\n\r\n")))
            .await;
    let head = server.deployment().export_head("gg2").await.unwrap();
    assert_eq!(head.length_bytes, Some(72871));
    assert!(server.requests()[0].starts_with("HEAD /api/export/zip/gg2 "));
}

#[tokio::test]
async fn a_server_without_the_cancel_route_is_recognised() {
    for (status, known) in [(405, true), (404, false)] {
        let server = Server::start(move |_| answer(status, "", "")).await;
        assert_eq!(server.deployment().can_cancel_exports().await.unwrap(), known);
        assert!(server.requests()[0].starts_with("GET /api/export/cancel/probe "));
    }
}

#[tokio::test]
async fn the_platform_is_asked_with_the_key_as_bearer() {
    let server = Server::start(|_| json(200, r#""https://happy-animal-123.convex.cloud""#)).await;
    let platform =
        Platform::new(server.url.clone(), &Secret::new(format!("{KEY}\n")), &ConnectionSettings::default())
            .unwrap();
    assert_eq!(platform.url_for_key().await.unwrap().as_str(), "https://happy-animal-123.convex.cloud/");
    let request = &server.requests()[0];
    assert!(request.starts_with("POST /api/deployment/url_for_key "));
    assert!(request.contains(&format!("authorization: Bearer {KEY}\r\n")));
    assert!(request.ends_with(&format!(r#"{{"deployKey":"{KEY}"}}"#)));
}

#[tokio::test]
async fn a_key_that_no_header_can_carry_is_refused() {
    for key in ["", " \n", "prod:a|b\nc"] {
        let error = Deployment::new(
            Url::parse("http://127.0.0.1:1").unwrap(),
            &Secret::new(key),
            &ConnectionSettings::default(),
        );
        assert!(matches!(error, Err(ClientError::KeyText)));
    }
}

fn assert_no_key(error: &ClientError) {
    let words = all_words(error);
    let secret = KEY.split_once('|').unwrap().1;
    assert!(!words.contains(secret), "{words}");
}

/// A server that repeats the key wherever it can.
#[tokio::test]
async fn no_error_shows_the_key() {
    let echo = format!("what a key: {KEY}");
    for (status, body) in [
        (401, format!(r#"{{"code":"{KEY}","message":"{echo}"}}"#)),
        (403, format!(r#"{{"code":"BadDeployKey","message":"{echo}"}}"#)),
        (500, echo.clone()),
        (302, echo.clone()),
        (200, format!(r#"{{"success":"{echo}"}}"#)),
        (200, format!(r#"{{"status":"error","errorMessage":"{echo}"}}"#)),
        (200, format!(r#"{{"status":"success","value":{{"_id":"x","state":"s","size":"{echo}"}}}}"#)),
        (200, format!(r#""{echo}""#)),
    ] {
        let location = format!("location: http://{}.example/{KEY}\r\n", KEY.split_once('|').unwrap().1);
        let server = Server::start(move |_| answer(status, &location, &body)).await;
        let deployment = server.deployment();
        let platform =
            Platform::new(server.url.clone(), &Secret::new(KEY), &ConnectionSettings::default()).unwrap();
        let errors = [
            deployment.latest_export().await.err(),
            deployment.deployment_info().await.err(),
            deployment.request_export(true).await.err(),
            deployment.cancel_export("x").await.err(),
            deployment.download("x").await.err(),
            platform.url_for_key().await.err(),
        ];
        errors.iter().flatten().for_each(assert_no_key);
        assert!(errors.iter().flatten().count() > 1);
    }
    let nobody = Deployment::new(
        Url::parse("http://127.0.0.1:1").unwrap(),
        &Secret::new(KEY),
        &ConnectionSettings::default(),
    )
    .unwrap();
    assert_no_key(&nobody.check_admin_key().await.unwrap_err());
    let printed = format!("{nobody:?}");
    assert!(!printed.contains("0123456789abcdef"), "{printed}");
}
