//! `convault repair`: makes whole what is damaged or lost its manifest.

use convault_core::{JobName, RunOutcome, RunRecord, SnapshotId, StartRequest, Verb};

use super::{
    Surroundings,
    act::{act, jobs},
    backup::{exit_of, report},
};
use crate::{
    arguments::{JobOrId, Repair},
    exit::{Exit, ExitWith},
};

pub(crate) async fn repair(surroundings: &Surroundings, repair: Repair) -> anyhow::Result<Exit> {
    let (job, id) = match repair.what {
        Some(JobOrId::Job(job)) => (Some(job), repair.snapshot),
        Some(JobOrId::Id(id)) => (None, Some(id)),
        None => (None, None),
    };
    let names = match job {
        Some(job) => vec![job],
        None => one_for_each(surroundings, repair.deployment.as_ref()).await?,
    };
    let mut exit = Exit::Done;
    for name in names {
        let ended = repair_by(surroundings, name, id.clone()).await?;
        if exit == Exit::Done || ended == Exit::Stopped {
            exit = ended;
        }
        if ended == Exit::Stopped {
            break;
        }
    }
    Ok(exit)
}

async fn repair_by(
    surroundings: &Surroundings,
    job: JobName,
    id: Option<SnapshotId>,
) -> anyhow::Result<Exit> {
    let request = StartRequest { snapshot: id, ..StartRequest::new(job, Verb::Repair) };
    let record = act(surroundings, request).await?;
    report(surroundings, &record);
    Ok(exit_code(&record))
}

/// What is not whole is damage, unless another try may do it.
fn exit_code(record: &RunRecord) -> Exit {
    match record.outcome {
        Some(RunOutcome::Partial) => Exit::Damaged,
        Some(RunOutcome::Failed) if !record.retryable => Exit::Damaged,
        _ => exit_of(record),
    }
}

/// Jobs that together store everything of each deployment: a job repairs what its own destinations hold.
async fn one_for_each(
    surroundings: &Surroundings,
    deployment: Option<&convault_core::DeploymentName>,
) -> anyhow::Result<Vec<JobName>> {
    let mut covered = Vec::new();
    let mut names = Vec::new();
    for job in jobs(surroundings).await? {
        if deployment.is_some_and(|name| *name != job.deployment) {
            continue;
        }
        let places = job.destinations.into_iter().map(|destination| (job.deployment.clone(), destination));
        let new: Vec<_> = places.filter(|place| !covered.contains(place)).collect();
        if !new.is_empty() {
            covered.extend(new);
            names.push(job.name);
        }
    }
    if names.is_empty() {
        let text = "no job stores such a deployment anywhere".to_owned();
        return Err(ExitWith(Exit::NotFound, text).into());
    }
    Ok(names)
}
