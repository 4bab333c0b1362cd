//! Which deployment this is: its URLs and kind, and what the platform's API says of a key.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use crate::api_error::{ApiError, ApiJson};
use crate::auth::{Admin, Operation};
use crate::state::AppState;

/// The routes that identify a deployment. The last two belong to the platform (`CONVEX_PROVISION_HOST`), which the
/// simulator plays for its own deployment.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/get_canonical_urls", get(canonical_urls))
        .route("/api/v1/deployment_info", get(deployment_info))
        .route("/api/deployment/url_for_key", post(url_for_key))
        .route("/api/deployment/team_and_project_for_key", post(team_and_project_for_key))
}

async fn canonical_urls(State(state): State<AppState>, admin: Admin) -> Result<Response, ApiError> {
    admin.require(Operation::ViewData)?;
    let origin = state.cloud_origin();
    Ok(Json(json!({ "convexCloudUrl": origin, "convexSiteUrl": format!("{origin}/http") })).into_response())
}

async fn deployment_info(State(state): State<AppState>, admin: Admin) -> Result<Response, ApiError> {
    admin.require(Operation::ViewData)?;
    if let Some(cloud) = &state.cloud {
        return Ok(Json(json!({
            "kind": "cloud",
            "teamId": 1,
            "projectId": cloud.project,
            "projectName": "Simulated",
            "projectSlug": "simulated",
            "id": cloud.id,
            "deploymentType": cloud.deployment_type,
            "reference": cloud.reference,
        }))
        .into_response());
    }
    let Some(kind) = kind_of_key(state.key.expose()) else {
        return Ok(Json(json!({ "kind": "selfHosted" })).into_response());
    };
    Ok(Json(json!({
        "kind": "cloud",
        "teamId": 1,
        "projectId": 1,
        "projectName": "Simulated",
        "projectSlug": "simulated",
        // No two deployments have the same number.
        "id": crc32fast::hash(state.instance_name.as_bytes()),
        "deploymentType": kind,
        "reference": "production",
    }))
    .into_response())
}

/// The type of deployment that a key has in front, where it is one of the cloud's.
fn kind_of_key(key: &str) -> Option<&str> {
    let (kind, _) = key.split_once(':')?;
    ["prod", "dev", "preview", "custom"].contains(&kind).then_some(kind)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeployKey {
    deploy_key: String,
}

impl DeployKey {
    fn check(&self, state: &AppState) -> Result<(), ApiError> {
        Admin::from_key(state, &self.deploy_key).map(drop).map_err(|_| {
            let message = "The deploy key is not valid. Create a new one in the dashboard.";
            ApiError::new(StatusCode::UNAUTHORIZED, "BadDeployKey", message)
        })
    }
}

/// The URL of the deployment that a key is for, as a JSON string.
async fn url_for_key(
    State(state): State<AppState>,
    ApiJson(body): ApiJson<DeployKey>,
) -> Result<Response, ApiError> {
    body.check(&state)?;
    Ok(Json(state.cloud_origin()).into_response())
}

async fn team_and_project_for_key(
    State(state): State<AppState>,
    ApiJson(body): ApiJson<DeployKey>,
) -> Result<Response, ApiError> {
    body.check(&state)?;
    Ok(Json(json!({
        "team": "simulated-team",
        "project": "simulated",
        "teamId": 1,
        "projectId": 1,
        "reference": "production",
        "isDefault": true,
    }))
    .into_response())
}
