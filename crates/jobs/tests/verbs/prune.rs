//! Deleting what retention does not keep, and nothing else.

use bytes::Bytes;
use convault_core::{Clock as _, Keep, PutMode, Store, StoreErrorKind, SystemClock};
use convault_jobs::{JobError, PrunePlan, PruneRules, Pruned, RunContext, plan_prune};
use convault_uploader::{MemoryFault, MemoryOperation, MemoryStore};
use jiff::tz::TimeZone;

use crate::{
    bench::{Run, SMALL, assert_whole, back_up_into, crm, destination, job, memory, snapshots},
    export::{FakeSource, sound},
};

async fn plan(store: &MemoryStore, last: u32) -> PrunePlan {
    plan_prune(&destination(store), &crm(), &rules(last), SystemClock.now()).await.unwrap()
}

fn rules(last: u32) -> PruneRules {
    PruneRules::new(Keep { last, at_least_verified: 1, ..Keep::default() }, TimeZone::UTC)
}

async fn prune(store: &MemoryStore, plan: &PrunePlan, context: &RunContext) -> Result<Pruned, JobError> {
    convault_jobs::prune(&destination(store), plan, &rules(1), context).await
}

/// A destination with this many snapshots, a day apart.
async fn stored(number: i64) -> MemoryStore {
    let store = memory("offsite");
    for day in 0..number {
        back_up_into(&job(), &FakeSource::of(sound(SMALL)).days_later(day), &[&store]).await;
    }
    store
}

#[tokio::test(start_paused = true)]
async fn a_plan_changes_nothing_and_says_what_it_would_do() {
    let store = stored(3).await;
    let keys = store.keys();
    let plan = plan(&store, 1).await;
    assert_eq!(store.keys(), keys);
    assert_eq!((plan.removals.len(), plan.retention.decisions.len()), (2, 3));
    assert!(plan.removals[0].snapshot_ts_ns < plan.removals[1].snapshot_ts_ns, "oldest first");
    assert_eq!(plan.freed_bytes(), 2 * plan.removals[0].stored_bytes());
}

#[tokio::test(start_paused = true)]
async fn a_prune_leaves_what_is_kept_whole_and_of_the_rest_nothing() {
    let store = stored(3).await;
    let plan = plan(&store, 1).await;
    let pruned = prune(&store, &plan, &Run::new().context).await.unwrap();
    assert_eq!((pruned.removed.len(), pruned.freed_bytes), (2, plan.freed_bytes()));
    assert_whole(&store, 1).await;
    let keys: Vec<String> = store.keys().into_iter().filter(|key| !key.starts_with("crm/prunes/")).collect();
    assert_eq!(keys.len(), 5, "the repository file and one snapshot: {keys:?}");
}

#[tokio::test(start_paused = true)]
async fn the_manifest_goes_first_so_that_a_snapshot_is_whole_or_gone() {
    let store = stored(3).await;
    let mut failed = 0;
    for nth in 1..=6 {
        let before = snapshots(&store).await.len();
        let plan = plan(&store, 1).await;
        store.fault(MemoryOperation::Delete, nth, MemoryFault::Fail(StoreErrorKind::Transient));
        let result = prune(&store, &plan, &Run::new().context).await;
        failed += u32::from(result.is_err());
        let left = snapshots(&store).await.len();
        assert!(left <= before);
        let report = crate::bench::verified(&store, convault_jobs::VerifyDepth::ReadData).await;
        assert_eq!(report.faults, [], "after the failure of delete {nth}");
        store.mend();
    }
    assert!(failed >= 3, "{failed} prunes met their failure");
    assert_whole(&store, 1).await;
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_manifest_protects_its_objects() {
    let store = stored(3).await;
    let oldest = snapshots(&store).await.into_iter().min_by_key(|m| m.snapshot_ts_ns).unwrap();
    let key = format!("crm/snapshots/{}/manifest.json", oldest.id);
    for unreadable in [
        Bytes::from_static(b"half of a mani"),
        Bytes::from(String::from_utf8(oldest.to_bytes()).unwrap().replace("\"format\": 1", "\"format\": 2")),
    ] {
        store.put(&key, unreadable.clone(), PutMode::Overwrite).await.unwrap();
        let plan = plan(&store, 1).await;
        assert_eq!(plan.left_alone.iter().map(|(id, _)| id).collect::<Vec<_>>(), [&oldest.id]);
        prune(&store, &plan, &Run::new().context).await.unwrap();
        assert_eq!(store.contents(&key).unwrap(), unreadable);
        for object in &oldest.objects {
            assert!(store.contents(&format!("crm/snapshots/{}/{}", oldest.id, object.name)).is_some());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_objects_of_a_run_that_goes_on_are_left_alone() {
    let store = stored(2).await;
    let key = "crm/snapshots/20261122T030056Z-700000/snapshot_1.zip";
    store.put(key, Bytes::from_static(b"zip"), PutMode::IfAbsent).await.unwrap();
    let plan = plan(&store, 1).await;
    prune(&store, &plan, &Run::new().context).await.unwrap();
    assert!(store.contents(key).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_prune_that_is_stopped_ends_between_two_snapshots() {
    let store = stored(3).await;
    let plan = plan(&store, 1).await;
    let run = Run::new();
    run.context.stop.cancel();
    let result = prune(&store, &plan, &run.context).await;
    assert!(matches!(result, Err(JobError::Stopped)), "{result:?}");
    assert_whole(&store, 3).await;
}
