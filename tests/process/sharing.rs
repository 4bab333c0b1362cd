//! Daemons that share the work by leases in one bucket.

use std::{collections::BTreeSet, time::Duration};

use convault_core::{DefaultLock, LockMode};
use convault_simulator::s3::RunningS3;
use serde_json::Value;

use crate::support::{RunningDaemon, Setting, s3_section, s3_server};

fn share(setting: &Setting, server: &RunningS3, job: &str) {
    setting.write_all_settings(&["offsite"], "coordinate_in = \"offsite\"\n", &s3_section(server), job);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_run_has_a_higher_fencing_number_whoever_makes_it() {
    let server = s3_server(&[]).start().await.unwrap();
    let (one, two) = (Setting::new(&[]).await, Setting::new(&[]).await);
    share(&one, &server, "");
    share(&two, &server, "");
    let (first, second) = (RunningDaemon::start(&one).await, RunningDaemon::start(&two).await);
    let ids = [one.back_up(0).await, two.back_up(0).await, one.back_up(0).await];
    let mut fences = Vec::new();
    for id in &ids {
        let shown = one.json(&["show", id]).await;
        fences.push(shown["fence"].as_u64().unwrap_or_else(|| panic!("no fencing number: {shown}")));
    }
    assert!(fences[0] < fences[1] && fences[1] < fences[2], "{fences:?}");
    let coordination = one.json(&["status"]).await["coordination"].clone();
    assert_eq!(coordination["destination"], "offsite", "{coordination}");
    assert_eq!(coordination["held"], serde_json::json!({}), "{coordination}");
    assert!(one.run(&["status"]).await.stdout.contains("shares the work by leases in offsite"));
    for daemon in [first, second] {
        daemon.signal("TERM");
        assert_eq!(daemon.end().await, Some(0));
    }
    // Without a daemon a verb takes the lease all the same.
    let id = one.back_up(0).await;
    assert!(one.json(&["show", &id]).await["fence"].as_u64().unwrap() > fences[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_due_on_two_daemons_runs_once() {
    let server = s3_server(&[]).start().await.unwrap();
    let export_time = Duration::from_secs(2);
    let one = Setting::with_export_time(&[], export_time).await;
    let two = Setting::with_export_time(&[], export_time).await;
    for setting in [&one, &two] {
        share(setting, &server, "schedule = \"* * * * *\"\nkeep = { last = 5 }");
    }
    let (first, second) = (RunningDaemon::start(&one).await, RunningDaemon::start(&two).await);
    // On a slow machine a minute may pass before both are there, and another one meanwhile.
    wait_for_snapshot(&one, jiff::Timestamp::now()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let dues = good_dues(&one).await;
    let different: BTreeSet<_> = dues.iter().collect();
    assert_eq!(different.len(), dues.len(), "one due time was run twice: {dues:?}");
    let logs = format!("{}{}", first.log(), second.log());
    assert!(logs.matches("another convault").count() <= dues.len() + 1, "once is enough: {logs}");
    for daemon in [first, second] {
        daemon.signal("TERM");
        assert_eq!(daemon.end().await, Some(0));
    }
}

/// Waits for a good snapshot of a due time after `from`.
async fn wait_for_snapshot(setting: &Setting, from: jiff::Timestamp) {
    for _ in 0..600 {
        if good_dues(setting).await.iter().any(|due| *due > from) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("nothing was backed up within minutes");
}

/// The due time of each good snapshot.
async fn good_dues(setting: &Setting) -> Vec<jiff::Timestamp> {
    let list = setting.json(&["list"]).await;
    let mut dues = Vec::new();
    for good in list.as_array().unwrap().iter().filter(|one| one["state"] == "good") {
        let shown = setting.json(&["show", good["id"].as_str().unwrap()]).await;
        dues.push(shown["due"].as_str().unwrap_or_else(|| panic!("no due time: {shown}")).parse().unwrap());
    }
    dues
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_cannot_hold_leases_ends_the_start() {
    let by_default = DefaultLock { mode: LockMode::Governance, days: 30 };
    let locking = s3_server(&[]).with_locks(Some(by_default)).start().await.unwrap();
    let careless = s3_server(&["s3-ignore-if-none-match"]).start().await.unwrap();
    for (server, word) in [(locking, "locks every new object"), (careless, "overwrites")] {
        let setting = Setting::new(&[]).await;
        share(&setting, &server, "");
        for arguments in [&["run"][..], &["backup", "nightly"]] {
            let ended = setting.run(arguments).await;
            assert_eq!(ended.code, Some(78), "{ended:?}");
            assert!(ended.stderr.contains("coordinate_in") && ended.stderr.contains(word), "{ended:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_says_what_its_destinations_can_do() {
    let setting = Setting::new(&[]).await;
    let server = s3_server(&[]).with_versions().start().await.unwrap();
    setting.write_all_settings(&["offsite", "shelf"], "", &s3_section(&server), "");
    let daemon = RunningDaemon::start(&setting).await;
    let mut destinations = Value::Null;
    for _ in 0..6000 {
        destinations = setting.json(&["status"]).await["destinations"].clone();
        if destinations.as_array().unwrap().iter().all(|one| one["abilities"].is_object()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(destinations[0]["abilities"]["versions"], "works", "{destinations}");
    assert_eq!(destinations[1]["abilities"]["versions"], "refused", "{destinations}");
    daemon.signal("TERM");
    assert_eq!(daemon.end().await, Some(0));
}
