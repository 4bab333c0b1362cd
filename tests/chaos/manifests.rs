//! Manifests that are deleted, cut short or forged, one of them or all: no object of their snapshots is deleted, they
//! are alarmed, and `repair` brings them back.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use convault_core::{
    DestinationName, Keep, Layout, Manifest, MarkKind, PutMode, RunId, RunOutcome, Standing, Verdict,
};
use convault_jobs::{MarkRequest, PruneRules, RepairReport, VerifyDepth};
use convault_uploader::MemoryStore;
use jiff::SignedDuration;

use crate::{
    daemon::{Daemon, Pace, Place, Told, crm},
    export::{Content, export},
    model::{View, look},
    source::FakeSource,
    time::{DaemonClock, StoreClock, Time},
    world::trust,
};

/// Where a manifest can be had from again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Help {
    /// A second destination.
    Second,
    /// Older versions of the object.
    Versions,
    /// The snapshot's own index and ZIP.
    Data,
}

/// What becomes of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Deleted,
    Truncated,
    Garbage,
    /// That of another snapshot is in its place.
    OfAnother,
    /// It is well-formed, claims to be good and names no objects; the signature is the old one.
    Forged,
    /// The same, and the signature is gone.
    ForgedUnsigned,
    /// The same, signed by a key that nobody trusts.
    ForgedSigned,
    SignatureDeleted,
}

const UNSIGNED: [Deed; 4] = [Deed::Deleted, Deed::Truncated, Deed::Garbage, Deed::OfAnother];
const SIGNED: [Deed; 8] = [
    Deed::Deleted,
    Deed::Truncated,
    Deed::Garbage,
    Deed::OfAnother,
    Deed::Forged,
    Deed::ForgedUnsigned,
    Deed::ForgedSigned,
    Deed::SignatureDeleted,
];
const SNAPSHOTS: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Case {
    help: Help,
    is_signed: bool,
    coordinated: bool,
    deed: Deed,
    all: bool,
}

struct Bench {
    case: Case,
    time: Arc<Time>,
    places: Vec<Place>,
    daemon: Daemon,
    serial: u32,
    exports: BTreeMap<RunId, Bytes>,
}

impl Bench {
    async fn new(case: Case) -> Self {
        let time = Time::new();
        let trust = trust(case.is_signed);
        let names = if case.help == Help::Second { vec!["offsite", "vault"] } else { vec!["offsite"] };
        let place = |name: &&str| {
            let clock = Arc::new(StoreClock(Arc::clone(&time)));
            let store = MemoryStore::with_clock(DestinationName::new(*name).unwrap(), clock);
            let store = if case.help == Help::Versions { store.with_versions() } else { store };
            Place::in_memory(store, &trust)
        };
        let places: Vec<Place> = names.iter().map(place).collect();
        let daemon =
            Daemon::start("alone", &places, &DaemonClock::new(&time), case.coordinated, Pace::PAUSED);
        let mut bench = Self { case, time, places, daemon, serial: 0, exports: BTreeMap::new() };
        for _ in 0..SNAPSHOTS {
            bench.back_up().await;
        }
        // A folder that was written to just now may belong to a run that goes on.
        bench.time.leap(SignedDuration::from_hours(2));
        bench
    }

    fn id(&mut self) -> RunId {
        self.serial += 1;
        RunId::new(self.time.now(), self.serial)
    }

    /// A day later, the next snapshot. Gives the run's warnings.
    async fn back_up(&mut self) -> Vec<String> {
        self.time.leap(SignedDuration::from_hours(24));
        let id = self.id();
        let zip = export(Content { serial: self.serial, documents: 20, damaged: false });
        self.exports.insert(id.clone(), zip.clone());
        let source = FakeSource { deployment: crm(), zip, snapshot_time: self.time.now() };
        let job = self.daemon.job(&Keep::default(), None);
        match self.daemon.back_up(&id, &job, &source).await {
            Told::Ran(record) => {
                assert_eq!(record.outcome, Some(RunOutcome::Good), "{:?}: {}", self.case, record.message);
                record.warnings
            }
            other => panic!("{:?}: {other:?}", self.case),
        }
    }

    async fn view(&self) -> View {
        look(&self.places[0], self.time.now()).await
    }

    async fn spoil(&self, view: &View, id: &RunId) {
        let raw = &self.places[0].raw;
        let key = Layout::new(crm()).manifest(id);
        let signature = Layout::signature_of(&key);
        let own = view.folders[id].manifest.clone().unwrap();
        let put = async |key: &str, body: Bytes| {
            raw.put(key, body, PutMode::Overwrite).await.unwrap();
        };
        let forged = || {
            Bytes::from(Manifest { objects: Vec::new(), verdict: Verdict::Good, ..own.clone() }.to_bytes())
        };
        match self.case.deed {
            Deed::Deleted => raw.delete(&key).await.unwrap(),
            Deed::Truncated => put(&key, view.objects[&key].slice(..100)).await,
            Deed::Garbage => put(&key, Bytes::from_static(b"\0\x01\x02 garbage")).await,
            Deed::OfAnother => {
                let other = view.folders.iter().find(|(other, _)| *other != id).unwrap();
                put(&key, other.1.manifest.clone().unwrap().to_bytes().into()).await;
            }
            Deed::Forged => put(&key, forged()).await,
            Deed::ForgedUnsigned => {
                raw.delete(&signature).await.unwrap();
                put(&key, forged()).await;
            }
            Deed::ForgedSigned => {
                let stranger = convault_archive::signature::SigningKey::generate().0;
                let body = forged();
                put(&signature, Bytes::from(stranger.sign(&body, "convault manifest"))).await;
                put(&key, body).await;
            }
            Deed::SignatureDeleted => raw.delete(&signature).await.unwrap(),
        }
    }

    async fn prune(&mut self, accept_missing: bool) {
        self.time.leap(SignedDuration::from_hours(60 * 24));
        let id = self.id();
        let keep = Keep { last: 1, at_least_verified: 1, ..Keep::default() };
        let rules = PruneRules { accept_missing, sweep_limit_percent: 100, ..self.daemon.rules(&keep) };
        let told = self.daemon.prune(&id, 0, &rules).await;
        assert!(matches!(told, Told::Ran(Ok(_))), "{:?}: {told:?}", self.case);
    }

    async fn repair(&mut self) -> RepairReport {
        let id = self.id();
        match self.daemon.repair(&id, 0).await {
            Told::Ran(Ok(report)) => report,
            other => panic!("{:?}: {other:?}", self.case),
        }
    }

    /// The identifiers of all that a verify finds fault with.
    async fn faulty(&mut self, depth: VerifyDepth) -> Vec<RunId> {
        let id = self.id();
        match self.daemon.verify(&id, 0, depth, true).await {
            Told::Ran(Ok(report)) => report.faults.into_iter().map(|fault| fault.id).collect(),
            other => panic!("{:?}: {other:?}", self.case),
        }
    }

    async fn accept(&mut self, id: &RunId) {
        let run = self.id();
        let request = MarkRequest::new(crm(), id.clone(), MarkKind::Accept, "it was looked at");
        let told = self.daemon.mark(&run, 0, &request).await;
        assert!(matches!(told, Told::Ran(Ok(_))), "{:?}: {told:?}", self.case);
    }
}

/// What lies in a snapshot's folder beside the manifest and its signature.
fn data(view: &View, id: &RunId) -> BTreeMap<String, Bytes> {
    let folder = Layout::new(crm()).snapshot_prefix(id);
    let own =
        view.objects.iter().filter(|(key, _)| key.starts_with(&folder) && !key.contains("/manifest.json"));
    own.map(|(key, bytes)| (key.clone(), bytes.clone())).collect()
}

/// Whether something signed, or at least whole, is left of the manifest somewhere.
fn is_copy_left(case: Case) -> bool {
    case.help != Help::Data
}

async fn check(case: Case) {
    let mut bench = Bench::new(case).await;
    let before = bench.view().await;
    let ids: Vec<RunId> = before.folders.keys().cloned().collect();
    assert_eq!(ids.len(), SNAPSHOTS);
    // The second oldest: retention keeps neither it nor what is on either side of it.
    let lost: Vec<RunId> = if case.all { ids.clone() } else { vec![ids[1].clone()] };
    for id in &lost {
        bench.spoil(&before, id).await;
    }

    let view = bench.view().await;
    for id in &lost {
        let seen = &view.folders[id];
        assert!(seen.is_alarming && seen.standing.is_none(), "{case:?}: {id} is {}", seen.state);
    }
    let faulty = bench.faulty(VerifyDepth::Cheap).await;
    assert_eq!(faulty, lost, "{case:?}: what verify finds fault with");
    let warnings = bench.back_up().await;
    for id in &lost {
        assert!(warnings.iter().any(|text| text.contains(id.as_str())), "{case:?}: {warnings:?}");
    }

    for accept_missing in [false, true] {
        bench.prune(accept_missing).await;
        let view = bench.view().await;
        for id in &lost {
            assert_eq!(data(&view, id), data(&before, id), "{case:?}: {id} after a prune");
        }
    }

    let report = bench.repair().await;
    assert_eq!(report.failed, [], "{case:?}");
    assert_eq!(report.repaired, lost, "{case:?}");
    for _ in 0..2 {
        bench.back_up().await;
    }
    let faulty = bench.faulty(VerifyDepth::ReadData).await;
    assert_eq!(faulty, Vec::<RunId>::new(), "{case:?}: what verify still finds fault with");
    let view = bench.view().await;
    for id in &lost {
        assert_eq!(data(&view, id), data(&before, id), "{case:?}: {id} after its repair");
        let nobody_vouches = case.is_signed && !is_copy_left(case);
        let wanted = if nobody_vouches { Standing::Suspect } else { Standing::Good };
        assert_eq!(view.folders[id].standing, Some(wanted), "{case:?}: {id} after its repair");
        assert!(view.folders[id].intact, "{case:?}: {id} after its repair");
        if case.help == Help::Versions {
            let key = Layout::new(crm()).manifest(id);
            assert_eq!(view.objects[&key], before.objects[&key], "{case:?}: {id} after its repair");
        }
        if nobody_vouches {
            bench.accept(id).await;
            assert!(bench.view().await.folders[id].is_good(), "{case:?}: {id} after it was accepted");
        }
    }
}

#[tokio::test(start_paused = true)]
#[expect(clippy::print_stdout, reason = "the figure of `tests/shows/never-lost-manifests`")]
async fn a_manifest_that_is_lost_costs_no_object_is_alarmed_and_comes_back() {
    let mut number = 0;
    for help in [Help::Second, Help::Versions, Help::Data] {
        for is_signed in [false, true] {
            let deeds = if is_signed { SIGNED.as_slice() } else { UNSIGNED.as_slice() };
            for deed in deeds.iter().copied() {
                for (coordinated, all) in [(false, false), (false, true), (true, false), (true, true)] {
                    check(Case { help, is_signed, coordinated, deed, all }).await;
                    number += 1;
                }
            }
        }
    }
    println!("figure: {number} losses of manifests, no object deleted, all alarmed and brought back");
}
