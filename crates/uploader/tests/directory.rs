//! What a directory does beyond the contract: surviving a kill, a disk that is not mounted, things put there by
//! somebody else.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{fs, os::unix::fs::symlink};

use bytes::Bytes;
use convault_core::{DestinationName, Part, PutMode, Sha256, Store as _, StoreErrorKind};
use convault_uploader::DirectoryStore;
use futures::TryStreamExt as _;

fn store(root: &std::path::Path) -> DirectoryStore {
    DirectoryStore::new(DestinationName::new("shelf").unwrap(), root)
}

async fn keys(store: &DirectoryStore) -> Vec<String> {
    store.list("").map_ok(|info| info.key).try_collect().await.unwrap()
}

#[tokio::test]
async fn an_upload_cut_off_by_a_kill_is_found_and_aborted_by_the_next_process() {
    let root = tempfile::tempdir().unwrap();
    let before = store(root.path());
    let upload = before.upload("crm/snapshots/1/snapshot.zip", 8, PutMode::IfAbsent).await.unwrap();
    let body = Bytes::from_static(b"12345678");
    upload.put_part(Part { number: 1, sha256: Sha256::of(&body), body }).await.unwrap();
    // Forgotten, as by a kill: nothing of it runs any more.
    std::mem::forget(upload);

    let after = store(root.path());
    assert!(keys(&after).await.is_empty());
    let found = after.list_uploads("crm/snapshots/1/").await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].key, "crm/snapshots/1/snapshot.zip");
    after.abort_upload(&found[0]).await.unwrap();
    assert!(after.list_uploads("").await.unwrap().is_empty());
    let left: Vec<_> = fs::read_dir(root.path().join(".uploads")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_disk_that_is_not_mounted_is_an_error_and_not_an_empty_store() {
    let root = tempfile::tempdir().unwrap();
    let missing = root.path().join("not-mounted");
    let store = store(&missing);
    let listed = store.list("").try_collect::<Vec<_>>().await.unwrap_err();
    let errors = [
        listed,
        store.head("a").await.unwrap_err(),
        store.get("a", None).await.err().unwrap(),
        store.list_folders("").await.unwrap_err(),
        store.list_uploads("").await.unwrap_err(),
        store.put("a", Bytes::new(), PutMode::Overwrite).await.unwrap_err(),
        store.upload("a", 8, PutMode::Overwrite).await.err().unwrap(),
        store.delete("a").await.unwrap_err(),
        store.abilities().await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind, StoreErrorKind::Other, "{error}");
        assert!(error.to_string().contains("mount or make it"), "{error}");
    }
    assert!(!missing.exists(), "the root was made");
}

#[tokio::test]
async fn a_key_that_leaves_the_root_is_refused_everywhere() {
    let root = tempfile::tempdir().unwrap();
    let inside = root.path().join("inside");
    fs::create_dir(&inside).unwrap();
    fs::write(root.path().join("secret"), "s").unwrap();
    let store = store(&inside);
    for key in ["../secret", "/etc/hostname", "a/../../secret", ".uploads/x"] {
        assert!(store.get(key, None).await.is_err(), "{key}");
        assert!(store.head(key).await.is_err(), "{key}");
        assert!(store.put(key, Bytes::new(), PutMode::Overwrite).await.is_err(), "{key}");
        assert!(store.upload(key, 8, PutMode::Overwrite).await.is_err(), "{key}");
        assert!(store.delete(key).await.is_err(), "{key}");
    }
    assert!(store.list("../").try_collect::<Vec<_>>().await.is_err());
    assert_eq!(fs::read(root.path().join("secret")).unwrap(), b"s");
}

#[tokio::test]
async fn links_and_empty_folders_of_somebody_else_are_not_listed() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    store.put("crm/a", Bytes::from_static(b"x"), PutMode::Overwrite).await.unwrap();
    fs::create_dir_all(root.path().join("lost+found/deeper")).unwrap();
    symlink(root.path(), root.path().join("crm/circle")).unwrap();
    assert_eq!(keys(&store).await, ["crm/a"]);
    assert_eq!(store.list_folders("").await.unwrap(), ["crm"]);
}

#[tokio::test]
async fn a_put_while_the_folder_is_being_emptied_still_arrives() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    for round in 0..50 {
        let (kept, gone) = (format!("crm/{round}/kept"), format!("crm/{round}/gone"));
        store.put(&gone, Bytes::new(), PutMode::Overwrite).await.unwrap();
        let (put, deleted) =
            tokio::join!(store.put(&kept, Bytes::new(), PutMode::IfAbsent), store.delete(&gone));
        put.unwrap();
        deleted.unwrap();
    }
    assert_eq!(keys(&store).await.len(), 50);
}
