//! One export into one destination: the good way, and everything between the deployment and the snapshot.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use convault_core::{
    Keep, ObjectRole, PutMode, ReadBack, RunEvent, RunId, RunOutcome, Store, StoreErrorKind, Verdict,
};
use convault_uploader::{MemoryFault, MemoryOperation};

use crate::{
    bench::{
        Run, SMALL, TWO_PARTS, assert_nothing_left, assert_whole, back_up_into, crm, destination, job,
        memory, snapshots, surveyed,
    },
    export::{FILE_ID, FakeSource, Unreachable, damaged_at_the_source, sound},
};

#[tokio::test(start_paused = true)]
async fn a_backup_stores_the_very_bytes_and_a_manifest_that_describes_them() {
    for size in [SMALL, TWO_PARTS] {
        let zip = sound(size);
        let (store, source) = (memory("offsite"), FakeSource::of(zip.clone()));
        let record = back_up_into(&job(), &source, &[&store]).await;
        assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
        assert_eq!((record.documents, record.files, record.read_bytes), (2, 1, zip.len() as u64));
        let [manifest] = snapshots(&store).await.try_into().unwrap();
        assert_eq!(record.snapshot, Some(manifest.id.clone()));
        let object = manifest.object(ObjectRole::Snapshot).unwrap();
        let key = format!("crm/snapshots/{}/{}", manifest.id, object.name);
        assert_eq!(store.contents(&key).unwrap(), zip);
        assert_eq!(object.read_back, ReadBack::Checksum);
        assert_eq!((manifest.totals.tables, manifest.totals.documents, manifest.totals.files), (1, 2, 1));
        assert_eq!(source.released.load(Ordering::Relaxed), 1);
        assert_whole(&store, 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_by_telling_its_record() {
    let run = Run::new();
    let stores = [destination(&memory("offsite"))];
    let record = convault_jobs::backup(&job(), &FakeSource::of(sound(SMALL)), &stores, &run.context).await;
    let Some(RunEvent::Finished { record: told }) = run.events().pop() else { panic!("no end was told") };
    assert_eq!(*told, record);
}

#[tokio::test(start_paused = true)]
async fn damage_in_transit_is_cured_by_a_second_download() {
    let zip = sound(TWO_PARTS);
    let mut flipped = zip.to_vec();
    flipped[zip.len() / 2] ^= 1;
    let store = memory("offsite");
    let source = FakeSource::of_downloads([Bytes::from(flipped), zip]);
    let record = back_up_into(&job(), &source, &[&store]).await;
    assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
    assert_eq!(source.opened.load(Ordering::Relaxed), 2);
    assert!(record.warnings.iter().any(|text| text.contains("downloading again")), "{:?}", record.warnings);
    assert_whole(&store, 1).await;
}

#[tokio::test(start_paused = true)]
async fn damage_in_transit_that_stays_gives_no_snapshot() {
    let zip = sound(TWO_PARTS);
    let store = memory("offsite");
    // The announced length is that of the first download, so the others are cut short.
    let source = FakeSource::of_downloads([zip.slice(..zip.len() - 40)]);
    let record = back_up_into(&job(), &source, &[&store]).await;
    assert_eq!(record.outcome, Some(RunOutcome::Failed), "{}", record.message);
    assert!(record.message.contains("cannot be trusted"), "{}", record.message);
    assert!(record.retryable);
    assert_eq!(source.opened.load(Ordering::Relaxed), 3);
    assert_eq!(source.released.load(Ordering::Relaxed), 1);
    assert_nothing_left(&store).await;
}

#[tokio::test(start_paused = true)]
async fn damage_at_the_source_is_confirmed_and_stored_as_suspect_with_its_ids() {
    let store = memory("offsite");
    let source = FakeSource::of(damaged_at_the_source(SMALL));
    let record = back_up_into(&job(), &source, &[&store]).await;
    assert_eq!(record.outcome, Some(RunOutcome::Suspect), "{}", record.message);
    assert!(record.message.starts_with("suspect, does not count as good"), "{}", record.message);
    assert_eq!(source.opened.load(Ordering::Relaxed), 2, "it was read a second time");
    let [manifest] = snapshots(&store).await.try_into().unwrap();
    let Verdict::Suspect { problems } = &manifest.verdict else { panic!("it counts as good") };
    assert_eq!(problems[0].kind, "source-damage");
    assert!(problems[0].ids[0].starts_with(FILE_ID), "{problems:?}");
    assert!(surveyed(&store).await.good().is_empty(), "no good snapshot is found");
    assert_whole(&store, 1).await;
}

#[tokio::test(start_paused = true)]
async fn damage_that_the_second_reading_does_not_show_was_in_transit() {
    let store = memory("offsite");
    let good = sound(SMALL);
    let source = FakeSource::of_downloads([damaged_at_the_source(SMALL), good]);
    let record = back_up_into(&job(), &source, &[&store]).await;
    assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
    assert_eq!(source.opened.load(Ordering::Relaxed), 3);
    assert_whole(&store, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_does_not_answer_leaves_the_destination_untouched() {
    let store = memory("offsite");
    let record = back_up_into(&job(), &Unreachable(crm()), &[&store]).await;
    assert_eq!(record.outcome, Some(RunOutcome::Failed));
    assert_eq!(record.message, "deployment crm: it does not answer; check that it runs");
    assert!(record.retryable);
    assert_eq!(store.keys(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_manifest_whose_answer_is_lost_is_read_back_and_counts() {
    let store = memory("offsite");
    back_up_into(&job(), &FakeSource::of(sound(SMALL)), &[&store]).await;
    // With the repository file there already, the puts of a run with two parts are the start record, the index and the
    // manifest.
    store.fault(MemoryOperation::Put, 3, MemoryFault::LoseAnswer);
    let record = back_up_into(&job(), &FakeSource::of(sound(TWO_PARTS)), &[&store]).await;
    assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
    assert_whole(&store, 2).await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_there_already_is_read_back_before_it_counts() {
    for operation in [MemoryOperation::Put, MemoryOperation::Finish] {
        let store = memory("offsite");
        back_up_into(&job(), &FakeSource::of(sound(SMALL)), &[&store]).await;
        store.fault(operation, 1, MemoryFault::Fail(StoreErrorKind::AlreadyExists));
        let record = back_up_into(&job(), &FakeSource::of(sound(TWO_PARTS)), &[&store]).await;
        // Nothing was there after all, which only reading it back can show.
        assert_eq!(record.outcome, Some(RunOutcome::Failed), "{operation:?}: {}", record.message);
        assert_whole(&store, 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_manifest_under_our_key_is_never_taken_for_ours() {
    let store = memory("offsite");
    let run = Run::new();
    let key = format!("crm/snapshots/{}/manifest.json", run.context.id);
    store.put(&key, Bytes::from_static(b"{}"), PutMode::Overwrite).await.unwrap();
    let stores = [destination(&store)];
    let record = convault_jobs::backup(&job(), &FakeSource::of(sound(SMALL)), &stores, &run.context).await;
    assert_eq!(record.outcome, Some(RunOutcome::Failed), "{}", record.message);
    assert!(record.message.contains("not what was written"), "{}", record.message);
    assert!(snapshots(&store).await.is_empty());
    assert_eq!(store.contents(&key).unwrap(), "{}", "it is left as it is");
}

#[tokio::test(start_paused = true)]
async fn a_prefix_that_is_something_else_is_refused() {
    let store = memory("offsite");
    store.put("convault.json", Bytes::from_static(b"[1]"), PutMode::Overwrite).await.unwrap();
    let record = back_up_into(&job(), &FakeSource::of(sound(SMALL)), &[&store]).await;
    assert_eq!(record.outcome, Some(RunOutcome::Failed));
    assert!(record.message.contains("is the prefix right?"), "{}", record.message);
    assert_nothing_left(&store).await;
}

#[tokio::test(start_paused = true)]
async fn retention_is_applied_after_the_run_and_only_then() {
    let store = memory("offsite");
    let keep = Keep { last: 2, at_least_verified: 1, ..Keep::default() };
    let job = convault_jobs::BackupJob { keep, ..job() };
    for day in 0..3 {
        let record = back_up_into(&job, &FakeSource::of(sound(SMALL)).days_later(day), &[&store]).await;
        assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
    }
    assert_whole(&store, 2).await;
    let record = back_up_into(&job, &Unreachable(crm()), &[&store]).await;
    assert_eq!(record.outcome, Some(RunOutcome::Failed));
    assert_whole(&store, 2).await;
}

#[tokio::test(start_paused = true)]
async fn retention_that_fails_is_a_warning_of_a_good_run() {
    let store = memory("offsite");
    let keep = Keep { last: 1, at_least_verified: 1, ..Keep::default() };
    let job = convault_jobs::BackupJob { keep, ..job() };
    back_up_into(&job, &FakeSource::of(sound(SMALL)), &[&store]).await;
    store.fault_always(MemoryOperation::Delete, MemoryFault::Fail(StoreErrorKind::Denied));
    let record = back_up_into(&job, &FakeSource::of(sound(SMALL)).days_later(1), &[&store]).await;
    assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
    let warned = |text: &String| text.contains("deleting is denied") && text.contains("offsite");
    assert!(record.warnings.iter().any(warned), "{:?}", record.warnings);
    store.mend();
    assert_whole(&store, 2).await;
}

#[tokio::test(start_paused = true)]
async fn only_unfinished_uploads_of_dead_runs_are_aborted() {
    let store = memory("offsite");
    let dead = RunId::parse("20261122T030056Z-700000").unwrap();
    let (ours, alive) = (format!("crm/snapshots/{dead}/x.zip"), Run::new().context.id);
    let theirs = [format!("crm/snapshots/{alive}/x.zip"), format!("other/snapshots/{dead}/x.zip")];
    for key in [&ours, &theirs[0], &theirs[1]] {
        store.upload(key, 5 << 20, PutMode::IfAbsent).await.unwrap();
    }
    let job = convault_jobs::BackupJob { dead_runs: vec![dead], ..job() };
    let record = back_up_into(&job, &FakeSource::of(sound(SMALL)), &[&store]).await;
    assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
    let left: Vec<String> =
        store.list_uploads("").await.unwrap().into_iter().map(|upload| upload.key).collect();
    assert_eq!(left, theirs);
}
