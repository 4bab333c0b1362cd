//! Faults on the way of stored files that are kept apart from the snapshot's ZIP.

use convault_core::FilesMode;
use convault_simulator::{Fault, FaultKind};

use crate::bench::Bench;

async fn sharing(fault: Fault) -> Bench {
    let mut bench = Bench::showing(fault).await;
    bench.job.files = FilesMode::Shared;
    bench
}

#[tokio::test]
async fn a_listed_file_that_is_not_served_is_named_as_suspect() {
    let bench = sharing(Fault::new(FaultKind::FileNotFound)).await;
    let ids = bench.is_suspect(&["1 stored file(s) that the deployment lists cannot be fetched"]).await;
    let [only] = &ids[..] else { panic!("not one id: {ids:?}") };
    assert!(only.ends_with(": it is not there to be fetched"), "{only}");
}

#[tokio::test]
async fn a_file_that_is_cut_short_once_is_fetched_again() {
    sharing(Fault::with(FaultKind::TruncatedFile, 1)).await.succeeds().await;
}

#[tokio::test]
async fn files_that_are_always_cut_short_are_named_as_suspect() {
    let bench = sharing(Fault::new(FaultKind::TruncatedFile)).await;
    let ids = bench.is_suspect(&["stored file(s) that the deployment lists cannot be fetched"]).await;
    assert!(!ids.is_empty());
}

#[tokio::test]
async fn a_deployment_that_is_busy_once_is_asked_for_the_file_again() {
    sharing(Fault::with(FaultKind::File503, 1)).await.succeeds().await;
}

#[tokio::test]
async fn a_deployment_that_is_always_too_busy_for_files_gives_no_snapshot() {
    let bench = sharing(Fault::new(FaultKind::File503)).await;
    let record = bench.fails(&["deployment crm"]).await;
    assert!(record.retryable);
    bench.recovers().await;
}
