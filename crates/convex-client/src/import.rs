//! Imports: uploading what is to be imported, and the imports that uploads become.

use bytes::Bytes;
use convault_core::{ImportId, ImportKind, ImportMode, ImportRequest, ImportStatus};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use crate::deployment::Deployment;
use crate::error::ClientError;
use crate::value::optional_int64;

const START_UPLOAD: &str = "start_upload";
const UPLOAD_PART: &str = "upload_part";
const FINISH_UPLOAD: &str = "finish_upload";
const PERFORM_IMPORT: &str = "perform_import";
const CANCEL_IMPORT: &str = "cancel_import";
const QUERY_IMPORT: &str = "_system/cli/queryImport";
/// So many lines of a failure are kept.
const MAX_FAILURE_LINES: usize = 6;
const LIST_IMPORTS: &str = "_system/cli/queryImport:list";

/// An import, as its row has it.
#[derive(Debug, Clone)]
pub struct ImportRow {
    /// Its `_id`.
    pub id: ImportId,
    /// How far it is.
    pub status: ImportStatus,
    /// Its mode as rows spell it, like `ReplaceAll`.
    mode: String,
    /// Its format as rows spell it, like `jsonl`.
    format: String,
    table: Option<String>,
    component: Option<String>,
}

impl ImportRow {
    /// Whether this may be what `request` became. The spelling in rows is not the one in requests (protocol §4.3).
    pub fn is_of(&self, request: &ImportRequest) -> bool {
        let mode = match request.mode {
            ImportMode::RequireEmpty => "RequireEmpty",
            ImportMode::Append => "Append",
            ImportMode::Replace => "Replace",
            ImportMode::ReplaceAll => "ReplaceAll",
        };
        let is_of_kind = match &request.kind {
            ImportKind::Zip => self.format == "zip",
            ImportKind::JsonLines { component, table } => {
                self.format == "jsonl"
                    && self.table.as_ref() == Some(table)
                    && self.component.as_deref().unwrap_or_default() == component
            }
        };
        self.mode == mode && is_of_kind
    }
}

impl Deployment {
    /// Begins an upload and gives its token. Needs `deployment:backups:import`.
    pub async fn start_upload(&self) -> Result<String, ClientError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Started {
            upload_token: String,
        }
        let request = self.http.request(Method::POST, self.http.url(&["api", "import", START_UPLOAD]));
        let started: Started = self.http.json(START_UPLOAD, request).await?;
        Ok(started.upload_token)
    }

    /// Sends a part and gives its token. Parts count from 1. A server that keeps uploads in a folder appends whatever
    /// arrives, so that a part whose answer was lost must not be sent again. Needs `deployment:backups:import`.
    pub async fn upload_part(
        &self,
        upload_token: &str,
        part_number: u32,
        part: Bytes,
    ) -> Result<String, ClientError> {
        let mut url = self.http.url(&["api", "import", UPLOAD_PART]);
        url.query_pairs_mut()
            .append_pair("uploadToken", upload_token)
            .append_pair("partNumber", &part_number.to_string());
        let size_bytes = part.len();
        let request = self.http.request(Method::POST, url);
        let request = request.header(reqwest::header::CONTENT_TYPE, "application/octet-stream").body(part);
        self.http.json_after_sending(UPLOAD_PART, request, size_bytes).await
    }

    /// Makes an import of an upload. Asking twice may make two. Needs `deployment:backups:import`.
    pub async fn finish_upload(
        &self,
        request: &ImportRequest,
        upload_token: &str,
        part_tokens: &[String],
    ) -> Result<ImportId, ClientError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Finished {
            import_id: String,
        }
        let body = json!({
            "import": arguments(request),
            "uploadToken": upload_token,
            "partTokens": part_tokens,
        });
        let url = self.http.url(&["api", "import", FINISH_UPLOAD]);
        let finished: Finished =
            self.http.json(FINISH_UPLOAD, self.http.request(Method::POST, url).json(&body)).await?;
        Ok(ImportId(finished.import_id))
    }

    /// An import by its id; `None` where there is none. Needs `deployment:backups:view`.
    pub async fn import(&self, id: &ImportId) -> Result<Option<ImportRow>, ClientError> {
        let row: Option<Row> = self.query(QUERY_IMPORT, &json!({ "importId": id })).await?;
        row.map(|row| self.import_row(QUERY_IMPORT, row)).transpose()
    }

    /// The latest 20 imports, the newest first. Needs `deployment:backups:view`.
    pub async fn imports(&self) -> Result<Vec<ImportRow>, ClientError> {
        let rows: Vec<Row> = self.query(LIST_IMPORTS, &json!({})).await?;
        rows.into_iter().map(|row| self.import_row(LIST_IMPORTS, row)).collect()
    }

    /// Confirms an import that waits for it. In any other state nothing happens, and the answer is the same. Codes:
    /// `InvalidImport`, `ImportNotFound`. Needs `deployment:backups:import`.
    pub async fn perform_import(&self, id: &ImportId) -> Result<(), ClientError> {
        let request = self.http.request(Method::POST, self.http.url(&["api", PERFORM_IMPORT]));
        self.http.empty(PERFORM_IMPORT, request.json(&json!({ "importId": id }))).await
    }

    /// Cancels an import; it then is `failed`. Codes: those of [`Deployment::perform_import`], and
    /// `CannotCancelImport` for one that has ended. Needs `deployment:backups:import`.
    pub async fn cancel_import(&self, id: &ImportId) -> Result<(), ClientError> {
        let request = self.http.request(Method::POST, self.http.url(&["api", CANCEL_IMPORT]));
        self.http.empty(CANCEL_IMPORT, request.json(&json!({ "importId": id }))).await
    }

    /// The server's words in a row are shown to people, so they are held to what every other message is.
    fn import_row(&self, call: &'static str, row: Row) -> Result<ImportRow, ClientError> {
        let clean = |text: Option<String>| self.http.clean(&text.unwrap_or_default());
        let state = row.state;
        let status = match state.name.as_str() {
            "uploaded" => ImportStatus::Uploaded,
            "waiting_for_confirmation" => ImportStatus::WaitingForConfirmation {
                message: self.http.clean_lines(&state.message_to_confirm.unwrap_or_default()),
                deletes: state.require_manual_confirmation,
            },
            "in_progress" => ImportStatus::InProgress { message: clean(state.progress_message) },
            "completed" => ImportStatus::Completed { documents: state.num_rows_written.unwrap_or_default() },
            "failed" => {
                ImportStatus::Failed { message: self.failure(&state.error_message.unwrap_or_default()) }
            }
            _ => return Err(self.http.not_convex(call, "the import is in a state that no import has")),
        };
        Ok(ImportRow {
            id: ImportId(row.id),
            status,
            mode: row.mode.unwrap_or_default(),
            format: row.format.format,
            table: row.format.table,
            component: row.component_path,
        })
    }

    /// Why an import failed, on one line. The document that a schema refuses is on a later line of it, and must be told.
    fn failure(&self, message: &str) -> String {
        let lines = self.http.clean_lines(message);
        let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.take(MAX_FAILURE_LINES).collect::<Vec<_>>().join(" ")
    }
}

/// The `import` of a `finish_upload`.
fn arguments(request: &ImportRequest) -> serde_json::Value {
    let mode = match request.mode {
        ImportMode::RequireEmpty => "requireEmpty",
        ImportMode::Append => "append",
        ImportMode::Replace => "replace",
        ImportMode::ReplaceAll => "replaceAll",
    };
    match &request.kind {
        ImportKind::Zip => json!({ "mode": mode, "format": "zip" }),
        ImportKind::JsonLines { component, table } if component.is_empty() => {
            json!({ "tableName": table, "mode": mode, "format": "jsonLines" })
        }
        ImportKind::JsonLines { component, table } => {
            json!({ "tableName": table, "componentPath": component, "mode": mode, "format": "jsonLines" })
        }
    }
}

#[derive(Deserialize)]
struct Row {
    #[serde(rename = "_id")]
    id: String,
    state: State,
    #[serde(default)]
    mode: Option<String>,
    format: Format,
    #[serde(default)]
    component_path: Option<String>,
}

#[derive(Deserialize)]
struct Format {
    format: String,
    #[serde(default)]
    table: Option<String>,
}

#[derive(Deserialize)]
struct State {
    #[serde(rename = "state")]
    name: String,
    #[serde(default)]
    message_to_confirm: Option<String>,
    #[serde(default)]
    require_manual_confirmation: bool,
    #[serde(default)]
    progress_message: Option<String>,
    #[serde(default, deserialize_with = "count")]
    num_rows_written: Option<u64>,
    #[serde(default)]
    error_message: Option<String>,
}

fn count<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = optional_int64(deserializer)?.map(u64::try_from).transpose();
    value.map_err(|_| serde::de::Error::custom("a count is negative"))
}
