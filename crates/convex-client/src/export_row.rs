//! A row of the deployment's table of exports.

use serde::Deserialize;

use crate::value::optional_int64;

/// Where an export stands (protocol §2.4).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum ExportState {
    /// Asked for, not begun.
    Requested,
    /// Being made. It stays so for ever where an attempt keeps failing.
    InProgress,
    /// Ready for download.
    Completed,
    /// Given up by the server. No server is known to do so.
    Failed,
    /// Cancelled by somebody.
    Canceled,
    /// A state of a newer server.
    Other(String),
}

impl ExportState {
    /// Whether an export in this state holds the deployment's only slot.
    pub fn holds_slot(&self) -> bool {
        matches!(self, Self::Requested | Self::InProgress)
    }
}

impl From<String> for ExportState {
    fn from(text: String) -> Self {
        match text.as_str() {
            "requested" => Self::Requested,
            "in_progress" => Self::InProgress,
            "completed" => Self::Completed,
            "failed" => Self::Failed,
            // Servers before 2024-12-12 spell it with two `l`.
            "canceled" | "cancelled" => Self::Canceled,
            _ => Self::Other(text),
        }
    }
}

/// An export, as `_system/cli/exports:getLatest` shows it. All times are nanoseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "Wire")]
pub struct ExportRow {
    /// `_id`: the only thing that stays the same over the export's life.
    pub id: String,
    /// `_creationTime`, in milliseconds, with a fraction.
    pub creation_time_ms: f64,
    /// Where it stands.
    pub state: ExportState,
    /// `format.include_storage`: whether stored files are in it; `None` for formats that do not say.
    pub include_storage: Option<bool>,
    /// `snapshotExport` or `cloudBackup`.
    pub requestor: String,
    /// While in progress, when the first attempt began. Once completed, the snapshot's own time.
    pub start_ts: Option<i64>,
    /// When it was finished.
    pub complete_ts: Option<i64>,
    /// Since when it may be cleaned up (which happens 30 days later at default settings).
    pub expiration_ts: Option<i64>,
    /// Bytes of the ZIP; `None` before completion, and on very old rows.
    pub size_bytes: Option<u64>,
    /// The server's words about how far it is. Of no fixed form.
    pub progress_message: Option<String>,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_creationTime", default)]
    creation_time_ms: f64,
    state: ExportState,
    #[serde(default)]
    format: Format,
    requestor: Option<String>,
    #[serde(default, deserialize_with = "optional_int64")]
    start_ts: Option<i64>,
    #[serde(default, deserialize_with = "optional_int64")]
    complete_ts: Option<i64>,
    #[serde(default, deserialize_with = "optional_int64")]
    expiration_ts: Option<i64>,
    #[serde(default, deserialize_with = "optional_int64")]
    size: Option<i64>,
    progress_message: Option<String>,
}

#[derive(Default, Deserialize)]
struct Format {
    include_storage: Option<bool>,
}

impl From<Wire> for ExportRow {
    fn from(wire: Wire) -> Self {
        Self {
            id: wire.id,
            creation_time_ms: wire.creation_time_ms,
            state: wire.state,
            include_storage: wire.format.include_storage,
            requestor: wire.requestor.unwrap_or_else(|| "snapshotExport".to_owned()),
            start_ts: wire.start_ts,
            complete_ts: wire.complete_ts,
            expiration_ts: wire.expiration_ts,
            // An empty ZIP has 22 bytes: zero is what very old rows say instead of nothing.
            size_bytes: wire.size.and_then(|size| u64::try_from(size).ok()).filter(|size| *size > 0),
            progress_message: wire.progress_message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ExportRow, ExportState};

    #[test]
    fn a_completed_row_is_read_in_both_encodings() {
        let decimal = r#"{"_creationTime":1795312189483.4688,"_id":"gg20mcm95xtpkv8ym4as9ns91x8jpehe",
            "complete_ts":"1795312189961949300","component":null,"expiration_ts":"1796521789305633818",
            "format":{"format":"zip","include_storage":true},"requestor":"snapshotExport","size":"6370809",
            "start_ts":"1795312189509140749","state":"completed","zip_object_key":"626ef40c"}"#;
        let row: ExportRow = serde_json::from_str(decimal).unwrap();
        assert_eq!(row.state, ExportState::Completed);
        assert_eq!(row.size_bytes, Some(6_370_809));
        assert_eq!(row.start_ts, Some(1_795_312_189_509_140_749));
        let encoded = decimal
            .replace("\"6370809\"", r#"{"$integer":"+TVhAAAAAAA="}"#)
            .replace("\"1795312189509140749\"", r#"{"$integer":"DQGfpOw66hg="}"#);
        let again: ExportRow = serde_json::from_str(&encoded).unwrap();
        assert_eq!(again, row);
    }

    #[test]
    fn a_row_of_an_old_server_is_read() {
        let row: ExportRow =
            serde_json::from_str(r#"{"_id":"x","state":"cancelled","format":{"format":"clean_jsonl"}}"#)
                .unwrap();
        assert_eq!(row.state, ExportState::Canceled);
        assert_eq!(row.include_storage, None);
        assert_eq!(row.requestor, "snapshotExport");
    }
}
