//! `convault status`: what the daemon knows.

use convault_core::{DestinationStatus, JobStatus, RunOutcome, Status};
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
        let text = format!("no daemon listens on {}", socket.display());
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
    print::table(&["DESTINATION", "STATE", ">SNAPSHOTS", ">SUSPECT", ">STORED", "WHERE"], &rows);
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
        (_, Some(problem)) => problem.clone(),
        (Some(true), None) => "up".to_owned(),
        (Some(false), None) => "down".to_owned(),
        (None, None) => "not looked at yet".to_owned(),
    };
    vec![
        destination.destination.to_string(),
        state,
        destination.snapshots.values().sum::<u64>().to_string(),
        destination.suspect.values().sum::<u64>().to_string(),
        print::size(destination.stored_bytes.values().sum()),
        destination.location.clone(),
    ]
}
