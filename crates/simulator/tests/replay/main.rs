//! Plays the recorded exchanges of a real backend against the simulator: it must answer alike.
//!
//! Recordings are not part of this repository; every test here is skipped, saying so, where they are absent.

#![expect(clippy::unwrap_used, reason = "a test may stop where something is not as it must be")]

mod compare;
mod player;
mod transcript;
mod uploads;
mod wire;

use std::fs;
use std::path::Path;
use std::time::Duration;

use convault_core::{Secret, Sha256};
use convault_simulator::{Fault, FaultKind, RunningSimulator, Simulator, SimulatorConfig};
use serde_json::json;

use player::Player;
use transcript::{Exchange, fixtures, read};
use uploads::{Client, archive};

const KEY: &str = "rainy-otter-123|01c046ab1512d9306a1e3bbd4e26e30aa9d0f9fe2b93d4c3a0e15e37a7c63f0a";

/// Long enough that polls see every state of an export, on a busy machine too.
const SEEN: Duration = Duration::from_secs(3);

async fn start() -> RunningSimulator {
    Simulator::start(SimulatorConfig::new(Secret::new(KEY))).await.unwrap()
}

/// A deployment whose exports take their time.
async fn start_slow() -> RunningSimulator {
    let config = SimulatorConfig { export_time: SEEN, ..SimulatorConfig::new(Secret::new(KEY)) };
    Simulator::start(config).await.unwrap()
}

fn client(simulator: &RunningSimulator) -> Client {
    Client { address: simulator.address(), key: KEY.to_owned() }
}

/// A deployment with what the recorded one held: the contents of `small.zip`.
async fn start_small(fixtures: &Path) -> RunningSimulator {
    let simulator = start_slow().await;
    client(&simulator).replace_all(&fs::read(fixtures.join("small.zip")).unwrap()).await;
    simulator
}

/// Repeated polls of a state that lasted longer in the recording are played once.
fn without_repeats(exchanges: Vec<Exchange>) -> Vec<Exchange> {
    let mut kept: Vec<Exchange> = Vec::new();
    for exchange in exchanges {
        let repeated = kept.last().is_some_and(|last| last.title == exchange.title);
        if !(repeated && exchange.title.starts_with("poll")) {
            kept.push(exchange);
        }
    }
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_who_it_is() {
    let Some(fixtures) = fixtures() else { return };
    let simulator = start().await;
    let mut player = Player::new(simulator.address(), KEY)
        .not_covered("shapes2 on an empty deployment", "inferred shapes are no part of a backup");
    player.play_all(&read(&fixtures, "01")).await;
    player.finish();
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_refused_in_the_same_words() {
    let Some(fixtures) = fixtures() else { return };
    let simulator = start().await;
    let mut player = Player::new(simulator.address(), KEY)
        .not_covered("list_snapshot without Authorization", "streaming export is no part of this simulator");
    player.play_all(&read(&fixtures, "02")).await;
    player.finish();
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_deployment_is_exported() {
    let Some(fixtures) = fixtures() else { return };
    let simulator = start_slow().await;
    let mut player = Player::new(simulator.address(), KEY);
    player.play_all(&without_repeats(read(&fixtures, "03"))).await;
    player.finish();
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_shot_imports_succeed_and_fail_alike() {
    let Some(fixtures) = fixtures() else { return };
    let simulator = start().await;
    let rows = (0..1000)
        .map(|seq| format!("{{\"seq\": {seq}, \"author\": \"user{}\"}}\n", seq % 7))
        .collect::<Vec<String>>()
        .concat();
    let mut player = Player::new(simulator.address(), KEY)
        .send_as("jsonLines, table does not exist, default mode", rows)
        .send_as("bad jsonl: not UTF-8", b"{\"a\":\"\xff\"}\n")
        .send_as("zip without any table", archive(&[("README.md", b"x")]));
    player.play_all(&read(&fixtures, "04")).await;
    player.finish();
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_import_goes_through_the_same_states() {
    let Some(fixtures) = fixtures() else { return };
    let simulator = start().await;
    let zip = recorded_import(&fixtures);
    let middle = zip.len() / 2;
    simulator.set_fault(Fault::with(FaultKind::ImportStaysUploaded, 1));
    let mut player = Player::new(simulator.address(), KEY)
        .send_as("upload_part 1", &zip[..middle])
        .send_as("upload_part 2", &zip[middle..]);
    player.play_all(&without_repeats(read(&fixtures, "05"))).await;
    player.finish();
    simulator.stop().await;
}

/// The ZIP that was imported in recording 05, made again from what became of it.
fn recorded_import(fixtures: &Path) -> Vec<u8> {
    let special = (0..38).map(|n| format!("{{\"v\":{n}}}\n")).collect::<Vec<String>>().concat();
    let counters = (0..5).map(|n| format!("{{\"n\":{n}}}\n")).collect::<Vec<String>>().concat();
    let mut entries = vec![
        ("empty/documents.jsonl".to_owned(), Vec::new()),
        ("special/documents.jsonl".to_owned(), special.into_bytes()),
        ("special/generated_schema.jsonl".to_owned(), b"\"uniform\"\n".to_vec()),
    ];
    let small = entries_of(&fs::read(fixtures.join("small.zip")).unwrap());
    entries.extend(small.into_iter().filter(|(name, _)| name.starts_with("_storage/")));
    entries.push(("_components/widget/counters/documents.jsonl".to_owned(), counters.into_bytes()));
    let notes = "_components/widget/_components/inner/notes/documents.jsonl";
    entries.push((notes.to_owned(), b"{\"t\":\"deep\"}\n".to_vec()));
    let entries: Vec<(&str, &[u8])> =
        entries.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
    archive(&entries)
}

/// Every entry of a ZIP with its content, sorted by name.
fn entries_of(zip: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(zip)).unwrap();
    let mut entries: Vec<(String, Vec<u8>)> = (0..archive.len())
        .map(|position| {
            let mut entry = archive.by_index(position).unwrap();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            (entry.name().unwrap().into_owned(), content)
        })
        .collect();
    entries.sort();
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_import_is_cancelled() {
    let Some(fixtures) = fixtures() else { return };
    let simulator = start().await;
    client(&simulator).import(json!({ "format": "jsonLines", "tableName": "arr" }), b"{\"a\": 9}\n").await;
    simulator.set_fault(Fault::with(FaultKind::ImportStaysUploaded, 1));
    let mut player = Player::new(simulator.address(), KEY);
    player.play_all(&read(&fixtures, "06")).await;
    player.finish();
    simulator.stop().await;
}

const HELLO_ID: &str = "kg2000820c20a1g7104gm2rc1m70y674";
const MESSAGE_ID: &str = "j57000820c20a1g7104gm2rc1m70ynr8";

fn stored_file_zip(id: &str, sha256: &str, size: u64, content: Option<&[u8]>) -> Vec<u8> {
    let row = json!({ "_id": id, "_creationTime": 1.5, "sha256": sha256, "size": size, "contentType": "text/plain" });
    let row = format!("{row}\n");
    let name = format!("_storage/{id}");
    let mut entries = vec![("_storage/documents.jsonl", row.as_bytes())];
    entries.extend(content.map(|content| (name.as_str(), content)));
    archive(&entries)
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_fail_at_the_same_points_in_the_same_words() {
    let Some(fixtures) = fixtures() else { return };
    let simulator = start().await;
    let client = client(&simulator);
    let messages = (0..3).map(|n| format!("{{\"n\":{n}}}\n")).collect::<Vec<String>>().concat();
    client.import(json!({ "format": "jsonLines", "tableName": "messages" }), messages.as_bytes()).await;
    let files: Vec<(String, Vec<u8>)> = entries_of(&fs::read(fixtures.join("small.zip")).unwrap())
        .into_iter()
        .filter(|(name, _)| name.starts_with("_storage/"))
        .collect();
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
    client.import(json!({ "format": "zip", "mode": "append" }), &archive(&files)).await;

    let hello_sha256 = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=";
    let wrong_sha256 = "2SmKENGwc1g33EvYXaxkGw887yekfl1TpU8vP1svz/o=";
    let new_id = "kg27rxfv99gzp01wmph0gvt92d6hnvy6";
    let bad_row = archive(&[("bad/documents.jsonl", b"{\"a\":1}\n{a:1}\n")]);
    let full = archive(&[("messages/documents.jsonl", b"{\"a\":1}\n")]);
    let truncated = full[..full.len() / 2].to_vec();
    let zip = |mode: &str| json!({ "format": "zip", "mode": mode });
    let lines = |table: &str| json!({ "format": "jsonLines", "mode": "requireEmpty", "tableName": table });
    let uploads = [
        ("bad zip", zip("requireEmpty"), b"this is not a zip".to_vec()),
        ("truncated zip", zip("replace"), truncated),
        ("bad jsonl", lines("bad1"), b"{\"a\":1}\n{a:1}\n".to_vec()),
        ("requireEmpty on non-empty table", lines("messages"), b"{\"x\":1}\n".to_vec()),
        ("zip, requireEmpty, tables exist", zip("requireEmpty"), full),
        ("zip with a bad jsonl inside", zip("requireEmpty"), bad_row),
        (
            "zip with wrong sha256 for a stored file",
            zip("append"),
            stored_file_zip(HELLO_ID, wrong_sha256, 5, Some(b"hello")),
        ),
        (
            "zip with stored file whose size is wrong",
            zip("append"),
            stored_file_zip(HELLO_ID, hello_sha256, 999, Some(b"hello")),
        ),
        (
            "zip with metadata but without the file",
            zip("append"),
            stored_file_zip(new_id, hello_sha256, 5, None),
        ),
        (
            "zip with a stored file id of another table number",
            zip("append"),
            stored_file_zip(MESSAGE_ID, hello_sha256, 5, Some(b"hello")),
        ),
    ];
    let mut player = Player::new(simulator.address(), KEY);
    for exchange in read(&fixtures, "07") {
        let (_, arguments, bytes) = uploads.iter().find(|(title, ..)| *title == exchange.title).unwrap();
        let (id, _) = client.import(arguments.clone(), bytes).await;
        player.bind(&import_id(&exchange), &id);
        player.play(&exchange).await;
    }
    player.finish();
    simulator.stop().await;
}

/// The import that a recorded poll asks for.
fn import_id(exchange: &Exchange) -> String {
    let transcript::Body::Text(body) = &exchange.request.body else { panic!("a poll has a body") };
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    body["args"]["importId"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_exported_and_downloaded() {
    let Some(fixtures) = fixtures() else { return };
    let simulator = start_small(&fixtures).await;
    let mut player = Player::new(simulator.address(), KEY);
    player.play_all(&without_repeats(read(&fixtures, "09"))).await;
    player.finish();
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn export_arguments_are_read_alike() {
    let Some(fixtures) = fixtures() else { return };
    let simulator = start_small(&fixtures).await;
    let mut player = Player::new(simulator.address(), KEY);
    for exchange in without_repeats(read(&fixtures, "10")) {
        // The recording leaves out the polls that waited for an export and told its ID.
        if let Some(id) = exchange.request.target.strip_prefix("/api/export/zip/") {
            player.bind(id, &client(&simulator).wait_for_export().await);
        }
        player.play(&exchange).await;
    }
    player.finish();
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_served_by_their_urls() {
    let Some(fixtures) = fixtures() else { return };
    let simulator = start_small(&fixtures).await;
    let mut player = Player::new(simulator.address(), KEY);
    player.play_all(&read(&fixtures, "12")).await;
    player.finish();
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn environment_variables_are_set_and_listed() {
    let Some(fixtures) = fixtures() else { return };
    let simulator = start().await;
    let mut player = Player::new(simulator.address(), KEY);
    player.play_all(&read(&fixtures, "13")).await;
    player.finish();
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_cancelled_or_completes() {
    let Some(fixtures) = fixtures() else { return };
    let simulator = start_small(&fixtures).await;
    simulator.set_fault(Fault::with(FaultKind::CancelConflict, 1));
    let mut player = Player::new(simulator.address(), KEY);
    let mut exchanges = read(&fixtures, "11");
    let request = exchanges.remove(0);
    player.play(&request).await;
    learn_latest_export(&mut player, &simulator, &exchanges).await;
    player.play_all(&exchanges).await;
    player.finish();
    simulator.stop().await;
}

/// The export that a recording goes on about is only named in the polls that were left out of it.
async fn learn_latest_export(player: &mut Player, simulator: &RunningSimulator, exchanges: &[Exchange]) {
    let target =
        exchanges.iter().find_map(|exchange| exchange.request.target.strip_prefix("/api/export/zip/"));
    let row = client(simulator).query("_system/cli/exports:getLatest", json!({})).await;
    player.bind(target.unwrap(), row["_id"].as_str().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_export_holds_the_slot_until_it_is_cancelled() {
    let Some(fixtures) = fixtures() else { return };
    let simulator = start_small(&fixtures).await;
    simulator.set_fault(Fault::new(FaultKind::StuckExport));
    let mut player = Player::new(simulator.address(), KEY);
    player.play_all(&read(&fixtures, "15")).await;
    player.finish();
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_beyond_the_limits_are_refused() {
    let Some(fixtures) = fixtures() else { return };
    let simulator = start().await;
    let text = |kib: usize| format!("{{\"s\": \"{}\"}}\n", "x".repeat(kib * 1024 - 40));
    let title = |kib: usize| format!("one document with a string of {kib} KiB less 40 bytes");
    let control = format!("{{\"s\": \"{}\"}}\n", "\\u0001".repeat(1_048_376));
    let array = format!("{{\"a\": [{}0.0]}}\n", "0.0, ".repeat(8192));
    let fields: Vec<String> = (0..1025).map(|n| format!("\"k{n}\": {n}")).collect();
    let mut player = Player::new(simulator.address(), KEY)
        .send_as("one document of nearly 1 MiB of U+0001 (6 JSON bytes each)", control)
        .send_as("array of 8193 elements", array)
        .send_as("1025 fields", format!("{{{}}}\n", fields.join(", ")));
    for kib in [900, 1000, 1023, 1024, 1025, 1100] {
        player = player.send_as(&title(kib), text(kib));
    }
    player.play_all(&read(&fixtures, "20")).await;
    player.finish();
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_misses_a_file_tries_for_ever() {
    let Some(fixtures) = fixtures() else { return };
    let simulator = start_small(&fixtures).await;
    simulator.set_fault(Fault::new(FaultKind::MissingFileHang));
    let mut player = Player::new(simulator.address(), KEY);
    player.play_all(&read(&fixtures, "21")).await;
    player.finish();
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_append_leaves_a_part_and_a_failed_replace_nothing() {
    let Some(fixtures) = fixtures() else { return };
    let simulator = start().await;
    let client = client(&simulator);
    let table = |mode: &str| json!({ "format": "jsonLines", "tableName": "t", "mode": mode });
    client.import(table("append"), b"{\"n\":0}\n").await;
    let first = client.query("_system/cli/tableData", first_page("t")).await;
    let id = first["page"][0]["_id"].as_str().unwrap().to_owned();
    let many = (0..20_000).map(|n| format!("{{\"n\":{n}}}\n")).collect::<Vec<String>>().concat();
    let duplicate = format!("{{\"_id\":\"{id}\"}}\n");
    let five = "{\"n\":1}\n".repeat(5);
    let zip =
        archive(&[("a1/documents.jsonl", five.as_bytes()), ("t/documents.jsonl", duplicate.as_bytes())]);
    let uploads = [
        (table("append"), format!("{many}{duplicate}").into_bytes(), 16_003.0),
        (json!({ "format": "zip", "mode": "append" }), zip, 16_003.0),
        (table("replace"), format!("{many}{{\"_id\":\"bad\"}}\n").into_bytes(), 16_003.0),
    ];
    let mut player = Player::new(simulator.address(), KEY);
    for (exchange, (arguments, bytes, left)) in read(&fixtures, "23").into_iter().zip(uploads) {
        let (import, _) = client.import(arguments, &bytes).await;
        player.bind(&import_id(&exchange), &import);
        player.play(&exchange).await;
        let size = client.query("_system/cli/tableSize", json!({ "tableName": "t" })).await;
        assert_eq!(size, json!(left), "{}", exchange.title);
        assert_eq!(client.query("_system/cli/tableSize", json!({ "tableName": "a1" })).await, json!(0.0));
    }
    player.finish();
    simulator.stop().await;
}

fn first_page(table: &str) -> serde_json::Value {
    json!({ "table": table, "order": "asc", "paginationOpts": { "cursor": null, "numItems": 10 } })
}

/// Streaming export is another way to copy a deployment, which nothing of this repository uses; the simulator answers
/// 404 there, as a server without it does.
const NOT_COVERED: &[(&str, &str)] = &[
    ("16", "list_snapshot belongs to the streaming export"),
    ("17", "document_deltas and the streaming import belong to the streaming export"),
    ("18", "data/sync belongs to the streaming export"),
    ("19", "selections belong to the streaming export"),
    ("24", "data/sync belongs to the streaming export"),
];

const PLAYED: &[&str] =
    &["01", "02", "03", "04", "05", "06", "07", "09", "10", "11", "12", "13", "15", "20", "21", "23"];

#[test]
fn every_recording_is_played_or_left_out_for_a_reason() {
    let Some(fixtures) = fixtures() else { return };
    for entry in fs::read_dir(fixtures.join("transcripts")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // The rest is what the official command line printed; `tests/official-cli` looks at that.
        if Path::new(&name).extension().is_some_and(|extension| extension == "http") {
            let is_played = PLAYED.iter().any(|number| name.starts_with(number));
            let is_left_out = NOT_COVERED.iter().any(|(number, _)| name.starts_with(number));
            assert!(is_played != is_left_out, "{name}");
        }
    }
}

/// Name, bytes and digest of an entry.
type Entry = (String, u64, String);

#[tokio::test(flavor = "multi_thread")]
async fn real_snapshots_come_back_entry_for_entry() {
    let Some(fixtures) = fixtures() else { return };
    for name in ["small", "limits", "empty"] {
        let simulator = start().await;
        let client = client(&simulator);
        let zip = fs::read(fixtures.join(format!("{name}.zip"))).unwrap();
        client.replace_all(&zip).await;
        let mut digests = Vec::new();
        for (entry, content) in entries_of(&client.export().await) {
            digests.push((entry, content.len() as u64, Sha256::of(&content).to_string()));
        }
        let expected = fs::read(fixtures.join(format!("{name}.expected.json"))).unwrap();
        let expected: serde_json::Value = serde_json::from_slice(&expected).unwrap();
        let mut announced: Vec<Entry> = expected["entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                let text = |field: &str| entry[field].as_str().unwrap().to_owned();
                (text("name"), entry["size"].as_u64().unwrap(), text("sha256"))
            })
            .collect();
        announced.sort();
        // The README is the simulator's own text of the same length.
        let same = |(ours, theirs): &(&Entry, &Entry)| {
            ours == theirs || ours.0 == "README.md" && (&ours.0, ours.1) == (&theirs.0, theirs.1)
        };
        let different: Vec<_> = digests.iter().zip(&announced).filter(|pair| !same(pair)).collect();
        assert!(different.is_empty() && digests.len() == announced.len(), "{name}: {different:?}");
        simulator.stop().await;
    }
}
