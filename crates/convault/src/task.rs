//! What runs: a job of the settings, or a task of the daemon's own: verifying one deployment in one destination, bringing
//! a mirror up to date, looking at a job's secrets, or a drill.

use std::{collections::BTreeMap, time::Duration};

use convault_core::{DeploymentName, DestinationName, JobName, Schedule, StartRequest, Verb};
use convault_jobs::Mirror;
use convault_scheduler::Cancel;
use convault_settings::{DrillSettings, JobSettings, MirrorSettings, Settings, VerifySettings};
use jiff::Timestamp;

/// The verifying of one deployment in one destination.
#[derive(Debug, Clone)]
pub(crate) struct VerifyTask {
    pub(crate) name: JobName,
    pub(crate) destination: DestinationName,
    pub(crate) deployment: DeploymentName,
    pub(crate) settings: VerifySettings,
    /// As long as the longest of the jobs that store there may take.
    pub(crate) time_out: Duration,
}

/// The verify tasks of the settings: for each destination that is verified, one for each deployment stored there.
pub(crate) fn verify_tasks(settings: &Settings) -> Vec<VerifyTask> {
    let mut tasks = Vec::new();
    for destination in &settings.destinations {
        let Some(verify) = &destination.verify else { continue };
        let mut limits: BTreeMap<&DeploymentName, Duration> = BTreeMap::new();
        for job in settings.jobs.iter().filter(|job| job.to.contains(&destination.name)) {
            let limit = limits.entry(&job.deployment).or_default();
            *limit = job.time_out.max(*limit);
        }
        tasks.extend(limits.into_iter().map(|(deployment, time_out)| VerifyTask {
            name: JobName::verify(&destination.name, deployment),
            destination: destination.name.clone(),
            deployment: deployment.clone(),
            settings: verify.clone(),
            time_out,
        }));
    }
    tasks
}

/// The mirroring of one source.
#[derive(Debug, Clone)]
pub(crate) struct MirrorTask {
    pub(crate) name: JobName,
    /// What leases and the history file it under.
    pub(crate) protected: DeploymentName,
    pub(crate) mirror: Mirror,
    pub(crate) settings: MirrorSettings,
}

impl MirrorTask {
    pub(crate) fn new(mirror: Mirror, settings: &MirrorSettings) -> Self {
        let (name, protected) = (JobName::mirror(&mirror.name), mirror.name.protected());
        Self { name, protected, mirror, settings: settings.clone() }
    }
}

/// Looking whether the secrets of a job's deployment changed.
#[derive(Debug, Clone)]
pub(crate) struct WatchTask {
    pub(crate) name: JobName,
    pub(crate) schedule: Schedule,
    pub(crate) job: JobSettings,
}

/// The looks at secrets of the settings.
pub(crate) fn watch_tasks(settings: &Settings) -> Vec<WatchTask> {
    let task = |job: &JobSettings| {
        let (name, schedule) = (JobName::watch(&job.name), job.watch.clone()?);
        Some(WatchTask { name, schedule, job: job.clone() })
    };
    settings.jobs.iter().filter_map(task).collect()
}

/// A drill.
#[derive(Debug, Clone)]
pub(crate) struct DrillTask {
    pub(crate) name: JobName,
    pub(crate) settings: DrillSettings,
    /// The destinations that hold snapshots of its deployment: the one of the settings, or all.
    pub(crate) from: Vec<DestinationName>,
}

/// The drills of the settings.
pub(crate) fn drill_tasks(settings: &Settings) -> Vec<DrillTask> {
    let task = |drill: &DrillSettings| DrillTask {
        name: JobName::drill(&drill.name),
        settings: drill.clone(),
        from: match &drill.from {
            Some(from) => vec![from.clone()],
            None => settings.destinations.iter().map(|destination| destination.name.clone()).collect(),
        },
    };
    settings.drills.iter().map(task).collect()
}

/// What runs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Task<'a> {
    Job(&'a JobSettings),
    Verify(&'a VerifyTask),
    Mirror(&'a MirrorTask),
    Watch(&'a WatchTask),
    Drill(&'a DrillTask),
}

impl<'a> Task<'a> {
    pub(crate) fn name(self) -> &'a JobName {
        match self {
            Self::Job(job) => &job.name,
            Self::Verify(task) => &task.name,
            Self::Mirror(task) => &task.name,
            Self::Watch(task) => &task.name,
            Self::Drill(task) => &task.name,
        }
    }

    /// What it works on; of a mirror the name that stands for it.
    pub(crate) fn deployment(self) -> &'a DeploymentName {
        match self {
            Self::Job(job) => &job.deployment,
            Self::Verify(task) => &task.deployment,
            Self::Mirror(task) => &task.protected,
            Self::Watch(task) => &task.job.deployment,
            Self::Drill(task) => &task.settings.deployment,
        }
    }

    /// The destinations it uses, in order.
    pub(crate) fn destinations(self) -> &'a [DestinationName] {
        match self {
            Self::Job(job) => &job.to,
            Self::Verify(task) => std::slice::from_ref(&task.destination),
            Self::Mirror(task) => std::slice::from_ref(&task.settings.to),
            Self::Watch(task) => &task.job.to,
            Self::Drill(task) => &task.from,
        }
    }

    /// What it does when it is due.
    pub(crate) fn verb(self) -> Verb {
        match self {
            Self::Job(_) => Verb::Backup,
            Self::Verify(_) => Verb::Verify,
            Self::Mirror(_) => Verb::Mirror,
            Self::Watch(_) => Verb::Watch,
            Self::Drill(_) => Verb::Drill,
        }
    }

    /// How long it may take.
    pub(crate) fn time_out(self) -> Duration {
        match self {
            Self::Job(job) => job.time_out,
            Self::Verify(task) => task.time_out,
            Self::Mirror(task) => task.settings.time_out,
            Self::Watch(task) => task.job.time_out,
            Self::Drill(task) => task.settings.time_out,
        }
    }
}

/// One run to be made.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    pub(crate) task: Task<'a>,
    pub(crate) request: StartRequest,
    /// The time it was due, for a scheduled run.
    pub(crate) due: Option<Timestamp>,
    /// How many snapshots are known to be in each destination.
    pub(crate) known: BTreeMap<DestinationName, u64>,
    /// The scheduler's wish that it stops, where a scheduler runs it.
    pub(crate) cancel: Option<Cancel>,
}
