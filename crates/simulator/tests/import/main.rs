//! What imports do, and their faults; and how the WebSocket tells of it.

#![expect(clippy::unwrap_used, reason = "a test may stop where something is not as it must be")]

#[path = "../replay/uploads.rs"]
mod uploads;
#[path = "../replay/wire.rs"]
#[expect(dead_code, reason = "the replay of recordings uses the rest")]
mod wire;

use std::time::Duration;

use convault_core::Secret;
use convault_simulator::{
    Data, Database, Fault, FaultKind, GeneratorConfig, RunningSimulator, Simulator, SimulatorConfig, Value,
};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use uploads::{Client, archive};

const KEY: &str = "convex-self-hosted|01c046ab1512d9306a1e3bbd4e26e30aa9d0f9fe2b93d4c3";
const UNIFORM: &[u8] = b"\"uniform\"\n";

async fn start(faults: Vec<Fault>) -> (RunningSimulator, Client) {
    let config = SimulatorConfig { faults, ..SimulatorConfig::new(Secret::new(KEY)) };
    let simulator = Simulator::start(config).await.unwrap();
    let client = Client { address: simulator.address(), key: KEY.to_owned() };
    (simulator, client)
}

fn zip_arguments(mode: &str) -> serde_json::Value {
    json!({ "format": "zip", "mode": mode })
}

fn table_zip(table: &str, rows: &[u8]) -> Vec<u8> {
    archive(&[
        (&format!("{table}/documents.jsonl"), rows),
        (&format!("{table}/generated_schema.jsonl"), UNIFORM),
    ])
}

/// The value of field `n` of the only document of a table.
fn number(simulator: &RunningSimulator, table: &str) -> Option<Value> {
    let database = simulator.snapshot();
    database.table("", table)?.documents.values().next()?.get("n").cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_schema_marker_every_number_is_a_float() {
    let (simulator, client) = start(Vec::new()).await;
    client.replace_all(&table_zip("t", b"{\"n\":7}\n")).await;
    assert_eq!(number(&simulator, "t"), Some(Value::Int64(7)));
    client.replace_all(&archive(&[("t/documents.jsonl", b"{\"n\":7}\n")])).await;
    assert_eq!(number(&simulator, "t"), Some(Value::Float64(7.0)));
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_named_storage_cannot_be_imported_with_its_schema() {
    let (simulator, client) = start(Vec::new()).await;
    let (_, row) =
        client.import(zip_arguments("replaceAll"), &table_zip("order_storage", b"{\"n\":1}\n")).await;
    let message = row["state"]["error_message"].as_str().unwrap();
    assert!(message.contains("_storage id 'generated_schema' invalid"), "{message}");
    assert!(number(&simulator, "order_storage").is_none());
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replace_all_without_files_keeps_the_files_and_drops_other_tables() {
    let (simulator, client) = start(Vec::new()).await;
    simulator.change(|database| {
        database.store_file("", "hello", None, 1.0);
        database.insert("waitlist", "emails", convault_simulator::Document::new(), 1.0);
    });
    client.replace_all(&table_zip("t", b"{\"n\":1}\n")).await;
    let after = simulator.snapshot();
    assert_eq!(after.component("").unwrap().files().len(), 1);
    assert!(after.component("waitlist").is_some() && after.table("waitlist", "emails").is_none());
    client.replace_all(&archive(&[("_storage/documents.jsonl", b"")])).await;
    assert_eq!(simulator.snapshot().component("").unwrap().files().len(), 0);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_another_table_has_conflicts_unless_everything_is_replaced() {
    let (simulator, client) = start(Vec::new()).await;
    simulator.change(|database| database.ensure_table("", "zzz", 1.0));
    let zip = archive(&[
        ("_tables/documents.jsonl", b"{\"name\":\"messages\",\"id\":10001}\n"),
        ("messages/documents.jsonl", b"{\"n\":1}\n"),
        ("messages/generated_schema.jsonl", UNIFORM),
    ]);
    let (_, row) = client.import(zip_arguments("requireEmpty"), &zip).await;
    let expected = "New table `messages` has IDs that conflict with existing table `zzz`.";
    assert!(row["state"]["error_message"].as_str().unwrap().contains(expected), "{row}");
    client.replace_all(&zip).await;
    assert!(simulator.snapshot().table("", "zzz").is_none());
    assert_eq!(number(&simulator, "messages"), Some(Value::Int64(1)));
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_confirmation_is_swallowed_while_the_import_stays_uploaded() {
    let (simulator, client) = start(vec![Fault::with(FaultKind::ImportStaysUploaded, 3)]).await;
    let id = client.upload(zip_arguments("requireEmpty"), &table_zip("t", b"{\"n\":1}\n")).await;
    let body = json!({ "importId": id }).to_string();
    let answer = client.post("/api/perform_import", "application/json", body.as_bytes()).await;
    assert_eq!(answer.status, 200);
    let mut uploaded = 0;
    let state = loop {
        let row = client.query("_system/cli/queryImport", json!({ "importId": id })).await;
        if row["state"]["state"] != "uploaded" {
            break row["state"]["state"].clone();
        }
        uploaded += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(uploaded >= 3);
    assert_eq!(state, "waiting_for_confirmation");
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_to_fail_changes_nothing() {
    let (simulator, client) = start(vec![Fault::with(FaultKind::ImportFails, 1)]).await;
    let zip = table_zip("t", b"{\"n\":1}\n");
    let (_, row) = client.import(zip_arguments("replaceAll"), &zip).await;
    assert_eq!(row["state"]["state"], "failed");
    assert!(number(&simulator, "t").is_none());
    client.replace_all(&zip).await;
    assert!(number(&simulator, "t").is_some());
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_sent_again_after_503_is_there_twice() {
    let (simulator, client) = start(vec![Fault::with(FaultKind::UploadPart503, 1)]).await;
    let token = client.post("/api/import/start_upload", "application/json", b"").await.json();
    let token = token["uploadToken"].as_str().unwrap();
    let target = format!("/api/import/upload_part?uploadToken={}&partNumber=1", wire::percent_encode(token));
    let send = async || client.post(&target, "application/octet-stream", b"{\"n\":1}\n").await.status;
    assert_eq!((send().await, send().await), (503, 200));
    let import = json!({ "format": "jsonLines", "tableName": "t" });
    let body = json!({ "import": import, "uploadToken": token, "partTokens": [""] }).to_string();
    let answer = client.post("/api/import/finish_upload", "application/json", body.as_bytes()).await.json();
    let row = client.settle(answer["importId"].as_str().unwrap()).await;
    assert_eq!(row["checkpoints"][0]["total_num_rows_to_write"], "2");
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_whose_answer_was_lost_is_in_the_list() {
    let (simulator, client) = start(vec![Fault::with(FaultKind::FinishUploadLostAnswer, 1)]).await;
    let token = client.post("/api/import/start_upload", "application/json", b"").await.json();
    let import = json!({ "format": "jsonLines", "tableName": "t" });
    let body = json!({ "import": import, "uploadToken": token["uploadToken"], "partTokens": [] }).to_string();
    let answer = client.post("/api/import/finish_upload", "application/json", body.as_bytes()).await;
    assert!(answer.status == 0 || answer.body.is_empty(), "{answer:?}");
    let list = client.query("_system/cli/queryImport:list", json!({})).await;
    assert_eq!(list.as_array().unwrap().len(), 1);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn short_pages_still_come_to_the_end() {
    let (simulator, client) = start(vec![Fault::new(FaultKind::ShortPages)]).await;
    let rows = (0..25).map(|n| format!("{{\"n\":{n}}}\n")).collect::<Vec<String>>().concat();
    client.replace_all(&table_zip("t", rows.as_bytes())).await;
    let (mut cursor, mut documents, mut empty) = (serde_json::Value::Null, 0, 0);
    loop {
        let options = json!({ "cursor": cursor, "numItems": 10 });
        let arguments = json!({ "table": "t", "order": "asc", "paginationOpts": options });
        let page = client.query("_system/cli/tableData", arguments).await;
        let rows = page["page"].as_array().unwrap().len();
        documents += rows;
        empty += usize::from(rows == 0);
        cursor = page["continueCursor"].clone();
        if page["isDone"] == true {
            break;
        }
    }
    assert_eq!(documents, 25);
    assert!(empty > 0);
    simulator.stop().await;
}

/// The next message of a type, passing over pings.
async fn next_message<S>(socket: &mut S) -> serde_json::Value
where
    S: futures::Stream<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    loop {
        if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
            return serde_json::from_str(text.as_str()).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_query_is_pushed_whenever_its_result_changes() {
    let (simulator, client) = start(Vec::new()).await;
    let url = format!("ws://{}/api/1.48.0/sync", simulator.address());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let add = json!({
        "type": "Add", "queryId": 0, "udfPath": "_system/cli/queryImport:list:default", "args": [{}],
    });
    for message in [
        json!({ "type": "Connect", "sessionId": "x", "connectionCount": 0, "clientTs": 1 }),
        json!({ "type": "Authenticate", "baseVersion": 0, "tokenType": "Admin", "value": KEY }),
        json!({ "type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [add] }),
    ] {
        socket.send(Message::text(message.to_string())).await.unwrap();
    }
    let identified = next_message(&mut socket).await;
    assert_eq!(identified["startVersion"]["ts"], "AAAAAAAAAAA=");
    assert_eq!(identified["endVersion"]["identity"], 1);
    let mut last = next_message(&mut socket).await;
    assert_eq!(last["startVersion"], identified["endVersion"]);
    assert_eq!(last["modifications"][0]["value"], json!([]));
    client.import(json!({ "format": "jsonLines", "tableName": "t" }), b"{\"n\":1}\n").await;
    let mut states = Vec::new();
    while states.last().is_none_or(|state| state != "completed") {
        let next = next_message(&mut socket).await;
        assert_eq!(next["startVersion"], last["endVersion"]);
        let state = next["modifications"][0]["value"][0]["state"]["state"].as_str().unwrap().to_owned();
        states.push(state);
        last = next;
    }
    states.dedup();
    assert!(states.contains(&"waiting_for_confirmation".to_owned()), "{states:?}");
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_ends_the_websocket_with_an_auth_error() {
    let (simulator, _) = start(Vec::new()).await;
    let url = format!("ws://{}/api/sync", simulator.address());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let message = json!({ "type": "Authenticate", "baseVersion": 0, "tokenType": "Admin", "value": "x|00" });
    socket.send(Message::text(message.to_string())).await.unwrap();
    assert_eq!(next_message(&mut socket).await["type"], "AuthError");
    simulator.stop().await;
}

/// Imports a deployment's own export into an empty one with these faults, and gives both data.
async fn imported(faults: &[FaultKind]) -> (Database, Database, serde_json::Value) {
    let source = Database::crm(3);
    let (simulator, client) = start(faults.iter().map(|kind| Fault::new(*kind)).collect()).await;
    simulator.change(|database| *database = source.clone());
    let zip = client.export().await;
    simulator.change(|database| *database = Database::new(2));
    let (_, row) = client.import(zip_arguments("replaceAll"), &zip).await;
    let after = simulator.snapshot();
    simulator.stop().await;
    (source, after, row["state"].clone())
}

/// The names of a ZIP's entries.
fn names(zip: &[u8]) -> Vec<String> {
    let archive = zip::ZipArchive::new(std::io::Cursor::new(zip)).unwrap();
    archive.file_names().map(|name| name.unwrap().into_owned()).collect()
}

fn tables(database: &Database) -> usize {
    database.components().map(|(_, component)| component.tables().count()).sum()
}

fn files(database: &Database) -> usize {
    database.components().map(|(_, component)| component.files().len()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_loses_something_says_that_all_went_well() {
    let (source, after, state) = imported(&[FaultKind::ImportLosesTable]).await;
    assert_eq!((state["state"].as_str(), tables(&after)), (Some("completed"), tables(&source) - 1));
    let (source, after, state) = imported(&[FaultKind::ImportLosesFile]).await;
    assert_eq!((state["state"].as_str(), files(&after)), (Some("completed"), files(&source) - 1));
    let (source, after, state) = imported(&[FaultKind::ImportChangesNumber]).await;
    assert_eq!((state["state"].as_str(), tables(&after)), (Some("completed"), tables(&source)));
    let lines = |database: &Database| {
        let tables = database.components().flat_map(|(_, component)| component.tables());
        tables
            .flat_map(|(_, table)| table.documents.lines().map(<[u8]>::to_vec).collect::<Vec<_>>())
            .collect()
    };
    let (before, after): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (lines(&source), lines(&after));
    let changed: Vec<_> = before.iter().zip(&after).filter(|(one, other)| one != other).collect();
    assert!(changed.len() == 1 && changed[0].0.len() + 2 == changed[0].1.len(), "{changed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_without_a_marker_exports_one_entry_less() {
    let (simulator, client) = start(vec![Fault::new(FaultKind::ImportDropsSchema)]).await;
    client.replace_all(&table_zip("t", b"{\"n\":7}\n")).await;
    let names = names(&client.export().await);
    assert!(names.contains(&"t/documents.jsonl".to_owned()));
    assert!(!names.contains(&"t/generated_schema.jsonl".to_owned()));
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_schema_refuses_is_named_with_its_table_and_nothing_changes() {
    let (_, after, state) = imported(&[FaultKind::ImportRefusesRow]).await;
    let message = state["error_message"].as_str().unwrap();
    assert!(message.contains("document in table \"") && message.contains("_id: \""), "{message}");
    assert_eq!((state["state"].as_str(), after.document_count()), (Some("failed"), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_of_the_old_format_reads_every_number_as_a_float() {
    let (simulator, client) = start(vec![Fault::new(FaultKind::ImportAsOldFormat)]).await;
    client.replace_all(&table_zip("t", b"{\"n\":7}\n")).await;
    assert_eq!(number(&simulator, "t"), Some(Value::Float64(7.0)));
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_what_its_row_says_fails_the_import() {
    let (simulator, client) = start(Vec::new()).await;
    simulator.change(|database| database.store_file("", "hello", None, 1.0));
    simulator.set_fault(Fault::new(FaultKind::DamagedFile));
    let zip = client.export().await;
    let (_, row) = client.import(zip_arguments("replaceAll"), &zip).await;
    let message = row["state"]["error_message"].as_str().unwrap();
    assert!(message.contains("Sha256 mismatch"), "{message}");
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_is_made_up_is_counted_and_gives_way_as_a_whole() {
    let data = Data::Generated(GeneratorConfig {
        seed: 1,
        tables: 2,
        documents: 30,
        document_bytes: 200,
        files: 3,
        file_bytes: 100,
        components: 1,
    });
    let config = SimulatorConfig { data, ..SimulatorConfig::new(Secret::new(KEY)) };
    let simulator = Simulator::start(config).await.unwrap();
    let client = Client { address: simulator.address(), key: KEY.to_owned() };
    let components = client.query("_system/frontend/components:list", json!({})).await;
    let one = components.as_array().unwrap().iter().find(|row| row["path"] == "component1").unwrap();
    let size = json!({ "tableName": "table2", "componentId": one["id"] });
    assert_eq!(client.query("_system/frontend/tableSize", size).await, 30.0);
    let zip = client.export().await;
    let (_, row) = client.import(zip_arguments("requireEmpty"), &zip).await;
    assert!(row["state"]["error_message"].as_str().unwrap().contains("already exists"), "{row}");
    let (_, row) = client.import(zip_arguments("append"), &zip).await;
    assert_eq!(row["state"]["state"], "failed", "{row}");
    let id = client.upload(zip_arguments("replaceAll"), &zip).await;
    let row = client.settle(&id).await;
    let message = row["state"]["message_to_confirm"].as_str().unwrap();
    assert!(message.contains("30 of 30") && message.contains("3 of 3 files"), "{message}");
    client.replace_all(&zip).await;
    assert_eq!(simulator.snapshot().document_count(), 120);
    assert_eq!(names(&client.export().await).len(), names(&zip).len());
    simulator.stop().await;
}
