//! What has no owner goes, after a grace and never much at once; what may be a snapshot never goes.

use bytes::Bytes;
use convault_core::{Clock as _, Keep, PutMode, RunOutcome, Store};
use convault_jobs::{Destination, FolderState, PruneRules, Pruned, Survey};
use convault_uploader::MemoryStore;
use jiff::tz::TimeZone;

use crate::{
    bench::{Run, SMALL, TWO_PARTS, TestClock, crm, destination, job, memory_at},
    export::{FakeSource, export_of, sound},
};

fn rules() -> PruneRules {
    PruneRules::new(Keep::default(), TimeZone::UTC)
}

struct House {
    store: MemoryStore,
    clock: TestClock,
}

impl House {
    /// A destination with so many snapshots, a day apart, the newest of today.
    async fn with(number: u8) -> Self {
        let clock = TestClock::default();
        let house = Self { store: memory_at("offsite", &clock), clock };
        for day in 0..number {
            house.clock.advance_hours(24);
            let source = FakeSource::of(export_of(SMALL, day)).taken_at(house.clock.now());
            let to = [destination(&house.store)];
            let record = convault_jobs::backup(&job(), &source, &to, &Run::at(&house.clock).context).await;
            assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
        }
        house
    }

    async fn prune_by(&self, rules: &PruneRules) -> Pruned {
        let to = destination(&self.store);
        convault_jobs::retain(&to, &crm(), rules, None, &Run::at(&self.clock).context).await.unwrap()
    }

    async fn survey(&self) -> Survey {
        convault_jobs::survey(&destination(&self.store), &crm(), &[], self.clock.now()).await.unwrap()
    }

    fn snapshot_keys(&self) -> Vec<String> {
        self.store.keys().into_iter().filter(|key| key.starts_with("crm/snapshots/")).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_cut_off_is_interrupted_and_its_rest_goes_after_the_grace() {
    let house = House::with(2).await;
    let kept = house.snapshot_keys();
    let run = Run::at(&house.clock);
    let source = FakeSource::of(sound(2 * TWO_PARTS)).stalling_after(TWO_PARTS + 1000);
    let (job, to) = (job(), [destination(&house.store)]);
    let backup = convault_jobs::backup(&job, &source, &to, &run.context);
    assert!(tokio::time::timeout(std::time::Duration::from_secs(5), backup).await.is_err());
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;

    let survey = house.survey().await;
    let folder = survey.folders.iter().find(|folder| folder.id == run.context.id).unwrap();
    assert!(matches!(folder.state, FolderState::Interrupted), "{:?}", folder.state);
    house.prune_by(&rules()).await;
    assert_eq!(house.snapshot_keys().len(), kept.len() + 1, "the grace is not over");
    house.clock.advance_hours(24 * 8);
    assert_eq!(house.prune_by(&rules()).await.leftovers, 1);
    assert_eq!(house.snapshot_keys(), kept);
}

#[tokio::test(start_paused = true)]
async fn an_upload_of_a_shared_file_is_aborted_once_no_run_can_still_be_at_it() {
    let house = House::with(0).await;
    let upload = house.store.upload("crm/files/ab/abcd", 5 << 20, PutMode::IfAbsent).await.unwrap();
    for (hours, left) in [(0, 1), (47, 1), (2, 0)] {
        house.clock.advance_hours(hours);
        let source = FakeSource::of(export_of(SMALL, 0)).taken_at(house.clock.now());
        let to = [destination(&house.store)];
        convault_jobs::backup(&job(), &source, &to, &Run::at(&house.clock).context).await;
        assert_eq!(house.store.list_uploads("crm/files/").await.unwrap().len(), left, "{hours}");
    }
    drop(upload);
}

#[tokio::test(start_paused = true)]
async fn a_folder_whose_manifest_is_gone_is_headless_and_never_swept() {
    let house = House::with(3).await;
    let id = house.survey().await.folders[1].id.clone();
    house.store.delete(&format!("crm/snapshots/{id}/manifest.json")).await.unwrap();
    let before = house.snapshot_keys();
    house.clock.advance_hours(24 * 400);
    let rules = PruneRules { accept_missing: true, sweep_limit_percent: 100, ..self::rules() };
    house.prune_by(&rules).await;
    assert_eq!(house.snapshot_keys(), before);
    let survey = house.survey().await;
    assert!(matches!(survey.folders[1].state, FolderState::Headless), "{:?}", survey.folders[1].state);
}

#[tokio::test(start_paused = true)]
async fn fewer_manifests_than_were_known_stop_every_deletion_until_a_person_says_so() {
    let house = House::with(4).await;
    let id = house.survey().await.folders[0].id.clone();
    for key in house.snapshot_keys().iter().filter(|key| key.contains(id.as_str())) {
        house.store.delete(key).await.unwrap();
    }
    let keep = Keep { last: 1, at_least_verified: 1, ..Keep::default() };
    let rules = PruneRules { keep, ..self::rules() };
    let pruned = house.prune_by(&rules).await;
    assert_eq!(pruned.removed, []);
    assert!(pruned.held_back[0].contains("only 3 of 4 snapshots"), "{:?}", pruned.held_back);
    let pruned = house.prune_by(&PruneRules { accept_missing: true, ..rules.clone() }).await;
    assert_eq!(pruned.removed.len(), 2);
    assert_eq!(house.prune_by(&rules).await.held_back, Vec::<String>::new(), "what is known is known anew");
}

#[tokio::test(start_paused = true)]
async fn what_this_machine_knows_stops_deletions_as_well() {
    let house = House::with(2).await;
    let pruned = house.prune_by(&PruneRules { known_locally: Some(5), ..rules() }).await;
    assert!(pruned.held_back[0].contains("only 2 of 5 snapshots"), "{:?}", pruned.held_back);
}

#[tokio::test(start_paused = true)]
async fn a_stray_object_goes_after_the_grace_but_many_of_them_do_not() {
    let house = House::with(6).await;
    let id = house.survey().await.folders[0].id.clone();
    let stray = format!("crm/snapshots/{id}/stray");
    house.store.put(&stray, Bytes::from_static(b"x"), PutMode::IfAbsent).await.unwrap();
    assert_eq!(house.prune_by(&rules()).await.leftovers, 0, "it is young");
    house.clock.advance_hours(24 * 8);
    assert_eq!(house.prune_by(&rules()).await.leftovers, 1);
    assert!(house.store.contents(&stray).is_none());

    for number in 0..4 {
        let key = format!("crm/snapshots/{id}/stray{number}");
        house.store.put(&key, Bytes::from_static(b"x"), PutMode::IfAbsent).await.unwrap();
    }
    house.clock.advance_hours(24 * 8);
    let pruned = house.prune_by(&rules()).await;
    assert_eq!(pruned.leftovers, 0);
    assert!(pruned.held_back[0].contains("more than 5 %"), "{:?}", pruned.held_back);
    let allowed = PruneRules { sweep_limit_percent: 50, ..rules() };
    assert_eq!(house.prune_by(&allowed).await.leftovers, 4);
}

#[tokio::test(start_paused = true)]
async fn clocks_that_differ_too_much_delete_nothing_but_store_all_the_same() {
    let house = House::with(3).await;
    let ahead = house.clock.clone_ahead(2);
    let keep = Keep { last: 1, at_least_verified: 1, ..Keep::default() };
    let job = convault_jobs::BackupJob { keep, ..job() };
    let to = [destination(&house.store)];
    let source = FakeSource::of(export_of(SMALL, 9)).taken_at(house.clock.now());
    let record = convault_jobs::backup(&job, &source, &to, &Run::at(&ahead).context).await;
    assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
    assert!(
        record.warnings.iter().any(|text| text.contains("ahead of the store's")),
        "{:?}",
        record.warnings
    );
    assert_eq!(house.survey().await.snapshots().count(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_append_only_destination_is_written_to_and_nothing_else() {
    let house = House::with(1).await;
    let keep = Keep { last: 1, at_least_verified: 1, ..Keep::default() };
    let job = convault_jobs::BackupJob { keep, ..job() };
    let to = [Destination { append_only: true, ..destination(&house.store) }];
    house.store.fault_always(
        convault_uploader::MemoryOperation::Delete,
        convault_uploader::MemoryFault::Fail(convault_core::StoreErrorKind::Denied),
    );
    for day in 1..4 {
        house.clock.advance_hours(24);
        let source = FakeSource::of(export_of(SMALL, day)).taken_at(house.clock.now());
        let record = convault_jobs::backup(&job, &source, &to, &Run::at(&house.clock).context).await;
        assert_eq!((record.outcome, record.warnings), (Some(RunOutcome::Good), vec![]), "{}", record.message);
    }
    assert_eq!(house.store.calls(convault_uploader::MemoryOperation::Delete), 0);
    assert_eq!(house.survey().await.good().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_prune_that_was_cut_off_is_finished_by_the_next() {
    let house = House::with(4).await;
    let keep = Keep { last: 1, at_least_verified: 1, ..Keep::default() };
    let rules = PruneRules { keep, ..self::rules() };
    let to = destination(&house.store);
    let run = Run::at(&house.clock);
    let plan = convault_jobs::plan_prune(&to, &crm(), &rules, house.clock.now()).await.unwrap();
    house.store.fault(
        convault_uploader::MemoryOperation::Delete,
        3,
        convault_uploader::MemoryFault::Fail(convault_core::StoreErrorKind::Other),
    );
    assert!(convault_jobs::prune(&to, &plan, &rules, &run.context).await.is_err());
    house.store.mend();
    let survey = house.survey().await;
    let cut_off: Vec<_> =
        survey.folders.iter().filter(|folder| matches!(folder.state, FolderState::BeingRemoved)).collect();
    assert_eq!(cut_off.len(), 1, "{survey:?}");
    house.prune_by(&rules).await;
    assert_eq!(house.survey().await.folders.len(), 1);
    assert_eq!(house.snapshot_keys().len(), 4);
}
