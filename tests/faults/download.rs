//! Faults on the way from the deployment to here.

use std::time::Duration;

use convault_core::RunRecord;
use convault_simulator::{Fault, FaultKind};

use crate::bench::Bench;

fn assert_downloaded_again(record: &RunRecord) {
    assert!(
        record.warnings.iter().any(|text| text.contains("downloading again")),
        "{:?}: the run does not say that it downloaded again",
        record.warnings
    );
}

async fn happens_once(kind: FaultKind) {
    let bench = Bench::showing(Fault::with(kind, 1)).await;
    let (record, _) = bench.succeeds().await;
    assert_downloaded_again(&record);
}

async fn happens_always(kind: FaultKind, words: &[&str]) {
    let bench = Bench::showing(Fault::new(kind)).await;
    let record = bench.fails(words).await;
    assert!(record.retryable);
    bench.recovers().await;
}

#[tokio::test]
async fn a_download_that_is_cut_short_once_is_begun_again() {
    happens_once(FaultKind::TruncatedDownload).await;
}

#[tokio::test]
async fn downloads_that_are_always_cut_short_give_no_snapshot() {
    happens_always(FaultKind::TruncatedDownload, &["deployment crm", "broke after", "begin again"]).await;
}

#[tokio::test]
async fn a_download_that_announces_another_length_once_is_begun_again() {
    happens_once(FaultKind::WrongLength).await;
}

#[tokio::test]
async fn downloads_that_always_announce_another_length_give_no_snapshot() {
    happens_always(FaultKind::WrongLength, &["announces", "but the export has", "a proxy?"]).await;
}

#[tokio::test]
async fn a_bit_that_flips_in_transit_once_is_noticed_and_the_download_begun_again() {
    happens_once(FaultKind::CorruptDownload).await;
}

#[tokio::test]
async fn a_bit_that_always_flips_in_transit_gives_no_snapshot() {
    let words = ["the export that arrived cannot be trusted", "look at the deployment"];
    happens_always(FaultKind::CorruptDownload, &words).await;
}

#[tokio::test]
async fn a_download_that_stalls_once_is_begun_again() {
    let mut bench = Bench::showing(Fault::with(FaultKind::StalledDownload, 1)).await;
    bench.connection.idle_timeout = Duration::from_secs(3);
    let (record, _) = bench.succeeds().await;
    assert_downloaded_again(&record);
}

#[tokio::test]
async fn downloads_that_always_stall_give_no_snapshot() {
    let mut bench = Bench::showing(Fault::new(FaultKind::StalledDownload)).await;
    bench.connection.idle_timeout = Duration::from_secs(3);
    let record = bench.fails(&["deployment crm", "broke after", "begin again"]).await;
    assert!(record.retryable);
    bench.recovers().await;
}

#[tokio::test]
async fn a_download_that_is_answered_with_503_is_asked_for_again() {
    let bench = Bench::showing(Fault::with(FaultKind::Download503, 2)).await;
    bench.succeeds().await;
}

#[tokio::test]
async fn downloads_that_are_always_answered_with_503_give_no_snapshot() {
    happens_always(FaultKind::Download503, &["cannot download the export", "check that it is running"]).await;
}
