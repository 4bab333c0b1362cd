//! What a verify finds, cheaply and by reading every byte.

use bytes::Bytes;
use convault_core::{Manifest, ObjectRole, PutMode, RunId, Store, StoreErrorKind};
use convault_jobs::{Destination, VerifyDepth, VerifyReport, verify};
use convault_uploader::{MemoryFault, MemoryOperation, MemoryStore};

use crate::{
    bench::{Run, SMALL, TWO_PARTS, back_up_into, crm, destination, job, memory, snapshots, verified},
    counting::Counting,
    export::{FakeSource, sound},
};

/// A destination with one snapshot, and the key of its ZIP.
async fn stored() -> (MemoryStore, Manifest, String) {
    let store = memory("offsite");
    back_up_into(&job(), &FakeSource::of(sound(SMALL)), &[&store]).await;
    let [manifest] = snapshots(&store).await.try_into().unwrap();
    let key = zip_key(&manifest);
    (store, manifest, key)
}

fn zip_key(manifest: &Manifest) -> String {
    let object = manifest.object(ObjectRole::Snapshot).unwrap();
    format!("crm/snapshots/{}/{}", manifest.id, object.name)
}

fn the_only_fault(report: &VerifyReport) -> &str {
    assert_eq!(report.faults.len(), 1, "{report:?}");
    assert!(report.sound.is_empty());
    &report.faults[0].what
}

fn flipped(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes.into()
}

#[tokio::test(start_paused = true)]
async fn a_sound_snapshot_is_sound_and_read_only_when_asked() {
    let (store, manifest, _) = stored().await;
    let cheap = verified(&store, VerifyDepth::Cheap).await;
    assert_eq!((cheap.sound.as_slice(), cheap.read_bytes), ([manifest.id.clone()].as_slice(), 0));
    let read = verified(&store, VerifyDepth::ReadData).await;
    assert_eq!(read.read_bytes, manifest.stored_bytes());
    assert_eq!(read.sound, [manifest.id]);
}

#[tokio::test(start_paused = true)]
async fn a_large_object_is_read_to_its_end_however_often_the_connection_breaks() {
    let store = memory("offsite");
    back_up_into(&job(), &FakeSource::of(sound(2 * TWO_PARTS)), &[&store]).await;
    let breaking = Counting::new(&store).breaking_after(1 << 20);
    let to = Destination::plain(std::sync::Arc::new(breaking));
    let context = &Run::new().context;
    let report = verify(&to, &crm(), &[], VerifyDepth::ReadData, context).await.unwrap();
    assert_eq!((report.faults.len(), report.read.len()), (0, 1), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_object_is_found_by_either() {
    let (store, _, key) = stored().await;
    store.delete(&key).await.unwrap();
    for depth in [VerifyDepth::Cheap, VerifyDepth::ReadData] {
        assert_eq!(the_only_fault(&verified(&store, depth).await), "it is missing");
    }
}

#[tokio::test(start_paused = true)]
async fn a_truncated_object_is_found_by_either() {
    let (store, _, key) = stored().await;
    let whole = store.contents(&key).unwrap();
    store.tamper(&key, whole.slice(..whole.len() - 1));
    for depth in [VerifyDepth::Cheap, VerifyDepth::ReadData] {
        let report = verified(&store, depth).await;
        let expected = format!("it has {} bytes, not {}", whole.len() - 1, whole.len());
        assert_eq!(the_only_fault(&report), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_is_found_cheaply_where_the_entity_tag_shows_it() {
    let (store, _, key) = stored().await;
    let whole = store.contents(&key).unwrap();
    store.put(&key, flipped(&whole), PutMode::Overwrite).await.unwrap();
    let report = verified(&store, VerifyDepth::Cheap).await;
    assert!(the_only_fault(&report).starts_with("its SHA-256 is "), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_below_the_entity_tag_is_found_by_reading() {
    let (store, _, key) = stored().await;
    store.tamper(&key, flipped(&store.contents(&key).unwrap()));
    assert_eq!(verified(&store, VerifyDepth::Cheap).await.faults, []);
    let report = verified(&store, VerifyDepth::ReadData).await;
    assert!(the_only_fault(&report).starts_with("its SHA-256 is "), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn the_same_bytes_under_another_entity_tag_are_sound() {
    let (store, manifest, key) = stored().await;
    store.put(&key, store.contents(&key).unwrap(), PutMode::Overwrite).await.unwrap();
    assert_eq!(verified(&store, VerifyDepth::Cheap).await.sound, [manifest.id]);
}

#[tokio::test(start_paused = true)]
async fn two_snapshots_whose_objects_are_swapped_are_both_found() {
    let store = memory("offsite");
    // Exports of one length that differ: the stored file is another one.
    for zip in [sound(SMALL), crate::export::damaged_at_the_source(SMALL)] {
        back_up_into(&job(), &FakeSource::of(zip), &[&store]).await;
    }
    let keys: Vec<String> = snapshots(&store).await.iter().map(zip_key).collect();
    let (one, other) = (store.contents(&keys[0]).unwrap(), store.contents(&keys[1]).unwrap());
    assert_eq!(one.len(), other.len());
    store.put(&keys[0], other, PutMode::Overwrite).await.unwrap();
    store.put(&keys[1], one, PutMode::Overwrite).await.unwrap();
    for depth in [VerifyDepth::Cheap, VerifyDepth::ReadData] {
        let report = verified(&store, depth).await;
        assert_eq!((report.faults.len(), report.sound.len()), (2, 0), "{report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_manifest_moved_to_another_snapshot_is_found() {
    let store = memory("offsite");
    for _ in 0..2 {
        back_up_into(&job(), &FakeSource::of(sound(SMALL)), &[&store]).await;
    }
    let [one, other] = snapshots(&store).await.try_into().unwrap();
    let key = |manifest: &Manifest| format!("crm/snapshots/{}/manifest.json", manifest.id);
    store.tamper(&key(&one), store.contents(&key(&other)).unwrap());
    let report = verified(&store, VerifyDepth::Cheap).await;
    assert_eq!(report.faults.len(), 1);
    assert!(report.faults[0].what.contains("but lies in the folder of"), "{report:?}");
    assert_eq!(report.sound, [other.id]);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_asked_for_and_not_there_is_a_fault() {
    let (store, manifest, _) = stored().await;
    let absent = RunId::parse("20261122T030056Z-700000").unwrap();
    let only = [absent.clone(), manifest.id.clone()];
    let report =
        verify(&destination(&store), &crm(), &only, VerifyDepth::Cheap, &Run::new().context).await.unwrap();
    assert_eq!(report.sound, [manifest.id]);
    assert_eq!((report.faults[0].id.clone(), report.faults[0].missing), (absent, true));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_asked_for_and_lost_its_manifest_is_a_fault() {
    let (store, manifest, _) = stored().await;
    store.delete(&format!("crm/snapshots/{}/manifest.json", manifest.id)).await.unwrap();
    let only = [manifest.id.clone()];
    let report =
        verify(&destination(&store), &crm(), &only, VerifyDepth::Cheap, &Run::new().context).await.unwrap();
    assert_eq!(report.faults.len(), 1, "{report:?}");
    assert!(report.faults[0].missing);
    let all = verified(&store, VerifyDepth::Cheap).await;
    assert_eq!((all.faults.as_slice(), all.not_snapshots), ([].as_slice(), vec![manifest.id]));
}

#[tokio::test(start_paused = true)]
async fn reading_is_taken_up_again_where_a_connection_broke() {
    let (store, manifest, _) = stored().await;
    store.fault(MemoryOperation::Get, 2, MemoryFault::Fail(StoreErrorKind::Transient));
    assert_eq!(verified(&store, VerifyDepth::ReadData).await.sound, [manifest.id]);
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_cannot_be_read_is_an_error_and_not_damage() {
    let (store, ..) = stored().await;
    store.fault_always(MemoryOperation::Get, MemoryFault::Fail(StoreErrorKind::Denied));
    let result = verify(&destination(&store), &crm(), &[], VerifyDepth::ReadData, &Run::new().context).await;
    assert!(matches!(result, Err(convault_jobs::JobError::Store(_))), "{result:?}");
}
