//! The scheduler as its caller sees it, on a clock that passes as fast as the test does.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use convault_core::{Clock, JobName, Schedule};
use convault_scheduler::{
    Cause, Ended, Handle, Outcome, Past, RequestError, RetryPolicy, Run, Runner, ScheduledJob, Scheduler,
    SchedulerError, Stop, StopReport, Why,
};
use jiff::{SignedDuration, Timestamp};
use tokio::{sync::mpsc, task::JoinSet, time};
use tokio_util::sync::CancellationToken;

/// A clock that goes with the runtime's paused time, and whose time of day can be set.
#[derive(Debug)]
struct TestClock {
    began: time::Instant,
    time_at_begin: Mutex<Timestamp>,
}

impl TestClock {
    fn set_by(&self, by: SignedDuration) {
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
enum Seen {
    Began { job: String, why: Why<u32>, attempt: u32, more: bool },
    Stopped { job: String },
    Ended { job: String },
    Dropped { job: String, wish: u32 },
}

/// What a run does.
#[derive(Debug, Clone, Copy)]
enum Act {
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

type Script = Box<dyn Fn(&Run<u32>) -> Act + Send + Sync>;

struct TestRunner {
    clock: Arc<TestClock>,
    script: Script,
    seen: Mutex<Vec<(Timestamp, Seen)>>,
}

impl TestRunner {
    fn note(&self, seen: Seen) {
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

struct Rig {
    clock: Arc<TestClock>,
    runner: Arc<TestRunner>,
    handle: Handle<u32>,
    stop: Stop,
    tasks: JoinSet<Option<StopReport>>,
}

impl Rig {
    fn start(now: &str, jobs: Vec<ScheduledJob>, cap: usize, script: Script) -> Self {
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
    async fn pass(&self, seconds: u64) {
        time::sleep(Duration::from_millis(seconds * 1000 + 1)).await;
    }

    /// The beginnings of runs: time of day, job, cause.
    fn began(&self) -> Vec<String> {
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

    fn due_times(&self) -> Vec<Timestamp> {
        let seen = self.runner.seen.lock().unwrap();
        seen.iter()
            .filter_map(|(_, seen)| match seen {
                Seen::Began { why, .. } => why.due(),
                _ => None,
            })
            .collect()
    }

    /// The most runs of jobs that `counted` says yes to that went on at once.
    fn most_at_once(&self, counted: impl Fn(&str) -> bool) -> i32 {
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

    async fn stopped(&mut self) -> StopReport {
        self.stop.begin.cancel();
        let mut report = None;
        while let Some(ended) = self.tasks.join_next().await {
            report = report.or(ended.unwrap());
        }
        report.unwrap()
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn name(text: &str) -> JobName {
    JobName::new(text).unwrap()
}

fn job(text: &str, group: &str, schedule: Option<&str>) -> ScheduledJob {
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

fn always(act: Act) -> Script {
    Box::new(move |_| act)
}

const FINE: Outcome = Outcome::Succeeded;
const MENDABLE: Outcome = Outcome::Failed { retryable: true };
const POSTPONED: Outcome = Outcome::Postponed { after: Duration::from_mins(1) };

/// Runs take two seconds and are postponed by a minute until so many seconds have passed.
fn postponed_for(seconds: u64) -> Script {
    let began = time::Instant::now();
    Box::new(move |_| Act::Take(2, if began.elapsed().as_secs() < seconds { POSTPONED } else { FINE }))
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_when_it_is_due() {
    let rig = Rig::start(
        "2026-11-22T02:59:30Z",
        vec![job("crm", "crm", Some("0 3 * * *"))],
        4,
        always(Act::Take(5, FINE)),
    );
    rig.pass(60).await;
    assert_eq!(rig.began(), ["03:00:00 crm scheduled"]);
    let state = rig.handle.jobs().remove(0);
    assert_eq!(state.next_due, Some(at("2026-11-23T03:00:00Z")));
    assert_eq!(state.last.unwrap().ended, Ended::Succeeded);
    assert_eq!(state.last.unwrap().cause, Cause::Scheduled);
}

#[tokio::test(start_paused = true)]
async fn a_run_longer_than_its_interval_never_meets_itself() {
    let rig = Rig::start(
        "2026-11-22T02:59:30Z",
        vec![job("crm", "crm", Some("* * * * *"))],
        4,
        always(Act::Take(150, FINE)),
    );
    rig.pass(600).await;
    assert_eq!(rig.most_at_once(|_| true), 1);
    assert_eq!(
        rig.began(),
        [
            "03:00:00 crm scheduled",
            "03:02:30 crm scheduled",
            "03:05:00 crm scheduled",
            "03:07:30 crm scheduled"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn one_run_per_group_goes_on_at_a_time_and_other_groups_are_not_held_up() {
    let jobs = vec![
        job("crm-a", "crm", Some("0 3 * * *")),
        job("crm-b", "crm", Some("0 3 * * *")),
        job("shop", "shop", Some("0 3 * * *")),
    ];
    let rig = Rig::start("2026-11-22T02:59:30Z", jobs, 4, always(Act::Take(100, FINE)));
    rig.pass(600).await;
    assert_eq!(rig.most_at_once(|job| job.starts_with("crm")), 1);
    assert_eq!(
        rig.began(),
        ["03:00:00 crm-a scheduled", "03:00:00 shop scheduled", "03:01:40 crm-b scheduled"]
    );
}

#[tokio::test(start_paused = true)]
async fn no_more_runs_than_the_cap_go_on_at_once() {
    let jobs = (0..5).map(|n| job(&format!("job-{n}"), &format!("group-{n}"), Some("0 3 * * *"))).collect();
    let rig = Rig::start("2026-11-22T02:59:30Z", jobs, 2, always(Act::Take(100, FINE)));
    rig.pass(600).await;
    assert_eq!(rig.most_at_once(|_| true), 2);
    assert_eq!(rig.began().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn many_missed_runs_are_caught_up_as_one() {
    let mut crm = job("crm", "crm", Some("0 3 * * *"));
    crm.past.last_due = Some(at("2026-11-17T03:00:00Z"));
    let rig = Rig::start("2026-11-22T12:00:00Z", vec![crm], 4, always(Act::Take(5, FINE)));
    rig.pass(3600).await;
    assert_eq!(rig.began(), ["12:00:00 crm catch-up"]);
    assert_eq!(rig.due_times(), [at("2026-11-22T03:00:00Z")]);
}

#[tokio::test(start_paused = true)]
async fn without_catch_up_a_missed_run_is_left_out() {
    let mut crm = job("crm", "crm", Some("0 3 * * *"));
    crm.past.last_due = Some(at("2026-11-17T03:00:00Z"));
    crm.catch_up = false;
    let rig = Rig::start("2026-11-22T12:00:00Z", vec![crm], 4, always(Act::Take(5, FINE)));
    rig.pass(16 * 3600).await;
    assert_eq!(rig.began(), ["03:00:00 crm scheduled"]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_does_not_run_again_what_has_run() {
    let mut crm = job("crm", "crm", Some("0 3 * * *"));
    crm.past.last_due = Some(at("2026-11-22T03:00:00Z"));
    let rig = Rig::start("2026-11-22T03:01:00Z", vec![crm], 4, always(Act::Take(5, FINE)));
    rig.pass(3600).await;
    assert_eq!(rig.began(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_the_end_of_the_process_cut_off_is_tried_again_but_not_for_ever() {
    for (cut_off, expected) in
        [(1, vec!["03:01:10 crm retry 2"]), (2, vec!["03:01:30 crm retry 3"]), (3, vec![])]
    {
        let mut crm = job("crm", "crm", Some("0 3 * * *"));
        crm.past = Past { last_due: Some(at("2026-11-22T03:00:00Z")), cut_off };
        let rig = Rig::start("2026-11-22T03:01:00Z", vec![crm], 4, always(Act::Take(5, FINE)));
        rig.pass(3600).await;
        assert_eq!(rig.began(), expected, "after {cut_off} runs cut off");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_run_is_tried_again_after_growing_waits() {
    let rig = Rig::start(
        "2026-11-22T02:59:30Z",
        vec![job("crm", "crm", Some("0 3 * * *"))],
        4,
        always(Act::Take(5, MENDABLE)),
    );
    rig.pass(40).await;
    assert_eq!(rig.handle.jobs()[0].retry.unwrap().at, at("2026-11-22T03:00:15Z"));
    rig.pass(3600).await;
    // The waits of 10 and 30 seconds count from the end of the failed attempt.
    assert_eq!(rig.began(), ["03:00:00 crm scheduled", "03:00:15 crm retry 2", "03:00:50 crm retry 3"]);
    assert_eq!(rig.handle.jobs()[0].retries, 2);
    assert_eq!(rig.due_times(), [at("2026-11-22T03:00:00Z"); 3]);
    let more: Vec<_> = rig
        .runner
        .seen
        .lock()
        .unwrap()
        .iter()
        .filter_map(|(_, seen)| if let Seen::Began { more, .. } = seen { Some(*more) } else { None })
        .collect();
    assert_eq!(more, [true, true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_success_ends_the_attempts() {
    let script: Script = Box::new(|run| Act::Take(5, if run.attempt == 1 { MENDABLE } else { FINE }));
    let rig = Rig::start("2026-11-22T02:59:30Z", vec![job("crm", "crm", Some("0 3 * * *"))], 4, script);
    rig.pass(3600).await;
    assert_eq!(rig.began(), ["03:00:00 crm scheduled", "03:00:15 crm retry 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_no_attempt_can_mend_is_not_tried_again() {
    let rig = Rig::start(
        "2026-11-22T02:59:30Z",
        vec![job("crm", "crm", Some("0 3 * * *"))],
        4,
        always(Act::Take(5, Outcome::Failed { retryable: false })),
    );
    rig.pass(3600).await;
    assert_eq!(rig.began(), ["03:00:00 crm scheduled"]);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_retry_gives_way_to_the_next_due_time() {
    let mut crm = job("crm", "crm", Some("* * * * *"));
    crm.retry = RetryPolicy { attempts: 3, first: Duration::from_secs(90), factor: 1, max: Duration::MAX };
    let rig = Rig::start("2026-11-22T02:59:30Z", vec![crm], 4, always(Act::Take(5, MENDABLE)));
    rig.pass(120).await;
    assert_eq!(rig.began(), ["03:00:00 crm scheduled", "03:01:00 crm scheduled"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_time_is_up_is_cancelled_and_tried_again() {
    let mut crm = job("crm", "crm", Some("0 3 * * *"));
    crm.time_out = Duration::from_secs(100);
    let rig = Rig::start("2026-11-22T02:59:30Z", vec![crm], 4, always(Act::Take(500, FINE)));
    rig.pass(31 + 101).await;
    assert_eq!(rig.handle.jobs()[0].last.unwrap().ended, Ended::TimedOut);
    rig.pass(3600).await;
    assert_eq!(rig.began(), ["03:00:00 crm scheduled", "03:01:50 crm retry 2", "03:04:00 crm retry 3"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_does_not_hear_that_its_time_is_up_is_dropped_after_a_minute() {
    let mut jobs = vec![job("deaf", "crm", Some("0 3 * * *")), job("next", "crm", Some("1 3 * * *"))];
    jobs[0].time_out = Duration::from_secs(100);
    jobs[0].retry = RetryPolicy::NONE;
    let script: Script =
        Box::new(|run| if run.job.as_str() == "deaf" { Act::Deaf } else { Act::Take(5, FINE) });
    let rig = Rig::start("2026-11-22T02:59:30Z", jobs, 4, script);
    rig.pass(3600).await;
    assert_eq!(rig.began(), ["03:00:00 deaf scheduled", "03:02:40 next scheduled"]);
}

#[tokio::test(start_paused = true)]
async fn a_requested_run_goes_the_same_way_and_is_not_tried_again() {
    let jobs = vec![job("crm", "crm", Some("0 3 * * *")), job("on-demand", "crm", None)];
    let rig = Rig::start("2026-11-22T02:59:55Z", jobs, 4, always(Act::Take(20, MENDABLE)));
    rig.pass(0).await;
    rig.handle.request(&name("on-demand"), 7).await.unwrap();
    rig.handle.request(&name("on-demand"), 8).await.unwrap();
    rig.pass(3).await;
    assert_eq!(rig.handle.jobs()[1].running.unwrap().cause, Cause::Requested);
    assert_eq!(rig.handle.jobs()[1].waiting, 1);
    rig.pass(60).await;
    assert_eq!(
        rig.began(),
        ["02:59:55 on-demand requested 7", "03:00:15 on-demand requested 8", "03:00:35 crm scheduled"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_can_be_taken_back() {
    let rig =
        Rig::start("2026-11-22T12:00:00Z", vec![job("crm", "crm", None)], 4, always(Act::Take(20, FINE)));
    for wish in [1, 2, 3] {
        rig.handle.request(&name("crm"), wish).await.unwrap();
    }
    assert_eq!(rig.handle.withdraw(&name("crm"), |wish| *wish == 2).await, Some(2));
    assert_eq!(rig.handle.withdraw(&name("crm"), |wish| *wish == 1).await, None, "it runs already");
    rig.pass(100).await;
    assert_eq!(rig.began(), ["12:00:00 crm requested 1", "12:00:20 crm requested 3"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_for_no_job_or_after_too_many_is_refused() {
    let rig =
        Rig::start("2026-11-22T12:00:00Z", vec![job("crm", "crm", None)], 4, always(Act::Take(20, FINE)));
    assert_eq!(rig.handle.request(&name("shop"), 1).await, Err(RequestError::NoSuchJob(name("shop"))));
    for wish in 0..17 {
        rig.handle.request(&name("crm"), wish).await.unwrap();
    }
    let refused = rig.handle.request(&name("crm"), 17).await;
    assert_eq!(refused, Err(RequestError::TooMany { job: name("crm"), waiting: 16 }));
}

#[tokio::test(start_paused = true)]
async fn a_stop_asks_runs_to_stop_waits_for_them_and_starts_nothing() {
    let jobs = vec![job("crm", "crm", Some("0 3 * * *")), job("shop", "crm", None)];
    let mut rig = Rig::start("2026-11-22T02:59:55Z", jobs, 4, always(Act::StopSlowly(12)));
    rig.pass(6).await;
    rig.handle.request(&name("shop"), 5).await.unwrap();
    let began = time::Instant::now();
    let report = rig.stopped().await;
    assert_eq!(report, StopReport { ended: vec![name("crm")], dropped: vec![] });
    assert_eq!(began.elapsed().as_secs(), 12);
    assert_eq!(rig.began(), ["03:00:00 crm scheduled"]);
    let seen: Vec<_> = rig.runner.seen.lock().unwrap().iter().map(|(_, seen)| seen.clone()).collect();
    assert!(seen.contains(&Seen::Dropped { job: "shop".to_owned(), wish: 5 }));
    assert_eq!(rig.handle.request(&name("shop"), 6).await, Err(RequestError::Stopping));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_outlasts_the_grace_period_is_dropped() {
    let mut rig = Rig::start(
        "2026-11-22T02:59:55Z",
        vec![job("crm", "crm", Some("0 3 * * *"))],
        4,
        always(Act::StopSlowly(100)),
    );
    rig.pass(6).await;
    let began = time::Instant::now();
    assert_eq!(rig.stopped().await, StopReport { ended: vec![], dropped: vec![name("crm")] });
    assert_eq!(began.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_second_stop_leaves_at_once() {
    let mut rig = Rig::start(
        "2026-11-22T02:59:55Z",
        vec![job("crm", "crm", Some("0 3 * * *"))],
        4,
        always(Act::StopSlowly(20)),
    );
    rig.pass(6).await;
    rig.stop.begin.cancel();
    rig.pass(5).await;
    rig.stop.at_once.cancel();
    let began = time::Instant::now();
    assert_eq!(rig.stopped().await, StopReport { ended: vec![], dropped: vec![name("crm")] });
    assert_eq!(began.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_panics_stops_neither_the_scheduler_nor_its_job() {
    let script: Script = Box::new(|run| match run.why {
        Why::Requested(1) => Act::Panic,
        _ => Act::Take(5, FINE),
    });
    let rig = Rig::start("2026-11-22T12:00:00Z", vec![job("crm", "crm", None)], 4, script);
    rig.handle.request(&name("crm"), 1).await.unwrap();
    rig.handle.request(&name("crm"), 2).await.unwrap();
    rig.pass(1).await;
    assert_eq!(rig.handle.jobs()[0].last.unwrap().ended, Ended::Panicked);
    rig.pass(10).await;
    assert_eq!(rig.handle.jobs()[0].last.unwrap().ended, Ended::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_during_the_night_runs_nothing_twice() {
    let rig = Rig::start(
        "2026-11-22T02:59:55Z",
        vec![job("crm", "crm", Some("0 3 * * *"))],
        4,
        always(Act::Take(5, FINE)),
    );
    rig.pass(60).await;
    rig.clock.set_by(SignedDuration::from_hours(-1));
    rig.pass(2 * 3600).await;
    assert_eq!(rig.due_times(), [at("2026-11-22T03:00:00Z")]);
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_forward_over_a_due_time_catches_it_up_once() {
    let rig = Rig::start(
        "2026-11-22T01:00:00Z",
        vec![job("crm", "crm", Some("0 3 * * *"))],
        4,
        always(Act::Take(5, FINE)),
    );
    rig.pass(60).await;
    rig.clock.set_by(SignedDuration::from_hours(9));
    rig.pass(3600).await;
    assert_eq!(rig.began(), ["10:01:01 crm catch-up"]);
}

#[tokio::test(start_paused = true)]
async fn both_days_on_which_clocks_change_have_one_run_each() {
    for (zone, start) in [
        ("Europe/London", "2026-03-28T12:00:00Z"),
        ("Europe/London", "2026-10-24T12:00:00Z"),
        ("America/New_York", "2026-03-07T17:00:00Z"),
        ("America/New_York", "2026-10-31T17:00:00Z"),
    ] {
        let jobs =
            ["0 1 * * *", "30 1 * * *", "0 2 * * *", "30 2 * * *", "0 3 * * *"].into_iter().enumerate();
        let jobs: Vec<_> = jobs
            .map(|(n, expression)| {
                let schedule = Schedule::new(expression, zone).unwrap();
                let label = format!("job-{n}");
                ScheduledJob { schedule: Some(schedule), ..job(&label, &label, None) }
            })
            .collect();
        let rig = Rig::start(start, jobs, 8, always(Act::Take(5, FINE)));
        rig.pass(24 * 3600).await;
        let mut began: Vec<_> = rig.began().iter().map(|line| line[9..].to_owned()).collect();
        began.sort();
        let expected: Vec<_> = (0..5).map(|n| format!("job-{n} scheduled")).collect();
        assert_eq!(began, expected, "{zone} from {start}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_postponed_run_comes_again_for_the_same_due_time_and_counts_as_no_attempt() {
    let rig = Rig::start(
        "2026-11-22T02:59:30Z",
        vec![job("crm", "crm", Some("0 3 * * *"))],
        4,
        postponed_for(31 + 150),
    );
    rig.pass(60).await;
    let state = rig.handle.jobs().remove(0);
    assert_eq!((state.waiting, state.last, state.retry), (1, None, None));
    assert_eq!(state.postponed, Some(at("2026-11-22T03:01:02Z")));
    rig.pass(600).await;
    assert_eq!(
        rig.began(),
        [
            "03:00:00 crm scheduled",
            "03:01:02 crm scheduled",
            "03:02:04 crm scheduled",
            "03:03:06 crm scheduled"
        ]
    );
    assert_eq!(rig.due_times(), [at("2026-11-22T03:00:00Z"); 4]);
    let last = rig.handle.jobs()[0].last.unwrap();
    assert_eq!((last.ended, last.attempt), (Ended::Succeeded, 1));
}

#[tokio::test(start_paused = true)]
async fn a_postponed_run_leaves_its_place_to_other_jobs_and_comes_before_later_ones() {
    let jobs = ["crm", "shop", "wiki"].map(|name| job(name, name, Some("0 3 * * *"))).to_vec();
    let script: Script = Box::new(|run| match (run.job.as_str(), run.attempt) {
        ("crm", _) => Act::Take(2, POSTPONED),
        _ => Act::Take(50, FINE),
    });
    let rig = Rig::start("2026-11-22T02:59:30Z", jobs, 1, script);
    rig.pass(140).await;
    assert_eq!(
        rig.began(),
        [
            "03:00:00 crm scheduled",
            "03:00:02 shop scheduled",
            "03:00:52 wiki scheduled",
            "03:01:42 crm scheduled"
        ],
        "the second look at crm waits for its time and for the one place there is"
    );
}

#[tokio::test(start_paused = true)]
async fn a_newer_due_time_stands_for_a_postponed_one_and_waits_as_long() {
    let rig = Rig::start(
        "2026-11-22T02:59:30Z",
        vec![job("crm", "crm", Some("0,1,2 3 * * *"))],
        4,
        postponed_for(31 + 100),
    );
    rig.pass(600).await;
    assert_eq!(
        rig.due_times(),
        [at("2026-11-22T03:00:00Z"), at("2026-11-22T03:01:00Z"), at("2026-11-22T03:02:00Z")]
    );
    assert_eq!(
        rig.began(),
        ["03:00:00 crm scheduled", "03:01:02 crm scheduled", "03:02:04 crm scheduled"],
        "the due times of 03:01 and 03:02 came while the run before was postponed"
    );
}

#[tokio::test(start_paused = true)]
async fn a_due_time_that_comes_while_a_run_finds_itself_postponed_stands_for_it() {
    let script: Script = Box::new(|run| match run.why.due() {
        Some(due) if due == at("2026-11-22T03:00:00Z") => Act::Take(70, POSTPONED),
        _ => Act::Take(5, FINE),
    });
    let rig = Rig::start("2026-11-22T02:59:30Z", vec![job("crm", "crm", Some("0,1 3 * * *"))], 4, script);
    rig.pass(600).await;
    assert_eq!(rig.began(), ["03:00:00 crm scheduled", "03:02:10 crm scheduled"]);
    assert_eq!(rig.due_times(), [at("2026-11-22T03:00:00Z"), at("2026-11-22T03:01:00Z")]);
}

#[tokio::test(start_paused = true)]
async fn a_postponed_retry_stays_the_attempt_it_was() {
    let postponed = Mutex::new(false);
    let script: Script = Box::new(move |run| {
        let first_retry =
            run.attempt == 2 && !std::mem::replace(&mut *postponed.lock().unwrap(), run.attempt == 2);
        Act::Take(5, if first_retry { POSTPONED } else { MENDABLE })
    });
    let rig = Rig::start("2026-11-22T02:59:30Z", vec![job("crm", "crm", Some("0 3 * * *"))], 4, script);
    rig.pass(3600).await;
    assert_eq!(
        rig.began(),
        ["03:00:00 crm scheduled", "03:00:15 crm retry 2", "03:01:20 crm retry 2", "03:01:55 crm retry 3"]
    );
    assert_eq!(rig.handle.jobs()[0].retries, 2);
}

#[tokio::test(start_paused = true)]
async fn a_postponed_wish_keeps_its_turn_and_can_be_taken_back() {
    let rig = Rig::start("2026-11-22T12:00:00Z", vec![job("crm", "crm", None)], 4, postponed_for(30));
    for wish in [1, 2] {
        rig.handle.request(&name("crm"), wish).await.unwrap();
    }
    rig.pass(100).await;
    assert_eq!(
        rig.began(),
        ["12:00:00 crm requested 1", "12:01:02 crm requested 1", "12:01:04 crm requested 2"],
        "the second would only have found the same"
    );

    let rig = Rig::start("2026-11-22T12:00:00Z", vec![job("crm", "crm", None)], 4, postponed_for(30));
    rig.handle.request(&name("crm"), 7).await.unwrap();
    rig.pass(10).await;
    assert_eq!(rig.handle.withdraw(&name("crm"), |wish| *wish == 7).await, Some(7));
    rig.pass(100).await;
    assert_eq!(rig.began(), ["12:00:00 crm requested 7"]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_drops_postponed_runs_and_says_so_to_whoever_asked() {
    let jobs = vec![job("crm", "crm", Some("0 3 * * *")), job("shop", "shop", None)];
    let mut rig = Rig::start("2026-11-22T02:59:55Z", jobs, 4, always(Act::Take(2, POSTPONED)));
    rig.handle.request(&name("shop"), 5).await.unwrap();
    rig.pass(10).await;
    let report = rig.stopped().await;
    assert_eq!(report, StopReport::default());
    let dropped = (at("2026-11-22T03:00:05.001Z"), Seen::Dropped { job: "shop".to_owned(), wish: 5 });
    assert_eq!(rig.runner.seen.lock().unwrap().last(), Some(&dropped));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_postponed_while_all_stops_is_dropped() {
    let script: Script = Box::new(|_| Act::PostponeWhenAsked);
    let jobs = vec![job("crm", "crm", Some("0 3 * * *")), job("shop", "shop", None)];
    let mut rig = Rig::start("2026-11-22T02:59:55Z", jobs, 4, script);
    rig.handle.request(&name("shop"), 5).await.unwrap();
    rig.pass(10).await;
    let report = rig.stopped().await;
    assert_eq!(report.dropped, []);
    assert_eq!(report.ended.len(), 2);
    let seen: Vec<_> = rig.runner.seen.lock().unwrap().iter().map(|(_, seen)| seen.clone()).collect();
    assert!(seen.contains(&Seen::Dropped { job: "shop".to_owned(), wish: 5 }));
}

#[test]
fn two_jobs_of_one_name_are_refused() {
    let clock: Arc<dyn Clock> = Arc::new(convault_core::SystemClock);
    let runner = Arc::new(NoRunner);
    let jobs = vec![job("crm", "a", None), job("crm", "b", None)];
    let refused = Scheduler::new(jobs, runner, clock, NonZeroUsize::MIN, 1).err();
    assert_eq!(refused, Some(SchedulerError::DuplicateJob(name("crm"))));
}

struct NoRunner;

#[async_trait]
impl Runner for NoRunner {
    type Wish = ();

    async fn run(&self, _: Run<()>) -> Outcome {
        Outcome::Succeeded
    }

    fn dropped(&self, _: &JobName, (): ()) {}
}
