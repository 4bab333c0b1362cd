//! Looking after what is stored: accept, hold, prune with care, repair, verify tasks.

use std::time::Duration;

use serde_json::Value;

use crate::support::{RunningDaemon, Setting, files_below};

/// Most of a table goes, as when somebody runs the wrong script.
fn shrink(setting: &Setting) {
    setting.deployment.change(|data| {
        let largest =
            data.component("").unwrap().tables().max_by_key(|(_, table)| table.documents.len()).map(
                |(name, table)| {
                    let number = table.number;
                    let ids: Vec<_> = table.documents.keys().skip(2).copied().collect();
                    (name.to_owned(), number, ids)
                },
            );
        let (name, number, ids) = largest.unwrap();
        for internal in ids {
            data.delete("", &name, convault_simulator::DocumentId { table_number: number, internal })
                .unwrap();
        }
    });
}

fn states(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shrunken_export_freezes_pruning_until_it_is_accepted() {
    let setting = Setting::new(&[]).await;
    setting.write_settings(&["shelf"], "keep = { last = 1, at_least_verified = 1 }");
    let good = setting.back_up(0).await;
    shrink(&setting);
    let suspect = setting.back_up(4).await;
    assert_eq!(states(&setting.json(&["list"]).await), ["good", "suspect"]);
    let plan = setting.json(&["prune", "nightly", "--dry-run"]).await;
    assert_eq!(plan[0]["frozen"], true, "{plan}");
    let prune = setting.run(&["prune", "nightly"]).await;
    assert_eq!(prune.code, Some(0), "{prune:?}");
    assert_eq!(states(&setting.json(&["list"]).await), ["good", "suspect"]);

    let accept = setting.run(&["accept", &suspect, "--reason", "the old contacts were archived"]).await;
    assert_eq!(accept.code, Some(0), "{accept:?}");
    let list = setting.json(&["list"]).await;
    assert_eq!(states(&list), ["good", "good"], "{list}");
    assert_eq!(list[1]["marks"][0]["reason"], "the old contacts were archived", "{list}");
    assert!(setting.run(&["list"]).await.stdout.contains("good, accepted"));
    assert!(setting.run(&["show", &suspect]).await.stdout.contains("the old contacts were archived"));
    assert_eq!(setting.run(&["accept", &suspect]).await.code, Some(1));
    assert_eq!(setting.run(&["accept", "20261122T030056Z-700000"]).await.code, Some(6));
    assert_eq!(setting.run(&["prune", "nightly"]).await.code, Some(0));
    let left = setting.json(&["list"]).await;
    assert_eq!(left[0]["id"], suspect.as_str(), "{good} is not the newest any more: {left}");
}

/// What the destination holds by the daemon's status, once it is so: after a run, the daemon looks a moment later.
async fn holding(setting: &Setting, is_so: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..3000 {
        let status = setting.json(&["status"]).await;
        let holding = &status["destinations"][0]["holdings"]["crm"];
        if is_so(holding) {
            return holding.clone();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it never was so: {}", setting.json(&["status"]).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_daemon_a_mark_goes_through_it_and_its_status_changes() {
    let setting = Setting::new(&[]).await;
    let daemon = RunningDaemon::start(&setting).await;
    setting.back_up(0).await;
    shrink(&setting);
    let suspect = setting.back_up(4).await;
    let frozen = holding(&setting, |holding| holding["frozen_since"].is_string()).await;
    assert_eq!(frozen["states"]["suspect"], 1, "{frozen}");
    assert!(setting.run(&["status"]).await.stdout.contains("frozen since"));
    let accept = setting.run(&["accept", &suspect]).await;
    assert_eq!(accept.code, Some(0), "{accept:?}");
    assert!(!accept.stderr.contains("in this process"), "{accept:?}");
    let thawed = holding(&setting, |holding| holding["frozen_since"].is_null()).await;
    assert_eq!(thawed["states"]["good"], 2, "{thawed}");
    let repair = setting.run(&["repair", "nightly"]).await;
    assert_eq!(repair.code, Some(0), "{repair:?}");
    daemon.signal("TERM");
    assert_eq!(daemon.end().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_stays_until_it_is_released() {
    let setting = Setting::new(&[]).await;
    let audited = setting.back_up(0).await;
    for _ in 0..2 {
        setting.back_up(0).await;
    }
    setting.write_settings(&["shelf"], "keep = { last = 1, at_least_verified = 1 }");
    let hold = setting.run(&["hold", &audited, "--until", "2999-01-01", "--reason", "the audit"]).await;
    assert_eq!(hold.code, Some(0), "{hold:?}");
    let plan = setting.run(&["prune", "nightly", "--dry-run"]).await;
    assert!(plan.stdout.contains("held until 2999-01-01"), "{plan:?}");
    assert!(plan.stdout.contains("DAY"), "{plan:?}");
    assert_eq!(setting.run(&["prune", "nightly"]).await.code, Some(0));
    let list = setting.json(&["list"]).await;
    assert_eq!(
        (list.as_array().unwrap().len(), &list[0]["id"]),
        (2, &Value::from(audited.as_str())),
        "{list}"
    );
    assert!(setting.run(&["list"]).await.stdout.contains("held until 2999"));

    assert_eq!(setting.run(&["hold", &audited, "--release"]).await.code, Some(0));
    assert_eq!(setting.run(&["hold", &audited, "--release", "--until", "2999-01-01"]).await.code, Some(2));
    assert_eq!(setting.run(&["prune", "nightly"]).await.code, Some(0));
    assert_eq!(setting.json(&["list"]).await.as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_that_vanished_stop_a_prune_until_somebody_says_that_they_are_gone() {
    let setting = Setting::new(&[]).await;
    let gone = setting.back_up(0).await;
    setting.back_up(0).await;
    setting.back_up(0).await;
    std::fs::remove_dir_all(setting.path("shelf").join("crm/snapshots").join(&gone)).unwrap();
    setting.write_settings(&["shelf"], "keep = { last = 1, at_least_verified = 1 }");
    let prune = setting.run(&["prune", "nightly"]).await;
    assert_eq!(prune.code, Some(0), "{prune:?}");
    assert!(prune.stderr.contains("--accept-missing"), "{prune:?}");
    assert_eq!(setting.json(&["list"]).await.as_array().unwrap().len(), 2);
    assert_eq!(setting.run(&["prune", "nightly", "--accept-missing"]).await.code, Some(0));
    assert_eq!(setting.json(&["list"]).await.as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_one_destination_is_repaired_from_the_other() {
    let setting = Setting::new(&[]).await;
    setting.write_settings(&["shelf", "attic"], "");
    let id = setting.back_up(0).await;
    let zip = files_below(&setting.path("shelf"))
        .into_iter()
        .find(|path| path.extension().is_some_and(|end| end == "zip"))
        .unwrap();
    let mut bytes = std::fs::read(&zip).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&zip, bytes).unwrap();
    assert_eq!(setting.run(&["verify", "--read-data", "--no-proof"]).await.code, Some(5));
    assert_eq!(states(&setting.json(&["list"]).await), ["good", "good"], "no proof, no mark");
    assert_eq!(setting.run(&["verify", "--read-data"]).await.code, Some(5));
    let list = setting.run(&["list", "--destination", "shelf"]).await;
    assert!(list.stdout.contains("damaged") && list.stderr.contains("repair"), "{list:?}");

    let repair = setting.run(&["repair"]).await;
    assert_eq!(repair.code, Some(0), "{repair:?}");
    assert_eq!(setting.run(&["verify", "--read-data"]).await.code, Some(0));
    let manifest = zip.with_file_name("manifest.json");
    std::fs::remove_file(&manifest).unwrap();
    let list = setting.run(&["list"]).await;
    assert!(list.stderr.contains("headless"), "{list:?}");
    assert_eq!(setting.run(&["show", &id, "--destination", "shelf"]).await.code, Some(5));
    let repair = setting.run(&["repair", &id]).await;
    assert_eq!(repair.code, Some(0), "{repair:?}");
    assert!(manifest.exists());
    assert_eq!(setting.run(&["verify", "--read-data"]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_repaired_is_exit_code_5() {
    let setting = Setting::new(&[]).await;
    setting.back_up(0).await;
    for path in files_below(&setting.path("shelf")) {
        if path.extension().is_some_and(|end| end == "zip") {
            std::fs::write(&path, "nothing").unwrap();
        }
    }
    let repair = setting.run(&["repair", "nightly"]).await;
    assert_eq!(repair.code, Some(5), "{repair:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verify_task_reads_what_is_stored_and_tells_of_damage() {
    let setting = Setting::new(&[]).await;
    let shelf = format!(
        "[[destination]]\nname = \"shelf\"\ndirectory = \"{}\"\n\
         verify = {{ schedule = \"0 4 * * *\", read_all_within = \"1h\" }}\n",
        setting.path("shelf").display()
    );
    setting.write_all_settings(&["shelf"], "", &shelf, "");
    let mut daemon = RunningDaemon::start(&setting).await;
    setting.back_up(0).await;
    let verifying = setting.json(&["status"]).await["verifying"][0].clone();
    assert_eq!(verifying["destination"], "shelf", "{verifying}");
    assert!(verifying["next_due"].is_string() && verifying["last_attempt"].is_null(), "{verifying}");

    start_over_socket(&setting, "verify/shelf/crm");
    daemon.wait_for("snapshots are sound").await;
    let status = wait_for_verify(&setting, "good").await;
    let holding = &status["destinations"][0]["holdings"]["crm"];
    assert!(holding["last_verified"].is_string(), "{status}");
    for path in files_below(&setting.path("shelf")) {
        if path.extension().is_some_and(|end| end == "zip") {
            std::fs::remove_file(&path).unwrap();
        }
    }
    start_over_socket(&setting, "verify/shelf/crm");
    let status = wait_for_verify(&setting, "failed").await;
    let message = status["verifying"][0]["last_attempt"]["message"].as_str().unwrap();
    assert!(message.contains("it is missing") && message.contains("convault repair"), "{message}");
    assert_eq!(status["destinations"][0]["up"], true, "the folder itself is well: {status}");
    assert!(setting.run(&["status"]).await.stdout.contains("convault repair"));
    daemon.signal("TERM");
    assert_eq!(daemon.end().await, Some(0));
}

fn start_over_socket(setting: &Setting, job: &str) {
    use std::io::{BufRead as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(setting.path("socket")).unwrap();
    writeln!(stream, "{{\"request\":\"start\",\"job\":\"{job}\"}}").unwrap();
    let mut answer = String::new();
    std::io::BufReader::new(stream).read_line(&mut answer).unwrap();
    assert!(answer.contains("started"), "{answer}");
}

async fn wait_for_verify(setting: &Setting, outcome: &str) -> Value {
    for _ in 0..15_000 {
        let status = setting.json(&["status"]).await;
        if status["verifying"][0]["last_attempt"]["outcome"] == outcome {
            return status;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("no verify ended as {outcome}");
}
