//! The rows of `_snapshot_imports` and the states they go through.

use std::sync::Arc;

use super::arguments::{ImportArguments, ImportFormat};
use super::summary::Checkpoint;
use super::upload::Upload;
use crate::document_id::DocumentId;
use crate::spool::Spool;
use crate::value::Value;

/// Table number of `_snapshot_imports`.
pub(crate) const IMPORTS_TABLE_NUMBER: u32 = 541;

/// One import.
#[derive(Debug, Clone)]
pub(crate) struct ImportRow {
    pub(crate) id: DocumentId,
    pub(crate) creation_time_ms: f64,
    pub(crate) arguments: ImportArguments,
    /// The server's name for the uploaded bytes.
    pub(crate) object_key: String,
    /// What was uploaded; `None` once the import has ended.
    pub(crate) bytes: Option<Arc<Spool>>,
    /// What was found in it; `None` before it was read.
    pub(crate) upload: Option<Arc<Upload>>,
    /// What each table is to get and has got; `None` before the bytes were read.
    pub(crate) checkpoints: Option<Vec<Checkpoint>>,
    pub(crate) state: ImportState,
}

/// Where an import stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImportState {
    Uploaded,
    WaitingForConfirmation {
        message: String,
        /// Whether something would be deleted.
        manual: bool,
    },
    InProgress {
        progress_message: String,
        checkpoint_messages: Vec<String>,
    },
    Completed {
        /// Nanoseconds since the Unix epoch.
        timestamp: i64,
        rows_written: usize,
    },
    Failed {
        message: String,
    },
}

impl ImportRow {
    /// The row as system functions show it.
    pub(crate) fn to_value(&self) -> Value {
        let checkpoints = self.checkpoints.as_ref().map_or(Value::Null, |checkpoints| {
            Value::Array(checkpoints.iter().map(Checkpoint::to_value).collect())
        });
        Value::object([
            ("_id", self.id.to_string().into()),
            ("_creationTime", Value::Float64(self.creation_time_ms)),
            ("checkpoints", checkpoints),
            ("component_path", self.arguments.component_path.clone().map_or(Value::Null, Value::String)),
            ("format", self.format()),
            ("fq_object_key", self.object_key.clone().into()),
            ("member_id", Value::Int64(0)),
            ("mode", self.arguments.mode.row_text().into()),
            ("requestor", Value::object([("type", "snapshotImport".into())])),
            ("state", self.state.to_value()),
        ])
    }

    fn format(&self) -> Value {
        let format = self.arguments.format.row_text().into();
        match &self.arguments.table_name {
            Some(table) if self.arguments.format != ImportFormat::Zip => {
                Value::object([("format", format), ("table", table.clone().into())])
            }
            _ => Value::object([("format", format)]),
        }
    }

    /// Whether the import has ended.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, ImportState::Completed { .. } | ImportState::Failed { .. })
    }
}

impl ImportState {
    fn to_value(&self) -> Value {
        match self {
            Self::Uploaded => Value::object([("state", "uploaded".into())]),
            Self::WaitingForConfirmation { message, manual } => Value::object([
                ("state", "waiting_for_confirmation".into()),
                ("message_to_confirm", message.clone().into()),
                ("require_manual_confirmation", Value::Boolean(*manual)),
            ]),
            Self::InProgress { progress_message, checkpoint_messages } => Value::object([
                ("state", "in_progress".into()),
                ("progress_message", progress_message.clone().into()),
                (
                    "checkpoint_messages",
                    Value::Array(checkpoint_messages.iter().cloned().map(Value::from).collect()),
                ),
            ]),
            Self::Completed { timestamp, rows_written } => Value::object([
                ("state", "completed".into()),
                ("timestamp", Value::Int64(*timestamp)),
                ("num_rows_written", count(*rows_written)),
            ]),
            Self::Failed { message } => {
                Value::object([("state", "failed".into()), ("error_message", message.clone().into())])
            }
        }
    }
}

/// A count as rows hold it.
pub(crate) fn count(number: usize) -> Value {
    Value::Int64(i64::try_from(number).unwrap_or(i64::MAX))
}
