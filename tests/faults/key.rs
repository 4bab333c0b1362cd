//! Keys that may not do all that a backup needs.

use convault_core::RunRecord;
use convault_simulator::{Fault, FaultKind};

use crate::bench::Bench;

fn assert_no_export_was_asked_for(bench: &Bench, record: &RunRecord) {
    assert!(!record.retryable, "another attempt with this key cannot help");
    let requests = bench.simulator.counters().requests;
    let asked = requests.iter().find(|(route, _)| route.contains("/export/request/"));
    assert_eq!(asked.map(|(_, number)| *number), Some(1), "only the earlier run asked: {requests:?}");
}

#[tokio::test]
async fn a_key_that_lacks_a_permission_is_told_which() {
    let fault = format!("{}=ViewBackups,DownloadBackups", Fault::new(FaultKind::LimitedKey));
    let bench = Bench::showing(fault.parse().unwrap()).await;
    let record = bench.fails(&["lacks `deployment:backups:create`", "make a deploy key that has"]).await;
    assert_no_export_was_asked_for(&bench, &record);
    bench.recovers().await;
}

#[tokio::test]
async fn a_key_with_just_what_a_nightly_backup_needs_is_enough() {
    let fault = "limited-key=CreateBackups,ViewBackups,DownloadBackups,DeleteBackups";
    let bench = Bench::showing(fault.parse().unwrap()).await;
    let (record, _) = bench.succeeds().await;
    assert!(record.warnings.iter().any(|text| text.contains("as a nightly key should")), "{record:?}");
}

#[tokio::test]
async fn a_read_only_key_is_told_that_it_cannot_ask_for_an_export() {
    let bench = Bench::showing(Fault::new(FaultKind::ReadOnlyKey)).await;
    let record = bench.fails(&["the key is read-only", "make a deploy key that has"]).await;
    assert_no_export_was_asked_for(&bench, &record);
    bench.recovers().await;
}

#[tokio::test]
async fn a_key_that_is_refused_is_told_so() {
    let bench = Bench::showing(Fault::new(FaultKind::BadKey)).await;
    let record = bench.fails(&["the key is refused", "deploy key of this deployment"]).await;
    assert_no_export_was_asked_for(&bench, &record);
    bench.recovers().await;
}

#[tokio::test]
async fn an_export_whose_expiry_may_not_be_set_is_a_warning_of_a_good_run() {
    let bench = Bench::showing(Fault::new(FaultKind::ExpiryDenied)).await;
    let (record, _) = bench.succeeds().await;
    let told = |text: &String| text.contains("deployment:backups:delete") && text.contains("expire_exports");
    assert!(record.warnings.iter().any(told), "{:?}", record.warnings);
}
