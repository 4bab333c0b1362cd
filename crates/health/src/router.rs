//! [`router`]: which path leads where, and what every answer has in common.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use convault_core::Control;
use tokio::{sync::Semaphore, time};
use tokio_util::sync::CancellationToken;

use crate::{Access, api, page, probes, problem::Problem};

/// How long an answer may take to begin.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Streams of events at once.
const STREAMS_MAX: usize = 64;

/// What every handler gets.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) control: Arc<dyn Control>,
    pub(crate) access: Arc<Access>,
    pub(crate) stop: CancellationToken,
    pub(crate) streams: Arc<Semaphore>,
}

/// Everything that is served. `stop` ends streams of events.
pub fn router(control: Arc<dyn Control>, access: Access, stop: CancellationToken) -> Router {
    let streams = Arc::new(Semaphore::new(STREAMS_MAX));
    let shared = Shared { control, access: Arc::new(access), stop, streams };
    let readers = Router::new()
        .route("/", get(page::page))
        .route("/metrics", get(probes::metrics))
        .route("/api/v1/status", get(api::status))
        .route("/api/v1/jobs", get(api::jobs))
        .route("/api/v1/jobs/{name}", get(api::job))
        .route("/api/v1/runs", get(api::runs))
        .route("/api/v1/runs/{id}/events", get(api::events))
        .route("/api/v1/openapi.json", get(api::openapi))
        .layer(middleware::from_fn_with_state(shared.clone(), check_read));
    let actors = Router::new()
        .route("/api/v1/jobs/{name}/run", post(api::start))
        .route("/api/v1/runs/{id}/cancel", post(api::cancel))
        .layer(middleware::from_fn_with_state(shared.clone(), check_act));
    Router::new()
        .route("/live", get(probes::live))
        .route("/ready", get(probes::ready))
        .merge(readers)
        .merge(actors)
        .fallback(nothing_here)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(shared.clone(), guard))
        .with_state(shared)
}

async fn nothing_here() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "nothing is here: see /api/v1/openapi.json, /metrics, /live, /ready or /",
    )
}

async fn check_read(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    match shared.access.check_read(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

async fn check_act(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    match shared.access.check_act(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Around every answer: the host check, the time limit, and headers that a browser should see.
async fn guard(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let mut response = match shared.access.check_host(request.headers()) {
        Ok(()) => time::timeout(ANSWER_WITHIN, next.run(request)).await.unwrap_or_else(|_| too_slow()),
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    response
}

fn too_slow() -> Response {
    Problem::new(StatusCode::GATEWAY_TIMEOUT, "the answer took too long: try again").into_response()
}
