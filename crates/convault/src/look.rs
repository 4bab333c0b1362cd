//! Looks at what destinations hold and can do, so that metrics are right without a run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use convault_core::{
    Abilities, DeploymentName, DestinationName, DrillProof, JobName, Kind, Manifest, MirrorName, MirrorRun,
    MirrorVerdict, RunOutcome, RunRecord, Verb,
};
use convault_jobs::{Inventory, MirrorHistory, Survey};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    hub::Hub,
    task::{DrillTask, MirrorTask},
    worker::Worker,
};

/// How often destinations are looked at when no run does it.
const LOOK_EVERY: Duration = Duration::from_hours(1);

/// What a destination holds of a deployment.
pub(crate) struct Holding {
    pub(crate) inventory: Inventory,
    pub(crate) newest_good: Option<Timestamp>,
    /// How many snapshots there are, of whatever standing.
    pub(crate) snapshots: u64,
    /// The newest good snapshot of each job, as a run: another daemon may have made it, or the history was lost.
    pub(crate) newest_runs: BTreeMap<JobName, RunRecord>,
}

impl Holding {
    fn of(survey: &Survey) -> Self {
        Self {
            inventory: Inventory::of(survey),
            newest_good: survey.good().first().map(|snapshot| snapshot.manifest.snapshot_time()),
            snapshots: survey.known().manifests,
            newest_runs: newest_runs(survey),
        }
    }
}

fn newest_runs(survey: &Survey) -> BTreeMap<JobName, RunRecord> {
    let mut runs = BTreeMap::new();
    for snapshot in survey.good() {
        let manifest = &snapshot.manifest;
        if let Some(job) = &manifest.job {
            runs.entry(job.clone()).or_insert_with(|| run_of(job, manifest));
        }
    }
    runs
}

/// The run that made a snapshot, as far as the snapshot tells.
fn run_of(job: &JobName, manifest: &Manifest) -> RunRecord {
    let (due, started) = (manifest.due, manifest.started);
    RunRecord {
        scheduled: manifest.kind == Kind::Scheduled,
        finished: Some(manifest.verification.at),
        outcome: Some(RunOutcome::Good),
        message: "as its snapshot says".to_owned(),
        snapshot: Some(manifest.id.clone()),
        snapshot_time: Some(manifest.snapshot_time()),
        documents: manifest.totals.documents,
        files: manifest.totals.files,
        ..RunRecord::begun(&manifest.id, job, &manifest.deployment, Verb::Backup, due, started)
    }
}

/// Looks at every deployment in every destination it is stored in, at start and then every hour.
pub(crate) async fn look_at_holdings(worker: Arc<Worker>, hub: Arc<Hub>, stop: CancellationToken) {
    let jobs = worker.settings.jobs.iter();
    let places: BTreeSet<(&DestinationName, &DeploymentName)> =
        jobs.flat_map(|job| job.to.iter().map(|name| (name, &job.deployment))).collect();
    loop {
        for (destination, deployment) in &places {
            tokio::select! {
                () = stop.cancelled() => return,
                () = look(&worker, &hub, destination, deployment, false) => {}
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Looks at one deployment in one destination. `settled` is for a look after a run whose pruning went through.
pub(crate) async fn look(
    worker: &Worker,
    hub: &Hub,
    name: &DestinationName,
    deployment: &DeploymentName,
    settled: bool,
) {
    let Some(destination) = worker.destinations.get(name) else { return };
    let now = worker.clock.now();
    let seen = convault_jobs::survey(destination, deployment, &worker.dead_runs, now).await;
    let seen = seen.map(|survey| Holding::of(&survey)).map_err(|error| convault_jobs::chain(&error));
    hub.set_holding(name, deployment, seen, settled);
}

/// What a destination holds of a mirror.
pub(crate) struct MirrorHolding {
    /// The newest run after which it had everything of the source.
    pub(crate) newest: Option<MirrorRun>,
    /// The newest complete run.
    pub(crate) state: Option<MirrorRun>,
    /// The newest run, where it braked, and since when that goes on.
    pub(crate) braked: Option<(Timestamp, MirrorRun)>,
    /// States that can be restored.
    pub(crate) states: u64,
}

/// Looks at every mirror, at start and then every hour.
pub(crate) async fn look_at_mirrors(worker: Arc<Worker>, hub: Arc<Hub>, stop: CancellationToken) {
    loop {
        for task in &worker.mirrors {
            tokio::select! {
                () = stop.cancelled() => return,
                () = look_at_mirror(&hub, task) => {}
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Looks at what a destination holds of a mirror: its newest records, whichever daemon wrote them.
pub(crate) async fn look_at_mirror(hub: &Hub, task: &MirrorTask) {
    let (destination, name) = (&task.mirror.destination, &task.mirror.name);
    match mirror_holding(destination, name).await {
        Ok(holding) => hub.set_mirror_holding(&task.name, &holding),
        Err(error) => {
            let error = convault_jobs::chain(&error);
            tracing::warn!(mirror = %name, destination = %task.settings.to, "it could not be looked at: {error}");
        }
    }
}

async fn mirror_holding(
    destination: &convault_jobs::Destination,
    name: &MirrorName,
) -> Result<MirrorHolding, convault_jobs::JobError> {
    use MirrorVerdict::{Braked, Complete, Unchanged};
    let history = MirrorHistory::look(destination, name).await?;
    let braked_last = history.runs.last().is_some_and(|(_, verdict)| *verdict == Braked);
    let since = history.runs.iter().rev().take_while(|(_, verdict)| *verdict == Braked).last();
    let braked = match since.filter(|_| braked_last) {
        Some((run, _)) => {
            let newest = history.newest(destination, name, &[Braked]).await?;
            newest.map(|newest| (run.time(), newest))
        }
        None => None,
    };
    Ok(MirrorHolding {
        newest: history.newest(destination, name, &[Complete, Unchanged]).await?,
        state: history.newest(destination, name, &[Complete]).await?,
        braked,
        states: history.with(Complete).count() as u64,
    })
}

/// So many proofs of a drill are looked through for one that was passed.
const PROOFS_LOOKED_AT: usize = 20;

/// What drills have proven.
pub(crate) struct DrillHolding {
    /// The newest proof.
    pub(crate) newest: Option<DrillProof>,
    /// When the newest one ended that was passed.
    pub(crate) last_passed: Option<Timestamp>,
}

/// Looks at what drills have proven, at start and then every hour.
pub(crate) async fn look_at_drills(worker: Arc<Worker>, hub: Arc<Hub>, stop: CancellationToken) {
    loop {
        for task in &worker.drills {
            tokio::select! {
                () = stop.cancelled() => return,
                () = look_at_drill(&worker, &hub, task) => {}
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Looks at the newest proofs of a drill, wherever they are and whoever made them.
pub(crate) async fn look_at_drill(worker: &Worker, hub: &Hub, task: &DrillTask) {
    let (name, deployment) = (&task.settings.name, &task.settings.deployment);
    let mut proofs: Vec<DrillProof> = Vec::new();
    for destination in worker.destinations_named(&task.from) {
        match convault_jobs::newest_drills(&destination, deployment, name, PROOFS_LOOKED_AT).await {
            Ok(records) => proofs.extend(records.into_iter().map(|record| record.proof)),
            Err(error) => {
                let place = destination.store.destination();
                let error = convault_jobs::chain(&error);
                tracing::warn!(drill = %name, destination = %place, "its proofs could not be looked at: {error}");
            }
        }
    }
    let last_passed = proofs.iter().filter(|proof| proof.passed).map(|proof| proof.finished).max();
    let newest = proofs.into_iter().max_by_key(|proof| proof.finished);
    hub.set_drill_holding(&task.name, &DrillHolding { newest, last_passed });
}

/// Tries out once what each destination can do. One that does not answer is left for the next start.
pub(crate) async fn look_at_abilities(worker: Arc<Worker>, hub: Arc<Hub>, stop: CancellationToken) {
    for (name, destination) in &worker.destinations {
        let tried = async {
            match &worker.sharing {
                Some(sharing) if sharing.destination() == name => sharing.abilities().await.cloned(),
                _ => Ok(destination.store.abilities().await?),
            }
        };
        let tried = tokio::select! {
            () = stop.cancelled() => return,
            tried = tried => tried,
        };
        match tried {
            Ok(abilities) => {
                warn_of(name, &abilities, destination.object_lock.is_some());
                hub.set_abilities(name, abilities);
            }
            Err(error) => {
                tracing::warn!(destination = %name, "what it can do is not known: {}", convault_jobs::chain(&error));
            }
        }
    }
}

fn warn_of(name: &DestinationName, abilities: &Abilities, locks_wanted: bool) {
    if let Some(lock) = abilities.default_lock {
        tracing::warn!(
            destination = %name,
            days = lock.days,
            "the bucket locks every new object by default, also what belongs to no good snapshot: failed runs and \
             leftovers then stay that long; take the default off and set `object_lock` instead"
        );
    }
    if locks_wanted && abilities.locks != convault_core::Ability::Works {
        tracing::warn!(
            destination = %name,
            "the settings ask for `object_lock`, but the bucket was not made with Object Lock: nothing is locked there"
        );
    }
}
