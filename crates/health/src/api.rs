//! The API under `/api/v1/`, described by `openapi.json` beside this file.

use std::convert::Infallible;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use convault_core::{
    ControlError, JobName, JobStatus, RunEvent, RunId, RunRecord, SnapshotId, StartRequest, Status, Verb,
};
use futures::StreamExt as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{problem::Problem, router::Shared};

const OPENAPI: &str = include_str!("openapi.json");

/// Runs in one answer, unless asked otherwise.
const RUNS_USUAL: usize = 50;
/// Runs in one answer, whatever is asked.
const RUNS_MAX: usize = 500;

pub(crate) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

pub(crate) async fn status(State(shared): State<Shared>) -> Json<Status> {
    Json(shared.control.status())
}

#[derive(Serialize)]
pub(crate) struct Jobs {
    jobs: Vec<JobStatus>,
}

pub(crate) async fn jobs(State(shared): State<Shared>) -> Json<Jobs> {
    Json(Jobs { jobs: shared.control.status().jobs })
}

pub(crate) async fn job(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<JobStatus>, Problem> {
    let name = job_name(name)?;
    let found = shared.control.status().jobs.into_iter().find(|job| job.job == name);
    Ok(Json(found.ok_or(ControlError::NoSuchJob(name))?))
}

#[derive(Deserialize)]
pub(crate) struct RunsQuery {
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(crate) struct Runs {
    runs: Vec<RunRecord>,
}

pub(crate) async fn runs(
    State(shared): State<Shared>,
    Query(query): Query<RunsQuery>,
) -> Result<Json<Runs>, Problem> {
    let limit = query.limit.unwrap_or(RUNS_USUAL).min(RUNS_MAX);
    Ok(Json(Runs { runs: shared.control.runs(limit).await? }))
}

/// What a request to start a job may say. An empty body says nothing. What overrides a guard of pruning is left to the
/// command line, on the machine of the daemon.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Wish {
    verb: Verb,
    snapshot: Option<SnapshotId>,
    tags: Vec<String>,
    keep_until: Option<Timestamp>,
}

#[derive(Serialize)]
struct Started {
    run: RunId,
    events: String,
}

pub(crate) async fn start(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let job = job_name(name)?;
    let wish: Wish = if body.is_empty() { Ok(Wish::default()) } else { serde_json::from_slice(&body) }
        .map_err(|error| {
            let expected =
                "expected `verb`, `snapshot`, `tags` and `keep_until` as /api/v1/openapi.json has them, all optional";
            Problem::new(StatusCode::BAD_REQUEST, format!("the body cannot be used: {error}; {expected}"))
        })?;
    let Wish { verb, snapshot, tags, keep_until } = wish;
    if verb == Verb::Restore {
        let text = "a restore is not the daemon's to start; `convault restore` shows its plan first";
        return Err(Problem::new(StatusCode::BAD_REQUEST, text.to_owned()));
    }
    let request = StartRequest { snapshot, tags, keep_until, ..StartRequest::new(job, verb) };
    let run = shared.control.start(request).await?;
    let events = format!("/api/v1/runs/{run}/events");
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, events.clone())], Json(Started { run, events }))
        .into_response())
}

pub(crate) async fn cancel(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    shared.control.cancel(&run_id(&id)?).await?;
    Ok(StatusCode::ACCEPTED)
}

#[derive(Deserialize)]
pub(crate) struct EventsQuery {
    after: Option<u64>,
}

/// A run's events as server-sent events. The id of each is its number, so a browser that was cut off goes on where it
/// was; anyone else says `?after=`.
pub(crate) async fn events(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let place = shared.streams.try_acquire_owned().map_err(|_| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many streams of events are open: try again later")
    })?;
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<u64>().ok());
    let after = seen.map(|number| number.saturating_add(1)).or(query.after).unwrap_or(0);
    let events = shared.control.watch(&run_id(&id)?, after)?;
    let stream = events.take_until(shared.stop.cancelled_owned()).map(move |(number, event)| {
        // The place is free again when the stream is dropped.
        let _held = &place;
        Ok::<_, Infallible>(written(number, &event))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()).into_response())
}

/// Every event has the name `message`, so that `onmessage` in a browser gets it; its kind is in the JSON.
fn written(number: u64, event: &RunEvent) -> Event {
    let data = serde_json::to_string(event).expect("an event has only string keys, so it is always JSON");
    Event::default().id(number.to_string()).data(data)
}

fn job_name(text: String) -> Result<JobName, Problem> {
    JobName::new(text).map_err(|error| Problem::new(StatusCode::NOT_FOUND, error.to_string()))
}

fn run_id(text: &str) -> Result<RunId, Problem> {
    RunId::parse(text).map_err(|error| Problem::new(StatusCode::NOT_FOUND, error.to_string()))
}
