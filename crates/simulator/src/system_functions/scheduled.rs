//! Scheduled functions and crons, as the dashboard lists them.

use super::{Call, pages};
use crate::deployed::{Cron, ScheduledFunction};
use crate::value::Value;

/// `paginatedScheduledJobs`: a page of what is pending, the next due first.
pub(super) fn list(call: Call<'_>) -> Result<Value, String> {
    let pending = call.in_component(|database, path| {
        database.deployed(path).map_or_else(Vec::new, |deployed| deployed.scheduled.clone())
    })?;
    pages::page(&call, &pending, row)
}

fn row(scheduled: &ScheduledFunction) -> Value {
    let (arguments, arguments_id) = match scheduled.arguments_id {
        Some(id) => (Value::Null, id.to_string().into()),
        None => (bytes(&scheduled.arguments), Value::Null),
    };
    Value::object([
        ("_id", scheduled.id.to_string().into()),
        ("_creationTime", Value::Float64(scheduled.creation_time_ms)),
        ("argsId", arguments_id),
        ("attempts", Value::object([("count_failures", Value::Float64(0.0))])),
        ("completedTs", Value::Null),
        ("nextTs", Value::Int64(scheduled.due_ns)),
        ("originalScheduledTs", Value::Int64(scheduled.due_ns)),
        ("state", Value::object([("type", "pending".into())])),
        ("udfArgs", arguments),
        ("udfPath", scheduled.path.clone().into()),
    ])
}

/// `scheduler:getArgs`: arguments that are kept apart, or null.
pub(super) fn arguments(call: Call<'_>) -> Result<Value, String> {
    let id = call.text("argsId")?;
    let found = call.in_component(|database, path| {
        let pending = database.deployed(path).into_iter().flat_map(|deployed| &deployed.scheduled);
        let mut pending = pending.filter(|one| one.arguments_id.is_some_and(|own| own.to_string() == id));
        pending.next().map(|one| one.arguments.clone())
    })?;
    Ok(found.map_or(Value::Null, |arguments| Value::object([("args", bytes(&arguments))])))
}

/// `listCronJobs`: all crons, none of which ever ran here.
pub(super) fn crons(call: Call<'_>) -> Result<Value, String> {
    call.in_component(|database, path| {
        let crons = database.deployed(path).into_iter().flat_map(|deployed| &deployed.crons);
        Value::Array(crons.map(cron).collect())
    })
}

fn cron(cron: &Cron) -> Value {
    let spec = Value::object([
        ("cronSchedule", cron.schedule.clone()),
        ("udfArgs", bytes(&cron.arguments)),
        ("udfPath", cron.path.clone().into()),
    ]);
    Value::object([
        ("_id", cron.id.to_string().into()),
        ("_creationTime", Value::Float64(cron.creation_time_ms)),
        ("cronSpec", spec),
        ("lastRun", Value::Null),
        ("name", cron.name.clone().into()),
        ("nextRun", Value::Null),
    ])
}

fn bytes(json: &str) -> Value {
    Value::Bytes(json.as_bytes().to_vec())
}
