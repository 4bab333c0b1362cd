//! The routes that give deployed code: bundled modules, their hashes, and indexes.

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use convault_core::Sha256;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api_error::{ApiError, ApiJson};
use crate::auth::{Admin, Operation};
use crate::deployed::Module;
use crate::document_id::DocumentId;
use crate::state::AppState;

/// The routes of deployed code.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/get_config", post(config))
        .route("/api/get_config_hashes", post(hashes))
        .route("/api/get_indexes", get(indexes))
}

/// These routes look for the key in the body only.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asking {
    admin_key: String,
}

impl Asking {
    fn check(&self, state: &AppState) -> Result<(), ApiError> {
        Admin::from_key(state, &self.admin_key)?.require(Operation::Deploy)
    }
}

/// What `convex.json` and `auth.config.ts` became.
fn configuration(state: &AppState) -> Value {
    let providers: Vec<Value> = state.read(|database| {
        let providers = database.auth_providers.iter();
        providers
            .map(|(domain, application)| json!({ "applicationID": application, "domain": domain }))
            .collect()
    });
    json!({ "authInfo": providers, "functions": "convex/" })
}

/// The modules of the root component: no other one's are given.
fn modules(state: &AppState) -> Vec<Module> {
    state.read(|database| database.deployed("").map_or_else(Vec::new, |deployed| deployed.modules.clone()))
}

/// Fields of a module in the order in which the backend writes them.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct ModuleJson {
    path: String,
    source: String,
    source_map: Option<String>,
    environment: String,
}

async fn config(
    State(state): State<AppState>,
    ApiJson(asking): ApiJson<Asking>,
) -> Result<Response, ApiError> {
    asking.check(&state)?;
    let modules = modules(&state).into_iter().map(|module| ModuleJson {
        path: module.path,
        source: module.source,
        source_map: module.source_map,
        environment: module.environment,
    });
    let modules: Vec<ModuleJson> = modules.collect();
    let version = "1.48.0";
    Ok(Json(AllOfIt { config: configuration(&state), modules, udf_server_version: version }).into_response())
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct AllOfIt {
    config: Value,
    modules: Vec<ModuleJson>,
    udf_server_version: &'static str,
}

async fn hashes(
    State(state): State<AppState>,
    ApiJson(asking): ApiJson<Asking>,
) -> Result<Response, ApiError> {
    asking.check(&state)?;
    let hash = |module: &Module| {
        let hash = Sha256::of(module.source.as_bytes()).to_string();
        json!({ "path": module.path, "hash": hash, "environment": module.environment })
    };
    let hashes: Vec<Value> = modules(&state).iter().map(hash).collect();
    Ok(Json(json!({
        "config": configuration(&state),
        "moduleHashes": hashes,
        "nodeVersion": null,
        "udfServerVersion": "1.48.0",
    }))
    .into_response())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfComponent {
    component_id: Option<String>,
}

async fn indexes(
    State(state): State<AppState>,
    admin: Admin,
    Query(component): Query<OfComponent>,
) -> Result<Response, ApiError> {
    admin.require(Operation::ViewData)?;
    let indexes = state.read(|database| {
        let path = match component.component_id.as_deref() {
            None => Some(String::new()),
            Some(id) => {
                let id = id.parse::<DocumentId>().ok();
                id.and_then(|id| database.component_path(id)).map(str::to_owned)
            }
        };
        path.map(|path| database.deployed(&path).map_or_else(Vec::new, |deployed| deployed.indexes.clone()))
    });
    let indexes = indexes.ok_or_else(|| ApiError::not_found("ComponentNotFound", "Component not found"))?;
    Ok(Json(json!({ "indexes": indexes })).into_response())
}
