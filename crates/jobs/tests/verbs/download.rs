//! Giving a stored snapshot back.

use convault_core::{Manifest, ObjectRole, StoreErrorKind};
use convault_jobs::{Access, JobError, download, download_to_file};
use convault_uploader::{MemoryFault, MemoryOperation, MemoryStore};
use tempfile::TempDir;

use crate::{
    bench::{Run, SMALL, TWO_PARTS, back_up_into, job, memory, snapshots},
    export::{FakeSource, sound},
};

async fn stored(size: usize) -> (MemoryStore, Manifest, String) {
    let store = memory("offsite");
    back_up_into(&job(), &FakeSource::of(sound(size)), &[&store]).await;
    let [manifest] = snapshots(&store).await.try_into().unwrap();
    let name = &manifest.object(ObjectRole::Snapshot).unwrap().name;
    let key = format!("crm/snapshots/{}/{name}", manifest.id);
    (store, manifest, key)
}

fn names(folder: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn a_download_gives_the_very_bytes() {
    let (store, manifest, _) = stored(TWO_PARTS).await;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("crm.zip");
    let downloaded =
        download_to_file(&store, &manifest, Access::Opened(None), &path, &Run::new().context).await.unwrap();
    let zip = sound(TWO_PARTS);
    assert_eq!(downloaded.size_bytes, zip.len() as u64);
    assert_eq!(std::fs::read(&path).unwrap(), zip);
    assert_eq!(names(&folder), ["crm.zip"]);
}

#[tokio::test]
async fn a_file_that_is_there_is_left_as_it_is() {
    let (store, manifest, _) = stored(SMALL).await;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("crm.zip");
    std::fs::write(&path, b"precious").unwrap();
    let error = download_to_file(&store, &manifest, Access::Opened(None), &path, &Run::new().context)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("crm.zip"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    assert_eq!(names(&folder), ["crm.zip"]);
}

#[tokio::test]
async fn damage_is_found_on_the_way_out_and_leaves_no_file() {
    let (store, manifest, key) = stored(SMALL).await;
    let whole = store.contents(&key).unwrap();
    let mut flipped = whole.to_vec();
    flipped[100] ^= 1;
    for damaged in [flipped.into(), whole.slice(1..), [whole.as_ref(), b"x"].concat().into()] {
        store.tamper(&key, damaged);
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("crm.zip");
        let error = download_to_file(&store, &manifest, Access::Opened(None), &path, &Run::new().context)
            .await
            .unwrap_err();
        assert!(matches!(error, JobError::Damaged { .. }), "{error}");
        assert_eq!(names(&folder), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_download_that_fails_or_is_stopped_leaves_no_file() {
    let (store, manifest, _) = stored(SMALL).await;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("crm.zip");
    store.fault(MemoryOperation::Get, 1, MemoryFault::Fail(StoreErrorKind::Denied));
    download_to_file(&store, &manifest, Access::Opened(None), &path, &Run::new().context).await.unwrap_err();
    let run = Run::new();
    run.context.stop.cancel();
    let error =
        download_to_file(&store, &manifest, Access::Opened(None), &path, &run.context).await.unwrap_err();
    assert!(matches!(error, JobError::Stopped), "{error}");
    assert_eq!(names(&folder), Vec::<String>::new());
}

#[tokio::test]
async fn a_file_that_is_there_is_left_alone_before_anything_is_fetched() {
    let (store, manifest, _) = stored(SMALL).await;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("crm.zip");
    std::fs::write(&path, "mine").unwrap();
    store.fault(MemoryOperation::Get, 1, MemoryFault::Fail(StoreErrorKind::Denied));
    let error = download_to_file(&store, &manifest, Access::Opened(None), &path, &Run::new().context)
        .await
        .unwrap_err();
    assert!(error.to_string().ends_with("crm.zip: name another file, or move away what is there"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

#[tokio::test]
async fn a_stream_is_checked_at_its_end() {
    let (store, manifest, key) = stored(SMALL).await;
    let mut output = Vec::new();
    download(&store, &manifest, Access::Opened(None), &mut output, "stdout", &Run::new().context)
        .await
        .unwrap();
    assert_eq!(output, store.contents(&key).unwrap());
    let mut flipped = output.clone();
    flipped[7] ^= 1;
    store.tamper(&key, flipped.into());
    output.clear();
    let error = download(&store, &manifest, Access::Opened(None), &mut output, "stdout", &Run::new().context)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("SHA-256"), "{error}");
}
