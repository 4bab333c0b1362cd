//! A scheduler on a clock that passes as fast as the test does, and what its runs did.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use convault_core::{Clock, JobName, Schedule};
use convault_scheduler::{
    Handle, Outcome, Past, RetryPolicy, Run, Runner, ScheduledJob, Scheduler, Stop, StopReport, Why,
};
use jiff::{SignedDuration, Timestamp};
use tokio::{sync::mpsc, task::JoinSet, time};
use tokio_util::sync::CancellationToken;

/// A clock that goes with the runtime's paused time, and whose time of day can be set.
#[derive(Debug)]
pub(crate) struct TestClock {
    pub(crate) began: time::Instant,
    pub(crate) time_at_begin: Mutex<Timestamp>,
}

impl TestClock {
    pub(crate) fn set_by(&self, by: SignedDuration) {
        *self.time_at_begin.lock().unwrap() += by;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.time_at_begin.lock().unwrap() + self.began.elapsed()
    }

    fn instant(&self) -> std::time::Instant {
        time::Instant::now().into_std()
    }
}

/// One thing that a run did, and when.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    Began { job: String, why: Why<u32>, attempt: u32, more: bool },
    Stopped { job: String },
    Ended { job: String },
    Dropped { job: String, wish: u32 },
}

/// What a run does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    /// Takes so many seconds, then ends; stops at once when asked to.
    Take(u64, Outcome),
    /// Takes so many seconds to stop after it is asked to.
    StopSlowly(u64),
    /// Is postponed once it is asked to stop.
    PostponeWhenAsked,
    /// Never ends, whatever is asked.
    Deaf,
    Panic,
}

pub(crate) type Script = Box<dyn Fn(&Run<u32>) -> Act + Send + Sync>;

pub(crate) struct TestRunner {
    pub(crate) clock: Arc<TestClock>,
    pub(crate) script: Script,
    pub(crate) seen: Mutex<Vec<(Timestamp, Seen)>>,
}

impl TestRunner {
    pub(crate) fn note(&self, seen: Seen) {
        self.seen.lock().unwrap().push((self.clock.now(), seen));
    }
}

#[async_trait]
impl Runner for TestRunner {
    type Wish = u32;

    async fn run(&self, run: Run<u32>) -> Outcome {
        let job = run.job.to_string();
        let why = run.why.clone();
        self.note(Seen::Began { job: job.clone(), why, attempt: run.attempt, more: run.more_attempts });
        match (self.script)(&run) {
            Act::Take(seconds, outcome) => tokio::select! {
                () = time::sleep(Duration::from_secs(seconds)) => {
                    self.note(Seen::Ended { job });
                    outcome
                }
                () = run.cancel.cancelled() => {
                    self.note(Seen::Stopped { job });
                    Outcome::Cancelled
                }
            },
            Act::StopSlowly(seconds) => {
                run.cancel.cancelled().await;
                time::sleep(Duration::from_secs(seconds)).await;
                self.note(Seen::Stopped { job });
                Outcome::Cancelled
            }
            Act::PostponeWhenAsked => {
                run.cancel.cancelled().await;
                POSTPONED
            }
            Act::Deaf => std::future::pending().await,
            Act::Panic => panic!("the script says so"),
        }
    }

    fn dropped(&self, job: &JobName, wish: u32) {
        self.note(Seen::Dropped { job: job.to_string(), wish });
    }
}

pub(crate) struct Rig {
    pub(crate) clock: Arc<TestClock>,
    pub(crate) runner: Arc<TestRunner>,
    pub(crate) handle: Handle<u32>,
    pub(crate) stop: Stop,
    pub(crate) tasks: JoinSet<Option<StopReport>>,
}

impl Rig {
    pub(crate) fn start(now: &str, jobs: Vec<ScheduledJob>, cap: usize, script: Script) -> Self {
        let clock = Arc::new(TestClock { began: time::Instant::now(), time_at_begin: Mutex::new(at(now)) });
        let runner = Arc::new(TestRunner { clock: Arc::clone(&clock), script, seen: Mutex::default() });
        let cap = NonZeroUsize::new(cap).unwrap();
        let shared: Arc<dyn Clock> = Arc::<TestClock>::clone(&clock);
        let (scheduler, handle) = Scheduler::new(jobs, Arc::clone(&runner), shared, cap, 1).unwrap();
        let stop = Stop {
            begin: CancellationToken::new(),
            at_once: CancellationToken::new(),
            grace: Duration::from_secs(30),
        };
        let (sender, ticks) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        let wait = stop.clone();
        tasks.spawn(async move { Some(scheduler.run(ticks, wait).await) });
        tasks.spawn(async move {
            while sender.send(()).await.is_ok() {
                time::sleep(Duration::from_secs(1)).await;
            }
            None
        });
        Self { clock, runner, handle, stop, tasks }
    }

    /// Lets time pass; the odd millisecond is for what happens at a full second to be over.
    pub(crate) async fn pass(&self, seconds: u64) {
        time::sleep(Duration::from_millis(seconds * 1000 + 1)).await;
    }

    /// The beginnings of runs: time of day, job, cause.
    pub(crate) fn began(&self) -> Vec<String> {
        let seen = self.runner.seen.lock().unwrap();
        let began = |(time, seen): &(Timestamp, Seen)| match seen {
            Seen::Began { job, why, attempt, .. } => {
                let cause = match why {
                    Why::Scheduled { .. } => "scheduled".to_owned(),
                    Why::CatchUp { .. } => "catch-up".to_owned(),
                    Why::Retry { .. } => format!("retry {attempt}"),
                    Why::Requested(wish) => format!("requested {wish}"),
                };
                Some(format!("{} {job} {cause}", time.strftime("%H:%M:%S")))
            }
            _ => None,
        };
        seen.iter().filter_map(began).collect()
    }

    pub(crate) fn due_times(&self) -> Vec<Timestamp> {
        let seen = self.runner.seen.lock().unwrap();
        seen.iter()
            .filter_map(|(_, seen)| match seen {
                Seen::Began { why, .. } => why.due(),
                _ => None,
            })
            .collect()
    }

    /// The most runs of jobs that `counted` says yes to that went on at once.
    pub(crate) fn most_at_once(&self, counted: impl Fn(&str) -> bool) -> i32 {
        let seen = self.runner.seen.lock().unwrap();
        let (mut now, mut most) = (0, 0);
        for (_, seen) in seen.iter() {
            match seen {
                Seen::Began { job, .. } if counted(job) => now += 1,
                Seen::Ended { job } | Seen::Stopped { job } if counted(job) => now -= 1,
                _ => {}
            }
            most = most.max(now);
        }
        most
    }

    pub(crate) async fn stopped(&mut self) -> StopReport {
        self.stop.begin.cancel();
        let mut report = None;
        while let Some(ended) = self.tasks.join_next().await {
            report = report.or(ended.unwrap());
        }
        report.unwrap()
    }
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn name(text: &str) -> JobName {
    JobName::new(text).unwrap()
}

pub(crate) fn job(text: &str, group: &str, schedule: Option<&str>) -> ScheduledJob {
    ScheduledJob {
        name: name(text),
        group: group.to_owned(),
        schedule: schedule.map(|expression| Schedule::new(expression, "UTC").unwrap()),
        jitter: Duration::ZERO,
        catch_up: true,
        retry: RetryPolicy {
            attempts: 3,
            first: Duration::from_secs(10),
            factor: 3,
            max: Duration::from_mins(10),
        },
        time_out: Duration::from_hours(2),
        past: Past::default(),
    }
}

pub(crate) fn always(act: Act) -> Script {
    Box::new(move |_| act)
}

pub(crate) const FINE: Outcome = Outcome::Succeeded;
pub(crate) const MENDABLE: Outcome = Outcome::Failed { retryable: true };
pub(crate) const POSTPONED: Outcome = Outcome::Postponed { after: Duration::from_mins(1) };

/// Runs take two seconds and are postponed by a minute until so many seconds have passed.
pub(crate) fn postponed_for(seconds: u64) -> Script {
    let began = time::Instant::now();
    Box::new(move |_| Act::Take(2, if began.elapsed().as_secs() < seconds { POSTPONED } else { FINE }))
}
