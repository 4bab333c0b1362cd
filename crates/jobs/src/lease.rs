//! Leases: of several daemons that share destinations, one works on a deployment at a time.
//!
//! A lease is one small object (`docs/format.md`, Leases) that is changed by conditional writes only. Whoever holds it
//! writes it again every third of its duration. Whoever wants it and finds it held watches its entity tag: unchanged
//! for a whole lease on the watcher's own monotonic clock, its holder is gone, and the watcher takes it over with a
//! higher fencing number. Wall clocks of two machines are never compared.
//!
//! The store does not know the fencing number, so a holder gives up a margin before anybody can take over
//! ([`HeldLease::lost`]), asks before everything that cannot be undone ([`HeldLease::check`]), and what slips through
//! all the same is told by its number ([`convault_core::is_fenced_off`]).

mod book;
mod held;
mod object;
mod pace;
mod tidy;

use std::{sync::Arc, time::Duration};

use convault_core::{Abilities, Clock, DeploymentName, Holder, JobName, LEASE_FORMAT, Lease, Store};
use jiff::Timestamp;
use tokio::time::Instant;

use self::{
    book::{Book, Seat},
    object::{LeaseObject, Replaced, Seen},
    pace::Pace,
};
use crate::JobError;

pub use held::HeldLease;

/// How an attempt to take a lease went.
#[derive(Debug)]
pub enum Attempt {
    /// It is held, from now until [`HeldLease::release`] or [`HeldLease::lost`].
    Held(Arc<HeldLease>),
    /// Somebody has done this due time, or a later one of the same job.
    Done,
    /// It is held elsewhere.
    Elsewhere {
        /// By whom; `None` where it was taken and given back while we tried.
        holder: Option<Holder>,
        /// After how long to try again: early enough to see every change, so that a holder that is gone is replaced
        /// within two leases.
        retry_after: Duration,
    },
}

/// The leases of one daemon. Cheap to clone; clones are the same daemon.
#[derive(Debug, Clone)]
pub struct Leases {
    shared: Arc<Shared>,
}

/// What the leases of one daemon have in common.
#[derive(Debug)]
struct Shared {
    store: Arc<dyn Store>,
    holder: Holder,
    pace: Pace,
    clock: Arc<dyn Clock>,
    book: Book,
}

impl Leases {
    /// Leases in `store`, which must have passed [`Leases::check_store`], for a daemon that calls itself `instance` (new
    /// at every start). One that is not renewed for `duration` may be taken over; all daemons should have the same.
    pub fn new(store: Arc<dyn Store>, instance: Holder, duration: Duration, clock: Arc<dyn Clock>) -> Self {
        let shared =
            Shared { store, holder: instance, pace: Pace::new(duration), clock, book: Book::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Refuses a store in which two daemons could hold one lease, by what was seen of it.
    pub fn check_store(store: &dyn Store, abilities: &Abilities) -> Result<(), JobError> {
        let Some(why) = abilities.why_no_leases() else { return Ok(()) };
        let what = format!(
            "it cannot hold leases, since {why}; name another destination in `coordinate_in`, or run one daemon only and remove `coordinate_in`"
        );
        Err(JobError::Lease { place: store.location(), what })
    }

    /// This daemon's name for itself.
    pub fn holder(&self) -> &Holder {
        &self.shared.holder
    }

    /// After how long without a sign of its holder a lease may be taken over.
    pub fn duration(&self) -> Duration {
        self.shared.pace.duration
    }

    /// How long after [`HeldLease::lost`] nobody can take the lease over yet.
    pub(crate) fn margin(&self) -> Duration {
        self.shared.pace.margin
    }

    /// How many leases this daemon holds.
    pub fn held(&self) -> usize {
        self.shared.book.occupied()
    }

    /// Tries to take the lease of `deployment`: one read, and at most one conditional write, whose lost answer is
    /// settled by reading again. `wanted` is the job and the due time it is wanted for; without one only the lease
    /// counts. Ends within [`Leases::duration`] whatever the store does.
    pub async fn try_take(
        &self,
        deployment: &DeploymentName,
        wanted: Option<(&JobName, Timestamp)>,
    ) -> Result<Attempt, JobError> {
        let shared = &self.shared;
        if let Some((job, due)) = wanted
            && shared.book.is_done(deployment, job, due)
        {
            return Ok(Attempt::Done);
        }
        // Two runs of one daemon must not both believe in the lease that carries their common name.
        let Some(seat) = shared.book.sit_down(deployment) else {
            let retry_after = shared.pace.look_again;
            return Ok(Attempt::Elsewhere { holder: Some(shared.holder.clone()), retry_after });
        };
        let object = LeaseObject::new(Arc::clone(&shared.store), deployment, shared.pace.call_limit);
        let found = object.read().await?;
        if let Some(attempt) = shared.not_now(deployment, found.as_ref(), wanted) {
            return Ok(attempt);
        }
        shared.take(object, found, wanted, seat).await
    }
}

impl Shared {
    /// Why the lease as it was found cannot be taken; `None` where it can.
    fn not_now(
        &self,
        deployment: &DeploymentName,
        found: Option<&Seen>,
        wanted: Option<(&JobName, Timestamp)>,
    ) -> Option<Attempt> {
        let Some(Seen { lease, etag }) = found else {
            self.book.stop_watching(deployment);
            return None;
        };
        if wanted.is_some_and(|(job, due)| lease.done.get(job).is_some_and(|done| *done >= due)) {
            return Some(Attempt::Done);
        }
        // Under our own name, but nobody here has a seat: a take whose answer never came, or a run that was dropped.
        let holder = lease.holder.as_ref().filter(|holder| holder.instance != self.holder.instance);
        let Some(holder) = holder else {
            self.book.stop_watching(deployment);
            return None;
        };
        let limit = self.pace.duration.max(Duration::from_secs(lease.lease_seconds));
        let left = self.book.watch(deployment, etag, limit, Instant::now())?;
        Some(Attempt::Elsewhere { holder: Some(holder.clone()), retry_after: self.pace.wait(left) })
    }

    async fn take(
        self: &Arc<Self>,
        object: LeaseObject,
        found: Option<Seen>,
        wanted: Option<(&JobName, Timestamp)>,
        seat: Seat,
    ) -> Result<Attempt, JobError> {
        let next = self.successor(object.deployment(), found.as_ref());
        let since = Pace::moment(&*self.clock);
        let etag = found.as_ref().map(|seen| seen.etag.as_str());
        match object.replace(etag, &next).await? {
            Replaced::Done { etag } => {
                self.book.stop_watching(&next.deployment);
                let given_back = found.as_ref().is_some_and(|seen| seen.lease.holder.is_none());
                tracing::info!(deployment = %next.deployment, fence = next.fence, given_back, "took the lease");
                let held = Seen { lease: next, etag };
                Ok(Attempt::Held(HeldLease::begin(Arc::clone(self), object, held, given_back, since, seat)))
            }
            Replaced::NotDone { found, .. } => {
                let attempt = self.not_now(&next.deployment, found.as_deref(), wanted);
                let retry_after = self.pace.look_again;
                Ok(attempt.unwrap_or(Attempt::Elsewhere { holder: None, retry_after }))
            }
        }
    }

    /// The record of a lease that this daemon takes after what was `found`.
    fn successor(&self, deployment: &DeploymentName, found: Option<&Seen>) -> Lease {
        let at = self.clock.now();
        let before = found.map(|seen| &seen.lease);
        // Where somebody removed the record, snapshots still carry the numbers it had. Counting on from the seconds since
        // 1970 stays above all of them, so that what is written from now on is not taken for what they fence off.
        let fence = before.map_or_else(|| u64::try_from(at.as_second()).unwrap_or(0), |lease| lease.fence);
        Lease {
            format: LEASE_FORMAT,
            deployment: deployment.clone(),
            fence: fence + 1,
            holder: Some(self.holder.clone()),
            lease_seconds: self.pace.duration.as_secs(),
            beat: before.map_or(0, |lease| lease.beat) + 1,
            at,
            done: before.map(|lease| lease.done.clone()).unwrap_or_default(),
        }
    }
}
