//! The stores that are held to the contract, each empty.

use std::{any::Any, path::PathBuf};

use convault_core::{DefaultLock, DestinationName, LockMode, Secret, Store};
use convault_simulator::s3::{S3Server, S3ServerConfig};
use convault_uploader::{DirectoryStore, MemoryStore, S3Settings, S3Store, S3Timeouts};
use futures::{StreamExt as _, TryStreamExt as _};

/// A store, and whatever has to live as long as it does.
pub(crate) struct Place {
    pub(crate) store: Box<dyn Store>,
    _kept: Box<dyn Any + Send>,
}

const ONE_DAY: DefaultLock = DefaultLock { mode: LockMode::Governance, days: 1 };

fn destination() -> DestinationName {
    DestinationName::new("offsite").unwrap()
}

pub(crate) async fn memory() -> Option<Place> {
    Some(Place { store: Box::new(MemoryStore::new(destination())), _kept: Box::new(()) })
}

pub(crate) async fn directory() -> Option<Place> {
    let root = tempfile::tempdir().unwrap();
    Some(Place { store: Box::new(DirectoryStore::new(destination(), root.path())), _kept: Box::new(root) })
}

pub(crate) async fn s3_in_memory() -> Option<Place> {
    Some(own_server(None, |server| server).await)
}

pub(crate) async fn memory_with_versions() -> Option<Place> {
    Some(in_memory(MemoryStore::with_versions))
}

pub(crate) async fn memory_with_locks() -> Option<Place> {
    Some(in_memory(|store| store.with_locks(None)))
}

pub(crate) async fn memory_that_locks() -> Option<Place> {
    Some(in_memory(|store| store.with_locks(Some(ONE_DAY))))
}

pub(crate) async fn memory_without_versions() -> Option<Place> {
    memory().await
}

pub(crate) async fn directory_without_versions() -> Option<Place> {
    directory().await
}

pub(crate) async fn s3_with_versions() -> Option<Place> {
    Some(own_server(None, S3Server::with_versions).await)
}

pub(crate) async fn s3_with_locks() -> Option<Place> {
    Some(own_server(None, |server| server.with_locks(None)).await)
}

pub(crate) async fn s3_that_locks() -> Option<Place> {
    Some(own_server(None, |server| server.with_locks(Some(ONE_DAY))).await)
}

pub(crate) async fn s3_without_versions() -> Option<Place> {
    s3_in_memory().await
}

fn in_memory(kind: impl FnOnce(MemoryStore) -> MemoryStore) -> Place {
    Place { store: Box::new(kind(MemoryStore::new(destination()))), _kept: Box::new(()) }
}

pub(crate) async fn s3_on_disk() -> Option<Place> {
    let root = tempfile::tempdir().unwrap();
    let Place { store, _kept: running } = own_server(Some(root.path().to_owned()), |server| server).await;
    Some(Place { store, _kept: Box::new((running, root)) })
}

async fn own_server(root: Option<PathBuf>, kind: impl FnOnce(S3Server) -> S3Server) -> Place {
    let server = S3Server::new(S3ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        root,
        access_key: "convault".to_owned(),
        secret_key: Secret::new("convault-secret"),
        faults: Vec::new(),
    });
    let running = kind(server).start().await.unwrap();
    let settings = settings(running.endpoint(), "convault", "convault-secret", "contract", "/convex/");
    let store = S3Store::new(destination(), &settings).unwrap();
    Place { store: Box::new(store), _kept: Box::new(running) }
}

/// A server that is none of ours, where `CONVAULT_TEST_S3_ENDPOINT` names one: its buckets must exist, and each
/// case takes a prefix of its own in one. `tests/seaweedfs/run.sh` sets all this up.
pub(crate) async fn s3_elsewhere() -> Option<Place> {
    elsewhere("CONVAULT_TEST_S3_BUCKET")
}

pub(crate) async fn s3_elsewhere_without_versions() -> Option<Place> {
    elsewhere("CONVAULT_TEST_S3_BUCKET")
}

pub(crate) async fn s3_elsewhere_with_locks() -> Option<Place> {
    elsewhere("CONVAULT_TEST_S3_LOCK_BUCKET")
}

pub(crate) async fn s3_elsewhere_that_locks() -> Option<Place> {
    elsewhere("CONVAULT_TEST_S3_DEFAULT_LOCK_BUCKET")
}

fn elsewhere(bucket: &str) -> Option<Place> {
    let endpoint = variable("CONVAULT_TEST_S3_ENDPOINT")?;
    let wanted =
        |name: &str| variable(name).unwrap_or_else(|| panic!("{name} must be set with the endpoint"));
    let (access, secret) = (wanted("CONVAULT_TEST_S3_ACCESS_KEY"), wanted("CONVAULT_TEST_S3_SECRET_KEY"));
    let bucket = wanted(bucket);
    let random = tempfile::Builder::new().rand_bytes(12).tempfile().unwrap();
    let prefix = random.path().file_name().unwrap().to_str().unwrap().replace('.', "");
    let store = S3Store::new(destination(), &settings(endpoint, &access, &secret, &bucket, &prefix)).unwrap();
    Some(Place { store: Box::new(store), _kept: Box::new(()) })
}

#[expect(clippy::disallowed_methods, reason = "the script that starts the server hands it over like this")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
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

/// Removes everything of a store that outlives the test.
pub(crate) async fn clear(store: &dyn Store) {
    for upload in store.list_uploads("").await.unwrap() {
        store.abort_upload(&upload).await.unwrap();
    }
    let keys: Vec<_> = store.list("").map_ok(|info| info.key).try_collect().await.unwrap();
    futures::stream::iter(keys.iter().map(|key| store.delete(key)))
        .buffer_unordered(8)
        .try_for_each(|()| async { Ok(()) })
        .await
        .unwrap();
}
