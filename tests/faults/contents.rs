//! Faults in what the deployment exports.

use convault_simulator::{Fault, FaultKind};

use crate::bench::Bench;

/// Runs a backup of an export that cannot be a snapshot, whatever is done.
async fn is_refused(kind: FaultKind, words: &[&str]) {
    let bench = Bench::showing(Fault::new(kind)).await;
    bench.fails(words).await;
    bench.recovers().await;
}

/// Runs a backup of an export that is damaged on the deployment itself. Gives the ids that the snapshot names.
async fn is_suspect(kind: FaultKind, words: &[&str]) -> Vec<String> {
    Bench::showing(Fault::new(kind)).await.is_suspect(words).await
}

fn names_one_file(ids: &[String], what: &str) {
    let [only] = ids else { panic!("not one id: {ids:?}") };
    let (id, said) = only.split_once(": ").unwrap();
    assert_eq!(said, what);
    assert!(id.len() >= 31 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
}

#[tokio::test]
async fn a_stored_file_that_is_not_what_its_row_says_is_named_as_suspect() {
    let ids = is_suspect(FaultKind::DamagedFile, &["the stored files"]).await;
    names_one_file(&ids, "its content is not what its row announces");
}

#[tokio::test]
async fn a_row_without_its_file_is_named_as_suspect() {
    let ids = is_suspect(FaultKind::RowWithoutFile, &["the stored files"]).await;
    names_one_file(&ids, "has a row but no file");
}

#[tokio::test]
async fn a_file_without_its_row_is_named_as_suspect() {
    let ids = is_suspect(FaultKind::FileWithoutRow, &["the stored files"]).await;
    names_one_file(&ids, "has a file but no row");
}

#[tokio::test]
async fn a_table_that_is_listed_and_missing_is_suspect() {
    is_suspect(FaultKind::MissingTable, &["table `", "is listed but not in the ZIP"]).await;
}

#[tokio::test]
async fn a_table_that_is_there_and_not_listed_is_suspect() {
    is_suspect(FaultKind::UnlistedTable, &["table `", "is in the ZIP but not listed"]).await;
}

#[tokio::test]
async fn an_entry_that_comes_twice_is_refused() {
    is_refused(FaultKind::DuplicateEntry, &["the ZIP has two entries named", "/documents.jsonl`"]).await;
}

#[tokio::test]
async fn an_entry_that_leads_out_of_its_folder_is_refused() {
    is_refused(FaultKind::PathTrick, &["`../evil`", "look at the deployment"]).await;
}

#[tokio::test]
async fn an_entry_with_an_absolute_name_is_refused() {
    is_refused(FaultKind::AbsolutePath, &["`/tmp/evil`", "it is absolute"]).await;
}

#[tokio::test]
async fn a_file_that_inflates_past_its_row_is_suspect() {
    let bench = Bench::showing(Fault::with(FaultKind::ZipBomb, 5_000_000)).await;
    let ids = bench.is_suspect(&["the stored files"]).await;
    names_one_file(&ids, "its content is not what its row announces");
}

#[tokio::test]
async fn bytes_behind_the_end_are_refused() {
    is_refused(FaultKind::TrailingGarbage, &["bytes follow the end of the ZIP"]).await;
}

#[tokio::test]
async fn a_wrong_checksum_in_the_zip_is_refused() {
    is_refused(FaultKind::BadCrc, &["has CRC-32"]).await;
}

#[tokio::test]
async fn a_directory_with_two_names_exchanged_is_refused() {
    is_refused(FaultKind::SwappedEntries, &["the ZIP's directory does not describe the entries"]).await;
}

#[tokio::test]
async fn a_line_that_is_no_document_is_suspect() {
    is_suspect(FaultKind::BadLine, &["line ", "is not an object"]).await;
}

#[tokio::test]
async fn a_document_without_its_id_is_suspect() {
    is_suspect(FaultKind::NoId, &["line ", "has no `_id`"]).await;
}

#[tokio::test]
async fn the_longest_line_that_a_deployment_can_write_is_stored() {
    let mut bench = Bench::showing(Fault::new(FaultKind::LongLine)).await;
    // So much more in one day would be looked at first.
    bench.job.anomaly.up_percent = 100_000;
    let (record, _) = bench.succeeds().await;
    assert_eq!(record.documents, bench.earlier.documents + 1);
}

#[tokio::test]
async fn a_line_longer_than_any_deployment_writes_is_refused() {
    is_refused(FaultKind::HugeLine, &["is longer than 16777216 bytes"]).await;
}

#[tokio::test]
async fn exports_as_old_servers_wrote_them_are_stored_for_somebody_to_look_at() {
    let bench = Bench::showing(Fault::new(FaultKind::LegacyFormat)).await;
    let documents = bench.earlier.documents.to_string();
    assert!(bench.is_suspect(&["legacy format", &documents]).await.is_empty());
}
