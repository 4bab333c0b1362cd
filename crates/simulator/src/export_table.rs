//! The rows of `_exports` and the states they go through.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::archive::Archive;
use crate::document_id::DocumentId;
use crate::value::Value;

/// Table number of `_exports`.
pub(crate) const EXPORTS_TABLE_NUMBER: u32 = 516;

/// Who asked for an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requestor {
    /// A key holder.
    SnapshotExport,
    /// The platform itself, for the dashboard's backups.
    CloudBackup,
}

/// One export.
#[derive(Debug, Clone)]
pub(crate) struct ExportRow {
    pub(crate) id: DocumentId,
    pub(crate) creation_time_ms: f64,
    pub(crate) include_storage: bool,
    pub(crate) component: Option<String>,
    pub(crate) requestor: Requestor,
    pub(crate) expiration_ts: i64,
    pub(crate) state: ExportState,
    /// Ends the worker when the export is cancelled.
    pub(crate) cancel: CancellationToken,
}

/// Where an export stands. All `_ts` are nanoseconds since the Unix epoch.
#[derive(Debug, Clone)]
pub(crate) enum ExportState {
    Requested,
    InProgress {
        /// When the worker first took it.
        start_ts: i64,
        progress_message: Option<String>,
    },
    Completed {
        /// The snapshot's timestamp.
        start_ts: i64,
        complete_ts: i64,
        zip_object_key: String,
        archive: Arc<Archive>,
    },
    Canceled {
        start_ts: Option<i64>,
        canceled_ts: i64,
    },
}

impl ExportRow {
    /// Whether it holds the only slot.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state, ExportState::Requested | ExportState::InProgress { .. })
    }

    /// The row as system functions show it.
    pub(crate) fn to_value(&self) -> Value {
        let format = Value::object([
            ("format", "zip".into()),
            ("include_storage", Value::Boolean(self.include_storage)),
        ]);
        let requestor = match self.requestor {
            Requestor::SnapshotExport => "snapshotExport",
            Requestor::CloudBackup => "cloudBackup",
        };
        let mut fields = vec![
            ("_id", self.id.to_string().into()),
            ("_creationTime", Value::Float64(self.creation_time_ms)),
            ("format", format),
            ("component", self.component.clone().map_or(Value::Null, Value::String)),
            ("requestor", requestor.into()),
        ];
        if !matches!(self.state, ExportState::Canceled { .. }) {
            fields.push(("expiration_ts", Value::Int64(self.expiration_ts)));
        }
        fields.extend(self.state.fields());
        Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

impl ExportState {
    fn fields(&self) -> Vec<(&'static str, Value)> {
        match self {
            Self::Requested => vec![("state", "requested".into())],
            Self::InProgress { start_ts, progress_message } => vec![
                ("state", "in_progress".into()),
                ("start_ts", Value::Int64(*start_ts)),
                ("progress_message", progress_message.clone().map_or(Value::Null, Value::String)),
            ],
            Self::Completed { start_ts, complete_ts, zip_object_key, archive } => vec![
                ("state", "completed".into()),
                ("start_ts", Value::Int64(*start_ts)),
                ("complete_ts", Value::Int64(*complete_ts)),
                ("zip_object_key", zip_object_key.clone().into()),
                ("size", Value::Int64(i64::try_from(archive.size_bytes()).unwrap_or(i64::MAX))),
            ],
            Self::Canceled { start_ts, canceled_ts } => vec![
                ("state", "canceled".into()),
                ("start_ts", start_ts.map_or(Value::Null, Value::Int64)),
                ("canceled_ts", Value::Int64(*canceled_ts)),
            ],
        }
    }
}

/// All exports of a deployment, oldest first.
#[derive(Debug, Default)]
pub(crate) struct ExportTable {
    rows: Vec<ExportRow>,
    /// Archives of generated data by what they depend on, since measuring one takes long.
    known: BTreeMap<String, Arc<Archive>>,
}

impl ExportTable {
    /// Adds an export. False where another one holds the slot, whoever asked for that one.
    pub(crate) fn request(&mut self, row: ExportRow) -> bool {
        let free = !self.rows.iter().any(ExportRow::is_running);
        if free {
            self.rows.push(row);
        }
        free
    }

    /// The newest export that this requestor asked for.
    pub(crate) fn latest(&self, requestor: Requestor) -> Option<&ExportRow> {
        self.rows.iter().rev().find(|row| row.requestor == requestor)
    }

    /// The export with this ID.
    pub(crate) fn get(&self, id: DocumentId) -> Option<&ExportRow> {
        self.rows.iter().find(|row| row.id == id)
    }

    /// The export with this ID, to change it.
    pub(crate) fn get_mut(&mut self, id: DocumentId) -> Option<&mut ExportRow> {
        self.rows.iter_mut().find(|row| row.id == id)
    }

    /// The completed export whose snapshot has this timestamp.
    pub(crate) fn completed_at(&self, timestamp: i64) -> Option<&ExportRow> {
        self.rows.iter().find(
            |row| matches!(&row.state, ExportState::Completed { start_ts, .. } if *start_ts == timestamp),
        )
    }

    /// The archive that was remembered under this key.
    pub(crate) fn known_archive(&self, key: &str) -> Option<Arc<Archive>> {
        self.known.get(key).cloned()
    }

    /// Keeps an archive for exports that would be the same.
    pub(crate) fn remember_archive(&mut self, key: String, archive: Arc<Archive>) {
        self.known.insert(key, archive);
    }

    /// Removes completed exports that expired before this time. Returns how many they were.
    pub(crate) fn remove_expired(&mut self, before: i64) -> usize {
        let all = self.rows.len();
        let expired = |row: &ExportRow| {
            matches!(row.state, ExportState::Completed { .. }) && row.expiration_ts < before
        };
        self.rows.retain(|row| !expired(row));
        all - self.rows.len()
    }
}
