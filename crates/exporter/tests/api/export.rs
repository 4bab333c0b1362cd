//! Asking, waiting and giving up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use convault_core::{ExportRequest, Progress, Source as _, SourceErrorKind};
use convault_exporter::{DeploymentSource, PollSettings};
use serde_json::Value;

use crate::fake::{
    Answer, Fake, OURS, THEIRS, Told, after_start, denied, error, ok, pass, request, row, running, some,
    source, value, zip,
};

fn on_demand() -> ExportRequest {
    ExportRequest { may_adopt: false, ..request() }
}

fn impatient() -> ExportRequest {
    ExportRequest { no_progress_limit: Duration::from_millis(600), ..request() }
}

#[tokio::test]
async fn our_export_is_known_by_its_row_and_followed_to_its_end() {
    let fake = Fake::start(|call| match (call.name.as_str(), call.nth) {
        ("request", _) => ok(),
        ("latest", 0) => value(row(THEIRS, "completed")),
        ("latest", 1) => value(row(OURS, "requested")),
        ("latest", 2) => value(running(OURS, "Beginning backup")),
        ("latest", 3 | 4) => value(running(OURS, "Backing up notes")),
        ("latest", _) => value(row(OURS, "completed")),
        _ => None,
    })
    .await;
    let told = Told::default();
    let export = fake.source().export(on_demand(), &told.listener()).await.unwrap();
    assert_eq!((export.id.as_str(), export.adopted, export.include_files), (OURS, false, true));
    assert_eq!((export.snapshot_ts_ns, export.size_bytes), (after_start(60), Some(10)));
    let exporting = |message: &str| Progress::Exporting { message: message.to_owned() };
    assert_eq!(
        told.all(),
        [
            Progress::Requested { export: OURS.to_owned(), adopted: false },
            exporting("Beginning backup"),
            exporting("Backing up notes"),
        ]
    );
    assert_eq!(fake.count("request"), 1);
    assert!(!fake.names().iter().any(|name| name.starts_with("cancel")));
}

#[tokio::test]
async fn an_export_whose_answer_was_lost_is_used_and_not_asked_for_again() {
    for status in [408, 503] {
        let fake = Fake::start(move |call| match (call.name.as_str(), call.nth) {
            ("request", _) => error(status, ""),
            ("latest", 0) => value(Value::Null),
            ("latest", 1) => value(running(OURS, "Beginning backup")),
            ("latest", _) => value(row(OURS, "completed")),
            _ => None,
        })
        .await;
        let export = fake.source().export(on_demand(), &|_| {}).await.unwrap();
        assert_eq!((export.id.as_str(), export.adopted), (OURS, true));
        assert_eq!(fake.count("request"), 1);
    }
}

#[tokio::test]
async fn a_request_that_left_no_row_is_made_again() {
    let asked_again = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&asked_again);
    let fake = Fake::start(move |call| match (call.name.as_str(), call.nth) {
        ("request", 0) => error(503, "Busy"),
        // Silence: no answer within the limit.
        ("request", 1) => None,
        ("request", _) => {
            seen.store(true, Ordering::SeqCst);
            ok()
        }
        ("latest", _) if seen.load(Ordering::SeqCst) => value(row(OURS, "completed")),
        ("latest", _) => value(Value::Null),
        _ => None,
    })
    .await;
    let silence = pass(Duration::from_mins(3), || fake.count("request") > 1);
    let source = fake.source();
    let (exported, ()) = tokio::join!(source.export(on_demand(), &|_| {}), silence);
    let export = exported.unwrap();
    assert_eq!((export.id.as_str(), export.adopted), (OURS, false));
    assert_eq!(fake.count("request"), 3);
}

#[tokio::test]
async fn a_request_that_is_acted_on_after_its_answer_was_lost_is_recognised() {
    let fake = Fake::start(|call| match (call.name.as_str(), call.nth) {
        ("request", 0) => error(408, ""),
        ("request", _) => error(400, "ExportInProgress"),
        ("latest", 0..=2) | ("cloud", _) => value(Value::Null),
        ("latest", 3..=5) => value(running(OURS, "Beginning backup")),
        ("latest", _) => value(row(OURS, "completed")),
        _ => None,
    })
    .await;
    let export = fake.source().export(on_demand(), &|_| {}).await.unwrap();
    assert_eq!((export.id.as_str(), export.adopted), (OURS, true));
}

#[tokio::test]
async fn a_deployment_that_never_takes_a_request_ends_in_a_transient_error() {
    let fake = Fake::start(|call| match call.name.as_str() {
        "request" => error(503, "Busy"),
        _ => value(Value::Null),
    })
    .await;
    let failure = fake.source().export(request(), &|_| {}).await.unwrap_err();
    assert_eq!(failure.kind, SourceErrorKind::Transient);
    assert_eq!(fake.count("request"), 4);
}

/// Somebody else's export runs, and is completed with `start_ts`; then one of ours can be made.
async fn busy_with_theirs(start_ts: i64, include_storage: bool) -> Fake {
    Fake::start(move |call| match (call.name.as_str(), call.nth) {
        ("request", _) => ok(),
        ("latest", 0..=2) => value(running(THEIRS, "Backing up theirs")),
        ("latest", 3 | 4) => {
            let mut theirs = row(THEIRS, "completed");
            theirs["start_ts"] = start_ts.to_string().into();
            theirs["format"]["include_storage"] = include_storage.into();
            value(theirs)
        }
        ("latest", _) => value(row(OURS, "completed")),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_scheduled_run_uses_somebody_elses_export_whose_snapshot_is_young_enough() {
    let fake = busy_with_theirs(after_start(1), true).await;
    let told = Told::default();
    let export = fake.source().export(request(), &told.listener()).await.unwrap();
    assert_eq!((export.id.as_str(), export.adopted), (THEIRS, true));
    assert_eq!(fake.count("request"), 0);
    assert_eq!(told.all()[0], Progress::WaitingForSlot { holder: "snapshotExport".to_owned() });
    assert_eq!(told.all().last(), Some(&Progress::Requested { export: THEIRS.to_owned(), adopted: true }));
}

#[tokio::test]
async fn somebody_elses_export_is_waited_for_and_not_used_when_it_is_older_or_other_or_not_wanted() {
    let cases = [(after_start(-1), true, request()), (after_start(1), true, on_demand())];
    for (start_ts, include_storage, request) in cases {
        let fake = busy_with_theirs(start_ts, include_storage).await;
        let export = fake.source().export(request, &|_| {}).await.unwrap();
        assert_eq!((export.id.as_str(), export.adopted), (OURS, false));
        assert_eq!(fake.count("request"), 1);
    }
}

#[tokio::test]
async fn an_export_without_files_is_not_used_for_a_run_with_files() {
    let fake = Fake::start(|call| match (call.name.as_str(), call.nth) {
        ("request", _) => ok(),
        ("latest", 0..=2) => {
            let mut theirs = running(THEIRS, "Backing up");
            theirs["format"]["include_storage"] = false.into();
            value(theirs)
        }
        ("latest", 3 | 4) => {
            let mut theirs = row(THEIRS, "completed");
            theirs["format"]["include_storage"] = false.into();
            value(theirs)
        }
        ("latest", _) => value(row(OURS, "completed")),
        _ => None,
    })
    .await;
    assert_eq!(fake.source().export(request(), &|_| {}).await.unwrap().id, OURS);
}

#[tokio::test]
async fn a_cloud_backup_is_waited_for_under_its_own_name() {
    let fake = Fake::start(|call| match (call.name.as_str(), call.nth) {
        ("request", 0..=3) => error(400, "ExportInProgress"),
        ("request", _) => ok(),
        ("cloud", _) => {
            let mut cloud = running("gg2cloud", "Backing up");
            cloud["requestor"] = "cloudBackup".into();
            value(cloud)
        }
        ("latest", 0..=4) => value(row(THEIRS, "completed")),
        ("latest", _) => value(row(OURS, "completed")),
        _ => None,
    })
    .await;
    let told = Told::default();
    let export = fake.source().export(request(), &told.listener()).await.unwrap();
    assert_eq!((export.id.as_str(), export.adopted), (OURS, false));
    let waiting = Progress::WaitingForSlot { holder: "cloudBackup".to_owned() };
    assert_eq!(told.all().iter().filter(|progress| **progress == waiting).count(), 1);
}

#[tokio::test]
async fn a_slot_that_is_held_past_the_deadline_is_busy_and_its_holder_is_left_alone() {
    let fake = Fake::start(|call| match call.name.as_str() {
        "latest" => value(running(THEIRS, "Backing up")),
        _ => ok(),
    })
    .await;
    let source = fake.source();
    let held = pass(request().deadline, || fake.count("latest") > 3);
    let (ended, ()) = tokio::join!(source.export(request(), &|_| {}), held);
    let failure = ended.unwrap_err();
    source.settle().await;
    assert_eq!(failure.kind, SourceErrorKind::Busy);
    assert!(failure.message.contains(THEIRS) && failure.message.contains("/api/export/cancel/"), "{failure}");
    assert!(fake.names().iter().all(|name| name == "latest"), "{:?}", fake.names());
}

#[tokio::test]
async fn an_export_that_a_later_one_hides_is_found_by_its_id() {
    let fake = Fake::start(|call| match (call.name.as_str(), call.nth) {
        ("request", _) => ok(),
        ("latest", 0) => value(Value::Null),
        ("latest", 1 | 2) => value(running(OURS, "Backing up")),
        ("latest", _) => {
            let mut later = running(THEIRS, "Backing up");
            later["_creationTime"] = 3000.5.into();
            value(later)
        }
        ("head gg2ours", _) => zip(10),
        _ => None,
    })
    .await;
    let export = fake.source().export(request(), &|_| {}).await.unwrap();
    assert_eq!((export.id.as_str(), export.adopted), (OURS, false));
    assert_eq!((export.snapshot_ts_ns, export.size_bytes), (after_start(60), Some(10)));
}

#[tokio::test]
async fn an_export_that_ended_without_success_is_lost_and_not_cancelled() {
    for (end, head, words) in [
        (row(OURS, "canceled"), 0, "was cancelled by somebody"),
        (row(OURS, "cancelled"), 0, "was cancelled by somebody"),
        (row(OURS, "failed"), 0, "failed"),
        (Value::Null, 404, "vanished"),
        (Value::Null, 400, "was cancelled by somebody"),
    ] {
        let fake = Fake::start(move |call| match (call.name.as_str(), call.nth) {
            ("request", _) => ok(),
            ("latest", 0) => value(Value::Null),
            ("latest", 1) => value(running(OURS, "Backing up")),
            ("latest", _) => value(end.clone()),
            ("head gg2ours", _) => error(head, "ExportNotFound"),
            _ => None,
        })
        .await;
        let source = fake.source();
        let failure = source.export(request(), &|_| {}).await.unwrap_err();
        source.settle().await;
        assert_eq!(failure.kind, SourceErrorKind::ExportLost);
        assert!(failure.message.contains(words), "{failure}");
        assert_eq!(fake.count("cancel gg2ours"), 0);
    }
}

#[tokio::test]
async fn an_older_row_than_ours_is_not_the_end_of_ours() {
    let fake = Fake::start(|call| match (call.name.as_str(), call.nth) {
        ("request", _) => ok(),
        ("latest", 0 | 2..=4) => value(row(THEIRS, "completed")),
        ("latest", 1) => value(row(OURS, "requested")),
        ("latest", _) => value(row(OURS, "completed")),
        ("head gg2ours", _) => error(400, "ExportNotComplete"),
        _ => None,
    })
    .await;
    assert_eq!(fake.source().export(request(), &|_| {}).await.unwrap().id, OURS);
}

/// Our export runs and never changes; cancelling it is answered by `cancel`.
async fn stuck(cancel: impl Fn(usize) -> Option<axum::response::Response> + Send + Sync + 'static) -> Fake {
    Fake::start(move |call| match (call.name.as_str(), call.nth) {
        ("request", _) => ok(),
        ("latest", 0) => value(Value::Null),
        ("latest", _) => value(running(OURS, "Backing up notes")),
        ("cancel gg2ours", nth) => cancel(nth),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_stuck_export_of_ours_is_cancelled_though_its_row_changes_under_the_cancel() {
    let fake =
        stuck(|nth| if nth < 2 { error(503, "OptimisticConcurrencyControlFailure") } else { ok() }).await;
    let failure = fake.source().export(impatient(), &|_| {}).await.unwrap_err();
    assert_eq!(failure.kind, SourceErrorKind::Stuck);
    assert!(failure.message.ends_with("the export gg2ours was cancelled"), "{failure}");
    assert_eq!(fake.count("cancel gg2ours"), 3);
}

#[tokio::test]
async fn an_export_that_is_late_is_cancelled_at_the_deadline() {
    let fake = stuck(|_| ok()).await;
    let late = pass(request().deadline, || fake.count("latest") > 3);
    let source = fake.source();
    let (ended, ()) = tokio::join!(source.export(request(), &|_| {}), late);
    let failure = ended.unwrap_err();
    assert_eq!(failure.kind, SourceErrorKind::Deadline);
    assert!(failure.message.contains("within 1800 s"), "{failure}");
    assert!(failure.message.ends_with("the export gg2ours was cancelled"), "{failure}");
}

#[tokio::test]
async fn where_cancelling_fails_the_message_has_the_command_that_does() {
    let cases: [(Answer, &str); 3] = [
        (|| denied("deployment:backups:import"), "cancelling needs `deployment:backups:import`"),
        (|| error(404, ""), "too old to cancel an export"),
        (|| error(500, "InternalServerError"), "cancelling it failed (cancel_export: HTTP 500"),
    ];
    for (answer, words) in cases {
        let fake = stuck(move |_| answer()).await;
        let failure = fake.source().export(impatient(), &|_| {}).await.unwrap_err();
        assert_eq!(failure.kind, SourceErrorKind::Stuck);
        assert!(failure.message.contains(words), "{failure}");
        let command = format!(
            "printf 'Authorization: Convex %s' \"$CONVEX_KEY\" | curl --fail-with-body -X POST -H @- \
             '{}api/export/cancel/gg2ours'",
            fake.url
        );
        assert!(failure.message.contains(&command), "{failure}");
    }
}

#[tokio::test]
async fn an_export_that_may_be_somebody_elses_is_left_alone_when_it_is_stuck() {
    let fake = Fake::start(|call| match (call.name.as_str(), call.nth) {
        ("request", _) => error(408, ""),
        ("latest", 0) => value(Value::Null),
        ("latest", _) => value(running(OURS, "Backing up")),
        _ => ok(),
    })
    .await;
    let source = fake.source();
    let failure = source.export(impatient(), &|_| {}).await.unwrap_err();
    source.settle().await;
    assert_eq!(failure.kind, SourceErrorKind::Stuck);
    assert!(failure.message.contains("was left alone") && failure.message.contains("curl"), "{failure}");
    assert_eq!(fake.count("cancel gg2ours"), 0);
}

#[tokio::test]
async fn an_export_that_begins_again_is_not_stuck() {
    let fake = Fake::start(|call| match (call.name.as_str(), call.nth) {
        ("request", _) => ok(),
        ("latest", 0) => value(Value::Null),
        ("latest", nth @ 1..40) => value(running(OURS, &format!("Backing up table {}", nth / 5 % 4))),
        ("latest", _) => value(row(OURS, "completed")),
        _ => None,
    })
    .await;
    // It takes four seconds, and shows something new every half of one.
    let mut settings = fake.settings();
    settings.poll =
        PollSettings { shortest: Duration::from_millis(100), longest: Duration::from_millis(100) };
    let request = ExportRequest { no_progress_limit: Duration::from_secs(3), ..request() };
    assert_eq!(source(settings).export(request, &|_| {}).await.unwrap().id, OURS);
}

#[tokio::test]
async fn a_deployment_that_restarts_meanwhile_is_waited_for() {
    let fake = Fake::start(|call| match (call.name.as_str(), call.nth) {
        ("request", _) => ok(),
        ("latest", 0) => value(Value::Null),
        ("latest", 1) => value(running(OURS, "Backing up")),
        ("latest", nth @ 2..12) => error([500, 502, 503, 404][nth % 4], ""),
        ("latest", _) => value(row(OURS, "completed")),
        _ => None,
    })
    .await;
    assert_eq!(fake.source().export(request(), &|_| {}).await.unwrap().id, OURS);
}

#[tokio::test]
async fn a_deployment_that_stays_away_ends_in_a_transient_error_and_a_try_to_cancel() {
    let fake = Fake::start(|call| match (call.name.as_str(), call.nth) {
        ("request", _) => ok(),
        ("latest", 0) => value(Value::Null),
        ("latest", 1) => value(running(OURS, "Backing up")),
        _ => error(503, "Busy"),
    })
    .await;
    let failure = fake.source().export(impatient(), &|_| {}).await.unwrap_err();
    assert_eq!(failure.kind, SourceErrorKind::Transient);
    assert!(failure.message.contains("HTTP 503 Busy") && failure.message.contains("curl"), "{failure}");
    assert_eq!(fake.count("cancel gg2ours"), 4);
}

#[tokio::test]
async fn a_key_that_is_revoked_meanwhile_ends_the_wait_at_once() {
    let fake = Fake::start(|call| match (call.name.as_str(), call.nth) {
        ("request", _) => ok(),
        ("latest", 0) => value(Value::Null),
        ("latest", 1) => value(running(OURS, "Backing up")),
        _ => error(401, "BadAdminKey"),
    })
    .await;
    let failure = fake.source().export(request(), &|_| {}).await.unwrap_err();
    assert_eq!(failure.kind, SourceErrorKind::Key);
    assert_eq!(fake.count("cancel gg2ours"), 1);
}

#[tokio::test]
async fn a_permission_that_is_missing_inside_a_function_is_named() {
    let fake = Fake::start(|_| {
        let message = "[Request ID: 1] Server Error\nYou may not (deployment:backups:view)";
        some(200, serde_json::json!({ "status": "error", "errorMessage": message }))
    })
    .await;
    let failure = fake.source().export(request(), &|_| {}).await.unwrap_err();
    assert_eq!(failure.kind, SourceErrorKind::Permission);
    assert!(failure.message.contains("`deployment:backups:view`"), "{failure}");
    assert_eq!(fake.count("latest"), 1);
}

/// Drops a run once `call` was made so many times.
async fn drop_after(fake: &Fake, source: &DeploymentSource, call: &str, times: usize) {
    let called = async {
        while fake.count(call) < times {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        ended = source.export(request(), &|_| {}) => panic!("ended early: {ended:?}"),
        () = called => {}
    }
}

#[tokio::test]
async fn a_run_that_is_dropped_cancels_its_export() {
    let fake = stuck(|_| ok()).await;
    let source = fake.source();
    drop_after(&fake, &source, "latest", 4).await;
    source.settle().await;
    assert_eq!(fake.count("cancel gg2ours"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_dropped_while_it_asks_cancels_what_it_asked_for() {
    let (gone, until_gone) = std::sync::mpsc::channel();
    let until_gone = std::sync::Mutex::new(until_gone);
    let fake = Fake::start(move |call| match (call.name.as_str(), call.nth) {
        ("request", _) => {
            // A worker that only blocked could be the one that drives the timers of the rest.
            tokio::task::block_in_place(|| {
                until_gone.lock().unwrap().recv().unwrap();
            });
            ok()
        }
        ("latest", 0) => value(Value::Null),
        ("latest", _) => value(row(OURS, "requested")),
        ("cancel gg2ours", _) => ok(),
        _ => None,
    })
    .await;
    let source = fake.source();
    drop_after(&fake, &source, "request", 1).await;
    gone.send(()).unwrap();
    source.settle().await;
    assert_eq!(fake.count("cancel gg2ours"), 1);
}
