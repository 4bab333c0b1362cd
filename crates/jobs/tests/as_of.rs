//! A bucket that a thief has emptied is read as it was before: in memory, on the S3 server in process, and on one that
//! environment variables name.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use convault_core::{
    Clock, DestinationName, Lock, LockMode, Part, PutMode, Secret, Sha256, Store, StoreErrorKind, SystemClock,
};
use convault_jobs::AsOf;
use convault_simulator::s3::{S3Policy, S3Server, S3ServerConfig};
use convault_uploader::{DirectoryStore, MemoryStore, S3Settings, S3Store, S3Timeouts};
use futures::TryStreamExt as _;
use jiff::{SignedDuration, Timestamp};

const PART_BYTES: u64 = 5 << 20;

/// A clock that stands still until it is set.
#[derive(Debug)]
struct Hand(Mutex<Timestamp>);

impl Hand {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new("2026-03-01T03:00:00Z".parse().unwrap())))
    }

    fn pass(&self, seconds: i64) {
        *self.0.lock().unwrap() += SignedDuration::from_secs(seconds);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    fn instant(&self) -> Instant {
        SystemClock.instant()
    }
}

fn destination() -> DestinationName {
    DestinationName::new("offsite").unwrap()
}

fn settings(endpoint: String, access: &str, secret: &str, bucket: &str, prefix: &str) -> S3Settings {
    S3Settings {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: Some(endpoint),
        path_style: true,
        sends_checksums: true,
        access_key: Secret::new(access),
        secret_key: Secret::new(secret),
        session_token: None,
        ca_file: None,
        timeouts: S3Timeouts::default(),
    }
}

async fn put(store: &dyn Store, key: &str, body: &'static str) {
    store.put(key, Bytes::from_static(body.as_bytes()), PutMode::Overwrite).await.unwrap();
}

async fn read(store: &dyn Store, key: &str) -> Vec<u8> {
    let chunks = store.get(key, None).await.unwrap();
    chunks.try_collect::<Vec<_>>().await.unwrap().concat()
}

/// Every key with its bytes, as a reader of the whole destination gets them.
async fn everything(store: &dyn Store) -> BTreeMap<String, Vec<u8>> {
    let infos: Vec<_> = store.list("").try_collect().await.unwrap();
    let mut found = BTreeMap::new();
    for info in infos {
        let body = read(store, &info.key).await;
        let head = store.head(&info.key).await.unwrap();
        assert_eq!((info.size_bytes, &head.etag), (body.len() as u64, &info.etag));
        assert_eq!(head.size_bytes, body.len() as u64);
        found.insert(info.key, body);
    }
    found
}

/// Two snapshots with data, manifests and marks; one object was overwritten and one deleted in good faith.
async fn live_a_while(store: &dyn Store) {
    put(store, "convault.json", "{}").await;
    put(store, "crm/snapshots/0/manifest.json", "pruned long ago").await;
    store.delete("crm/snapshots/0/manifest.json").await.unwrap();
    for id in ["1", "2"] {
        let body = Bytes::from(vec![id.as_bytes()[0]; 1000]);
        let key = format!("crm/snapshots/{id}/snapshot.zip");
        let upload = store.upload(&key, PART_BYTES, PutMode::IfAbsent).await.unwrap();
        upload.put_part(Part { number: 1, sha256: Sha256::of(&body), body }).await.unwrap();
        upload.finish().await.unwrap();
        put(store, &format!("crm/snapshots/{id}/manifest.json"), "{\"good\":true}").await;
    }
    put(store, "crm/marks/1/a.json", "accepted").await;
    put(store, "leases/crm.json", "old holder").await;
    put(store, "leases/crm.json", "holder").await;
}

/// Overwrites everything, deletes half of it, and leaves some of his own.
async fn rob(store: &dyn Store) {
    let keys: Vec<_> = store.list("").map_ok(|info| info.key).try_collect().await.unwrap();
    for (number, key) in keys.iter().enumerate() {
        put(store, key, "ransom").await;
        if number % 2 == 0 {
            store.delete(key).await.unwrap();
        }
    }
    put(store, "crm/snapshots/9/manifest.json", "forged").await;
}

/// What is read of the time before is what was there, whole.
async fn the_past_is_whole(
    store: Arc<dyn Store>,
    reader: Arc<dyn Store>,
    pass: impl AsyncFn(),
    now: impl Fn() -> Timestamp,
) {
    pass().await;
    let beginning = now();
    pass().await;
    live_a_while(&*store).await;
    let before = everything(&*store).await;
    pass().await;
    let time = now();
    pass().await;
    rob(&*store).await;
    assert_ne!(everything(&*store).await, before);

    let earlier = AsOf::new(reader.clone(), time);
    assert_eq!(everything(&earlier).await, before);
    assert_eq!(earlier.list_folders("crm/snapshots/").await.unwrap(), ["1", "2"]);
    assert_eq!(earlier.list_folders("").await.unwrap(), ["crm", "leases"]);
    for gone in
        ["crm/snapshots/0/manifest.json", "crm/snapshots/9/manifest.json", "never", "crm/snapshots/1/m"]
    {
        assert_eq!(earlier.head(gone).await.unwrap_err().kind, StoreErrorKind::NotFound, "{gone}");
        assert_eq!(earlier.get(gone, None).await.err().unwrap().kind, StoreErrorKind::NotFound, "{gone}");
    }
    let range = earlier.get("crm/snapshots/2/snapshot.zip", Some(10..13)).await.unwrap();
    assert_eq!(range.try_collect::<Vec<_>>().await.unwrap().concat(), b"222");

    let before_all = AsOf::new(reader.clone(), beginning);
    assert!(everything(&before_all).await.is_empty());
    let after = AsOf::new(reader, now() + SignedDuration::from_hours(1));
    assert_eq!(everything(&after).await, everything(&*store).await);
}

#[tokio::test]
async fn a_robbed_bucket_is_read_as_it_was_in_memory() {
    let hand = Hand::new();
    let store = Arc::new(MemoryStore::with_clock(destination(), hand.clone()).with_versions());
    the_past_is_whole(store.clone(), store, async || hand.pass(60), || hand.now()).await;
}

/// The reader's keys may only read.
#[tokio::test]
async fn a_robbed_bucket_is_read_as_it_was_on_s3() {
    let hand = Hand::new();
    let server = S3Server::new(S3ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        root: None,
        access_key: "convault".to_owned(),
        secret_key: Secret::new("convault-secret"),
        faults: Vec::new(),
    });
    let server = server.with_versions().with_clock(hand.clone());
    let server = server.with_keys("reader", Secret::new("reader-secret"), S3Policy::ReadOnly);
    let server = server.start().await.unwrap();
    let store = |access: &str, secret: &str| {
        let settings = settings(server.endpoint(), access, secret, "acme", "convex");
        Arc::new(S3Store::new(destination(), &settings).unwrap())
    };
    let (writer, reader) = (store("convault", "convault-secret"), store("reader", "reader-secret"));
    the_past_is_whole(writer, reader, async || hand.pass(60), || hand.now()).await;
    assert_eq!(server.counters().denied, 0);
}

/// On a server that is none of ours, where `CONVAULT_TEST_S3_ENDPOINT` names one, as `tests/seaweedfs/run.sh` does.
/// There the thief meets locks as well, which his keys do not lift.
#[tokio::test(flavor = "multi_thread")]
async fn a_robbed_bucket_is_read_as_it_was_elsewhere() {
    let Some(endpoint) = variable("CONVAULT_TEST_S3_ENDPOINT") else { return };
    let wanted =
        |name: &str| variable(name).unwrap_or_else(|| panic!("{name} must be set with the endpoint"));
    let random = tempfile::Builder::new().rand_bytes(12).tempfile().unwrap();
    let prefix = random.path().file_name().unwrap().to_str().unwrap().replace('.', "");
    let open = |access: &str| -> Arc<dyn Store> {
        let (secret, bucket) =
            (wanted("CONVAULT_TEST_S3_SECRET_KEY"), wanted("CONVAULT_TEST_S3_LOCK_BUCKET"));
        let settings = settings(endpoint.clone(), &wanted(access), &secret, &bucket, &prefix);
        Arc::new(S3Store::new(destination(), &settings).unwrap())
    };
    let (store, reader) = (open("CONVAULT_TEST_S3_ACCESS_KEY"), open("CONVAULT_TEST_S3_READER_KEY"));
    let pass = async || tokio::time::sleep(Duration::from_millis(1500)).await;
    the_past_is_whole(store.clone(), reader.clone(), pass, || SystemClock.now()).await;

    let until = Timestamp::from_second(SystemClock.now().as_second() + 3600).unwrap();
    for (key, mode) in [("a", LockMode::Governance), ("b", LockMode::Compliance)] {
        put(&*store, key, "kept").await;
        store.set_lock(key, Lock { mode, until }).await.unwrap();
    }
    pass().await;
    let time = SystemClock.now();
    pass().await;
    for key in ["a", "b"] {
        put(&*store, key, "ransom").await;
        store.delete(key).await.unwrap();
        let versions: Vec<_> = store.list_versions(key).try_collect().await.unwrap();
        assert_eq!(versions.len(), 3);
        for version in versions {
            if let Err(error) = store.delete_version(key, &version.version).await {
                assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
                assert!(version.modified < time && error.to_string().contains("locked until"), "{error}");
            }
        }
        assert_eq!(read(&AsOf::new(reader.clone(), time), key).await, b"kept");
    }
}

#[expect(clippy::disallowed_methods, reason = "the script that starts the server hands it over like this")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[tokio::test]
async fn the_past_is_never_written_to() {
    let store = Arc::new(MemoryStore::new(destination()).with_versions());
    put(&*store, "a", "x").await;
    let past = AsOf::new(store.clone(), SystemClock.now());
    let body = Bytes::from_static(b"y");
    let refused = [
        past.put("a", body, PutMode::Overwrite).await.unwrap_err(),
        past.upload("a", PART_BYTES, PutMode::Overwrite).await.err().unwrap(),
        past.delete("a").await.unwrap_err(),
        past.delete_version("a", "v1").await.unwrap_err(),
        past.abilities().await.unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
        assert!(error.to_string().contains("the past is only read"), "{error}");
    }
    assert_eq!(read(&*store, "a").await, b"x");
    assert!(past.location().starts_with("memory as of 20"), "{}", past.location());
}

#[tokio::test]
async fn a_store_without_versions_names_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let server = S3Server::new(S3ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        root: None,
        access_key: "convault".to_owned(),
        secret_key: Secret::new("convault-secret"),
        faults: Vec::new(),
    });
    let server = server.start().await.unwrap();
    let s3 = settings(server.endpoint(), "convault", "convault-secret", "acme", "");
    let stores: [Arc<dyn Store>; 3] = [
        Arc::new(MemoryStore::new(destination())),
        Arc::new(DirectoryStore::new(destination(), folder.path())),
        Arc::new(S3Store::new(destination(), &s3).unwrap()),
    ];
    for store in stores {
        put(&*store, "a", "x").await;
        let past = AsOf::new(store, SystemClock.now());
        let errors = [
            past.head("a").await.unwrap_err(),
            past.get("a", None).await.err().unwrap(),
            past.list("").try_collect::<Vec<_>>().await.unwrap_err(),
            past.list_folders("").await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind, StoreErrorKind::Unsupported, "{error}");
            assert!(error.to_string().contains("turn versioning on"), "{error}");
        }
    }
}
