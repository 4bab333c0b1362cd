//! The functions under `_system/` that answer without any deployed code.

mod code;
mod files;
mod pages;
mod scheduled;
mod tables;

use crate::auth::{Admin, Operation};
use crate::database::Database;
use crate::document_id::DocumentId;
use crate::export_table::{ExportRow, Requestor};
use crate::import;
use crate::state::AppState;
use crate::value::{Document, Value};

/// Table number of the definitions of components.
const DEFINITIONS_TABLE_NUMBER: u32 = 543;

const BACKEND_STATE: &str = "_system/frontend/backendState:backendState";

/// A call of a system function, once its caller is known to be allowed to make it.
#[derive(Debug, Clone, Copy)]
struct Call<'a> {
    state: &'a AppState,
    /// Path of the component that the caller chose beside the arguments; empty for the root.
    component: &'a str,
    arguments: &'a Document,
}

/// Runs a system function in the root component. The error is the `errorMessage` of an answer with `status: "error"`.
pub(crate) fn run(
    state: &AppState,
    admin: Option<&Admin>,
    path: &str,
    arguments: &Document,
) -> Result<Value, String> {
    run_in(state, admin, "", path, arguments)
}

/// Runs a system function in a component, as only the WebSocket can.
pub(crate) fn run_in(
    state: &AppState,
    admin: Option<&Admin>,
    component: &str,
    path: &str,
    arguments: &Document,
) -> Result<Value, String> {
    let admin = admin.ok_or_else(|| not_public(path))?;
    let call = Call { state, component, arguments };
    let path = path.strip_suffix(":default").unwrap_or(path);
    if path == BACKEND_STATE {
        // Any key may see it.
        return backend_state(call);
    }
    let (operation, function) = function(path).ok_or_else(|| not_public(path))?;
    if admin.may(operation) { function(call) } else { Err(server_error(&operation.refusal())) }
}

type Function = fn(Call<'_>) -> Result<Value, String>;

/// Every function there is, with what a key must be allowed to do.
fn function(path: &str) -> Option<(Operation, Function)> {
    let function: (Operation, Function) = match path {
        "_system/cli/exports:getLatest" | "_system/frontend/latestExport" => {
            (Operation::ViewBackups, latest_export)
        }
        "_system/frontend/latestExport:latestCloudExport" => (Operation::ViewBackups, latest_cloud_export),
        "_system/frontend/latestExport:canExportFileStorage" => (Operation::ViewBackups, can_export_files),
        "_system/cli/queryImport" => (Operation::ViewBackups, query_import),
        "_system/cli/queryImport:list" | "_system/frontend/snapshotImport:list" => {
            (Operation::ViewBackups, list_imports)
        }
        "_system/cli/queryEnvironmentVariables" => (Operation::ViewEnvironmentVariables, list_environment),
        "_system/cli/queryEnvironmentVariables:get" => (Operation::ViewEnvironmentVariables, get_environment),
        "_system/cli/tables" => (Operation::ViewData, tables::list),
        "_system/cli/tableSize" | "_system/frontend/tableSize" => (Operation::ViewData, tables::size),
        "_system/frontend/tableSize:sizeOfAllTables" => (Operation::ViewData, tables::size_of_all),
        "_system/frontend/getTableMapping" => (Operation::ViewData, tables::mapping),
        "_system/cli/tableData" => (Operation::ViewData, tables::data),
        "_system/frontend/fileStorageV2:fileMetadata" => (Operation::ViewData, files::metadata),
        "_system/frontend/fileStorageV2:numFiles" => (Operation::ViewData, files::count),
        "_system/frontend/fileStorageV2:getFile" => (Operation::ViewData, files::get),
        "_system/frontend/paginatedScheduledJobs" => (Operation::ViewData, scheduled::list),
        "_system/frontend/scheduler:getArgs" => (Operation::ViewData, scheduled::arguments),
        "_system/frontend/listCronJobs" => (Operation::ViewData, scheduled::crons),
        "_system/frontend/modules:list" => (Operation::ViewData, code::modules),
        "_system/frontend/getSchemas" => (Operation::ViewData, code::schemas),
        "_system/frontend/listAuthProviders" => (Operation::ViewData, code::auth_providers),
        "_system/frontend/getVersion" => (Operation::ViewData, code::pushed_with),
        "_system/frontend/components:list" => (Operation::ViewData, list_components),
        _ => return None,
    };
    Some(function)
}

impl Call<'_> {
    /// The text argument `name`.
    fn text(&self, name: &str) -> Result<&str, String> {
        let value = self.arguments.get(name).and_then(Value::as_str);
        value.ok_or_else(|| server_error(&format!("ArgumentValidationError: `{name}` must be a string.")))
    }

    /// Reads the component that `componentId` names, else the one the call is made in.
    fn in_component<R>(&self, read: impl FnOnce(&Database, &str) -> R) -> Result<R, String> {
        self.state.read(|database| match self.arguments.get("componentId") {
            None | Some(Value::Null) => Ok(read(database, self.component)),
            id => component_path(database, id).map(|path| read(database, path)),
        })
    }
}

/// The path of the component that a `componentId` names; the root's where there is none.
pub(crate) fn component_path<'a>(database: &'a Database, id: Option<&Value>) -> Result<&'a str, String> {
    let Some(id) = id.filter(|id| **id != Value::Null) else { return Ok("") };
    let id = id.as_str().and_then(|text| text.parse::<DocumentId>().ok());
    let path = id.and_then(|id| database.component_path(id));
    path.ok_or_else(|| server_error("Component not found"))
}

#[expect(clippy::unnecessary_wraps, reason = "every function has the same shape")]
fn latest_export(call: Call<'_>) -> Result<Value, String> {
    Ok(latest(call.state, Requestor::SnapshotExport))
}

#[expect(clippy::unnecessary_wraps, reason = "every function has the same shape")]
fn latest_cloud_export(call: Call<'_>) -> Result<Value, String> {
    Ok(latest(call.state, Requestor::CloudBackup))
}

fn latest(state: &AppState, requestor: Requestor) -> Value {
    state.exports().latest(requestor).map_or(Value::Null, ExportRow::to_value)
}

#[expect(clippy::unnecessary_wraps, reason = "every function has the same shape")]
fn can_export_files(_: Call<'_>) -> Result<Value, String> {
    Ok(Value::Boolean(true))
}

fn query_import(call: Call<'_>) -> Result<Value, String> {
    let id = call.text("importId")?;
    Ok(id.parse().map_or(Value::Null, |id| import::poll(call.state, id)))
}

#[expect(clippy::unnecessary_wraps, reason = "every function has the same shape")]
fn list_imports(call: Call<'_>) -> Result<Value, String> {
    Ok(Value::Array(call.state.imports().latest().map(import::ImportRow::to_value).collect()))
}

#[expect(clippy::unnecessary_wraps, reason = "every function has the same shape")]
fn list_environment(call: Call<'_>) -> Result<Value, String> {
    let rows = call.state.read(|database| {
        let variables = database.environment().iter();
        variables
            .map(|(name, variable)| {
                Value::object([
                    ("_id", variable.id.to_string().into()),
                    ("_creationTime", Value::Float64(variable.creation_time_ms)),
                    ("name", name.clone().into()),
                    ("value", variable.value.clone().into()),
                ])
            })
            .collect()
    });
    Ok(Value::Array(rows))
}

fn get_environment(call: Call<'_>) -> Result<Value, String> {
    let name = call.text("name")?;
    let value =
        call.state.read(|database| database.environment().get(name).map(|variable| variable.value.clone()));
    Ok(value.map_or(Value::Null, |value| Value::object([("name", name.into()), ("value", value.into())])))
}

/// Every component, with the fields of its row and those that the dashboard's function adds to them (`id`, `path`).
#[expect(clippy::unnecessary_wraps, reason = "every function has the same shape")]
fn list_components(call: Call<'_>) -> Result<Value, String> {
    let rows = call.state.read(|database| {
        let components = database.components();
        components
            .map(|(path, component)| {
                let is_root = path.is_empty();
                let unless_root = |value: Value| if is_root { Value::Null } else { value };
                let definition = DocumentId { table_number: DEFINITIONS_TABLE_NUMBER, ..component.id };
                let name = path.rsplit('/').next().unwrap_or(path);
                Value::object([
                    ("_id", component.id.to_string().into()),
                    ("_creationTime", Value::Float64(component.creation_time_ms)),
                    ("args", unless_root(Value::Array(Vec::new()))),
                    ("definitionId", definition.to_string().into()),
                    ("env", unless_root(Value::Array(Vec::new()))),
                    ("httpPrefix", Value::Null),
                    ("id", component.id.to_string().into()),
                    ("name", unless_root(name.into())),
                    ("parent", component.parent.map_or(Value::Null, |parent| parent.to_string().into())),
                    ("path", path.into()),
                    ("state", if component.mounted { "active".into() } else { "unmounted".into() }),
                ])
            })
            .collect()
    });
    Ok(Value::Array(rows))
}

#[expect(clippy::unnecessary_wraps, reason = "every function has the same shape")]
fn backend_state(call: Call<'_>) -> Result<Value, String> {
    let user = if call.state.is_paused() { "paused" } else { "none" };
    Ok(Value::object([("system", "none".into()), ("usage_limit", "none".into()), ("user", user.into())]))
}

fn not_public(path: &str) -> String {
    server_error(&format!("Could not find public function for '{path}'."))
}

/// The text of an error inside a function, with an ID of the request as every such text has.
pub(crate) fn server_error(text: &str) -> String {
    format!("[Request ID: {:016x}] Server Error\n{text}\n", rand::random::<u64>())
}
