//! Running functions that are not system queries: the system's mutations, and a few of what somebody may have
//! deployed, which are built in because no code is ever run here.

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use crate::api_error::{ApiError, ApiJson};
use crate::auth::{Admin, Operation};
use crate::document_id::{DocumentId, STORAGE_TABLE_NUMBER};
use crate::faults::FaultKind;
use crate::http::{CALL_LIMIT_BYTES, Call, Called, called, function_answer};
use crate::state::AppState;
use crate::system_functions::{component_path, server_error};
use crate::value::{Document, Value};

const DELETE_FILE: &str = "_system/frontend/fileStorageV2:deleteFile";
const DELETE_FILES: &str = "_system/frontend/fileStorageV2:deleteFiles";

/// The routes of functions that are not system queries.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/mutation", post(mutation))
        .route("/api/function", post(function))
        .layer(DefaultBodyLimit::max(CALL_LIMIT_BYTES))
}

async fn mutation(
    State(state): State<AppState>,
    admin: Option<Admin>,
    headers: HeaderMap,
    ApiJson(call): ApiJson<Call>,
) -> Result<Response, ApiError> {
    let Called { arguments, encoding } = called(&headers, &call)?;
    let result = match (&admin, call.path.as_str()) {
        (Some(admin), DELETE_FILE | DELETE_FILES) => delete_files(&state, admin, &arguments),
        (_, path) => Err(server_error(&format!("Could not find public function for '{path}'."))),
    };
    Ok(answer(function_answer(result, encoding)))
}

/// Deletes stored files in one transaction. One that is not there fails all.
fn delete_files(state: &AppState, admin: &Admin, arguments: &Document) -> Result<Value, String> {
    if !admin.may(Operation::WriteData) {
        return Err(server_error(&Operation::WriteData.refusal()));
    }
    let ids = match (arguments.get("storageIds"), arguments.get("storageId")) {
        (Some(Value::Array(ids)), _) => ids.as_slice(),
        (_, Some(id)) => std::slice::from_ref(id),
        _ => return Err(server_error("ArgumentValidationError: `storageIds` must be a list.")),
    };
    let ids: Vec<DocumentId> = ids.iter().map(storage_id).collect::<Result<_, _>>()?;
    state.write(|database| {
        let path = component_path(database, arguments.get("componentId"))?.to_owned();
        let component = database.component_mut(&path).ok_or_else(|| server_error("Component not found"))?;
        if let Some(missing) = ids.iter().find(|id| !component.files().contains_key(id)) {
            return Err(server_error(&format!("Uncaught Error: storage id {missing} not found")));
        }
        for id in ids {
            component.remove_file(id);
        }
        Ok(())
    })?;
    state.count(|counters| counters.writes.mutations += 1);
    Ok(Value::Null)
}

fn storage_id(value: &Value) -> Result<DocumentId, String> {
    let id = value.as_str().and_then(|text| text.parse::<DocumentId>().ok());
    id.filter(|id| id.table_number == STORAGE_TABLE_NUMBER).ok_or_else(|| {
        server_error("ArgumentValidationError: Value does not match validator v.id(\"_storage\")")
    })
}

/// Runs a function of the deployment's own code, as its dashboard does.
async fn function(
    State(state): State<AppState>,
    admin: Admin,
    headers: HeaderMap,
    ApiJson(call): ApiJson<Call>,
) -> Result<Response, ApiError> {
    admin.require(Operation::RunInternalQueries)?;
    let Called { arguments, encoding } = called(&headers, &call)?;
    Ok(answer(function_answer(own_function(&state, &call.path, &arguments), encoding)))
}

fn own_function(state: &AppState, path: &str, arguments: &Document) -> Result<Value, String> {
    if state.is_paused() {
        return Err(server_error(
            "Cannot run functions while this deployment is paused. Resume the deployment in the dashboard settings to \
             allow functions to run.",
        ));
    }
    if state.faults.strike(FaultKind::FunctionFails) {
        return Err(server_error("Uncaught Error: the simulator was asked to fail this function"));
    }
    match path {
        "checks:ok" => Ok(Value::Boolean(true)),
        "checks:no" => Ok(Value::Boolean(false)),
        "checks:echo" => Ok(Value::Object(arguments.clone())),
        "checks:count" => count(state, arguments),
        "checks:fails" => Err(server_error("Uncaught Error: this check always fails")),
        _ => Err(server_error(&format!(
            "Could not find function for '{path}'. Did you forget to run `npx convex dev`?"
        ))),
    }
}

/// `checks:count`: the documents of table `table` in the component `component`, the root where there is none.
#[expect(clippy::cast_precision_loss, reason = "JavaScript counts in doubles as well")]
fn count(state: &AppState, arguments: &Document) -> Result<Value, String> {
    let text = |name: &str| arguments.get(name).and_then(Value::as_str);
    let table =
        text("table").ok_or_else(|| server_error("ArgumentValidationError: `table` must be a string."))?;
    let component = text("component").unwrap_or_default();
    let count =
        state.read(|database| database.table(component, table).map_or(0, |table| table.documents.len()));
    Ok(Value::Float64(count as f64))
}

fn answer(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
