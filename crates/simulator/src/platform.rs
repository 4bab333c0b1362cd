//! The platform's management API (protocol §12): one project, in which deployments are made and deleted. Each is a
//! simulated deployment of this process.

mod project;
mod requests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use convault_core::{Clock, Secret, SystemClock};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api_error::{ApiError, lost_answer};
use crate::error::SimulatorError;
use crate::faults::{Fault, FaultKind, FaultSet};
use crate::server::{RunningSimulator, listen, serve};
pub use project::{CloudIdentity, PlatformCounters};
use project::{NewKey, Project};
use requests::{CreateDeployKey, CreateDeployment, DeleteDeployKey, body};

/// What a simulated platform is to be.
#[derive(Debug)]
pub struct PlatformConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The access token that is accepted.
    pub token: Secret,
    /// The number of its only project.
    pub project: u64,
    /// The faults that are on from the start, its own and those of every deployment that is made.
    pub faults: Vec<Fault>,
    /// How long an export of a deployment that is made takes at least.
    pub export_time: Duration,
    /// What time it is there.
    pub clock: Arc<dyn Clock>,
}

impl PlatformConfig {
    /// A platform with a project of this number, on a free port of the loopback interface, that accepts this token.
    pub fn new(token: Secret, project: u64) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            token,
            project,
            faults: Vec::new(),
            export_time: Duration::from_millis(50),
            clock: Arc::new(SystemClock),
        }
    }
}

/// The platform in process. See [`PlatformServer::start`].
#[derive(Debug)]
pub struct PlatformServer;

impl PlatformServer {
    /// Starts to serve a project without deployments.
    pub async fn start(config: PlatformConfig) -> Result<RunningPlatform, SimulatorError> {
        let (listener, address) = listen(config.listen).await?;
        let state = PlatformState(Arc::new(Shared {
            token: config.token,
            clock: config.clock,
            faults: FaultSet::new(config.faults.clone()),
            project: Mutex::new(Project::new(config.project, config.faults, config.export_time)),
        }));
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        tracker.spawn(serve(listener, router(state.clone()), stop.clone()));
        Ok(RunningPlatform { address, state, stop, tracker })
    }
}

/// A platform that is being served.
#[derive(Debug)]
pub struct RunningPlatform {
    address: SocketAddr,
    state: PlatformState,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl RunningPlatform {
    /// Its URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The token that it accepts.
    pub fn token(&self) -> Secret {
        self.state.0.token.clone()
    }

    /// What was made and deleted so far.
    pub fn counters(&self) -> PlatformCounters {
        self.state.project().counters
    }

    /// The names of the deployments that there are.
    pub fn deployments(&self) -> Vec<String> {
        self.state.project().names()
    }

    /// Does something with a deployment; `None` where there is none of this name.
    pub fn with<R>(&self, name: &str, work: impl FnOnce(&RunningSimulator) -> R) -> Option<R> {
        self.state.project().simulator(name).map(work)
    }

    /// Turns a fault on, from now on, of its own and of every deployment that is made from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.state.project().faults.push(fault.clone());
        self.state.0.faults.set(fault);
    }

    /// Stops every deployment, and itself.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        let simulators = self.state.project().take_all();
        for simulator in simulators {
            simulator.stop().await;
        }
    }
}

#[derive(Debug, Clone)]
struct PlatformState(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    token: Secret,
    clock: Arc<dyn Clock>,
    faults: FaultSet,
    project: Mutex<Project>,
}

impl PlatformState {
    fn project(&self) -> MutexGuard<'_, Project> {
        self.0.project.lock().expect("no holder of this lock panics")
    }

    /// The project, where `id` is its number, once what has expired was deleted.
    async fn checked(&self, id: u64) -> Result<(), ApiError> {
        let now = self.0.clock.now();
        let expired = self.project().take_expired(now);
        for simulator in expired {
            simulator.stop().await;
        }
        if self.project().id == id { Ok(()) } else { Err(not_found("Project", &id.to_string())) }
    }

    fn strikes(&self, kind: FaultKind) -> bool {
        self.0.faults.strike(kind)
    }
}

fn not_found(what: &str, name: &str) -> ApiError {
    let code = if what == "Project" { "ProjectNotFound" } else { "DeploymentNotFound" };
    ApiError::not_found(code, format!("{what} {name} not found"))
}

fn router(state: PlatformState) -> Router {
    Router::new()
        .route("/v1/projects/{id}/create_deployment", post(create))
        .route("/v1/projects/{id}/list_deployments", get(list))
        .route("/v1/deployments/{name}/delete", post(delete))
        .route("/v1/deployments/{name}/create_deploy_key", post(create_key))
        .route("/v1/deployments/{name}/list_deploy_keys", get(list_keys))
        .route("/v1/deployments/{name}/delete_deploy_key", post(delete_key))
        .with_state(state)
}

/// Somebody who showed the token.
struct Member;

impl FromRequestParts<PlatformState> for Member {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &PlatformState) -> Result<Self, ApiError> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer ")).unwrap_or_default();
        if token == state.0.token.expose() {
            return Ok(Self);
        }
        Err(ApiError::new(StatusCode::UNAUTHORIZED, "AccessTokenInvalid", "The access token is invalid."))
    }
}

async fn create(
    State(state): State<PlatformState>,
    _: Member,
    Path(id): Path<u64>,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    state.checked(id).await?;
    let wanted: CreateDeployment = body(&bytes)?;
    wanted.check(state.0.clock.now())?;
    if state.strikes(FaultKind::CreateDeployment500) {
        return Err(ApiError::internal());
    }
    let config = state.project().begin(&wanted, state.0.clock.now())?;
    let started = crate::server::Simulator::start(config.simulator).await;
    let simulator = started.map_err(|_| ApiError::internal())?;
    let row = state.project().add(config.deployment, simulator);
    if state.strikes(FaultKind::CreateDeploymentLostAnswer) {
        return Ok(lost_answer());
    }
    Ok(Json(row).into_response())
}

async fn list(
    State(state): State<PlatformState>,
    _: Member,
    Path(id): Path<u64>,
) -> Result<Response, ApiError> {
    state.checked(id).await?;
    Ok(Json(state.project().rows()).into_response())
}

async fn delete(
    State(state): State<PlatformState>,
    _: Member,
    Path(name): Path<String>,
) -> Result<(), ApiError> {
    if state.strikes(FaultKind::DeleteDeployment500) {
        return Err(ApiError::internal());
    }
    let simulator = state.project().delete(&name).ok_or_else(|| not_found("Deployment", &name))?;
    simulator.stop().await;
    Ok(())
}

async fn create_key(
    State(state): State<PlatformState>,
    _: Member,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let wanted: CreateDeployKey = body(&bytes)?;
    let now = state.0.clock.now();
    let key = NewKey { operations: wanted.operations()?, expires: wanted.expires(now)?, name: wanted.name };
    let made = state.project().create_key(&name, key, now);
    let made = made.ok_or_else(|| not_found("Deployment", &name))?;
    if state.strikes(FaultKind::CreateDeployKeyLostAnswer) {
        return Ok(lost_answer());
    }
    Ok(Json(json!({ "deployKey": made.expose() })).into_response())
}

async fn list_keys(
    State(state): State<PlatformState>,
    _: Member,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let rows = state.project().key_rows(&name).ok_or_else(|| not_found("Deployment", &name))?;
    Ok(Json(rows).into_response())
}

async fn delete_key(
    State(state): State<PlatformState>,
    _: Member,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Result<(), ApiError> {
    let wanted: DeleteDeployKey = body(&bytes)?;
    let project = state.project();
    let simulator = project.simulator(&name).ok_or_else(|| not_found("Deployment", &name))?;
    if simulator.deploy_keys().remove(&wanted.id) {
        return Ok(());
    }
    Err(ApiError::not_found("DeployKeyNotFound", "Deploy key not found"))
}
