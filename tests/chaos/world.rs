//! A world made from a seed: places, daemons, and steps taken at random, each followed by a look at what must hold.

mod damage;
mod settle;

use std::sync::{Arc, Mutex};

use convault_archive::signature::{SigningKey, TrustedKeys};
use convault_core::{
    DestinationName, Keep, Layout, Manifest, MarkKind, RunId, RunOutcome, RunRecord, Standing,
    StoreErrorKind, Tier, Verdict,
};
use convault_jobs::{MarkRequest, Trust, VerifyDepth};
use convault_simulator::s3::RunningS3;
use convault_uploader::MemoryStore;
use jiff::{SignedDuration, Timestamp};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use tokio_util::sync::CancellationToken;

use crate::{
    bucket,
    daemon::{Daemon, Pace, Place, Told, crm},
    export::{Content, FILE_ID, export},
    model::{Allowed, Model},
    process::Fault,
    source::FakeSource,
    time::{DaemonClock, StoreClock, Time},
};

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);
const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What was done so far, for when something does not hold.
pub(crate) type Steps = Arc<Mutex<Vec<String>>>;

/// Something that should hold and does not.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) String);

type Held = Result<(), Broken>;

fn broken(text: impl Into<String>) -> Held {
    Err(Broken(text.into()))
}

/// Where a world's places are.
pub(crate) struct Ground {
    pub(crate) time: Arc<Time>,
    pub(crate) places: Vec<Place>,
    pub(crate) pace: Pace,
    /// How many steps.
    pub(crate) steps: usize,
    /// What serves the places, until the end.
    pub(crate) server: Option<RunningS3>,
}

/// Whether and by whom a world's repository is signed.
pub(crate) fn trust(is_signed: bool) -> Trust {
    if is_signed {
        Trust::new(Some(SigningKey::generate().0), &TrustedKeys::default())
    } else {
        Trust::default()
    }
}

/// Places in memory, as the seed has it.
pub(crate) fn in_memory(random: &mut StdRng) -> Ground {
    let time = Time::new();
    let trust = trust(random.random_bool(0.5));
    let places = ["offsite", "vault"].iter().take(random.random_range(1..=2)).map(|name| {
        let clock = Arc::new(StoreClock(Arc::clone(&time)));
        let store = MemoryStore::with_clock(DestinationName::new(*name).unwrap(), clock);
        Place::in_memory(if random.random_bool(0.3) { store.with_versions() } else { store }, &trust)
    });
    let mut places: Vec<Place> = places.collect();
    if places.len() == 2 && random.random_bool(0.5) {
        places[1].accept = Some(vec![Tier::Weekly, Tier::Monthly]);
    }
    let steps = usize::min(random.random_range(20..=60), random.random_range(20..=60));
    Ground { time, places, pace: Pace::PAUSED, steps, server: None }
}

/// Places in buckets of one server, as the seed has it.
pub(crate) async fn in_buckets(random: &mut StdRng) -> Ground {
    let time = Time::new();
    let trust = trust(random.random_bool(0.5));
    let server = bucket::start(&time, random.random_bool(0.3)).await;
    let silence = std::time::Duration::from_secs(5);
    let names = ["offsite", "vault"].into_iter().take(random.random_range(1..=2));
    let places = names.map(|name| bucket::place(&server, name, &trust, silence)).collect();
    Ground { time, places, pace: bucket::QUICK, steps: random.random_range(20..=30), server: Some(server) }
}

/// Everything that a seed has made.
pub(crate) struct World {
    random: StdRng,
    time: Arc<Time>,
    pace: Pace,
    places: Vec<Place>,
    clocks: Vec<DaemonClock>,
    daemons: Vec<Daemon>,
    lives: u32,
    coordinated: bool,
    keep: Keep,
    model: Model,
    serial: u32,
    documents: u32,
    /// A due time that is not done.
    due: Option<Timestamp>,
    fence: u64,
    steps: Steps,
    _server: Option<RunningS3>,
}

impl World {
    pub(crate) async fn new(mut random: StdRng, ground: Ground, steps: Steps) -> Self {
        let Ground { time, places, pace, server, .. } = ground;
        let coordinated = random.random_bool(0.6);
        let model = Model::new(&places, time.now()).await;
        let mut world = Self {
            keep: Keep::default(),
            random,
            pace,
            clocks: (0..if coordinated { 2 } else { 1 }).map(|_| DaemonClock::new(&time)).collect(),
            daemons: Vec::new(),
            lives: 0,
            coordinated,
            model,
            serial: 0,
            documents: 40,
            due: None,
            fence: 0,
            steps,
            time,
            places,
            _server: server,
        };
        world.keep = world.any_keep();
        for number in 0..world.clocks.len() {
            let daemon = world.born(number);
            world.daemons.push(daemon);
        }
        let (signed, places) = (world.places[0].trust.is_required(), world.places.len());
        world.note(format!("signed {signed}, {places} places, leases {coordinated}, {:?}", world.keep));
        world
    }

    fn note(&self, text: String) {
        self.steps.lock().unwrap().push(text);
    }

    fn tell(&self, text: &str) {
        if let Some(last) = self.steps.lock().unwrap().last_mut() {
            last.push_str(" -> ");
            last.push_str(text);
        }
    }

    fn born(&mut self, number: usize) -> Daemon {
        self.lives += 1;
        let name = format!("daemon-{number}-{}", self.lives);
        Daemon::start(&name, &self.places, &self.clocks[number], self.coordinated, self.pace)
    }

    fn new_id(&mut self, daemon: usize) -> RunId {
        let now = convault_core::Clock::now(&self.clocks[daemon]);
        RunId::new(now, self.random.random())
    }

    fn any_keep(&mut self) -> Keep {
        let mut keep = Keep { at_least_verified: self.random.random_range(1..=3), ..Keep::default() };
        match self.random.random_range(0..5) {
            0 => keep.last = self.random.random_range(1..=4),
            1 => keep.daily = self.random.random_range(1..=5),
            2 => (keep.daily, keep.weekly) = (2, 2),
            3 => (keep.last, keep.monthly) = (1, 2),
            _ => keep.within = Some(std::time::Duration::from_hours(self.random.random_range(1..200))),
        }
        keep
    }

    fn any_daemon(&mut self) -> usize {
        self.random.random_range(0..self.daemons.len())
    }

    fn any_place(&mut self) -> usize {
        self.random.random_range(0..self.places.len())
    }

    /// A snapshot of a place, of whatever standing.
    fn any_snapshot(&mut self, place: usize) -> Option<(RunId, Manifest)> {
        let view = &self.model.views[place];
        let all: Vec<_> =
            view.folders.iter().filter_map(|(id, seen)| Some((id.clone(), seen.manifest.clone()?))).collect();
        all.choose(&mut self.random).cloned()
    }

    fn any_fault(&mut self, most_calls: u64) -> Option<(u64, Fault)> {
        let fault = match self.random.random_range(0..24) {
            0 => Fault::Error(StoreErrorKind::Transient),
            1 => Fault::Error(StoreErrorKind::Other),
            2 => Fault::Late,
            3 => Fault::Cut,
            4 | 5 => Fault::Lost,
            6 => Fault::GoneFrom,
            7 | 8 => Fault::Death { obeyed: false },
            9 => Fault::Death { obeyed: true },
            _ => return None,
        };
        Some((self.random.random_range(1..=most_calls), fault))
    }

    fn arm(&mut self, daemon: usize, plan: Option<(u64, Fault)>) {
        self.daemons[daemon].process.arm(plan);
    }

    /// After a verb: buries a daemon that died, and lets the next one be born.
    fn bury(&mut self, daemon: usize, run: &RunId) {
        if self.daemons[daemon].process.is_dead() {
            let mut dead_runs = self.daemons[daemon].dead_runs.clone();
            // What a daemon remembers of its runs may be lost with it.
            if self.random.random_bool(0.7) {
                dead_runs.push(run.clone());
            }
            self.daemons[daemon] = self.born(daemon);
            self.daemons[daemon].dead_runs = dead_runs;
        }
    }

    /// Looks at everything after a step.
    async fn look(&mut self, allowed: Allowed) -> Held {
        for daemon in &self.daemons {
            if let Some(breach) = daemon.process.breaches().pop() {
                return broken(breach);
            }
        }
        let wrong = self.model.step(&self.places, allowed, self.time.now()).await;
        if let Some(wrong) = wrong.first() {
            return broken(wrong.clone());
        }
        self.look_at_lease()
    }

    fn look_at_lease(&mut self) -> Held {
        let Some(bytes) = self.model.views[0].objects.get(&Layout::new(crm()).lease()) else { return Ok(()) };
        let lease: convault_core::Lease = serde_json::from_slice(bytes).expect("only leases lie there");
        if lease.fence < self.fence {
            return broken(format!("the fencing number fell from {} to {}", self.fence, lease.fence));
        }
        self.fence = lease.fence;
        Ok(())
    }

    /// Takes one step.
    pub(crate) async fn step(&mut self) -> Held {
        match self.random.random_range(0..100) {
            0..40 => self.back_up().await,
            40..50 => self.prune().await,
            50..58 => self.verify().await,
            58..64 => self.repair().await,
            64..70 => self.mark().await,
            70..82 => self.damage().await,
            82..90 => {
                let by = *[HOUR, HOUR * 6, DAY, DAY * 2, WEEK, WEEK * 3].choose(&mut self.random).unwrap();
                self.note(format!("{by:#} go by"));
                self.time.leap(by);
                self.look(Allowed::NOTHING).await
            }
            90..94 => {
                self.set_a_clock();
                Ok(())
            }
            94..97 if self.coordinated => Box::pin(self.take_over()).await,
            _ => {
                self.keep = self.any_keep();
                self.note(format!("settings: {:?}", self.keep));
                Ok(())
            }
        }
    }

    fn set_a_clock(&mut self) {
        let daemon = self.any_daemon();
        let minute = SignedDuration::from_mins(1);
        let all = [SignedDuration::ZERO; 3].into_iter().chain([minute, HOUR, DAY, WEEK, WEEK * 3]);
        let by = *all.collect::<Vec<_>>().choose(&mut self.random).unwrap();
        let by = if self.random.random_bool(0.5) { by } else { -by };
        self.note(format!("the clock of daemon {daemon} is wrong by {by:#}"));
        self.clocks[daemon].set_wrong_by(by);
    }

    fn any_content(&mut self) -> Content {
        self.serial += 1;
        let (mut documents, mut damaged) = (self.documents, false);
        match self.random.random_range(0..20) {
            0..3 => {
                self.documents += 3;
                documents = self.documents;
            }
            3 => documents /= 3,
            4 => documents = 0,
            5 => damaged = true,
            _ => {}
        }
        Content { serial: self.serial, documents, damaged }
    }

    /// A run of the job: what it is given, and what is remembered of that.
    fn any_run(&mut self, daemon: usize) -> (RunId, FakeSource, Content, Option<Timestamp>) {
        let id = self.new_id(daemon);
        let content = self.any_content();
        let zip = export(content);
        self.model.exports.insert(id.clone(), zip.clone());
        let source = FakeSource { deployment: crm(), zip, snapshot_time: self.time.now() };
        let scheduled = self.random.random_bool(0.6);
        let now = self.time.now();
        let due = scheduled.then(|| *self.due.get_or_insert(now));
        (id, source, content, due)
    }

    async fn back_up(&mut self) -> Held {
        let daemon = self.any_daemon();
        let (id, source, content, due) = self.any_run(daemon);
        let fault = self.any_fault(70);
        self.note(format!("daemon {daemon} backs up as {id}: {content:?}, due {due:?}, {fault:?}"));
        self.arm(daemon, fault);
        let job = self.daemons[daemon].job(&self.keep, due);
        let told = self.daemons[daemon].back_up(&id, &job, &source).await;
        self.bury(daemon, &id);
        self.tell_record(&told);
        self.look(Allowed { floor: Some(self.keep.at_least_verified.max(1)), prune_at: None }).await?;
        self.after_run(&id, content, due, &told, fault)
    }

    fn tell_record(&self, told: &Told<RunRecord>) {
        match told {
            Told::Ran(record) => {
                self.tell(&format!(
                    "{:?}: {} {:?}",
                    record.outcome.unwrap(),
                    record.message,
                    record.warnings
                ));
            }
            Told::Lost(_) => self.tell("the lease was lost"),
            Told::Refused(why) => self.tell(why),
            other => self.tell(&format!("{other:?}")),
        }
    }

    /// Whether what a run says is true.
    fn after_run(
        &mut self,
        id: &RunId,
        content: Content,
        due: Option<Timestamp>,
        told: &Told<RunRecord>,
        fault: Option<(u64, Fault)>,
    ) -> Held {
        let counting = |place: usize| self.model.views[place].folders.get(id).and_then(|seen| seen.standing);
        let everywhere: Vec<Option<Standing>> = (0..self.places.len()).map(counting).collect();
        if content.damaged && everywhere.contains(&Some(Standing::Good)) {
            return broken(format!("{id} counts as good, and its export was damaged"));
        }
        let record = match told {
            Told::Ran(record) => record,
            Told::Done => {
                self.due = None;
                return Ok(());
            }
            _ => return Ok(()),
        };
        let outcome = record.outcome.expect("it has ended");
        let stored = record.destinations.iter().filter(|result| result.problem.is_none());
        for result in stored {
            let place = self.places.iter().position(|place| place.name() == &result.destination).unwrap();
            let wanted = if outcome == RunOutcome::Suspect { Standing::Suspect } else { Standing::Good };
            if everywhere[place] != Some(wanted) {
                return broken(format!(
                    "{outcome:?} in {}, and there it is {:?}",
                    result.destination, everywhere[place]
                ));
            }
        }
        let counts = everywhere.iter().any(Option::is_some);
        match outcome {
            RunOutcome::Failed | RunOutcome::Cancelled | RunOutcome::Interrupted => {
                // A store that is gone from the middle on cannot be asked what became of the last call.
                if counts && !matches!(fault, Some((_, Fault::GoneFrom))) {
                    return broken(format!("{outcome:?}, and a snapshot is there"));
                }
            }
            RunOutcome::Good | RunOutcome::Partial | RunOutcome::Suspect => {
                if due.is_some() {
                    self.due = None;
                }
            }
        }
        Ok(())
    }

    async fn prune(&mut self) -> Held {
        let (daemon, place) = (self.any_daemon(), self.any_place());
        let (id, fault) = (self.new_id(daemon), self.any_fault(60));
        let accept_missing = self.random.random_bool(0.3);
        self.note(format!(
            "daemon {daemon} prunes {place} as {id}, accept missing {accept_missing}, {fault:?}"
        ));
        self.arm(daemon, fault);
        let rules = convault_jobs::PruneRules { accept_missing, ..self.daemons[daemon].rules(&self.keep) };
        let told = self.daemons[daemon].prune(&id, place, &rules).await;
        self.bury(daemon, &id);
        self.tell(&format!("{told:?}"));
        let now = convault_core::Clock::now(&self.clocks[daemon]);
        let floor = Some(self.keep.at_least_verified.max(1));
        self.look(Allowed { floor, prune_at: Some(now) }).await
    }

    async fn verify(&mut self) -> Held {
        let (daemon, place) = (self.any_daemon(), self.any_place());
        let (id, fault) = (self.new_id(daemon), self.any_fault(60));
        let share = VerifyDepth::Share {
            within: std::time::Duration::from_hours(7 * 24),
            interval: std::time::Duration::from_hours(24),
        };
        let depth = *[VerifyDepth::Cheap, VerifyDepth::ReadData, share].choose(&mut self.random).unwrap();
        let recorded = self.random.random_bool(0.8);
        self.note(format!(
            "daemon {daemon} verifies {place} as {id}: {depth:?}, recorded {recorded}, {fault:?}"
        ));
        self.arm(daemon, fault);
        let told = self.daemons[daemon].verify(&id, place, depth, recorded).await;
        self.bury(daemon, &id);
        if let Told::Ran(Ok(report)) = &told {
            self.tell(&format!("{} faults", report.faults.len()));
            let whole: Vec<&RunId> = self.model.untouched(place).map(|(id, _)| id).collect();
            if let Some(fault) = report.faults.iter().find(|fault| whole.contains(&&fault.id)) {
                return broken(format!("{} is whole, and verify says: {}", fault.id, fault.what));
            }
            // To a clock that is wrong, an old folder may be one that a run works on just now.
            let its_time = convault_core::Clock::now(&self.clocks[daemon]);
            let clock_is_right =
                its_time.duration_since(self.time.now()).abs() < SignedDuration::from_mins(1);
            let view = &self.model.views[place];
            for (id, seen) in &view.folders {
                let is_found = report.faults.iter().any(|fault| fault.id == *id);
                if seen.standing.is_some() && !seen.intact && depth == VerifyDepth::ReadData && !is_found {
                    return broken(format!("{id} is damaged, and reading all of it does not show that"));
                }
                if clock_is_right && seen.is_alarming && seen.standing.is_none() && !is_found {
                    return broken(format!("{id} is {}, and verify says nothing", seen.state));
                }
            }
        } else {
            self.tell(&format!("{told:?}"));
        }
        self.look(Allowed::NOTHING).await
    }

    async fn repair(&mut self) -> Held {
        let (daemon, place) = (self.any_daemon(), self.any_place());
        let (id, fault) = (self.new_id(daemon), self.any_fault(60));
        self.note(format!("daemon {daemon} repairs {place} as {id}, {fault:?}"));
        self.arm(daemon, fault);
        let told = self.daemons[daemon].repair(&id, place).await;
        self.bury(daemon, &id);
        self.tell(&format!("{told:?}"));
        self.look(Allowed::NOTHING).await?;
        let Told::Ran(Ok(report)) = told else { return Ok(()) };
        for id in &report.repaired {
            let seen = self.model.views[place].folders.get(id);
            let whole = seen.is_some_and(|seen| {
                seen.intact && seen.standing.is_some_and(|standing| standing != Standing::Damaged)
            });
            if !whole {
                return broken(format!("{id} is said to be repaired, and is {seen:?}"));
            }
        }
        Ok(())
    }

    async fn mark(&mut self) -> Held {
        let (daemon, place) = (self.any_daemon(), self.any_place());
        let Some((id, manifest)) = self.any_snapshot(place) else { return Ok(()) };
        let kind = *[MarkKind::Accept, MarkKind::Accept, MarkKind::Hold, MarkKind::Release]
            .choose(&mut self.random)
            .unwrap();
        let (run, fault) = (self.new_id(daemon), self.any_fault(20));
        self.note(format!("daemon {daemon} marks {id} in {place}: {kind:?}, {fault:?}"));
        let mut request = MarkRequest::new(crm(), id.clone(), kind, "it is so");
        if let Verdict::Suspect { problems } = &manifest.verdict
            && kind == MarkKind::Accept
            && problems.iter().any(|problem| problem.kind == "source-damage")
        {
            request.names = vec![FILE_ID.to_owned()];
        }
        self.arm(daemon, fault);
        let told = self.daemons[daemon].mark(&run, place, &request).await;
        self.bury(daemon, &run);
        self.tell(&format!("{told:?}"));
        self.look(Allowed::NOTHING).await?;
        let Some(seen) = self.model.views[place].folders.get(&id) else { return Ok(()) };
        let holds = match kind {
            MarkKind::Accept => seen.accepted,
            MarkKind::Hold => seen.held,
            _ => !seen.held,
        };
        if matches!(told, Told::Ran(Ok(_))) && !holds {
            return broken(format!("{id} is said to be marked {}, and is not", kind.as_str()));
        }
        Ok(())
    }

    /// One daemon stands still in the middle of a run, another one takes its lease over and does the run, and the first
    /// one goes on as if nothing had been.
    async fn take_over(&mut self) -> Held {
        let (one, two) = if self.random.random_bool(0.5) { (0, 1) } else { (1, 0) };
        let (first, source, content, _) = self.any_run(one);
        let (second, later, other_content, _) = self.any_run(two);
        let due = *self.due.get_or_insert(self.time.now());
        let at = self.random.random_range(1..=70);
        self.note(format!(
            "daemon {one} stands still at call {at} of {first} for {due}; daemon {two}: {second}"
        ));
        self.arm(one, Some((at, Fault::Standstill)));
        self.arm(two, None);
        let (a, b) = (self.daemons[one].clone(), self.daemons[two].clone());
        let jobs = (a.job(&self.keep, Some(due)), b.job(&self.keep, Some(due)));
        let stopped = CancellationToken::new();
        let lease = self.pace.lease;
        let (told_first, told_second) = tokio::join!(
            async {
                let told = a.back_up(&first, &jobs.0, &source).await;
                stopped.cancel();
                told
            },
            async {
                tokio::select! {
                    () = a.process.stands_still() => {}
                    () = stopped.cancelled() => {}
                }
                let told = b.back_up(&second, &jobs.1, &later).await;
                tokio::time::sleep(lease).await;
                a.process.wake().await;
                told
            }
        );
        a.process.wake().await;
        self.tell_record(&told_first);
        self.tell_record(&told_second);
        self.look(Allowed { floor: Some(self.keep.at_least_verified.max(1)), prune_at: None }).await?;
        let lost = matches!(told_first, Told::Lost(_));
        if !lost {
            self.after_run(&first, content, None, &told_first, None)?;
        }
        self.due = Some(due);
        self.after_run(&second, other_content, Some(due), &told_second, None)
    }
}

/// Lives through everything that a seed has in store. Gives how many snapshots were downloaded at the end.
pub(crate) async fn live(
    seed: u64,
    ground: impl AsyncFnOnce(&mut StdRng) -> Ground,
    steps: Steps,
) -> Result<usize, Broken> {
    let mut random = StdRng::seed_from_u64(seed);
    let ground = ground(&mut random).await;
    let number = ground.steps;
    let mut world = World::new(random, ground, steps).await;
    let mut downloaded = 0;
    for step in 0..number {
        world.step().await?;
        if step % 8 == 7 {
            downloaded += world.download_all().await?;
        }
    }
    world.settle().await?;
    Ok(downloaded + world.download_all().await?)
}
