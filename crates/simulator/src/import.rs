//! Snapshot imports: their routes. What an import does is in the modules below.
//!
//! Uploads behave as those of a backend with local storage: parts are appended in the order of their arrival,
//! whatever number they carry, and part tokens are empty.

mod apply;
mod archive;
mod arguments;
mod csv;
mod failure;
mod generated;
mod limits;
mod parse;
mod row;
mod rows;
mod spoil;
mod summary;
mod table;
mod upload;
mod worker;

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::api_error::{ApiError, ApiJson, lost_answer};
use crate::auth::{Admin, Operation};
use crate::database::Database;
use crate::document_id::DocumentId;
use crate::faults::FaultKind;
use crate::spool::Spool;
use crate::state::AppState;
use crate::value::Value;

use arguments::{ImportArguments, RefusedArguments};
pub(crate) use row::ImportRow;
use row::{IMPORTS_TABLE_NUMBER, ImportState};
pub(crate) use table::ImportTable;

/// The routes of imports.
pub(crate) fn routes() -> Router<AppState> {
    let uploads = Router::new()
        .route("/api/import", post(import_at_once))
        .route("/api/import/upload_part", post(upload_part))
        .layer(DefaultBodyLimit::disable());
    Router::new()
        .route("/api/import/start_upload", post(start_upload))
        .route("/api/import/finish_upload", post(finish_upload))
        .route("/api/perform_import", post(perform_import))
        .route("/api/cancel_import", post(cancel_import))
        .merge(uploads)
}

/// The row of an import as a poll shows it, or null. A poll may be one that [`FaultKind::ImportStaysUploaded`] counts.
pub(crate) fn poll(state: &AppState, id: DocumentId) -> Value {
    let imports = state.imports();
    let Some(row) = imports.get(id) else { return Value::Null };
    if row.state == ImportState::Uploaded {
        state.faults.strike(FaultKind::ImportStaysUploaded);
    }
    row.to_value()
}

async fn start_upload(State(state): State<AppState>, admin: Admin) -> Result<Response, ApiError> {
    admin.require(Operation::ImportBackups)?;
    let object_key = state.write(Database::new_uuid);
    state.imports().start_upload(&object_key).map_err(|_| ApiError::internal())?;
    let token = json!({ "objectKey": object_key, "filepath": file_path(&object_key) }).to_string();
    Ok(Json(json!({ "uploadToken": token })).into_response())
}

fn file_path(object_key: &str) -> String {
    format!("/convex/data/storage/snapshot_imports/{object_key}.blob")
}

/// The object key in an upload token. A token that the server did not make is an internal error there.
fn object_key(token: &str) -> Result<String, ApiError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Token {
        object_key: String,
    }
    serde_json::from_str::<Token>(token).map(|token| token.object_key).map_err(|_| ApiError::internal())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UploadPart {
    upload_token: String,
    #[expect(dead_code, reason = "a backend with local storage wants it and does not look at it")]
    part_number: u32,
}

async fn upload_part(
    State(state): State<AppState>,
    admin: Admin,
    part: Result<Query<UploadPart>, QueryRejection>,
    body: Bytes,
) -> Result<Response, ApiError> {
    admin.require(Operation::ImportBackups)?;
    let Query(part) = part.map_err(|rejection| bad_query(&rejection))?;
    let object_key = object_key(&part.upload_token)?;
    let upload = state.imports().upload(&object_key).ok_or_else(ApiError::internal)?;
    upload.append(&body).map_err(|_| ApiError::internal())?;
    if state.faults.strike(FaultKind::UploadPart503) {
        return Err(ApiError::busy());
    }
    Ok(Json("").into_response())
}

fn bad_query(rejection: &QueryRejection) -> ApiError {
    ApiError::bad_request("BadQueryArgs", rejection.body_text())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FinishUpload {
    import: ImportArguments,
    upload_token: String,
    #[expect(dead_code, reason = "a backend with local storage wants them and does not look at them")]
    part_tokens: Vec<String>,
}

async fn finish_upload(
    State(state): State<AppState>,
    admin: Admin,
    ApiJson(body): ApiJson<FinishUpload>,
) -> Result<Response, ApiError> {
    admin.require(Operation::ImportBackups)?;
    body.import.check()?;
    let object_key = object_key(&body.upload_token)?;
    let bytes = state.imports().finish_upload(&object_key).ok_or_else(ApiError::internal)?;
    let id = add_row(&state, body.import, &object_key, bytes, ImportState::Uploaded);
    state.tracker.spawn(worker::parse_upload(state.clone(), id));
    if state.faults.strike(FaultKind::FinishUploadLostAnswer) {
        return Ok(lost_answer());
    }
    Ok(Json(json!({ "importId": id.to_string() })).into_response())
}

fn add_row(
    state: &AppState,
    arguments: ImportArguments,
    object_key: &str,
    bytes: Arc<Spool>,
    first: ImportState,
) -> DocumentId {
    let now_ms = state.now_ms();
    let id = state.write(|database| database.new_id(IMPORTS_TABLE_NUMBER, now_ms));
    let object_key = file_path(object_key);
    let row = ImportRow {
        id,
        creation_time_ms: now_ms,
        arguments,
        object_key,
        bytes: Some(bytes),
        upload: None,
        checkpoints: None,
        state: first,
    };
    state.imports().add(row);
    state.changed();
    id
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImportId {
    import_id: String,
}

impl ImportId {
    fn parse(&self) -> Result<DocumentId, ApiError> {
        let id = &self.import_id;
        id.parse().map_err(|_| ApiError::bad_request("InvalidImport", format!("invalid import id {id}")))
    }

    fn not_found(&self) -> ApiError {
        ApiError::not_found("ImportNotFound", format!("import {} not found", self.import_id))
    }
}

/// Confirms an import. In any other state than `waiting_for_confirmation` nothing happens, and the answer is the same.
async fn perform_import(
    State(state): State<AppState>,
    admin: Admin,
    ApiJson(body): ApiJson<ImportId>,
) -> Result<(), ApiError> {
    admin.require(Operation::ImportBackups)?;
    let id = body.parse()?;
    {
        let mut imports = state.imports();
        let row = imports.get_mut(id).ok_or_else(|| body.not_found())?;
        if !matches!(row.state, ImportState::WaitingForConfirmation { .. }) {
            return Ok(());
        }
        row.state = worker::started();
    }
    state.count(|counters| counters.writes.imports += 1);
    state.changed();
    state.tracker.spawn(worker::perform(state.clone(), id));
    Ok(())
}

async fn cancel_import(
    State(state): State<AppState>,
    admin: Admin,
    ApiJson(body): ApiJson<ImportId>,
) -> Result<(), ApiError> {
    admin.require(Operation::ImportBackups)?;
    let id = body.parse()?;
    let refused = |ended| {
        ApiError::bad_request("CannotCancelImport", format!("Cannot cancel an import that has {ended}"))
    };
    {
        let mut imports = state.imports();
        let row = imports.get_mut(id).ok_or_else(|| body.not_found())?;
        match row.state {
            ImportState::Completed { .. } => return Err(refused("completed")),
            ImportState::Failed { .. } => return Err(refused("failed")),
            _ => row.state = ImportState::Failed { message: "Import canceled".to_owned() },
        }
    }
    state.changed();
    Ok(())
}

/// The import in one call, which confirms itself and answers when it has ended.
async fn import_at_once(
    State(state): State<AppState>,
    admin: Admin,
    arguments: Result<Query<ImportArguments>, QueryRejection>,
    body: Bytes,
) -> Result<Response, ApiError> {
    admin.require(Operation::ImportBackups)?;
    let Query(arguments) = arguments.map_err(|rejection| bad_query(&rejection))?;
    arguments.check()?;
    let object_key = state.write(Database::new_uuid);
    state.count(|counters| counters.writes.imports += 1);
    let upload = Spool::of(&body).map(Arc::new).map_err(|_| ApiError::internal())?;
    let id = add_row(&state, arguments, &object_key, upload, ImportState::Uploaded);
    match worker::run_at_once(&state, id).await {
        Ok(rows_written) => Ok(Json(json!({ "numWritten": rows_written })).into_response()),
        Err(failure) => Err(ApiError::bad_request("ImportFailed", failure.to_string())),
    }
}

impl From<RefusedArguments> for ApiError {
    fn from(refused: RefusedArguments) -> Self {
        Self::bad_request(refused.code, refused.message)
    }
}
