//! `convault status`: what the daemon knows.

use convault_core::{
    CoordinationStatus, DestinationStatus, DrillStatus, HoldingStatus, JobStatus, MirrorStatus, RunOutcome,
    Status, VerifyStatus, WatchStatus,
};
use convault_settings::socket_path;

use super::Surroundings;
use crate::{
    exit::{Exit, ExitWith},
    print,
    remote::Remote,
};

pub(crate) async fn status(surroundings: &Surroundings) -> anyhow::Result<Exit> {
    let socket = socket_path(surroundings.config.as_deref(), &surroundings.environment);
    let Some(mut daemon) = Remote::connect(&socket).await? else {
        let text = format!(
            "no daemon listens on {}: start it (`systemctl start convault`), or name the settings it runs with (--config)",
            socket.display()
        );
        return Err(ExitWith(Exit::Unreachable, text).into());
    };
    let status = daemon.status().await?;
    if surroundings.json {
        print::json(&status);
    } else {
        show(&status);
    }
    Ok(if status.not_ready.is_empty() { Exit::Done } else { Exit::Failed })
}

fn show(status: &Status) {
    let ready = if status.not_ready.is_empty() { "ready".to_owned() } else { status.not_ready.join("; ") };
    print::line(&format!(
        "convault {}, up for {}: {ready}",
        status.version,
        print::distance(status.started, status.now)
    ));
    let rows: Vec<Vec<String>> = status.jobs.iter().map(|job| job_row(job, status)).collect();
    print::table(&["JOB", "DEPLOYMENT", "LAST GOOD", "LAST RUN", "NEXT", "NOW"], &rows);
    for job in &status.jobs {
        let attempt = job.last_attempt.as_ref();
        if let Some(run) = attempt.filter(|run| run.outcome != Some(RunOutcome::Good)) {
            print::line(&format!("{}: {}", job.job, run.message));
        }
    }
    let rows: Vec<Vec<String>> = status.destinations.iter().map(destination_row).collect();
    let heading = ["DESTINATION", "STATE", ">GOOD", ">SUSPECT", ">ALARMING", ">STORED", "CAN", "WHERE"];
    print::table(&heading, &rows);
    for destination in &status.destinations {
        if let Some(problem) = &destination.problem {
            print::line(&format!("{}: {problem}", destination.destination));
        }
    }
    if !status.verifying.is_empty() {
        let rows: Vec<Vec<String>> = status.verifying.iter().map(|task| verify_row(task, status)).collect();
        print::table(&["VERIFYING", "DEPLOYMENT", "LAST RUN", "NEXT"], &rows);
    }
    if !status.mirrors.is_empty() {
        let rows: Vec<Vec<String>> = status.mirrors.iter().map(|mirror| mirror_row(mirror, status)).collect();
        let heading =
            ["MIRROR", "TO", "UP TO DATE", "LAST RUN", ">OBJECTS", ">SIZE", ">STATES", "NEXT", "BRAKE"];
        print::table(&heading, &rows);
    }
    if !status.watching.is_empty() {
        let rows: Vec<Vec<String>> = status.watching.iter().map(|watch| watch_row(watch, status)).collect();
        print::table(&["WATCHING", "DEPLOYMENT", ">SECRETS", "CHANGED", "LAST LOOK", "NEXT"], &rows);
    }
    if !status.drills.is_empty() {
        let rows: Vec<Vec<String>> = status.drills.iter().map(|drill| drill_row(drill, status)).collect();
        let heading =
            ["DRILL", "DEPLOYMENT", "LAST PASSED", "LAST RUN", ">RESTORED AFTER", ">DATA AGE", "NEXT"];
        print::table(&heading, &rows);
    }
    for text in remarks(status) {
        print::line(&text);
    }
}

/// What a person should look at, or know.
fn remarks(status: &Status) -> Vec<String> {
    let mut remarks = Vec::new();
    for destination in &status.destinations {
        for (deployment, holding) in &destination.holdings {
            let place = format!("{}, {deployment}", destination.destination);
            if let Some(since) = holding.frozen_since {
                remarks.push(format!(
                    "{place}: frozen since {}: the newest snapshot is suspect; `convault accept` or a good run ends it",
                    print::time(since)
                ));
            }
            remarks.extend(holding.held_back.iter().map(|why| format!("{place}: {why}")));
        }
    }
    for task in &status.verifying {
        let damaged = |run: &&convault_core::RunRecord| run.outcome != Some(RunOutcome::Good);
        if let Some(run) = task.last_attempt.as_ref().filter(damaged) {
            remarks.push(format!("{}, {}: {}", task.destination, task.deployment, run.message));
        }
    }
    remarks.extend(status.mirrors.iter().flat_map(of_mirror));
    for watch in &status.watching {
        let incomplete = |run: &&convault_core::RunRecord| run.outcome != Some(RunOutcome::Good);
        if let Some(run) = watch.last_attempt.as_ref().filter(incomplete) {
            remarks.push(format!("secrets of {}: {}", watch.job, run.message));
        }
    }
    for drill in &status.drills {
        let not_passed = |run: &&convault_core::RunRecord| run.outcome != Some(RunOutcome::Good);
        if let Some(run) = drill.last_attempt.as_ref().filter(not_passed) {
            remarks.push(format!("drill {}: {}", drill.drill, run.message));
        }
        if drill.is_too_old(status.started, status.now) {
            remarks.push(format!("drill {}: none was passed within its max_age", drill.drill));
        }
    }
    remarks.extend(status.coordination.as_ref().map(coordination));
    remarks
}

fn coordination(sharing: &CoordinationStatus) -> String {
    let held: Vec<String> =
        sharing.held.iter().map(|(deployment, fence)| format!("{deployment} ({fence})")).collect();
    let held = if held.is_empty() { "none".to_owned() } else { held.join(", ") };
    format!(
        "shares the work by leases in {} as {}: holds {held}; {} runs left to others, {} leases lost",
        sharing.destination, sharing.instance, sharing.left_to_others, sharing.lost
    )
}

fn drill_row(drill: &DrillStatus, status: &Status) -> Vec<String> {
    let ago = |at| format!("{} ago", print::distance(at, status.now));
    let last = drill.last_attempt.as_ref().and_then(|run| run.finished.zip(run.outcome));
    let seconds = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0} s"));
    vec![
        drill.drill.to_string(),
        drill.deployment.to_string(),
        drill.last_passed.map_or_else(|| "never".to_owned(), ago),
        last.map_or_else(|| "never".to_owned(), |(at, outcome)| format!("{}, {}", outcome.as_str(), ago(at))),
        seconds(drill.restore_seconds),
        seconds(drill.data_age_seconds),
        drill.next_due.map_or_else(|| "-".to_owned(), |at| format!("in {}", print::distance(status.now, at))),
    ]
}

fn watch_row(watch: &WatchStatus, status: &Status) -> Vec<String> {
    let last = watch.last_attempt.as_ref().and_then(|run| run.finished.zip(run.outcome));
    let ago = |at| format!("{} ago", print::distance(at, status.now));
    vec![
        watch.job.to_string(),
        watch.deployment.to_string(),
        watch.secrets.to_string(),
        watch.changed.map_or_else(|| "-".to_owned(), ago),
        last.map_or_else(|| "never".to_owned(), |(at, outcome)| format!("{}, {}", outcome.as_str(), ago(at))),
        watch
            .next_due
            .map_or_else(|| "-".to_owned(), |time| format!("in {}", print::distance(status.now, time))),
    ]
}

fn verify_row(task: &VerifyStatus, status: &Status) -> Vec<String> {
    let last = task.last_attempt.as_ref();
    let ended = last.and_then(|run| run.finished.zip(run.outcome));
    vec![
        task.destination.to_string(),
        task.deployment.to_string(),
        ended.map_or_else(
            || "never".to_owned(),
            |(at, outcome)| format!("{}, {} ago", outcome.as_str(), print::distance(at, status.now)),
        ),
        task.next_due
            .map_or_else(|| "-".to_owned(), |time| format!("in {}", print::distance(status.now, time))),
    ]
}

/// What a person should look at of a mirror.
fn of_mirror(mirror: &MirrorStatus) -> Vec<String> {
    let name = &mirror.mirror;
    let wrong = |run: &&convault_core::RunRecord| run.outcome != Some(RunOutcome::Good);
    let last =
        mirror.last_attempt.as_ref().filter(wrong).map(|run| format!("mirror {name}: {}", run.message));
    let held_back = mirror.held_back.iter().map(|why| format!("mirror {name}: {why}"));
    last.into_iter().chain(held_back).collect()
}

fn mirror_row(mirror: &MirrorStatus, status: &Status) -> Vec<String> {
    let ago = |time| format!("{} ago", print::distance(time, status.now));
    let last = mirror.last_attempt.as_ref().and_then(|run| run.outcome);
    let next = mirror.next_due.map(|time| format!("in {}", print::distance(status.now, time)));
    vec![
        mirror.mirror.to_string(),
        mirror.destination.to_string(),
        mirror.last_success.map_or_else(|| "never".to_owned(), ago),
        last.map_or("never", RunOutcome::as_str).to_owned(),
        print::number(mirror.objects),
        print::size(mirror.bytes),
        print::number(mirror.states),
        next.unwrap_or_else(|| "on demand".to_owned()),
        mirror
            .braked_since
            .map_or_else(|| "-".to_owned(), |since| format!("holds since {}", print::time(since))),
    ]
}

fn job_row(job: &JobStatus, status: &Status) -> Vec<String> {
    let never = || "never".to_owned();
    let good = job.last_success.as_ref().and_then(|run| run.finished);
    let last = job.last_attempt.as_ref().and_then(|run| run.outcome);
    vec![
        job.job.to_string(),
        job.deployment.to_string(),
        good.map_or_else(never, |time| format!("{} ago", print::distance(time, status.now))),
        last.map_or_else(never, |outcome| outcome.as_str().to_owned()),
        job.next_due.map_or_else(
            || "on demand".to_owned(),
            |time| format!("in {}", print::distance(status.now, time)),
        ),
        job.running.as_ref().map_or_else(|| "-".to_owned(), |run| format!("running {run}")),
    ]
}

fn destination_row(destination: &DestinationStatus) -> Vec<String> {
    let state = match (destination.up, &destination.problem) {
        (Some(false), _) | (_, Some(_)) => "down",
        (Some(true), None) => "up",
        (None, None) => "not looked at yet",
    };
    let all = || destination.holdings.values();
    let count = |of: fn(&HoldingStatus) -> u64| all().map(of).sum::<u64>().to_string();
    vec![
        destination.destination.to_string(),
        state.to_owned(),
        count(|holding| holding.count("good")),
        count(|holding| holding.count("suspect")),
        count(alarming),
        print::size(all().map(|holding| holding.stored_bytes).sum()),
        abilities(destination),
        destination.location.clone(),
    ]
}

fn alarming(holding: &HoldingStatus) -> u64 {
    ["damaged", "headless", "unreadable", "untrusted"].iter().map(|state| holding.count(state)).sum()
}

/// What a destination was seen to be able to do that not every one can.
fn abilities(destination: &DestinationStatus) -> String {
    let Some(can) = &destination.abilities else { return "not known yet".to_owned() };
    let has = |ability| ability == convault_core::Ability::Works;
    let mut words = Vec::new();
    if has(can.versions) {
        words.push("versions");
    }
    if has(can.locks) {
        words.push("locks");
    }
    if can.default_lock.is_some() {
        words.push("locks by default");
    }
    words.push(if can.why_no_leases().is_none() { "leases" } else { "no leases" });
    words.join(", ")
}
