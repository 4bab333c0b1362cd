//! Exports over HTTP, from the request to the bytes of the ZIP.

#![expect(clippy::unwrap_used, reason = "a failed step of a test ends it, and says where")]

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};
use std::process::Command;
use std::time::Duration;

use convault_core::Secret;
use convault_simulator::{
    Data, Database, Fault, FaultKind, GeneratorConfig, RunningSimulator, Simulator, SimulatorConfig,
};
use serde_json::{Value, json};

const KEY: &str = "rainy-otter-123|0123456789abcdef";

/// A client of one running deployment.
struct Client {
    http: reqwest::Client,
    simulator: RunningSimulator,
}

impl Client {
    async fn of(data: Data, faults: &[&str]) -> Self {
        let mut config = SimulatorConfig::new(Secret::new(KEY));
        config.data = data;
        config.faults = faults.iter().map(|fault| fault.parse().unwrap()).collect();
        let simulator = Simulator::start(config).await.unwrap();
        // Installing it again, for the next test, is refused and makes no difference.
        drop(rustls::crypto::ring::default_provider().install_default());
        Self { http: reqwest::Client::builder().no_proxy().build().unwrap(), simulator }
    }

    async fn of_crm(faults: &[&str]) -> Self {
        Self::of(Data::Database(Box::new(Database::crm(1))), faults).await
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        let request = self.http.get(format!("{}{path}", self.simulator.url()));
        request.header("authorization", format!("Convex {KEY}")).send().await.unwrap()
    }

    async fn post(&self, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.http.post(format!("{}{path}", self.simulator.url()));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.header("authorization", format!("Convex {KEY}")).send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
    }

    async fn request(&self) -> (u16, Value) {
        self.post("/api/export/request/zip?includeStorage=true", None).await
    }

    async fn latest(&self) -> Value {
        let call = json!({ "path": "_system/cli/exports:getLatest", "args": {}, "format": "json" });
        let (status, answer) = self.post("/api/query", Some(call)).await;
        assert_eq!((status, &answer["status"]), (200, &json!("success")), "{answer}");
        answer["value"].clone()
    }

    async fn wait_for(&self, state: &str) -> Value {
        for _ in 0..2_000 {
            let row = self.latest().await;
            if row["state"] == state {
                return row;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no export became {state}: {}", self.latest().await);
    }

    async fn export(&self) -> (Value, Vec<u8>) {
        assert_eq!(self.request().await, (200, Value::Null));
        let row = self.wait_for("completed").await;
        let response = self.get(&format!("/api/export/zip/{}", row["_id"].as_str().unwrap())).await;
        assert_eq!(response.status(), 200);
        (row, response.bytes().await.unwrap().to_vec())
    }
}

fn entries(zip: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut zip = zip::ZipArchive::new(Cursor::new(zip)).unwrap();
    let count = zip.len();
    let read = |index| {
        let mut entry = zip.by_index(index).unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.name().unwrap().into_owned(), content)
    };
    (0..count).map(read).collect()
}

#[tokio::test]
async fn an_export_goes_from_request_to_a_zip_that_others_read() {
    let client = Client::of_crm(&[]).await;
    let (row, zip) = client.export().await;
    assert_eq!(row["size"], json!(zip.len().to_string()));
    let response = client.get(&format!("/api/export/zip/{}", row["start_ts"].as_str().unwrap())).await;
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("content-length"), Some(zip.len().to_string()));
    let file_name =
        format!("attachment; filename=snapshot_rainy-otter-123_{}.zip", row["start_ts"].as_str().unwrap());
    assert_eq!(header("content-disposition"), Some(file_name));
    assert_eq!(header("cache-control").as_deref(), Some("private, max-age=2592000"));
    assert_eq!(header("content-type"), None);
    assert_eq!(response.bytes().await.unwrap(), zip);
    let entries = entries(&zip);
    assert_eq!(entries["archivedContacts/documents.jsonl"], b"");
    assert_eq!(entries["everyType/generated_schema.jsonl"], b"\"uniform\"\n");
    assert!(entries.contains_key("_components/waitlist/entries/documents.jsonl"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &zip).unwrap();
    for (program, arguments) in [("python3", &["-m", "zipfile", "-t"][..]), ("unzip", &["-tq"])] {
        let Ok(output) = Command::new(program).args(arguments).arg(file.path()).output() else { continue };
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stdout));
    }
    client.simulator.stop().await;
}

#[tokio::test]
async fn an_unchanged_deployment_gives_the_same_bytes_again() {
    let client = Client::of_crm(&[]).await;
    let (first_row, first) = client.export().await;
    let (second_row, second) = client.export().await;
    assert_ne!(first_row["_id"], second_row["_id"]);
    assert!(first == second);
    client.simulator.change(|database| database.apply_day_of_changes(1.8e12));
    assert!(client.export().await.1 != first);
}

#[tokio::test]
async fn only_one_export_runs_and_its_start_changes_when_it_completes() {
    let client = Client::of_crm(&["slow-export=1"]).await;
    assert_eq!(client.request().await, (200, Value::Null));
    let running = client.wait_for("in_progress").await;
    let (status, error) = client.request().await;
    assert_eq!((status, &error["code"]), (400, &json!("ExportInProgress")));
    let id = running["_id"].as_str().unwrap();
    let early = client.get(&format!("/api/export/zip/{id}")).await;
    assert_eq!(early.status(), 400);
    let completed = client.wait_for("completed").await;
    assert_eq!(completed["_id"], running["_id"]);
    assert_ne!(completed["start_ts"], running["start_ts"]);
    assert!(completed.get("progress_message").is_none());
}

#[tokio::test]
async fn a_stuck_export_can_be_cancelled_and_frees_the_slot() {
    let client = Client::of_crm(&["stuck-export", "cancel-conflict=1"]).await;
    client.request().await;
    let row = client.wait_for("in_progress").await;
    let path = format!("/api/export/cancel/{}", row["_id"].as_str().unwrap());
    let (status, error) = client.post(&path, None).await;
    assert_eq!((status, &error["code"]), (503, &json!("OptimisticConcurrencyControlFailure")));
    assert_eq!(client.post(&path, None).await, (200, Value::Null));
    let row = client.latest().await;
    assert_eq!(row["state"], "canceled");
    assert!(row.get("expiration_ts").is_none());
    assert_eq!(client.post(&path, None).await.0, 500);
    assert_eq!(client.request().await.0, 200);
    client.simulator.stop().await;
}

#[tokio::test]
async fn expired_exports_go_with_the_clean_up_and_not_before() {
    let client = Client::of_crm(&[]).await;
    let (row, zip) = client.export().await;
    let id = row["_id"].as_str().unwrap();
    let path = format!("/api/export/set_expiration/{id}");
    assert_eq!(client.post(&path, Some(json!({ "expirationTsNs": 0 }))).await, (200, Value::Null));
    assert_eq!(client.get(&format!("/api/export/zip/{id}")).await.bytes().await.unwrap(), zip);
    assert_eq!(client.simulator.remove_expired_exports(), 1);
    assert_eq!(client.get(&format!("/api/export/zip/{id}")).await.status(), 404);
}

#[tokio::test]
async fn a_cloud_backup_holds_the_slot_and_is_not_shown() {
    let client = Client::of_crm(&["slot-held"]).await;
    assert_eq!(client.latest().await, Value::Null);
    let (status, error) = client.request().await;
    assert_eq!((status, &error["code"]), (400, &json!("ExportInProgress")));
    client.simulator.clear_fault(FaultKind::SlotHeld);
    while client.request().await.0 != 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client.wait_for("completed").await;
}

#[tokio::test]
async fn keys_are_refused_as_a_real_deployment_does() {
    let client = Client::of_crm(&[]).await;
    let url = format!("{}/api/check_admin_key", client.simulator.url());
    for (authorization, status, code) in [
        (None, 403, "BadDeployKey"),
        (Some("Convex wrong".to_owned()), 401, "BadAdminKey"),
        (Some(format!("Convex other-name|{KEY}")), 401, "BadAdminKey"),
        (Some(format!("Bearer {KEY}")), 401, "InvalidAuthHeader"),
    ] {
        let mut request = client.http.get(&url);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status);
        let error: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(error["code"], code);
    }
    let prefixed =
        client.http.get(&url).header("authorization", format!("Convex prod:{KEY}")).send().await.unwrap();
    assert_eq!(prefixed.text().await.unwrap(), r#"{"allowedOps":[],"isReadOnly":false,"success":true}"#);
}

#[tokio::test]
async fn a_limited_key_is_refused_on_routes_and_inside_functions() {
    let client = Client::of_crm(&["limited-key=DownloadBackups"]).await;
    let (status, error) = client.request().await;
    assert_eq!((status, &error["code"]), (403, &json!("OperationNotPermitted")));
    assert!(error["message"].as_str().unwrap().ends_with("(deployment:backups:create)"));
    let call = json!({ "path": "_system/cli/exports:getLatest", "args": {} });
    let (status, answer) = client.post("/api/query", Some(call)).await;
    assert_eq!((status, &answer["status"]), (200, &json!("error")));
}

#[tokio::test]
async fn accidents_in_transit_reach_the_client() {
    let client = Client::of_crm(&[]).await;
    let (row, sound) = client.export().await;
    let path = format!("/api/export/zip/{}", row["_id"].as_str().unwrap());
    client.simulator.set_fault(Fault::with(FaultKind::TruncatedDownload, 1));
    assert!(client.get(&path).await.bytes().await.is_err());
    client.simulator.set_fault(Fault::with(FaultKind::CorruptDownload, 1));
    let corrupt = client.get(&path).await.bytes().await.unwrap();
    assert_eq!(corrupt.iter().zip(&sound).filter(|(one, other)| one != other).count(), 1);
    client.simulator.set_fault(Fault::with(FaultKind::WrongLength, 1));
    assert_eq!(client.get(&path).await.bytes().await.unwrap().len(), sound.len() - 100);
    client.simulator.set_fault(Fault::with(FaultKind::StalledDownload, 1));
    let stalled = client.get(&path).await.bytes();
    assert!(tokio::time::timeout(Duration::from_millis(300), stalled).await.is_err());
    assert_eq!(client.get(&path).await.bytes().await.unwrap(), sound);
    assert!(client.simulator.counters().download_bytes > 2 * sound.len() as u64);
    client.simulator.stop().await;
}

#[tokio::test]
async fn writes_during_an_export_are_not_in_it() {
    let client = Client::of_crm(&["writes-during-export"]).await;
    let (_, zip) = client.export().await;
    assert!(
        !entries(&zip)["contacts/documents.jsonl"].windows(19).any(|part| part == b"writtenDuringExport")
    );
    client.simulator.clear_faults();
    let (_, zip) = client.export().await;
    assert!(entries(&zip)["contacts/documents.jsonl"].windows(19).any(|part| part == b"writtenDuringExport"));
}

#[tokio::test]
async fn made_up_data_is_exported_the_same_each_time() {
    let generated = GeneratorConfig {
        seed: 9,
        tables: 2,
        documents: 2_000,
        document_bytes: 500,
        files: 40,
        file_bytes: 3_000,
        components: 1,
    };
    let client = Client::of(Data::Generated(generated), &[]).await;
    let (row, first) = client.export().await;
    assert_eq!(row["size"], json!(first.len().to_string()));
    let (_, second) = client.export().await;
    assert!(first == second);
    let entries = entries(&first);
    assert_eq!(entries["table1/documents.jsonl"].split(|byte| *byte == b'\n').count(), 2_001);
    assert_eq!(entries.keys().filter(|name| name.starts_with("_storage/")).count(), 41);
}

#[tokio::test]
async fn files_are_served_by_their_uuid_unless_the_deployment_is_paused() {
    let client = Client::of_crm(&[]).await;
    let database = client.simulator.snapshot();
    let file = database.component("").unwrap().files().values().next().unwrap().clone();
    let path = format!("/api/storage/{}", file.internal_id);
    let response = client.get(&path).await;
    assert!(response.headers()["digest"].to_str().unwrap().starts_with("sha-256="));
    assert_eq!(response.bytes().await.unwrap(), file.content.bytes());
    client.simulator.set_fault(Fault::new(FaultKind::Paused));
    assert_eq!(client.get(&path).await.status(), 400);
    assert_eq!(client.request().await.0, 200);
    client.wait_for("completed").await;
}
