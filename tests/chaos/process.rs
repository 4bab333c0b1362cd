//! A process that works on stores: its calls are counted, and the Nth of them meets a fault, the process's death, or a
//! long standstill.

use std::{
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use convault_core::{
    Abilities, Attributes, ByteStream, DestinationName, Lease, Lock, ObjectInfo, ObjectVersion, Part,
    PutMode, Store, StoreError, StoreErrorKind, Stored, UnfinishedUpload, Upload,
};
use futures::{StreamExt as _, TryStreamExt as _, future::BoxFuture, stream, stream::BoxStream};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
    time,
};
use tokio_util::sync::CancellationToken;

/// What happens at the Nth call of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An error comes back, and nothing is done.
    Error(StoreErrorKind),
    /// No answer comes for longer than anybody waits; then a transient error, and nothing is done.
    Late,
    /// What it reads breaks off halfway; what it writes is not done.
    Cut,
    /// It is done, and a transient error comes back.
    Lost,
    /// This call and every later one fails.
    GoneFrom,
    /// The process dies: after the call is obeyed, or before.
    Death {
        /// Whether the store obeys the call.
        obeyed: bool,
    },
    /// The process stands still until it is woken. What it had sent arrives only then.
    Standstill,
}

/// What is to happen to one call.
enum Fate {
    Pass,
    Meets(Fault),
}

#[derive(Debug, Default)]
struct State {
    calls: u64,
    plan: Option<(u64, Fault)>,
    gone: bool,
    /// The fencing number of the lease that it holds, or held last.
    fence: Option<u64>,
    breaches: Vec<String>,
}

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    state: Mutex<State>,
    dead: CancellationToken,
    /// Whether it stands still.
    still: watch::Sender<bool>,
    /// What it had sent and what has not arrived yet.
    under_way: Mutex<JoinSet<()>>,
    late: Duration,
}

impl Process {
    /// A process whose late calls are late by `late`.
    pub(crate) fn new(late: Duration) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            dead: CancellationToken::new(),
            still: watch::Sender::new(false),
            under_way: Mutex::default(),
            late,
        })
    }

    /// Lets the `nth` call from now (1 is the next) meet `fault`; with `None` lets all go well. Gives how many calls
    /// there were since the last time.
    pub(crate) fn arm(&self, plan: Option<(u64, Fault)>) -> u64 {
        let mut state = self.state.lock().unwrap();
        (state.plan, state.gone, state.fence) = (plan, false, None);
        std::mem::take(&mut state.calls)
    }

    /// Notes the lease under which it works.
    pub(crate) fn hold(&self, fence: u64) {
        self.state.lock().unwrap().fence = Some(fence);
    }

    /// What it deleted although it had lost its lease.
    pub(crate) fn breaches(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().breaches)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.is_cancelled()
    }

    /// Waits for its death.
    pub(crate) async fn died(&self) {
        self.dead.cancelled().await;
    }

    /// Waits until it stands still.
    pub(crate) async fn stands_still(&self) {
        let waited = self.still.subscribe().wait_for(|still| *still).await.map(|_| ());
        waited.expect("it is here");
    }

    /// Wakes it, and waits until all that it had sent has arrived.
    pub(crate) async fn wake(&self) {
        self.still.send_replace(false);
        loop {
            let mut under_way = std::mem::take(&mut *self.under_way.lock().unwrap());
            if under_way.is_empty() {
                return;
            }
            while under_way.join_next().await.is_some() {}
        }
    }

    /// Counts a call, and holds it up where the process is dead or stands still.
    async fn call(&self) -> Fate {
        if self.is_dead() {
            return std::future::pending().await;
        }
        let awake = self.still.subscribe().wait_for(|still| !*still).await.map(|_| ());
        awake.expect("it is here");
        let mut state = self.state.lock().unwrap();
        state.calls += 1;
        let calls = state.calls;
        if state.gone {
            return Fate::Meets(Fault::GoneFrom);
        }
        let Some((_, fault)) = state.plan.filter(|(nth, _)| *nth == calls) else { return Fate::Pass };
        state.gone = fault == Fault::GoneFrom;
        if fault == Fault::Standstill {
            self.still.send_replace(true);
        }
        Fate::Meets(fault)
    }

    async fn die<T>(&self) -> T {
        self.dead.cancel();
        std::future::pending().await
    }
}

/// The lease that whoever deletes here should hold: where it lies.
#[derive(Debug, Clone)]
pub(crate) struct LeaseAt {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) key: String,
}

/// A store as one process reaches it.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    inner: Arc<dyn Store>,
    process: Arc<Process>,
    lease: Option<LeaseAt>,
}

impl Line {
    pub(crate) fn new(inner: Arc<dyn Store>, process: &Arc<Process>, lease: Option<LeaseAt>) -> Arc<Self> {
        Arc::new(Self { inner, process: Arc::clone(process), lease })
    }

    fn error(&self, kind: StoreErrorKind, action: &'static str, key: &str) -> StoreError {
        StoreError {
            kind,
            destination: self.inner.destination().clone(),
            action,
            key: key.to_owned(),
            message: "this call was told to fail".to_owned(),
            source: None,
        }
    }

    async fn act<T: Send + 'static>(
        &self,
        action: &'static str,
        key: &str,
        call: BoxFuture<'static, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let fate = self.process.call().await;
        self.met(fate, action, key, call).await
    }

    async fn met<T: Send + 'static>(
        &self,
        fate: Fate,
        action: &'static str,
        key: &str,
        call: BoxFuture<'static, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let transient = || self.error(StoreErrorKind::Transient, action, key);
        match fate {
            Fate::Pass => call.await,
            Fate::Meets(Fault::Error(kind)) => Err(self.error(kind, action, key)),
            Fate::Meets(Fault::Late) => {
                time::sleep(self.process.late).await;
                Err(transient())
            }
            Fate::Meets(Fault::Cut | Fault::GoneFrom) => Err(transient()),
            Fate::Meets(Fault::Lost) => {
                call.await?;
                Err(transient())
            }
            Fate::Meets(Fault::Death { obeyed }) => {
                if obeyed {
                    drop(call.await);
                }
                self.process.die().await
            }
            Fate::Meets(Fault::Standstill) => self.send_before_standing_still(call).await,
        }
    }

    /// The call is on its way: it arrives even if nobody waits for it any more.
    async fn send_before_standing_still<T: Send + 'static>(
        &self,
        call: BoxFuture<'static, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let mut still = self.process.still.subscribe();
        self.process.under_way.lock().unwrap().spawn(async move {
            if still.wait_for(|still| !*still).await.is_ok() {
                drop(answer.send(call.await));
            }
        });
        answered.await.expect("whoever was sent answers")
    }

    /// Notes a deletion by a holder that has lost its lease.
    async fn watch_deletion(&self, key: &str) {
        let Some(at) = &self.lease else { return };
        let Some(fence) = self.process.state.lock().unwrap().fence else { return };
        let Ok(stream) = at.store.get(&at.key, None).await else { return };
        let Ok(body) = stream.try_collect::<Vec<Bytes>>().await else { return };
        let Ok(lease) = serde_json::from_slice::<Lease>(&body.concat()) else { return };
        if lease.fence > fence {
            let text = format!("{key} is deleted under fence {fence}, while {} holds", lease.fence);
            self.process.state.lock().unwrap().breaches.push(text);
        }
    }
}

/// The first half of what a read gives, then an error.
async fn cut(whole: ByteStream, error: StoreError) -> Result<ByteStream, StoreError> {
    let bytes = whole.try_collect::<Vec<Bytes>>().await?.concat();
    let half = Bytes::copy_from_slice(&bytes[..bytes.len() / 2]);
    Ok(stream::iter([Ok(half), Err(error)]).boxed())
}

#[async_trait]
impl Store for Line {
    fn destination(&self) -> &DestinationName {
        self.inner.destination()
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    async fn put_with(
        &self,
        key: &str,
        body: Bytes,
        mode: PutMode,
        attributes: &Attributes,
    ) -> Result<Stored, StoreError> {
        let (inner, name, attributes) = (Arc::clone(&self.inner), key.to_owned(), attributes.clone());
        let call = Box::pin(async move { inner.put_with(&name, body, mode, &attributes).await });
        self.act("put", key, call).await
    }

    async fn upload_with(
        &self,
        key: &str,
        part_bytes: u64,
        mode: PutMode,
        attributes: &Attributes,
    ) -> Result<Box<dyn Upload>, StoreError> {
        let (inner, name, attributes) = (Arc::clone(&self.inner), key.to_owned(), attributes.clone());
        let call = Box::pin(async move { inner.upload_with(&name, part_bytes, mode, &attributes).await });
        let upload = self.act("begin the upload of", key, call).await?;
        Ok(Box::new(UploadLine { inner: Arc::from(upload), line: self.clone(), key: key.to_owned() }))
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        let (inner, name) = (Arc::clone(&self.inner), key.to_owned());
        match self.process.call().await {
            Fate::Meets(Fault::Cut) => {
                cut(inner.get(key, range).await?, self.error(StoreErrorKind::Transient, "get", key)).await
            }
            fate => {
                let call = Box::pin(async move { inner.get(&name, range).await });
                self.met(fate, "get", key, call).await
            }
        }
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        let (inner, name) = (Arc::clone(&self.inner), key.to_owned());
        self.act("read the size of", key, Box::pin(async move { inner.head(&name).await })).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<ObjectInfo, StoreError>> {
        let (line, prefix) = (self.clone(), prefix.to_owned());
        let listing = async move {
            let fate = line.process.call().await;
            let cut = matches!(fate, Fate::Meets(Fault::Cut));
            let fate = if cut { Fate::Pass } else { fate };
            let (inner, name) = (Arc::clone(&line.inner), prefix.clone());
            let call = Box::pin(async move { inner.list(&name).try_collect::<Vec<_>>().await });
            let mut all: Vec<Result<ObjectInfo, StoreError>> =
                line.met(fate, "list", &prefix, call).await?.into_iter().map(Ok).collect();
            if cut {
                all.truncate(all.len() / 2);
                all.push(Err(line.error(StoreErrorKind::Transient, "list", &prefix)));
            }
            Ok(stream::iter(all))
        };
        stream::once(listing).try_flatten().boxed()
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let (inner, name) = (Arc::clone(&self.inner), prefix.to_owned());
        let call = Box::pin(async move { inner.list_folders(&name).await });
        self.act("list the folders of", prefix, call).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let (inner, name) = (Arc::clone(&self.inner), key.to_owned());
        self.watch_deletion(key).await;
        self.act("delete", key, Box::pin(async move { inner.delete(&name).await })).await
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<UnfinishedUpload>, StoreError> {
        let (inner, name) = (Arc::clone(&self.inner), prefix.to_owned());
        let call = Box::pin(async move { inner.list_uploads(&name).await });
        self.act("list the unfinished uploads of", prefix, call).await
    }

    async fn abort_upload(&self, upload: &UnfinishedUpload) -> Result<(), StoreError> {
        let (inner, found) = (Arc::clone(&self.inner), upload.clone());
        let call = Box::pin(async move { inner.abort_upload(&found).await });
        self.act("abort the upload of", &upload.key, call).await
    }

    fn list_versions(&self, prefix: &str) -> BoxStream<'static, Result<ObjectVersion, StoreError>> {
        let (line, prefix) = (self.clone(), prefix.to_owned());
        let listing = async move {
            let (inner, name) = (Arc::clone(&line.inner), prefix.clone());
            let call = Box::pin(async move { inner.list_versions(&name).try_collect::<Vec<_>>().await });
            let all = line.act("list versions of", &prefix, call).await?;
            Ok(stream::iter(all).map(Ok))
        };
        stream::once(listing).try_flatten().boxed()
    }

    async fn get_version(
        &self,
        key: &str,
        version: &str,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, StoreError> {
        let (inner, name, version) = (Arc::clone(&self.inner), key.to_owned(), version.to_owned());
        let call = Box::pin(async move { inner.get_version(&name, &version, range).await });
        self.act("get a version of", key, call).await
    }

    async fn delete_version(&self, key: &str, version: &str) -> Result<(), StoreError> {
        let (inner, name, version) = (Arc::clone(&self.inner), key.to_owned(), version.to_owned());
        let call = Box::pin(async move { inner.delete_version(&name, &version).await });
        self.act("delete a version of", key, call).await
    }

    async fn lock(&self, key: &str) -> Result<Option<Lock>, StoreError> {
        let (inner, name) = (Arc::clone(&self.inner), key.to_owned());
        self.act("read the lock of", key, Box::pin(async move { inner.lock(&name).await })).await
    }

    async fn set_lock(&self, key: &str, lock: Lock) -> Result<(), StoreError> {
        let (inner, name) = (Arc::clone(&self.inner), key.to_owned());
        self.act("lock", key, Box::pin(async move { inner.set_lock(&name, lock).await })).await
    }

    async fn abilities(&self) -> Result<Abilities, StoreError> {
        self.inner.abilities().await
    }
}

struct UploadLine {
    inner: Arc<dyn Upload>,
    line: Line,
    key: String,
}

#[async_trait]
impl Upload for UploadLine {
    async fn put_part(&self, part: Part) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        let call = Box::pin(async move { inner.put_part(part).await });
        self.line.act("upload a part of", &self.key, call).await
    }

    async fn finish(&self) -> Result<Stored, StoreError> {
        let inner = Arc::clone(&self.inner);
        self.line.act("finish the upload of", &self.key, Box::pin(async move { inner.finish().await })).await
    }

    async fn abort(&self) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        self.line.act("abort the upload of", &self.key, Box::pin(async move { inner.abort().await })).await
    }
}
