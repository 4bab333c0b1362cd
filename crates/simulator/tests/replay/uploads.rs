//! Makes the uploads of which the recordings only tell what became of them.

use std::io::{Cursor, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::wire::{self, Received, percent_encode};

/// Writes an ordinary ZIP.
pub(crate) fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        archive.start_file(*name, SimpleFileOptions::default()).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// Speaks to a deployment as a client that imports and exports.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
}

impl Client {
    pub(crate) async fn post(&self, target: &str, content_type: &str, body: &[u8]) -> Received {
        self.send("POST", target, content_type, body).await
    }

    pub(crate) async fn get(&self, target: &str) -> Received {
        self.send("GET", target, "application/json", b"").await
    }

    async fn send(&self, method: &str, target: &str, content_type: &str, body: &[u8]) -> Received {
        let headers = [
            ("authorization".to_owned(), format!("Convex {}", self.key)),
            ("content-type".to_owned(), content_type.to_owned()),
        ];
        wire::send(self.address, method, target, &headers, body).await
    }

    /// The value that a system function returns, in the `json` format.
    pub(crate) async fn query(&self, path: &str, arguments: Value) -> Value {
        let body = json!({ "path": path, "args": arguments, "format": "json" }).to_string();
        let answer = self.post("/api/query", "application/json", body.as_bytes()).await.json();
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["value"].clone()
    }

    /// Uploads `bytes` in one part and makes it an import. Returns its ID.
    pub(crate) async fn upload(&self, arguments: Value, bytes: &[u8]) -> String {
        let token = self.post("/api/import/start_upload", "application/json", b"").await.json();
        let token = token["uploadToken"].as_str().unwrap();
        let target = format!("/api/import/upload_part?uploadToken={}&partNumber=1", percent_encode(token));
        let part = self.post(&target, "application/octet-stream", bytes).await;
        assert_eq!(part.body, br#""""#);
        let body = json!({ "import": arguments, "uploadToken": token, "partTokens": [""] }).to_string();
        let answer = self.post("/api/import/finish_upload", "application/json", body.as_bytes()).await.json();
        answer["importId"].as_str().unwrap().to_owned()
    }

    /// Waits until an import needs no more waiting, and returns its row.
    pub(crate) async fn settle(&self, id: &str) -> Value {
        loop {
            let row = self.query("_system/cli/queryImport", json!({ "importId": id })).await;
            if !matches!(row["state"]["state"].as_str(), Some("uploaded" | "in_progress")) {
                return row;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Uploads, confirms where that is asked for, and returns the ID and the last row.
    pub(crate) async fn import(&self, arguments: Value, bytes: &[u8]) -> (String, Value) {
        let id = self.upload(arguments, bytes).await;
        let mut row = self.settle(&id).await;
        if row["state"]["state"] == "waiting_for_confirmation" {
            let body = json!({ "importId": id }).to_string();
            let answer = self.post("/api/perform_import", "application/json", body.as_bytes()).await;
            assert_eq!((answer.status, answer.body.len()), (200, 0));
            row = self.settle(&id).await;
        }
        (id, row)
    }

    /// Imports a whole snapshot over everything that is there.
    pub(crate) async fn replace_all(&self, archive: &[u8]) {
        let (_, row) = self.import(json!({ "format": "zip", "mode": "replaceAll" }), archive).await;
        assert_eq!(row["state"]["state"], "completed", "{row}");
    }

    /// Exports everything and returns the ZIP.
    pub(crate) async fn export(&self) -> Vec<u8> {
        let answer = self.post("/api/export/request/zip?includeStorage=true", "application/json", b"").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let id = self.wait_for_export().await;
        let answer = self.get(&format!("/api/export/zip/{id}")).await;
        assert_eq!(answer.status, 200);
        answer.body
    }

    /// Waits until the latest export has completed, and returns its ID.
    pub(crate) async fn wait_for_export(&self) -> String {
        loop {
            let row = self.query("_system/cli/exports:getLatest", json!({})).await;
            if row["state"] == "completed" {
                return row["_id"].as_str().unwrap().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
