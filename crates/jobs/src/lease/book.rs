//! [`Book`]: what one daemon remembers of leases: which it holds, which it watches, and what it has done.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use convault_core::{DeploymentName, JobName};
use jiff::Timestamp;
use tokio::time::Instant;

/// The right of one run of this daemon to the lease of a deployment. Given back when dropped.
pub(super) type Seat = Arc<()>;

/// A lease of somebody else, as it was last seen.
#[derive(Debug)]
struct Watched {
    etag: String,
    since: Instant,
}

#[derive(Debug, Default)]
struct Pages {
    seats: HashMap<DeploymentName, Weak<()>>,
    watched: HashMap<DeploymentName, Watched>,
    done: HashMap<DeploymentName, BTreeMap<JobName, Timestamp>>,
}

/// What one daemon remembers of leases.
#[derive(Debug, Default)]
pub(super) struct Book {
    pages: Mutex<Pages>,
}

impl Book {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The seat of `deployment`; `None` while another run of this daemon has it.
    pub(super) fn sit_down(&self, deployment: &DeploymentName) -> Option<Seat> {
        let mut pages = self.pages();
        let taken = pages.seats.get(deployment).is_some_and(|seat| seat.strong_count() > 0);
        let seat = Seat::default();
        (!taken).then(|| pages.seats.insert(deployment.clone(), Arc::downgrade(&seat)))?;
        Some(seat)
    }

    /// How many seats are taken.
    pub(super) fn occupied(&self) -> usize {
        self.pages().seats.values().filter(|seat| seat.strong_count() > 0).count()
    }

    /// Notes that the lease of `deployment` was seen with `etag`. How long it must still stay so until it may be taken
    /// over; `None` once it has been unchanged for `limit`.
    pub(super) fn watch(
        &self,
        deployment: &DeploymentName,
        etag: &str,
        limit: Duration,
        now: Instant,
    ) -> Option<Duration> {
        let mut pages = self.pages();
        let seen = pages.watched.get(deployment).filter(|seen| seen.etag == etag).map(|seen| seen.since);
        let Some(since) = seen else {
            pages.watched.insert(deployment.clone(), Watched { etag: etag.to_owned(), since: now });
            return Some(limit);
        };
        limit.checked_sub(now.saturating_duration_since(since)).filter(|left| !left.is_zero())
    }

    /// Forgets what was seen of a lease, since nobody holds it or we do.
    pub(super) fn stop_watching(&self, deployment: &DeploymentName) {
        self.pages().watched.remove(deployment);
    }

    /// Whether this daemon has done `due` of `job`, or a later due time.
    pub(super) fn is_done(&self, deployment: &DeploymentName, job: &JobName, due: Timestamp) -> bool {
        let pages = self.pages();
        pages.done.get(deployment).and_then(|done| done.get(job)).is_some_and(|done| *done >= due)
    }

    /// Remembers what this daemon has done, for when the lease could not be given back with it.
    pub(super) fn remember_done(&self, deployment: &DeploymentName, job: &JobName, due: Timestamp) {
        let mut pages = self.pages();
        let done = pages.done.entry(deployment.clone()).or_default().entry(job.clone()).or_insert(due);
        *done = due.max(*done);
    }
}
