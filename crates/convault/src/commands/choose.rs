//! Which destinations, deployments and snapshots a verb is about.

use std::sync::Arc;

use convault_core::{Clock as _, DeploymentName, DestinationName, SnapshotId, Standing, SystemClock};
use convault_jobs::{AsOf, Destination, Folder, FolderState, JobError, Snapshot};
use convault_settings::Settings;
use jiff::Timestamp;

use crate::{
    arguments::{One, Which},
    exit::{Exit, ExitWith},
    print,
};

/// The destinations a verb looks into: one, or all; as they are, or as they were at a time.
pub(crate) fn chosen_destinations(
    settings: &Settings,
    only: Option<&DestinationName>,
    as_of: Option<Timestamp>,
) -> anyhow::Result<Vec<Destination>> {
    let mut all = crate::wiring::destinations(settings)?;
    let chosen: Vec<Destination> = match only {
        Some(name) => vec![all.remove(name).ok_or_else(|| {
            ExitWith(Exit::NotFound, format!("the settings have no destination named {name}"))
        })?],
        None => settings.destinations.iter().filter_map(|named| all.remove(&named.name)).collect(),
    };
    let then = |destination: Destination| match as_of {
        Some(time) => destination.over(Arc::new(AsOf::new(Arc::clone(&destination.store), time))),
        None => destination,
    };
    Ok(chosen.into_iter().map(then).collect())
}

/// The deployments a verb looks at: one, or all. One that the settings no longer name may still have snapshots.
pub(crate) fn chosen_deployments(settings: &Settings, only: Option<&DeploymentName>) -> Vec<DeploymentName> {
    match only {
        Some(name) => vec![name.clone()],
        None => settings.deployments.iter().map(|deployment| deployment.name.clone()).collect(),
    }
}

/// A snapshot folder, and where it was found.
pub(crate) struct Found {
    pub(crate) destination: Destination,
    pub(crate) deployment: DeploymentName,
    pub(crate) folder: Folder,
}

impl Found {
    /// The snapshot; an error that says what the folder is instead.
    pub(crate) fn snapshot(&self) -> anyhow::Result<&Snapshot> {
        let place = || format!("{} {}", self.destination.store.location(), self.folder.id);
        Err(match &self.folder.state {
            FolderState::Snapshot(snapshot) => return Ok(snapshot),
            FolderState::Unreadable(what) => JobError::Damaged { place: place(), what: what.clone() }.into(),
            FolderState::Untrusted(what) => JobError::Untrusted { place: place(), what: what.clone() }.into(),
            FolderState::Headless => JobError::Damaged {
                place: place(),
                what: "its manifest is missing; `convault repair` makes it again".to_owned(),
            }
            .into(),
            _ => JobError::NoSuchSnapshot {
                id: self.folder.id.clone(),
                deployment: self.deployment.to_string(),
                destination: self.destination.store.destination().to_string(),
            }
            .into(),
        })
    }

    /// The sounder, and of equally sound ones the newer, is what is meant.
    pub(crate) fn rank(&self) -> (u8, i64) {
        match self.folder.snapshot() {
            Some(snapshot) => {
                let sound = match snapshot.judgement.standing {
                    Standing::Good => 4,
                    Standing::Suspect => 3,
                    Standing::Damaged => 2,
                };
                (sound, snapshot.manifest.snapshot_ts_ns)
            }
            None => (u8::from(self.folder.state.is_alarming()), 0),
        }
    }
}

/// Finds what is meant: by its id in the destination that has it best, or the newest good snapshot.
pub(crate) async fn find_folder(settings: &Settings, one: &One) -> anyhow::Result<Found> {
    let deployments = chosen_deployments(settings, one.deployment.as_ref());
    if one.snapshot == Which::Latest && deployments.len() > 1 {
        let text =
            "there are several deployments: say whose latest snapshot is meant, with --deployment NAME";
        return Err(ExitWith(Exit::Failed, text.to_owned()).into());
    }
    let mut best: Option<Found> = None;
    let mut failure = None;
    for destination in chosen_destinations(settings, one.destination.as_ref(), one.as_of.bucket_as_of)? {
        for deployment in &deployments {
            match find_in(&destination, deployment, &one.snapshot).await {
                Ok(Some(folder)) => {
                    let deployment = deployment.clone();
                    let found = Found { destination: destination.clone(), deployment, folder };
                    if best.as_ref().is_none_or(|best| found.rank() > best.rank()) {
                        best = Some(found);
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    print::note(&format!("warning: {}", convault_jobs::chain(&error)));
                    failure = Some(error);
                }
            }
        }
    }
    match (best, failure) {
        (Some(found), _) => Ok(found),
        (None, Some(error)) => Err(error.into()),
        (None, None) => Err(no_snapshot(&deployments, one)),
    }
}

async fn find_in(
    destination: &Destination,
    deployment: &DeploymentName,
    which: &Which,
) -> Result<Option<Folder>, JobError> {
    let survey = convault_jobs::survey(destination, deployment, &[], SystemClock.now()).await?;
    let id: SnapshotId = match which {
        Which::Id(id) => id.clone(),
        Which::Latest => match survey.good().first() {
            Some(newest) => newest.manifest.id.clone(),
            None => return Ok(None),
        },
    };
    Ok(survey.folders.into_iter().find(|folder| folder.id == id))
}

fn no_snapshot(deployments: &[DeploymentName], one: &One) -> anyhow::Error {
    let names: Vec<&str> = deployments.iter().map(DeploymentName::as_str).collect();
    let deployment = names.join(", ");
    let destination = one.destination.as_ref().map_or("any destination".to_owned(), ToString::to_string);
    match &one.snapshot {
        Which::Id(id) => JobError::NoSuchSnapshot { id: id.clone(), deployment, destination }.into(),
        Which::Latest => {
            let text = format!("there is no good snapshot of {deployment} in {destination}");
            ExitWith(Exit::NotFound, text).into()
        }
    }
}
