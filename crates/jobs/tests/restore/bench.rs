//! What the tests stand on: simulated deployments, a destination in memory, and what lies between them.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use convault_convex_client::{ConnectionSettings, Url};
use convault_core::Clock as _;
use convault_core::{
    DeploymentName, DestinationName, ImportKind, ImportRequest, IndexEntry, Manifest, RunId, RunOutcome,
    Secret, Sha256, Source, SystemClock, Target,
};
use convault_exporter::{DeploymentSettings, DeploymentSource, PollSettings, RetrySettings};
use convault_jobs::{
    BackupJob, Content, Destination, Guard, Guarded, JobError, Outgone, RestorePlan, Rules, RunContext,
    Safety, import_content, perform_guarded, plan_restore,
};
use convault_restorer::{DeploymentTarget, TargetSettings};
use convault_simulator::{Data, Fault, RunningSimulator, Simulator, SimulatorConfig};
use convault_uploader::MemoryStore;
use tokio_util::sync::CancellationToken;

pub(crate) use crate::job::job;

/// A simulated deployment, and what reaches it.
pub(crate) struct Deployed {
    pub(crate) simulator: RunningSimulator,
    pub(crate) target: DeploymentTarget,
    pub(crate) source: DeploymentSource,
    pub(crate) name: DeploymentName,
}

impl Deployed {
    pub(crate) async fn new(name: &str, data: Data, faults: &[&str]) -> Self {
        let key = Secret::new(format!("{name}-instance|0123456789abcdef"));
        let config = SimulatorConfig {
            data,
            faults: faults.iter().map(|fault| fault.parse::<Fault>().unwrap()).collect(),
            export_time: Duration::from_millis(20),
            ..SimulatorConfig::new(key.clone())
        };
        let simulator = Simulator::start(config).await.unwrap();
        let name = DeploymentName::new(name).unwrap();
        let url = Url::parse(&simulator.url()).unwrap();
        let target = DeploymentTarget::new(TargetSettings {
            deployment: name.clone(),
            url: Some(url.clone()),
            key: key.clone(),
            provision_url: None,
            connection: ConnectionSettings::default(),
        });
        let millis = Duration::from_millis;
        let settings = DeploymentSettings {
            poll: PollSettings { shortest: millis(5), longest: millis(20) },
            retry: RetrySettings { attempts: 3, first_pause: millis(5), longest_pause: millis(20) },
            ..DeploymentSettings::new(name.clone(), Some(url), key)
        };
        let source = DeploymentSource::new(settings, Arc::new(SystemClock));
        Self { simulator, target, source, name }
    }

    pub(crate) async fn empty(name: &str, faults: &[&str]) -> Self {
        Self::new(name, Data::Empty, faults).await
    }

    /// Imports, mutations and changed variables that reached it.
    pub(crate) fn writes(&self) -> u64 {
        let writes = self.simulator.counters().writes;
        writes.imports + writes.mutations + writes.environment
    }
}

pub(crate) fn memory() -> MemoryStore {
    MemoryStore::new(DestinationName::new("offsite").unwrap())
}

pub(crate) fn destination(store: &MemoryStore) -> Destination {
    Destination::plain(Arc::new(store.clone()))
}

pub(crate) fn context() -> RunContext {
    let id = RunId::new(SystemClock.now(), next());
    let mut context = RunContext::new(id, Arc::new(SystemClock), CancellationToken::new(), Arc::new(|_| {}));
    context.download_pause = Duration::from_millis(10);
    context
}

fn next() -> u32 {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// Backs up, and gives the manifest.
pub(crate) async fn back_up(job: &BackupJob, source: &dyn Source, store: &MemoryStore) -> Manifest {
    let record = convault_jobs::backup(job, source, &[destination(store)], &context()).await;
    let stored = matches!(record.outcome, Some(RunOutcome::Good | RunOutcome::Suspect));
    assert!(stored, "{}", record.message);
    let id = record.snapshot.unwrap();
    let found = convault_jobs::find(&destination(store), &job.deployment, Some(&id), SystemClock.now()).await;
    found.unwrap().unwrap().manifest
}

/// Everything in a snapshot but the README, by name: size and SHA-256 of each entry.
pub(crate) async fn entries(store: &MemoryStore, manifest: &Manifest) -> BTreeMap<String, (u64, Sha256)> {
    let (rules, run) = (Rules::default(), context());
    let content = Content::new(store, manifest, None, &rules, &run);
    let mut found = BTreeMap::new();
    let take = |entry: IndexEntry| {
        found.insert(entry.name, (entry.size_bytes, entry.sha256));
        Ok(())
    };
    content.each_entry(take).await.unwrap();
    found.remove("README.md");
    found
}

/// What a restore is made of.
pub(crate) struct Restoring<'a> {
    pub(crate) store: &'a MemoryStore,
    pub(crate) manifest: &'a Manifest,
    pub(crate) rules: Rules,
    pub(crate) to: &'a Deployed,
    pub(crate) target: &'a dyn Target,
    pub(crate) source: &'a dyn Source,
    pub(crate) safety_store: MemoryStore,
    pub(crate) others: Vec<Arc<dyn Target>>,
    pub(crate) pause: bool,
    pub(crate) known_damaged: Vec<String>,
    pub(crate) context: RunContext,
}

impl<'a> Restoring<'a> {
    pub(crate) fn new(store: &'a MemoryStore, manifest: &'a Manifest, to: &'a Deployed) -> Self {
        Self {
            store,
            manifest,
            rules: Rules::default(),
            to,
            target: &to.target,
            source: &to.source,
            safety_store: memory(),
            others: Vec::new(),
            pause: false,
            known_damaged: Vec::new(),
            context: context(),
        }
    }

    pub(crate) async fn plan(&self) -> RestorePlan {
        let content = Content::new(self.store, self.manifest, None, &self.rules, &self.context);
        plan_restore(&content, &self.to.target.contents().await.unwrap()).await.unwrap()
    }

    /// Plans, prepares and performs. The safety snapshot is taken where the deployment is not empty.
    pub(crate) async fn run(&self) -> Result<Guarded<Outgone>, JobError> {
        let plan = self.plan().await;
        let content = Content::new(self.store, self.manifest, None, &self.rules, &self.context);
        let expected = self.to.target.identity().await.unwrap();
        let request = ImportRequest { mode: plan.mode, kind: ImportKind::Zip };
        let prepared = import_content(&content, self.target, &request, &self.context).await?;
        let (job, destinations) = (job(&self.to.name), [destination(&self.safety_store)]);
        let safety = Safety {
            job: &job,
            source: self.source,
            destinations: &destinations,
            known_damaged: &self.known_damaged,
        };
        let guard = Guard {
            target: self.target,
            expected: &expected,
            others: &self.others,
            pause: self.pause,
            safety: (!plan.onto_empty).then_some(safety),
            erased: &self.rules.erased,
        };
        perform_guarded(&guard, prepared, &self.context).await
    }
}

/// A snapshot of a real backend, where they are at hand.
pub(crate) fn fixture(name: &str) -> Option<Bytes> {
    let folder = std::env::var_os("CONVAULT_FIXTURES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/convex"),
        PathBuf::from,
    );
    let read = std::fs::read(folder.join(name));
    if read.is_err() {
        eprintln!("skipped: {name} is not in {}", folder.display());
    }
    read.ok().map(Bytes::from)
}
