//! The functions under `_system/` that answer without any deployed code.

use crate::auth::{Admin, Operation};
use crate::export_table::Requestor;
use crate::state::AppState;
use crate::value::{Document, Value};

/// Runs a system function. The error is the `errorMessage` of an answer with `status: "error"`.
pub(crate) fn run(
    state: &AppState,
    admin: Option<&Admin>,
    path: &str,
    _arguments: &Document,
) -> Result<Value, String> {
    let admin = admin.ok_or_else(|| not_public(path))?;
    match path.strip_suffix(":default").unwrap_or(path) {
        "_system/cli/exports:getLatest" | "_system/frontend/latestExport" => {
            require(admin, Operation::ViewBackups)?;
            Ok(latest(state, Requestor::SnapshotExport))
        }
        "_system/frontend/latestExport:latestCloudExport" => {
            require(admin, Operation::ViewBackups)?;
            Ok(latest(state, Requestor::CloudBackup))
        }
        _ => Err(not_public(path)),
    }
}

fn latest(state: &AppState, requestor: Requestor) -> Value {
    state.exports().latest(requestor).map_or(Value::Null, |row| row.to_value())
}

fn require(admin: &Admin, operation: Operation) -> Result<(), String> {
    if admin.may(operation) { Ok(()) } else { Err(server_error(&operation.refusal())) }
}

fn not_public(path: &str) -> String {
    server_error(&format!("Could not find public function for '{path}'."))
}

/// The text of an error inside a function, with an ID of the request as every such text has.
fn server_error(text: &str) -> String {
    format!("[Request ID: {:016x}] Server Error\n{text}\n", rand::random::<u64>())
}
