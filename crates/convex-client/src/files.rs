//! Stored files: listing them, and fetching one.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use convault_core::{Secret, Sha256};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::deployment::{Deployment, body};
use crate::error::ClientError;
use crate::tables;

const LIST_FILES: &str = "_system/frontend/fileStorageV2:fileMetadata";
/// Rows of one page: so many stay far below the 5 MB at which the server ends a page by itself.
const ROWS: u32 = 4_000;
/// What the address of a stored file has before its UUID.
const STORAGE: [&str; 2] = ["api", "storage"];
/// The name of the parameter that says in which component a file is.
const COMPONENT: &str = "component";

/// A component of a deployment, the root included.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ComponentRow {
    /// Its path; empty for the root.
    pub path: String,
    /// Its `_components` id, which other calls take; the root's is never needed.
    pub id: String,
}

/// A stored file, as a listing has it.
#[derive(Debug, Clone)]
pub struct ListedFile {
    /// The `_storage` id.
    pub id: String,
    /// `_creationTime` in milliseconds since the Unix epoch, printed as an export prints it.
    pub creation_time: String,
    /// The recorded digest of its content.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The type given when it was stored.
    pub content_type: Option<String>,
    /// The UUID in its address. Whoever has it can download the file.
    pub internal_id: Secret,
    /// The component that its address names.
    pub component: Option<String>,
}

/// One page of a listing.
#[derive(Debug)]
pub struct FilePage {
    /// Its files; a page before the last may have none.
    pub files: Vec<ListedFile>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<String>,
}

/// A stored file as it arrives.
pub struct FileDownload {
    /// `Content-Length`, in bytes.
    pub length_bytes: Option<u64>,
    /// What `Digest` says of the whole content.
    pub sha256: Option<Sha256>,
    /// Its bytes, as those of an export's [`crate::Download`].
    pub bytes: BoxStream<'static, Result<Bytes, ClientError>>,
}

impl fmt::Debug for FileDownload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileDownload").field("length_bytes", &self.length_bytes).finish_non_exhaustive()
    }
}

impl Deployment {
    /// Every component, the root first. Needs `deployment:data:view`.
    pub async fn components(&self) -> Result<Vec<ComponentRow>, ClientError> {
        let mut rows: Vec<ComponentRow> =
            self.query("_system/frontend/components:list", &serde_json::json!({})).await?;
        rows.sort_by(|a, b| (!a.path.is_empty(), &a.path).cmp(&(!b.path.is_empty(), &b.path)));
        Ok(rows)
    }

    /// A page of the stored files of one component (`None`: of the root), the oldest first. Needs
    /// `deployment:data:view`.
    pub async fn list_files(
        &self,
        component: Option<&str>,
        cursor: Option<&str>,
    ) -> Result<FilePage, ClientError> {
        let arguments = Arguments {
            component_id: component,
            filters: Filters { order: "asc" },
            pagination_opts: Pagination { cursor, num_items: ROWS },
        };
        // The general way to query goes through floating point numbers that are not read to the last bit.
        let body = serde_json::json!({
            "path": LIST_FILES,
            "format": "convex_encoded_json",
            "args": arguments,
        });
        let request = self.http.request(Method::POST, self.http.url(&["api", "query"])).json(&body);
        let answer: Answer = self.http.json(LIST_FILES, request).await?;
        let page = match (answer.status.as_str(), answer.value) {
            ("success", Some(page)) => page,
            ("error", _) => {
                let message = self.http.clean(&answer.error_message);
                return Err(ClientError::Function { call: LIST_FILES, message });
            }
            _ => return Err(self.http.not_convex(LIST_FILES, "it is neither a success nor an error")),
        };
        let files: Option<Vec<ListedFile>> = page.rows.into_iter().map(Row::listed).collect();
        let files = files.ok_or_else(|| self.http.not_convex(LIST_FILES, "a row is not that of a file"))?;
        let next = (!page.is_done).then_some(page.continue_cursor);
        Ok(FilePage { files, next })
    }

    /// Begins to fetch a stored file, from this deployment's own address whatever the listing's says. The key is not
    /// sent: the UUID is one. Codes: `FileNotFound`, and `BackendIsNotRunning` while the deployment is paused.
    pub async fn open_file(
        &self,
        internal_id: &Secret,
        component: Option<&str>,
    ) -> Result<FileDownload, ClientError> {
        let [api, storage] = STORAGE;
        let mut url = self.http.url(&[api, storage, internal_id.expose()]);
        if let Some(component) = component {
            url.query_pairs_mut().append_pair(COMPONENT, component);
        }
        let response = self.http.headers("file", self.http.open_request(Method::GET, url)).await;
        let response = response.map_err(|error| without(error, internal_id))?;
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let length_bytes = text(CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok());
        let sha256 = text("digest").and_then(|digest| sha256(digest.strip_prefix("sha-256=")?));
        Ok(FileDownload { length_bytes, sha256, bytes: body(self.http.clone(), "file", response).boxed() })
    }
}

/// The server repeats the UUID in its words, and whoever reads them could fetch the file.
fn without(error: ClientError, internal_id: &Secret) -> ClientError {
    match error {
        ClientError::Api { call, status, code, message, retry_after } => {
            let message = message.replace(internal_id.expose(), "[redacted]");
            ClientError::Api { call, status, code, message, retry_after }
        }
        other => other,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Arguments<'a> {
    component_id: Option<&'a str>,
    filters: Filters,
    pagination_opts: Pagination<'a>,
}

#[derive(Serialize)]
struct Filters {
    order: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pagination<'a> {
    cursor: Option<&'a str>,
    num_items: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status: String,
    #[serde(default)]
    value: Option<Page>,
    #[serde(default)]
    error_message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(rename = "page")]
    rows: Vec<Row>,
    is_done: bool,
    #[serde(default)]
    continue_cursor: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    url: String,
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_creationTime")]
    creation_time: Box<RawValue>,
    sha256: String,
    size: Box<RawValue>,
    #[serde(default)]
    content_type: Option<String>,
}

impl Row {
    fn listed(self) -> Option<ListedFile> {
        let url = Url::parse(&self.url).ok()?;
        let internal_id = Secret::new(url.path_segments()?.next_back()?);
        let component = url.query_pairs().find(|(name, _)| name == COMPONENT);
        Some(ListedFile {
            id: self.id,
            creation_time: printed(self.creation_time.get())?,
            sha256: sha256(&self.sha256)?,
            size_bytes: whole(self.size.get())?,
            content_type: self.content_type,
            internal_id,
            component: component.map(|(_, id)| id.into_owned()),
        })
    }
}

fn sha256(base64: &str) -> Option<Sha256> {
    STANDARD.decode(base64).ok()?.try_into().ok().map(Sha256)
}

/// A Float64 as an export prints it: the shortest digits that read back as the same number, always with a point or an
/// exponent.
fn printed(token: &str) -> Option<String> {
    let number: f64 = token.parse().ok()?;
    if number.is_finite() { serde_json::to_string(&number).ok() } else { None }
}

/// A size, which the listing has as a Float64.
fn whole(token: &str) -> Option<u64> {
    tables::whole(token.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::{Row, printed, whole};

    #[test]
    fn numbers_are_printed_as_an_export_prints_them() {
        for (token, expected) in [
            ("1700000000000", "1700000000000.0"),
            ("1700000000000.5", "1700000000000.5"),
            ("1795312183291.5796", "1795312183291.5796"),
            ("1795312183291.57958984375", "1795312183291.5796"),
            ("0", "0.0"),
        ] {
            assert_eq!(printed(token).as_deref(), Some(expected));
        }
        assert_eq!(printed("1e400"), None);
        assert_eq!(
            (whole("10.0"), whole("10"), whole("0.5"), whole("-1.0")),
            (Some(10), Some(10), None, None)
        );
    }

    #[test]
    fn a_row_gives_away_neither_its_url_nor_its_uuid() {
        let row = r#"{"url":"http://127.0.0.1:3210/api/storage/8c2d5a4e-0d4e-4b1c-9a2e-0f3a1b2c3d4e?component=abc",
            "_id":"kg2","_creationTime":1.5,"sha256":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=","size":0.0}"#;
        let listed = serde_json::from_str::<Row>(row).unwrap().listed().unwrap();
        assert_eq!(listed.internal_id.expose(), "8c2d5a4e-0d4e-4b1c-9a2e-0f3a1b2c3d4e");
        assert_eq!((listed.component.as_deref(), listed.content_type.as_deref()), (Some("abc"), None));
        assert!(!format!("{listed:?}").contains("8c2d5a4e"), "{listed:?}");
    }
}
