//! The scheduler as its caller sees it, on a clock that passes as fast as the test does.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod postponed;
mod rig;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use async_trait::async_trait;
use convault_core::{Clock, JobName, Schedule};
use convault_scheduler::{
    Cause, Ended, Outcome, Past, RequestError, RetryPolicy, Run, Runner, ScheduledJob, Scheduler,
    SchedulerError, StopReport, Why,
};
use jiff::SignedDuration;
use tokio::time;

use rig::{Act, FINE, MENDABLE, Rig, Script, Seen, always, at, job, name};

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
