//! Runs that find their work taken, and come again.

use std::sync::Mutex;

use convault_scheduler::{Ended, StopReport};

use crate::rig::{Act, FINE, MENDABLE, POSTPONED, Rig, Script, Seen, always, at, job, name, postponed_for};

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
