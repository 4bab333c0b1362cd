//! The faults that the store in memory can be asked for.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use bytes::Bytes;
use convault_core::{DestinationName, Part, PutMode, Sha256, Store as _, StoreErrorKind};
use convault_uploader::{MemoryFault, MemoryOperation, MemoryStore};

fn store() -> MemoryStore {
    MemoryStore::new(DestinationName::new("offsite").unwrap())
}

fn body() -> Bytes {
    Bytes::from_static(b"body")
}

#[tokio::test]
async fn the_nth_call_fails_and_no_other() {
    let store = store();
    store.put("a", body(), PutMode::Overwrite).await.unwrap();
    store.fault(MemoryOperation::Put, 2, MemoryFault::Fail(StoreErrorKind::Full));
    store.put("b", body(), PutMode::Overwrite).await.unwrap();
    let error = store.put("c", body(), PutMode::Overwrite).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Full);
    store.put("d", body(), PutMode::Overwrite).await.unwrap();
    assert_eq!(store.keys(), ["a", "b", "d"]);
    assert_eq!(store.calls(MemoryOperation::Put), 4);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_work_done() {
    let store = store();
    let upload = store.upload("a", 8, PutMode::Overwrite).await.unwrap();
    upload.put_part(Part { number: 1, body: body(), sha256: Sha256::of(&body()) }).await.unwrap();
    store.fault(MemoryOperation::Finish, 1, MemoryFault::LoseAnswer);
    assert_eq!(upload.finish().await.unwrap_err().kind, StoreErrorKind::Transient);
    assert_eq!(store.contents("a").unwrap(), body());
}

#[tokio::test(start_paused = true)]
async fn a_hanging_call_never_answers_until_mended() {
    let store = store();
    store.fault_always(MemoryOperation::Head, MemoryFault::Hang);
    store.put("a", body(), PutMode::Overwrite).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_hours(1), store.head("a")).await.is_err());
    store.mend();
    assert_eq!(store.head("a").await.unwrap().size_bytes, 4);
}

#[tokio::test]
async fn a_part_with_the_wrong_checksum_is_corrupt() {
    let upload = store().upload("a", 8, PutMode::Overwrite).await.unwrap();
    let error =
        upload.put_part(Part { number: 1, body: body(), sha256: Sha256::of(b"other") }).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Corrupt);
}

#[tokio::test]
async fn tampering_changes_the_bytes_and_nothing_else() {
    let store = store();
    store.put("a", body(), PutMode::Overwrite).await.unwrap();
    let before = store.head("a").await.unwrap();
    store.tamper("a", Bytes::from_static(b"b0dy"));
    assert_eq!(store.head("a").await.unwrap(), before);
    assert_eq!(store.contents("a").unwrap(), "b0dy");
}
