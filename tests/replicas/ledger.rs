//! What the test sees of the daemons from outside: who works on what, and what was taken over when.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use convault_core::{DeploymentName, JobName};
use convault_scheduler::Past;
use jiff::{SignedDuration, Timestamp};

/// What the test notes.
#[derive(Debug, Default)]
struct Pages {
    /// Who works on which deployment.
    working: HashMap<DeploymentName, String>,
    /// Deployments whose worker was killed or paused, and when.
    orphaned: HashMap<DeploymentName, Timestamp>,
    /// How long it took until somebody else worked on them.
    taken_over: Vec<SignedDuration>,
    /// Daemons with a run between its last check and its manifest, by the number of such runs.
    about_to_write: HashMap<String, u32>,
    /// The run history of each machine.
    journals: HashMap<(String, JobName), Past>,
    counts: Counts,
}

/// What the test sees of the daemons.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pages: Mutex<Pages>,
}

/// How often what happened.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) lost: u32,
    pub(crate) postponed: u32,
    pub(crate) found_done: u32,
}

/// A run under a lease, until dropped.
pub(crate) struct Working {
    ledger: Arc<Ledger>,
    deployment: DeploymentName,
    host: String,
}

impl Drop for Working {
    fn drop(&mut self) {
        let mut pages = self.ledger.pages.lock().unwrap();
        if pages.working.get(&self.deployment) == Some(&self.host) {
            pages.working.remove(&self.deployment);
        }
    }
}

impl Ledger {
    /// Somebody begins to work on a deployment. Nobody else may, unless the test has stopped it.
    pub(crate) fn begin(
        self: &Arc<Self>,
        deployment: &DeploymentName,
        host: &str,
        now: Timestamp,
    ) -> Working {
        let mut pages = self.pages.lock().unwrap();
        let before = pages.working.insert(deployment.clone(), host.to_owned());
        let orphaned = pages.orphaned.remove(deployment);
        if let Some(before) = before {
            assert!(orphaned.is_some(), "{host} works on {deployment} at {now} while {before} does");
        }
        pages.taken_over.extend(orphaned.map(|since| now.duration_since(since)));
        Working { ledger: Arc::clone(self), deployment: deployment.clone(), host: host.to_owned() }
    }

    /// The test stops a daemon: everything it works on has to be taken over.
    pub(crate) fn orphan(&self, host: &str, now: Timestamp) -> usize {
        let mut pages = self.pages.lock().unwrap();
        let Pages { working, orphaned, .. } = &mut *pages;
        let left: Vec<_> = working.iter().filter(|(_, worker)| *worker == host).collect();
        orphaned.extend(left.iter().map(|(deployment, _)| ((*deployment).clone(), now)));
        left.len()
    }

    pub(crate) fn works(&self, host: &str) -> usize {
        self.pages.lock().unwrap().working.values().filter(|worker| *worker == host).count()
    }

    pub(crate) fn about_to_write(&self, host: &str, change: i32) -> u32 {
        let mut pages = self.pages.lock().unwrap();
        let runs = pages.about_to_write.entry(host.to_owned()).or_default();
        *runs = runs.saturating_add_signed(change);
        *runs
    }

    /// A run under a lease begins, by the run history of its machine.
    pub(crate) fn remember(&self, host: &str, job: &JobName, due: Timestamp) {
        let mut pages = self.pages.lock().unwrap();
        let past = pages.journals.entry((host.to_owned(), job.clone())).or_default();
        let cut_off = if past.last_due == Some(due) { past.cut_off + 1 } else { 1 };
        *past = Past { last_due: Some(due), cut_off };
    }

    /// It ended, so that the end of the process has not cut it off.
    pub(crate) fn forget_cut_off(&self, host: &str, job: &JobName) {
        let mut pages = self.pages.lock().unwrap();
        if let Some(past) = pages.journals.get_mut(&(host.to_owned(), job.clone())) {
            past.cut_off = 0;
        }
    }

    pub(crate) fn past(&self, host: &str, job: &JobName) -> Past {
        let pages = self.pages.lock().unwrap();
        pages.journals.get(&(host.to_owned(), job.clone())).copied().unwrap_or_default()
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Counts)) -> Counts {
        let mut pages = self.pages.lock().unwrap();
        change(&mut pages.counts);
        pages.counts
    }

    /// How long each take-over took, and what nobody has taken over.
    pub(crate) fn take_overs(&self) -> (Vec<SignedDuration>, HashSet<DeploymentName>) {
        let pages = self.pages.lock().unwrap();
        (pages.taken_over.clone(), pages.orphaned.keys().cloned().collect())
    }
}
