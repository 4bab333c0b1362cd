//! A server that answers each call as a test says.

use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    /// How often the same was called before.
    pub(crate) nth: usize,
}

/// The server, and the calls so far.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) url: String,
    calls: Arc<Mutex<Vec<Call>>>,
    _serving: JoinSet<()>,
}

impl Fake {
    pub(crate) async fn start(answer: impl Fn(&Call) -> Response + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let calls = Arc::new(Mutex::new(Vec::<Call>::new()));
        let (log, answer) = (Arc::clone(&calls), Arc::new(answer));
        let handler = move |request: Request| {
            let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
            async move { answer(&note(&log, &request)) }
        };
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            axum::serve(listener, axum::Router::new().fallback(handler)).await.unwrap();
        });
        Self { url, calls, _serving: serving }
    }

    /// What was called so far, in order.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.calls.lock().unwrap().iter().map(|call| call.target.clone()).collect()
    }
}

fn note(log: &Mutex<Vec<Call>>, request: &Request) -> Call {
    let target = request.uri().to_string();
    let mut log = log.lock().unwrap();
    let nth = log.iter().filter(|call| call.target == target).count();
    let call = Call { target, headers: request.headers().clone(), nth };
    log.push(call.clone());
    call
}

pub(crate) fn answer(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

pub(crate) fn ok(body: &Value) -> Response {
    answer(200, body)
}

/// An error as Vercel has it.
pub(crate) fn refused(status: u16, code: &str) -> Response {
    answer(status, &json!({ "error": { "code": code, "message": format!("this is {code}, hunter2-token") } }))
}
