//! The routes of environment variables, and the limits of what can be set.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use crate::api_error::{ApiError, ApiJson};
use crate::auth::{Admin, Operation};
use crate::state::AppState;

const MAX_VARIABLES: usize = 512;
const MAX_TOTAL_BYTES: usize = 512 * 1024;
const MAX_NAME: usize = 256;
const MAX_VALUE_BYTES: usize = 8192;
const BUILT_IN: [&str; 2] = ["CONVEX_CLOUD_URL", "CONVEX_SITE_URL"];

/// The routes of environment variables, each with and without `/v1`.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/list_environment_variables", get(list))
        .route("/api/v1/list_environment_variables", get(list))
        .route("/api/update_environment_variables", post(update))
        .route("/api/v1/update_environment_variables", post(update))
}

async fn list(State(state): State<AppState>, admin: Admin) -> Result<Response, ApiError> {
    admin.require(Operation::ViewEnvironmentVariables)?;
    let values: BTreeMap<String, String> = state.read(|database| {
        let variables = database.environment().iter();
        variables.map(|(name, variable)| (name.clone(), variable.value.clone())).collect()
    });
    Ok(Json(json!({ "environmentVariables": values })).into_response())
}

#[derive(Deserialize)]
struct Update {
    changes: Vec<Change>,
}

/// A new value, or none to remove the variable.
#[derive(Deserialize)]
struct Change {
    name: String,
    value: Option<String>,
}

/// Makes all changes in one transaction, or none of them.
async fn update(
    State(state): State<AppState>,
    admin: Admin,
    ApiJson(update): ApiJson<Update>,
) -> Result<(), ApiError> {
    admin.require(Operation::WriteEnvironmentVariables)?;
    update.changes.iter().try_for_each(check)?;
    let now_ms = state.now_ms();
    state.write(|database| {
        let mut after = database.clone();
        for change in update.changes {
            after.set_environment_variable(&change.name, change.value, now_ms);
        }
        let sizes = after.environment().iter().map(|(name, variable)| name.len() + variable.value.len());
        check_totals(after.environment().len(), sizes.sum())?;
        *database = after;
        Ok::<(), ApiError>(())
    })?;
    state.count(|counters| counters.writes.environment += 1);
    Ok(())
}

fn check(change: &Change) -> Result<(), ApiError> {
    let name = &change.name;
    let refused = |code, message| Err(ApiError::bad_request(code, message));
    let is_word = |text: &str| text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if !name.starts_with(|letter: char| letter.is_ascii_alphabetic()) || !is_word(name) {
        let message = format!(
            "The environment variable name {name} is invalid. Environment variable names must begin with a letter and \
             may only include characters a-z, A-Z, 0-9, and underscores."
        );
        return refused("EnvironmentVariableNameInvalid", message);
    }
    if name.len() > MAX_NAME {
        let message = format!("The environment variable name is longer than {MAX_NAME} characters");
        return refused("EnvironmentVariableNameTooLong", message);
    }
    if BUILT_IN.contains(&name.as_str()) {
        let message =
            format!("Environment variable with name \"{name}\" is built-in and cannot be overridden");
        return refused("EnvVarNameForbidden", message);
    }
    match change.value.as_ref().map(String::len) {
        Some(bytes) if bytes > MAX_VALUE_BYTES => {
            // The real text lacks the closing bracket as well.
            let message = format!(
                "The environment variable value is {bytes} bytes, which is too large. (max size: {MAX_VALUE_BYTES}"
            );
            refused("EnvironmentVariableValueTooLarge", message)
        }
        _ => Ok(()),
    }
}

fn check_totals(variables: usize, bytes: usize) -> Result<(), ApiError> {
    if variables > MAX_VARIABLES {
        let message = format!("Environment variable limit reached: at most {MAX_VARIABLES} can be set");
        return Err(ApiError::bad_request("EnvVarLimitMet", message));
    }
    if bytes > MAX_TOTAL_BYTES {
        let message =
            format!("Environment variables take {bytes} bytes, which is more than {MAX_TOTAL_BYTES}");
        return Err(ApiError::bad_request("EnvVarTotalSizeLimitMet", message));
    }
    Ok(())
}
