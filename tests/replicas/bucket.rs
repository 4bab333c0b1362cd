//! The bucket that all daemons share, and the lines over which they reach it.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use convault_core::{
    Abilities, Attributes, ByteStream, Clock, DestinationName, ObjectInfo, PutMode, Store, StoreError,
    StoreErrorKind, Stored, UnfinishedUpload, Upload,
};
use convault_uploader::MemoryStore;
use futures::{FutureExt as _, stream::BoxStream};
use jiff::{SignedDuration, Timestamp};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{sync::oneshot, time};

/// Time as it truly passes; the bucket's clock.
#[derive(Debug)]
pub(crate) struct TrueTime {
    milliseconds: AtomicI64,
}

impl TrueTime {
    pub(crate) fn at(start: Timestamp) -> Arc<Self> {
        Arc::new(Self { milliseconds: AtomicI64::new(start.as_millisecond()) })
    }

    pub(crate) fn pass(&self, by: Duration) {
        self.milliseconds.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for TrueTime {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.milliseconds.load(Ordering::Relaxed)).unwrap()
    }

    fn instant(&self) -> std::time::Instant {
        time::Instant::now().into_std()
    }
}

/// How a daemon's calls fare.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) reads: Luck,
    pub(crate) writes: Luck,
}

/// How many calls meet what, in tenths of a percent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Luck {
    /// Never arrive; an error comes back.
    pub(crate) failing: u32,
    /// Are obeyed; an error comes back.
    pub(crate) unanswered: u32,
    /// Take up to two minutes on their way.
    pub(crate) slow: u32,
}

/// A write on its way.
#[derive(Debug)]
struct Write {
    lands: Timestamp,
    answered: Timestamp,
    lose_answer: bool,
    key: String,
    body: Bytes,
    mode: PutMode,
    reply: oneshot::Sender<Result<Stored, StoreError>>,
}

type Answer = (Timestamp, oneshot::Sender<Result<Stored, StoreError>>, Result<Stored, StoreError>);

#[derive(Debug)]
struct Traffic {
    random: StdRng,
    writes: Vec<Write>,
    answers: Vec<Answer>,
    hold_up: Option<(&'static str, Duration)>,
}

/// The bucket, with everything that is on its way to and from it.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) time: Arc<TrueTime>,
    pub(crate) memory: MemoryStore,
    traffic: Mutex<Traffic>,
}

impl Bucket {
    pub(crate) fn new(time: Arc<TrueTime>, seed: u64) -> Arc<Self> {
        let clock: Arc<dyn Clock> = Arc::<TrueTime>::clone(&time);
        let memory = MemoryStore::with_clock(DestinationName::new("offsite").unwrap(), clock);
        let random = StdRng::seed_from_u64(seed);
        let traffic = Traffic { random, writes: Vec::new(), answers: Vec::new(), hold_up: None };
        Arc::new(Self { time, memory, traffic: Mutex::new(traffic) })
    }

    /// Lets the next write to a key that ends in `suffix` take that much longer to arrive.
    pub(crate) fn hold_up(&self, suffix: &'static str, by: Duration) {
        self.traffic.lock().unwrap().hold_up = Some((suffix, by));
    }

    /// Whether a write that is to be held up has not been sent yet.
    pub(crate) fn holds_up(&self) -> bool {
        self.traffic.lock().unwrap().hold_up.is_some()
    }

    /// Obeys the writes that have arrived, in that order, and answers those whose time has come.
    pub(crate) fn obey(&self) {
        let now = self.time.now();
        let mut traffic = self.traffic.lock().unwrap();
        let (mut arrived, under_way): (Vec<_>, Vec<_>) =
            traffic.writes.drain(..).partition(|write| write.lands <= now);
        arrived.sort_by_key(|write| write.lands);
        traffic.writes = under_way;
        for write in arrived {
            let done = self.memory.put(&write.key, write.body, write.mode).now_or_never();
            let done = done.expect("a store in memory does not wait");
            let told = if write.lose_answer { Err(self.failure("put", &write.key)) } else { done };
            traffic.answers.push((write.answered, write.reply, told));
        }
        let (due, waiting): (Vec<_>, Vec<_>) = traffic.answers.drain(..).partition(|(at, ..)| *at <= now);
        traffic.answers = waiting;
        for (_, reply, told) in due {
            // Whoever asked may have gone or given up.
            drop(reply.send(told));
        }
    }

    fn failure(&self, action: &'static str, key: &str) -> StoreError {
        StoreError {
            kind: StoreErrorKind::Transient,
            destination: self.memory.destination().clone(),
            action,
            key: key.to_owned(),
            message: "the weather is bad".to_owned(),
            source: None,
        }
    }

    /// What becomes of the next call: whether it fails, whether its answer is lost, and how long each way takes.
    fn fate(&self, luck: Luck) -> (bool, bool, [Duration; 2]) {
        let mut traffic = self.traffic.lock().unwrap();
        let mut chance = |part: u32| traffic.random.random_range(0..1000) < part;
        let (failing, unanswered, slow) = (chance(luck.failing), chance(luck.unanswered), chance(luck.slow));
        let most = if slow { 120_000 } else { 900 };
        let mut way = || Duration::from_millis(traffic.random.random_range(1..most));
        (failing, unanswered, [way(), way()])
    }
}

/// A daemon's line to the bucket.
#[derive(Debug)]
pub(crate) struct Line {
    bucket: Arc<Bucket>,
    weather: Arc<Mutex<Weather>>,
}

impl Line {
    /// A line on which the weather is as the test sets it.
    pub(crate) fn to(bucket: &Arc<Bucket>, weather: &Arc<Mutex<Weather>>) -> Arc<dyn Store> {
        Arc::new(Self { bucket: Arc::clone(bucket), weather: Arc::clone(weather) })
    }

    fn weather(&self) -> Weather {
        *self.weather.lock().unwrap()
    }

    /// A call that changes nothing.
    async fn read<T>(
        &self,
        action: &'static str,
        key: &str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let (failing, unanswered, [there, back]) = self.bucket.fate(self.weather().reads);
        time::sleep(there).await;
        if failing || unanswered {
            return Err(self.bucket.failure(action, key));
        }
        let answer = call.await;
        time::sleep(back).await;
        answer
    }
}

#[async_trait]
impl Store for Line {
    fn destination(&self) -> &DestinationName {
        self.bucket.memory.destination()
    }

    fn location(&self) -> String {
        self.bucket.memory.location()
    }

    async fn put_with(
        &self,
        key: &str,
        body: Bytes,
        mode: PutMode,
        _attributes: &Attributes,
    ) -> Result<Stored, StoreError> {
        let (failing, lose_answer, [there, back]) = self.bucket.fate(self.weather().writes);
        if failing {
            time::sleep(there).await;
            return Err(self.bucket.failure("put", key));
        }
        let (reply, answer) = oneshot::channel();
        {
            let mut traffic = self.bucket.traffic.lock().unwrap();
            let held_up = traffic.hold_up.take_if(|(suffix, _)| key.ends_with(*suffix));
            let held_up = held_up.map_or(Duration::ZERO, |(_, by)| by);
            let lands = self.bucket.time.now() + there + held_up;
            let answered = lands + SignedDuration::try_from(back).unwrap();
            let key = key.to_owned();
            traffic.writes.push(Write { lands, answered, lose_answer, key, body, mode, reply });
        }
        answer.await.unwrap_or_else(|_| Err(self.bucket.failure("put", key)))
    }

    async fn upload_with(
        &self,
        key: &str,
        part_bytes: u64,
        mode: PutMode,
        attributes: &Attributes,
    ) -> Result<Box<dyn Upload>, StoreError> {
        self.bucket.memory.upload_with(key, part_bytes, mode, attributes).await
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        self.read("get", key, self.bucket.memory.get(key, range)).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        self.read("read the size of", key, self.bucket.memory.head(key)).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<ObjectInfo, StoreError>> {
        self.bucket.memory.list(prefix)
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.read("list the folders of", prefix, self.bucket.memory.list_folders(prefix)).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.bucket.memory.delete(key).await
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<UnfinishedUpload>, StoreError> {
        self.bucket.memory.list_uploads(prefix).await
    }

    async fn abort_upload(&self, upload: &UnfinishedUpload) -> Result<(), StoreError> {
        self.bucket.memory.abort_upload(upload).await
    }

    async fn abilities(&self) -> Result<Abilities, StoreError> {
        self.bucket.memory.abilities().await
    }
}
