//! What is sent to import, to count, to delete files, to pause and to run functions, and what is made of the answers.

use bytes::Bytes;
use convault_convex_client::ClientError;
use convault_core::{ImportId, ImportKind, ImportMode, ImportRequest};
use serde_json::value::RawValue;

use crate::server::{Server, answer, json};

fn lines(component: &str, table: &str) -> ImportRequest {
    let (component, table) = (component.to_owned(), table.to_owned());
    ImportRequest { mode: ImportMode::Append, kind: ImportKind::JsonLines { component, table } }
}

fn zip(mode: ImportMode) -> ImportRequest {
    ImportRequest { mode, kind: ImportKind::Zip }
}

fn body(request: &str) -> &str {
    request.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn an_upload_is_sent_as_the_protocol_says() {
    let server = Server::start(|request| {
        json(
            200,
            match request.split(' ').nth(1).unwrap().split('?').next().unwrap() {
                "/api/import/start_upload" => r#"{"uploadToken":"{\"objectKey\":\"a b\"}"}"#,
                "/api/import/upload_part" => r#""part token""#,
                "/api/import/finish_upload" => r#"{"importId":"km2"}"#,
                other => panic!("{other}"),
            },
        )
    })
    .await;
    let deployment = server.deployment();
    let token = deployment.start_upload().await.unwrap();
    assert_eq!(token, r#"{"objectKey":"a b"}"#);
    let part = deployment.upload_part(&token, 1, Bytes::from_static(b"bytes")).await.unwrap();
    let id = deployment.finish_upload(&zip(ImportMode::ReplaceAll), &token, &[part]).await.unwrap();
    assert_eq!(id, ImportId("km2".to_owned()));
    deployment.finish_upload(&lines("wait/list", "entries"), &token, &[]).await.unwrap();
    deployment.finish_upload(&lines("", "entries"), &token, &[]).await.unwrap();
    let requests = server.requests();
    assert!(requests[1].starts_with(
        "POST /api/import/upload_part?uploadToken=%7B%22objectKey%22%3A%22a+b%22%7D&partNumber=1 HTTP"
    ));
    assert!(requests[1].contains("content-type: application/octet-stream\r\n"));
    assert_eq!(body(&requests[1]), "bytes");
    let sent: Vec<serde_json::Value> =
        requests[2..].iter().map(|request| serde_json::from_str(body(request)).unwrap()).collect();
    assert_eq!(sent[0]["import"], serde_json::json!({ "mode": "replaceAll", "format": "zip" }));
    assert_eq!(sent[0]["partTokens"], serde_json::json!(["part token"]));
    assert_eq!(sent[0]["uploadToken"], token);
    let expected = serde_json::json!({
        "mode": "append", "format": "jsonLines", "tableName": "entries", "componentPath": "wait/list",
    });
    assert_eq!(sent[1]["import"], expected);
    assert!(sent[2]["import"].get("componentPath").is_none());
}

#[tokio::test]
async fn a_row_is_told_apart_by_the_spelling_of_rows() {
    let row = r#"{"status":"success","value":[
        {"_id":"km3","mode":"Append","format":{"format":"jsonl","table":"entries"},"component_path":"waitlist",
         "state":{"state":"completed","num_rows_written":{"$integer":"BQAAAAAAAAA="},"timestamp":{"$integer":"BQAAAAAAAAA="}}},
        {"_id":"km2","mode":"ReplaceAll","format":{"format":"zip"},"component_path":null,"state":{"state":"uploaded"}}]}"#;
    let server = Server::start(move |_| json(200, row)).await;
    let rows = server.deployment().imports().await.unwrap();
    assert!(rows[0].is_of(&lines("waitlist", "entries")) && rows[1].is_of(&zip(ImportMode::ReplaceAll)));
    assert!(!rows[0].is_of(&lines("", "entries")) && !rows[0].is_of(&lines("waitlist", "others")));
    assert!(!rows[1].is_of(&zip(ImportMode::Replace)) && !rows[1].is_of(&lines("", "entries")));
    assert!(matches!(rows[0].status, convault_core::ImportStatus::Completed { documents: 5 }));
}

#[tokio::test]
async fn counts_are_asked_in_one_batch() {
    let server = Server::start(|_| {
        json(200, r#"{"results":[{"status":"success","value":3},{"status":"success","value":2.0}]}"#)
    })
    .await;
    let tables = ["messages".to_owned()];
    let counts = server.deployment().counts(Some("abc"), &tables).await.unwrap();
    assert_eq!((counts.tables["messages"], counts.files), (3, 2));
    let error = server.deployment().counts(None, &[]).await.unwrap_err();
    assert!(error.to_string().contains("another number of results"), "{error}");
    let sent: serde_json::Value = serde_json::from_str(body(&server.requests()[0])).unwrap();
    let first = serde_json::json!({
        "path": "_system/frontend/tableSize",
        "format": "convex_encoded_json",
        "args": { "componentId": "abc", "tableName": "messages" },
    });
    assert_eq!(sent["queries"][0], first);
    assert_eq!(sent["queries"][1]["path"], "_system/frontend/fileStorageV2:numFiles");
}

#[tokio::test]
async fn a_server_that_still_counts_is_told_from_one_that_cannot() {
    for (status, text, is_counting) in [
        (503, r#"{"code":"TableSummariesUnavailable","message":""}"#, true),
        (503, r#"{"code":"Busy","message":""}"#, false),
        (
            200,
            r#"{"results":[{"status":"error","errorMessage":"table summaries are still bootstrapping"}]}"#,
            true,
        ),
        (200, r#"{"results":[{"status":"error","errorMessage":"Server Error"}]}"#, false),
    ] {
        let server = Server::start(move |_| json(status, text)).await;
        let error = server.deployment().counts(None, &[]).await.unwrap_err();
        assert_eq!(error.is_still_counting(), is_counting, "{error}");
    }
}

#[tokio::test]
async fn tables_that_are_too_many_to_be_listed_are_not_taken_for_all() {
    let mapping: Vec<String> = (0..1000).map(|number| format!("\"{number}\":\"t{number}\"")).collect();
    let whole = format!(r#"{{"status":"success","value":{{{}}}}}"#, mapping.join(","));
    let server = Server::start(move |_| json(200, &whole)).await;
    assert_eq!(server.deployment().table_names(Some("abc")).await.unwrap(), None);
    let few = r#"{"status":"success","value":{"540":"_file_storage","10001":"notes"}}"#;
    let server = Server::start(move |_| json(200, few)).await;
    assert_eq!(server.deployment().table_names(Some("abc")).await.unwrap().unwrap(), ["notes"]);
}

#[tokio::test]
async fn files_are_deleted_by_a_mutation_and_functions_run_with_their_arguments_as_they_are() {
    let server = Server::start(|_| json(200, r#"{"status":"success","value":{"n":9007199254740993}}"#)).await;
    server.deployment().delete_files(None, &["kg21".to_owned()]).await.unwrap();
    let arguments = RawValue::from_string(r#"{"n":{"$integer":"BQAAAAAAAAA="},"f":1.0}"#.to_owned()).unwrap();
    let result = server.deployment().run_function("checks:all", &arguments).await.unwrap();
    assert_eq!(result.get(), r#"{"n":9007199254740993}"#);
    let requests = server.requests();
    assert!(requests[0].starts_with("POST /api/mutation "));
    assert!(requests[0].contains(r#""storageIds":["kg21"]"#), "{}", requests[0]);
    assert!(requests[1].starts_with("POST /api/function "));
    assert!(requests[1].contains(r#""f":1.0"#), "{}", requests[1]);
}

#[tokio::test]
async fn a_pause_is_read_made_and_ended() {
    let server = Server::start(|request| {
        if request.starts_with("POST /api/query ") {
            json(
                200,
                r#"{"status":"success","value":{"system":"none","usage_limit":"none","user":"paused"}}"#,
            )
        } else {
            answer(200, "", "")
        }
    })
    .await;
    assert!(server.deployment().is_paused().await.unwrap());
    server.deployment().pause().await.unwrap();
    server.deployment().unpause().await.unwrap();
    let routes: Vec<String> = server.requests().iter().map(|request| request[..40].to_owned()).collect();
    assert!(routes[1].starts_with("POST /api/v1/pause_deployment"), "{routes:?}");
    assert!(routes[2].starts_with("POST /api/v1/unpause_deployment"), "{routes:?}");
}

#[tokio::test]
async fn only_a_request_without_a_connection_is_certainly_unsent() {
    // Nobody listens at the first port.
    let url = convault_convex_client::Url::parse("http://127.0.0.1:1").unwrap();
    let key = convault_core::Secret::new(crate::server::KEY);
    let settings = convault_convex_client::ConnectionSettings::default();
    let deployment = convault_convex_client::Deployment::new(url, &key, &settings).unwrap();
    assert!(deployment.start_upload().await.unwrap_err().is_unsent());
    let server = Server::start(|_| crate::server::raw("")).await;
    let error = server.deployment().start_upload().await.unwrap_err();
    assert!(matches!(error, ClientError::Network { .. }) && !error.is_unsent(), "{error}");
}
