//! [`HeldLease`]: a lease while it is ours: renewed in the background, checked, lost or given back.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use convault_core::{JobName, Lease};
use jiff::Timestamp;
use tokio::{
    task::JoinSet,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    book::Seat,
    object::{LeaseObject, Replaced, Seen},
    pace::{Moment, Pace},
    tidy::Tidy,
};
use crate::{JobError, chain};

/// How often a check asks a store that does not answer.
const CHECK_ATTEMPTS: u32 = 3;

/// A lease that this daemon holds. It is renewed until it is given back, lost or dropped; one that is only dropped is
/// free for others once its time is up.
#[derive(Debug)]
pub struct HeldLease {
    tenure: Arc<Tenure>,
    heartbeat: Mutex<JoinSet<()>>,
    seat: Mutex<Option<Seat>>,
}

/// What the heartbeat and its owner share.
#[derive(Debug)]
struct Tenure {
    shared: Arc<Shared>,
    object: LeaseObject,
    fence: u64,
    given_back: bool,
    lost: CancellationToken,
    ended: CancellationToken,
    renewed: Mutex<Moment>,
    /// One write at a time.
    record: tokio::sync::Mutex<Record>,
}

/// The record as we last knew it.
#[derive(Debug)]
struct Record {
    seen: Seen,
    /// When a write that nobody has answered was first sent. It may arrive at any time from then on.
    unsettled: Option<Moment>,
    released: bool,
}

impl HeldLease {
    /// The lease as it was taken by a write sent at `since`.
    pub(super) fn begin(
        shared: Arc<Shared>,
        object: LeaseObject,
        seen: Seen,
        given_back: bool,
        since: Moment,
        seat: Seat,
    ) -> Arc<Self> {
        let tenure = Arc::new(Tenure {
            fence: seen.lease.fence,
            given_back,
            lost: CancellationToken::new(),
            ended: CancellationToken::new(),
            renewed: Mutex::new(since),
            record: tokio::sync::Mutex::new(Record { seen, unsettled: None, released: false }),
            shared,
            object,
        });
        let mut heartbeat = JoinSet::new();
        heartbeat.spawn(Arc::clone(&tenure).beat());
        Arc::new(Self { tenure, heartbeat: Mutex::new(heartbeat), seat: Mutex::new(Some(seat)) })
    }

    /// The fencing number: what is written under this lease carries it.
    pub fn fence(&self) -> u64 {
        self.tenure.fence
    }

    /// Cancelled as soon as the lease is no longer surely ours, which is a margin before anybody can take it over:
    /// abort uploads and write nothing more.
    pub fn lost(&self) -> CancellationToken {
        self.tenure.lost.clone()
    }

    /// Whether the holder before gave the lease back. Otherwise (it died, was cut off, or somebody removed the record)
    /// the record may not say what it had done by then, and a write of it may still arrive: whoever wants a due time
    /// looks for its snapshot *after* something with this fencing number is in the destination, so that what arrives
    /// later is fenced off. It speaks of the holder directly before: one that had itself taken over from a dead one,
    /// and failed, gives the lease back too. So a look at the beginning of a run is needed whatever this says.
    pub fn was_given_back(&self) -> bool {
        self.tenure.given_back
    }

    /// After how long without a sign of its holder it may be taken over.
    pub fn duration(&self) -> Duration {
        self.tenure.pace().duration
    }

    /// What a run says that ended because the lease was lost.
    pub fn lost_error(&self) -> JobError {
        JobError::LeaseLost { deployment: self.tenure.object.deployment().clone() }
    }

    /// Whether nobody can have taken the lease over yet, as far as this machine knows without asking.
    pub fn still_surely_held(&self) -> bool {
        self.tenure.is_surely_held()
    }

    /// Asks the store whether the lease is still ours, and renews it where that was long ago. To be called before
    /// everything that cannot be undone: a manifest, a mark, a batch of deletions. When it returns, nobody can take
    /// the lease over before the lease's margin has passed; when it fails with [`JobError::LeaseLost`], it is lost.
    pub async fn check(&self) -> Result<(), JobError> {
        self.tenure.check().await
    }

    /// Gives the lease back, with the due time that was done under it, so that others need not wait for its end. Tried
    /// again until its time is nearly up; if that is in vain others wait for its end, and this daemon at least knows
    /// what it has done.
    pub async fn release(&self, done: Option<(JobName, Timestamp)>) -> Result<(), JobError> {
        let released = self.tenure.release(done).await;
        self.tenure.ended.cancel();
        let mut heartbeat = {
            let mut heartbeat = self.heartbeat.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *heartbeat)
        };
        heartbeat.shutdown().await;
        self.seat.lock().unwrap_or_else(PoisonError::into_inner).take();
        released
    }
}

impl Tenure {
    /// Renews the lease until it is lost or given back.
    async fn beat(self: Arc<Self>) {
        let tidy = Tidy::default();
        loop {
            let next = self.renewed().instant + self.pace().beat;
            tokio::select! {
                biased;
                () = self.ended.cancelled() => return,
                () = time::sleep_until(next) => {}
            }
            if self.keep().await.is_err() {
                return;
            }
            tidy.remove_old_versions(&self.object, self.pace().call_limit).await;
        }
    }

    /// Renews the lease, as often as that takes until its time is nearly up; then it is lost.
    async fn keep(&self) -> Result<(), JobError> {
        let pace = self.pace();
        loop {
            // A process that stood still comes back here too late: then others may have been told that it is gone.
            let deadline = self.renewed().instant + pace.surely;
            if Instant::now() >= deadline {
                return Err(self.lose("it could not be renewed in time"));
            }
            match time::timeout_at(deadline, self.renew()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error @ JobError::LeaseLost { .. })) => return Err(error),
                Ok(Err(error)) => {
                    tracing::warn!(deployment = %self.object.deployment(), "the lease could not be renewed and is tried again: {}", chain(&error));
                }
                Err(_) => continue,
            }
            time::sleep_until(deadline.min(Instant::now() + pace.retry)).await;
        }
    }

    /// One renewal. Harmless when it is dropped halfway.
    async fn renew(&self) -> Result<(), JobError> {
        let mut record = self.record.lock().await;
        if record.released || !self.renewed().is_past(self.pace().retry, &self.now()) {
            return Ok(());
        }
        let at = self.shared.clock.now();
        let next = Lease { beat: record.seen.lease.beat + 1, at, ..record.seen.lease.clone() };
        self.write(&mut record, next).await
    }

    /// Writes the next record over the last one. An error other than a lost lease leaves it open what lies there.
    async fn write(&self, record: &mut Record, next: Lease) -> Result<(), JobError> {
        self.still_ours()?;
        let first_sent = *record.unsettled.get_or_insert(self.now());
        match self.object.replace(Some(&record.seen.etag), &next).await? {
            Replaced::Done { etag } => {
                record.seen = Seen { lease: next, etag };
                record.unsettled = None;
                *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = first_sent;
                Ok(())
            }
            Replaced::NotDone { found: Some(seen), error } if self.is_ours(&seen.lease) => {
                record.seen = *seen;
                Err(error.into())
            }
            Replaced::NotDone { .. } => Err(self.lose("another daemon has taken it over")),
        }
    }

    async fn check(&self) -> Result<(), JobError> {
        tokio::select! {
            biased;
            () = self.lost.cancelled() => self.still_ours(),
            checked = self.check_with_store() => checked,
        }
    }

    async fn check_with_store(&self) -> Result<(), JobError> {
        if self.renewed().is_past(self.pace().duration / 2, &self.now()) {
            self.keep().await?;
        } else {
            self.look().await?;
        }
        if self.is_surely_held() { Ok(()) } else { Err(self.lose("it could not be renewed in time")) }
    }

    /// Reads the record and sees whose it is.
    async fn look(&self) -> Result<(), JobError> {
        for attempt in 1.. {
            match self.object.read().await {
                Ok(Some(seen)) if self.is_ours(&seen.lease) => return Ok(()),
                Ok(_) => return Err(self.lose("another daemon has taken it over")),
                Err(error) if error.is_retryable() && attempt < CHECK_ATTEMPTS => {
                    tracing::debug!("the lease could not be read and is read again: {}", chain(&error));
                    time::sleep(self.pace().retry).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn release(&self, done: Option<(JobName, Timestamp)>) -> Result<(), JobError> {
        if let Some((job, due)) = &done {
            self.shared.book.remember_done(self.object.deployment(), job, *due);
        }
        loop {
            let deadline = self.renewed().instant + self.pace().surely;
            let error = match time::timeout_at(deadline, self.give_back(done.as_ref())).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_) => return Err(self.lose("it could not be given back in time")),
            };
            let lost = matches!(error, JobError::LeaseLost { .. });
            if lost || !error.is_retryable() || Instant::now() >= deadline {
                return Err(error);
            }
            tracing::debug!("the lease could not be given back and is tried again: {}", chain(&error));
            time::sleep_until(deadline.min(Instant::now() + self.pace().retry)).await;
        }
    }

    async fn give_back(&self, done: Option<&(JobName, Timestamp)>) -> Result<(), JobError> {
        let mut record = self.record.lock().await;
        if record.released {
            return Ok(());
        }
        let lease = record.seen.lease.clone();
        let mut next = Lease { holder: None, beat: lease.beat + 1, at: self.shared.clock.now(), ..lease };
        if let Some((job, due)) = done {
            let newest = next.done.entry(job.clone()).or_insert(*due);
            *newest = (*due).max(*newest);
        }
        self.write(&mut record, next).await?;
        record.released = true;
        self.ended.cancel();
        Ok(())
    }

    /// Whether a record is the one that we took, whatever beat it is at.
    fn is_ours(&self, lease: &Lease) -> bool {
        lease.fence == self.fence
            && lease.holder.as_ref().is_some_and(|holder| holder.instance == self.shared.holder.instance)
    }

    fn is_surely_held(&self) -> bool {
        self.still_ours().is_ok() && !self.renewed().is_past(self.pace().surely, &self.now())
    }

    fn still_ours(&self) -> Result<(), JobError> {
        let deployment = self.object.deployment().clone();
        if self.lost.is_cancelled() { Err(JobError::LeaseLost { deployment }) } else { Ok(()) }
    }

    fn lose(&self, why: &str) -> JobError {
        let deployment = self.object.deployment().clone();
        if !self.lost.is_cancelled() {
            tracing::error!(%deployment, fence = self.fence, "the lease is lost, since {why}");
            self.lost.cancel();
        }
        JobError::LeaseLost { deployment }
    }

    fn renewed(&self) -> Moment {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        Pace::moment(&*self.shared.clock)
    }

    fn pace(&self) -> Pace {
        self.shared.pace
    }
}
