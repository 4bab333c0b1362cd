//! Places where snapshots are stored, and daemons that store them there.

use std::{sync::Arc, time::Duration};

use convault_core::{
    AnomalyLimits, DeploymentName, DestinationName, Holder, JobName, Keep, Kind, Layout, Mark, RunId,
    RunOutcome, RunRecord, Store, Tier,
};
use convault_jobs::{
    BackupJob, Coordinated, Destination, DueTime, JobError, LEAST_UPLOAD_MEMORY_BYTES, Leases, MarkRequest,
    PruneRules, Pruned, RepairReport, RepairRules, RunContext, Trust, VerifyDepth, VerifyReport, backup,
    chain, coordinate, mark, record_proofs, repair, retain, verify,
};
use convault_uploader::MemoryStore;
use jiff::{Timestamp, tz::TimeZone};
use tokio_util::sync::CancellationToken;

use crate::{
    job::job,
    process::{LeaseAt, Line, Process},
    source::FakeSource,
    time::{DaemonClock, Time},
};

/// How often a daemon looks whether it can have the lease.
const LOOKS: u32 = 12;

pub(crate) fn crm() -> DeploymentName {
    DeploymentName::new("crm").unwrap()
}

pub(crate) fn nightly() -> JobName {
    JobName::new("nightly").unwrap()
}

/// A place where snapshots are stored.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Reached without any fault.
    pub(crate) raw: Arc<dyn Store>,
    /// The same, where it is in memory.
    pub(crate) memory: Option<MemoryStore>,
    pub(crate) trust: Trust,
    pub(crate) accept: Option<Vec<Tier>>,
}

impl Place {
    pub(crate) fn in_memory(store: MemoryStore, trust: &Trust) -> Self {
        let raw = Arc::new(store.clone());
        Self { raw, memory: Some(store), trust: trust.clone(), accept: None }
    }

    pub(crate) fn name(&self) -> &DestinationName {
        self.raw.destination()
    }

    /// The place as a verb is handed it, reached by this store.
    pub(crate) fn over(&self, store: Arc<dyn Store>) -> Destination {
        let plain = Destination::plain(store);
        Destination { trust: self.trust.clone(), accept: self.accept.clone(), ..plain }
    }

    pub(crate) fn destination(&self) -> Destination {
        self.over(Arc::clone(&self.raw))
    }
}

/// How long things take: much, where time is paused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) lease: Duration,
    pub(crate) late: Duration,
    pub(crate) stall_limit: Duration,
}

impl Pace {
    pub(crate) const PAUSED: Self = Self {
        lease: Duration::from_mins(3),
        late: Duration::from_mins(2),
        stall_limit: Duration::from_mins(1),
    };
}

/// What became of a verb.
#[derive(Debug)]
pub(crate) enum Told<T> {
    /// It took place.
    Ran(T),
    /// It lost its lease meanwhile.
    Lost(Option<T>),
    /// The due time was done already.
    Done,
    /// Another daemon held the lease all the time.
    Elsewhere,
    /// The lease could not be taken.
    Refused(String),
    /// The daemon died.
    Died,
}

/// One daemon between its start and its death.
#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    pub(crate) clock: DaemonClock,
    pub(crate) process: Arc<Process>,
    pub(crate) destinations: Vec<Destination>,
    /// Runs that an earlier life left without an outcome.
    pub(crate) dead_runs: Vec<RunId>,
    leases: Option<Leases>,
    pace: Pace,
}

impl Daemon {
    /// Starts a daemon. With `coordinated`, it takes leases in the first place.
    pub(crate) fn start(
        instance: &str,
        places: &[Place],
        clock: &DaemonClock,
        coordinated: bool,
        pace: Pace,
    ) -> Self {
        let process = Process::new(pace.late);
        let lease = coordinated
            .then(|| LeaseAt { store: Arc::clone(&places[0].raw), key: Layout::new(crm()).lease() });
        let line = |place: &Place| Line::new(Arc::clone(&place.raw), &process, lease.clone());
        let destinations: Vec<Destination> = places.iter().map(|place| place.over(line(place))).collect();
        let holder = Holder { instance: instance.to_owned(), host: "here".to_owned() };
        let leases = coordinated.then(|| {
            Leases::new(Arc::clone(&destinations[0].store), holder, pace.lease, Arc::new(clock.clone()))
        });
        let clock = clock.clone();
        Self { clock, process, destinations, dead_runs: Vec::new(), leases, pace }
    }

    /// A daemon alone with these places, its clock right.
    pub(crate) fn alone(places: &[Place], time: &Arc<Time>) -> Self {
        Self::start("alone", places, &DaemonClock::new(time), false, Pace::PAUSED)
    }

    fn context(&self, id: &RunId) -> RunContext {
        let clock = Arc::new(self.clock.clone());
        let mut context = RunContext::new(id.clone(), clock, CancellationToken::new(), Arc::new(|_| {}));
        context.download_pause = Duration::from_millis(10);
        context
    }

    /// Does `work` as the run `id`, under a lease where there are leases.
    async fn perform<T>(
        &self,
        wanted: Option<(&JobName, Timestamp)>,
        id: &RunId,
        work: impl AsyncFn(RunContext) -> (T, DueTime),
    ) -> Told<T> {
        tokio::select! {
            biased;
            told = self.coordinated(wanted, id, work) => told,
            () = self.process.died() => Told::Died,
        }
    }

    async fn coordinated<T>(
        &self,
        wanted: Option<(&JobName, Timestamp)>,
        id: &RunId,
        work: impl AsyncFn(RunContext) -> (T, DueTime),
    ) -> Told<T> {
        let context = self.context(id);
        let Some(leases) = &self.leases else { return Told::Ran(work(context).await.0) };
        for _ in 0..LOOKS {
            let under = |held: Arc<convault_jobs::HeldLease>| {
                self.process.hold(held.fence());
                work(context.clone().under(held))
            };
            match coordinate(leases, &crm(), wanted, &context.stop, under).await {
                Ok(Coordinated::Ran(result)) => return Told::Ran(result),
                Ok(Coordinated::Lost(result)) => return Told::Lost(result),
                Ok(Coordinated::Done) => return Told::Done,
                Ok(Coordinated::Elsewhere { retry_after, .. }) => tokio::time::sleep(retry_after).await,
                Err(error) => return Told::Refused(chain(&error)),
            }
        }
        Told::Elsewhere
    }

    /// The job as this daemon would run it now.
    pub(crate) fn job(&self, keep: &Keep, due: Option<Timestamp>) -> BackupJob {
        BackupJob {
            kind: if due.is_some() { Kind::Scheduled } else { Kind::OnDemand },
            due,
            keep: keep.clone(),
            stall_limit: self.pace.stall_limit,
            dead_runs: self.dead_runs.clone(),
            ..job(&crm())
        }
    }

    pub(crate) fn rules(&self, keep: &Keep) -> PruneRules {
        let dead_runs = self.dead_runs.clone();
        PruneRules { dead_runs, ..PruneRules::new(keep.clone(), TimeZone::UTC) }
    }

    pub(crate) async fn back_up(&self, id: &RunId, job: &BackupJob, source: &FakeSource) -> Told<RunRecord> {
        let name = nightly();
        let wanted = job.due.map(|due| (&name, due));
        let work = async |context: RunContext| {
            let record = backup(job, source, &self.destinations, &context).await;
            let settled =
                matches!(record.outcome, Some(RunOutcome::Good | RunOutcome::Partial | RunOutcome::Suspect));
            (record, if settled { DueTime::Settled } else { DueTime::Open })
        };
        self.perform(wanted, id, work).await
    }

    pub(crate) async fn prune(
        &self,
        id: &RunId,
        place: usize,
        rules: &PruneRules,
    ) -> Told<Result<Pruned, JobError>> {
        let work = async |context: RunContext| {
            let pruned = retain(&self.destinations[place], &crm(), rules, None, &context).await;
            (pruned, DueTime::Open)
        };
        self.perform(None, id, work).await
    }

    /// Verifies, and writes proofs where `recorded`.
    pub(crate) async fn verify(
        &self,
        id: &RunId,
        place: usize,
        depth: VerifyDepth,
        recorded: bool,
    ) -> Told<Result<VerifyReport, JobError>> {
        let destination = &self.destinations[place];
        let work = async |context: RunContext| {
            let report = verify(destination, &crm(), &[], depth, &context).await;
            let report = match report {
                Ok(report) if recorded => {
                    record_proofs(destination, &crm(), &report, "0.0.0", &context).await.map(|_| report)
                }
                report => report,
            };
            (report, DueTime::Open)
        };
        self.perform(None, id, work).await
    }

    pub(crate) async fn repair(&self, id: &RunId, place: usize) -> Told<Result<RepairReport, JobError>> {
        let rules = RepairRules {
            version: "0.0.0".to_owned(),
            upload_memory_bytes: LEAST_UPLOAD_MEMORY_BYTES,
            stall_limit: self.pace.stall_limit,
            anomaly: AnomalyLimits::default(),
            identities: None,
        };
        let work = async |context: RunContext| {
            let destination = &self.destinations[place];
            let report = repair(destination, &self.destinations, &crm(), None, &rules, &context).await;
            (report, DueTime::Open)
        };
        self.perform(None, id, work).await
    }

    /// Writes a mark, as a person would who needs no lease for that.
    pub(crate) async fn mark(
        &self,
        id: &RunId,
        place: usize,
        request: &MarkRequest,
    ) -> Told<Result<Mark, JobError>> {
        tokio::select! {
            biased;
            marked = async { mark(&self.destinations[place], request, &self.context(id)).await } =>
                Told::Ran(marked),
            () = self.process.died() => Told::Died,
        }
    }
}
