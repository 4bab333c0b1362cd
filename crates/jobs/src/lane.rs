//! One destination's side of an upload: takes parts as they come, sends several at once, and can be given up alone.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crate::JobError;
use convault_core::{Part, PutMode, Store, StoreError, StoreErrorKind, Stored, Upload};
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// More requests at once gain nothing, and each holds a part.
const MOST_PARTS_AT_ONCE: usize = 4;

/// Why a destination has no object.
#[derive(Debug)]
pub(crate) enum LaneError {
    /// The store failed.
    Store(StoreError),
    /// It took no part for too long.
    Stalled,
}

impl LaneError {
    /// The failure of a run that has no other destination to go on with.
    pub(crate) fn into_job_error(self, stop: &CancellationToken) -> JobError {
        match self {
            Self::Store(error) => error.into(),
            Self::Stalled if stop.is_cancelled() => JobError::Stopped,
            Self::Stalled => JobError::Stalled,
        }
    }
}

/// What is sent to a lane.
enum Item {
    Part(Part),
    /// The whole object, which turned out to be small.
    Whole(Part),
    /// Every part has been sent.
    Last,
}

/// One destination's side of an upload.
pub(crate) struct Lane {
    pub(crate) store: Arc<dyn Store>,
    items: mpsc::UnboundedSender<Item>,
    state: Arc<State>,
    task: JoinHandle<Result<Finishing, LaneError>>,
}

struct State {
    waiting: AtomicUsize,
    failed: AtomicBool,
    stop: CancellationToken,
    /// When a part was last finished, or the first one handed over after a pause.
    beat: watch::Sender<Instant>,
}

/// An object that is whole at the store, but not yet visible, or stored already because it was small.
pub(crate) enum Finishing {
    Upload(Box<dyn Upload>),
    Stored(Stored),
}

impl Finishing {
    /// Makes the object visible.
    pub(crate) async fn finish(&self) -> Result<Stored, StoreError> {
        match self {
            Self::Upload(upload) => upload.finish().await,
            Self::Stored(stored) => Ok(stored.clone()),
        }
    }

    /// Leaves nothing behind of an object that was not finished.
    pub(crate) async fn abort(&self) {
        if let Self::Upload(upload) = self {
            abort(upload.as_ref()).await;
        }
    }
}

async fn abort(upload: &dyn Upload) {
    if let Err(error) = upload.abort().await {
        tracing::warn!(%error, "an unfinished upload stays behind; a later run aborts it");
    }
}

impl Lane {
    /// Opens a lane for an object. Parts may not outnumber the buffers they lie in, which bounds the queue.
    #[expect(clippy::disallowed_methods, reason = "the lane owns the task: it is awaited or told to stop")]
    pub(crate) fn open(store: Arc<dyn Store>, key: String, part_bytes: u64) -> Self {
        let (items, receiver) = mpsc::unbounded_channel();
        let state = Arc::new(State {
            waiting: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            stop: CancellationToken::new(),
            beat: watch::Sender::new(Instant::now()),
        });
        let worker = Worker { store: Arc::clone(&store), key, part_bytes, state: Arc::clone(&state) };
        Self { store, items, state, task: tokio::spawn(worker.run(receiver).in_current_span()) }
    }

    /// Whether the destination is still taking part.
    pub(crate) fn is_open(&self) -> bool {
        !self.state.failed.load(Ordering::Acquire)
    }

    /// Hands over one part.
    pub(crate) fn send(&self, part: Part) {
        self.hand_over(Item::Part(part));
    }

    /// Hands over the whole of a small object.
    pub(crate) fn send_whole(&self, part: Part) {
        self.hand_over(Item::Whole(part));
    }

    /// Says that every part has been sent.
    pub(crate) fn send_last(&self) {
        self.hand_over(Item::Last);
    }

    fn hand_over(&self, item: Item) {
        if self.state.waiting.fetch_add(1, Ordering::AcqRel) == 0 {
            // A lane that had nothing to do did not stall meanwhile.
            self.state.beat.send_replace(Instant::now());
        }
        if self.items.send(item).is_err() {
            // The worker has ended, with an error that the caller sees when it waits for it.
            self.state.failed.store(true, Ordering::Release);
        }
    }

    /// Since when the lane has held parts without finishing one; `None` where it holds none.
    pub(crate) fn stalled_since(&self) -> Option<Instant> {
        (self.is_open() && self.state.waiting.load(Ordering::Acquire) > 0).then(|| *self.state.beat.borrow())
    }

    /// Gives the destination up; what it holds is dropped, and its upload aborted.
    pub(crate) fn give_up(&self) {
        self.state.failed.store(true, Ordering::Release);
        self.state.stop.cancel();
    }

    /// Waits until everything handed over has arrived, or the lane has failed.
    pub(crate) async fn done(self) -> Result<Finishing, LaneError> {
        match self.task.await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// When a part was last finished.
    pub(crate) fn progress_receiver(&self) -> watch::Receiver<Instant> {
        self.state.beat.subscribe()
    }

    /// A token that ends the lane's wait from outside.
    pub(crate) fn stop_token(&self) -> CancellationToken {
        self.state.stop.clone()
    }
}

struct Worker {
    store: Arc<dyn Store>,
    key: String,
    part_bytes: u64,
    state: Arc<State>,
}

impl Worker {
    async fn run(self, items: mpsc::UnboundedReceiver<Item>) -> Result<Finishing, LaneError> {
        let mut upload = None;
        let result = tokio::select! {
            () = self.state.stop.cancelled() => Err(LaneError::Stalled),
            result = self.send_all(items, &mut upload) => result.map_err(LaneError::Store),
        };
        self.state.failed.store(result.is_err(), Ordering::Release);
        match (result, upload) {
            (Ok(Some(stored)), _) => Ok(Finishing::Stored(stored)),
            (Ok(None), Some(upload)) => Ok(Finishing::Upload(upload)),
            (Ok(None), None) => Err(LaneError::Store(self.nothing_sent())),
            (Err(error), upload) => {
                if let Some(upload) = upload {
                    abort(upload.as_ref()).await;
                }
                Err(error)
            }
        }
    }

    async fn send_all(
        &self,
        mut items: mpsc::UnboundedReceiver<Item>,
        upload: &mut Option<Box<dyn Upload>>,
    ) -> Result<Option<Stored>, StoreError> {
        let Some(first) = items.recv().await else { return Err(self.nothing_sent()) };
        let part = match first {
            Item::Whole(part) => {
                let stored = self.put_whole(part).await?;
                self.one_done();
                return Ok(Some(stored));
            }
            Item::Part(part) => part,
            Item::Last => return Err(self.nothing_sent()),
        };
        let upload: &dyn Upload =
            &**upload.insert(self.store.upload(&self.key, self.part_bytes, PutMode::IfAbsent).await?);
        let mut under_way = FuturesUnordered::new();
        under_way.push(upload.put_part(part));
        let mut last_seen = false;
        while !(last_seen && under_way.is_empty()) {
            tokio::select! {
                Some(result) = under_way.next() => {
                    result?;
                    self.one_done();
                }
                item = items.recv(), if !last_seen && under_way.len() < MOST_PARTS_AT_ONCE => match item {
                    Some(Item::Part(part)) => under_way.push(upload.put_part(part)),
                    Some(Item::Last) => {
                        last_seen = true;
                        self.one_done();
                    }
                    // Whoever cuts the stream went away without saying that it is whole.
                    Some(Item::Whole(_)) | None => return Err(self.nothing_sent()),
                },
            }
        }
        Ok(None)
    }

    /// The key belongs to this run alone, so what is there already is this very object, whose answer got lost;
    /// reading it back decides.
    async fn put_whole(&self, part: Part) -> Result<Stored, StoreError> {
        let size_bytes = part.body.len() as u64;
        let unproven = Stored { size_bytes, checksum_confirmed: false, etag: None };
        match self.store.put(&self.key, part.body, PutMode::IfAbsent).await {
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => Ok(unproven),
            Err(error) if error.kind == StoreErrorKind::Transient => match self.store.head(&self.key).await {
                Ok(info) if info.size_bytes == size_bytes => Ok(unproven),
                _ => Err(error),
            },
            result => result,
        }
    }

    fn one_done(&self) {
        self.state.waiting.fetch_sub(1, Ordering::AcqRel);
        self.state.beat.send_replace(Instant::now());
    }

    fn nothing_sent(&self) -> StoreError {
        StoreError {
            kind: StoreErrorKind::Other,
            destination: self.store.destination().clone(),
            action: "upload",
            key: self.key.clone(),
            message: "the stream ended before it was whole".to_owned(),
            source: None,
        }
    }
}
