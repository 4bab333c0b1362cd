//! The status page.

use axum::http::StatusCode;
use convault_core::{HoldingStatus, RunOutcome, RunRecord};

use crate::fake::{Rig, alarming, at, run};

#[tokio::test]
async fn the_page_shows_jobs_destinations_and_runs_and_escapes_everything() {
    let page = Rig::loopback().get("/").await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    for shown in
        ["nightly", "fresh", "offsite", "12\u{2009}345", "All is well", "s3://acme&lt;backups&gt;", "1 h ago"]
    {
        assert!(page.body.contains(shown), "{shown} is missing");
    }
    assert!(page.body.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;more&quot;"));
    assert!(page.body.contains("&lt;b&gt;warned&lt;/b&gt;"));
    assert!(!page.body.contains("<script") && !page.body.contains("<b>"));
}

#[tokio::test]
async fn the_page_takes_nothing_from_elsewhere() {
    let page = Rig::loopback().get("/").await;
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert_eq!(page.header("cache-control"), "no-store");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert!(!page.body.contains("http://") && !page.body.contains("https://") && !page.body.contains("src="));
    assert!(!page.body.contains("style="), "the policy allows no style but the one at the top");
}

#[tokio::test]
async fn the_page_says_what_needs_attention() {
    let rig = Rig::loopback();
    {
        let mut status = rig.control.status.lock().unwrap();
        status.jobs[0].last_attempt = Some(run(RunOutcome::Failed));
        status.destinations[1].up = Some(false);
        status.destinations[1].problem = Some("no space <left>".to_owned());
        status.not_ready = vec!["stopping".to_owned()];
    }
    let page = rig.get("/").await;
    for shown in [
        "(3) Convault",
        "Job nightly: last run failed.",
        "Destination unused: down.",
        "no space &lt;left&gt;",
        "stopping",
    ] {
        assert!(page.body.contains(shown), "{shown} is missing");
    }
}

#[tokio::test]
async fn a_snapshot_older_than_its_schedule_allows_is_late() {
    let rig = Rig::loopback();
    rig.control.status.lock().unwrap().now = at("2026-11-23T03:40:00Z");
    assert!(rig.get("/").await.body.contains("Job nightly: backup is late."));
}

#[tokio::test]
async fn whatever_is_alarming_is_said_with_its_remedy() {
    let rig = Rig::loopback();
    *rig.control.status.lock().unwrap() = alarming();
    let page = rig.get("/").await.body;
    let banner = &page[..page.find("<h2>Jobs</h2>").unwrap()];
    for said in [
        "2 snapshots of crm in offsite are damaged",
        "1 snapshot of crm in offsite is headless",
        "1 snapshot of crm in offsite is unreadable",
        "3 snapshots of crm in offsite are untrusted",
        "<code>convault repair</code>",
        "<code>signing.trusted_keys</code>",
        "There is no good snapshot of crm in offsite.",
        "<code>convault backup nightly</code>",
        "Pruning of crm in offsite is frozen: the newest snapshot, of 1 h 1 min ago, is suspect.",
        "<code>convault accept 20261122T030000Z-000007</code>",
        "held back: first reason; second reason; third reason; and 1 more.",
        "Verify of crm in offsite is overdue: it last found everything sound 9 d 23 h ago.",
        "<code>convault verify --deployment crm --destination offsite --read-data</code>",
        "30 d are allowed",
        "The last verify of crm in offsite ended as failed: 2 snapshots are damaged.",
        "The bucket of offsite locks every new object by itself, for 30 d.",
    ] {
        assert!(banner.contains(said), "{said} is missing in {banner}");
    }
    let mild = banner.find("held back").unwrap();
    assert!(banner.rfind("overdue").unwrap() < mild, "what is urgent comes first");
}

#[tokio::test]
async fn the_page_says_what_a_store_can_do_and_how_work_is_shared() {
    let rig = Rig::loopback();
    let calm = rig.get("/").await.body;
    for shown in
        ["5 good", "1 suspect", "conditional writes</span>", "Shared work", "backup-1", "within 20 d 23 h"]
    {
        assert!(calm.contains(shown), "{shown} is missing");
    }
    *rig.control.status.lock().unwrap() = alarming();
    let page = rig.get("/").await.body;
    for shown in
        ["no versions", "conditional writes ignored", "pruning frozen", "pruning held back", "3 untrusted"]
    {
        assert!(page.contains(shown), "{shown} is missing");
    }
    rig.control.status.lock().unwrap().coordination = None;
    assert!(!rig.get("/").await.body.contains("Shared work"));
}

#[tokio::test]
async fn a_new_destination_that_nothing_was_sent_to_is_no_alarm() {
    let rig = Rig::loopback();
    {
        let mut status = rig.control.status.lock().unwrap();
        status.jobs[0].last_success = None;
        status.jobs[0].last_attempt = None;
        status.destinations[0].holdings.values_mut().for_each(|holding| *holding = HoldingStatus::default());
    }
    let page = rig.get("/").await.body;
    assert!(page.contains("Nothing is wrong, but there is no snapshot yet of crm."));
    assert!(!page.contains("All is well") && !page.contains("Needs attention"));
}

#[tokio::test]
async fn secrets_that_nobody_could_read_are_said() {
    let rig = Rig::loopback();
    let page = rig.get("/").await.body;
    assert!(page.contains("<h2>Secrets</h2>") && page.contains("<dt>Secrets</dt><dd>42</dd>"));
    rig.control.status.lock().unwrap().watching[0].last_attempt =
        Some(RunRecord { message: "not read: the key may not".to_owned(), ..run(RunOutcome::Failed) });
    let page = rig.get("/").await.body;
    assert!(page.contains("Secrets of job nightly: last look failed: not read: the key may not."));
    // A look comes every quarter of an hour.
    rig.control.status.lock().unwrap().watching[0].last_success = Some(at("2026-11-22T02:30:00Z"));
    let page = rig.get("/").await.body;
    assert!(page.contains("Secrets of job nightly: not read for too long: not read: the key may not."));
}

#[tokio::test]
async fn a_drill_that_was_never_passed_is_said_once_its_time_is_over() {
    let rig = Rig::loopback();
    {
        let drill = &mut rig.control.status.lock().unwrap().drills[0];
        drill.last_attempt = None;
        drill.last_passed = None;
    }
    assert!(rig.get("/").await.body.contains("All is well."));
    rig.control.status.lock().unwrap().started = at("2026-11-10T00:00:00Z");
    let said = "Drill weekly: never passed, and the daemon runs for longer than its max_age.";
    assert!(rig.get("/").await.body.contains(said));
}

#[tokio::test]
async fn a_verify_that_never_found_all_sound_is_overdue_by_the_start_of_the_daemon() {
    let rig = Rig::loopback();
    {
        let mut status = rig.control.status.lock().unwrap();
        let holding = status.destinations[0].holdings.values_mut().next().unwrap();
        holding.last_verified = None;
    }
    // It started two days, four hours and two minutes ago, and verify comes daily.
    assert!(rig.get("/").await.body.contains("it has never found everything sound"));
    rig.control.status.lock().unwrap().started = at("2026-11-21T00:00:00Z");
    assert!(rig.get("/").await.body.contains("All is well."));
}
