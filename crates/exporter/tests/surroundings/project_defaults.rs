//! The default environment variables of a project.

use axum::response::Response;
use convault_convex_client::Url;
use convault_core::{Secret, SurroundingErrorKind};
use convault_exporter::{ProjectDefaults, ProjectDefaultsSettings};
use convault_simulator::Database;
use serde_json::json;

use crate::fake::{Call, Fake, answer, ok};
use crate::taker::{collect, deployment, name, settings};

fn defaults(fake: &Fake, project: Option<u64>, deployment_url: &str) -> ProjectDefaults {
    let own = ProjectDefaultsSettings {
        token: Secret::new("hunter2-token"),
        project,
        url: Url::parse(&fake.url).unwrap(),
    };
    ProjectDefaults::new(name("defaults"), false, own, settings(deployment_url))
}

fn platform(call: &Call) -> Response {
    assert_eq!(call.headers["authorization"], "Bearer hunter2-token");
    match call.target.as_str() {
        "/v1/projects/12/list_default_environment_variables" => ok(&json!({
            "items": [{ "name": "KEY", "value": "hunter2\ntwo", "deploymentTypes": ["prod", "dev"] }],
            "pagination": { "hasMore": true, "nextCursor": "a b" },
        })),
        "/v1/projects/12/list_default_environment_variables?cursor=a+b" => ok(&json!({
            "items": [{ "name": "KEY", "value": "hunter2-preview", "deploymentTypes": ["preview"] }],
            "pagination": { "hasMore": false, "nextCursor": null },
        })),
        "/api/v1/deployment_info" => ok(&json!({ "kind": "cloud", "projectId": 12 })),
        _ => answer(403, &json!({ "code": "Forbidden", "message": "not with hunter2-token" })),
    }
}

#[tokio::test]
async fn the_defaults_of_each_type_of_deployment_are_there() {
    let fake = Fake::start(platform).await;
    let taken = collect(&defaults(&fake, Some(12), "http://127.0.0.1:1")).await.unwrap();
    assert_eq!(
        taken.names(),
        [
            "dev/variables.env",
            "dev/variables.json",
            "preview/variables.env",
            "preview/variables.json",
            "prod/variables.env",
            "prod/variables.json",
        ]
    );
    assert_eq!(taken.text("prod/variables.env"), "KEY='hunter2\ntwo'\n");
    assert_eq!(taken.values["preview/KEY"], "hunter2-preview");
}

#[tokio::test]
async fn without_a_project_the_deployment_is_asked_for_its_own() {
    let fake = Fake::start(|call| match call.target.as_str() {
        "/api/v1/deployment_info" => ok(&json!({ "kind": "cloud", "projectId": 12 })),
        _ => platform(call),
    })
    .await;
    let taken = collect(&defaults(&fake, None, &fake.url)).await.unwrap();
    assert_eq!(taken.values.len(), 3);
}

#[tokio::test]
async fn a_self_hosted_deployment_has_no_project() {
    let (simulator, _) = deployment(Database::new(1), &[]).await;
    let fake = Fake::start(platform).await;
    let error = collect(&defaults(&fake, None, &simulator.url())).await.unwrap_err();
    assert_eq!(error.kind, SurroundingErrorKind::NotFound);
    assert!(error.message.contains("a self-hosted deployment is in no project"), "{error}");
}

#[tokio::test]
async fn a_token_that_may_not_is_told_so() {
    let fake = Fake::start(platform).await;
    let error = collect(&defaults(&fake, Some(13), "http://127.0.0.1:1")).await.unwrap_err();
    assert_eq!(error.kind, SurroundingErrorKind::Permission);
    assert!(error.message.contains("the key or token is refused"), "{error}");
}
