//! One deployment's admin API.

use bytes::Bytes;
use convault_core::Secret;
use futures::stream::{self, BoxStream, StreamExt as _};
use reqwest::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, HeaderMap};
use reqwest::{Method, Response, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::ClientError;
use crate::export_row::ExportRow;
use crate::http::{ConnectionSettings, Http, Service};

/// The longest `version` or instance name that is believed, in characters.
const MAX_NAME_CHARS: usize = 128;

/// What a key may do that this crate asks for (protocol §1.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Ask for an export.
    CreateBackups,
    /// See exports and imports.
    ViewBackups,
    /// Download an export.
    DownloadBackups,
    /// Set an export's expiry.
    DeleteBackups,
    /// Import, and, of all things, cancel an export.
    ImportBackups,
    /// See tables, counts and stored files.
    ViewData,
    /// Delete stored files.
    WriteData,
    /// Stop the deployment from serving its users.
    PauseDeployment,
    /// Let it serve its users again.
    UnpauseDeployment,
}

impl Operation {
    /// Its name in `allowedOps`.
    pub fn name(self) -> &'static str {
        match self {
            Self::CreateBackups => "CreateBackups",
            Self::ViewBackups => "ViewBackups",
            Self::DownloadBackups => "DownloadBackups",
            Self::DeleteBackups => "DeleteBackups",
            Self::ImportBackups => "ImportBackups",
            Self::ViewData => "ViewData",
            Self::WriteData => "WriteData",
            Self::PauseDeployment => "PauseDeployment",
            Self::UnpauseDeployment => "UnpauseDeployment",
        }
    }

    /// The permission's name, as it is chosen when a key is made and as errors call it.
    pub fn permission(self) -> &'static str {
        match self {
            Self::CreateBackups => "deployment:backups:create",
            Self::ViewBackups => "deployment:backups:view",
            Self::DownloadBackups => "deployment:backups:download",
            Self::DeleteBackups => "deployment:backups:delete",
            Self::ImportBackups => "deployment:backups:import",
            Self::ViewData => "deployment:data:view",
            Self::WriteData => "deployment:data:write",
            Self::PauseDeployment => "deployment:pause",
            Self::UnpauseDeployment => "deployment:unpause",
        }
    }
}

/// The answer of `GET /api/check_admin_key`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyCheck {
    /// The operations the key may do; empty means every one, as does its absence on old servers.
    #[serde(default)]
    pub allowed_ops: Vec<String>,
    /// Whether the key is one of the read-only kind, which cannot ask for an export.
    #[serde(default)]
    pub is_read_only: bool,
}

impl KeyCheck {
    /// Whether the key may do `operation`.
    pub fn allows(&self, operation: Operation) -> bool {
        let named = |op: &String| op == operation.name() || op == operation.permission();
        self.allowed_ops.is_empty() || self.allowed_ops.iter().any(named)
    }
}

/// The answer of `GET /api/v1/deployment_info`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentInfo {
    /// `cloud` or `selfHosted`.
    pub kind: String,
    /// The deployment's number; cloud only.
    #[serde(default)]
    pub id: Option<u64>,
    /// `prod`, `dev`, `preview` or `custom`; cloud only.
    pub deployment_type: Option<String>,
    /// The number of the project that it is in; cloud only.
    #[serde(default)]
    pub project_id: Option<u64>,
}

/// What the headers of a finished export say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportHead {
    /// `Content-Length`, in bytes.
    pub length_bytes: Option<u64>,
    /// The snapshot's time in nanoseconds since the Unix epoch, from the file name that is offered
    /// (`snapshot_<instance>_<start_ts>.zip`).
    pub snapshot_ts: Option<i64>,
}

/// A finished export as it arrives.
pub struct Download {
    /// What its headers say.
    pub head: ExportHead,
    /// The ZIP's bytes. An error ends the stream; it fails when the body ends before the announced length, and when
    /// it is silent for longer than [`ConnectionSettings::idle_timeout`].
    pub bytes: BoxStream<'static, Result<Bytes, ClientError>>,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download").field("head", &self.head).finish_non_exhaustive()
    }
}

/// A deployment's admin API. Cheap to clone. Every method is one request; none is retried.
#[derive(Debug, Clone)]
pub struct Deployment {
    pub(crate) http: Http,
}

impl Deployment {
    /// Prepares to talk to the deployment at `url` with `key`. Nothing is sent.
    pub fn new(url: Url, key: &Secret, settings: &ConnectionSettings) -> Result<Self, ClientError> {
        Ok(Self { http: Http::new(url, Service::Deployment, key, settings)? })
    }

    /// Where it is reached. Has no credential.
    pub fn url(&self) -> &Url {
        self.http.base()
    }

    /// What the key may do. Fails with 401 or 403 for a key that is not valid here.
    pub async fn check_admin_key(&self) -> Result<KeyCheck, ClientError> {
        let url = self.http.url(&["api", "check_admin_key"]);
        self.http.json("check_admin_key", self.http.request(Method::GET, url)).await
    }

    /// The server's version, `unknown` where it has none. Needs no key and sends none.
    pub async fn version(&self) -> Result<String, ClientError> {
        self.open_text("version").await
    }

    /// The instance's name. Needs no key and sends none.
    pub async fn instance_name(&self) -> Result<String, ClientError> {
        self.open_text("instance_name").await
    }

    /// Which kind of deployment this is. Needs `deployment:data:view`.
    pub async fn deployment_info(&self) -> Result<DeploymentInfo, ClientError> {
        let url = self.http.url(&["api", "v1", "deployment_info"]);
        self.http.json("deployment_info", self.http.request(Method::GET, url)).await
    }

    /// Runs a system function, like `_system/cli/exports:getLatest`, and reads what it returns in the encoding
    /// `convex_encoded_json`. A failure inside the function is [`ClientError::Function`].
    pub async fn query<T: DeserializeOwned>(
        &self,
        function: &'static str,
        arguments: &(impl Serialize + Sync),
    ) -> Result<T, ClientError> {
        let value = self.query_text(function, arguments).await?;
        serde_json::from_str(value.get()).map_err(|error| self.http.not_read(function, &error))
    }

    /// Like [`Deployment::query`], but gives the text that the function's result has, each number as it was written.
    pub(crate) async fn query_text(
        &self,
        function: &'static str,
        arguments: &(impl Serialize + Sync),
    ) -> Result<Box<RawValue>, ClientError> {
        let body = serde_json::json!({
            "path": function,
            "format": "convex_encoded_json",
            "args": arguments,
        });
        let request = self.http.request(Method::POST, self.http.url(&["api", "query"])).json(&body);
        let answer: Answer = self.http.json(function, request).await?;
        self.result(function, answer)
    }

    /// What a function returned, or its failure.
    pub(crate) fn result(
        &self,
        function: &'static str,
        answer: Answer,
    ) -> Result<Box<RawValue>, ClientError> {
        match answer.status.as_str() {
            "success" => Ok(answer.value.unwrap_or_else(|| RawValue::NULL.to_owned())),
            "error" => {
                let message = self.http.clean(&answer.error_message);
                Err(ClientError::Function { call: function, message })
            }
            _ => Err(self.http.not_convex(function, "its status is neither `success` nor `error`")),
        }
    }

    /// Asks for a snapshot export. The answer has no id: the new row is what [`Deployment::latest_export`] shows next.
    /// While another export holds the slot the code is `ExportInProgress`.
    pub async fn request_export(&self, include_storage: bool) -> Result<(), ClientError> {
        let mut url = self.http.url(&["api", "export", "request", "zip"]);
        url.set_query(Some(if include_storage { "includeStorage=true" } else { "includeStorage=false" }));
        self.http.empty("request_export", self.http.request(Method::POST, url)).await
    }

    /// The newest export that somebody asked for (requestor `snapshotExport`), if there ever was one.
    pub async fn latest_export(&self) -> Result<Option<ExportRow>, ClientError> {
        self.export_row("_system/cli/exports:getLatest").await
    }

    /// The newest backup of the dashboard or of the cloud's own schedule (requestor `cloudBackup`), which takes the
    /// same single slot.
    pub async fn latest_cloud_export(&self) -> Result<Option<ExportRow>, ClientError> {
        self.export_row("_system/frontend/latestExport:latestCloudExport").await
    }

    /// Cancels an export. 500 for one that has ended; 503 while its row is being changed; needs
    /// [`Operation::ImportBackups`].
    pub async fn cancel_export(&self, id: &str) -> Result<(), ClientError> {
        self.http.empty("cancel_export", self.http.request(Method::POST, self.cancel_url(id))).await
    }

    /// The address that cancels an export, for a person to use. Has no credential.
    pub fn cancel_url(&self, id: &str) -> Url {
        self.http.url(&["api", "export", "cancel", id])
    }

    /// Whether the server has the routes that cancel and expire exports (since 2025-05-12). Changes nothing: a `GET`
    /// on a route that only takes `POST` is answered with 405, a route that is not there with 404.
    pub async fn can_cancel_exports(&self) -> Result<bool, ClientError> {
        let request = self.http.request(Method::GET, self.cancel_url("probe"));
        match self.http.empty("cancel_export", request).await {
            Err(error) if error.status() == Some(404) => Ok(false),
            Err(error) if error.status() != Some(405) => Err(error),
            Ok(()) | Err(_) => Ok(true),
        }
    }

    /// Sets when a completed export expires, in nanoseconds since the Unix epoch; any time is taken, past ones too.
    /// 500 for one that is not completed; needs [`Operation::DeleteBackups`].
    pub async fn set_export_expiration(&self, id: &str, expires_ts: u64) -> Result<(), ClientError> {
        let url = self.http.url(&["api", "export", "set_expiration", id]);
        let body = serde_json::json!({ "expirationTsNs": expires_ts });
        self.http.empty("set_export_expiration", self.http.request(Method::POST, url).json(&body)).await
    }

    /// What the headers of a finished export say. Codes as for [`Deployment::download`], without words, since the
    /// answer to `HEAD` has no body.
    pub async fn export_head(&self, id: &str) -> Result<ExportHead, ClientError> {
        let request = self.http.request(Method::HEAD, self.http.url(&["api", "export", "zip", id]));
        let response = self.http.headers("export_head", request).await?;
        Ok(export_head(response.headers()))
    }

    /// Begins to download a finished export, named by its id, or by its `start_ts` in decimal (servers before
    /// 2024-10-30 know only that). There are no ranges. Codes: `ExportNotFound`, `ExportNotComplete`, `BadSnapshotId`.
    pub async fn download(&self, id: &str) -> Result<Download, ClientError> {
        let request = self.http.request(Method::GET, self.http.url(&["api", "export", "zip", id]));
        let response = self.http.headers("download", request).await?;
        let head = export_head(response.headers());
        Ok(Download { head, bytes: body(self.http.clone(), "download", response).boxed() })
    }

    /// The server's words in a row are shown to people, so they are held to what every other message is.
    async fn export_row(&self, function: &'static str) -> Result<Option<ExportRow>, ClientError> {
        let mut row: Option<ExportRow> = self.query(function, &NoArguments {}).await?;
        if let Some(row) = &mut row {
            row.requestor = self.http.clean(&row.requestor);
            row.progress_message = row.progress_message.as_deref().map(|message| self.http.clean(message));
        }
        Ok(row)
    }

    async fn open_text(&self, path: &'static str) -> Result<String, ClientError> {
        let text = self.http.text(path, self.http.open_request(Method::GET, self.http.url(&[path]))).await?;
        let text = text.trim();
        if text.is_empty() || text.chars().count() > MAX_NAME_CHARS || text.chars().any(char::is_control) {
            return Err(self.http.not_convex(path, "it is not one short word"));
        }
        Ok(self.http.clean(text))
    }
}

#[derive(Serialize)]
struct NoArguments {}

/// The envelope of what a function returns.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    status: String,
    #[serde(default)]
    value: Option<Box<RawValue>>,
    #[serde(default)]
    error_message: String,
}

fn export_head(headers: &HeaderMap) -> ExportHead {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    ExportHead {
        length_bytes: text(CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        snapshot_ts: text(CONTENT_DISPOSITION).and_then(snapshot_ts),
    }
}

/// The time in `attachment; filename=snapshot_<instance>_<start_ts>.zip`.
fn snapshot_ts(disposition: &str) -> Option<i64> {
    let name = disposition.trim_end_matches('"').strip_suffix(".zip")?;
    name.rsplit_once('_')?.1.parse().ok()
}

/// The body of `response` to `call`, each wait for the next piece limited. Ends after the first error.
pub(crate) fn body(
    http: Http,
    call: &'static str,
    response: Response,
) -> impl futures::Stream<Item = Result<Bytes, ClientError>> + Send {
    stream::unfold(Some((http, response)), move |state| async move {
        let (http, mut response) = state?;
        match tokio::time::timeout(http.idle_timeout, response.chunk()).await {
            Ok(Ok(Some(bytes))) => Some((Ok(bytes), Some((http, response)))),
            Ok(Ok(None)) => None,
            Ok(Err(error)) => Some((Err(http.broken(call, error)), None)),
            Err(_elapsed) => Some((Err(http.timed_out(call, http.idle_timeout)), None)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{KeyCheck, Operation, snapshot_ts};

    #[test]
    fn a_key_without_a_list_may_do_everything() {
        let check: KeyCheck = serde_json::from_str(r#"{"success":true}"#).unwrap();
        assert!(check.allows(Operation::ImportBackups));
        let check: KeyCheck =
            serde_json::from_str(r#"{"allowedOps":["CreateBackups","deployment:backups:view"]}"#).unwrap();
        assert!(check.allows(Operation::CreateBackups) && check.allows(Operation::ViewBackups));
        assert!(!check.allows(Operation::DownloadBackups));
    }

    #[test]
    fn the_snapshot_time_is_read_from_the_file_name() {
        let name = "attachment; filename=snapshot_rainy-otter-123_1795312184278924770.zip";
        assert_eq!(snapshot_ts(name), Some(1_795_312_184_278_924_770));
        assert_eq!(snapshot_ts("attachment; filename=\"snapshot_a_5.zip\""), Some(5));
        assert_eq!(snapshot_ts("attachment; filename=other.zip"), None);
    }
}
