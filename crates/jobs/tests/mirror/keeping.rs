//! What is removed, when, and what stands in the way.

use std::time::Duration;

use convault_core::{Clock as _, MirrorVerdict, Store as _};

use crate::bench::Bench;

#[tokio::test]
async fn what_was_deleted_stays_for_the_hold_and_then_goes() {
    let mut bench = Bench::new();
    bench.mirror.keep.hold_deletions = Duration::from_hours(24 * 10);
    bench.put_many(100).await;
    let first = bench.objects();
    bench.run().await;
    let then = bench.clock.now();
    bench.clock.advance_hours(24 * 20);
    bench.delete_many(0..5).await;
    bench.run().await;
    // The first state is 20 days old, but what it alone names vanished just now.
    bench.clock.advance_hours(24 * 9);
    bench.run().await;
    assert!(bench.restored(Some(then)).await == first, "held");
    assert_eq!(bench.stored("objects/").len(), 100);
    bench.clock.advance_hours(24 * 2);
    bench.run().await;
    assert_eq!(bench.stored("objects/").len(), 100, "condemned, and in its grace");
    assert_eq!(bench.stored("listings/").len(), 1);
    bench.clock.advance_hours(24 * 8);
    bench.run().await;
    assert_eq!(bench.stored("objects/").len(), 95, "gone");
    assert!(bench.restored(None).await == bench.objects(), "and nothing else");
}

#[tokio::test]
async fn more_than_the_share_is_not_swept_without_a_person() {
    let mut bench = Bench::new();
    bench.mirror.keep.hold_deletions = Duration::ZERO;
    bench.put_many(100).await;
    bench.run().await;
    bench.delete_many(0..60).await;
    bench.mirror.release_brake = true;
    bench.run().await;
    bench.mirror.release_brake = false;
    bench.clock.advance_hours(24);
    assert!(bench.run().await.held_back.is_empty());
    bench.clock.advance_hours(24 * 8);
    let held_back = bench.run().await.held_back;
    assert!(held_back[0].contains("60 of 100 stored objects"), "{held_back:?}");
    assert_eq!(bench.stored("objects/").len(), 100);
    bench.clock.advance_hours(24);
    bench.mirror.release_brake = true;
    assert!(bench.run().await.held_back.is_empty());
    assert_eq!(bench.stored("objects/").len(), 40);
    assert!(bench.restored(None).await == bench.objects());
}

#[tokio::test]
async fn states_that_somebody_removed_stop_the_removing() {
    let mut bench = Bench::new();
    bench.mirror.keep.hold_deletions = Duration::ZERO;
    bench.put_many(30).await;
    for number in 0..3 {
        bench.put("one.jpg", format!("version {number}")).await;
        bench.run().await;
        bench.clock.advance_hours(24 * 8);
    }
    for key in bench.stored("runs/").iter().filter(|key| key.ends_with("-complete.json")) {
        bench.destination.delete(key).await.unwrap();
    }
    bench.put("one.jpg", "version 3").await;
    let objects = bench.stored("objects/").len();
    let done = bench.run().await;
    assert_eq!(done.run.verdict, MirrorVerdict::Complete);
    assert!(bench.stored("objects/").len() > objects, "all is stored anew, and nothing removed");
}

#[tokio::test]
async fn nothing_is_removed_where_credentials_only_add() {
    let mut bench = Bench::new();
    bench.mirror.keep.hold_deletions = Duration::ZERO;
    bench.mirror.destination.append_only = true;
    bench.put_many(30).await;
    bench.run().await;
    bench.delete_many(0..3).await;
    for _ in 0..3 {
        bench.clock.advance_hours(24 * 8);
        bench.run().await;
    }
    assert_eq!(bench.stored("objects/").len(), 30);
    assert_eq!(bench.stored("listings/").len(), 2);
}
