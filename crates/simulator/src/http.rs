//! The routes of a deployment, apart from those of exports, imports and the WebSocket, which it joins in.

use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::api_error::{ApiError, ApiJson};
use crate::auth::{Admin, Operation};
use crate::config;
use crate::environment;
use crate::export;
use crate::faults::{Fault, FaultKind};
use crate::functions;
use crate::identity;
use crate::import;
use crate::state::AppState;
use crate::storage;
use crate::sync;
use crate::system_functions;
use crate::value::{Document, Encoding, Value};

/// Function calls may send 16 MiB and a little.
pub(crate) const CALL_LIMIT_BYTES: usize = 16 * 1024 * 1024 + 2000;

/// All routes of a deployment.
pub(crate) fn router(state: AppState) -> Router {
    let answering = Router::new()
        .route("/", get(|| async { "This Convex deployment is running. See https://docs.convex.dev/." }))
        .route("/instance_name", get(instance_name))
        .route("/instance_version", get(version))
        .route("/api/check_admin_key", get(check_admin_key))
        .route("/api/query", post(query).layer(DefaultBodyLimit::max(CALL_LIMIT_BYTES)))
        .route("/api/query_batch", post(query_batch).layer(DefaultBodyLimit::max(CALL_LIMIT_BYTES)))
        .route("/api/v1/pause_deployment", post(pause))
        .route("/api/v1/unpause_deployment", post(unpause))
        .merge(config::routes())
        .merge(environment::routes())
        .merge(export::routes())
        .merge(functions::routes())
        .merge(identity::routes())
        .merge(storage::routes())
        .merge(import::routes())
        .merge(sync::routes())
        .route_layer(middleware::from_fn(with_cors_headers));
    Router::new()
        .route("/version", get(version))
        .merge(answering)
        .route_layer(middleware::from_fn_with_state(state.clone(), before_every_route))
        .with_state(state)
}

/// The headers that every answer of a real deployment carries, `/version` and unknown routes aside.
async fn with_cors_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let vary = "origin, access-control-request-method, access-control-request-headers";
    headers.insert(header::VARY, HeaderValue::from_static(vary));
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    response
}

/// Counts the request, hides what an old server does not have, and refuses a client without a version.
async fn before_every_route(
    State(state): State<AppState>,
    path: MatchedPath,
    request: Request,
    next: Next,
) -> Response {
    let route = format!("{} {}", request.method(), path.as_str());
    state.count(|counters| *counters.requests.entry(route).or_default() += 1);
    let newer = ["/api/v1/", "/api/export/cancel/", "/api/export/set_expiration/"];
    if state.faults.is_on(FaultKind::OldServer)
        && newer.iter().any(|prefix| path.as_str().starts_with(prefix))
    {
        return StatusCode::NOT_FOUND.into_response();
    }
    match check_client(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

const CONVEX_CLIENT: HeaderName = HeaderName::from_static("convex-client");

fn check_client(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(client) = headers.get(CONVEX_CLIENT) else { return Ok(()) };
    let text = client.to_str().unwrap_or_default();
    let Some((name, version)) = client_version(text) else {
        let message = format!("Failed to parse client version: {text}");
        return Err(ApiError::bad_request("InvalidClientVersion", message));
    };
    let oldest = match name {
        "npm" | "npm-cli" | "actions" => [0, 19, 1],
        "python" => [0, 0, 2],
        "rust" => [0, 0, 1],
        _ => return Ok(()),
    };
    if version > oldest {
        return Ok(());
    }
    Err(ApiError::bad_request(
        "ClientVersionUnsupported",
        format!("The client {text} is no longer supported."),
    ))
}

/// Splits `<name>-<major>.<minor>.<patch>`, whatever follows the patch.
fn client_version(text: &str) -> Option<(&str, [u64; 3])> {
    let at = text
        .match_indices('-')
        .map(|(at, _)| at)
        .find(|at| text[at + 1..].starts_with(|letter: char| letter.is_ascii_digit()))?;
    let release = text[at + 1..].split(['-', '+']).next()?;
    let mut numbers = release.splitn(3, '.').map(str::parse);
    let version = [numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?];
    Some((&text[..at], version))
}

async fn version(State(state): State<AppState>) -> String {
    state.server_version.clone()
}

async fn instance_name(State(state): State<AppState>) -> String {
    state.instance_name.clone()
}

async fn check_admin_key(admin: Admin) -> Response {
    let operations = &admin.allowed_operations;
    Json(json!({ "success": true, "allowedOps": operations, "isReadOnly": admin.is_read_only }))
        .into_response()
}

async fn pause(State(state): State<AppState>, admin: Admin) -> Result<(), ApiError> {
    admin.require(Operation::PauseDeployment)?;
    state.count(|counters| counters.writes.pauses += 1);
    state.faults.set(Fault::new(FaultKind::Paused));
    Ok(())
}

async fn unpause(State(state): State<AppState>, admin: Admin) -> Result<(), ApiError> {
    admin.require(Operation::UnpauseDeployment)?;
    if !state.is_paused() {
        let message = "Deployment is not currently paused.";
        return Err(ApiError::bad_request("UnpauseDeploymentFailed", message));
    }
    state.count(|counters| counters.writes.pauses += 1);
    state.faults.clear(FaultKind::Paused);
    Ok(())
}

/// The body of a function call.
#[derive(Deserialize)]
pub(crate) struct Call {
    pub(crate) path: String,
    args: Box<RawValue>,
    format: Option<String>,
}

/// What a call gives its function, and how it wants the result.
pub(crate) struct Called {
    pub(crate) arguments: Document,
    pub(crate) encoding: Encoding,
}

async fn query(
    State(state): State<AppState>,
    admin: Option<Admin>,
    headers: HeaderMap,
    ApiJson(call): ApiJson<Call>,
) -> Result<Response, ApiError> {
    if state.faults.strike(FaultKind::Poll503) {
        return Err(ApiError::busy());
    }
    let answer = call_answer(&state, admin.as_ref(), &headers, &call)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], answer).into_response())
}

/// Calls that see the same data, answered in their order.
#[derive(Deserialize)]
struct Batch {
    queries: Vec<Call>,
}

async fn query_batch(
    State(state): State<AppState>,
    admin: Option<Admin>,
    headers: HeaderMap,
    ApiJson(batch): ApiJson<Batch>,
) -> Result<Response, ApiError> {
    if state.faults.strike(FaultKind::Poll503) {
        return Err(ApiError::busy());
    }
    if state.faults.strike(FaultKind::CountsUnavailable) {
        let message = "Table summaries are still bootstrapping. Try again later.";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return Err(ApiError::new(status, "TableSummariesUnavailable", message));
    }
    let mut body = br#"{"results":["#.to_vec();
    for (at, call) in batch.queries.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        body.append(&mut call_answer(&state, admin.as_ref(), &headers, call)?);
    }
    body.extend_from_slice(b"]}");
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn call_answer(
    state: &AppState,
    admin: Option<&Admin>,
    headers: &HeaderMap,
    call: &Call,
) -> Result<Vec<u8>, ApiError> {
    let Called { arguments, encoding } = called(headers, call)?;
    Ok(function_answer(system_functions::run(state, admin, &call.path, &arguments), encoding))
}

/// Reads what a call gives its function.
pub(crate) fn called(headers: &HeaderMap, call: &Call) -> Result<Called, ApiError> {
    let encoding = match &call.format {
        Some(format) => Encoding::from_format(format)
            .ok_or_else(|| ApiError::bad_request("BadFormat", format!("unknown format {format}")))?,
        None => default_encoding(headers),
    };
    Ok(Called { arguments: arguments(&call.args)?, encoding })
}

/// What a caller that names no format gets, judged by its client's version.
fn default_encoding(headers: &HeaderMap) -> Encoding {
    let client = headers.get(CONVEX_CLIENT).and_then(|client| client.to_str().ok()).and_then(client_version);
    match client {
        Some(("npm" | "npm-cli", version)) if version < [1, 4, 1] => Encoding::Encoded,
        _ => Encoding::Clean,
    }
}

/// The arguments of a call: one object, alone or as the only element of an array.
pub(crate) fn arguments(raw: &RawValue) -> Result<Document, ApiError> {
    let invalid = |message: String| ApiError::bad_request("BadJsonBody", message);
    let value =
        Value::parse(raw.get().as_bytes(), Encoding::Encoded).map_err(|error| invalid(error.to_string()))?;
    match value {
        Value::Object(fields) => Ok(fields),
        Value::Array(items) => match <[Value; 1]>::try_from(items) {
            Ok([Value::Object(fields)]) => Ok(fields),
            _ => Err(invalid("args must hold one object".to_owned())),
        },
        _ => Err(invalid("args must be an object".to_owned())),
    }
}

/// The envelope of a function's result: HTTP 200 for success and failure alike.
pub(crate) fn function_answer(result: Result<Value, String>, encoding: Encoding) -> Vec<u8> {
    let mut body = Vec::new();
    match result {
        Ok(value) => {
            body.extend_from_slice(br#"{"status":"success","value":"#);
            value.write(encoding, &mut body);
            body.push(b'}');
        }
        Err(message) => {
            body.extend_from_slice(br#"{"status":"error","errorMessage":"#);
            Value::String(message).write(Encoding::Clean, &mut body);
            body.push(b'}');
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::client_version;

    #[test]
    fn a_client_is_a_name_and_a_version() {
        assert_eq!(client_version("npm-cli-1.48.0"), Some(("npm-cli", [1, 48, 0])));
        assert_eq!(client_version("convault-0.1.0-rc.1"), Some(("convault", [0, 1, 0])));
        assert_eq!(client_version("convault"), None);
        assert_eq!(client_version("convault-one"), None);
    }
}
