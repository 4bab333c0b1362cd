//! What is known before anything is asked.

use axum::response::{IntoResponse as _, Response};
use convault_convex_client::Url;
use convault_core::{Secret, Source as _, SourceErrorKind};
use convault_exporter::DeploymentSettings;
use serde_json::{Value, json};

use crate::fake::{Call, Fake, KEY, error, name, quick, some, source, value};

/// An orderly deployment whose key check answers `check`.
fn orderly(call: &Call, check: &Value) -> Option<Response> {
    match call.name.as_str() {
        "GET /api/check_admin_key" => some(200, check.clone()),
        "GET /instance_name" => Some("rainy-otter-123".into_response()),
        "GET /version" => Some("unknown".into_response()),
        "GET /api/export/cancel/probe" => error(405, ""),
        "latest" => value(Value::Null),
        _ => None,
    }
}

fn check(allowed: &[&str], is_read_only: bool) -> Value {
    json!({ "success": true, "allowedOps": allowed, "isReadOnly": is_read_only })
}

async fn with_key(check: Value) -> Fake {
    Fake::start(move |call| orderly(call, &check)).await
}

#[tokio::test]
async fn an_orderly_deployment_says_who_it_is() {
    let fake = with_key(check(&[], false)).await;
    let preflight = fake.source().preflight().await.unwrap();
    assert_eq!(preflight.instance, "rainy-otter-123");
    assert_eq!(preflight.server_version, "unknown");
    assert_eq!(preflight.url, fake.url.as_str());
    assert!(preflight.warnings.is_empty(), "{:?}", preflight.warnings);
    assert!(!fake.names().iter().any(|name| name.starts_with("POST") || name == "request"));
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    let fake = with_key(check(&["ViewBackups", "ViewData"], false)).await;
    let failure = fake.source().preflight().await.unwrap_err();
    assert_eq!(failure.kind, SourceErrorKind::Permission);
    let lacks = "the key lacks `deployment:backups:create`, `deployment:backups:download`; make";
    assert!(failure.message.starts_with(lacks), "{failure}");
}

#[tokio::test]
async fn a_read_only_key_is_called_read_only() {
    let fake = with_key(check(&["ViewBackups", "DownloadBackups"], true)).await;
    let failure = fake.source().preflight().await.unwrap_err();
    assert_eq!(failure.kind, SourceErrorKind::Permission);
    assert!(failure.message.contains("a read-only key cannot ask for an export"), "{failure}");
}

#[tokio::test]
async fn permissions_that_are_only_comfort_give_warnings() {
    let fake = with_key(check(&["CreateBackups", "ViewBackups", "DownloadBackups"], false)).await;
    let warnings = fake.source().preflight().await.unwrap().warnings;
    assert!(warnings[0].contains("`deployment:backups:delete`"), "{warnings:?}");
    assert!(warnings[1].contains("`deployment:backups:import`"), "{warnings:?}");
    let mut settings = fake.settings();
    settings.expire_exports = false;
    assert_eq!(source(settings).preflight().await.unwrap().warnings.len(), 1);
}

#[tokio::test]
async fn a_key_of_another_deployment_is_told_from_a_bad_one() {
    for (instance, words) in [
        ("sunny-fox-9", "it is a key of `rainy-otter-123`, and the deployment at"),
        ("rainy-otter-123", "has not expired or been revoked"),
    ] {
        let fake = Fake::start(move |call| match call.name.as_str() {
            "GET /instance_name" => Some(instance.into_response()),
            _ => error(401, "BadAdminKey"),
        })
        .await;
        let failure = fake.source().preflight().await.unwrap_err();
        assert_eq!(failure.kind, SourceErrorKind::Key);
        assert!(failure.message.contains(words), "{failure}");
    }
}

#[tokio::test]
async fn what_is_not_a_convex_deployment_is_called_so() {
    for status in [200, 404] {
        let fake = Fake::start(move |_| {
            let status = axum::http::StatusCode::from_u16(status).unwrap();
            Some((status, "<html>Welcome to nginx</html>").into_response())
        })
        .await;
        let failure = fake.source().preflight().await.unwrap_err();
        assert_eq!(failure.kind, SourceErrorKind::Unsupported);
        assert!(failure.message.contains("not a Convex deployment"), "{failure}");
    }
}

#[tokio::test]
async fn a_server_without_the_needed_function_is_too_old() {
    let fake = Fake::start(|call| match call.name.as_str() {
        "latest" => {
            let message = "Could not find public function for '_system/cli/exports:getLatest'.";
            some(200, json!({ "status": "error", "errorMessage": message }))
        }
        _ => orderly(call, &check(&[], false)),
    })
    .await;
    assert_eq!(fake.source().preflight().await.unwrap_err().kind, SourceErrorKind::Unsupported);
}

#[tokio::test]
async fn a_server_that_cannot_cancel_gives_a_warning_unless_it_is_the_cloud() {
    for (kind, warnings) in [("selfHosted", 1), ("cloud", 0)] {
        let fake = Fake::start(move |call| match call.name.as_str() {
            "GET /api/export/cancel/probe" => error(404, ""),
            "GET /api/v1/deployment_info" => some(200, json!({ "kind": kind })),
            _ => orderly(call, &check(&[], false)),
        })
        .await;
        assert_eq!(fake.source().preflight().await.unwrap().warnings.len(), warnings, "{kind}");
    }
}

#[tokio::test]
async fn a_deployment_that_nobody_answers_for_is_a_transient_error() {
    let nowhere = Url::parse("http://127.0.0.1:1").unwrap();
    let settings = quick(DeploymentSettings::new(name(), Some(nowhere), Secret::new(KEY)));
    assert_eq!(source(settings).preflight().await.unwrap_err().kind, SourceErrorKind::Transient);
}

#[tokio::test]
async fn without_an_address_the_platform_is_asked_at_every_preflight() {
    let fake = with_key(check(&[], false)).await;
    let url = fake.url.clone();
    let platform = Fake::start(move |_| some(200, url.as_str().into())).await;
    let key = Secret::new("prod:rainy-otter-123|0123456789abcdef0123");
    let mut settings = quick(DeploymentSettings::new(name(), None, key));
    settings.provision_url = Some(platform.url.clone());
    let source = source(settings);
    for _ in 0..2 {
        assert_eq!(source.preflight().await.unwrap().url, fake.url.as_str());
    }
    assert_eq!(platform.names(), vec!["POST /api/deployment/url_for_key"; 2]);
}

#[tokio::test]
async fn a_key_that_cannot_have_an_address_is_told_what_to_set() {
    for (key, words) in [(KEY, "set `url`"), ("project:team:project|0123456789", "is for a project")] {
        let settings = quick(DeploymentSettings::new(name(), None, Secret::new(key)));
        let failure = source(settings).preflight().await.unwrap_err();
        assert_eq!(failure.kind, SourceErrorKind::Key);
        assert!(failure.message.contains(words), "{failure}");
    }
}

#[tokio::test]
async fn a_bad_ca_file_or_address_names_its_setting() {
    let fake = with_key(check(&[], false)).await;
    let mut settings = fake.settings();
    settings.connection.ca_file = Some("/nonexistent/ca.pem".into());
    let failure = source(settings).preflight().await.unwrap_err();
    assert!(failure.message.contains("`ca_file`"), "{failure}");
    let mut settings = fake.settings();
    settings.url = Some(Url::parse("http://a:b@127.0.0.1:1").unwrap());
    let failure = source(settings).preflight().await.unwrap_err();
    assert!(failure.message.contains("`url`"), "{failure}");
}
