//! Of a whole run (a backup whose retention removes a snapshot, a verify with proofs, a prune that finds leftovers) the
//! first, the second, … call fails, in each way: what must hold holds after each, the run tells the truth, and the next
//! one works and leaves nothing behind.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use convault_archive::signature::{SigningKey, TrustedKeys};
use convault_core::{
    Keep, Layout, MIN_PART_BYTES, PutMode, RunId, RunOutcome, RunRecord, Standing, StoreErrorKind,
};
use convault_jobs::{PruneRules, Trust, VerifyDepth};
use convault_simulator::s3::{RunningS3, S3Fault, S3FaultKind};
use jiff::SignedDuration;

use crate::{
    bucket::{self, QUICK},
    daemon::{Daemon, Pace, Place, Told, crm},
    export::{Content, export},
    model::{Allowed, Model},
    process::Fault,
    source::FakeSource,
    time::{DaemonClock, StoreClock, Time},
};

const KEEP: Keep = Keep {
    last: 2,
    hourly: 0,
    daily: 0,
    weekly: 0,
    monthly: 0,
    yearly: 0,
    within: None,
    at_least_verified: 2,
};
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// A destination or two with snapshots and with what a run left behind that was cut off.
pub(crate) struct Bench {
    pub(crate) time: Arc<Time>,
    pub(crate) places: Vec<Place>,
    pub(crate) daemon: Daemon,
    pub(crate) model: Model,
    clock: DaemonClock,
    signer: Option<SigningKey>,
    coordinated: bool,
    pace: Pace,
    serial: u32,
    /// What happened, for when something does not hold.
    case: String,
}

/// What the three verbs of a run told.
pub(crate) struct Run {
    id: RunId,
    backup: Told<RunRecord>,
    rest: Vec<String>,
    removed: Vec<(usize, RunId)>,
}

impl Bench {
    pub(crate) async fn new(
        time: Arc<Time>,
        places: Vec<Place>,
        signer: Option<SigningKey>,
        coordinated: bool,
        pace: Pace,
        case: String,
    ) -> Self {
        let clock = DaemonClock::new(&time);
        let daemon = Daemon::start("first", &places, &clock, coordinated, pace);
        let model = Model::new(&places, time.now()).await;
        let mut bench =
            Self { time, places, daemon, model, clock, signer, coordinated, pace, serial: 0, case };
        for _ in 0..3 {
            bench.back_up(&Keep::default()).await;
        }
        bench.look(Allowed::NOTHING).await;
        bench.leave_something_behind().await;
        bench.time.leap(DAY * 10);
        bench.look(Allowed::NOTHING).await;
        bench
    }

    /// What a run leaves that dies in the middle: its start record, its ZIP, and an upload without an end.
    async fn leave_something_behind(&mut self) {
        let id = self.id();
        let layout = Layout::new(crm());
        for (place, view) in self.places.iter().zip(&self.model.views) {
            let first = view.folders.keys().next().unwrap();
            let start = String::from_utf8(view.objects[&layout.run_start(first)].to_vec()).unwrap();
            let start = start.replace(first.as_str(), id.as_str());
            let key = layout.run_start(&id);
            if let Some(signer) = &self.signer {
                let signature = signer.sign(start.as_bytes(), "convault start").into();
                place.raw.put(&Layout::signature_of(&key), signature, PutMode::IfAbsent).await.unwrap();
            }
            place.raw.put(&key, start.into(), PutMode::IfAbsent).await.unwrap();
            let key = layout.object(&id, "snapshot_1.zip");
            place.raw.put(&key, Bytes::from_static(b"PK"), PutMode::IfAbsent).await.unwrap();
            let index = layout.object(&id, Layout::INDEX_NAME);
            drop(place.raw.upload(&index, MIN_PART_BYTES, PutMode::IfAbsent).await.unwrap());
        }
    }

    /// The daemon of the same machine, born again.
    fn restart(&mut self) {
        self.daemon = Daemon::start("second", &self.places, &self.clock, self.coordinated, self.pace);
    }

    fn id(&mut self) -> RunId {
        self.serial += 1;
        RunId::new(self.time.now(), self.serial)
    }

    async fn back_up(&mut self, keep: &Keep) -> (RunId, Told<RunRecord>) {
        self.time.leap(DAY);
        let id = self.id();
        let zip = export(Content { serial: self.serial, documents: 20, damaged: false });
        self.model.exports.insert(id.clone(), zip.clone());
        let source = FakeSource { deployment: crm(), zip, snapshot_time: self.time.now() };
        let due = self.coordinated.then(|| self.time.now());
        let job = self.daemon.job(keep, due);
        let told = self.daemon.back_up(&id, &job, &source).await;
        (id, told)
    }

    /// Looks at everything, where nothing but this may have been removed.
    pub(crate) async fn look(&mut self, allowed: Allowed) {
        assert_eq!(self.daemon.process.breaches(), Vec::<String>::new(), "{}", self.case);
        let wrong = self.model.step(&self.places, allowed, self.time.now()).await;
        assert_eq!(wrong, Vec::<String>::new(), "{}", self.case);
    }

    /// A whole run. Nothing is looked at meanwhile, so that only the run's own calls are counted.
    pub(crate) async fn run(&mut self) -> Run {
        let (id, backup) = self.back_up(&KEEP).await;
        let (mut rest, mut removed) = (Vec::new(), Vec::new());
        for place in 0..self.places.len() {
            let run = self.id();
            let told = self.daemon.verify(&run, place, VerifyDepth::ReadData, true).await;
            if let Told::Ran(Ok(report)) = &told {
                assert_eq!(report.faults, [], "{}", self.case);
            }
            rest.extend(what_failed(&told));
            let run = self.id();
            let rules = PruneRules { sweep_limit_percent: 100, ..self.daemon.rules(&KEEP) };
            let told = self.daemon.prune(&run, place, &rules).await;
            if let Told::Ran(Ok(pruned)) = &told {
                removed.extend(pruned.removed.iter().map(|id| (place, id.clone())));
            }
            rest.extend(what_failed(&told));
        }
        Run { id, backup, rest, removed }
    }

    /// Looks at everything after a run, and whether it has told the truth.
    pub(crate) async fn assert_true(&mut self, run: &Run) {
        self.look(Allowed { floor: Some(KEEP.at_least_verified), prune_at: None }).await;
        for (place, id) in &run.removed {
            assert!(!self.model.views[*place].folders.contains_key(id), "{}: {id} is still there", self.case);
        }
        let standings =
            self.places.iter().zip(&self.model.views).map(|(place, view)| {
                (place.name(), view.folders.get(&run.id).and_then(|seen| seen.standing))
            });
        let Told::Ran(record) = &run.backup else { return };
        let (outcome, case) = (record.outcome.unwrap(), &self.case);
        let mut counting = 0;
        for (name, standing) in standings {
            let stored = record
                .destinations
                .iter()
                .any(|result| result.destination == *name && result.problem.is_none());
            assert_eq!(stored, standing == Some(Standing::Good), "{case}: {outcome:?}: {}", record.message);
            counting += usize::from(stored);
        }
        let wanted = match counting {
            0 => RunOutcome::Failed,
            all if all == self.places.len() => RunOutcome::Good,
            _ => RunOutcome::Partial,
        };
        assert_eq!(outcome, wanted, "{case}: {}", record.message);
    }

    /// The next run, when everything works again: it does all that the other should have done.
    pub(crate) async fn recovers(&mut self) {
        self.daemon.process.arm(None);
        self.time.leap(DAY * 10);
        // A run that died with everything stored but its manifest left a snapshot behind, which has to be found.
        for place in 0..self.places.len() {
            let run = self.id();
            let told = self.daemon.repair(&run, place).await;
            assert!(
                matches!(&told, Told::Ran(Ok(report)) if report.failed.is_empty()),
                "{}: {told:?}",
                self.case
            );
        }
        self.look(Allowed::NOTHING).await;
        for _ in 0..2 {
            let run = self.run().await;
            let Told::Ran(record) = &run.backup else { panic!("{}: {:?}", self.case, run.backup) };
            assert_eq!(record.outcome, Some(RunOutcome::Good), "{}: {}", self.case, record.message);
            assert_eq!(run.rest, Vec::<String>::new(), "{}", self.case);
            self.assert_true(&run).await;
        }
        for (place, at) in self.places.iter().enumerate() {
            assert_eq!(self.model.without_owner(place), Vec::<String>::new(), "{}", self.case);
            assert_eq!(at.raw.list_uploads("").await.unwrap(), [], "{}", self.case);
            let good =
                self.model.views[place].folders.values().filter(|seen| seen.is_good() && seen.intact).count();
            assert_eq!(good, KEEP.last as usize, "{}", self.case);
        }
    }
}

/// The failure of a verb, where it failed.
fn what_failed<T: std::fmt::Debug>(told: &Told<Result<T, convault_jobs::JobError>>) -> Option<String> {
    match told {
        Told::Ran(Ok(_)) => None,
        other => Some(format!("{other:?}")),
    }
}

const FAULTS: [Fault; 7] = [
    Fault::Error(StoreErrorKind::Transient),
    Fault::Error(StoreErrorKind::Other),
    Fault::Late,
    Fault::Cut,
    Fault::Lost,
    Fault::Death { obeyed: false },
    Fault::Death { obeyed: true },
];

#[derive(Debug, Clone, Copy)]
struct Setting {
    places: usize,
    is_signed: bool,
    coordinated: bool,
}

/// Who signs, and the same key once more for what the tester signs.
fn signed(is_signed: bool) -> (Trust, Option<SigningKey>) {
    if !is_signed {
        return (Trust::default(), None);
    }
    let (signer, secret) = SigningKey::generate();
    (Trust::new(Some(SigningKey::parse(&secret).unwrap()), &TrustedKeys::default()), Some(signer))
}

async fn bench(setting: Setting, case: String) -> Bench {
    let time = Time::new();
    let (trust, signer) = signed(setting.is_signed);
    let places = ["offsite", "vault"].iter().take(setting.places).map(|name| {
        let clock = Arc::new(StoreClock(Arc::clone(&time)));
        let name = convault_core::DestinationName::new(*name).unwrap();
        Place::in_memory(convault_uploader::MemoryStore::with_clock(name, clock), &trust)
    });
    let places = places.collect();
    Bench::new(time, places, signer, setting.coordinated, Pace::PAUSED, case).await
}

/// How many calls a run makes that nothing befalls.
async fn calls(setting: Setting) -> u64 {
    let mut bench = bench(setting, format!("{setting:?}, no fault")).await;
    bench.daemon.process.arm(None);
    let run = bench.run().await;
    assert_eq!(run.rest, Vec::<String>::new(), "{setting:?}");
    let calls = bench.daemon.process.arm(None);
    bench.assert_true(&run).await;
    calls
}

/// Lets the `nth` call of a run meet `fault`.
async fn check(setting: Setting, nth: u64, fault: Fault) {
    let mut bench = bench(setting, format!("{setting:?}, call {nth}: {fault:?}")).await;
    bench.daemon.process.arm(Some((nth, fault)));
    let run = bench.run().await;
    bench.assert_true(&run).await;
    if bench.daemon.process.is_dead() {
        bench.restart();
    }
    bench.recovers().await;
}

/// On paused time.
fn paused<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(work)
}

#[test]
#[expect(clippy::print_stdout, reason = "the figure of `tests/shows/never-lost-fail-the-nth`")]
fn whichever_call_of_a_whole_run_fails_nothing_is_lost_and_nothing_is_left() {
    let settings = [
        Setting { places: 1, is_signed: true, coordinated: false },
        Setting { places: 2, is_signed: false, coordinated: false },
        Setting { places: 1, is_signed: false, coordinated: true },
    ];
    let mut all = Vec::new();
    for setting in settings {
        for nth in 1..=paused(calls(setting)) {
            all.extend(FAULTS.map(|fault| (setting, nth, fault)));
        }
    }
    // Neighbours differ in their fault alone: a stride that shares no factor with their number meets all of each.
    let chosen: Vec<_> = all.iter().copied().step_by(one_in()).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let own = chosen.iter().copied().skip(thread).step_by(threads);
            scope.spawn(move || own.for_each(|(setting, nth, fault)| paused(check(setting, nth, fault))));
        }
    });
    println!("figure: {} of {} failures of store calls in memory", chosen.len(), all.len());
}

/// So long a bucket may be silent where time is not paused.
const SILENCE: Duration = Duration::from_millis(500);

const OF_REQUESTS: [S3FaultKind; 4] =
    [S3FaultKind::NthError, S3FaultKind::NthTimeout, S3FaultKind::NthCut, S3FaultKind::NthLost];

async fn bench_in_s3(case: String) -> (RunningS3, Bench) {
    let time = Time::new();
    let server = bucket::start(&time, false).await;
    let (trust, signer) = signed(true);
    let places = vec![bucket::place(&server, "offsite", &trust, SILENCE)];
    let bench = Bench::new(time, places, signer, false, QUICK, case).await;
    (server, bench)
}

fn requests(server: &RunningS3) -> u64 {
    server.counters().calls.values().sum()
}

/// Of all failures one in so many: every one where the environment says 1.
#[expect(clippy::disallowed_methods, reason = "how much is tested is no setting of the program")]
pub(crate) fn one_in() -> usize {
    std::env::var("CONVAULT_NTH_ONE_IN").ok().map_or(25, |text| text.parse().unwrap())
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figure of `tests/shows/never-lost-fail-the-nth`")]
async fn whichever_request_of_a_whole_run_to_a_bucket_fails_nothing_is_lost_and_nothing_is_left() {
    let (server, mut clean) = bench_in_s3("no fault".to_owned()).await;
    let before = requests(&server);
    let run = clean.run().await;
    let all = requests(&server) - before;
    assert_eq!(run.rest, Vec::<String>::new());
    clean.assert_true(&run).await;
    let all: Vec<_> = (1..=all).flat_map(|nth| OF_REQUESTS.map(|kind| (nth, kind))).collect();
    // Time is not paused here, so that each takes its while: fewer of them, unless all are asked for.
    let stride = if one_in() == 1 { 1 } else { 3 * one_in() };
    let chosen: Vec<_> = all.iter().copied().step_by(stride).collect();
    for (nth, kind) in chosen.iter().copied() {
        let (server, mut bench) = bench_in_s3(format!("request {nth}: {kind:?}")).await;
        server.set_faults(&[S3Fault { kind, number: Some(nth) }]);
        let run = bench.run().await;
        server.set_faults(&[]);
        bench.assert_true(&run).await;
        bench.recovers().await;
    }
    println!("figure: {} of {} failures of requests to a bucket", chosen.len(), all.len());
}
