//! Documents found, followed, compared and handed over, as a person does it.

use std::collections::BTreeMap;

use convault_simulator::{DocumentId, Value};

use crate::support::{Ended, Setting};

/// The ids of a table, as they are live.
fn ids(setting: &Setting, component: &str, table: &str) -> Vec<DocumentId> {
    let database = setting.deployment.snapshot();
    let table = database.table(component, table).unwrap();
    table
        .documents
        .keys()
        .map(|internal| DocumentId { table_number: table.number, internal: *internal })
        .collect()
}

pub(crate) fn first_contact(setting: &Setting) -> DocumentId {
    ids(setting, "", "contacts")[0]
}

pub(crate) fn delete(setting: &Setting, id: DocumentId) {
    setting.deployment.change(|data| data.delete("", "contacts", id)).unwrap();
}

pub(crate) fn set_stage(setting: &Setting, id: DocumentId, stage: &str) {
    let fields = BTreeMap::from([("stage".to_owned(), Value::from(stage))]);
    setting.deployment.change(|data| data.patch("", "contacts", id, fields.into_iter().collect())).unwrap();
}

/// The line of a document in the stored table.
pub(crate) async fn stored_line(setting: &Setting, snapshot: &str, table: &str, id: DocumentId) -> String {
    let table = setting.run(&["download", snapshot, "--entry", table, "-o", "-"]).await;
    let id = format!("\"_id\":\"{id}\"");
    let line = table.stdout.lines().find(|line| line.contains(&id));
    line.unwrap_or_else(|| panic!("{id} is not there")).to_owned()
}

fn json_lines(ended: &Ended) -> Vec<serde_json::Value> {
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_document_is_found_in_the_snapshots_that_have_it() {
    let setting = Setting::new(&[]).await;
    let id = first_contact(&setting);
    let first = setting.back_up(0).await;
    let line = stored_line(&setting, &first, "contacts", id).await;
    delete(&setting, id);
    for _ in 0..2 {
        setting.back_up(0).await;
    }
    let id = id.to_string();
    let newest = setting.run(&["find", "latest", "--id", &id]).await;
    assert_eq!(newest.code, Some(6), "{newest:?}");
    let all = setting.run(&["find", "--all", "--id", &id]).await;
    assert_eq!(all.code, Some(0), "{all:?}");
    assert_eq!(all.stdout, format!("{line}\n"), "the bytes that were stored");
    assert!(all.stderr.contains("1 found in contacts"), "{all:?}");
    let told = json_lines(&setting.run(&["--json", "find", &first, "--id", &id]).await);
    assert_eq!((&told[0]["table"], &told[0]["document"]["_id"]), (&"contacts".into(), &id.as_str().into()));
    assert!(
        told[1]["read_bytes"].as_u64() > Some(0) && told[1]["stored_bytes"].as_u64() > Some(0),
        "{told:?}"
    );
    let no_id = setting.run(&["find", "latest", "--id", "not-an-id"]).await;
    assert_eq!(no_id.code, Some(6), "{no_id:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_found_by_field_text_and_component() {
    let setting = Setting::new(&[]).await;
    setting.back_up(0).await;
    let find = async |arguments: &[&str]| setting.run(&[&["find", "latest"], arguments].concat()).await;
    let by_field = find(&["--table", "waitlist/entries", "--field", "email=waiting3@example.org"]).await;
    assert_eq!((by_field.code, by_field.stdout.lines().count()), (Some(0), 1), "{by_field:?}");
    assert!(by_field.stdout.contains("\"place\":3"), "{by_field:?}");
    let by_text = find(&["--table", "messages", "--text", "INVOICE once"]).await;
    assert!(by_text.stdout.lines().count() > 0, "{by_text:?}");
    assert!(by_text.stdout.lines().all(|line| line.contains("invoice once more")), "{by_text:?}");
    assert!(by_text.stderr.contains("read "), "{by_text:?}");
    let of_component = ids(&setting, "waitlist", "entries")[0].to_string();
    let by_id = find(&["--id", &of_component]).await;
    assert!(by_id.stdout.contains(&of_component) && by_id.stderr.contains("waitlist/entries"), "{by_id:?}");
    let without_table = find(&["--text", "invoice"]).await;
    assert!(without_table.code == Some(1) && without_table.stderr.contains("--table"), "{without_table:?}");
    let no_table = find(&["--table", "contcts", "--text", "x"]).await;
    assert_eq!(no_table.code, Some(6), "{no_table:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_a_document_is_told_over_all_snapshots() {
    let setting = Setting::new(&[]).await;
    let id = first_contact(&setting);
    setting.back_up(0).await;
    set_stage(&setting, id, "won");
    setting.back_up(0).await;
    setting.back_up(0).await;
    delete(&setting, id);
    setting.back_up(0).await;
    let id = id.to_string();
    let told = setting.run(&["history", "contacts", &id]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    let words: Vec<&str> = told.stdout.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(words.len(), 3, "{told:?}");
    assert!(
        words[0].ends_with("appeared") && words[1].ends_with("changed") && words[2].ends_with("vanished")
    );
    assert!(told.stdout.contains("→ \"won\""), "{told:?}");
    let values = json_lines(&setting.run(&["--json", "history", "contacts", &id]).await);
    assert_eq!(values[1]["changes"][0]["field"], "stage");
    assert_eq!(values[1]["changes"][0]["after"], "\"won\"");
    let nobody = setting.run(&["history", "conversations", &id]).await;
    assert_eq!(nobody.code, Some(6), "{nobody:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_snapshots_are_compared_and_equal_tables_are_not_read() {
    let setting = Setting::new(&[]).await;
    let contacts = ids(&setting, "", "contacts");
    let first = setting.back_up(0).await;
    let same = setting.run(&["diff", &first, "latest"]).await;
    assert!(same.code == Some(0) && same.stdout.contains("no document differs"), "{same:?}");
    delete(&setting, contacts[0]);
    set_stage(&setting, contacts[1], "won");
    let new = BTreeMap::from([("name".to_owned(), Value::from("New"))]);
    let new = setting.deployment.change(|data| data.insert("", "contacts", new.into_iter().collect(), 1.0));
    let second = setting.back_up(0).await;
    let diff = setting.run(&["diff", &first, &second]).await;
    assert_eq!(diff.code, Some(0), "{diff:?}");
    let lines: Vec<&str> = diff.stdout.lines().collect();
    let has = |sign: &str, id: DocumentId| {
        lines.iter().any(|line| line.starts_with(sign) && line.contains(&id.to_string()))
    };
    assert!(has("+ contacts", new) && has("- contacts", contacts[0]) && has("~ contacts", contacts[1]));
    let values = json_lines(&setting.run(&["--json", "diff", &first, &second, "--summary"]).await);
    let of = |table: &str| values.iter().find(|value| value["table"] == table).unwrap();
    let numbers = ["added", "removed", "changed"].map(|key| of("contacts")[key].as_u64().unwrap());
    assert_eq!(numbers, [1, 1, 1]);
    assert_eq!((&of("messages")["was_read"], &of("contacts")["was_read"]), (&false.into(), &true.into()));
    let unknown = setting.run(&["diff", &first, &second, "--table", "nothing"]).await;
    assert_eq!(unknown.code, Some(6), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_lines_are_handed_over_byte_for_byte() {
    let setting = Setting::new(&[]).await;
    let id = setting.back_up(0).await;
    for table in ["contacts", "everyType", "waitlist/entries"] {
        let stored = setting.run(&["download", &id, "--entry", table, "-o", "-"]).await;
        let name = format!("{}.jsonl", table.replace('/', "."));
        let done = setting.run(&["export", &id, "--table", table, "--format", "jsonl", "-o", &name]).await;
        assert_eq!((stored.code, done.code), (Some(0), Some(0)), "{stored:?} {done:?}");
        assert_eq!(std::fs::read_to_string(setting.path(&name)).unwrap(), stored.stdout, "{table}");
    }
    let again = setting
        .run(&["export", &id, "--table", "contacts", "--format", "jsonl", "-o", "contacts.jsonl"])
        .await;
    assert!(again.code == Some(1) && again.stderr.contains("left alone"), "{again:?}");
    let all =
        setting.json(&["export", &id, "--format", "jsonl", "-o", "everything", "--files", "files"]).await;
    let folder = setting.path("everything");
    for name in ["contacts.jsonl", "waitlist.entries.jsonl", "_storage.jsonl", "archivedContacts.jsonl"] {
        assert!(folder.join(name).exists(), "{name}: {all}");
    }
    let files = setting.deployment.snapshot().component("").unwrap().files().len();
    assert_eq!(all["files"]["files"], files);
    assert_eq!(std::fs::read_dir(setting.path("files").join("_storage")).unwrap().count(), files);
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_and_sqlite_have_every_document_and_its_types() {
    let setting = Setting::new(&[]).await;
    let id = setting.back_up(0).await;
    let csv = setting.run(&["export", &id, "--format", "csv", "-o", "csv"]).await;
    assert_eq!(csv.code, Some(0), "{csv:?}");
    let contacts = std::fs::read_to_string(setting.path("csv").join("contacts.csv")).unwrap();
    let heading = contacts.lines().next().unwrap();
    assert!(heading.starts_with("_id,_creationTime,address.city,address.zip,"), "{heading}");
    let note = std::fs::read(setting.path("csv").join("contacts.columns.json")).unwrap();
    let note: serde_json::Value = serde_json::from_slice(&note).unwrap();
    assert_eq!(note["documents"], ids(&setting, "", "contacts").len());

    let sqlite = setting.run(&["export", &id, "--format", "sqlite", "-o", "data.sqlite"]).await;
    assert_eq!(sqlite.code, Some(0), "{sqlite:?}");
    let database = rusqlite::Connection::open(setting.path("data.sqlite")).unwrap();
    for (component, table) in [("", "contacts"), ("", "everyType"), ("waitlist", "entries")] {
        let name = if component.is_empty() { table.to_owned() } else { format!("{component}/{table}") };
        let mut lines = database.prepare(&format!("SELECT _line FROM \"{name}\" ORDER BY rowid")).unwrap();
        let lines: Vec<String> = lines.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let stored = setting.run(&["download", &id, "--entry", &name, "-o", "-"]).await;
        assert_eq!(lines.join("\n") + "\n", stored.stdout, "{name}");
    }
    let query = [
        "export",
        &id,
        "--table",
        "contacts",
        "--field",
        "address.city=Porto",
        "--format",
        "csv",
        "-o",
        "porto.csv",
    ];
    let some = setting.run(&query).await;
    let rows = std::fs::read_to_string(setting.path("porto.csv")).unwrap();
    assert!(
        some.code == Some(0) && rows.lines().skip(1).all(|row| row.contains("\"Porto\"")),
        "{some:?} {rows}"
    );
    assert!(setting.path("porto.csv.columns.json").exists());
}
