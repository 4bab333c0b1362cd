//! Credentials that may only do so much: append-only, write-only, read-only, on plain, versioned and locking buckets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use bytes::Bytes;
use convault_core::{
    Ability, DefaultLock, DestinationName, LockMode, Part, PutMode, Secret, Sha256, Store, StoreErrorKind,
    Upload,
};
use convault_simulator::s3::{RunningS3, S3Policy, S3Server, S3ServerConfig, S3ServerError};
use convault_uploader::{S3Settings, S3Store, S3Timeouts};
use futures::TryStreamExt as _;

const PART_BYTES: u64 = 5 << 20;
const ONE_DAY: DefaultLock = DefaultLock { mode: LockMode::Compliance, days: 1 };

/// A server that knows a pair of keys for each policy, named like it.
async fn server(kind: impl FnOnce(S3Server) -> S3Server) -> RunningS3 {
    let server = S3Server::new(S3ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        root: None,
        access_key: "owner".to_owned(),
        secret_key: Secret::new("secret"),
        faults: Vec::new(),
    });
    let server = kind(server)
        .with_keys("append-only", Secret::new("secret"), S3Policy::AppendOnly)
        .with_keys("write-only", Secret::new("secret"), S3Policy::WriteOnly)
        .with_keys("read-only", Secret::new("secret"), S3Policy::ReadOnly);
    server.start().await.unwrap()
}

fn store(server: &RunningS3, access_key: &str) -> S3Store {
    store_in(server.endpoint(), "rights", access_key, "secret")
}

fn store_in(endpoint: String, bucket: &str, access_key: &str, secret_key: &str) -> S3Store {
    let settings = S3Settings {
        bucket: bucket.to_owned(),
        prefix: "convex".to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: Some(endpoint),
        path_style: true,
        sends_checksums: true,
        access_key: Secret::new(access_key),
        secret_key: Secret::new(secret_key),
        session_token: None,
        ca_file: None,
        timeouts: S3Timeouts { tries: 3, first_back_off: Duration::from_millis(20), ..S3Timeouts::default() },
    };
    S3Store::new(DestinationName::new("offsite").unwrap(), &settings).unwrap()
}

fn body() -> Bytes {
    Bytes::from_static(b"the bytes of a snapshot")
}

async fn begin(store: &S3Store, key: &str) -> Box<dyn Upload> {
    let upload = store.upload(key, PART_BYTES, PutMode::IfAbsent).await.unwrap();
    upload.put_part(Part { number: 1, sha256: Sha256::of(&body()), body: body() }).await.unwrap();
    upload
}

async fn keys(store: &S3Store) -> Vec<String> {
    store.list("").map_ok(|info| info.key).try_collect().await.unwrap()
}

#[tokio::test]
async fn keys_that_may_not_delete_back_up_with_proof() {
    for locks in [None, Some(ONE_DAY)] {
        let server = server(|server| server.with_locks(locks)).await;
        let store = store(&server, "append-only");
        let stored = begin(&store, "crm/snapshot.zip").await.finish().await.unwrap();
        assert!(stored.checksum_confirmed && stored.size_bytes == body().len() as u64);
        assert!(store.put("crm/manifest.json", body(), PutMode::IfAbsent).await.unwrap().checksum_confirmed);
        let error = store.delete("crm/snapshot.zip").await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
        assert!(error.to_string().contains("`s3:DeleteObject` on bucket `rights`"), "{error}");
        let versions: Vec<_> = store.list_versions("crm/").try_collect().await.unwrap();
        let error = store.delete_version(&versions[0].key, &versions[0].version).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
        let reason = if locks.is_some() { "locked until" } else { "`s3:DeleteObjectVersion`" };
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(keys(&store).await, ["crm/manifest.json", "crm/snapshot.zip"]);
    }
}

#[tokio::test]
async fn keys_that_may_not_read_data_back_up_with_proof() {
    let server = server(S3Server::with_versions).await;
    let store = store(&server, "write-only");
    for key in ["crm/snapshot.zip", "crm/index.jsonl.zst", "crm/surroundings.zip.age"] {
        let stored = begin(&store, key).await.finish().await.unwrap();
        assert!(stored.checksum_confirmed && stored.size_bytes == body().len() as u64, "{key}");
        assert!(stored.etag.is_some());
        assert_eq!(store.head(key).await.unwrap_err().kind, StoreErrorKind::Denied);
        assert_eq!(store.get(key, None).await.err().unwrap().kind, StoreErrorKind::Denied);
    }
    assert!(store.put("crm/refs.zst", body(), PutMode::IfAbsent).await.unwrap().checksum_confirmed);
    store.put("crm/manifest.json", body(), PutMode::IfAbsent).await.unwrap();
    let read = store.get("crm/manifest.json", None).await.unwrap();
    assert_eq!(read.try_collect::<Vec<_>>().await.unwrap().concat(), body());
    assert_eq!(keys(&store).await.len(), 5);
}

/// On a server that is none of ours, where `CONVAULT_TEST_S3_ENDPOINT` names one, as `tests/seaweedfs/run.sh` does: in
/// a bucket whose policy denies every deletion, with keys that may write and list and nothing else.
#[tokio::test]
async fn keys_that_may_neither_read_nor_delete_back_up_elsewhere() {
    let Some(endpoint) = variable("CONVAULT_TEST_S3_ENDPOINT") else { return };
    let wanted =
        |name: &str| variable(name).unwrap_or_else(|| panic!("{name} must be set with the endpoint"));
    let (bucket, key) = (wanted("CONVAULT_TEST_S3_APPEND_BUCKET"), wanted("CONVAULT_TEST_S3_WRITER_KEY"));
    let store = store_in(endpoint, &bucket, &key, &wanted("CONVAULT_TEST_S3_SECRET_KEY"));
    let stored = begin(&store, "crm/snapshot.zip").await.finish().await.unwrap();
    assert!(stored.checksum_confirmed && stored.size_bytes == body().len() as u64);
    assert!(store.put("crm/manifest.json", body(), PutMode::IfAbsent).await.unwrap().checksum_confirmed);
    assert_eq!(store.head("crm/manifest.json").await.unwrap_err().kind, StoreErrorKind::Denied);
    let error = store.delete("crm/manifest.json").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
    let abilities = store.abilities().await.unwrap();
    assert_eq!((abilities.put_if_absent, abilities.finish_if_absent), (Ability::Works, Ability::Works));
    assert_eq!((abilities.replace_if_match, abilities.checksums), (Ability::Works, Ability::Works));
    assert_eq!(abilities.versions, Ability::Works);
    let keys = keys(&store).await;
    assert_eq!((keys.len(), keys.iter().filter(|key| key.starts_with("probe/")).count()), (3, 1));
}

#[expect(clippy::disallowed_methods, reason = "the script that starts the server hands it over like this")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Then only the size is known, from a listing: whoever wants proof has to have it read by somebody who may.
#[tokio::test]
async fn a_lost_answer_that_nobody_may_look_after_is_not_confirmed() {
    let server = server(|server| server).await;
    let store = store(&server, "write-only");
    let upload = begin(&store, "crm/snapshot.zip").await;
    server.set_faults(&["s3-lost-answer=1".parse().unwrap()]);
    let stored = upload.finish().await.unwrap();
    assert!(!stored.checksum_confirmed);
    assert_eq!(stored.size_bytes, body().len() as u64);
}

#[tokio::test]
async fn the_probe_lives_with_few_rights_and_leaves_one_object() {
    for access_key in ["append-only", "write-only"] {
        for locks in [None, Some(ONE_DAY)] {
            let server = server(|server| server.with_locks(locks)).await;
            let store = store(&server, access_key);
            let abilities = store.abilities().await.unwrap();
            assert_eq!(abilities.put_if_absent, Ability::Works);
            assert_eq!(abilities.finish_if_absent, Ability::Works);
            assert_eq!(abilities.replace_if_match, Ability::Works);
            assert_eq!(abilities.checksums, Ability::Works);
            assert_eq!((abilities.versions, abilities.locks), (Ability::Works, Ability::Works));
            assert_eq!(abilities.default_lock, locks);
            assert_eq!(keys(&store).await.len(), 1);
            assert!(store.list_uploads("").await.unwrap().is_empty());
            let versions: Vec<_> = store.list_versions("probe/").try_collect().await.unwrap();
            assert_eq!(versions.len(), 2);
            assert!(versions.iter().all(|version| version.size_bytes < 10));
        }
    }
}

#[tokio::test]
async fn the_probe_sees_what_it_may_not_ask_the_bucket() {
    for (locks, seen) in [(None, None), (Some(ONE_DAY), Some(ONE_DAY))] {
        let server = server(|server| server.with_locks(locks)).await;
        server.set_faults(&["s3-deny-settings".parse().unwrap()]);
        let store = store(&server, "append-only");
        let abilities = store.abilities().await.unwrap();
        assert_eq!((abilities.versions, abilities.locks), (Ability::Works, Ability::Works));
        assert_eq!(abilities.default_lock, seen);
    }
    let server = server(|server| server).await;
    server.set_faults(&["s3-deny-settings".parse().unwrap()]);
    let abilities = store(&server, "owner").abilities().await.unwrap();
    assert_eq!((abilities.versions, abilities.locks), (Ability::Refused, Ability::Refused));
    assert!(keys(&store(&server, "owner")).await.is_empty());
}

#[tokio::test]
async fn keys_that_may_only_read_are_told_so() {
    let server = server(S3Server::with_versions).await;
    let (owner, reader) = (store(&server, "owner"), store(&server, "read-only"));
    owner.put("a", body(), PutMode::Overwrite).await.unwrap();
    assert_eq!(reader.head("a").await.unwrap().size_bytes, body().len() as u64);
    assert_eq!(reader.list_versions("").try_collect::<Vec<_>>().await.unwrap().len(), 1);
    assert_eq!(reader.abilities().await.unwrap_err().kind, StoreErrorKind::Denied);
    let error = reader.put("b", body(), PutMode::Overwrite).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
    assert!(server.counters().denied >= 2);
}

#[tokio::test]
async fn a_server_with_a_folder_refuses_to_keep_versions() {
    let folder = tempfile::tempdir().unwrap();
    let server = S3Server::new(S3ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        root: Some(folder.path().to_owned()),
        access_key: "owner".to_owned(),
        secret_key: Secret::new("secret"),
        faults: Vec::new(),
    });
    let error = server.with_versions().start().await.unwrap_err();
    assert!(matches!(error, S3ServerError::VersionsOnDisk { .. }), "{error}");
    assert!(error.to_string().contains("in memory only"), "{error}");
}
