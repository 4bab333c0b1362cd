//! Faults between the wish for an export and a finished one.

use std::time::Duration;

use convault_core::{FilesMode, RunOutcome};
use convault_simulator::{Fault, FaultKind};

use crate::bench::Bench;

const SHORT: Duration = Duration::from_millis(700);

#[tokio::test]
async fn a_stuck_export_is_noticed_and_cancelled() {
    let mut bench = Bench::showing(Fault::new(FaultKind::StuckExport)).await;
    bench.job.no_progress_limit = SHORT;
    bench.fails(&["deployment crm", "showed no progress for 0.7 s", "was cancelled"]).await;
    bench.recovers().await;
}

#[tokio::test]
async fn a_slow_export_is_waited_for() {
    let mut bench = Bench::showing(Fault::with(FaultKind::SlowExport, 1)).await;
    bench.job.no_progress_limit = SHORT;
    bench.succeeds().await;
}

#[tokio::test]
async fn an_export_that_is_slow_for_ever_is_given_up_at_the_deadline() {
    let mut bench = Bench::showing(Fault::new(FaultKind::SlowExport)).await;
    bench.job.export_deadline = SHORT;
    bench.fails(&["was not finished within 0.7 s", "give it a longer deadline", "was cancelled"]).await;
    bench.recovers().await;
}

#[tokio::test]
async fn an_export_that_somebody_cancels_is_lost_and_the_next_run_asks_for_a_new_one() {
    let bench = Bench::showing(Fault::with(FaultKind::ExportCanceled, 1)).await;
    let record = bench.fails(&["was cancelled by somebody", "the next attempt asks for a new one"]).await;
    assert!(record.retryable);
    bench.succeeds().await;
}

#[tokio::test]
async fn a_slot_that_somebody_holds_is_waited_for() {
    let bench = Bench::showing(Fault::with(FaultKind::SlotHeld, 1)).await;
    let (_, manifest) = bench.succeeds().await;
    assert!(!manifest.source.adopted);
}

#[tokio::test]
async fn a_slot_that_is_never_free_is_left_to_its_holder() {
    let mut bench = Bench::showing(Fault::new(FaultKind::SlotHeld)).await;
    bench.job.export_deadline = SHORT;
    let words = ["held the only slot for 0.7 s", "was left alone", "is stuck, cancel it in the dashboard"];
    let record = bench.fails(&words).await;
    assert!(record.retryable);
    let requests = bench.simulator.counters().requests;
    let cancels = requests.keys().find(|route| route.starts_with("POST") && route.contains("/cancel/"));
    assert_eq!(cancels, None, "somebody's export was cancelled");
}

#[tokio::test]
async fn a_conflict_while_cancelling_is_repeated() {
    let mut bench = Bench::showing(Fault::new(FaultKind::StuckExport)).await;
    bench.simulator.set_fault(Fault::with(FaultKind::CancelConflict, 2));
    bench.job.no_progress_limit = SHORT;
    bench.fails(&["showed no progress", "was cancelled"]).await;
    bench.recovers().await;
}

#[tokio::test]
async fn an_export_that_cannot_be_cancelled_comes_with_the_command_that_does() {
    let mut bench = Bench::showing(Fault::new(FaultKind::StuckExport)).await;
    bench.simulator.set_fault(Fault::new(FaultKind::CancelConflict));
    bench.job.no_progress_limit = SHORT;
    bench.fails(&["still holds the deployment's only slot", "cancelling it failed", "curl"]).await;
}

#[tokio::test]
async fn asking_for_an_export_is_repeated_after_a_503() {
    let bench = Bench::showing(Fault::with(FaultKind::Request503, 2)).await;
    bench.succeeds().await;
}

#[tokio::test]
async fn a_deployment_that_never_takes_the_request_is_named() {
    let bench = Bench::showing(Fault::new(FaultKind::Request503)).await;
    let record = bench.fails(&["cannot ask for an export", "check that it is running", "503"]).await;
    assert!(record.retryable);
}

#[tokio::test]
async fn looking_at_an_export_is_repeated_after_a_503() {
    let bench = Bench::showing(Fault::with(FaultKind::Poll503, 2)).await;
    bench.succeeds().await;
}

#[tokio::test]
async fn a_deployment_that_cannot_be_looked_at_is_named() {
    let bench = Bench::showing(Fault::new(FaultKind::Poll503)).await;
    let record = bench.fails(&["cannot look at the exports", "check that it is running", "503"]).await;
    assert!(record.retryable);
}

#[tokio::test]
async fn a_request_whose_answer_is_lost_is_found_again_and_its_export_used() {
    let bench = Bench::showing(Fault::with(FaultKind::Timeout408, 1)).await;
    let (_, manifest) = bench.succeeds().await;
    assert!(manifest.source.adopted, "it could be somebody else's, so its expiry is left alone");
}

#[tokio::test]
async fn a_missing_file_that_hangs_the_export_is_told_as_the_likely_cause() {
    let mut bench = Bench::showing(Fault::new(FaultKind::MissingFileHang)).await;
    bench.job.export_deadline = SHORT;
    bench.fails(&["was not finished within 0.7 s", "a stored file that is missing", "was cancelled"]).await;
    bench.job.files = FilesMode::None;
    let record = bench.run().await;
    assert_eq!(record.outcome, Some(RunOutcome::Good), "without files: {}", record.message);
}

#[tokio::test]
async fn an_old_server_is_backed_up_and_what_it_lacks_is_told() {
    let bench = Bench::showing(Fault::new(FaultKind::OldServer)).await;
    let (record, _) = bench.succeeds().await;
    let told = |text: &String| text.contains("older than 2025-05-12") && text.contains("update it");
    assert!(record.warnings.iter().any(told), "{:?}", record.warnings);
}

#[tokio::test]
async fn a_paused_deployment_is_backed_up() {
    let bench = Bench::showing(Fault::new(FaultKind::Paused)).await;
    bench.succeeds().await;
}

#[tokio::test]
async fn short_pages_hide_nothing() {
    let bench = Bench::showing(Fault::new(FaultKind::ShortPages)).await;
    let (record, _) = bench.succeeds().await;
    assert_eq!(record.documents, bench.earlier.documents);
}

#[tokio::test]
async fn a_restart_of_the_server_during_the_export_is_survived() {
    let bench = Bench::showing(Fault::with(FaultKind::RestartDuringExport, 1)).await;
    bench.succeeds().await;
}

#[tokio::test]
async fn writes_during_the_export_are_not_in_the_snapshot() {
    let bench = Bench::showing(Fault::new(FaultKind::WritesDuringExport)).await;
    let before = bench.simulator.snapshot().document_count();
    let (record, _) = bench.succeeds().await;
    assert_eq!(record.documents, bench.earlier.documents);
    assert!(bench.simulator.snapshot().document_count() > before, "nothing was written");
}
