//! What looks wrong is kept apart, freezes pruning, and counts once a person has accepted it.

use std::{collections::BTreeMap, time::Duration};

use convault_core::{
    AnomalyLimits, Keep, LockMode, MarkKind, RunOutcome, RunRecord, Standing, Store, StoreErrorKind, Tier,
};
use convault_jobs::{BackupJob, Destination, JobError, MarkRequest, PruneRules};
use convault_uploader::{MemoryFault, MemoryOperation, MemoryStore};
use jiff::{SignedDuration, tz::TimeZone};

use crate::{
    bench::{Run, SMALL, TestClock, crm, destination, job, memory_at, surveyed},
    export::{FILE_ID, FakeSource, damaged_at_the_source, empty, export_of},
};

const KEEP_ONE: Keep = Keep {
    last: 1,
    hourly: 0,
    daily: 0,
    weekly: 0,
    monthly: 0,
    yearly: 0,
    within: None,
    at_least_verified: 1,
};

async fn back_up(job: &BackupJob, source: FakeSource, to: &[Destination], clock: &TestClock) -> RunRecord {
    convault_jobs::backup(job, &source, to, &Run::at(clock).context).await
}

fn standings(survey: &convault_jobs::Survey) -> Vec<Standing> {
    survey.snapshots().map(|snapshot| snapshot.judgement.standing).collect()
}

#[tokio::test(start_paused = true)]
async fn an_empty_export_is_suspect_and_freezes_pruning_until_it_is_accepted() {
    let clock = TestClock::default();
    let store = memory_at("offsite", &clock);
    let to = [destination(&store)];
    let job = BackupJob { keep: KEEP_ONE, ..job() };
    for day in 0..2 {
        let record = back_up(&job, FakeSource::of(export_of(SMALL, 0)).days_later(day), &to, &clock).await;
        assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
        clock.advance_hours(24);
    }
    let record = back_up(&job, FakeSource::of(empty()).days_later(2), &to, &clock).await;
    assert_eq!(record.outcome, Some(RunOutcome::Suspect), "{}", record.message);
    assert!(record.message.contains("does not count as good"), "{}", record.message);
    assert_eq!(standings(&surveyed(&store).await), [Standing::Good, Standing::Suspect]);

    // It freezes: two more good ones would otherwise have pushed the first out, but it stays the newest.
    let rules = PruneRules::new(KEEP_ONE, TimeZone::UTC);
    let plan = convault_jobs::plan_prune(&to[0], &crm(), &rules, surveyed_now(&clock)).await.unwrap();
    assert!(plan.retention.frozen);
    assert_eq!(plan.removals, []);

    let id = record.snapshot.unwrap();
    let request = MarkRequest::new(crm(), id.clone(), MarkKind::Accept, "the tables were emptied on purpose");
    convault_jobs::mark(&to[0], &request, &Run::at(&clock).context).await.unwrap();
    assert_eq!(standings(&surveyed(&store).await), [Standing::Good, Standing::Good]);
    let plan = convault_jobs::plan_prune(&to[0], &crm(), &rules, surveyed_now(&clock)).await.unwrap();
    assert!(!plan.retention.frozen);

    let again = convault_jobs::mark(&to[0], &request, &Run::at(&clock).context).await;
    assert!(matches!(again, Err(JobError::NotAcceptable { .. })), "{again:?}");
}

fn surveyed_now(clock: &TestClock) -> jiff::Timestamp {
    convault_core::Clock::now(clock)
}

#[tokio::test(start_paused = true)]
async fn a_normal_run_after_a_suspect_one_ends_the_freeze() {
    let clock = TestClock::default();
    let store = memory_at("offsite", &clock);
    let to = [destination(&store)];
    for (day, zip, expected) in [
        (0, export_of(SMALL, 0), RunOutcome::Good),
        (1, empty(), RunOutcome::Suspect),
        (2, export_of(SMALL, 1), RunOutcome::Good),
    ] {
        let record = back_up(&job(), FakeSource::of(zip).days_later(day), &to, &clock).await;
        assert_eq!(record.outcome, Some(expected), "{}", record.message);
    }
    let rules = PruneRules::new(KEEP_ONE, TimeZone::UTC);
    let plan = convault_jobs::plan_prune(&to[0], &crm(), &rules, surveyed_now(&clock)).await.unwrap();
    assert!(!plan.retention.frozen);
    assert_eq!(plan.removals.len(), 1, "the older good one; the suspect one is kept to be looked at");
}

#[tokio::test(start_paused = true)]
async fn the_limits_are_those_of_the_job() {
    let clock = TestClock::default();
    let store = memory_at("offsite", &clock);
    let to = [destination(&store)];
    let anomaly = AnomalyLimits { allow_empty: true, min_documents: None, ..AnomalyLimits::default() };
    let job = BackupJob { anomaly, ..job() };
    let record = back_up(&job, FakeSource::of(empty()), &to, &clock).await;
    assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
}

#[tokio::test(start_paused = true)]
async fn known_source_damage_is_accepted_only_by_its_name() {
    let clock = TestClock::default();
    let store = memory_at("offsite", &clock);
    let to = [destination(&store)];
    let record = back_up(&job(), FakeSource::of(damaged_at_the_source(SMALL)), &to, &clock).await;
    assert_eq!(record.outcome, Some(RunOutcome::Suspect), "{}", record.message);
    let plain = MarkRequest::new(crm(), record.snapshot.unwrap(), MarkKind::Accept, "known since spring");
    let refused = convault_jobs::mark(&to[0], &plain, &Run::at(&clock).context).await.unwrap_err();
    assert!(refused.to_string().contains(FILE_ID), "{refused}");
    let wrong = MarkRequest { names: vec![FILE_ID.to_owned(), "kg2other".to_owned()], ..plain.clone() };
    assert!(convault_jobs::mark(&to[0], &wrong, &Run::at(&clock).context).await.is_err());
    let named = MarkRequest { names: vec![FILE_ID.to_owned()], ..plain };
    convault_jobs::mark(&to[0], &named, &Run::at(&clock).context).await.unwrap();
    assert_eq!(standings(&surveyed(&store).await), [Standing::Good]);
}

#[tokio::test(start_paused = true)]
async fn a_vault_takes_one_a_week_and_fills_a_week_it_missed() {
    let clock = TestClock::default();
    let (near, vault) = (memory_at("near", &clock), memory_at("vault", &clock));
    let accepting = Destination { accept: Some(vec![Tier::Weekly]), ..destination(&vault) };
    let to = [destination(&near), accepting];
    let keep = Keep { daily: 30, weekly: 8, ..Keep::default() };
    let job = BackupJob { keep, ..job() };
    let mut taken = Vec::new();
    for day in 0..21_u8 {
        // Tuesday, 14 November 2023 is the first day; in its second week the vault cannot be reached for four days.
        if day == 6 {
            vault.fault_always(MemoryOperation::Upload, MemoryFault::Fail(StoreErrorKind::Denied));
        }
        if day == 10 {
            vault.mend();
        }
        let before = surveyed(&vault).await.folders.len();
        let source = FakeSource::of(export_of(SMALL, day)).days_later(i64::from(day));
        let record = back_up(&job, source, &to, &clock).await;
        assert_ne!(record.outcome, Some(RunOutcome::Failed), "{}", record.message);
        if surveyed(&vault).await.folders.len() > before {
            taken.push(day);
        }
    }
    assert_eq!(
        taken,
        [0, 10, 13, 20],
        "the first day of each week, and the first after it could be reached again"
    );
    assert_eq!(surveyed(&near).await.folders.len(), 21);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_exported_that_no_destination_would_take() {
    let clock = TestClock::default();
    let vault = memory_at("vault", &clock);
    let to = [Destination { accept: Some(vec![Tier::Yearly]), ..destination(&vault) }];
    let now = convault_core::Clock::now(&clock);
    let source = || FakeSource::of(export_of(SMALL, 0)).taken_at(now);
    let first = back_up(&job(), source(), &to, &clock).await;
    assert_eq!((first.outcome, first.snapshot.is_some()), (Some(RunOutcome::Good), true));
    let second = FakeSource::of(export_of(SMALL, 0)).taken_at(now + SignedDuration::from_secs(1));
    let record = convault_jobs::backup(&job(), &second, &to, &Run::at(&clock).context).await;
    assert_eq!((record.outcome, record.snapshot), (Some(RunOutcome::Good), None), "{}", record.message);
    assert_eq!(second.opened.load(std::sync::atomic::Ordering::Relaxed), 0);
}

fn lockable(clock: &TestClock) -> MemoryStore {
    memory_at("vault", clock).with_versions().with_locks(None)
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_is_locked_for_as_long_as_retention_keeps_it_and_pruning_stays_calm() {
    let clock = TestClock::default();
    let store = lockable(&clock);
    let to = [Destination { object_lock: Some(LockMode::Governance), ..destination(&store) }];
    let keep = Keep { daily: 3, at_least_verified: 1, ..Keep::default() };
    let job = BackupJob { keep: keep.clone(), ..job() };
    let now = convault_core::Clock::now(&clock);
    let first = back_up(&job, FakeSource::of(export_of(SMALL, 0)).taken_at(now), &to, &clock).await;
    assert_eq!((first.outcome, first.warnings), (Some(RunOutcome::Good), vec![]));
    let survey = surveyed(&store).await;
    let manifest = survey.snapshots().next().unwrap().manifest.clone();
    for object in survey.folders[0].objects.iter().map(|object| &object.key) {
        let lock = store.lock(object).await.unwrap().unwrap_or_else(|| panic!("{object} is not locked"));
        let days = lock.until.duration_since(now).as_hours();
        assert!((48..=72).contains(&days), "{object} is locked for {days} hours");
    }
    let calls = store.calls(MemoryOperation::SetLock);
    assert_eq!(calls, survey.folders[0].objects.len() as u64, "each object once, and none at create");

    // Retention no longer keeps it, but the lock holds: nothing is tried, and nothing is an error.
    let key = format!("crm/snapshots/{}/manifest.json", manifest.id);
    let a_little_later = now + SignedDuration::from_secs(1);
    let source = FakeSource::of(export_of(SMALL, 1)).taken_at(a_little_later);
    let second = back_up(&job, source, &to, &clock).await;
    assert_eq!(second.outcome, Some(RunOutcome::Good), "{}", second.message);
    let rules = PruneRules::new(Keep { last: 1, at_least_verified: 1, ..Keep::default() }, TimeZone::UTC);
    let plan = convault_jobs::plan_prune(&to[0], &crm(), &rules, a_little_later).await.unwrap();
    assert_eq!((plan.removals.len(), plan.locked.len()), (0, 1), "{plan:?}");
    let pruned = convault_jobs::prune(&to[0], &plan, &rules, &Run::at(&clock).context).await.unwrap();
    assert_eq!((pruned.removed, pruned.held_back), (vec![], vec![]));
    assert!(store.contents(&key).is_some());

    clock.advance_hours(24 * 4);
    let later = convault_core::Clock::now(&clock);
    let plan = convault_jobs::plan_prune(&to[0], &crm(), &rules, later).await.unwrap();
    let pruned = convault_jobs::prune(&to[0], &plan, &rules, &Run::at(&clock).context).await.unwrap();
    assert_eq!(pruned.removed, [manifest.id]);
    assert!(store.contents(&key).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_held_snapshot_stays_and_its_lock_is_extended_only_when_it_runs_out() {
    let clock = TestClock::default();
    let store = lockable(&clock);
    let to = [Destination { object_lock: Some(LockMode::Governance), ..destination(&store) }];
    let keep = Keep { daily: 1, at_least_verified: 1, ..Keep::default() };
    let job = BackupJob { keep, expected_interval: Some(Duration::from_hours(24)), ..job() };
    let day =
        |clock: &TestClock| FakeSource::of(export_of(SMALL, 0)).taken_at(convault_core::Clock::now(clock));
    let first = back_up(&job, day(&clock), &to, &clock).await.snapshot.unwrap();
    let hold = MarkRequest::new(crm(), first.clone(), MarkKind::Hold, "a lawyer asked");
    convault_jobs::mark(&to[0], &hold, &Run::at(&clock).context).await.unwrap();
    let mut extended = BTreeMap::new();
    for number in 1..=120 {
        clock.advance_hours(24);
        let before = store.calls(MemoryOperation::SetLock);
        back_up(&job, day(&clock), &to, &clock).await;
        // Five objects of the new snapshot are locked each night.
        let more = store.calls(MemoryOperation::SetLock) - before - 4;
        if more > 0 {
            extended.insert(number, more);
        }
        assert!(
            surveyed_at(&store, &clock).await.snapshots().any(|one| one.manifest.id == first),
            "night {number}"
        );
    }
    assert!(extended.len() <= 3, "its three objects are locked anew every 45 days: {extended:?}");
    assert!(!extended.is_empty(), "{extended:?}");
    let release = MarkRequest::new(crm(), first.clone(), MarkKind::Release, "the case is closed");
    convault_jobs::mark(&to[0], &release, &Run::at(&clock).context).await.unwrap();
    clock.advance_hours(24 * 100);
    back_up(&job, day(&clock), &to, &clock).await;
    assert!(surveyed_at(&store, &clock).await.snapshots().all(|one| one.manifest.id != first));
}

async fn surveyed_at(store: &MemoryStore, clock: &TestClock) -> convault_jobs::Survey {
    convault_jobs::survey(&destination(store), &crm(), &[], convault_core::Clock::now(clock)).await.unwrap()
}
