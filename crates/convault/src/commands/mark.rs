//! Says something of a snapshot: through the running daemon where there is one, else in this process.

use std::sync::Arc;

use convault_core::{Clock, DeploymentName, DestinationResult, MarkKind, MarkWish, SystemClock};
use convault_settings::socket_path;
use serde_json::json;

use super::Surroundings;
use crate::{
    arguments::Marked,
    daemon::{StateLock, open_journal},
    exit::{Exit, ExitWith},
    print,
    remote::Remote,
    worker::Worker,
};

/// What is to be said, apart from of what.
pub(super) struct Word {
    pub(super) kind: MarkKind,
    pub(super) names: Vec<String>,
    pub(super) until: Option<jiff::Timestamp>,
}

/// Marks a snapshot in every destination that has it.
pub(super) async fn mark(surroundings: &Surroundings, marked: Marked, word: Word) -> anyhow::Result<Exit> {
    let socket = socket_path(surroundings.config.as_deref(), &surroundings.environment);
    let found = if let Some(daemon) = Remote::connect(&socket).await? {
        through(daemon, &marked, &word).await?
    } else {
        if !surroundings.json {
            print::note(&format!("no daemon listens on {}; marking in this process", socket.display()));
        }
        here(surroundings, &marked, &word).await?
    };
    let Some((deployment, results)) = found else {
        let text = format!("there is no snapshot {}; `convault list` shows what is there", marked.snapshot);
        return Err(ExitWith(Exit::NotFound, text).into());
    };
    report(surroundings, &marked, &word, &deployment, &results);
    let failed = results.iter().filter(|result| result.problem.is_some()).count();
    Ok(match failed {
        0 => Exit::Done,
        _ if failed < results.len() => Exit::Partial,
        _ => Exit::Failed,
    })
}

type Found = Option<(DeploymentName, Vec<DestinationResult>)>;

/// A snapshot's identifier says nothing of its deployment: each is asked until one has it.
async fn through(mut daemon: Remote, marked: &Marked, word: &Word) -> anyhow::Result<Found> {
    let mut deployments: Vec<DeploymentName> = marked.deployment.iter().cloned().collect();
    if deployments.is_empty() {
        deployments = daemon.status().await?.jobs.into_iter().map(|job| job.deployment).collect();
        deployments.sort();
        deployments.dedup();
    }
    let mut found = None;
    for deployment in deployments {
        let results = daemon.mark(wish(&deployment, marked, word)).await?;
        if keep(&mut found, deployment, results) {
            break;
        }
    }
    Ok(found)
}

async fn here(surroundings: &Surroundings, marked: &Marked, word: &Word) -> anyhow::Result<Found> {
    let settings = surroundings.settings()?;
    let _lock = StateLock::take(&settings.daemon.state_dir)?;
    let journal = open_journal(&settings.daemon.state_dir).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let worker = Worker::new(settings, journal, clock, 1).await?;
    let mut found = None;
    for deployment in super::choose::chosen_deployments(&worker.settings, marked.deployment.as_ref()) {
        let results = worker.mark(&wish(&deployment, marked, word)).await;
        if keep(&mut found, deployment, results) {
            break;
        }
    }
    Ok(found)
}

/// Keeps an answer that has something in it, in place of one with nothing but problems. Gives whether that is it.
fn keep(found: &mut Found, deployment: DeploymentName, results: Vec<DestinationResult>) -> bool {
    let done = results.iter().any(|result| result.problem.is_none());
    if done || (found.is_none() && !results.is_empty()) {
        *found = Some((deployment, results));
    }
    done
}

fn wish(deployment: &DeploymentName, marked: &Marked, word: &Word) -> MarkWish {
    MarkWish {
        deployment: deployment.clone(),
        id: marked.snapshot.clone(),
        kind: word.kind,
        reason: marked.reason.clone(),
        names: word.names.clone(),
        until: word.until,
        destination: marked.destination.clone(),
    }
}

fn report(
    surroundings: &Surroundings,
    marked: &Marked,
    word: &Word,
    deployment: &DeploymentName,
    results: &[DestinationResult],
) {
    if surroundings.json {
        print::json(&json!({
            "id": marked.snapshot,
            "deployment": deployment,
            "mark": word.kind,
            "destinations": results,
        }));
        return;
    }
    let done = match (word.kind, word.until) {
        (MarkKind::Accept, _) => "accepted: it counts as good".to_owned(),
        (MarkKind::Release, _) => "released: retention decides again".to_owned(),
        (_, Some(until)) => format!("held until {}", print::time(until)),
        (_, None) => "held until it is released".to_owned(),
    };
    for result in results {
        match &result.problem {
            None => print::line(&format!("{}: {} {done}", result.destination, marked.snapshot)),
            Some(problem) => print::note(&format!("{}: {problem}", result.destination)),
        }
    }
}
