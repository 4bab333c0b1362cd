//! Leases as a daemon sees them, on paused time. How they hold against chance is in `tests/replicas`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use convault_core::{
    Abilities, Ability, Clock, DefaultLock, DeploymentName, DestinationName, Holder, JobName, Lease,
    LockMode, PutMode, Store, StoreErrorKind,
};
use convault_jobs::{Attempt, Coordinated, DueTime, HeldLease, JobError, Leases, coordinate};
use convault_uploader::{MemoryFault, MemoryOperation, MemoryStore};
use futures::TryStreamExt as _;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;

const LEASE: Duration = Duration::from_mins(3);
const KEY: &str = "leases/crm.json";

/// A clock that goes with the runtime's paused time, and whose time of day can be set.
#[derive(Debug)]
struct TestClock {
    began: Instant,
    time_at_begin: Mutex<Timestamp>,
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.time_at_begin.lock().unwrap() + self.began.elapsed()
    }

    fn instant(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

/// A store and the daemons that share it.
struct World {
    store: MemoryStore,
    clock: Arc<TestClock>,
}

impl World {
    fn new() -> Self {
        let clock =
            TestClock { began: Instant::now(), time_at_begin: Mutex::new(at("2026-11-22T03:00:00Z")) };
        let clock = Arc::new(clock);
        let shared: Arc<dyn Clock> = Arc::<TestClock>::clone(&clock);
        let store = MemoryStore::with_clock(DestinationName::new("offsite").unwrap(), shared);
        Self { store, clock }
    }

    fn daemon(&self, instance: &str) -> Leases {
        let holder = Holder { instance: instance.to_owned(), host: format!("host-of-{instance}") };
        let clock: Arc<dyn Clock> = Arc::<TestClock>::clone(&self.clock);
        Leases::new(Arc::new(self.store.clone()), holder, LEASE, clock)
    }

    fn record(&self) -> Lease {
        serde_json::from_slice(&self.store.contents(KEY).unwrap()).unwrap()
    }

    /// Lets somebody else change the record.
    async fn change(&self, change: impl FnOnce(&mut Lease)) {
        let mut lease = self.record();
        change(&mut lease);
        let body = Bytes::from(serde_json::to_vec(&lease).unwrap());
        self.store.put(KEY, body, PutMode::Overwrite).await.unwrap();
    }

    fn break_all(&self, fault: MemoryFault) {
        for operation in [MemoryOperation::Put, MemoryOperation::Get, MemoryOperation::Head] {
            self.store.fault_always(operation, fault);
        }
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn crm() -> DeploymentName {
    DeploymentName::new("crm").unwrap()
}

fn nightly() -> JobName {
    JobName::new("nightly").unwrap()
}

fn due() -> Timestamp {
    at("2026-11-22T03:00:00Z")
}

async fn take(leases: &Leases) -> Attempt {
    leases.try_take(&crm(), Some((&nightly(), due()))).await.unwrap()
}

async fn taken(leases: &Leases) -> Arc<HeldLease> {
    match take(leases).await {
        Attempt::Held(held) => held,
        other => panic!("{other:?}"),
    }
}

/// Who holds it and when to look again.
async fn elsewhere(leases: &Leases) -> (Option<String>, Duration) {
    match take(leases).await {
        Attempt::Elsewhere { holder, retry_after } => (holder.map(|holder| holder.instance), retry_after),
        other => panic!("{other:?}"),
    }
}

/// Looks as often as it is told to until the lease is held.
async fn taken_in_the_end(leases: &Leases) -> Arc<HeldLease> {
    loop {
        match take(leases).await {
            Attempt::Held(held) => return held,
            Attempt::Elsewhere { retry_after, .. } => time::sleep(retry_after).await,
            Attempt::Done => panic!("it is done"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_two_daemons_holds_a_lease_and_the_due_time_is_done_once() {
    let world = World::new();
    let (a, b) = (world.daemon("a"), world.daemon("b"));
    let held = taken(&a).await;
    assert!(!held.was_given_back(), "nobody knows what was before the first record");
    assert_eq!(elsewhere(&b).await, (Some("a".to_owned()), LEASE / 3));
    held.check().await.unwrap();
    held.release(Some((nightly(), due()))).await.unwrap();
    assert!(matches!(take(&b).await, Attempt::Done));
    assert!(matches!(take(&a).await, Attempt::Done));

    let later = due() + SignedDuration::from_hours(24);
    let Attempt::Held(next) = b.try_take(&crm(), Some((&nightly(), later))).await.unwrap() else { panic!() };
    assert!(next.was_given_back());
    assert_eq!(next.fence(), held.fence() + 1);
    assert_eq!(world.record().done[&nightly()], due());
}

#[tokio::test(start_paused = true)]
async fn a_lease_without_a_due_time_asks_only_who_holds_it() {
    let world = World::new();
    let a = world.daemon("a");
    taken(&a).await.release(Some((nightly(), due()))).await.unwrap();
    assert!(matches!(a.try_take(&crm(), None).await.unwrap(), Attempt::Held(_)));
}

#[tokio::test(start_paused = true)]
async fn a_living_holder_is_never_replaced() {
    let world = World::new();
    let (a, b) = (world.daemon("a"), world.daemon("b"));
    let held = taken(&a).await;
    for _ in 0..500 {
        let (holder, retry_after) = elsewhere(&b).await;
        assert_eq!(holder.as_deref(), Some("a"));
        time::sleep(retry_after).await;
    }
    assert!(held.still_surely_held());
    assert!(world.record().beat > 480);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_gone_is_replaced_after_one_lease_and_within_two() {
    let world = World::new();
    let (a, b) = (world.daemon("a"), world.daemon("b"));
    let held = taken(&a).await;
    let fence = held.fence();
    assert!(elsewhere(&b).await.0.is_some());
    time::sleep(LEASE).await;
    drop(held);
    let died = Instant::now();
    let next = taken_in_the_end(&b).await;
    let (earliest, latest) = (LEASE * 2 / 3, LEASE * 2);
    assert!(died.elapsed() >= earliest, "its last beat was a third ago at most: {:?}", died.elapsed());
    assert!(died.elapsed() <= latest, "{:?}", died.elapsed());
    assert_eq!(next.fence(), fence + 1);
    assert!(!next.was_given_back());
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_lost_sight_of_its_own_lease_takes_it_up_at_once() {
    let world = World::new();
    let a = world.daemon("a");
    drop(taken(&a).await);
    let again = taken(&a).await;
    assert!(!again.was_given_back());
    assert_eq!(a.held(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_runs_of_one_daemon_do_not_share_a_lease() {
    let world = World::new();
    let a = world.daemon("a");
    let held = taken(&a).await;
    assert_eq!(elsewhere(&a).await.0.as_deref(), Some("a"));
    held.release(None).await.unwrap();
    taken(&a).await;
}

#[tokio::test(start_paused = true)]
async fn two_runs_of_one_daemon_that_try_at_once_do_not_share_a_lease() {
    let world = World::new();
    let a = world.daemon("a");
    let (deployment, other) = (crm(), crm());
    let (one, two) = tokio::join!(a.try_take(&deployment, None), a.try_take(&other, None));
    let held = [one.unwrap(), two.unwrap()].iter().filter(|one| matches!(one, Attempt::Held(_))).count();
    assert_eq!(held, 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_take_a_renewal_or_a_return_is_settled_by_reading() {
    let world = World::new();
    let (a, b) = (world.daemon("a"), world.daemon("b"));
    world.store.fault(MemoryOperation::Put, 1, MemoryFault::LoseAnswer);
    let held = taken(&a).await;
    world.store.fault(MemoryOperation::Put, 1, MemoryFault::LoseAnswer);
    time::sleep(LEASE / 2).await;
    assert_eq!(world.record().beat, 2);
    held.check().await.unwrap();
    world.store.fault(MemoryOperation::Put, 1, MemoryFault::LoseAnswer);
    held.release(Some((nightly(), due()))).await.unwrap();
    assert!(matches!(take(&b).await, Attempt::Done));
}

#[tokio::test(start_paused = true)]
async fn a_take_whose_answer_and_reading_back_fail_is_made_good_by_the_next() {
    let world = World::new();
    let (a, b) = (world.daemon("a"), world.daemon("b"));
    world.store.fault(MemoryOperation::Put, 1, MemoryFault::LoseAnswer);
    world.store.fault(MemoryOperation::Head, 2, MemoryFault::Fail(StoreErrorKind::Transient));
    let error = a.try_take(&crm(), None).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(elsewhere(&b).await.0.as_deref(), Some("a"));
    assert_eq!(a.held(), 0);
    taken(&a).await;
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_renew_gives_up_before_anybody_can_take_over() {
    for fault in [MemoryFault::Fail(StoreErrorKind::Transient), MemoryFault::Hang] {
        let world = World::new();
        let held = taken(&world.daemon("a")).await;
        let began = Instant::now();
        world.break_all(fault);
        held.lost().cancelled().await;
        assert!(
            began.elapsed() >= LEASE / 2,
            "it tries until the lease is nearly over: {:?}",
            began.elapsed()
        );
        assert!(began.elapsed() <= LEASE * 5 / 6, "{:?}", began.elapsed());
        assert!(matches!(held.check().await, Err(JobError::LeaseLost { .. })));
        assert!(matches!(held.release(None).await, Err(JobError::LeaseLost { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_for_a_while_costs_nothing() {
    let world = World::new();
    let held = taken(&world.daemon("a")).await;
    world.break_all(MemoryFault::Fail(StoreErrorKind::Transient));
    time::sleep(LEASE * 3 / 4).await;
    world.store.mend();
    time::sleep(LEASE).await;
    assert!(held.still_surely_held());
    held.check().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_somebody_else_has_is_lost_at_the_next_look() {
    let rival = Holder { instance: "b".to_owned(), host: "elsewhere".to_owned() };
    let world = World::new();
    let held = taken(&world.daemon("a")).await;
    world.change(|lease| (lease.holder, lease.fence) = (Some(rival.clone()), lease.fence + 1)).await;
    assert!(matches!(held.check().await, Err(JobError::LeaseLost { .. })));
    assert!(held.lost().is_cancelled() && !held.still_surely_held());

    let world = World::new();
    let held = taken(&world.daemon("a")).await;
    world.change(|lease| (lease.holder, lease.fence) = (Some(rival), lease.fence + 1)).await;
    let began = Instant::now();
    held.lost().cancelled().await;
    assert!(began.elapsed() <= LEASE / 3, "the heartbeat sees it: {:?}", began.elapsed());
    assert_eq!(world.record().holder.unwrap().instance, "b", "and leaves it alone");
}

#[tokio::test(start_paused = true)]
async fn a_check_on_a_store_that_fails_is_an_error_and_not_a_loss() {
    let world = World::new();
    let held = taken(&world.daemon("a")).await;
    world.break_all(MemoryFault::Fail(StoreErrorKind::Transient));
    let error = held.check().await.unwrap_err();
    assert!(matches!(&error, JobError::Store(_)), "{error}");
    world.store.mend();
    held.check().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_the_machine_has_slept_the_store_is_asked_by_a_write() {
    let world = World::new();
    let held = taken(&world.daemon("a")).await;
    // Only the time of day goes on while a machine sleeps.
    *world.clock.time_at_begin.lock().unwrap() += SignedDuration::from_hours(1);
    assert!(!held.still_surely_held());
    let beat = world.record().beat;
    held.check().await.unwrap();
    assert!(world.record().beat > beat, "whoever watched through the hour starts anew");
    assert!(held.still_surely_held());
}

#[tokio::test(start_paused = true)]
async fn a_return_that_fails_is_tried_again_and_otherwise_remembered_here() {
    let world = World::new();
    let (a, b) = (world.daemon("a"), world.daemon("b"));
    let held = taken(&a).await;
    world.store.fault(MemoryOperation::Put, 1, MemoryFault::Fail(StoreErrorKind::Transient));
    held.release(None).await.unwrap();
    let held = taken(&a).await;
    world.break_all(MemoryFault::Fail(StoreErrorKind::Transient));
    held.release(Some((nightly(), due()))).await.unwrap_err();
    world.store.mend();
    assert!(matches!(take(&a).await, Attempt::Done));
    drop(held);
    assert!(!taken_in_the_end(&b).await.was_given_back(), "others have to look");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_was_removed_does_not_bring_old_numbers_back() {
    let world = World::new();
    let (a, b) = (world.daemon("a"), world.daemon("b"));
    let held = taken(&a).await;
    for _ in 0..50 {
        time::sleep(LEASE).await;
    }
    world.store.delete(KEY).await.unwrap();
    let next = taken(&b).await;
    assert!(next.fence() > held.fence(), "{} after {}", next.fence(), held.fence());
    assert!(!next.was_given_back());
    held.lost().cancelled().await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_is_left_alone_and_named() {
    let world = World::new();
    world.store.put(KEY, Bytes::from_static(b"{}"), PutMode::Overwrite).await.unwrap();
    let error = world.daemon("a").try_take(&crm(), None).await.unwrap_err();
    assert!(matches!(&error, JobError::Lease { place, .. } if place.ends_with(KEY)), "{error}");
    assert!(!error.is_retryable());

    let world = World::new();
    drop(taken(&world.daemon("a")).await);
    world.change(|lease| lease.format = 2).await;
    let error = world.daemon("b").try_take(&crm(), None).await.unwrap_err();
    assert!(error.to_string().ends_with("the lease has format 2; use a newer convault"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn old_versions_of_a_lease_are_removed() {
    let mut world = World::new();
    world.store = world.store.with_versions();
    let held = taken(&world.daemon("a")).await;
    time::sleep(LEASE * 20).await;
    let versions: Vec<_> = world.store.list_versions(KEY).try_collect().await.unwrap();
    assert!(versions.len() <= 2, "{} versions", versions.len());
    assert!(held.still_surely_held());
}

#[test]
fn a_store_that_ignores_or_refuses_conditions_or_locks_what_is_written_holds_no_leases() {
    let fit = Abilities {
        put_if_absent: Ability::Works,
        finish_if_absent: Ability::Ignored,
        replace_if_match: Ability::Works,
        checksums: Ability::Refused,
        list_uploads: Ability::Refused,
        versions: Ability::Refused,
        locks: Ability::Refused,
        default_lock: None,
    };
    let store = MemoryStore::new(DestinationName::new("offsite").unwrap());
    Leases::check_store(&store, &fit).unwrap();
    let lock = DefaultLock { mode: LockMode::Governance, days: 1 };
    for unfit in [
        Abilities { put_if_absent: Ability::Ignored, ..fit.clone() },
        Abilities { replace_if_match: Ability::Ignored, ..fit.clone() },
        Abilities { put_if_absent: Ability::Refused, ..fit.clone() },
        Abilities { default_lock: Some(lock), ..fit.clone() },
    ] {
        let error = Leases::check_store(&store, &unfit).unwrap_err();
        assert!(error.to_string().contains("coordinate_in"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_is_done_once_whoever_asks_first() {
    let world = World::new();
    let (a, b) = (world.daemon("a"), world.daemon("b"));
    let (job, deployment, stop) = (nightly(), crm(), CancellationToken::new());
    let wanted = Some((&job, due()));
    let ran = coordinate(&a, &deployment, wanted, &stop, async |held| {
        held.check().await.unwrap();
        let other = coordinate(&b, &deployment, wanted, &stop, async |_| ((), DueTime::Settled)).await;
        assert!(matches!(other, Ok(Coordinated::Elsewhere { .. })));
        (7, DueTime::Open)
    });
    assert!(matches!(ran.await, Ok(Coordinated::Ran(7))));
    let ran = coordinate(&b, &deployment, wanted, &stop, async |_| (8, DueTime::Settled)).await;
    assert!(matches!(ran, Ok(Coordinated::Ran(8))), "an open due time is done by whoever comes next");
    let ran = coordinate(&a, &deployment, wanted, &stop, async |_| (9, DueTime::Settled)).await;
    assert!(matches!(ran, Ok(Coordinated::Done)));
    assert!(!stop.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_lease_is_lost_is_stopped_and_dropped_if_it_does_not_hear() {
    for deaf in [false, true] {
        let world = World::new();
        let (a, deployment, stop) = (world.daemon("a"), crm(), CancellationToken::new());
        let began = Instant::now();
        let ran = coordinate(&a, &deployment, None, &stop, async |_| {
            world.break_all(MemoryFault::Fail(StoreErrorKind::Transient));
            if deaf {
                std::future::pending::<()>().await;
            }
            stop.cancelled().await;
            ("stopped", DueTime::Open)
        });
        let ran = ran.await.unwrap();
        let heard = (!deaf).then_some("stopped");
        assert!(matches!(&ran, Coordinated::Lost(result) if *result == heard), "{ran:?}");
        assert!(began.elapsed() <= LEASE, "nobody can have taken it over yet: {:?}", began.elapsed());
    }
}
