//! Verbs without a daemon.

use crate::support::{KEY, Setting, files_below};

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_can_be_listed_verified_and_downloaded() {
    let setting = Setting::new(&[]).await;
    let backup = setting.run(&["backup", "nightly", "--tag", "before-release"]).await;
    assert_eq!(backup.code, Some(0), "{backup:?}");
    assert!(backup.stderr.contains("running in this process"), "{backup:?}");

    let list = setting.json(&["list"]).await;
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list[0]["state"], "good");
    assert_eq!(list[0]["tags"][0], "before-release");
    assert_eq!(setting.run(&["verify"]).await.code, Some(0));
    assert_eq!(setting.run(&["verify", "--read-data"]).await.code, Some(0));
    let id = list[0]["id"].as_str().unwrap();
    let shown = setting.run(&["show", id]).await;
    assert!(shown.stdout.contains("contacts"), "{shown:?}");

    let download = setting.run(&["download", "latest", "--output", "out.zip"]).await;
    assert_eq!(download.code, Some(0), "{download:?}");
    let again = setting.run(&["download", "latest", "--output", "out.zip"]).await;
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains("out.zip"), "{again:?}");
    let piped = setting.command(&["download", "latest", "--output", "-"]).output().unwrap();
    assert_eq!(piped.stdout, std::fs::read(setting.path("out.zip")).unwrap());
    let left: Vec<_> = files_below(setting.folder.path())
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("partial"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_and_never_handed_out() {
    let setting = Setting::new(&[]).await;
    assert_eq!(setting.run(&["backup", "nightly"]).await.code, Some(0));
    let shelf = files_below(&setting.path("shelf"));
    let zip = shelf.iter().find(|path| path.extension().is_some_and(|end| end == "zip")).unwrap();
    let mut bytes = std::fs::read(zip).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(zip, bytes).unwrap();
    let list = setting.json(&["list"]).await;
    let id = list[0]["id"].as_str().unwrap();
    let verify = setting.run(&["verify", "--read-data"]).await;
    assert_eq!(verify.code, Some(5), "{verify:?}");
    assert_eq!(setting.json(&["list"]).await[0]["state"], "damaged");
    let download = setting.run(&["download", id, "--output", "out.zip"]).await;
    assert_eq!(download.code, Some(5), "{download:?}");
    assert!(!setting.path("out.zip").exists());
    let latest = setting.run(&["download", "latest", "--output", "out.zip"]).await;
    assert_eq!(latest.code, Some(6), "{latest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_what_happened() {
    let setting = Setting::new(&[]).await;
    assert_eq!(setting.run(&["backup", "weekly"]).await.code, Some(6));
    assert_eq!(setting.run(&["list", "--nonsense"]).await.code, Some(2));
    assert_eq!(setting.run(&["show", "20261122T030056Z-700000"]).await.code, Some(6));
    assert_eq!(setting.run(&["verify"]).await.code, Some(6));
    assert_eq!(setting.run(&["status"]).await.code, Some(69));
    assert_eq!(setting.run(&["check"]).await.code, Some(0));

    std::fs::write(setting.path("in-the-way"), "a file").unwrap();
    setting.write_settings(&["shelf", "in-the-way"], "");
    let partial = setting.run(&["backup", "nightly"]).await;
    assert_eq!(partial.code, Some(3), "{partial:?}");
    assert!(partial.stdout.contains("in-the-way"), "{partial:?}");

    setting.write_settings(&["shelf"], "encrypt_to = [\"age1\"]\nfiles = \"sharde\"\nscheduel = \"x\"");
    let wrong = setting.run(&["check"]).await;
    assert_eq!(wrong.code, Some(78), "{wrong:?}");
    for word in ["encrypt_to", "sharde", "scheduel"] {
        assert!(wrong.stderr.contains(word), "{word} is not named: {wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_on_the_deployment_is_stored_as_suspect_and_said_by_the_exit_code() {
    let setting = Setting::new(&["damaged-file"]).await;
    let backup = setting.run(&["backup", "nightly"]).await;
    assert_eq!(backup.code, Some(4), "{backup:?}");
    let list = setting.json(&["list"]).await;
    assert_eq!(list[0]["state"], "suspect", "{list}");
    assert_eq!(
        setting.run(&["download", "latest"]).await.code,
        Some(6),
        "a suspect snapshot is not the latest good"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_is_said_with_its_remedy_and_never_shown() {
    let setting = Setting::new(&["bad-key"]).await;
    let backup = setting.run(&["-vv", "backup", "nightly"]).await;
    assert_eq!(backup.code, Some(1), "{backup:?}");
    assert!(backup.stdout.contains("key"), "{backup:?}");
    let check = setting.run(&["check"]).await;
    for text in [&backup.stdout, &backup.stderr, &check.stdout, &check.stderr] {
        assert!(!text.contains(KEY) && !text.contains("5ec2e7"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_prune_removes_nothing_and_a_real_one_keeps_the_floor() {
    let setting = Setting::new(&[]).await;
    setting.write_settings(&["shelf"], "");
    for _ in 0..3 {
        assert_eq!(setting.run(&["backup", "nightly"]).await.code, Some(0));
    }
    setting.write_settings(&["shelf"], "keep = { last = 1, at_least_verified = 2 }");
    let plan = setting.json(&["prune", "nightly", "--dry-run"]).await;
    let kept = |plan: &serde_json::Value| {
        plan[0]["decisions"].as_array().unwrap().iter().filter(|one| one["keep"] == true).count()
    };
    assert_eq!(kept(&plan), 2, "{plan}");
    assert_eq!(setting.json(&["list"]).await.as_array().unwrap().len(), 3);
    let prune = setting.run(&["prune", "nightly"]).await;
    assert_eq!(prune.code, Some(0), "{prune:?}");
    assert_eq!(setting.json(&["list"]).await.as_array().unwrap().len(), 2);
    assert_eq!(setting.run(&["verify", "--read-data"]).await.code, Some(0));
}
