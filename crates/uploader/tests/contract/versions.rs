//! The cases for stores that keep versions and have locks. Each takes a store that is empty.

use std::time::Duration;

use bytes::Bytes;
use convault_core::{
    Ability, Clock as _, Lock, LockMode, ObjectVersion, Part, PutMode, Sha256, Store, StoreErrorKind,
    SystemClock,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};

const PART_BYTES: u64 = 5 << 20;

async fn put(store: &dyn Store, key: &str, body: &'static str) {
    store.put(key, Bytes::from_static(body.as_bytes()), PutMode::Overwrite).await.unwrap();
}

async fn versions(store: &dyn Store, prefix: &str) -> Vec<ObjectVersion> {
    store.list_versions(prefix).try_collect().await.unwrap()
}

async fn collect(chunks: convault_core::ByteStream) -> Vec<u8> {
    chunks.try_collect::<Vec<_>>().await.unwrap().concat()
}

async fn read_version(store: &dyn Store, version: &ObjectVersion) -> Vec<u8> {
    collect(store.get_version(&version.key, &version.version, None).await.unwrap()).await
}

async fn read(store: &dyn Store, key: &str) -> Vec<u8> {
    collect(store.get(key, None).await.unwrap()).await
}

fn lock(mode: LockMode, seconds: i64) -> Lock {
    let until = SystemClock.now() + SignedDuration::from_secs(seconds);
    Lock { mode, until: Timestamp::from_second(until.as_second()).unwrap() }
}

pub(crate) async fn every_version_is_listed_the_newest_first(store: &dyn Store) {
    for body in ["one", "three", "seventh"] {
        put(store, "crm/a", body).await;
    }
    put(store, "crm/b", "x").await;
    put(store, "crm2/a", "x").await;
    let found = versions(store, "crm/").await;
    let seen: Vec<_> = found.iter().map(|it| (it.key.as_str(), it.size_bytes, it.latest)).collect();
    assert_eq!(seen, [("crm/a", 7, true), ("crm/a", 5, false), ("crm/a", 3, false), ("crm/b", 1, true)]);
    assert!(found.iter().all(|it| !it.deletion && it.etag.is_some() && it.modified > Timestamp::UNIX_EPOCH));
    for (version, body) in found.iter().zip(["seventh", "three", "one", "x"]) {
        assert_eq!(read_version(store, version).await, body.as_bytes());
    }
    assert_eq!(found[0].etag, store.head("crm/a").await.unwrap().etag);
}

pub(crate) async fn a_deletion_hides_what_can_still_be_read(store: &dyn Store) {
    put(store, "a", "first").await;
    put(store, "a", "second").await;
    store.delete("a").await.unwrap();
    assert_eq!(store.head("a").await.unwrap_err().kind, StoreErrorKind::NotFound);
    assert_eq!(store.get("a", None).await.err().unwrap().kind, StoreErrorKind::NotFound);
    assert!(store.list("").try_collect::<Vec<_>>().await.unwrap().is_empty());
    let found = versions(store, "a").await;
    let seen: Vec<_> = found.iter().map(|it| (it.deletion, it.latest, it.size_bytes)).collect();
    assert_eq!(seen, [(true, true, 0), (false, false, 6), (false, false, 5)]);
    assert_eq!(read_version(store, &found[1]).await, b"second");
    let error = store.get_version("a", &found[0].version, None).await.err().unwrap();
    assert_eq!(error.kind, StoreErrorKind::NotFound, "{error}");
    // A deletion is itself a version: without it the object is back.
    store.delete_version("a", &found[0].version).await.unwrap();
    assert_eq!(read(store, "a").await, b"second");
}

pub(crate) async fn a_version_is_deleted_for_good_and_only_it(store: &dyn Store) {
    for body in ["one", "three", "seventh"] {
        put(store, "a", body).await;
    }
    let found = versions(store, "a").await;
    store.delete_version("a", &found[1].version).await.unwrap();
    store.delete_version("a", &found[1].version).await.unwrap();
    let error = store.get_version("a", &found[1].version, None).await.err().unwrap();
    assert_eq!(error.kind, StoreErrorKind::NotFound, "{error}");
    store.delete_version("a", &found[0].version).await.unwrap();
    assert_eq!(read(store, "a").await, b"one");
    let left = versions(store, "a").await;
    assert_eq!(
        left.iter().map(|it| (&it.version, it.latest)).collect::<Vec<_>>(),
        [(&found[2].version, true)]
    );
    store.delete_version("a", &found[2].version).await.unwrap();
    assert!(versions(store, "").await.is_empty());
}

pub(crate) async fn a_range_of_a_version_is_read(store: &dyn Store) {
    let body = Bytes::from(vec![7; 100]);
    let upload = store.upload("big", PART_BYTES, PutMode::Overwrite).await.unwrap();
    upload.put_part(Part { number: 1, sha256: Sha256::of(&body), body }).await.unwrap();
    upload.finish().await.unwrap();
    put(store, "big", "0123456789").await;
    put(store, "big", "").await;
    let found = versions(store, "big").await;
    assert_eq!(found.iter().map(|it| it.size_bytes).collect::<Vec<_>>(), [0, 10, 100]);
    let range = |range| store.get_version("big", &found[1].version, Some(range));
    assert_eq!(collect(range(3..5).await.unwrap()).await, b"34");
    assert_eq!(collect(range(8..100).await.unwrap()).await, b"89");
    assert_eq!(collect(range(4..4).await.unwrap()).await, b"");
    assert_eq!(range(10..11).await.err().unwrap().kind, StoreErrorKind::Other);
    assert_eq!(read_version(store, &found[2]).await, [7; 100]);
}

pub(crate) async fn versions_fill_more_than_a_page(store: &dyn Store) {
    // Pages of a thousand end in the middle of a key.
    let (keys, each) = (15, 70);
    let write = |number: usize| async move {
        for _ in 0..each {
            put(store, &format!("a/{number:02}"), "x").await;
        }
        store.delete(&format!("a/{number:02}")).await.unwrap();
    };
    stream::iter(0..keys).map(write).buffer_unordered(8).collect::<Vec<()>>().await;
    let found = versions(store, "a/").await;
    assert_eq!(found.len(), keys * (each + 1));
    assert!(found.is_sorted_by(|a, b| a.key <= b.key));
    for of_key in found.chunk_by(|a, b| a.key == b.key) {
        assert_eq!(of_key.len(), each + 1);
        assert!(of_key[0].latest && of_key[0].deletion, "{of_key:?}");
        assert!(of_key[1..].iter().all(|version| !version.latest && !version.deletion));
        assert!(of_key.is_sorted_by(|a, b| a.modified >= b.modified));
    }
}

pub(crate) async fn a_condition_is_about_what_a_read_finds(store: &dyn Store) {
    let body = |text: &'static str| Bytes::from_static(text.as_bytes());
    let first = store.put("a", body("first"), PutMode::IfAbsent).await.unwrap();
    store.delete("a").await.unwrap();
    let error = store.put("a", body("x"), PutMode::IfMatch(first.etag.unwrap())).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::AlreadyExists, "{error}");
    let second = store.put("a", body("second"), PutMode::IfAbsent).await.unwrap();
    let error = store.put("a", body("x"), PutMode::IfAbsent).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::AlreadyExists, "{error}");
    store.put("a", body("third"), PutMode::IfMatch(second.etag.unwrap())).await.unwrap();
    assert_eq!(read(store, "a").await, b"third");
    assert_eq!(versions(store, "a").await.len(), 4);
}

pub(crate) async fn a_locked_version_is_not_deleted(store: &dyn Store) {
    for (key, mode) in [("governed", LockMode::Governance), ("complied", LockMode::Compliance)] {
        put(store, key, "kept").await;
        assert_eq!(store.lock(key).await.unwrap(), None);
        let wanted = lock(mode, 3600);
        store.set_lock(key, wanted).await.unwrap();
        assert_eq!(store.lock(key).await.unwrap(), Some(wanted));
        let kept = versions(store, key).await.remove(0);
        let error = store.delete_version(key, &kept.version).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
        let until = format!("locked until {}", wanted.until);
        assert!(error.to_string().contains(&until), "{error}");
        // Overwriting and deleting are allowed, and take nothing away.
        put(store, key, "newer").await;
        store.delete(key).await.unwrap();
        assert_eq!(store.head(key).await.unwrap_err().kind, StoreErrorKind::NotFound);
        assert_eq!(read_version(store, &kept).await, b"kept");
        for newer in versions(store, key).await.iter().filter(|version| version.version != kept.version) {
            store.delete_version(key, &newer.version).await.unwrap();
        }
        assert_eq!(read(store, key).await, b"kept");
    }
}

pub(crate) async fn a_lock_is_extended_and_never_shortened(store: &dyn Store) {
    for mode in [LockMode::Governance, LockMode::Compliance] {
        let key = &format!("{mode:?}");
        put(store, key, "x").await;
        let (short, middle, long) = (lock(mode, 600), lock(mode, 3600), lock(mode, 7200));
        store.set_lock(key, middle).await.unwrap();
        store.set_lock(key, middle).await.unwrap();
        let error = store.set_lock(key, short).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
        assert!(error.to_string().contains("can only be made longer"), "{error}");
        assert_eq!(store.lock(key).await.unwrap(), Some(middle));
        store.set_lock(key, long).await.unwrap();
        assert_eq!(store.lock(key).await.unwrap(), Some(long));
    }
    let weaker = lock(LockMode::Governance, 7300);
    let error = store.set_lock("Compliance", weaker).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
}

pub(crate) async fn what_is_not_there_has_no_lock_and_gets_none(store: &dyn Store) {
    assert_eq!(store.lock("never").await.unwrap_err().kind, StoreErrorKind::NotFound);
    let error = store.set_lock("never", lock(LockMode::Governance, 600)).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NotFound, "{error}");
}

pub(crate) async fn a_lock_ends(store: &dyn Store) {
    for seconds in [4, 30, 300] {
        put(store, "a", "x").await;
        let version = versions(store, "a").await.remove(0).version;
        let lock = lock(LockMode::Compliance, seconds);
        let set = store.set_lock("a", lock).await;
        let deleted = store.delete_version("a", &version).await;
        if SystemClock.now() >= lock.until {
            // So slow a machine needs a longer lock.
            continue;
        }
        set.unwrap();
        let error = deleted.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
        while SystemClock.now() < lock.until + SignedDuration::from_secs(1) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        return store.delete_version("a", &version).await.unwrap();
    }
    panic!("a call takes minutes");
}

pub(crate) async fn the_probe_tells_versions_and_locks(store: &dyn Store) {
    let abilities = store.abilities().await.unwrap();
    assert_eq!(abilities.put_if_absent, Ability::Works);
    assert_eq!(abilities.finish_if_absent, Ability::Works);
    assert_eq!(abilities.replace_if_match, Ability::Works);
    assert_eq!((abilities.versions, abilities.locks), (Ability::Works, Ability::Works));
    assert_eq!((abilities.default_lock, abilities.why_no_leases()), (None, None));
    assert!(versions(store, "").await.is_empty());
}

/// Of a bucket that locks every new object for a day, in governance mode.
pub(crate) async fn a_bucket_that_locks_by_default_is_written_to_and_reported(store: &dyn Store) {
    let abilities = store.abilities().await.unwrap();
    let default = abilities.default_lock.unwrap();
    assert_eq!((default.mode, default.days), (LockMode::Governance, 1));
    assert_eq!((abilities.versions, abilities.locks), (Ability::Works, Ability::Works));
    assert_eq!(abilities.put_if_absent, Ability::Works);
    assert_eq!(abilities.finish_if_absent, Ability::Works);
    assert!(abilities.why_no_leases().unwrap().contains("by default"));
    put(store, "a", "x").await;
    let locked = store.lock("a").await.unwrap().unwrap();
    assert!(locked.until > SystemClock.now() + SignedDuration::from_hours(23));
    let version = versions(store, "a").await.remove(0).version;
    let error = store.delete_version("a", &version).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
}

pub(crate) async fn a_store_without_versions_says_so(store: &dyn Store) {
    put(store, "a", "x").await;
    let error = store.list_versions("").try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unsupported, "{error}");
    assert_eq!(store.lock("a").await.unwrap_err().kind, StoreErrorKind::Unsupported);
    let error = store.set_lock("a", lock(LockMode::Governance, 600)).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unsupported, "{error}");
    let abilities = store.abilities().await.unwrap();
    assert_eq!((abilities.versions, abilities.locks), (Ability::Refused, Ability::Refused));
    assert_eq!(abilities.default_lock, None);
}
