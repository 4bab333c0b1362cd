//! `/live`, `/ready` and `/metrics`.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{metrics, problem::Problem, router::Shared};

/// The process answers. Nothing else is looked at: a restart would not mend it.
pub(crate) async fn live() -> &'static str {
    "live\n"
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    reasons: Vec<String>,
}

/// 200 when ready, else 503 with one reason a line; as JSON for those who accept it.
pub(crate) async fn ready(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let reasons = shared.control.status().not_ready;
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.contains("application/json") {
        return (status, Json(Readiness { ready: reasons.is_empty(), reasons })).into_response();
    }
    let lines = if reasons.is_empty() { vec!["ready".to_owned()] } else { reasons };
    (status, lines.join("\n") + "\n").into_response()
}

/// `OpenMetrics` text.
pub(crate) async fn metrics(State(shared): State<Shared>) -> Result<Response, Problem> {
    let text = metrics::render(&shared.control.status())
        .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written"))?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}
