//! What a run stores, what the brake holds, and what a restore gives.

use std::sync::Arc;

use bytes::Bytes;
use convault_core::{Clock as _, DestinationName, MirrorVerdict, PutMode, Store as _, StoreErrorKind};
use convault_jobs::{JobError, MirrorState, difference, difference_to_source};
use convault_uploader::{MemoryFault, MemoryOperation, MemoryStore};

use crate::bench::Bench;

#[tokio::test]
async fn every_run_can_be_had_again_byte_for_byte() {
    let mut bench = Bench::new();
    bench.put_many(60).await;
    bench.put("videos/long.mp4", vec![7_u8; (12 << 20) + 3]).await;
    bench.put("empty", "").await;
    let (first, _) = (bench.objects(), bench.run().await);
    let then = bench.clock.now();
    bench.clock.advance_hours(1);
    bench.put("courses/00001.jpg", "another picture").await;
    bench.put("new.jpg", "new").await;
    bench.delete_many(10..15).await;
    let second = bench.objects();
    let run = bench.run().await.run;
    assert_eq!(run.verdict, MirrorVerdict::Complete);
    assert_eq!((run.tally.added, run.tally.changed, run.tally.vanished), (1, 1, 5));
    assert!(bench.restored(Some(then)).await == first, "the state of the first run");
    assert!(bench.restored(None).await == second, "the newest state");
}

#[tokio::test]
async fn only_what_is_new_is_read_and_what_is_unchanged_costs_no_listing() {
    let mut bench = Bench::new();
    bench.put_many(50).await;
    bench.mirror.source = std::sync::Arc::new(bench.source.clone());
    bench.run().await;
    let gets = bench.source.calls(MemoryOperation::Get);
    bench.put("courses/00003.jpg", "changed").await;
    bench.run().await;
    assert_eq!(bench.source.calls(MemoryOperation::Get) - gets, 1);
    let listings = bench.stored("listings/").len();
    assert_eq!(bench.run().await.run.verdict, MirrorVerdict::Unchanged);
    assert_eq!(bench.stored("listings/").len(), listings);
}

#[tokio::test]
async fn what_is_kept_beside_the_bytes_comes_back_with_them() {
    let mut bench = Bench::new();
    bench.put("a b+é.jpg", "pixels").await;
    bench.run().await;
    let fresh = MemoryStore::new(DestinationName::new("fresh").unwrap());
    bench.restore_into(&fresh, None, "", false).await.unwrap();
    let attributes = fresh.fetch("a b+é.jpg", None, None).await.unwrap().attributes;
    assert_eq!(attributes.content_type.as_deref(), Some("image/jpeg"));
    assert_eq!(attributes.metadata["of"], "a b+é.jpg");
}

#[tokio::test]
async fn a_bulk_delete_brakes_until_a_person_releases_it() {
    let mut bench = Bench::new();
    bench.put_many(100).await;
    bench.run().await;
    let before = bench.objects();
    bench.delete_many(0..50).await;
    for _ in 0..2 {
        let run = bench.run().await.run;
        assert_eq!(run.verdict, MirrorVerdict::Braked);
        assert!(run.why.unwrap().contains("50 of 100 objects have vanished"));
    }
    assert!(bench.restored(None).await == before, "nothing was propagated");
    bench.mirror.release_brake = true;
    assert_eq!(bench.run().await.run.verdict, MirrorVerdict::Complete);
    assert!(bench.restored(None).await == bench.objects());
}

#[tokio::test]
async fn a_brake_ends_by_itself_once_the_source_is_back() {
    let mut bench = Bench::new();
    bench.put_many(3).await;
    bench.run().await;
    let elsewhere = bench.mirror.source.clone();
    bench.mirror.source = std::sync::Arc::new(MemoryStore::new(DestinationName::new("empty").unwrap()));
    assert_eq!(bench.run().await.run.verdict, MirrorVerdict::Braked, "a disk that is not mounted");
    bench.mirror.source = elsewhere;
    assert_eq!(bench.run().await.run.verdict, MirrorVerdict::Unchanged);
}

#[tokio::test]
async fn what_was_restored_into_the_source_is_no_bulk_change() {
    let mut bench = Bench::new();
    let server = convault_simulator::s3::S3Server::new(convault_simulator::s3::S3ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        root: None,
        access_key: "convault".to_owned(),
        secret_key: convault_core::Secret::new("convault-secret"),
        faults: Vec::new(),
    });
    let running = server.start().await.unwrap();
    let settings = convault_uploader::S3Settings {
        bucket: "media".to_owned(),
        prefix: String::new(),
        region: "us-east-1".to_owned(),
        endpoint: Some(running.endpoint()),
        path_style: true,
        sends_checksums: true,
        access_key: convault_core::Secret::new("convault"),
        secret_key: convault_core::Secret::new("convault-secret"),
        session_token: None,
        ca_file: None,
        timeouts: convault_uploader::S3Timeouts::default(),
    };
    let name = DestinationName::new("media").unwrap();
    let bucket = Arc::new(convault_uploader::S3Store::new(name, &settings).unwrap());
    bench.mirror.source = Arc::clone(&bucket) as Arc<dyn convault_core::Store>;
    for number in 0..30 {
        bucket.put(&format!("{number}.jpg"), format!("{number}").into(), PutMode::Overwrite).await.unwrap();
    }
    bench.run().await;
    for number in 0..30 {
        bucket.delete(&format!("{number}.jpg")).await.unwrap();
    }
    assert_eq!(bench.run().await.run.verdict, MirrorVerdict::Braked);
    // A bucket tells times in seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let target = convault_jobs::RestoreTarget {
        store: Arc::clone(&bucket) as Arc<dyn convault_core::Store>,
        key_prefix: String::new(),
        only: String::new(),
        replace: false,
        memory_bytes: 32 << 20,
    };
    let (destination, mirror) = (&bench.mirror.destination, &bench.mirror.name);
    let state = MirrorState::as_of(destination, mirror, None, None).await.unwrap();
    let context = bench.context();
    let done =
        convault_jobs::restore_mirror(mirror, state, &destination.store, &target, &context).await.unwrap();
    assert_eq!(done.restored, 30);
    let run = bench.run().await.run;
    assert_eq!((run.verdict, run.tally.touched, run.tally.changed), (MirrorVerdict::Complete, 30, 0));
    running.stop().await;
}

#[tokio::test]
async fn a_restore_writes_over_nothing_unless_told_to() {
    let mut bench = Bench::new();
    bench.put_many(12).await;
    bench.run().await;
    bench.put("courses/00003.jpg", "newer").await;
    bench.delete_many(5..7).await;
    let target = bench.source.clone();
    let done = bench.restore_into(&target, None, "courses/", false).await.unwrap();
    assert_eq!((done.restored, done.already, done.left), (2, 9, 1));
    assert_eq!(done.in_the_way, ["courses/00003.jpg"]);
    assert_eq!(target.contents("courses/00003.jpg").unwrap(), "newer");
    let done = bench.restore_into(&target, None, "", true).await.unwrap();
    assert_eq!((done.restored, done.left), (1, 0));
    assert_eq!(target.contents("courses/00003.jpg").unwrap(), "picture 3");
    let only = bench.restore_into(&target, None, "nothing/", true).await.unwrap();
    assert_eq!((only.restored, only.already), (0, 0));
}

#[tokio::test]
async fn a_damaged_object_is_not_restored_and_costs_no_other() {
    let mut bench = Bench::new();
    bench.put_many(20).await;
    bench.run().await;
    let key = bench.stored("objects/").remove(0);
    let length = bench.destination.contents(&key).unwrap().len();
    bench.destination.tamper(&key, Bytes::from(vec![0; length]));
    let fresh = MemoryStore::new(DestinationName::new("fresh").unwrap());
    let done = bench.restore_into(&fresh, None, "", false).await.unwrap();
    assert_eq!((done.restored, done.failed), (19, 1));
    assert!(done.failures[0].contains("SHA-256"), "{}", done.failures[0]);
}

#[tokio::test]
async fn a_damaged_listing_is_no_state_and_nothing_is_swept_by_it() {
    let mut bench = Bench::new();
    bench.put_many(20).await;
    bench.run().await;
    let key = bench.stored("listings/").remove(0);
    let mut bytes = bench.destination.contents(&key).unwrap().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bench.destination.tamper(&key, bytes.into());
    let fresh = MemoryStore::new(DestinationName::new("fresh").unwrap());
    assert!(bench.restore_into(&fresh, None, "", false).await.is_err());
    let objects = bench.stored("objects/").len();
    assert!(bench.try_run().await.is_err(), "a run that cannot know what is there does nothing");
    assert_eq!(bench.stored("objects/").len(), objects);
}

#[tokio::test]
async fn a_run_that_is_cut_off_is_gone_on_with() {
    let mut bench = Bench::new();
    bench.put_many(2500).await;
    // The record is what fails, after every object.
    bench.destination.fault_always(MemoryOperation::Finish, MemoryFault::Fail(StoreErrorKind::Full));
    assert!(matches!(bench.try_run().await, Err(JobError::Store(_))));
    bench.destination.mend();
    assert!(!bench.stored("progress/").is_empty() && bench.stored("runs/").is_empty());
    let gets = bench.source.calls(MemoryOperation::Get);
    bench.put("courses/00007.jpg", "changed meanwhile").await;
    assert_eq!(bench.run().await.run.verdict, MirrorVerdict::Complete);
    assert_eq!(bench.source.calls(MemoryOperation::Get) - gets, 1, "only what changed is read again");
    assert!(bench.restored(None).await == bench.objects());
    assert_eq!(bench.stored("progress/"), [""; 0], "what was written down on the way is gone");
}

#[tokio::test]
async fn an_object_that_cannot_be_read_stays_as_it_was() {
    let mut bench = Bench::new();
    bench.put_many(30).await;
    let before = bench.objects();
    bench.run().await;
    bench.put("courses/00004.jpg", "changed").await;
    bench.source.fault(MemoryOperation::Get, 1, MemoryFault::Fail(StoreErrorKind::Denied));
    let done = bench.run().await;
    assert_eq!((done.run.tally.failed, done.failures.len()), (1, 1));
    assert!(bench.restored(None).await == before);
    bench.run().await;
    assert!(bench.restored(None).await == bench.objects(), "the next run tries again");
}

#[tokio::test]
async fn two_buckets_of_one_server_are_copied_by_it() {
    let mut bench = Bench::new();
    bench.put_many(10).await;
    let gets = bench.source.calls(MemoryOperation::Get);
    // In one store both ends are on the same server; its own folder is not mirrored again, since nothing lists it yet.
    bench.mirror.destination.store = std::sync::Arc::new(bench.source.clone());
    let run = bench.run().await.run;
    assert_eq!((run.tally.read_bytes, run.tally.failed), (0, 0));
    assert!(run.tally.server_copied_bytes > 0);
    assert!(bench.source.calls(MemoryOperation::Copy) >= 10);
    let read_objects = bench.source.calls(MemoryOperation::Get) - gets;
    assert!(read_objects < 10, "no object passed through here: {read_objects}");
}

#[tokio::test]
async fn differences_are_told_with_what_was_and_what_is() {
    let mut bench = Bench::new();
    bench.put_many(20).await;
    bench.run().await;
    let then = bench.clock.now();
    bench.clock.advance_hours(1);
    bench.put("new.jpg", "new").await;
    bench.put("courses/00001.jpg", "changed").await;
    bench.delete_many(3..4).await;
    let (destination, name) = (&bench.mirror.destination, &bench.mirror.name);
    let newest = MirrorState::newest_or_empty(destination, name, None).await.unwrap();
    let mut seen = Vec::new();
    let context = bench.context();
    let tally = difference_to_source(&bench.mirror, newest, &context, |one| seen.push(one)).await.unwrap();
    assert_eq!((tally.added, tally.changed, tally.vanished), (1, 1, 1));
    bench.run().await;
    let (destination, name) = (&bench.mirror.destination, &bench.mirror.name);
    let before = MirrorState::as_of(destination, name, Some(then), None).await.unwrap();
    let after = MirrorState::as_of(destination, name, None, None).await.unwrap();
    let mut between = Vec::new();
    let counted = difference(before, after, &context, |one| between.push(one)).await.unwrap();
    assert_eq!(counted, (20, 20));
    let told = |list: &[convault_jobs::Difference]| {
        let mut told: Vec<_> =
            list.iter().map(|one| (one.key.clone(), one.before.is_some(), one.after.is_some())).collect();
        told.sort();
        told
    };
    assert_eq!(told(&seen), told(&between));
    assert_eq!(
        told(&seen),
        [
            ("courses/00001.jpg".to_owned(), true, true),
            ("courses/00003.jpg".to_owned(), true, false),
            ("new.jpg".to_owned(), false, true),
        ]
    );
}

#[tokio::test]
async fn an_object_that_changes_while_it_is_read_is_read_as_it_is_then() {
    let mut bench = Bench::new();
    bench.put_many(3).await;
    // The listing is of before, the object of after.
    let listed = bench.source.head("courses/00000.jpg").await.unwrap();
    bench.put("courses/00000.jpg", "after").await;
    assert_ne!(bench.source.head("courses/00000.jpg").await.unwrap().etag, listed.etag);
    let refused = bench.source.fetch("courses/00000.jpg", None, listed.etag.as_deref()).await.unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::AlreadyExists);
    bench.run().await;
    assert!(bench.restored(None).await == bench.objects());
    bench.source.put("courses/00001.jpg", "x".into(), PutMode::Overwrite).await.unwrap();
}
