//! Leases against chance: daemons that want the same few leases all the time, in bad weather, with clocks that run
//! unevenly and are set differently, and that are paused and killed at any moment.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use convault_core::{Clock as _, DeploymentName, Holder};
use convault_jobs::{Attempt, HeldLease, Leases};
use jiff::{SignedDuration, Timestamp};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{task::JoinSet, time};

use crate::{
    bucket::{Bucket, Line, Luck, TrueTime, Weather},
    process::{Hands, Process},
    say,
};

const LEASE: Duration = Duration::from_mins(3);
const STEP: Duration = Duration::from_secs(1);
const DEPLOYMENTS: [&str; 2] = ["crm", "shop"];
const SEEDS: u64 = 12;
const HOURS: u32 = 6;

/// What the daemons did with one lease.
#[derive(Debug, Default)]
struct Story {
    /// The highest number that something was written under.
    highest: u64,
    /// Writes that were let through by a check.
    writes: u64,
    takes: u64,
    lost: u64,
    /// Who says of itself, in the present second, that it surely holds it.
    sure: Vec<(String, u64)>,
    /// Since when nobody has written anything under it.
    idle_since: Option<Timestamp>,
}

/// What all daemons did.
#[derive(Debug, Default)]
struct Log {
    stories: Mutex<HashMap<&'static str, Story>>,
}

impl Log {
    fn of<T>(&self, deployment: &'static str, tell: impl FnOnce(&mut Story) -> T) -> T {
        tell(self.stories.lock().unwrap().entry(deployment).or_default())
    }
}

/// One daemon that wants one lease for ever.
struct Contender {
    leases: Leases,
    deployment: &'static str,
    log: Arc<Log>,
    time: Arc<TrueTime>,
    random: StdRng,
}

impl Contender {
    async fn live(mut self) {
        let name = DeploymentName::new(self.deployment).unwrap();
        loop {
            let wait = match self.leases.try_take(&name, None).await {
                Ok(Attempt::Held(held)) => self.work(&held).await,
                Ok(Attempt::Elsewhere { retry_after, .. }) => retry_after,
                Ok(Attempt::Done) => panic!("nothing was asked for"),
                Err(_) => Duration::from_secs(10),
            };
            time::sleep(wait).await;
        }
    }

    /// Writes now and then under the lease, each time after a check, and says every second how sure it is.
    async fn work(&mut self, held: &HeldLease) -> Duration {
        self.log.of(self.deployment, |story| story.takes += 1);
        for _ in 0..self.random.random_range(1..8) {
            for _ in 0..self.random.random_range(1..90) {
                self.say_how_sure(held);
                time::sleep(STEP).await;
            }
            match held.check().await {
                Ok(()) => self.write(held),
                Err(_) if held.lost().is_cancelled() => {
                    self.log.of(self.deployment, |story| story.lost += 1);
                    return Duration::from_secs(1);
                }
                Err(_) => {}
            }
        }
        // Sometimes it is only forgotten, as by a run that panics.
        if self.random.random_bool(0.8) && held.release(None).await.is_err() {
            self.log.of(self.deployment, |story| story.lost += 1);
        }
        Duration::from_secs(self.random.random_range(1..60))
    }

    fn say_how_sure(&self, held: &HeldLease) {
        if held.still_surely_held() {
            let me = self.leases.holder().instance.clone();
            self.log.of(self.deployment, |story| story.sure.push((me, held.fence())));
        }
    }

    fn write(&self, held: &HeldLease) {
        let now = self.time.now();
        self.log.of(self.deployment, |story| {
            let (fence, highest) = (held.fence(), story.highest);
            assert!(fence >= highest, "{} wrote under {fence} after {highest}", self.deployment);
            story.highest = fence;
            story.writes += 1;
            story.idle_since = Some(now);
        });
    }
}

struct Contest {
    time: Arc<TrueTime>,
    bucket: Arc<Bucket>,
    log: Arc<Log>,
    random: StdRng,
    machines: Vec<Process>,
    weather: Vec<Arc<Mutex<Weather>>>,
    instances: u32,
}

impl Contest {
    fn new(seed: u64) -> Self {
        let time = TrueTime::at("2026-11-22T03:00:00Z".parse().unwrap());
        let bucket = Bucket::new(Arc::clone(&time), seed);
        let random = StdRng::seed_from_u64(seed);
        let hands = [(-900, 8, false), (0, 0, true), (2400, -12, false), (5, 20, true)];
        let hands = hands.map(|(ahead, fast, sleeps)| Hands {
            ahead: SignedDuration::from_secs(ahead),
            fast,
            sleeps,
        });
        let mut contest = Self {
            log: Arc::default(),
            random,
            machines: hands.map(Process::new).into(),
            weather: hands.map(|_| Arc::default()).into(),
            instances: 0,
            time,
            bucket,
        };
        for place in 0..contest.machines.len() {
            contest.boot(place);
        }
        contest
    }

    /// Starts a new process on a machine.
    fn boot(&mut self, place: usize) {
        let process = &mut self.machines[place];
        process.restart();
        self.instances += 1;
        let holder =
            Holder { instance: format!("instance-{}", self.instances), host: format!("host-{place}") };
        let leases = Leases::new(
            Line::to(&self.bucket, &self.weather[place]),
            holder,
            LEASE,
            process.clock(&self.time),
        );
        process.enter(async {
            let mut tasks = JoinSet::new();
            for deployment in DEPLOYMENTS {
                let contender = Contender {
                    leases: leases.clone(),
                    deployment,
                    log: Arc::clone(&self.log),
                    time: Arc::clone(&self.time),
                    random: StdRng::seed_from_u64(self.random.random()),
                };
                tasks.spawn(contender.live());
            }
            tasks.detach_all();
        });
    }

    /// Lets a second pass everywhere, in any order.
    fn pass(&mut self) {
        self.time.pass(STEP);
        self.bucket.obey();
        let first = self.random.random_range(0..self.machines.len());
        for place in 0..self.machines.len() {
            let place = (first + place) % self.machines.len();
            self.machines[place].pass(STEP);
        }
        self.nobody_shares();
    }

    fn nobody_shares(&self) {
        for (deployment, story) in self.log.stories.lock().unwrap().iter_mut() {
            let mut sure = std::mem::take(&mut story.sure);
            sure.sort();
            sure.dedup();
            assert!(sure.len() <= 1, "{deployment} is surely held by {sure:?} at {}", self.time.now());
        }
    }

    /// Mostly fair, or middling, or as bad as it gets.
    fn luck(&mut self) -> Luck {
        let mut chance = || match self.random.random_range(0..10) {
            0..5 => 0,
            5..8 => self.random.random_range(0..300),
            _ => 1000,
        };
        Luck { failing: chance(), unanswered: chance(), slow: chance() / 2 }
    }

    /// Pauses, kills and starts processes, and changes the weather.
    fn trouble(&mut self) {
        let place = self.random.random_range(0..self.machines.len());
        match self.random.random_range(0..4000) {
            0..4 => {
                let seconds = self.random.random_range(1..900);
                self.machines[place].pause(Duration::from_secs(seconds));
            }
            4..6 => self.boot(place),
            6..14 => {
                let weather = Weather { reads: self.luck(), writes: self.luck() };
                *self.weather[place].lock().unwrap() = weather;
            }
            14..30 => *self.weather[place].lock().unwrap() = Weather::default(),
            _ => {}
        }
    }
}

#[test]
fn no_two_daemons_hold_a_lease_at_once_whatever_happens() {
    let (mut writes, mut takes, mut lost) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut contest = Contest::new(seed);
        for _ in 0..HOURS * 3600 {
            contest.trouble();
            contest.pass();
        }
        for story in contest.log.stories.lock().unwrap().values() {
            writes += story.writes;
            takes += story.takes;
            lost += story.lost;
        }
        for process in &mut contest.machines {
            process.kill();
        }
    }
    assert!(writes > 1000 && lost > 20, "{writes} writes, {lost} lost");
    say(&format!(
        "{SEEDS} seeds: {takes} leases taken, {lost} lost, {writes} writes, none under a number that was passed"
    ));
}
