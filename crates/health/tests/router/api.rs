//! Probes, the API, who may do what, and its description.

use std::collections::BTreeSet;

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use convault_core::Verb;
use serde_json::{Value, json};

use crate::fake::{RUN, Rig, TOKEN};

#[tokio::test]
async fn it_is_live_and_ready() {
    let rig = Rig::loopback();
    assert_eq!(rig.get("/live").await.status, StatusCode::OK);
    let ready = rig.get("/ready").await;
    assert_eq!((ready.status, ready.body.as_str()), (StatusCode::OK, "ready\n"));
}

#[tokio::test]
async fn it_says_why_it_is_not_ready() {
    let rig = Rig::loopback();
    rig.control.status.lock().unwrap().not_ready = vec!["stopping".to_owned(), "no settings".to_owned()];
    let ready = rig.get("/ready").await;
    assert_eq!(
        (ready.status, ready.body.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\nno settings\n")
    );
    let request = Request::get("/ready").header("accept", "application/json").body(Body::empty()).unwrap();
    let ready = rig.send(request).await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json(), json!({"ready": false, "reasons": ["stopping", "no settings"]}));
    assert_eq!(rig.get("/live").await.status, StatusCode::OK);
}

#[tokio::test]
async fn status_jobs_and_runs_are_json() {
    let rig = Rig::loopback();
    assert_eq!(rig.get("/api/v1/status").await.json()["jobs"][0]["job"], "nightly");
    assert_eq!(rig.get("/api/v1/jobs").await.json()["jobs"].as_array().unwrap().len(), 2);
    assert_eq!(rig.get("/api/v1/jobs/fresh").await.json()["job"], "fresh");
    assert_eq!(rig.get("/api/v1/runs?limit=1").await.json()["runs"].as_array().unwrap().len(), 1);
    for missing in ["/api/v1/jobs/none", "/api/v1/jobs/No%20Name", "/api/v1/nothing"] {
        let answer = rig.get(missing).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{missing}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    assert_eq!(rig.get("/api/v1/runs?limit=many").await.status, StatusCode::BAD_REQUEST);
}

fn start(authorization: Option<&str>, body: &str) -> Request<Body> {
    let request = Request::post("/api/v1/jobs/nightly/run");
    let request =
        authorization.into_iter().fold(request, |request, value| request.header("authorization", value));
    request.body(Body::from(body.to_owned())).unwrap()
}

#[tokio::test]
async fn a_run_starts_with_the_token_only() {
    let rig = Rig::loopback();
    let basic = format!("Basic {}", base64_of(&format!("x:{TOKEN}")));
    for wrong in
        [None, Some("Bearer a-token-of-some-lengtH"), Some("Bearer "), Some(basic.as_str()), Some(TOKEN)]
    {
        let answer = rig.send(start(wrong, "")).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{wrong:?}");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
        assert!(!answer.body.contains(TOKEN));
    }
    assert!(rig.control.started.lock().unwrap().is_empty());
    let body = r#"{"tags": ["before-migration"], "keep_until": "2026-12-31T00:00:00Z"}"#;
    let answer = rig.send(start(Some(&format!("bearer {TOKEN}")), body)).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.json(), json!({"run": RUN, "events": format!("/api/v1/runs/{RUN}/events")}));
    assert_eq!(rig.control.started.lock().unwrap()[0].tags, ["before-migration"]);
}

#[tokio::test]
async fn one_snapshot_can_be_repaired() {
    let rig = Rig::loopback();
    let body = format!(r#"{{"verb": "repair", "snapshot": "{RUN}"}}"#);
    assert_eq!(rig.send(start(Some(&format!("Bearer {TOKEN}")), &body)).await.status, StatusCode::ACCEPTED);
    let started = rig.control.started.lock().unwrap();
    assert_eq!(started[0].verb, Verb::Repair);
    assert_eq!(started[0].snapshot.as_ref().unwrap().as_str(), RUN);
}

#[tokio::test]
async fn a_body_that_is_not_understood_starts_nothing() {
    let rig = Rig::loopback();
    let bearer = format!("Bearer {TOKEN}");
    for body in [
        "{",
        r#"{"tag": "x"}"#,
        r#"{"verb": "restore"}"#,
        r#"{"keep_until": "tomorrow"}"#,
        r#"{"verb": "prune", "accept_missing": true}"#,
    ] {
        assert_eq!(rig.send(start(Some(&bearer), body)).await.status, StatusCode::BAD_REQUEST, "{body}");
    }
    let long = format!("{{\"tags\": [\"{}\"]}}", "x".repeat(100_000));
    assert_eq!(rig.send(start(Some(&bearer), &long)).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(rig.control.started.lock().unwrap().is_empty());
}

#[tokio::test]
async fn without_a_token_in_the_settings_nothing_can_be_started() {
    let rig = Rig::new("127.0.0.1:9640", None);
    let answer = rig.send(start(Some("Bearer anything-at-all-here"), "")).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.body.contains("daemon.token"), "{}", answer.body);
    assert!(rig.control.started.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_run_can_be_cancelled_with_the_token() {
    let rig = Rig::loopback();
    let request = Request::post(format!("/api/v1/runs/{RUN}/cancel"));
    let request = request.header("authorization", format!("Bearer {TOKEN}")).body(Body::empty()).unwrap();
    assert_eq!(rig.send(request).await.status, StatusCode::ACCEPTED);
    assert_eq!(rig.control.cancelled.lock().unwrap()[0].as_str(), RUN);
}

#[tokio::test]
async fn on_loopback_a_request_that_names_another_host_is_refused() {
    let rig = Rig::loopback();
    for (host, expected) in
        [("evil.example", 421), ("evil.example:9640", 421), ("localhost:9640", 200), ("[::1]:9640", 200)]
    {
        let request = Request::get("/api/v1/status").header("host", host).body(Body::empty()).unwrap();
        assert_eq!(rig.send(request).await.status.as_u16(), expected, "{host}");
    }
    let open = Rig::new("0.0.0.0:9640", None);
    let request = Request::get("/metrics").header("host", "backups.example").body(Body::empty()).unwrap();
    assert_eq!(open.send(request).await.status, StatusCode::OK);
}

#[tokio::test]
async fn beyond_loopback_reading_needs_the_token_if_there_is_one() {
    let rig = Rig::new("0.0.0.0:9640", Some(TOKEN));
    for path in ["/", "/metrics", "/api/v1/status", "/api/v1/openapi.json"] {
        assert_eq!(rig.get(path).await.status, StatusCode::UNAUTHORIZED, "{path}");
        let basic = format!("Basic {}", base64_of(&format!("anyone:{TOKEN}")));
        for good in [format!("Bearer {TOKEN}"), basic] {
            let request = Request::get(path).header("authorization", good).body(Body::empty()).unwrap();
            assert_eq!(rig.send(request).await.status, StatusCode::OK, "{path}");
        }
    }
    for path in ["/live", "/ready"] {
        assert_eq!(rig.get(path).await.status, StatusCode::OK, "{path}");
    }
}

// The clock moves on only when nothing else can: once all events there are were sent.
#[tokio::test(start_paused = true)]
async fn events_go_on_where_the_listener_was_and_end_with_the_server() {
    let rig = Rig::loopback();
    rig.stop.cancel();
    let all = rig.get(&format!("/api/v1/runs/{RUN}/events")).await;
    assert_eq!(all.header("content-type"), "text/event-stream");
    let rig = Rig::loopback();
    let stop = rig.stop.clone();
    let ending = async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        stop.cancel();
    };
    let request = Request::get(format!("/api/v1/runs/{RUN}/events")).header("last-event-id", "0");
    let (answer, ()) = tokio::join!(rig.send(request.body(Body::empty()).unwrap()), ending);
    let ids: Vec<_> = answer.body.lines().filter(|line| line.starts_with("id:")).collect();
    assert_eq!(ids, ["id: 1", "id: 2"]);
    assert!(answer.body.contains(r#"data: {"event":"transferred","done_bytes":1,"total_bytes":null}"#));
    assert_eq!(rig.get("/api/v1/runs/20261122T030000Z-999999/events").await.status, StatusCode::NOT_FOUND);
    assert_eq!(rig.get("/api/v1/runs/nonsense/events").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn every_path_of_the_description_is_there_and_takes_the_methods_it_names() {
    let rig = Rig::loopback();
    rig.stop.cancel();
    let description = rig.get("/api/v1/openapi.json").await.json();
    let paths = description["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 12);
    for (path, methods) in paths {
        let path = path.replace("{name}", "nightly").replace("{id}", RUN);
        for method in ["get", "post"] {
            let request = Request::builder().method(method.to_uppercase().as_str()).uri(&path);
            let request =
                request.header("authorization", format!("Bearer {TOKEN}")).body(Body::empty()).unwrap();
            let status = rig.send(request).await.status;
            let expected = methods.get(method).is_some();
            assert_eq!(status.is_success(), expected, "{method} {path}: {status}");
        }
    }
}

#[tokio::test]
async fn every_field_of_the_answers_is_described() {
    let rig = Rig::loopback();
    let description = rig.get("/api/v1/openapi.json").await.json();
    let status = rig.get("/api/v1/status").await.json();
    let run = rig.get("/api/v1/runs").await.json()["runs"][0].clone();
    for (schema, answer) in [
        ("Status", &status),
        ("Job", &status["jobs"][0]),
        ("Destination", &status["destinations"][0]),
        ("Abilities", &status["destinations"][0]["abilities"]),
        ("Holding", &status["destinations"][0]["holdings"]["crm"]),
        ("Verifying", &status["verifying"][0]),
        ("Mirror", &status["mirrors"][0]),
        ("Watching", &status["watching"][0]),
        ("Drill", &status["drills"][0]),
        ("Coordination", &status["coordination"]),
        ("DurationHistogram", &status["jobs"][0]["durations"]),
        ("Run", &run),
        ("DestinationResult", &run["destinations"][0]),
    ] {
        let properties = &description["components"]["schemas"][schema]["properties"];
        assert_eq!(keys(properties), keys(answer), "{schema}");
    }
}

fn keys(object: &Value) -> BTreeSet<&String> {
    object.as_object().unwrap().keys().collect()
}

fn base64_of(text: &str) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    BASE64_STANDARD.encode(text)
}
