//! The daemon, its socket, its endpoint, and how it stops.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use crate::support::{KEY, RunningDaemon, Setting, files_below};

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_goes_to_the_daemon_and_monitoring_sees_it() {
    let setting = Setting::new(&[]).await;
    let mut daemon = RunningDaemon::start(&setting).await;
    assert!(daemon.get("/live").starts_with("HTTP/1.1 200"));
    assert!(daemon.get("/ready").starts_with("HTTP/1.1 200"));

    let backup = setting.run(&["backup", "nightly"]).await;
    assert_eq!(backup.code, Some(0), "{backup:?}");
    assert!(backup.stderr.contains("in the daemon"), "{backup:?}");
    daemon.wait_for("outcome=\"good\"").await;
    let metrics = daemon.get("/metrics");
    assert!(metrics.contains("convault_"), "{metrics}");
    let status = setting.json(&["status"]).await;
    assert_eq!(status["jobs"][0]["last_success"]["outcome"], "good", "{status}");
    assert_eq!(status["jobs"][0]["runs"]["good"], 1);
    assert!(daemon.get("/").contains("nightly"));
    let prune = setting.run(&["prune", "nightly"]).await;
    assert_eq!(prune.code, Some(0), "{prune:?}");

    daemon.signal("TERM");
    let log = daemon.log();
    assert!(!log.contains(KEY), "{log}");
    assert_eq!(daemon.end().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_in_the_middle_of_a_backup_leaves_no_snapshot_and_no_export() {
    let setting = Setting::with_export_time(&[], Duration::from_mins(1)).await;
    let mut daemon = RunningDaemon::start(&setting).await;
    let mut client = quiet(&setting).spawn().unwrap();
    daemon.wait_for("asked for export").await;
    daemon.signal("TERM");
    assert_eq!(daemon.end().await, Some(0));
    let code = tokio::task::spawn_blocking(move || client.wait().unwrap().code()).await.unwrap();
    assert!(code == Some(7) || code == Some(69), "{code:?}");
    let zips = files_below(&setting.path("shelf"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "zip" || end == "upload"))
        .count();
    assert_eq!(zips, 0);
    let cancels = setting.deployment.counters().requests.get("POST /api/export/cancel/{id}").copied();
    assert_eq!(
        cancels,
        Some(1),
        "the export would go on at the deployment: {:?}",
        setting.deployment.counters()
    );
    assert_eq!(setting.json(&["list"]).await.as_array().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_refused_while_one_uses_the_state_directory() {
    let setting = Setting::new(&[]).await;
    let daemon = RunningDaemon::start(&setting).await;
    let second = setting.run(&["run"]).await;
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains("another convault process uses"), "{second:?}");
    daemon.signal("TERM");
    assert_eq!(daemon.end().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_daemon_starts_again_and_remembers_the_interrupted_run() {
    let setting = Setting::with_export_time(&[], Duration::from_secs(3)).await;
    let mut daemon = RunningDaemon::start(&setting).await;
    let mut client = quiet(&setting).spawn().unwrap();
    daemon.wait_for("asked for export").await;
    daemon.signal("KILL");
    daemon.end().await;
    let mut daemon = RunningDaemon::start(&setting).await;
    daemon.wait_for("this run was cut off").await;
    // Whoever waited is told by the new daemon what became of the run.
    let code = tokio::task::spawn_blocking(move || client.wait().unwrap().code()).await.unwrap();
    assert_eq!(code, Some(7));
    let backup = setting.run(&["backup", "nightly"]).await;
    assert_eq!(backup.code, Some(0), "{backup:?}");
    daemon.signal("TERM");
    assert_eq!(daemon.end().await, Some(0));
}

/// A backup whose words nobody reads.
fn quiet(setting: &Setting) -> Command {
    let mut command = setting.command(&["backup", "nightly"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}
