//! [`LeaseObject`]: the one object of a lease, read and conditionally replaced. Decides nothing.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use convault_core::{
    DeploymentName, LEASE_FORMAT, Layout, Lease, PutMode, Store, StoreError, StoreErrorKind,
};

use crate::{JobError, read::read_small};

const LARGEST_LEASE_BYTES: u64 = 1 << 20;

/// A lease as the store has it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) lease: Lease,
    /// Never newer than `lease`, so that a write on its condition overwrites nothing that was not seen.
    pub(super) etag: String,
}

/// How a conditional write went.
#[derive(Debug)]
pub(super) enum Replaced {
    /// The record is in place.
    Done {
        /// Its entity tag.
        etag: String,
    },
    /// It is not, and this is what lies there.
    NotDone {
        /// The record that was found instead; `None` where there is none.
        found: Option<Box<Seen>>,
        /// What the store said to the write.
        error: StoreError,
    },
}

/// The lease of one deployment in the store.
#[derive(Debug)]
pub(super) struct LeaseObject {
    store: Arc<dyn Store>,
    deployment: DeploymentName,
    key: String,
    call_limit: Duration,
}

impl LeaseObject {
    /// The lease of `deployment`. One call of the store may take `call_limit`.
    pub(super) fn new(store: Arc<dyn Store>, deployment: &DeploymentName, call_limit: Duration) -> Self {
        let key = Layout::new(deployment.clone()).lease();
        Self { store, deployment: deployment.clone(), key, call_limit }
    }

    pub(super) fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn deployment(&self) -> &DeploymentName {
        &self.deployment
    }

    /// The record; `None` where there is none. Takes at most twice the limit of a call.
    pub(super) async fn read(&self) -> Result<Option<Seen>, JobError> {
        // The tag first: if the record changes in between, the tag is the older of the two, and a write fails.
        let head = async { self.store.head(&self.key).await.map_err(JobError::from) };
        let body = read_small(&*self.store, &self.key, LARGEST_LEASE_BYTES);
        let (etag, body) = match self.in_time("read", head).await {
            Ok(info) => (info.etag, self.in_time("read", body).await),
            Err(error) => (None, Err(error)),
        };
        let body = match body {
            Ok(body) => body,
            Err(JobError::Store(error)) if error.kind == StoreErrorKind::NotFound => return Ok(None),
            Err(JobError::Damaged { what, .. }) => return Err(self.no_lease(&what)),
            Err(error) => return Err(error),
        };
        let etag = etag.ok_or_else(|| self.unusable("the store gives it no entity tag"))?;
        Ok(Some(Seen { lease: self.parse(&body)?, etag }))
    }

    fn parse(&self, body: &[u8]) -> Result<Lease, JobError> {
        let lease: Lease = serde_json::from_slice(body).map_err(|error| self.no_lease(&error.to_string()))?;
        if lease.format > LEASE_FORMAT {
            return Err(
                self.unusable(&format!("the lease has format {}; use a newer convault", lease.format))
            );
        }
        Ok(lease)
    }

    /// Writes `next` over the record with `etag`, or where nothing is. An answer that says little (the store takes a
    /// repetition of a request that it had obeyed for somebody else's) is settled by reading what is there.
    pub(super) async fn replace(&self, etag: Option<&str>, next: &Lease) -> Result<Replaced, JobError> {
        let mut body = serde_json::to_vec_pretty(next).expect("a lease has only string keys");
        body.push(b'\n');
        let mode = etag.map_or(PutMode::IfAbsent, |etag| PutMode::IfMatch(etag.to_owned()));
        let put = async { self.store.put(&self.key, Bytes::from(body), mode).await.map_err(JobError::from) };
        let error = match self.in_time("put", put).await {
            Ok(stored) if stored.etag.is_some() => {
                return Ok(Replaced::Done { etag: stored.etag.unwrap_or_default() });
            }
            Ok(_) => self.error(StoreErrorKind::Other, "put", "the store gives no entity tag".to_owned()),
            Err(JobError::Store(error)) if error.kind == StoreErrorKind::Denied => return Err(error.into()),
            Err(JobError::Store(error)) => error,
            Err(error) => return Err(error),
        };
        match self.read().await? {
            Some(seen) if is_same_write(&seen.lease, next) => Ok(Replaced::Done { etag: seen.etag }),
            found => Ok(Replaced::NotDone { found: found.map(Box::new), error }),
        }
    }

    async fn in_time<T>(
        &self,
        action: &'static str,
        call: impl Future<Output = Result<T, JobError>>,
    ) -> Result<T, JobError> {
        tokio::time::timeout(self.call_limit, call).await.unwrap_or_else(|_| {
            let message = format!("no answer within {} s", self.call_limit.as_secs());
            Err(self.error(StoreErrorKind::Transient, action, message).into())
        })
    }

    fn error(&self, kind: StoreErrorKind, action: &'static str, message: String) -> StoreError {
        let destination = self.store.destination().clone();
        StoreError { kind, destination, action, key: self.key.clone(), message, source: None }
    }

    fn no_lease(&self, why: &str) -> JobError {
        self.unusable(&format!(
            "this is not a lease ({why}); once no daemon runs any more, remove it, and start them again"
        ))
    }

    fn unusable(&self, what: &str) -> JobError {
        JobError::Lease { place: format!("{} {}", self.store.location(), self.key), what: what.to_owned() }
    }
}

/// A fencing number belongs to one holder, and its holder counts every write.
fn is_same_write(found: &Lease, written: &Lease) -> bool {
    found.fence == written.fence && found.beat == written.beat && found.holder == written.holder
}
