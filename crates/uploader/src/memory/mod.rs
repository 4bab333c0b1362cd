//! [`MemoryStore`]: a destination that forgets everything, for tests.

mod history;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use convault_core::{
    Abilities, Ability, Attributes, ByteStream, Clock, Copied, DefaultLock, DestinationName, Fetched, Lock,
    ObjectInfo, ObjectVersion, Origin, Part, PutMode, Sha256, Store, StoreError, StoreErrorKind, Stored,
    SystemClock, UnfinishedUpload, Upload,
};
use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use jiff::Timestamp;

use self::history::{History, Version};
use crate::{
    extent,
    failure::Attempt,
    probe::{self, BucketSays, Locking},
};

const READ_CHUNK_BYTES: usize = 64 << 10;

/// One kind of call of a [`MemoryStore`], for counting and for faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemoryOperation {
    /// [`Store::put`].
    Put,
    /// [`Store::upload`].
    Upload,
    /// [`Upload::put_part`].
    PutPart,
    /// [`Upload::finish`].
    Finish,
    /// [`Upload::abort`] and [`Store::abort_upload`].
    Abort,
    /// [`Store::get`] and [`Store::fetch`].
    Get,
    /// [`Store::head`].
    Head,
    /// [`Store::list`] and [`Store::list_folders`].
    List,
    /// [`Store::delete`].
    Delete,
    /// [`Store::list_uploads`].
    ListUploads,
    /// [`Store::list_versions`].
    ListVersions,
    /// [`Store::get_version`].
    GetVersion,
    /// [`Store::delete_version`].
    DeleteVersion,
    /// [`Store::lock`].
    Lock,
    /// [`Store::set_lock`].
    SetLock,
    /// [`Store::copy_from`].
    Copy,
}

/// What goes wrong in a call of a [`MemoryStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryFault {
    /// Nothing is done and this kind of error comes back.
    Fail(StoreErrorKind),
    /// It is done, and then a transient error comes back.
    LoseAnswer,
    /// No answer ever comes.
    Hang,
}

#[derive(Debug)]
struct Pending {
    key: String,
    started: Timestamp,
    parts: BTreeMap<u32, Bytes>,
}

#[derive(Debug, Default)]
struct State {
    objects: History,
    uploads: BTreeMap<String, Pending>,
    calls: BTreeMap<MemoryOperation, u64>,
    faults: BTreeMap<(MemoryOperation, u64), MemoryFault>,
    broken: BTreeMap<MemoryOperation, MemoryFault>,
    backwards: bool,
}

/// A destination in memory. Clones share what is stored.
///
/// Beyond [`Store`] it lets a test look inside, tamper with what is stored, count calls and ask for faults.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    destination: DestinationName,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

impl MemoryStore {
    /// An empty store that takes its times from the machine's clock.
    pub fn new(destination: DestinationName) -> Self {
        Self::with_clock(destination, Arc::new(SystemClock))
    }

    /// An empty store that takes its times from `clock`.
    pub fn with_clock(destination: DestinationName, clock: Arc<dyn Clock>) -> Self {
        Self { destination, clock, state: Arc::default() }
    }

    /// The same store as a bucket that keeps versions.
    #[must_use]
    pub fn with_versions(self) -> Self {
        self.lock_state().objects.versioned = true;
        self
    }

    /// The same store as a bucket that keeps versions and has Object Lock, and that puts `default_lock` on every new
    /// object by itself. The clock of the store decides when a lock ends.
    #[must_use]
    pub fn with_locks(self, default_lock: Option<DefaultLock>) -> Self {
        let mut state = self.lock_state();
        (state.objects.versioned, state.objects.locks) = (true, true);
        state.objects.default_lock = default_lock;
        drop(state);
        self
    }

    /// The same store as one that lists its objects backwards: some list them in no order at all.
    #[must_use]
    pub fn listing_backwards(self) -> Self {
        self.lock_state().backwards = true;
        self
    }

    /// Lets the `nth` call of `operation` from now (1 is the next) meet `fault`.
    pub fn fault(&self, operation: MemoryOperation, nth: u64, fault: MemoryFault) {
        let mut state = self.lock_state();
        let place = state.calls.get(&operation).copied().unwrap_or(0) + nth;
        state.faults.insert((operation, place), fault);
    }

    /// Lets every call of `operation` meet `fault` until [`MemoryStore::mend`].
    pub fn fault_always(&self, operation: MemoryOperation, fault: MemoryFault) {
        self.lock_state().broken.insert(operation, fault);
    }

    /// Takes back every fault that has not happened yet.
    pub fn mend(&self) {
        let mut state = self.lock_state();
        state.faults.clear();
        state.broken.clear();
    }

    /// How often `operation` was called.
    pub fn calls(&self, operation: MemoryOperation) -> u64 {
        self.lock_state().calls.get(&operation).copied().unwrap_or(0)
    }

    /// Every key, ascending.
    pub fn keys(&self) -> Vec<String> {
        self.infos("").into_iter().map(|info| info.key).collect()
    }

    /// The bytes under `key`.
    pub fn contents(&self, key: &str) -> Option<Bytes> {
        self.lock_state().objects.newest(key)?.body.clone()
    }

    /// Puts `body` under `key` behind the back of whoever relies on it, keeping time and entity tag.
    pub fn tamper(&self, key: &str, body: Bytes) {
        if let Some(object) = self.lock_state().objects.newest_mut(key) {
            object.body = Some(body);
        }
    }

    /// Changes the last byte of an object, as a disk may, in a store that still has its checksum: reading all of it fails.
    pub fn rot(&self, key: &str) {
        if let Some(object) = self.lock_state().objects.newest_mut(key) {
            let mut body = object.body.take().map_or_else(BytesMut::new, BytesMut::from);
            if let Some(last) = body.last_mut() {
                *last ^= 1;
            }
            (object.body, object.rotten) = (Some(body.freeze()), true);
        }
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attempt(&self, action: &'static str, key: &str) -> Attempt {
        Attempt::new(&self.destination, action, key)
    }

    /// Counts a call, and lets it meet its fault. What is returned says whether the answer is to be lost.
    async fn enter(&self, operation: MemoryOperation, attempt: &Attempt) -> Result<bool, StoreError> {
        let fault = {
            let mut state = self.lock_state();
            let calls = state.calls.entry(operation).or_default();
            *calls += 1;
            let place = (operation, *calls);
            state.faults.remove(&place).or_else(|| state.broken.get(&operation).copied())
        };
        match fault {
            None => Ok(false),
            Some(MemoryFault::LoseAnswer) => Ok(true),
            Some(MemoryFault::Fail(kind)) => Err(attempt.failed(kind, "this call was told to fail")),
            Some(MemoryFault::Hang) => std::future::pending().await,
        }
    }

    fn write(
        &self,
        key: &str,
        body: &Bytes,
        attributes: &Attributes,
        mode: &PutMode,
        attempt: &Attempt,
    ) -> Result<Stored, StoreError> {
        let size_bytes = body.len() as u64;
        let copy = (Bytes::copy_from_slice(body), attributes.clone());
        let etag = self.lock_state().objects.write(key, copy, mode, self.clock.now(), attempt)?;
        Ok(Stored { size_bytes, checksum_confirmed: true, etag: Some(etag) })
    }

    /// An object as it is now, if it has that entity tag.
    fn whole(
        &self,
        key: &str,
        if_match: Option<&str>,
        attempt: &Attempt,
    ) -> Result<(ObjectInfo, Attributes, Bytes), StoreError> {
        let state = self.lock_state();
        let newest = state.objects.newest(key).and_then(|version| Some((version, version.body.clone()?)));
        let Some((version, body)) = newest else {
            return Err(attempt.failed(StoreErrorKind::NotFound, "there is no such object"));
        };
        let info = version.info(key);
        if if_match.is_some() && info.etag.as_deref() != if_match {
            return Err(attempt.failed(StoreErrorKind::AlreadyExists, "another object has taken its place"));
        }
        Ok((info, version.attributes.clone(), body))
    }

    fn infos(&self, prefix: &str) -> Vec<ObjectInfo> {
        self.lock_state().objects.infos(prefix)
    }

    /// The error of a bucket that was not set up for this; none where it was.
    fn wants(
        &self,
        setting: impl Fn(&History) -> bool,
        action: &'static str,
        key: &str,
    ) -> Result<(), StoreError> {
        if setting(&self.lock_state().objects) { Ok(()) } else { Err(self.unsupported(action, key)) }
    }
}

/// The bytes `range` of a body, in pieces.
fn pieces(body: &Bytes, range: Option<Range<u64>>, attempt: &Attempt) -> Result<ByteStream, StoreError> {
    let range = extent::within(range, body.len() as u64, attempt)?;
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(body.len());
    let mut rest = body.slice(place(range.start)..place(range.end));
    let chunks = std::iter::from_fn(move || {
        (!rest.is_empty()).then(|| Ok(rest.split_to(rest.len().min(READ_CHUNK_BYTES))))
    });
    Ok(stream::iter(chunks).boxed())
}

/// Passes `answer` on, unless it is to be lost.
fn answer<T>(answer: T, lost: bool, attempt: &Attempt) -> Result<T, StoreError> {
    if lost { Err(attempt.failed(StoreErrorKind::Transient, "the answer was lost")) } else { Ok(answer) }
}

#[async_trait]
impl Store for MemoryStore {
    fn destination(&self) -> &DestinationName {
        &self.destination
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }

    async fn put_with(
        &self,
        key: &str,
        body: Bytes,
        mode: PutMode,
        attributes: &Attributes,
    ) -> Result<Stored, StoreError> {
        let attempt = self.attempt("put", key);
        let lost = self.enter(MemoryOperation::Put, &attempt).await?;
        answer(self.write(key, &body, attributes, &mode, &attempt)?, lost, &attempt)
    }

    async fn upload_with(
        &self,
        key: &str,
        part_bytes: u64,
        mode: PutMode,
        attributes: &Attributes,
    ) -> Result<Box<dyn Upload>, StoreError> {
        let attempt = self.attempt("begin the upload of", key);
        let lost = self.enter(MemoryOperation::Upload, &attempt).await?;
        let upload_id = format!("{:016x}", rand::random::<u64>());
        let pending = Pending { key: key.to_owned(), started: self.clock.now(), parts: BTreeMap::new() };
        self.lock_state().uploads.insert(upload_id.clone(), pending);
        let (store, key, attributes) = (self.clone(), key.to_owned(), attributes.clone());
        let upload = MemoryUpload { store, key, part_bytes, mode, attributes, upload_id };
        answer(Box::new(upload), lost, &attempt).map(|upload| upload as Box<dyn Upload>)
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        let attempt = self.attempt("get", key);
        let lost = self.enter(MemoryOperation::Get, &attempt).await?;
        let Some(body) = self.contents(key) else {
            return Err(attempt.failed(StoreErrorKind::NotFound, "there is no such object"));
        };
        let rotten =
            range.is_none() && self.lock_state().objects.newest(key).is_some_and(|newest| newest.rotten);
        let end = rotten.then(|| {
            let message = "what arrived does not have the checksum in the store";
            Err(attempt.failed(StoreErrorKind::Corrupt, message))
        });
        answer(pieces(&body, range, &attempt)?.chain(stream::iter(end)).boxed(), lost, &attempt)
    }

    async fn fetch(
        &self,
        key: &str,
        range: Option<Range<u64>>,
        if_match: Option<&str>,
    ) -> Result<Fetched, StoreError> {
        let attempt = self.attempt("get", key);
        let lost = self.enter(MemoryOperation::Get, &attempt).await?;
        let (info, attributes, body) = self.whole(key, if_match, &attempt)?;
        let stream = pieces(&body, range, &attempt)?;
        answer(Fetched { info, attributes, stream }, lost, &attempt)
    }

    fn origin(&self) -> Option<Origin> {
        // Clones share what is stored, and nothing else does.
        let server = format!("memory {:p}", Arc::as_ptr(&self.state));
        Some(Origin { server, bucket: String::new(), key_prefix: String::new() })
    }

    async fn copy_from(&self, _origin: &Origin, from: &ObjectInfo, key: &str) -> Result<Copied, StoreError> {
        let attempt = self.attempt("copy to", key);
        let lost = self.enter(MemoryOperation::Copy, &attempt).await?;
        let (info, attributes, body) = self.whole(&from.key, from.etag.as_deref(), &attempt)?;
        self.write(key, &body, &attributes, &PutMode::Overwrite, &attempt)?;
        let sha256 = Some(Sha256::of(&body));
        answer(Copied { info, attributes, sha256 }, lost, &attempt)
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        let attempt = self.attempt("read the size of", key);
        let lost = self.enter(MemoryOperation::Head, &attempt).await?;
        let found = self.lock_state().objects.newest(key).map(|version| version.info(key));
        let found =
            found.ok_or_else(|| attempt.failed(StoreErrorKind::NotFound, "there is no such object"))?;
        answer(found, lost, &attempt)
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<ObjectInfo, StoreError>> {
        let (store, prefix) = (self.clone(), prefix.to_owned());
        let listing = async move {
            let attempt = store.attempt("list", &prefix);
            match store
                .enter(MemoryOperation::List, &attempt)
                .await
                .and_then(|lost| answer((), lost, &attempt))
            {
                Ok(()) => {
                    let mut infos = store.infos(&prefix);
                    if store.lock_state().backwards {
                        infos.reverse();
                    }
                    stream::iter(infos).map(Ok).boxed()
                }
                Err(error) => stream::iter([Err(error)]).boxed(),
            }
        };
        stream::once(listing).flatten().boxed()
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let attempt = self.attempt("list the folders of", prefix);
        let lost = self.enter(MemoryOperation::List, &attempt).await?;
        let infos = self.infos(prefix);
        let below = infos.iter().filter_map(|info| info.key[prefix.len()..].split_once('/'));
        let folders: BTreeSet<String> = below.map(|(folder, _)| folder.to_owned()).collect();
        answer(folders.into_iter().collect(), lost, &attempt)
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let attempt = self.attempt("delete", key);
        let lost = self.enter(MemoryOperation::Delete, &attempt).await?;
        self.lock_state().objects.delete(key, self.clock.now());
        answer((), lost, &attempt)
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<UnfinishedUpload>, StoreError> {
        let attempt = self.attempt("list the unfinished uploads of", prefix);
        let lost = self.enter(MemoryOperation::ListUploads, &attempt).await?;
        let unfinished = |(upload_id, pending): (&String, &Pending)| UnfinishedUpload {
            key: pending.key.clone(),
            upload_id: upload_id.clone(),
            started: pending.started,
        };
        let mut uploads: Vec<_> = self.lock_state().uploads.iter().map(unfinished).collect();
        uploads.retain(|upload| upload.key.starts_with(prefix));
        uploads.sort_by(|a, b| (&a.key, &a.upload_id).cmp(&(&b.key, &b.upload_id)));
        answer(uploads, lost, &attempt)
    }

    async fn abort_upload(&self, upload: &UnfinishedUpload) -> Result<(), StoreError> {
        let attempt = self.attempt("abort the upload of", &upload.key);
        let lost = self.enter(MemoryOperation::Abort, &attempt).await?;
        self.lock_state().uploads.remove(&upload.upload_id);
        answer((), lost, &attempt)
    }

    fn list_versions(&self, prefix: &str) -> BoxStream<'static, Result<ObjectVersion, StoreError>> {
        let (store, prefix) = (self.clone(), prefix.to_owned());
        let listing = async move {
            let attempt = store.attempt("list versions of", &prefix);
            let lost = store.enter(MemoryOperation::ListVersions, &attempt).await?;
            store.wants(|bucket| bucket.versioned, "list versions of", &prefix)?;
            let versions = store.lock_state().objects.versions(&prefix);
            answer(stream::iter(versions).map(Ok), lost, &attempt)
        };
        stream::once(listing).try_flatten().boxed()
    }

    async fn get_version(
        &self,
        key: &str,
        version: &str,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, StoreError> {
        let attempt = self.attempt("get a version of", key);
        let lost = self.enter(MemoryOperation::GetVersion, &attempt).await?;
        self.wants(|bucket| bucket.versioned, "get a version of", key)?;
        let found = self.lock_state().objects.version(key, version).cloned();
        let body = match found {
            Some(Version { body: Some(body), .. }) => body,
            Some(_) => {
                let message = "this version is a deletion and has no content";
                return Err(attempt.failed(StoreErrorKind::NotFound, message));
            }
            None => return Err(attempt.failed(StoreErrorKind::NotFound, "there is no such version")),
        };
        answer(pieces(&body, range, &attempt)?, lost, &attempt)
    }

    async fn delete_version(&self, key: &str, version: &str) -> Result<(), StoreError> {
        let attempt = self.attempt("delete a version of", key);
        let lost = self.enter(MemoryOperation::DeleteVersion, &attempt).await?;
        self.wants(|bucket| bucket.versioned, "delete a version of", key)?;
        self.lock_state().objects.delete_version(key, version, self.clock.now(), &attempt)?;
        answer((), lost, &attempt)
    }

    async fn lock(&self, key: &str) -> Result<Option<Lock>, StoreError> {
        let attempt = self.attempt("read the lock of", key);
        let lost = self.enter(MemoryOperation::Lock, &attempt).await?;
        self.wants(|bucket| bucket.locks, "read the lock of", key)?;
        let found = self.lock_state().objects.newest(key).map(Version::lock);
        let found =
            found.ok_or_else(|| attempt.failed(StoreErrorKind::NotFound, "there is no such object"))?;
        answer(found, lost, &attempt)
    }

    async fn set_lock(&self, key: &str, lock: Lock) -> Result<(), StoreError> {
        let attempt = self.attempt("lock", key);
        let lost = self.enter(MemoryOperation::SetLock, &attempt).await?;
        self.wants(|bucket| bucket.locks, "lock", key)?;
        self.lock_state().objects.set_lock(key, lock, &attempt)?;
        answer((), lost, &attempt)
    }

    async fn abilities(&self) -> Result<Abilities, StoreError> {
        let says = {
            let state = self.lock_state();
            let able = |able| if able { Ability::Works } else { Ability::Refused };
            let History { versioned, locks, default_lock, .. } = state.objects;
            BucketSays {
                versions: Some(able(versioned)),
                locking: Some(Locking { locks: able(locks), default_lock }),
            }
        };
        probe::abilities(self, says).await
    }
}

struct MemoryUpload {
    store: MemoryStore,
    key: String,
    part_bytes: u64,
    mode: PutMode,
    attributes: Attributes,
    upload_id: String,
}

#[async_trait]
impl Upload for MemoryUpload {
    async fn put_part(&self, part: Part) -> Result<(), StoreError> {
        let attempt = self.store.attempt("upload a part of", &self.key);
        let lost = self.store.enter(MemoryOperation::PutPart, &attempt).await?;
        if Sha256::of(&part.body) != part.sha256 {
            let message = format!("part {} does not have the checksum sent with it", part.number);
            return Err(attempt.failed(StoreErrorKind::Corrupt, message));
        }
        let mut state = self.store.lock_state();
        let pending = state.uploads.get_mut(&self.upload_id);
        let pending = pending
            .ok_or_else(|| attempt.failed(StoreErrorKind::NotFound, "the upload was finished or aborted"))?;
        // A copy: what is handed in may be a borrowed buffer that the caller wants back.
        pending.parts.insert(part.number, Bytes::copy_from_slice(&part.body));
        drop(state);
        answer((), lost, &attempt)
    }

    async fn finish(&self) -> Result<Stored, StoreError> {
        let attempt = self.store.attempt("finish the upload of", &self.key);
        let lost = self.store.enter(MemoryOperation::Finish, &attempt).await?;
        let parts = self.store.lock_state().uploads.get(&self.upload_id).map(|pending| pending.parts.clone());
        let parts = parts
            .ok_or_else(|| attempt.failed(StoreErrorKind::NotFound, "the upload was finished or aborted"))?;
        let sizes: BTreeMap<u32, u64> =
            parts.iter().map(|(number, body)| (*number, body.len() as u64)).collect();
        extent::whole(&sizes, self.part_bytes, &attempt)?;
        let mut body = BytesMut::new();
        for part in parts.values() {
            body.extend_from_slice(part);
        }
        let stored = self.store.write(&self.key, &body.freeze(), &self.attributes, &self.mode, &attempt)?;
        self.store.lock_state().uploads.remove(&self.upload_id);
        answer(stored, lost, &attempt)
    }

    async fn abort(&self) -> Result<(), StoreError> {
        let attempt = self.store.attempt("abort the upload of", &self.key);
        let lost = self.store.enter(MemoryOperation::Abort, &attempt).await?;
        self.store.lock_state().uploads.remove(&self.upload_id);
        answer((), lost, &attempt)
    }
}
