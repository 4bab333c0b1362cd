//! What the daemon knows, as plain data: changed by what runs and looks report, read by whoever asks.

use std::collections::BTreeMap;

use convault_core::{
    DeploymentName, DestinationName, DestinationStatus, DrillStatus, DurationHistogram, HoldingStatus,
    JobName, JobStatus, MirrorStatus, RunId, RunOutcome, RunRecord, Verb, VerifyStatus, WatchStatus,
};
use convault_settings::JobSettings;
use jiff::Timestamp;

use super::{Wish, feed::Feed};
use crate::{
    look::{DrillHolding, Holding, MirrorHolding},
    task::{DrillTask, MirrorTask, VerifyTask, WatchTask},
    worker::Worker,
};

/// What the daemon knows.
pub(super) struct State {
    pub(super) not_ready: Vec<String>,
    pub(super) jobs: Vec<JobStatus>,
    pub(super) destinations: Vec<DestinationStatus>,
    pub(super) verifying: Vec<(JobName, VerifyStatus)>,
    pub(super) mirrors: Vec<(JobName, MirrorStatus)>,
    pub(super) watching: Vec<(JobName, WatchStatus)>,
    pub(super) drills: Vec<(JobName, DrillStatus)>,
    pub(super) feeds: BTreeMap<RunId, Feed>,
    /// The most snapshots seen since pruning last went through: fewer are a loss.
    known: BTreeMap<(DestinationName, DeploymentName), u64>,
}

impl State {
    pub(super) fn new(worker: &Worker, now: Timestamp) -> Self {
        let settings = &worker.settings;
        let destinations = settings.destinations.iter().filter_map(|named| {
            let location = worker.destinations.get(&named.name)?.store.location();
            Some(destination_status(&named.name, location))
        });
        Self {
            not_ready: vec!["starting".to_owned()],
            jobs: settings.jobs.iter().map(|job| job_status(job, now)).collect(),
            destinations: destinations.collect(),
            verifying: worker.tasks.iter().map(|task| (task.name.clone(), verify_status(task))).collect(),
            mirrors: worker
                .mirrors
                .iter()
                .map(|task| (task.name.clone(), mirror_status(task, now)))
                .collect(),
            watching: worker
                .watches
                .iter()
                .map(|task| (task.name.clone(), watch_status(task, now)))
                .collect(),
            drills: worker.drills.iter().map(|task| (task.name.clone(), drill_status(task))).collect(),
            feeds: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }

    /// Every job and every task.
    pub(super) fn names(&self) -> Vec<JobName> {
        let jobs = self.jobs.iter().map(|job| &job.job);
        let tasks = self.verifying.iter().map(|(name, _)| name);
        let mirrors = self.mirrors.iter().map(|(name, _)| name);
        let watches = self.watching.iter().map(|(name, _)| name);
        let drills = self.drills.iter().map(|(name, _)| name);
        jobs.chain(tasks).chain(mirrors).chain(watches).chain(drills).cloned().collect()
    }

    pub(super) fn mirror_mut(&mut self, name: &JobName) -> Option<&mut MirrorStatus> {
        self.mirrors.iter_mut().find(|(task, _)| task == name).map(|(_, status)| status)
    }

    pub(super) fn drill_mut(&mut self, name: &JobName) -> Option<&mut DrillStatus> {
        self.drills.iter_mut().find(|(task, _)| task == name).map(|(_, status)| status)
    }

    pub(super) fn job_mut(&mut self, name: &JobName) -> Option<&mut JobStatus> {
        self.jobs.iter_mut().find(|status| status.job == *name)
    }

    pub(super) fn destination_mut(&mut self, name: &DestinationName) -> Option<&mut DestinationStatus> {
        self.destinations.iter_mut().find(|status| status.destination == *name)
    }

    fn holding_mut(
        &mut self,
        destination: &DestinationName,
        deployment: &DeploymentName,
    ) -> Option<&mut HoldingStatus> {
        Some(self.destination_mut(destination)?.holdings.entry(deployment.clone()).or_default())
    }

    /// Takes over what the history says of a job or a verify task. `runs` are the newest first.
    pub(super) fn remember(&mut self, name: &JobName, runs: Vec<RunRecord>, success: Option<RunRecord>) {
        if let Some(mirror) = self.mirror_mut(name) {
            mirror.last_attempt = runs.into_iter().find(|run| run.outcome.is_some());
            mirror.last_success = success.and_then(|run| run.finished);
            return;
        }
        if let Some(drill) = self.drill_mut(name) {
            let passed = runs.iter().filter(|run| run.outcome == Some(RunOutcome::Good));
            drill.last_passed = passed.filter_map(|run| run.finished).max();
            drill.last_attempt = runs.into_iter().find(|run| run.outcome.is_some());
            return;
        }
        if let Some((_, watch)) = self.watching.iter_mut().find(|(task, _)| task == name) {
            runs.iter().rev().filter(|run| run.outcome.is_some()).for_each(|run| looked(watch, run));
            watch.last_success = success.and_then(|run| run.finished).max(watch.last_success);
            return;
        }
        let verb = if name.is_task() { Verb::Verify } else { Verb::Backup };
        let good = |run: &&RunRecord| run.verb == Verb::Verify && run.outcome == Some(RunOutcome::Good);
        let verified = runs.iter().find(good).and_then(|run| run.finished);
        let last = runs.into_iter().find(|run| run.outcome.is_some() && run.verb == verb);
        if let Some(job) = self.job_mut(name) {
            job.last_attempt = last;
            job.last_success = success;
        } else if let Some((_, task)) = self.verifying.iter_mut().find(|(task, _)| task == name) {
            task.last_attempt = last;
            let (destination, deployment) = (task.destination.clone(), task.deployment.clone());
            if let Some(holding) = self.holding_mut(&destination, &deployment) {
                holding.last_verified = verified;
            }
        }
    }

    /// The record of a wish that never became a run.
    pub(super) fn never_begun(
        &self,
        job: &JobName,
        wish: &Wish,
        why: &str,
        now: Timestamp,
    ) -> Option<RunRecord> {
        let of_job = self.jobs.iter().find(|status| status.job == *job).map(|status| &status.deployment);
        let of_task = self.verifying.iter().find(|(task, _)| task == job).map(|(_, task)| &task.deployment);
        let of_mirror = job.as_mirror().map(|mirror| mirror.protected());
        let of_watch = self.watching.iter().find(|(task, _)| task == job).map(|(_, task)| &task.deployment);
        let of_drill = self.drills.iter().find(|(task, _)| task == job).map(|(_, task)| &task.deployment);
        let deployment = of_job.or(of_task).or(of_watch).or(of_drill).cloned().or(of_mirror)?;
        let begun = RunRecord::begun(&wish.id, job, &deployment, wish.request.verb, None, now);
        Some(RunRecord {
            finished: Some(now),
            outcome: Some(RunOutcome::Cancelled),
            message: why.to_owned(),
            retryable: true,
            ..begun
        })
    }

    /// A run has ended.
    pub(super) fn end(&mut self, record: &RunRecord) {
        if let Some(feed) = self.feeds.get_mut(&record.id) {
            feed.cancel = None;
            if !feed.finished {
                feed.add(convault_core::RunEvent::Finished { record: Box::new(record.clone()) });
            }
        }
        if let Some(job) = self.job_mut(&record.job) {
            job.running = None;
            if record.verb == Verb::Backup {
                count(job, record);
            }
        }
        match record.verb {
            Verb::Backup | Verb::Prune => self.used(record),
            Verb::Verify => self.verified(record),
            Verb::Mirror => self.mirrored(record),
            Verb::Drill => self.drilled(record),
            Verb::Watch => {
                if let Some((_, watch)) = self.watching.iter_mut().find(|(name, _)| *name == record.job) {
                    looked(watch, record);
                }
            }
            Verb::Repair | Verb::Restore => {}
        }
    }

    fn drilled(&mut self, record: &RunRecord) {
        let Some(drill) = self.drill_mut(&record.job) else { return };
        drill.running = None;
        drill.last_attempt = Some(record.clone());
        if record.outcome == Some(RunOutcome::Good) {
            drill.last_passed = record.finished;
        }
    }

    fn mirrored(&mut self, record: &RunRecord) {
        for result in &record.destinations {
            if let Some(status) = self.destination_mut(&result.destination) {
                (status.up, status.problem, status.checked) = (Some(true), None, record.finished);
            }
        }
        let Some(mirror) = self.mirror_mut(&record.job) else { return };
        mirror.running = None;
        mirror.last_attempt = Some(record.clone());
        if record.outcome == Some(RunOutcome::Good) {
            mirror.last_success = record.finished;
        }
        if went_through(record) {
            mirror.held_back = held_back(record, &mirror.destination);
        }
    }

    /// What a run that wrote or deleted says of the destinations it used.
    fn used(&mut self, record: &RunRecord) {
        for result in &record.destinations {
            if let Some(status) = self.destination_mut(&result.destination) {
                status.up = Some(result.problem.is_none());
                status.problem.clone_from(&result.problem);
                status.checked = record.finished;
            }
        }
        if !went_through(record) {
            return;
        }
        let job = self.jobs.iter().find(|status| status.job == record.job);
        let destinations = job.map(|job| job.destinations.clone()).unwrap_or_default();
        for name in destinations.iter().filter(|name| !failed_in(record, name)) {
            if let Some(holding) = self.holding_mut(name, &record.deployment) {
                holding.held_back = held_back(record, name);
            }
        }
    }

    fn verified(&mut self, record: &RunRecord) {
        let Some((_, task)) = self.verifying.iter_mut().find(|(name, _)| *name == record.job) else { return };
        task.last_attempt = Some(record.clone());
        let destination = task.destination.clone();
        if record.outcome == Some(RunOutcome::Good)
            && let Some(holding) = self.holding_mut(&destination, &record.deployment)
        {
            holding.last_verified = record.finished;
        }
    }

    pub(super) fn set_holding(
        &mut self,
        destination: &DestinationName,
        deployment: &DeploymentName,
        seen: Result<Holding, String>,
        settled: bool,
        now: Timestamp,
    ) {
        let Some(status) = self.destination_mut(destination) else { return };
        status.checked = Some(now);
        status.up = Some(seen.is_ok());
        let seen = match seen {
            Ok(seen) => seen,
            Err(problem) => {
                status.problem = Some(problem);
                return;
            }
        };
        status.problem = None;
        let holding = status.holdings.entry(deployment.clone()).or_default();
        holding.states =
            seen.inventory.states.iter().map(|(state, count)| ((*state).to_owned(), *count)).collect();
        holding.stored_bytes = seen.inventory.stored_bytes;
        holding.newest_good = seen.newest_good;
        holding.frozen_since = seen.inventory.frozen_since;
        holding.oldest_read = seen.inventory.oldest_read;
        if !seen.inventory.is_alarming() {
            // Another daemon may have looked; what it found wrong would be alarming here as well.
            holding.last_verified = holding.last_verified.max(seen.inventory.newest_proof);
        }
        let known = self.known.entry((destination.clone(), deployment.clone())).or_default();
        *known = if settled { seen.snapshots } else { seen.snapshots.max(*known) };
        for (name, run) in seen.newest_runs {
            self.learn(&name, run);
        }
    }

    /// A snapshot shows a run that this daemon's history does not have.
    fn learn(&mut self, name: &JobName, run: RunRecord) {
        let Some(job) = self.jobs.iter_mut().find(|job| job.job == *name) else { return };
        let is_newer = |known: &Option<RunRecord>| {
            known.as_ref().is_none_or(|known| known.id != run.id && known.finished < run.finished)
        };
        if is_newer(&job.last_attempt) {
            job.last_attempt = Some(run.clone());
        }
        if is_newer(&job.last_success) {
            job.last_success = Some(run);
        }
    }

    /// How many snapshots of a deployment are known to be in each destination.
    pub(super) fn known_of(&self, deployment: &DeploymentName) -> BTreeMap<DestinationName, u64> {
        let of_it = self.known.iter().filter(|((_, known_deployment), _)| known_deployment == deployment);
        of_it.map(|((destination, _), number)| (destination.clone(), *number)).collect()
    }
}

/// Whether a run got as far as retention.
pub(crate) fn went_through(record: &RunRecord) -> bool {
    matches!(record.outcome, Some(RunOutcome::Good | RunOutcome::Partial | RunOutcome::Suspect))
}

/// Whether a run failed in that destination.
pub(crate) fn failed_in(record: &RunRecord, name: &DestinationName) -> bool {
    record.destinations.iter().any(|result| result.destination == *name && result.problem.is_some())
}

/// Why the run did not remove from that destination what it should have. A run's warnings about a destination begin with
/// its name; those about single folders are no reason.
pub(crate) fn held_back(record: &RunRecord, name: &DestinationName) -> Vec<String> {
    let prefix = format!("{name}: ");
    let about_it = record.warnings.iter().filter_map(|warning| warning.strip_prefix(&prefix));
    about_it.filter(|text| !text.ends_with("`convault list` shows more")).map(str::to_owned).collect()
}

fn destination_status(name: &DestinationName, location: String) -> DestinationStatus {
    DestinationStatus {
        destination: name.clone(),
        location,
        up: None,
        problem: None,
        checked: None,
        abilities: None,
        holdings: BTreeMap::new(),
    }
}

fn mirror_status(task: &MirrorTask, now: Timestamp) -> MirrorStatus {
    let schedule = task.settings.schedule.as_ref();
    MirrorStatus {
        mirror: task.mirror.name.clone(),
        from: task.mirror.source.location(),
        destination: task.settings.to.clone(),
        schedule: schedule.map(|schedule| schedule.expression().to_owned()),
        next_due: None,
        expected_interval_seconds: schedule.and_then(|schedule| schedule.expected_interval_seconds(now)),
        running: None,
        last_attempt: None,
        last_success: None,
        objects: 0,
        bytes: 0,
        states: 0,
        braked_since: None,
        braked_why: None,
        held_back: Vec::new(),
    }
}

/// What was seen of a mirror in its destination: another daemon may have brought it up to date.
pub(super) fn set_mirror_holding(status: &mut MirrorStatus, seen: &MirrorHolding) {
    let good = seen.newest.as_ref().filter(|run| run.tally.failed == 0).map(|run| run.finished);
    status.last_success = status.last_success.max(good);
    let listing = seen.state.as_ref().and_then(|run| run.listing);
    status.objects = listing.map_or(0, |listing| listing.entries);
    status.bytes = listing.map_or(0, |listing| listing.bytes);
    status.states = seen.states;
    status.braked_since = seen.braked.as_ref().map(|(since, _)| *since);
    status.braked_why = seen.braked.as_ref().and_then(|(_, run)| run.why.clone());
}

fn drill_status(task: &DrillTask) -> DrillStatus {
    let settings = &task.settings;
    DrillStatus {
        drill: settings.name.clone(),
        deployment: settings.deployment.clone(),
        schedule: settings.schedule.as_ref().map(|schedule| schedule.expression().to_owned()),
        next_due: None,
        max_age_seconds: settings.max_age.map(|age| age.as_secs_f64()),
        running: None,
        last_attempt: None,
        last_passed: None,
        restore_seconds: None,
        data_age_seconds: None,
        phases: BTreeMap::new(),
        failures: 0,
    }
}

/// What drills have proven: another daemon may have made them, or the history was lost.
pub(super) fn set_drill_holding(status: &mut DrillStatus, seen: &DrillHolding) {
    status.last_passed = status.last_passed.max(seen.last_passed);
    let Some(newest) = &seen.newest else { return };
    status.restore_seconds = newest.restore_seconds;
    status.data_age_seconds = Some(newest.data_age_seconds);
    status.phases = newest.phases.iter().map(|time| (time.phase.as_str().to_owned(), time.seconds)).collect();
    status.failures = newest.failures.len() as u64 + newest.failures_unlisted;
}

fn watch_status(task: &WatchTask, now: Timestamp) -> WatchStatus {
    WatchStatus {
        job: task.job.name.clone(),
        deployment: task.job.deployment.clone(),
        schedule: task.schedule.expression().to_owned(),
        next_due: None,
        expected_interval_seconds: task.schedule.expected_interval_seconds(now),
        last_attempt: None,
        last_success: None,
        secrets: 0,
        changed: None,
    }
}

/// What a look at secrets has shown.
fn looked(watch: &mut WatchStatus, record: &RunRecord) {
    if record.outcome == Some(RunOutcome::Good) {
        watch.last_success = record.finished;
        watch.secrets = record.documents;
    }
    watch.changed = watch.changed.max(record.snapshot_time);
    watch.last_attempt = Some(record.clone());
}

fn verify_status(task: &VerifyTask) -> VerifyStatus {
    VerifyStatus {
        destination: task.destination.clone(),
        deployment: task.deployment.clone(),
        schedule: task.settings.schedule.expression().to_owned(),
        next_due: None,
        read_all_within_seconds: task.settings.read_all_within.as_secs_f64(),
        last_attempt: None,
    }
}

fn job_status(job: &JobSettings, now: Timestamp) -> JobStatus {
    let schedule = job.schedule.as_ref();
    JobStatus {
        job: job.name.clone(),
        deployment: job.deployment.clone(),
        destinations: job.to.clone(),
        schedule: schedule.map(|schedule| schedule.expression().to_owned()),
        time_zone: schedule.map_or_else(|| "UTC".to_owned(), |schedule| schedule.time_zone_name().to_owned()),
        next_due: None,
        expected_interval_seconds: schedule.and_then(|schedule| schedule.expected_interval_seconds(now)),
        running: None,
        last_attempt: None,
        last_success: None,
        runs: RunOutcome::ALL.iter().map(|outcome| (outcome.as_str().to_owned(), 0)).collect(),
        retries: 0,
        read_bytes: 0,
        stored_bytes: 0,
        durations: DurationHistogram::default(),
    }
}

fn count(job: &mut JobStatus, record: &RunRecord) {
    let Some(outcome) = record.outcome else { return };
    *job.runs.entry(outcome.as_str().to_owned()).or_default() += 1;
    job.read_bytes += record.read_bytes;
    job.stored_bytes += record.stored_bytes();
    if let Some(seconds) = record.elapsed_seconds() {
        job.durations.observe(seconds);
    }
    if matches!(outcome, RunOutcome::Good | RunOutcome::Partial) {
        job.last_success = Some(record.clone());
    }
    job.last_attempt = Some(record.clone());
}
