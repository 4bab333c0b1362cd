//! A deployment with one good snapshot in its destination, which is then spoiled.

use std::{sync::Arc, time::Duration};

use convault_convex_client::{ConnectionSettings, Url};
use convault_core::{
    Clock, DeploymentName, DestinationName, Manifest, RunId, RunOutcome, RunRecord, Secret, SnapshotId,
    Store, SystemClock, Verdict,
};
use convault_exporter::{DeploymentSettings, DeploymentSource, PollSettings, RetrySettings};
use convault_jobs::{BackupJob, Destination, RunContext, VerifyDepth};
use convault_simulator::{Data, Database, Fault, RunningSimulator, Simulator, SimulatorConfig};
use convault_uploader::MemoryStore;
use tokio_util::sync::CancellationToken;

use crate::job::job;

const KEY: &str = "happy-animal-123|0123456789abcdef";

/// A running deployment, a destination with one good snapshot of it, and the job between them.
pub(crate) struct Bench {
    pub(crate) simulator: RunningSimulator,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) job: BackupJob,
    pub(crate) connection: ConnectionSettings,
    /// The run that made the good snapshot.
    pub(crate) earlier: RunRecord,
}

impl Bench {
    /// A sound deployment and a destination in memory.
    pub(crate) async fn new() -> Self {
        Self::into_store(Arc::new(MemoryStore::new(DestinationName::new("offsite").unwrap()))).await
    }

    /// A sound deployment and this destination.
    pub(crate) async fn into_store(store: Arc<dyn Store>) -> Self {
        let mut config = SimulatorConfig::new(Secret::new(KEY));
        config.data = Data::Database(Box::new(Database::crm(1)));
        config.export_time = Duration::from_millis(20);
        let simulator = Simulator::start(config).await.unwrap();
        let connection = ConnectionSettings::default();
        let job = job(&crm());
        let earlier = run(&job, &simulator, &store, &connection).await;
        assert_eq!(earlier.outcome, Some(RunOutcome::Good), "{}", earlier.message);
        Self { simulator, store, job, connection, earlier }
    }

    /// The same with this fault on, given as on the command line: a name, perhaps with `=` and a value.
    pub(crate) async fn showing(fault: Fault) -> Self {
        let bench = Self::new().await;
        bench.simulator.set_fault(fault);
        bench
    }

    /// Runs the job once.
    pub(crate) async fn run(&self) -> RunRecord {
        run(&self.job, &self.simulator, &self.store, &self.connection).await
    }

    /// Runs the job, which must end well, in a snapshot that is good and whole. Gives the run and its manifest.
    pub(crate) async fn succeeds(&self) -> (RunRecord, Manifest) {
        let record = self.run().await;
        assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
        let manifest = self.newest(&record, 2).await;
        assert!(manifest.is_good());
        assert_eq!(manifest.totals.files, self.earlier.files);
        (record, manifest)
    }

    /// Runs the job, which must fail with all of `words` in its message and leave nothing but the earlier snapshot.
    pub(crate) async fn fails(&self, words: &[&str]) -> RunRecord {
        let record = self.run().await;
        assert_eq!(record.outcome, Some(RunOutcome::Failed), "{}", record.message);
        for word in words {
            assert!(record.message.contains(word), "`{word}` is not in: {}", record.message);
        }
        assert!(!record.message.contains("0123456789abcdef"), "the key is in: {}", record.message);
        assert_eq!(record.snapshot, None);
        self.assert_stored(1).await;
        record
    }

    /// Runs the job, whose snapshot must be stored as suspect, with all of `words` in the run's message. Gives the
    /// ids that its problems name.
    pub(crate) async fn is_suspect(&self, words: &[&str]) -> Vec<String> {
        let record = self.run().await;
        assert_eq!(record.outcome, Some(RunOutcome::Suspect), "{}", record.message);
        assert!(record.message.starts_with("suspect, does not count as good"), "{}", record.message);
        for word in words {
            assert!(record.message.contains(word), "`{word}` is not in: {}", record.message);
        }
        let manifest = self.newest(&record, 2).await;
        let Verdict::Suspect { problems } = manifest.verdict else { panic!("it counts as good") };
        let newest_good = self.find(None).await;
        assert_eq!(Some(newest_good.id), self.earlier.snapshot);
        problems.into_iter().flat_map(|problem| problem.ids).collect()
    }

    /// The deployment is sound again: so is the next run.
    pub(crate) async fn recovers(&self) {
        self.simulator.clear_faults();
        self.succeeds().await;
    }

    /// The manifest of a run, where the destination holds so many snapshots.
    async fn newest(&self, record: &RunRecord, number: usize) -> Manifest {
        self.assert_stored(number).await;
        self.find(record.snapshot.as_ref()).await
    }

    async fn find(&self, id: Option<&SnapshotId>) -> Manifest {
        let destination = Destination::plain(Arc::clone(&self.store));
        let found = convault_jobs::find(&destination, &crm(), id, SystemClock.now()).await.unwrap();
        found.unwrap().manifest
    }

    /// Asserts that the destination holds so many snapshots, each with every byte in its place, and nothing unfinished.
    pub(crate) async fn assert_stored(&self, number: usize) {
        let destination = Destination::plain(Arc::clone(&self.store));
        let report = convault_jobs::verify(&destination, &crm(), &[], VerifyDepth::ReadData, &context())
            .await
            .unwrap();
        assert_eq!(report.faults, []);
        assert_eq!((report.sound.len(), report.not_snapshots.len()), (number, 0));
        assert_eq!(self.store.list_uploads("").await.unwrap(), []);
    }
}

async fn run(
    job: &BackupJob,
    simulator: &RunningSimulator,
    store: &Arc<dyn Store>,
    connection: &ConnectionSettings,
) -> RunRecord {
    let url = Url::parse(&simulator.url()).unwrap();
    let millis = Duration::from_millis;
    let settings = DeploymentSettings {
        connection: connection.clone(),
        poll: PollSettings { shortest: millis(5), longest: millis(20) },
        retry: RetrySettings { attempts: 3, first_pause: millis(5), longest_pause: millis(20) },
        ..DeploymentSettings::new(crm(), Some(url), simulator.key())
    };
    let source = DeploymentSource::new(settings, Arc::new(SystemClock));
    let destination = Destination::plain(Arc::clone(store));
    let record = convault_jobs::backup(job, &source, &[destination], &context()).await;
    source.settle().await;
    record
}

fn context() -> RunContext {
    let id = RunId::new(SystemClock.now(), rand::random());
    let mut context = RunContext::new(id, Arc::new(SystemClock), CancellationToken::new(), Arc::new(|_| {}));
    context.download_pause = Duration::from_millis(10);
    context
}

pub(crate) fn crm() -> DeploymentName {
    DeploymentName::new("crm").unwrap()
}
