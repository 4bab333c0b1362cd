//! The status page.

use axum::http::StatusCode;
use convault_core::RunOutcome;

use crate::fake::{Rig, at, run};

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
