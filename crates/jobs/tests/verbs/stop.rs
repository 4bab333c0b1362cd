//! Stopping a run at its various steps.

use std::time::Duration;

use convault_core::{RunOutcome, RunRecord, Source};
use convault_uploader::{MemoryFault, MemoryOperation, MemoryStore};

use crate::{
    bench::{Run, TWO_PARTS, assert_nothing_left, assert_whole, back_up_into, destination, job, memory},
    export::{FakeSource, sound},
};

/// Runs a backup, and stops it once nothing moves any more, which must not take much longer.
async fn stopped(source: &dyn Source, store: &MemoryStore) -> RunRecord {
    let run = Run::new();
    let stores = [destination(store)];
    let stop = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        run.context.stop.cancel();
    };
    let job = job();
    let begun = tokio::time::Instant::now();
    let (record, ()) = tokio::join!(convault_jobs::backup(&job, source, &stores, &run.context), stop);
    assert!(begun.elapsed() < Duration::from_secs(6), "it took {:?} to stop", begun.elapsed());
    record
}

#[tokio::test(start_paused = true)]
async fn stop_during_upload_leaves_no_snapshot() {
    let store = memory("offsite");
    let source = FakeSource::of(sound(2 * TWO_PARTS)).stalling_after(TWO_PARTS + 1000);
    let record = stopped(&source, &store).await;
    assert_eq!(record.outcome, Some(RunOutcome::Cancelled), "{}", record.message);
    assert_eq!(record.message, "the run was stopped before it was done; nothing half done is left");
    assert!(store.calls(MemoryOperation::PutPart) > 0, "a part had been sent");
    assert_nothing_left(&store).await;
}

#[tokio::test(start_paused = true)]
async fn stop_while_a_destination_hangs_leaves_no_snapshot() {
    for operation in [
        MemoryOperation::Get,
        MemoryOperation::Put,
        MemoryOperation::Upload,
        MemoryOperation::PutPart,
        MemoryOperation::Finish,
    ] {
        let store = memory("offsite");
        back_up_into(&job(), &FakeSource::of(sound(1000)), &[&store]).await;
        store.fault(operation, 1, MemoryFault::Hang);
        // More than fits into the buffers, so that a part that hangs holds up the stream.
        let record = stopped(&FakeSource::of(sound(4 * TWO_PARTS)), &store).await;
        assert_eq!(record.outcome, Some(RunOutcome::Cancelled), "{operation:?}: {}", record.message);
        store.mend();
        assert_whole(&store, 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_stopped_at_once_touches_nothing() {
    let store = memory("offsite");
    let run = Run::new();
    run.context.stop.cancel();
    let stores = [destination(&store)];
    let record = convault_jobs::backup(&job(), &FakeSource::of(sound(1000)), &stores, &run.context).await;
    assert_eq!(record.outcome, Some(RunOutcome::Cancelled));
    assert_eq!(store.keys(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_dropped_leaves_no_snapshot_and_no_upload() {
    let store = memory("offsite");
    let run = Run::new();
    let stores = [destination(&store)];
    let source = FakeSource::of(sound(2 * TWO_PARTS)).stalling_after(TWO_PARTS + 1000);
    let job = job();
    let backup = convault_jobs::backup(&job, &source, &stores, &run.context);
    assert!(tokio::time::timeout(Duration::from_secs(5), backup).await.is_err());
    // The lanes notice that their run is gone, and abort what they had begun.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = format!("crm/snapshots/{}/start.json", run.context.id);
    assert_eq!(store.keys(), ["convault.json", start.as_str()], "its start record says whose rest this is");
    assert_eq!(convault_core::Store::list_uploads(&store, "").await.unwrap(), []);
}
