//! One daemon of several: the real scheduler, the real leases, and a run that stands for a backup.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use convault_core::{Clock, DeploymentName, JobName, Layout, RunId, Store};
use convault_jobs::{Coordinated, DueTime, HeldLease, JobError, Leases, coordinate};
use convault_scheduler::{Outcome, Run, Runner};
use jiff::Timestamp;
use rand::{Rng as _, rngs::StdRng};
use tokio::time;
use tokio_util::sync::CancellationToken;

use crate::{
    bucket::TrueTime,
    ledger::Ledger,
    notes::{self, Note},
};

/// How long the gap is between the last check and the manifest: wide enough to freeze a process in it.
const GAP: Duration = Duration::from_secs(5);

/// Runs jobs as the daemon of the real program does.
pub(crate) struct Replica {
    pub(crate) host: String,
    pub(crate) leases: Leases,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) true_time: Arc<TrueTime>,
    pub(crate) deployments: HashMap<JobName, DeploymentName>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) random: Mutex<StdRng>,
}

/// A run, as the stand-in sees it.
struct Errand<'a> {
    job: &'a JobName,
    deployment: &'a DeploymentName,
    due: Timestamp,
    stop: CancellationToken,
}

#[async_trait]
impl Runner for Replica {
    type Wish = ();

    async fn run(&self, run: Run<()>) -> Outcome {
        let due = run.why.due().expect("nobody asks for runs here");
        let (job, deployment) = (&run.job, &self.deployments[&run.job]);
        let errand = Errand { job, deployment, due, stop: run.cancel.token().child_token() };
        let work = |held| self.back_up(&errand, held);
        let done = coordinate(&self.leases, deployment, Some((job, due)), &errand.stop, work).await;
        match done {
            Ok(Coordinated::Ran(outcome)) => outcome,
            Ok(Coordinated::Done) => {
                self.ledger.count(|counts| counts.found_done += 1);
                Outcome::Succeeded
            }
            Ok(Coordinated::Elsewhere { retry_after, .. }) => {
                self.ledger.count(|counts| counts.postponed += 1);
                Outcome::Postponed { after: retry_after }
            }
            Ok(Coordinated::Lost(_)) => {
                self.ledger.count(|counts| counts.lost += 1);
                Outcome::Failed { retryable: true }
            }
            Err(error) => Outcome::Failed { retryable: error.is_retryable() },
        }
    }

    fn dropped(&self, _: &JobName, (): ()) {}
}

impl Replica {
    async fn back_up(&self, errand: &Errand<'_>, held: Arc<HeldLease>) -> (Outcome, DueTime) {
        let _working = self.ledger.begin(errand.deployment, &self.host, self.true_time.now());
        self.ledger.remember(&self.host, errand.job, errand.due);
        let done = tokio::select! {
            biased;
            () = errand.stop.cancelled() => Err(JobError::Stopped),
            done = self.back_up_under(errand, &held) => done,
        };
        self.ledger.forget_cut_off(&self.host, errand.job);
        match done {
            Ok(()) => (Outcome::Succeeded, DueTime::Settled),
            Err(JobError::Stopped) => (Outcome::Cancelled, DueTime::Open),
            Err(error) => (Outcome::Failed { retryable: error.is_retryable() }, DueTime::Open),
        }
    }

    /// What a backup does, as far as others can see it.
    async fn back_up_under(&self, errand: &Errand<'_>, held: &HeldLease) -> Result<(), JobError> {
        let (id, minutes) = {
            let mut random = self.random.lock().unwrap();
            (RunId::new(self.clock.now(), random.random()), random.random_range(3..10))
        };
        let layout = Layout::new(errand.deployment.clone());
        let note = Note { due: errand.due, fence: held.fence(), host: self.host.clone() };
        notes::write(&*self.store, &layout.run_start(&id), &note).await?;
        // Only now, when what a holder before this one still writes is fenced off.
        let written = notes::read_since(&*self.store, errand.deployment, errand.due).await?;
        if notes::judge(&written).0.contains_key(&errand.due) {
            return Ok(());
        }
        time::sleep(Duration::from_mins(minutes)).await;
        held.check().await?;
        self.ledger.about_to_write(&self.host, 1);
        time::sleep(GAP).await;
        self.ledger.about_to_write(&self.host, -1);
        Ok(notes::write(&*self.store, &layout.manifest(&id), &note).await?)
    }
}
