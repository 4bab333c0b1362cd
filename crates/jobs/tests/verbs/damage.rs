//! The damage matrix: what is done to what, whether it is found, and what happens next.

use bytes::Bytes;
use convault_archive::signature::{SigningKey, TrustedKeys};
use convault_core::{
    Keep, Layout, Manifest, MarkKind, ObjectRole, PutMode, REPOSITORY_KEY, RunOutcome, Standing, Store,
};
use convault_jobs::{
    Destination, FolderState, MarkRequest, PruneRules, RepairReport, RepairRules, Survey, Trust, VerifyDepth,
    VerifyReport,
};
use convault_uploader::MemoryStore;
use jiff::tz::TimeZone;

use crate::{
    bench::{Run, SMALL, TestClock, crm, job, memory_at},
    export::{FakeSource, export_of},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Flip,
    Truncate,
    Delete,
    SwapWithAnother,
    Garbage,
    /// A flipped bit that the store itself notices when it is read.
    Rot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Zip,
    Index,
    Manifest,
    Signature,
}

const WHATS: [What; 6] =
    [What::Flip, What::Truncate, What::Delete, What::SwapWithAnother, What::Garbage, What::Rot];

/// Two destinations with the same three snapshots, a day apart.
struct House {
    near: MemoryStore,
    far: MemoryStore,
    trust: Trust,
    clock: TestClock,
}

impl House {
    async fn new(signed: bool) -> Self {
        let key = signed.then(|| SigningKey::generate().0);
        let trust = Trust::new(key, &TrustedKeys::default());
        let clock = TestClock::default();
        let house = Self { near: memory_at("near", &clock), far: memory_at("far", &clock), trust, clock };
        for day in 0..3 {
            assert_eq!(house.back_up(day).await.0, Some(RunOutcome::Good));
        }
        // What has no manifest after an hour is not a run that goes on.
        house.clock.advance_hours(2);
        house
    }

    fn destination(&self, store: &MemoryStore) -> Destination {
        Destination { trust: self.trust.clone(), ..Destination::plain(std::sync::Arc::new(store.clone())) }
    }

    /// Outcome and warnings of one more run; each day's export differs from the last one's, with the same length.
    async fn back_up(&self, day: u8) -> (Option<RunOutcome>, Vec<String>) {
        let source = FakeSource::of(export_of(SMALL, day)).days_later(i64::from(day));
        let destinations = [self.destination(&self.near), self.destination(&self.far)];
        let record =
            convault_jobs::backup(&job(), &source, &destinations, &Run::at(&self.clock).context).await;
        (record.outcome, record.warnings)
    }

    async fn survey(&self, store: &MemoryStore) -> Survey {
        let now = Run::at(&self.clock).context.clock.now();
        convault_jobs::survey(&self.destination(store), &crm(), &[], now).await.unwrap()
    }

    async fn manifests(&self) -> Vec<Manifest> {
        self.survey(&self.far).await.snapshots().map(|snapshot| snapshot.manifest.clone()).collect()
    }

    async fn verify(&self, depth: VerifyDepth) -> VerifyReport {
        let run = Run::at(&self.clock);
        let destination = self.destination(&self.near);
        let report = convault_jobs::verify(&destination, &crm(), &[], depth, &run.context).await.unwrap();
        convault_jobs::record_proofs(&destination, &crm(), &report, "0", &run.context).await.unwrap();
        report
    }

    async fn prune_to_one(&self) {
        let rules = PruneRules::new(Keep { last: 1, at_least_verified: 1, ..Keep::default() }, TimeZone::UTC);
        convault_jobs::retain(
            &self.destination(&self.near),
            &crm(),
            &rules,
            None,
            &Run::at(&self.clock).context,
        )
        .await
        .unwrap();
    }

    async fn repair(&self, others: &[Destination]) -> RepairReport {
        let rules = RepairRules {
            identities: None,
            version: "0".to_owned(),
            upload_memory_bytes: job().upload_memory_bytes,
            stall_limit: job().stall_limit,
            anomaly: job().anomaly,
        };
        let near = self.destination(&self.near);
        convault_jobs::repair(&near, others, &crm(), None, &rules, &Run::at(&self.clock).context)
            .await
            .unwrap()
    }
}

fn key(manifest: &Manifest, place: Where) -> String {
    let layout = Layout::new(crm());
    let object = |role| layout.object(&manifest.id, &manifest.object(role).unwrap().name);
    match place {
        Where::Zip => object(ObjectRole::Snapshot),
        Where::Index => object(ObjectRole::Index),
        Where::Manifest => layout.manifest(&manifest.id),
        Where::Signature => Layout::signature_of(&layout.manifest(&manifest.id)),
    }
}

async fn spoil(store: &MemoryStore, manifests: &[Manifest], what: What, place: Where) {
    let victim = key(&manifests[1], place);
    let whole = store.contents(&victim).unwrap();
    match what {
        What::Flip => {
            let mut bytes = whole.to_vec();
            // In a manifest this turns a digit of its first number, and in a signature one of its letters.
            let middle = if place == Where::Manifest { 14 } else { bytes.len() / 2 };
            bytes[middle] ^= 1;
            store.tamper(&victim, bytes.into());
        }
        What::Truncate => store.tamper(&victim, whole.slice(..whole.len() / 2)),
        What::Delete => store.delete(&victim).await.unwrap(),
        What::SwapWithAnother => {
            let other = key(&manifests[0], place);
            let others = store.contents(&other).unwrap();
            store.put(&victim, others, PutMode::Overwrite).await.unwrap();
        }
        What::Garbage => {
            store.put(&victim, Bytes::from_static(b"{}"), PutMode::Overwrite).await.unwrap();
        }
        What::Rot => store.rot(&victim),
    }
}

async fn check(what: What, place: Where, signed: bool) {
    let case = format!("{what:?} × {place:?}, signed: {signed}");
    let house = House::new(signed).await;
    let manifests = house.manifests().await;
    let victim = manifests[1].id.clone();
    spoil(&house.near, &manifests, what, place).await;
    let left: Vec<String> = house
        .near
        .keys()
        .into_iter()
        .filter(|key| key.starts_with("crm/snapshots/") && key.contains(victim.as_str()))
        .collect();

    let report = house.verify(VerifyDepth::ReadData).await;
    assert_eq!(report.sound.len(), 2, "{case}: {report:?}");
    assert!(report.faults.iter().any(|fault| fault.id == victim), "{case}: {report:?}");

    let survey = house.survey(&house.near).await;
    let folder = survey.folders.iter().find(|folder| folder.id == victim).unwrap();
    assert!(folder.state.is_alarming(), "{case}: {:?}", folder.state);
    assert!(survey.good().iter().all(|snapshot| snapshot.manifest.id != victim), "{case}");
    if matches!(place, Where::Zip | Where::Index) {
        let standing = folder.snapshot().map(|snapshot| snapshot.judgement.standing);
        assert_eq!(standing, Some(Standing::Damaged), "{case}");
    }

    let (outcome, warnings) = house.back_up(3).await;
    assert_eq!(outcome, Some(RunOutcome::Good), "{case}: {warnings:?}");
    assert!(warnings.iter().any(|text| text.contains(victim.as_str())), "{case}: {warnings:?}");

    house.prune_to_one().await;
    for key in &left {
        assert!(house.near.contents(key).is_some(), "{case}: {key} was removed");
    }

    let repaired = house.repair(&[house.destination(&house.far)]).await;
    assert_eq!((repaired.repaired, repaired.failed), (vec![victim.clone()], vec![]), "{case}");
    let after = house.verify(VerifyDepth::ReadData).await;
    assert_eq!(after.faults, [], "{case}");
    assert!(after.sound.contains(&victim), "{case}");
    let cheap = house.verify(VerifyDepth::Cheap).await;
    assert_eq!((cheap.faults.len(), cheap.read_bytes), (0, 0), "{case}: entity tags are known again");
    for object in &manifests[1].objects {
        let key = Layout::new(crm()).object(&victim, &object.name);
        assert_eq!(house.near.contents(&key), house.far.contents(&key), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn damaged_data_is_found_kept_alarmed_and_repaired() {
    for what in WHATS {
        for place in [Where::Zip, Where::Index] {
            check(what, place, false).await;
            check(what, place, true).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_is_lost_or_forged_is_found_kept_alarmed_and_repaired() {
    for what in WHATS {
        check(what, Where::Manifest, false).await;
        check(what, Where::Manifest, true).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_signature_that_is_lost_or_forged_is_found_kept_alarmed_and_repaired() {
    for what in WHATS {
        check(what, Where::Signature, true).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_forged_manifest_that_reads_well_is_only_found_by_its_signature() {
    let house = House::new(true).await;
    let mut forged = house.manifests().await[1].clone();
    forged.tags = vec!["forged".to_owned()];
    let key = key(&forged, Where::Manifest);
    house.near.put(&key, Bytes::from(forged.to_bytes()), PutMode::Overwrite).await.unwrap();
    let survey = house.survey(&house.near).await;
    let folder = survey.folders.iter().find(|folder| folder.id == forged.id).unwrap();
    assert!(matches!(&folder.state, FolderState::Untrusted(why) if why.contains("signature")), "{folder:?}");
}

#[tokio::test(start_paused = true)]
async fn without_another_destination_the_manifest_is_made_again_from_the_data() {
    for (signed, expected) in [(false, Standing::Good), (true, Standing::Suspect)] {
        let house = House::new(signed).await;
        let before = house.manifests().await;
        for manifest in &before {
            house.near.delete(&key(manifest, Where::Manifest)).await.unwrap();
        }
        let report = house.repair(&[]).await;
        assert_eq!(report.repaired.len(), 3, "{report:?}");
        assert_eq!(report.failed, [], "signed: {signed}");
        let survey = house.survey(&house.near).await;
        let again = survey.snapshots().find(|snapshot| snapshot.manifest.id == before[2].id).unwrap();
        assert_eq!(again.judgement.standing, expected);
        assert_eq!(again.manifest.tables, before[2].tables);
        assert_eq!(again.manifest.totals, before[2].totals);
        assert_eq!(again.manifest.source.instance, before[2].source.instance);
        let sums =
            |manifest: &Manifest| manifest.objects.iter().map(|object| object.sha256).collect::<Vec<_>>();
        assert_eq!(sums(&again.manifest), sums(&before[2]));
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_other_destination_holds_is_said_to_be_beyond_repair() {
    let house = House::new(false).await;
    let manifests = house.manifests().await;
    spoil(&house.near, &manifests, What::Flip, Where::Zip).await;
    house.verify(VerifyDepth::ReadData).await;
    let report = house.repair(&[]).await;
    assert_eq!(report.repaired, []);
    let (id, why) = &report.failed[0];
    assert_eq!(*id, manifests[1].id);
    assert!(why.contains("no other destination holds the same bytes"), "{why}");
    assert!(why.contains("identity"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_stops_no_backup() {
    let house = House::new(true).await;
    let held = house.manifests().await[0].id.clone();
    let request = MarkRequest::new(crm(), held, MarkKind::Hold, "for the court");
    let near = house.destination(&house.near);
    convault_jobs::mark(&near, &request, &Run::at(&house.clock).context).await.unwrap();
    house.verify(VerifyDepth::ReadData).await;
    let records = ["crm/marks/", "crm/proofs/", "crm/prunes/"];
    for key in house.near.keys() {
        if records.iter().any(|folder| key.starts_with(folder)) {
            house.near.rot(&key);
        }
    }
    let (outcome, warnings) = house.back_up(3).await;
    assert_eq!(outcome, Some(RunOutcome::Good), "{warnings:?}");
    let survey = house.survey(&house.near).await;
    assert!(survey.passed_over.iter().any(|text| text.contains("checksum")), "{:?}", survey.passed_over);
}

/// Garbage over `convault.json` would stop every backup there.
#[tokio::test(start_paused = true)]
async fn a_repository_file_that_was_written_over_comes_back() {
    for versions in [false, true] {
        let house = House::new(true).await;
        let near = if versions { house.near.clone().with_versions() } else { house.near.clone() };
        let before = near.contents(REPOSITORY_KEY).unwrap();
        near.put(REPOSITORY_KEY, Bytes::from_static(b"ransom"), PutMode::Overwrite).await.unwrap();
        if !versions {
            near.rot(REPOSITORY_KEY);
        }
        assert_eq!(house.back_up(3).await.0, Some(RunOutcome::Partial));
        let report = house.repair(&[]).await;
        assert_eq!((report.repaired.len(), report.failed.len()), (0, 0), "{report:?}");
        assert_eq!(near.contents(REPOSITORY_KEY).unwrap(), before, "versions: {versions}");
        assert_eq!(house.back_up(4).await.0, Some(RunOutcome::Good));
    }
}

/// Nothing there speaks for its being ours: the prefix may be the wrong one.
#[tokio::test(start_paused = true)]
async fn a_repository_file_of_somebody_else_stays() {
    let house = House::new(true).await;
    let near = House { near: memory_at("near", &house.clock), ..house };
    let foreign = Bytes::from_static(b"not ours");
    near.near.put(REPOSITORY_KEY, foreign.clone(), PutMode::Overwrite).await.unwrap();
    near.repair(&[]).await;
    assert_eq!(near.near.contents(REPOSITORY_KEY), Some(foreign));
}
