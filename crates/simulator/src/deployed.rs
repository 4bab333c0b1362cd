//! What was deployed to a component, and what waits to run there. None of it is ever run.

use crate::database::Database;
use crate::document_id::DocumentId;
use crate::value::Value;

const SCHEDULED_TABLE_NUMBER: u32 = 539;
const CRONS_TABLE_NUMBER: u32 = 534;
const ARGUMENTS_TABLE_NUMBER: u32 = 548;

/// The code of one component and what it has scheduled.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Deployed {
    /// What was pushed.
    pub modules: Vec<Module>,
    /// The text of its schema, JSON.
    pub schema: Option<String>,
    /// Its indexes, each a JSON object.
    pub indexes: Vec<serde_json::Value>,
    /// What is pending, the next due first.
    pub scheduled: Vec<ScheduledFunction>,
    /// What runs again and again.
    pub crons: Vec<Cron>,
}

/// A bundled module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Such as `messages.js`.
    pub path: String,
    /// JavaScript.
    pub source: String,
    /// JSON.
    pub source_map: Option<String>,
    /// `isolate` or `node`.
    pub environment: String,
}

/// A function that will run.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduledFunction {
    /// The `_scheduled_jobs` document.
    pub id: DocumentId,
    /// When it was scheduled: milliseconds since the Unix epoch.
    pub creation_time_ms: f64,
    /// Such as `messages.js:send`.
    pub path: String,
    /// A JSON list in `convex_encoded_json`.
    pub arguments: String,
    /// The document that has the arguments, where they are large.
    pub arguments_id: Option<DocumentId>,
    /// When it is due: nanoseconds since the Unix epoch.
    pub due_ns: i64,
}

/// A function that runs again and again.
#[derive(Debug, Clone, PartialEq)]
pub struct Cron {
    /// The `_cron_jobs` document.
    pub id: DocumentId,
    /// When it was pushed: milliseconds since the Unix epoch.
    pub creation_time_ms: f64,
    /// What it is called in `crons.ts`.
    pub name: String,
    /// Such as `messages.js:sweep`.
    pub path: String,
    /// A JSON list in `convex_encoded_json`.
    pub arguments: String,
    /// When it runs, as in `{"type":"interval","seconds":3600}`.
    pub schedule: Value,
}

impl Database {
    /// Schedules a function of the component at `path`. `apart` keeps its arguments in a document of their own, as
    /// large ones are.
    pub fn schedule(
        &mut self,
        path: &str,
        function: &str,
        arguments: &str,
        apart: bool,
        due_ns: i64,
        now_ms: f64,
    ) -> DocumentId {
        let id = self.new_id(SCHEDULED_TABLE_NUMBER, now_ms);
        let arguments_id = apart.then(|| self.new_id(ARGUMENTS_TABLE_NUMBER, now_ms));
        let scheduled = ScheduledFunction {
            id,
            creation_time_ms: now_ms,
            path: function.to_owned(),
            arguments: arguments.to_owned(),
            arguments_id,
            due_ns,
        };
        let pending = &mut self.deployed_mut(path, now_ms).scheduled;
        pending.push(scheduled);
        pending.sort_by_key(|scheduled| scheduled.due_ns);
        id
    }

    /// Adds a cron to the component at `path`.
    pub fn add_cron(
        &mut self,
        path: &str,
        name: &str,
        function: &str,
        arguments: &str,
        schedule: Value,
        now_ms: f64,
    ) {
        let cron = Cron {
            id: self.new_id(CRONS_TABLE_NUMBER, now_ms),
            creation_time_ms: now_ms,
            name: name.to_owned(),
            path: function.to_owned(),
            arguments: arguments.to_owned(),
            schedule,
        };
        self.deployed_mut(path, now_ms).crons.push(cron);
    }
}
