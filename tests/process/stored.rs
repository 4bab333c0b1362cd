//! What earlier versions stored, read with today's program.

use std::path::Path;

use crate::support::Setting;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures");
/// The contact that the ledger of the sealed repository says is to be forgotten.
const FORGOTTEN: &str = "j570hj1bc56s0aparzmg8cap2s8hdh2z";

fn copy(from: &Path, to: &Path) {
    assert!(std::process::Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
}

/// The destination `shelf`, encrypted to `recipient`, with everything that is stored beside a snapshot.
fn seal(setting: &Setting, recipient: &str, signing: &str) {
    let folder = setting.folder.path().display();
    let sections = format!(
        "[signing]\n{signing}\n[encryption]\nnames_key = {{ file = \"names-key\" }}\n\
         identity = {{ file = \"identity\" }}\n[[destination]]\nname = \"shelf\"\n\
         directory = \"{folder}/shelf\"\nencrypt_to = [\"{recipient}\"]\n"
    );
    let job = "files = \"shared\"\nsurroundings = [\"environment\", \"scheduled-functions\"]";
    setting.write_all_settings(&["shelf"], "", &sections, job);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stored_format_version_is_still_read() {
    let setting = Setting::new(&[]).await;
    std::fs::remove_dir_all(setting.path("shelf")).unwrap();
    copy(&Path::new(FIXTURES).join("format-1"), &setting.path("shelf"));
    let verify = setting.run(&["verify", "--read-data"]).await;
    assert_eq!(verify.code, Some(0), "{verify:?}");
    let list = setting.json(&["list"]).await;
    assert_eq!(list[0]["documents"], 962, "{list}");
    let download = setting.run(&["download", "latest", "--output", "whole.zip"]).await;
    assert_eq!(download.code, Some(0), "{download:?}");
    let prune = setting.json(&["prune", "nightly", "--dry-run"]).await;
    assert_eq!(prune[0]["decisions"][0]["keep"], true, "{prune}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_encrypted_signed_and_shared_is_still_read() {
    let setting = Setting::new(&[]).await;
    let stored = Path::new(FIXTURES).join("format-1-sealed");
    std::fs::remove_dir_all(setting.path("shelf")).unwrap();
    copy(&stored.join("repository"), &setting.path("shelf"));
    for key in ["identity", "names-key"] {
        copy(&stored.join(key), &setting.path(key));
        let allowed = std::process::Command::new("chmod").arg("600").arg(setting.path(key)).status();
        assert!(allowed.unwrap().success());
    }
    let text = |name: &str| std::fs::read_to_string(stored.join(name)).unwrap().trim().to_owned();
    seal(&setting, &text("recipient"), &format!("trusted_keys = [\"{}\"]", text("signer")));
    let done = async |arguments: &[&str]| {
        let ended = setting.run(arguments).await;
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
        ended.stdout
    };
    done(&["verify", "--read-data", "--no-proof"]).await;
    let list = setting.json(&["list"]).await;
    assert_eq!(list.as_array().unwrap().len(), 2, "{list}");
    assert_eq!((&list[0]["documents"], &list[0]["state"]), (&927.into(), &"good".into()), "{list}");

    done(&["download", "latest", "--output", "whole.zip"]).await;
    let mut zip = zip::ZipArchive::new(std::fs::File::open(setting.path("whole.zip")).unwrap()).unwrap();
    let contacts = std::io::read_to_string(zip.by_name("contacts/documents.jsonl").unwrap()).unwrap();
    assert!(!contacts.contains(FORGOTTEN), "the ledger holds");
    let files = zip.file_names().filter(|name| name.as_ref().unwrap().contains("_storage/kg")).count();
    assert_eq!(files, 90, "of all components");
    let given = done(&["download", "latest", "--include-erased", "--entry", "contacts", "-o", "-"]).await;
    assert_eq!(given.lines().count(), contacts.lines().count() + 1);
    assert!(given.contains(FORGOTTEN));

    assert!(done(&["secrets", "list"]).await.contains("environment/"));
    assert!(done(&["erase", "--list"]).await.contains("she asked"));
    assert!(done(&["show", "latest"]).await.contains("held"), "a mark is read");
}
