//! The routes of snapshot exports.

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use crate::api_error::{ApiError, ApiJson};
use crate::auth::{Admin, Operation};
use crate::document_id::DocumentId;
use crate::download::{self, Transit};
use crate::export_table::{ExportRow, ExportState, Requestor};
use crate::faults::FaultKind;
use crate::state::AppState;
use crate::worker;

const CACHE_CONTROL: &str = "private, max-age=2592000";

/// The routes of exports.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/export/request/zip", post(request_zip))
        .route("/api/export/zip/{id}", get(download_zip))
        .route("/api/export/cancel/{id}", post(cancel))
        .route("/api/export/set_expiration/{id}", post(set_expiration))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestParameters {
    #[serde(default)]
    include_storage: bool,
    component: Option<String>,
}

async fn request_zip(
    State(state): State<AppState>,
    admin: Admin,
    parameters: Result<Query<RequestParameters>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(parameters) =
        parameters.map_err(|rejection| ApiError::bad_request("BadQueryArgs", rejection.body_text()))?;
    admin.require(Operation::CreateBackups)?;
    if state.faults.strike(FaultKind::Request503) {
        return Err(ApiError::write_conflict());
    }
    // The component is kept with the row; an export holds all of them whatever it says.
    if parameters.component.as_ref().is_some_and(|id| id.parse::<DocumentId>().is_err()) {
        return Err(ApiError::internal());
    }
    let requestor = Requestor::SnapshotExport;
    if !worker::start(&state, requestor, parameters.include_storage, parameters.component) {
        return Err(ApiError::bad_request(
            "ExportInProgress",
            "There is already an export requested or in progress.",
        ));
    }
    if state.faults.strike(FaultKind::Timeout408) {
        return Ok(StatusCode::REQUEST_TIMEOUT.into_response());
    }
    Ok(().into_response())
}

async fn download_zip(
    State(state): State<AppState>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    admin.require(Operation::DownloadBackups)?;
    if state.faults.strike(FaultKind::Download503) {
        return Err(ApiError::busy());
    }
    let row = find_export(&state, &id)?;
    let ExportState::Completed { start_ts, archive, .. } = row.state else {
        let message = format!("The requested export {id} has not completed");
        return Err(ApiError::bad_request("ExportNotComplete", message));
    };
    let transit = Transit::next(&state.faults);
    let file_name = format!("snapshot_{}_{start_ts}.zip", state.instance_name);
    let headers = [
        (header::CONTENT_LENGTH, transit.announced_bytes(archive.size_bytes()).to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename={file_name}")),
        (header::CACHE_CONTROL, CACHE_CONTROL.to_owned()),
    ];
    Ok((headers, Body::from_stream(download::stream_of(&state, archive, transit))).into_response())
}

/// Finds an export by its document ID, or by the timestamp of its snapshot.
fn find_export(state: &AppState, id: &str) -> Result<ExportRow, ApiError> {
    let exports = state.exports();
    let row = match (id.parse::<i64>(), id.parse::<DocumentId>()) {
        (Ok(timestamp), _) => exports.completed_at(timestamp),
        (_, Ok(id)) => exports.get(id),
        _ => return Err(ApiError::bad_request("BadSnapshotId", "Snapshot Id did not parse to an ID.")),
    };
    row.cloned().ok_or_else(|| {
        ApiError::not_found("ExportNotFound", format!("The requested export {id} was not found"))
    })
}

/// Cancels a running export. Every mistake comes out as 500, as on the real server.
async fn cancel(State(state): State<AppState>, admin: Admin, Path(id): Path<String>) -> Result<(), ApiError> {
    admin.require(Operation::ImportBackups)?;
    if state.faults.strike(FaultKind::CancelConflict) {
        return Err(ApiError::write_conflict());
    }
    let id = id.parse().map_err(|_| ApiError::internal())?;
    if worker::cancel(&state, id) { Ok(()) } else { Err(ApiError::internal()) }
}

#[derive(Deserialize)]
struct Expiration {
    #[serde(rename = "expirationTsNs")]
    expiration_ts_ns: u64,
}

/// Sets when a completed export expires; any time will do. Every mistake comes out as 500.
async fn set_expiration(
    State(state): State<AppState>,
    admin: Admin,
    Path(id): Path<String>,
    ApiJson(expiration): ApiJson<Expiration>,
) -> Result<(), ApiError> {
    admin.require(Operation::DeleteBackups)?;
    let id = id.parse().map_err(|_| ApiError::internal())?;
    let expiration_ts = i64::try_from(expiration.expiration_ts_ns).map_err(|_| ApiError::internal())?;
    let mut exports = state.exports();
    let row = exports.get_mut(id).filter(|row| matches!(row.state, ExportState::Completed { .. }));
    row.ok_or_else(ApiError::internal)?.expiration_ts = expiration_ts;
    drop(exports);
    state.changed();
    Ok(())
}
