//! Cuts one stream into equal parts, once, and gives each part to every destination.
//!
//! The parts lie in a fixed set of buffers shared by all destinations, so a slow one holds the others back by no
//! more than that many parts; one that takes nothing for the stall limit is given up and the rest goes on.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use convault_core::{DestinationName, Part, PartPlan, Sha256, Sha256Stream, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    JobError,
    error::chain,
    lane::{Finishing, Lane, LaneError},
    pool::{Buffer, Pool},
};

/// An object on its way to several destinations.
pub(crate) struct FanOut {
    lanes: Vec<Lane>,
    pool: Pool,
    stall_limit: Duration,
    filling: Option<Buffer>,
    parts: u32,
    length_bytes: u64,
    sha256: Sha256Stream,
}

/// What one destination made of the object.
pub(crate) struct LaneResult {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) result: Result<Finishing, LaneError>,
}

/// The object as it was sent.
pub(crate) struct Sent {
    pub(crate) length_bytes: u64,
    pub(crate) sha256: Sha256,
    pub(crate) lanes: Vec<LaneResult>,
}

impl FanOut {
    /// Begins to send an object; `key` is the same in every destination.
    pub(crate) fn begin(stores: &[Arc<dyn Store>], key: &str, plan: PartPlan, stall_limit: Duration) -> Self {
        let part_bytes = usize::try_from(plan.part_bytes).expect("a part fits in the address space");
        let open = |store: &Arc<dyn Store>| Lane::open(Arc::clone(store), key.to_owned(), plan.part_bytes);
        Self {
            lanes: stores.iter().map(open).collect(),
            pool: Pool::new(plan.parts_in_memory, part_bytes),
            stall_limit,
            filling: None,
            parts: 0,
            length_bytes: 0,
            sha256: Sha256Stream::new(),
        }
    }

    /// Sends the next bytes. Waits while every buffer is in use. Fails only when no destination is left.
    pub(crate) async fn write(&mut self, mut bytes: &[u8]) -> Result<(), JobError> {
        self.sha256.update(bytes);
        self.length_bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.filling.as_ref().is_some_and(Buffer::is_full) {
                self.send_part().await;
            }
            if self.filling.is_none() {
                self.filling = Some(self.next_buffer().await?);
            }
            let buffer = self.filling.as_mut().expect("it was taken above");
            bytes = buffer.fill(bytes);
        }
        Ok(())
    }

    async fn send_part(&mut self) {
        let part = self.cut().await;
        for lane in self.lanes.iter().filter(|lane| lane.is_open()) {
            lane.send(part.clone());
        }
    }

    async fn cut(&mut self) -> Part {
        let body = self.filling.take().map_or_else(Bytes::new, Buffer::freeze);
        self.parts += 1;
        let hashed = body.clone();
        let sha256 = tokio::task::spawn_blocking(move || Sha256::of(&hashed)).await;
        Part {
            number: self.parts,
            body,
            sha256: sha256.expect("hashing does not panic, and is not cancelled"),
        }
    }

    async fn next_buffer(&self) -> Result<Buffer, JobError> {
        loop {
            if !self.lanes.iter().any(Lane::is_open) {
                return Err(JobError::AllDestinationsFailed("each stopped taking data".to_owned()));
            }
            match tokio::time::timeout(self.patience(), self.pool.take()).await {
                Ok(buffer) => return Ok(buffer),
                Err(_) => self.give_up_stalled(),
            }
        }
    }

    /// A fraction of the stall limit, so that a stall is noticed soon after it has lasted that long.
    fn patience(&self) -> Duration {
        (self.stall_limit / 8).max(Duration::from_millis(10))
    }

    fn give_up_stalled(&self) {
        let now = Instant::now();
        let stalled =
            |lane: &&Lane| lane.stalled_since().is_some_and(|since| now - since >= self.stall_limit);
        for lane in self.lanes.iter().filter(stalled) {
            tracing::warn!(destination = %lane.store.destination(), "took nothing for too long and is left behind");
            lane.give_up();
        }
    }

    /// Whether everything so far fits into one part.
    pub(crate) fn is_small(&self) -> bool {
        self.parts == 0
    }

    /// Sends what is left and waits until every destination has it all or has failed, or `stop` gives up those that
    /// have not. No object is visible yet, unless it fitted into one part and `at_once` allows that.
    pub(crate) async fn close(mut self, at_once: bool, stop: &CancellationToken) -> Sent {
        let last = self.cut().await;
        for lane in self.lanes.iter().filter(|lane| lane.is_open()) {
            if at_once && last.number == 1 {
                lane.send_whole(last.clone());
            } else {
                lane.send(last.clone());
                lane.send_last();
            }
        }
        drop(last);
        let stall_limit = self.stall_limit;
        let lanes = self.lanes.drain(..).map(|lane| wait(lane, stall_limit, stop));
        let lanes = futures::future::join_all(lanes).await;
        Sent { length_bytes: self.length_bytes, sha256: self.sha256.finish(), lanes }
    }

    /// Gives everything up and waits until no upload of it is left. Gives the destinations that had failed before,
    /// and why.
    pub(crate) async fn abort(mut self) -> Vec<(DestinationName, String)> {
        self.filling = None;
        let failed_before: Vec<bool> = self.lanes.iter().map(|lane| !lane.is_open()).collect();
        for lane in &self.lanes {
            lane.give_up();
        }
        let mut failures = Vec::new();
        for (lane, failed) in self.lanes.drain(..).zip(failed_before) {
            let destination = lane.store.destination().clone();
            match lane.done().await {
                Ok(finishing) => finishing.abort().await,
                Err(LaneError::Store(error)) if failed => failures.push((destination, chain(&error))),
                Err(LaneError::Stalled) if failed => {
                    failures
                        .push((destination, format!("it took no data for {} s", self.stall_limit.as_secs())));
                }
                Err(_) => {}
            }
        }
        failures
    }
}

async fn wait(lane: Lane, stall_limit: Duration, stop: &CancellationToken) -> LaneResult {
    let store = Arc::clone(&lane.store);
    let give_up = lane.stop_token();
    let mut progress = lane.progress_receiver();
    let done = lane.done();
    tokio::pin!(done);
    let result = loop {
        let deadline = *progress.borrow_and_update() + stall_limit;
        tokio::select! {
            result = &mut done => break result,
            Ok(()) = progress.changed() => continue,
            () = stop.cancelled() => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
        give_up.cancel();
        break done.await;
    };
    LaneResult { store, result }
}
