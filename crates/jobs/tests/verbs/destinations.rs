//! Several destinations: what happens to one does not happen to the others.

use std::sync::atomic::Ordering;

use convault_core::{RunOutcome, RunRecord, StoreErrorKind};
use convault_uploader::{MemoryFault, MemoryOperation, MemoryStore};

use crate::{
    bench::{SMALL, TWO_PARTS, assert_nothing_left, assert_whole, back_up_into, job, memory},
    export::{FakeSource, sound},
};

fn problem<'a>(record: &'a RunRecord, store: &str) -> Option<&'a str> {
    let result = record.destinations.iter().find(|result| result.destination.as_str() == store).unwrap();
    result.problem.as_deref()
}

async fn with_fault(spoil: impl FnOnce(&MemoryStore)) -> (RunRecord, MemoryStore, MemoryStore, FakeSource) {
    let (near, far) = (memory("near"), memory("far"));
    spoil(&far);
    let source = FakeSource::of(sound(2 * TWO_PARTS));
    let record = back_up_into(&job(), &source, &[&near, &far]).await;
    (record, near, far, source)
}

#[tokio::test(start_paused = true)]
async fn all_destinations_get_the_snapshot_from_one_download() {
    let (record, near, far, source) = with_fault(|_| {}).await;
    assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
    assert_eq!(source.opened.load(Ordering::Relaxed), 1);
    assert_whole(&near, 1).await;
    assert_whole(&far, 1).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_in_the_middle_leaves_the_other_its_snapshot() {
    let spoil = |far: &MemoryStore| {
        far.fault(MemoryOperation::PutPart, 2, MemoryFault::Fail(StoreErrorKind::Full));
    };
    let (record, near, far, source) = with_fault(spoil).await;
    assert_eq!(record.outcome, Some(RunOutcome::Partial), "{}", record.message);
    assert!(record.message.contains("not in far: "), "{}", record.message);
    assert_eq!(problem(&record, "near"), None);
    assert!(problem(&record, "far").unwrap().contains("cannot upload a part of"));
    assert_eq!(source.opened.load(Ordering::Relaxed), 1);
    assert_whole(&near, 1).await;
    assert_nothing_left(&far).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_stalls_is_left_behind_and_refilled_and_the_run_says_so() {
    for nth in [1, 3] {
        let spoil = |far: &MemoryStore| far.fault(MemoryOperation::PutPart, nth, MemoryFault::Hang);
        let (record, near, far, source) = with_fault(spoil).await;
        assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
        let warned =
            |text: &String| text.contains("far fell behind") && text.contains("took no data for 60 s");
        assert!(record.warnings.iter().any(warned), "{:?}", record.warnings);
        assert_eq!(source.opened.load(Ordering::Relaxed), 1, "it was refilled from the other destination");
        assert_whole(&near, 1).await;
        assert_whole(&far, 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_stalls_for_good_is_given_up_with_both_reasons() {
    let spoil = |far: &MemoryStore| far.fault_always(MemoryOperation::PutPart, MemoryFault::Hang);
    let (record, near, far, _) = with_fault(spoil).await;
    assert_eq!(record.outcome, Some(RunOutcome::Partial), "{}", record.message);
    let problem = problem(&record, "far").unwrap();
    assert!(problem.starts_with("it took no data for 60 s; copying it from near failed too: "), "{problem}");
    assert_whole(&near, 1).await;
    far.mend();
    assert_nothing_left(&far).await;
}

#[tokio::test(start_paused = true)]
async fn a_transient_failure_is_made_good_from_the_other_destination() {
    for operation in [MemoryOperation::PutPart, MemoryOperation::Finish, MemoryOperation::Put] {
        for fault in [MemoryFault::Fail(StoreErrorKind::Transient), MemoryFault::LoseAnswer] {
            let spoil = |far: &MemoryStore| far.fault(operation, 2, fault);
            let (record, near, far, _) = with_fault(spoil).await;
            assert_eq!(record.outcome, Some(RunOutcome::Good), "{operation:?}: {}", record.message);
            assert_whole(&near, 1).await;
            assert_whole(&far, 1).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_may_be_the_one_that_falls_behind() {
    let (near, far) = (memory("near"), memory("far"));
    near.fault(MemoryOperation::Finish, 1, MemoryFault::LoseAnswer);
    let record = back_up_into(&job(), &FakeSource::of(sound(TWO_PARTS)), &[&near, &far]).await;
    assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
    assert!(record.warnings.iter().any(|text| text.starts_with("near fell behind")), "{:?}", record.warnings);
    assert_whole(&near, 1).await;
    assert_whole(&far, 1).await;
}

#[tokio::test(start_paused = true)]
async fn where_all_fail_the_run_fails_and_nothing_is_left() {
    let kind = StoreErrorKind::Full;
    for (operation, size) in [
        (MemoryOperation::PutPart, TWO_PARTS),
        (MemoryOperation::PutPart, 4 * TWO_PARTS),
        (MemoryOperation::Finish, TWO_PARTS),
        (MemoryOperation::Upload, TWO_PARTS),
        (MemoryOperation::Put, SMALL),
    ] {
        let (near, far) = (memory("near"), memory("far"));
        for store in [&near, &far] {
            store.fault_always(operation, MemoryFault::Fail(kind));
        }
        let record = back_up_into(&job(), &FakeSource::of(sound(size)), &[&near, &far]).await;
        assert_eq!(record.outcome, Some(RunOutcome::Failed), "{operation:?}: {}", record.message);
        for name in ["near", "far"] {
            assert!(
                record.message.contains(&format!("{name}: destination {name}: cannot")),
                "{}",
                record.message
            );
            assert!(problem(&record, name).is_some());
        }
        assert_eq!(record.snapshot, None);
        assert_nothing_left(&near).await;
        assert_nothing_left(&far).await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_all_stall_the_run_fails_and_nothing_is_left() {
    let (near, far) = (memory("near"), memory("far"));
    for store in [&near, &far] {
        store.fault_always(MemoryOperation::PutPart, MemoryFault::Hang);
    }
    let source = FakeSource::of(sound(3 * TWO_PARTS));
    let record = back_up_into(&job(), &source, &[&near, &far]).await;
    assert_eq!(record.outcome, Some(RunOutcome::Failed), "{}", record.message);
    for name in ["near", "far"] {
        assert!(record.message.contains(&format!("{name}: it took no data for 60 s")), "{}", record.message);
        assert!(problem(&record, name).is_some());
    }
    assert_nothing_left(&near).await;
    assert_nothing_left(&far).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_opened_is_left_out_and_named() {
    let spoil = |far: &MemoryStore| {
        far.fault_always(MemoryOperation::Get, MemoryFault::Fail(StoreErrorKind::Denied));
    };
    let (record, near, far, _) = with_fault(spoil).await;
    assert_eq!(record.outcome, Some(RunOutcome::Partial), "{}", record.message);
    assert!(problem(&record, "far").unwrap().contains("cannot get `convault.json`"));
    assert_whole(&near, 1).await;
    far.mend();
    assert_nothing_left(&far).await;
}

#[tokio::test(start_paused = true)]
async fn where_deleting_is_denied_a_failed_destination_still_lists_nothing() {
    let (near, far) = (memory("near"), memory("far"));
    far.fault_always(MemoryOperation::Delete, MemoryFault::Fail(StoreErrorKind::Denied));
    far.fault(MemoryOperation::Head, 1, MemoryFault::Fail(StoreErrorKind::Denied));
    far.fault(MemoryOperation::Finish, 1, MemoryFault::Fail(StoreErrorKind::AlreadyExists));
    let record = back_up_into(&job(), &FakeSource::of(sound(TWO_PARTS)), &[&near, &far]).await;
    assert_eq!(record.outcome, Some(RunOutcome::Partial), "{}", record.message);
    assert!(crate::bench::snapshots(&far).await.is_empty());
    assert_whole(&near, 1).await;
}
