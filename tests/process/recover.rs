//! Single documents, fields and stored files brought back, as a person does it.

use convault_simulator::DocumentId;

use crate::{
    look::{delete, first_contact, set_stage, stored_line},
    support::Setting,
};

const BACK: [&str; 5] = ["--to", "crm", "--replace", "crm", "--yes"];

/// What the deployment has of a contact now, by a new snapshot.
async fn live_line(setting: &Setting, id: DocumentId) -> Option<String> {
    let newest = setting.back_up(0).await;
    let found = setting.run(&["find", &newest, "--id", &id.to_string()]).await;
    (found.code == Some(0)).then(|| found.stdout.trim_end().to_owned())
}

fn imports(setting: &Setting) -> u64 {
    setting.deployment.counters().writes.imports
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_fields_and_files_are_recovered_into_files_that_can_be_looked_at() {
    let setting = Setting::new(&[]).await;
    let id = first_contact(&setting);
    let snapshot = setting.back_up(0).await;
    let line = stored_line(&setting, &snapshot, "contacts", id).await;
    delete(&setting, id);
    let text = id.to_string();
    let done = setting.run(&["recover", &snapshot, "--id", &text, "--to-file", "contact.jsonl"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(std::fs::read_to_string(setting.path("contact.jsonl")).unwrap(), format!("{line}\n"));
    let fields = ["recover", &snapshot, "--id", &text, "--fields", "address.city", "--to-file", "city.jsonl"];
    let done = setting.run(&fields).await;
    let city = std::fs::read_to_string(setting.path("city.jsonl")).unwrap();
    assert!(
        done.code == Some(0) && city.starts_with("{\"_id\":\"") && city.contains("\"address\":{\"city\":"),
        "{city}"
    );
    assert!(!city.contains("_creationTime"), "{city}");
    let file = setting.deployment.snapshot().component("").unwrap().files().values().next().unwrap().clone();
    let recovered =
        setting.json(&["recover", &snapshot, "--file", &file.id.to_string(), "--to-file", "files"]).await;
    assert_eq!(recovered["files"], 1, "{recovered}");
    let stored = std::fs::read_dir(setting.path("files").join("_storage")).unwrap().next().unwrap().unwrap();
    let sha256 = convault_core::Sha256::of(&std::fs::read(stored.path()).unwrap());
    assert_eq!(sha256, file.sha256);
    let nothing = setting.run(&["recover", &snapshot, "--id", "x", "--to-file", "no"]).await;
    assert!(nothing.code == Some(6) && !setting.path("no").exists(), "{nothing:?}");
    assert_eq!(imports(&setting), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_document_comes_back_by_a_rewrite_of_its_table() {
    let setting = Setting::new(&[]).await;
    let id = first_contact(&setting);
    let first = setting.back_up(0).await;
    delete(&setting, id);
    let text = id.to_string();
    let unsaid = setting.run(&["recover", &first, "--id", &text, "--to", "crm", "--yes"]).await;
    assert!(unsaid.code == Some(9) && unsaid.stderr.contains("--replace crm"), "{unsaid:?}");
    let dry = setting.run(&[&["recover", &first, "--id", &text, "--dry-run"], &BACK[..]].concat()).await;
    assert!(dry.code == Some(0) && dry.stdout.contains("1 of contacts"), "{dry:?}");
    assert_eq!(imports(&setting), 0);
    let done = setting.run(&[&["recover", &first, "--id", &text], &BACK[..]].concat()).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.stdout.contains("1 added, 0 changed") && done.stdout.contains("replaced by itself"),
        "{done:?}"
    );
    assert!(done.stdout.contains("convault") && done.stdout.contains(" restore "), "{done:?}");
    let newest = setting.back_up(0).await;
    let diff = setting.run(&["diff", &first, &newest]).await;
    assert!(diff.stdout.contains("no document differs"), "{diff:?}");
    let again = setting.run(&[&["recover", &first, "--id", &text], &BACK[..]].concat()).await;
    assert!(again.code == Some(0) && again.stdout.contains("nothing had to be done"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_a_document_come_back_and_the_rest_of_it_stays() {
    let setting = Setting::new(&[]).await;
    let id = first_contact(&setting);
    let first = setting.back_up(0).await;
    let before = stored_line(&setting, &first, "contacts", id).await;
    set_stage(&setting, id, "lost by mistake");
    let text = id.to_string();
    let done = setting
        .run(&[&["recover", &first, "--id", &text, "--fields", "stage", "--pause"], &BACK[..]].concat())
        .await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.contains("0 added, 1 changed"), "{done:?}");
    assert_eq!(live_line(&setting, id).await.as_ref(), Some(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_was_never_deleted_there_is_appended_and_nothing_else_is_touched() {
    let source = Setting::new(&[]).await;
    let id = first_contact(&source);
    let first = source.back_up(0).await;
    let line = stored_line(&source, &first, "contacts", id).await;
    // As if the document's deletion were past the deployment's memory.
    source.deployment.change(|data| {
        data.delete("", "contacts", id).unwrap();
        data.component_mut("").unwrap().table_mut("contacts").unwrap().deleted.clear();
    });
    let done = source.run(&[&["recover", &first, "--id", &id.to_string()], &BACK[..]].concat()).await;
    assert!(done.code == Some(0) && done.stdout.contains("added to what was there"), "{done:?}");
    assert_eq!(live_line(&source, id).await.as_ref(), Some(&line));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_file_comes_back_with_its_id_and_its_address() {
    let setting = Setting::new(&[]).await;
    let first = setting.back_up(0).await;
    let file = setting.deployment.snapshot().component("").unwrap().files().values().next().unwrap().clone();
    setting.deployment.change(|data| data.component_mut("").unwrap().remove_file(file.id));
    let done = setting.run(&[&["recover", &first, "--file", &file.id.to_string()], &BACK[..]].concat()).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let back = setting.deployment.snapshot().component("").unwrap().files().get(&file.id).cloned();
    let back = back.unwrap();
    assert_eq!((back.internal_id, back.sha256), (file.internal_id, file.sha256));
}
