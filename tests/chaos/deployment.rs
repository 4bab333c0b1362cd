//! Whichever request to a deployment fails, there is a whole snapshot or none, the run says which, and the next one
//! works.

use std::{sync::Arc, time::Duration};

use convault_convex_client::{ConnectionSettings, Url};
use convault_core::{DestinationName, Keep, RunId, RunOutcome, RunRecord, Secret, SystemClock};
use convault_exporter::{DeploymentSettings, DeploymentSource, PollSettings, RetrySettings};
use convault_jobs::{RunContext, backup};
use convault_simulator::{Data, Database, RunningSimulator, Simulator, SimulatorConfig};
use convault_uploader::MemoryStore;
use tokio_util::sync::CancellationToken;

use crate::{
    daemon::{Daemon, Place, crm},
    model::look,
    nth::one_in,
    proxy::{FAILURES, Failure, Proxy},
    time::{StoreClock, Time},
};

/// So long a deployment may be silent.
const SILENCE: Duration = Duration::from_millis(400);

struct Bench {
    simulator: RunningSimulator,
    time: Arc<Time>,
    place: Place,
    daemon: Daemon,
    runs: u32,
    attempts: u32,
}

impl Bench {
    async fn new(attempts: u32) -> Self {
        let mut config = SimulatorConfig::new(Secret::new("happy-animal-123|0123456789abcdef"));
        config.data = Data::Database(Box::new(Database::crm(1)));
        config.export_time = Duration::from_millis(10);
        let simulator = Simulator::start(config).await.unwrap();
        let time = Time::new();
        let clock = Arc::new(StoreClock(Arc::clone(&time)));
        let store = MemoryStore::with_clock(DestinationName::new("offsite").unwrap(), clock);
        let place = Place::in_memory(store, &convault_jobs::Trust::default());
        let daemon = Daemon::alone(std::slice::from_ref(&place), &time);
        Self { simulator, time, place, daemon, runs: 0, attempts }
    }

    /// Runs the job through a proxy. Gives how many requests there were.
    async fn run(&mut self, plan: Option<(u64, Failure)>) -> (RunId, RunRecord, u64) {
        let proxy = Proxy::start(self.simulator.address(), plan).await;
        let millis = Duration::from_millis;
        let url = Url::parse(&format!("http://{}", proxy.address)).unwrap();
        let settings = DeploymentSettings {
            connection: ConnectionSettings {
                ca_file: None,
                connect_timeout: Duration::from_secs(5),
                request_timeout: SILENCE,
                idle_timeout: SILENCE,
            },
            poll: PollSettings { shortest: millis(5), longest: millis(20) },
            retry: RetrySettings {
                attempts: self.attempts,
                first_pause: millis(5),
                longest_pause: millis(20),
            },
            ..DeploymentSettings::new(crm(), Some(url), self.simulator.key())
        };
        let source = DeploymentSource::new(settings, Arc::new(SystemClock));
        self.runs += 1;
        let id = RunId::new(self.time.now(), self.runs);
        let clock = Arc::new(self.daemon.clock.clone());
        let mut context = RunContext::new(id.clone(), clock, CancellationToken::new(), Arc::new(|_| {}));
        context.download_pause = millis(10);
        let job = self.daemon.job(&Keep::default(), None);
        let record = backup(&job, &source, &self.daemon.destinations, &context).await;
        source.settle().await;
        (id, record, proxy.requests())
    }

    /// Whether there is a snapshot of a run exactly where it says so, and everything is whole.
    async fn assert_true(&self, id: &RunId, record: &RunRecord, case: &str) {
        let view = look(&self.place, self.time.now()).await;
        assert!(
            view.folders.values().all(|seen| seen.is_good() && seen.intact),
            "{case}: {}",
            record.message
        );
        let is_there = view.folders.contains_key(id);
        let wanted = if is_there { RunOutcome::Good } else { RunOutcome::Failed };
        assert_eq!(record.outcome, Some(wanted), "{case}: {}", record.message);
        assert_eq!(self.place.raw.list_uploads("").await.unwrap(), [], "{case}");
        assert!(!record.message.contains("0123456789abcdef"), "{case}: the key is in {}", record.message);
    }
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figure of `tests/shows/never-lost-fail-the-nth`")]
async fn whichever_request_to_a_deployment_fails_the_run_tells_the_truth() {
    let mut number = 0;
    // With one attempt every failure comes through; with three most are got over.
    for attempts in [1, 3] {
        let mut bench = Bench::new(attempts).await;
        let (id, record, requests) = bench.run(None).await;
        bench.assert_true(&id, &record, "no failure").await;
        assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
        let all = (1..=requests).flat_map(|nth| FAILURES.map(|failure| (nth, failure)));
        for (nth, failure) in all.step_by(if attempts == 1 { 1 } else { one_in() }) {
            let case = format!("{attempts} attempts, request {nth} of {requests}: {failure:?}");
            let (id, record, _) = bench.run(Some((nth, failure))).await;
            bench.assert_true(&id, &record, &case).await;
            let (id, record, _) = bench.run(None).await;
            bench.assert_true(&id, &record, &case).await;
            assert_eq!(record.outcome, Some(RunOutcome::Good), "{case}: the next run: {}", record.message);
            number += 1;
        }
    }
    println!("figure: {number} failures of requests to a deployment");
}
