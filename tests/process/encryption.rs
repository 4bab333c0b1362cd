//! Encryption as a person uses it: keys, a backup, reading it, looking after it.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use crate::support::Setting;

/// Makes keys in the setting's folder; gives the public ones of `anna` and `boris`.
async fn keys(setting: &Setting) -> [String; 2] {
    let names = setting.run(&["keygen", "names", "-o", "names-key"]).await;
    assert_eq!(names.code, Some(0), "{names:?}");
    let mut public = Vec::new();
    for name in ["anna", "boris"] {
        let made = setting.run(&["keygen", "encryption", "-o", name]).await;
        assert_eq!(made.code, Some(0), "{made:?}");
        assert!(made.stderr.contains("Print it") && !made.stderr.contains("AGE-SECRET-KEY-1Q"), "{made:?}");
        let permissions = std::fs::metadata(setting.path(name)).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, 0o600);
        public.push(made.stdout.trim().to_owned());
    }
    let again = setting.run(&["keygen", "encryption", "-o", "anna"]).await;
    assert_eq!(again.code, Some(1), "a key is never written over: {again:?}");
    public.try_into().unwrap()
}

/// One destination, `shelf`, encrypted to these.
fn write_settings(setting: &Setting, recipients: &[&str]) {
    let folder = setting.folder.path().display();
    let sections = format!(
        "[encryption]\nnames_key = {{ file = \"names-key\" }}\n[[destination]]\nname = \"shelf\"\n\
         directory = \"{folder}/shelf\"\nencrypt_to = {recipients:?}\n"
    );
    setting.write_all_settings(&["shelf"], "", &sections, "");
}

fn find(folder: &Path, ending: &str) -> std::path::PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().ends_with(ending) {
                return path;
            }
        }
    }
    panic!("there is no file that ends in {ending}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_encrypted_is_read_with_an_identity_and_looked_after_without_one() {
    let setting = Setting::new(&[]).await;
    let [anna, boris] = keys(&setting).await;
    write_settings(&setting, &[&anna, &boris]);
    let check = setting.run(&["check"]).await;
    assert!(
        check.code == Some(0) && check.stdout.contains(&anna) && check.stdout.contains(&boris),
        "{check:?}"
    );
    setting.back_up(0).await;
    assert_eq!(setting.run(&["verify", "--read-data"]).await.code, Some(0));
    let show = setting.run(&["show", "latest"]).await;
    assert!(show.stdout.contains(&anna), "{show:?}");

    let closed = setting.run(&["download", "latest", "-o", "x.zip"]).await;
    assert_eq!(closed.code, Some(1), "{closed:?}");
    assert!(closed.stderr.contains(&anna) && closed.stderr.contains("--identity"), "{closed:?}");
    assert!(!setting.path("x.zip").exists());
    let with = |name: &'static str| ["download", "latest", "--identity", name, "-o"];
    for (reader, file) in [("anna", "a.zip"), ("boris", "b.zip")] {
        let given = setting.run(&[&with(reader)[..], &[file]].concat()).await;
        assert_eq!(given.code, Some(0), "{given:?}");
    }
    let zip = std::fs::read(setting.path("a.zip")).unwrap();
    assert_eq!(zip, std::fs::read(setting.path("b.zip")).unwrap());
    assert!(zip::ZipArchive::new(std::io::Cursor::new(zip)).unwrap().len() > 10);
    let entry =
        setting.run(&["download", "latest", "--identity", "anna", "--entry", "contacts", "-o", "-"]).await;
    assert!(entry.stdout.lines().count() > 10 && entry.stdout.starts_with('{'), "{entry:?}");
    let none = setting.run(&["download", "latest", "--identity", "anna", "--entry", "nobody"]).await;
    assert_eq!(none.code, Some(6), "{none:?}");
    let stored = setting.run(&["download", "latest", "--encrypted", "-o", "c.age"]).await;
    assert_eq!(stored.code, Some(0), "{stored:?}");
    let stored = std::fs::read(setting.path("c.age")).unwrap();
    assert!(stored.starts_with(b"age-encryption.org/v1\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_what_is_wrong_and_whether_last_nights_backup_opens() {
    let setting = Setting::new(&[]).await;
    let [anna, boris] = keys(&setting).await;
    write_settings(&setting, &[&anna, &boris]);
    let before = setting.run(&["doctor"]).await;
    assert_eq!(before.code, Some(1), "{before:?}");
    assert!(before.stdout.contains("WRONG  job nightly, shelf: there is no good snapshot"), "{before:?}");
    setting.back_up(0).await;
    for arguments in
        [&["doctor"][..], &["doctor", "--identity", "anna"], &["doctor", "--identity", "boris", "--full"]]
    {
        let doctor = setting.run(arguments).await;
        assert_eq!(doctor.code, Some(0), "{doctor:?}");
        assert!(!doctor.stdout.contains("WRONG"), "{doctor:?}");
        assert_eq!(doctor.stdout.contains("the copy there opens"), arguments.len() > 1, "{doctor:?}");
    }
    let found = setting.json(&["doctor", "--identity", "anna"]).await;
    assert!(found.as_array().unwrap().iter().all(|finding| finding["ok"] == true), "{found}");

    let stranger = setting.run(&["keygen", "encryption", "-o", "stranger"]).await;
    assert_eq!(stranger.code, Some(0));
    let doctor = setting.run(&["doctor", "--identity", "stranger"]).await;
    assert_eq!(doctor.code, Some(1), "{doctor:?}");
    assert!(doctor.stdout.contains("encrypted to other recipients"), "{doctor:?}");

    let index = find(&setting.path("shelf"), "index.jsonl.zst.age");
    let mut bytes = std::fs::read(&index).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::set_permissions(&index, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&index, bytes).unwrap();
    let doctor = setting.run(&["doctor", "--identity", "anna"]).await;
    assert_eq!(doctor.code, Some(5), "{doctor:?}");
    let mut command = setting.command(&["doctor"]);
    command.env("DEPLOY_KEY", "simulated|another");
    let doctor = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8(doctor.stdout).unwrap();
    assert!(doctor.status.code() == Some(1) && said.contains("WRONG  deployment crm"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn recipients_are_replaced_and_wrong_ones_are_told_with_their_place() {
    let setting = Setting::new(&[]).await;
    let [anna, boris] = keys(&setting).await;
    write_settings(&setting, &[&anna, &boris]);
    let old = setting.back_up(0).await;
    let nothing = setting.run(&["reencrypt", "--all", "--to", "shelf", "--identity", "anna"]).await;
    assert_eq!(nothing.code, Some(0), "{nothing:?}");
    let clara = setting.run(&["keygen", "encryption", "-o", "clara"]).await.stdout.trim().to_owned();
    write_settings(&setting, &[&boris, &clara]);
    let without = setting.run(&["reencrypt", &old, "--to", "shelf"]).await;
    assert!(without.code == Some(1) && without.stderr.contains("takes an identity"), "{without:?}");
    let done = setting.json(&["reencrypt", "--all", "--to", "shelf", "--identity", "boris"]).await;
    assert_eq!((&done[0]["snapshot"], &done[0]["old"]), (&old.into(), &"removed".into()), "{done}");
    let clara = setting.run(&["download", "latest", "--identity", "clara", "-o", "c.zip"]).await;
    assert_eq!(clara.code, Some(0), "{clara:?}");
    let anna_now = setting.run(&["download", "latest", "--identity", "anna", "-o", "a.zip"]).await;
    assert_eq!(anna_now.code, Some(1), "{anna_now:?}");

    let slip = anna.replace(&anna[10..14], "qqqq");
    write_settings(&setting, &[&slip, &boris]);
    for arguments in [["check"].as_slice(), &["list"]] {
        let wrong = setting.run(arguments).await;
        assert_eq!(wrong.code, Some(78), "{wrong:?}");
        assert!(
            wrong.stderr.contains("convault.toml:") && wrong.stderr.contains("shelf.encrypt_to"),
            "{wrong:?}"
        );
    }
}
