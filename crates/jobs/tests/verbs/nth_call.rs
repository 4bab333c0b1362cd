//! Whichever call of a destination fails, and however: the earlier snapshot stays whole, and of the new one there is
//! all or nothing.

use std::collections::BTreeMap;

use convault_core::{RunOutcome, Store as _, StoreErrorKind};
use convault_jobs::VerifyDepth;
use convault_uploader::{MemoryFault, MemoryOperation, MemoryStore};

use crate::{
    bench::{SMALL, TWO_PARTS, back_up_into, job, memory, snapshots, verified},
    export::{FakeSource, sound},
};

const OPERATIONS: [MemoryOperation; 10] = [
    MemoryOperation::Put,
    MemoryOperation::Upload,
    MemoryOperation::PutPart,
    MemoryOperation::Finish,
    MemoryOperation::Abort,
    MemoryOperation::Get,
    MemoryOperation::Head,
    MemoryOperation::List,
    MemoryOperation::Delete,
    MemoryOperation::ListUploads,
];

const FAULTS: [MemoryFault; 3] = [
    MemoryFault::Fail(StoreErrorKind::Transient),
    MemoryFault::Fail(StoreErrorKind::Other),
    MemoryFault::LoseAnswer,
];

/// A destination with one snapshot.
async fn with_a_snapshot() -> MemoryStore {
    let store = memory("offsite");
    back_up_into(&job(), &FakeSource::of(sound(SMALL)), &[&store]).await;
    store
}

fn calls(store: &MemoryStore) -> BTreeMap<MemoryOperation, u64> {
    OPERATIONS.iter().map(|operation| (*operation, store.calls(*operation))).collect()
}

/// Lets the `nth` call of `operation` meet `fault` during a backup, and looks at what is then there.
async fn check(operation: MemoryOperation, nth: u64, fault: MemoryFault, size: usize) {
    let place = format!("call {nth} of {operation:?}: {fault:?}");
    let store = with_a_snapshot().await;
    let earlier = snapshots(&store).await[0].id.clone();
    store.fault(operation, nth, fault);
    let record = back_up_into(&job(), &FakeSource::of(sound(size)).days_later(1), &[&store]).await;
    store.mend();
    let report = verified(&store, VerifyDepth::ReadData).await;
    assert_eq!(report.faults, [], "{place}: {}", record.message);
    assert!(report.sound.contains(&earlier), "{place}");
    let is_good = record.outcome == Some(RunOutcome::Good);
    assert!(is_good || record.outcome == Some(RunOutcome::Failed), "{place}: {}", record.message);
    assert_eq!(report.sound.len(), if is_good { 2 } else { 1 }, "{place}: {}", record.message);
    assert_eq!(store.list_uploads("").await.unwrap(), [], "{place}: {}", record.message);
    assert_eq!(is_good, record.message.contains("stored in offsite"), "{place}: {}", record.message);
    let again = back_up_into(&job(), &FakeSource::of(sound(size)).days_later(2), &[&store]).await;
    assert_eq!(again.outcome, Some(RunOutcome::Good), "{place}: the next run: {}", again.message);
}

async fn check_every_call(size: usize, faults: &[MemoryFault]) {
    let store = with_a_snapshot().await;
    let before = calls(&store);
    back_up_into(&job(), &FakeSource::of(sound(size)).days_later(1), &[&store]).await;
    let after = calls(&store);
    for operation in OPERATIONS {
        for nth in 1..=after[&operation] - before[&operation] {
            for fault in faults {
                check(operation, nth, *fault, size).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whichever_call_fails_a_small_export_is_stored_whole_or_not_at_all() {
    check_every_call(SMALL, &FAULTS).await;
}

#[tokio::test(start_paused = true)]
async fn whichever_call_fails_a_large_export_is_stored_whole_or_not_at_all() {
    // Hashing such a one takes its time: that a failure is final is seen with the small one.
    check_every_call(TWO_PARTS, &[MemoryFault::LoseAnswer]).await;
}
