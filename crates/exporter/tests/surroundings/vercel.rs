//! The environment variables of a project at Vercel.

use axum::response::Response;
use convault_convex_client::{ConnectionSettings, Url};
use convault_core::{Secret, SurroundingErrorKind};
use convault_exporter::{VercelSettings, VercelVariables};
use serde_json::{Value, json};

use crate::fake::{Call, Fake, ok, refused};
use crate::taker::{collect, name, quick};

const PEM: &str = "-----BEGIN KEY-----\nhunter2\n-----END KEY-----\n";

fn vercel(fake: &Fake, targets: Option<&[&str]>, required: bool) -> VercelVariables {
    let settings = VercelSettings {
        project: "crm-web".to_owned(),
        team: Some("team_acme".to_owned()),
        token: Secret::new("hunter2-token"),
        targets: targets.map(|targets| targets.iter().map(|target| (*target).to_owned()).collect()),
        url: Url::parse(&fake.url).unwrap(),
        connection: ConnectionSettings::default(),
        retry: quick(),
    };
    VercelVariables::new(name("vercel"), required, settings)
}

fn variable(id: &str, key: &str, kind: &str, target: &Value) -> Value {
    json!({ "id": id, "key": key, "type": kind, "target": target, "value": "ciphertext", "createdAt": 1 })
}

/// Two pages of variables, and the value of each that has one.
fn project(call: &Call) -> Response {
    assert_eq!(call.headers["authorization"], "Bearer hunter2-token");
    match call.target.as_str() {
        "/v10/projects/crm-web/env?teamId=team_acme" => {
            let branch = json!({
                "id": "v4", "key": "API_URL", "type": "plain", "target": ["preview"], "gitBranch": "feature/a",
            });
            let first = variable("v1", "PEM", "encrypted", &json!(["production", "preview"]));
            let envs = [first, variable("v2", "TOKEN", "sensitive", &json!("production")), branch];
            ok(
                &json!({ "envs": envs, "pagination": { "count": 3, "next": 1_540_095_775_951_u64, "prev": null } }),
            )
        }
        "/v10/projects/crm-web/env?teamId=team_acme&until=1540095775951" => {
            let custom = json!({
                "id": "v5", "key": "PEM", "type": "encrypted", "customEnvironmentIds": ["env_1"], "comment": "staging",
            });
            let envs = [variable("v3", "PEM", "encrypted", &json!(["development"])), custom];
            ok(&json!({ "envs": envs, "pagination": { "count": 2, "next": null, "prev": 1 } }))
        }
        "/v1/projects/crm-web/env/v1?teamId=team_acme" => {
            ok(&json!({ "decrypted": true, "key": "PEM", "type": "encrypted", "value": PEM }))
        }
        "/v1/projects/crm-web/env/v4?teamId=team_acme" => {
            ok(&json!({ "decrypted": true, "key": "API_URL", "type": "plain", "value": "https://hunter2" }))
        }
        target if target.contains("/env/v") => {
            ok(&json!({ "decrypted": true, "key": "PEM", "type": "encrypted", "value": "hunter2" }))
        }
        _ => refused(404, "not_found"),
    }
}

#[tokio::test]
async fn the_variables_of_every_target_and_page_are_there_decrypted() {
    let fake = Fake::start(project).await;
    let taken = collect(&vercel(&fake, None, false)).await.unwrap();
    assert_eq!(
        taken.names(),
        [
            "branches/feature%2Fa/variables.env",
            "branches/feature%2Fa/variables.json",
            "development/variables.env",
            "development/variables.json",
            "environments/env_1/variables.env",
            "environments/env_1/variables.json",
            "preview/variables.env",
            "preview/variables.json",
            "production/variables.env",
            "production/variables.json",
            "project.json",
        ]
    );
    assert_eq!(taken.json("production/variables.json"), json!({ "PEM": PEM }));
    assert_eq!(taken.text("preview/variables.env"), format!("PEM='{PEM}'\n"));
    assert_eq!(taken.values["development/PEM"], "hunter2");
    assert_eq!(taken.values["branches/feature%2Fa/API_URL"], "https://hunter2");
    let described = taken.json("project.json");
    assert_eq!(described.as_array().unwrap().len(), 5);
    assert_eq!(described[4]["key"], "TOKEN");
    assert!(described[4].get("value").is_none(), "its ciphertext is of no use");
}

#[tokio::test]
async fn a_sensitive_variable_is_a_line_by_name_even_where_all_is_required() {
    let fake = Fake::start(project).await;
    let taken = collect(&vercel(&fake, None, true)).await.unwrap();
    assert_eq!(
        taken.gaps(),
        [
            "vercel variable TOKEN (production): Vercel shows the value of a sensitive variable to nobody; keep it \
          elsewhere too"
        ]
    );
    assert!(taken.unread.contains("TOKEN"));
    assert!(!fake.targets().iter().any(|target| target.contains("/env/v2")), "it is not even asked for");
}

#[tokio::test]
async fn only_the_targets_that_are_named_are_asked_for() {
    let fake = Fake::start(project).await;
    let taken = collect(&vercel(&fake, Some(&["development", "env_1"]), false)).await.unwrap();
    assert_eq!(taken.values.len(), 2);
    assert!(taken.not_covered.is_empty(), "{:?}", taken.not_covered);
    assert_eq!(fake.targets().iter().filter(|target| target.starts_with("/v1/")).count(), 2);
}

#[tokio::test]
async fn a_token_that_may_not_is_told_so_without_being_shown() {
    for (status, kind) in [
        (401, SurroundingErrorKind::Permission),
        (403, SurroundingErrorKind::Permission),
        (404, SurroundingErrorKind::NotFound),
        (500, SurroundingErrorKind::Transient),
    ] {
        let fake = Fake::start(move |_| refused(status, "forbidden")).await;
        let error = collect(&vercel(&fake, None, false)).await.unwrap_err();
        assert_eq!(error.kind, kind, "{status}");
        assert!(error.message.starts_with("cannot list the project's variables: "), "{error}");
    }
}

#[tokio::test]
async fn one_value_that_cannot_be_read_is_a_line_unless_all_is_required() {
    let denied = |call: &Call| {
        if call.target.contains("/env/v1") { refused(403, "forbidden") } else { project(call) }
    };
    let fake = Fake::start(denied).await;
    let taken = collect(&vercel(&fake, Some(&["production"]), false)).await.unwrap();
    assert!(taken.gaps()[0].starts_with("vercel variable PEM (production, preview): cannot read the value"));
    let error = collect(&vercel(&fake, Some(&["production"]), true)).await.unwrap_err();
    assert_eq!(error.kind, SurroundingErrorKind::Permission);
}

#[tokio::test]
async fn a_limit_of_requests_is_waited_for() {
    let limited = |call: &Call| match call.nth {
        0 if call.target.contains("/env/") => refused(429, "rate_limited"),
        _ => project(call),
    };
    let fake = Fake::start(limited).await;
    assert_eq!(collect(&vercel(&fake, None, false)).await.unwrap().values.len(), 5);
}

#[tokio::test]
async fn an_answer_of_another_form_shows_nothing_of_itself() {
    let fake =
        Fake::start(|_| ok(&json!({ "envs": [{ "id": 7, "key": "hunter2", "type": "hunter2" }] }))).await;
    let error = collect(&vercel(&fake, None, false)).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("is not that of Vercel: a part of it has another form"), "{cause}");
}
