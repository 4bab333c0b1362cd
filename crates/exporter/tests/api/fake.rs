//! A server that answers each call as a test says, and the source under test.

#![expect(clippy::unnecessary_wraps, reason = "an answer has the shape that a test's closure gives back")]
#![expect(clippy::needless_pass_by_value, reason = "most answers are made where they are given")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use convault_convex_client::Url;
use convault_core::{DeploymentName, ExportRequest, Progress, Secret, SystemClock};
use convault_exporter::{DeploymentSettings, DeploymentSource, PollSettings, RetrySettings};
use serde_json::{Value, json};
use tokio::task::JoinSet;

pub(crate) const KEY: &str = "rainy-otter-123|0123456789abcdef0123";
/// The id of the export that most tests are about.
pub(crate) const OURS: &str = "gg2ours";
pub(crate) const THEIRS: &str = "gg2theirs";

/// An answer that is the same every time.
pub(crate) type Answer = fn() -> Option<Response>;

/// One call, and how often the same was made before it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// `request`, `latest`, `cloud`, `cancel <id>`, `expire <id>`, `download <id>`, `head <id>`, or method and path.
    pub(crate) name: String,
    pub(crate) body: Bytes,
    /// 0 the first time.
    pub(crate) nth: usize,
}

impl Call {
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name
    }
}

/// The server, and the calls so far.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) url: Url,
    calls: Arc<Mutex<Vec<Call>>>,
    _serving: JoinSet<()>,
}

impl Fake {
    /// Answers with `answer`, and never where it gives none.
    pub(crate) async fn start(answer: impl Fn(&Call) -> Option<Response> + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let calls = Arc::new(Mutex::new(Vec::<Call>::new()));
        let (log, answer) = (Arc::clone(&calls), Arc::new(answer));
        let handler = move |request: Request| {
            let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
            async move {
                let call = note(&log, request).await;
                if let Some(response) = answer(&call) {
                    return response;
                }
                std::future::pending().await
            }
        };
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            axum::serve(listener, axum::Router::new().fallback(handler)).await.unwrap();
        });
        Self { url, calls, _serving: serving }
    }

    /// The names of the calls so far, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.calls.lock().unwrap().iter().map(|call| call.name.clone()).collect()
    }

    /// How often a call was made.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.names().iter().filter(|made| *made == name).count()
    }

    /// The bodies that came with a call.
    pub(crate) fn bodies(&self, name: &str) -> Vec<String> {
        let calls = self.calls.lock().unwrap();
        let bodies = calls.iter().filter(|call| call.name == name).map(|call| call.body.clone());
        bodies.map(|body| String::from_utf8(body.to_vec()).unwrap()).collect()
    }

    pub(crate) fn settings(&self) -> DeploymentSettings {
        quick(DeploymentSettings::new(name(), Some(self.url.clone()), Secret::new(KEY)))
    }

    pub(crate) fn source(&self) -> DeploymentSource {
        source(self.settings())
    }
}

pub(crate) fn source(settings: DeploymentSettings) -> DeploymentSource {
    DeploymentSource::new(settings, Arc::new(SystemClock))
}

pub(crate) fn name() -> DeploymentName {
    DeploymentName::new("crm").unwrap()
}

/// The same settings in a hurry: pauses of milliseconds. Silence is waited for as long as a busy machine may take.
pub(crate) fn quick(settings: DeploymentSettings) -> DeploymentSettings {
    let mut settings = settings;
    settings.poll = PollSettings { shortest: Duration::from_millis(2), longest: Duration::from_millis(20) };
    settings.retry = RetrySettings {
        attempts: 4,
        first_pause: Duration::from_millis(2),
        longest_pause: Duration::from_millis(20),
    };
    settings.connection.request_timeout = Duration::from_mins(2);
    settings.connection.idle_timeout = Duration::from_mins(2);
    settings
}

/// Lets `span` pass at once, as soon as `is_time` says so: however slow the machine is, not before.
pub(crate) async fn pass(span: Duration, is_time: impl Fn() -> bool) {
    while !is_time() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::pause();
    tokio::time::advance(span).await;
    tokio::time::resume();
}

/// What a scheduled run wants, with limits that no orderly export meets.
pub(crate) fn request() -> ExportRequest {
    ExportRequest {
        include_files: true,
        run_started: "2026-11-22T03:00:00Z".parse().unwrap(),
        may_adopt: true,
        deadline: Duration::from_mins(30),
        no_progress_limit: Duration::from_hours(1),
    }
}

/// Collects what is told meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<Vec<Progress>>);

impl Told {
    pub(crate) fn listener(&self) -> impl Fn(Progress) + Send + Sync {
        |progress| self.0.lock().unwrap().push(progress)
    }

    pub(crate) fn all(&self) -> Vec<Progress> {
        self.0.lock().unwrap().clone()
    }
}

/// A time in nanoseconds, this many seconds after the run began.
pub(crate) fn after_start(seconds: i64) -> i64 {
    1_795_316_400_000_000_000 + seconds * 1_000_000_000
}

/// A row as `convex_encoded_json` shows it; 64-bit fields are decimal strings, which are read as well.
pub(crate) fn row(id: &str, state: &str) -> Value {
    let mut row = json!({
        "_id": id,
        "_creationTime": if id == OURS { 2000.5 } else { 1000.5 },
        "state": state,
        "format": { "format": "zip", "include_storage": true },
        "component": null,
        "requestor": "snapshotExport",
    });
    if state == "completed" {
        row["start_ts"] = after_start(60).to_string().into();
        row["size"] = "10".into();
    }
    row
}

pub(crate) fn running(id: &str, message: &str) -> Value {
    let mut row = row(id, "in_progress");
    row["progress_message"] = message.into();
    row["start_ts"] = after_start(1).to_string().into();
    row
}

/// What a system function returns.
pub(crate) fn value(value: Value) -> Option<Response> {
    some(200, json!({ "status": "success", "value": value, "logLines": [] }))
}

pub(crate) fn some(status: u16, body: Value) -> Option<Response> {
    let status = StatusCode::from_u16(status).unwrap();
    Some((status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response())
}

pub(crate) fn error(status: u16, code: &str) -> Option<Response> {
    some(status, json!({ "code": code, "message": format!("this is {code}") }))
}

pub(crate) fn denied(permission: &str) -> Option<Response> {
    some(403, json!({ "code": "OperationNotPermitted", "message": format!("You may not ({permission})") }))
}

pub(crate) fn ok() -> Option<Response> {
    Some(StatusCode::OK.into_response())
}

/// A ZIP of 10 bytes whose header announces `length`.
pub(crate) fn zip(length: u64) -> Option<Response> {
    let name = format!("attachment; filename=snapshot_rainy-otter-123_{}.zip", after_start(60));
    let response = Response::builder()
        .header(header::CONTENT_LENGTH, length)
        .header(header::CONTENT_DISPOSITION, name)
        .body(Body::from("0123456789"));
    Some(response.unwrap())
}

async fn note(log: &Mutex<Vec<Call>>, request: Request) -> Call {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let path = head.uri.path();
    let id = path.rsplit('/').next().unwrap_or_default();
    let name = match (head.method.as_str(), path.trim_end_matches(id)) {
        ("POST", "/api/export/request/") => "request".to_owned(),
        ("POST", "/api/export/cancel/") => format!("cancel {id}"),
        ("POST", "/api/export/set_expiration/") => format!("expire {id}"),
        ("GET", "/api/export/zip/") => format!("download {id}"),
        ("HEAD", "/api/export/zip/") => format!("head {id}"),
        ("POST", "/api/") if body.windows(9).any(|word| word == b"getLatest") => "latest".to_owned(),
        ("POST", "/api/") if id == "query" => "cloud".to_owned(),
        (method, _) => format!("{method} {path}"),
    };
    let mut log = log.lock().unwrap();
    let nth = log.iter().filter(|call| call.name == name).count();
    let call = Call { name, body, nth };
    log.push(call.clone());
    call
}
