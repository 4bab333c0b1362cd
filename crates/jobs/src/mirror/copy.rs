//! Copies one object of the source: by the server itself, at once, or in parts.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use convault_archive::encryption::{Encryptor, Recipients, encrypted_length};
use convault_core::{
    Attributes, EntryVersion, MirrorDetails, MirrorEntry, ObjectInfo, Part, PartPlan, PutMode, RunId, Sha256,
    Sha256Stream, Store, StoreError, StoreErrorKind, Upload,
};
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{COPIED_AT_ONCE, Mirror, lines::encrypt, window::Found};
use crate::{
    JobError,
    error::chain,
    pool::{Buffer, Pool},
    read::check_object,
};

/// Objects up to this size are read whole and put in one request. Bytes.
const SMALL_BYTES: u64 = 5 << 20;
/// So many parts of one object are in memory at once.
const PARTS_AT_ONCE: usize = 4;
const READ_ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// An object that is another one each time it is read is left to the next run after so many.
const CHANGES: u32 = 3;
/// Memory is counted in these. Bytes.
const UNIT: u64 = 1 << 10;

/// What came of copying an object.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is stored.
    Stored(Box<Stored>),
    /// It is not there any more.
    Gone,
    /// It could not be copied, and why.
    Failed(String),
}

/// An object that is stored.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) entry: MirrorEntry,
    /// What the entry must not show.
    pub(crate) hidden: Option<MirrorDetails>,
    pub(crate) read_bytes: u64,
    pub(crate) server_copied_bytes: u64,
    /// Whether a run that was cut off has stored it.
    pub(crate) taken_over: bool,
}

/// A failure, by whose it is.
enum Failure {
    /// The object is another one than was listed.
    Changed,
    Gone,
    /// Only this object.
    Object(String),
    /// The run.
    Run(JobError),
}

impl From<JobError> for Failure {
    fn from(error: JobError) -> Self {
        Self::Run(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Run(error.into())
    }
}

/// What a failed reading of the source means.
fn of_source(error: StoreError) -> Failure {
    match error.kind {
        StoreErrorKind::NotFound => Failure::Gone,
        StoreErrorKind::AlreadyExists => Failure::Changed,
        StoreErrorKind::Transient => Failure::Run(error.into()),
        _ => Failure::Object(chain(&error)),
    }
}

/// Copies objects, as many at once as memory allows.
#[derive(Debug)]
pub(crate) struct Copier<'a> {
    mirror: &'a Mirror,
    run: RunId,
    memory: Semaphore,
    memory_units: u64,
    turns: Semaphore,
    on_server: AtomicBool,
}

impl<'a> Copier<'a> {
    pub(crate) fn new(mirror: &'a Mirror, run: RunId) -> Self {
        let memory_units = (mirror.upload_memory_bytes / UNIT).min(Semaphore::MAX_PERMITS as u64);
        let memory = Semaphore::new(usize::try_from(memory_units).unwrap_or(usize::MAX));
        let on_server = AtomicBool::new(mirror.copies_on_server());
        Self { mirror, run, memory, memory_units, turns: Semaphore::new(COPIED_AT_ONCE), on_server }
    }

    /// Waits until so much memory is free. What is larger than all of it waits for all of it.
    async fn memory(&self, bytes: u64) -> SemaphorePermit<'_> {
        let units = bytes.div_ceil(UNIT).clamp(1, self.memory_units.max(1));
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        self.memory.acquire_many(units).await.expect("the semaphore is never closed")
    }

    /// Copies one object.
    pub(crate) async fn copy(&self, mut found: Found) -> Result<Outcome, JobError> {
        if let Some(entry) = found.stored.take() {
            return Ok(Outcome::Stored(Box::new(Stored {
                entry: *entry,
                hidden: None,
                read_bytes: 0,
                server_copied_bytes: 0,
                taken_over: true,
            })));
        }
        let _turn = self.turns.acquire().await.expect("the semaphore is never closed");
        for _ in 0..CHANGES {
            match self.attempt(&found).await {
                Ok(stored) => return Ok(Outcome::Stored(Box::new(stored))),
                Err(Failure::Gone) => return Ok(Outcome::Gone),
                Err(Failure::Object(why)) => return Ok(Outcome::Failed(why)),
                Err(Failure::Run(error)) => return Err(error),
                Err(Failure::Changed) => match self.mirror.source.head(&found.info.key).await {
                    Ok(info) => {
                        found.version = self.mirror.names().version(&info);
                        found.info = info;
                    }
                    Err(error) => match of_source(error) {
                        Failure::Gone => return Ok(Outcome::Gone),
                        Failure::Run(error) => return Err(error),
                        Failure::Object(why) => return Ok(Outcome::Failed(why)),
                        Failure::Changed => {}
                    },
                },
            }
        }
        Ok(Outcome::Failed("it changes while it is read; the next run tries again".to_owned()))
    }

    async fn attempt(&self, found: &Found) -> Result<Stored, Failure> {
        if self.on_server.load(Ordering::Relaxed)
            && let Some(stored) = self.copy_on_server(found).await?
        {
            return Ok(stored);
        }
        let recipients = self.mirror.destination.encryption.as_ref().map(|encryption| &encryption.recipients);
        if found.info.size_bytes <= SMALL_BYTES {
            self.copy_small(found, recipients).await
        } else {
            self.copy_large(found, recipients).await
        }
    }

    fn key(&self, found: &Found) -> String {
        self.mirror.layout().object(found.name, &self.run)
    }

    /// `None` where the server does not do it: then it is not asked again.
    async fn copy_on_server(&self, found: &Found) -> Result<Option<Stored>, Failure> {
        let (key, Some(origin)) = (self.key(found), self.mirror.source.origin()) else { return Ok(None) };
        let store = &self.mirror.destination.store;
        match store.copy_from(&origin, &found.info, &key).await {
            Ok(copied) => {
                let size_bytes = copied.info.size_bytes;
                let contents =
                    Contents { stored_bytes: size_bytes, sha256: copied.sha256, content_sha256: None };
                let mut stored = self.stored(found, &copied.info, copied.attributes, &contents);
                (stored.read_bytes, stored.server_copied_bytes) = (0, size_bytes);
                Ok(Some(stored))
            }
            Err(error) if matches!(error.kind, StoreErrorKind::Unsupported | StoreErrorKind::Denied) => {
                if self.on_server.swap(false, Ordering::Relaxed) {
                    tracing::info!(%error, "the server does not copy by itself: objects pass through here");
                }
                Ok(None)
            }
            Err(error) => Err(of_source(error)),
        }
    }

    async fn copy_small(&self, found: &Found, recipients: Option<&Recipients>) -> Result<Stored, Failure> {
        let copies = if recipients.is_some() { 2 } else { 1 };
        let _memory = self.memory(found.info.size_bytes * copies).await;
        let (info, attributes, plain) = self.read_whole(&found.info).await?;
        let content_sha256 = recipients.is_some().then(|| Sha256::of(&plain));
        let body = recipients.map_or_else(|| plain.clone(), |recipients| encrypt(&plain, recipients));
        let (key, stored_bytes, sha256) = (self.key(found), body.len() as u64, Sha256::of(&body));
        let beside = if recipients.is_some() { &Attributes::default() } else { &attributes };
        let store = self.mirror.destination.store.as_ref();
        let put = store.put_with(&key, body, PutMode::IfAbsent, beside).await?;
        if !put.checksum_confirmed {
            check_object(store, key, stored_bytes, &sha256).await?;
        }
        let contents = Contents { stored_bytes, sha256: Some(sha256), content_sha256 };
        Ok(self.stored(found, &info, attributes, &contents))
    }

    /// Reads a small object whole; again where that breaks off.
    async fn read_whole(&self, listed: &ObjectInfo) -> Result<(ObjectInfo, Attributes, Bytes), Failure> {
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            match self.read_once(listed).await {
                Err(error) if error.kind == StoreErrorKind::Transient && attempt < READ_ATTEMPTS => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                // A file that was written to meanwhile.
                Err(error) if error.kind == StoreErrorKind::Corrupt => return Err(Failure::Changed),
                read => return read.map_err(of_source),
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn read_once(&self, listed: &ObjectInfo) -> Result<(ObjectInfo, Attributes, Bytes), StoreError> {
        let mut fetched = self.mirror.source.fetch(&listed.key, None, listed.etag.as_deref()).await?;
        let mut body = BytesMut::with_capacity(usize::try_from(listed.size_bytes).unwrap_or_default());
        while let Some(chunk) = fetched.stream.next().await {
            body.extend_from_slice(&chunk?);
            if body.len() as u64 > fetched.info.size_bytes {
                break;
            }
        }
        if body.len() as u64 != fetched.info.size_bytes {
            let source = StoreError {
                kind: StoreErrorKind::Transient,
                destination: self.mirror.source.destination().clone(),
                action: "read all of",
                key: listed.key.clone(),
                message: format!("{} of {} bytes arrived", body.len(), fetched.info.size_bytes),
                source: None,
            };
            return Err(source);
        }
        Ok((fetched.info, fetched.attributes, body.freeze()))
    }

    async fn copy_large(&self, found: &Found, recipients: Option<&Recipients>) -> Result<Stored, Failure> {
        let sealing = recipients.map(Encryptor::new);
        let size = found.info.size_bytes;
        let length = sealing.as_ref().map_or(size, |sealing| encrypted_length(size, sealing.header_length()));
        let budget = self.memory_units * UNIT;
        let plan = PartPlan::new(length, budget).map_err(|error| Failure::Object(error.to_string()))?;
        let parts = plan.parts_in_memory.min(PARTS_AT_ONCE);
        let _memory = self.memory(plan.part_bytes * parts as u64).await;
        let mut reading = Reading::open(self.mirror.source.as_ref(), &found.info).await?;
        let (key, store) = (self.key(found), self.mirror.destination.store.as_ref());
        let beside = if sealing.is_some() { Attributes::default() } else { reading.attributes.clone() };
        let upload = store.upload_with(&key, plan.part_bytes, PutMode::IfAbsent, &beside).await?;
        let sent = send(upload.as_ref(), &mut reading, sealing, plan.part_bytes, parts).await;
        let finished = match sent {
            Ok(contents) => upload.finish().await.map(|stored| (stored, contents)).map_err(Failure::from),
            Err(failure) => Err(failure),
        };
        let (put, contents) = match finished {
            Ok(done) => done,
            Err(failure) => {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(%error, "an unfinished upload stays until a later run aborts it");
                }
                return Err(failure);
            }
        };
        if !put.checksum_confirmed {
            let sha256 = contents.sha256.expect("what passes through here is hashed");
            check_object(store, key, contents.stored_bytes, &sha256).await?;
        }
        Ok(self.stored(found, &reading.info, reading.attributes, &contents))
    }

    /// The entry of an object that is stored now.
    fn stored(
        &self,
        found: &Found,
        read: &ObjectInfo,
        attributes: Attributes,
        contents: &Contents,
    ) -> Stored {
        let encrypted = self.mirror.destination.encryption.is_some();
        let details = MirrorDetails {
            key: found.info.key.clone(),
            size_bytes: read.size_bytes,
            etag: read.etag.clone(),
            modified: found.info.modified,
            content_sha256: contents.content_sha256,
            attributes,
        };
        let (details, hidden) = if encrypted { (None, Some(details)) } else { (Some(details), None) };
        let entry = MirrorEntry {
            name: found.name,
            version: self.version(found, read),
            run: self.run.clone(),
            stored_bytes: contents.stored_bytes,
            sha256: contents.sha256,
            details,
        };
        let read_bytes = read.size_bytes;
        Stored { entry, hidden, read_bytes, server_copied_bytes: 0, taken_over: false }
    }

    /// The version as the listing told it, so that the next listing tells the same; that of what was read, where the
    /// store gives no tags to ask for.
    fn version(&self, found: &Found, read: &ObjectInfo) -> EntryVersion {
        let same = found.info.etag == read.etag && found.info.size_bytes == read.size_bytes;
        if same { found.version } else { self.mirror.names().version(read) }
    }
}

/// What was stored.
struct Contents {
    stored_bytes: u64,
    sha256: Option<Sha256>,
    content_sha256: Option<Sha256>,
}

/// A large object of the source, being read; taken up again where that breaks off, as long as it is the same one.
struct Reading<'a> {
    source: &'a dyn Store,
    info: ObjectInfo,
    attributes: Attributes,
    stream: Option<convault_core::ByteStream>,
    position: u64,
    attempts: u32,
}

impl<'a> Reading<'a> {
    async fn open(source: &'a dyn Store, listed: &ObjectInfo) -> Result<Self, Failure> {
        let fetched = source.fetch(&listed.key, None, listed.etag.as_deref()).await.map_err(of_source)?;
        if fetched.info.size_bytes != listed.size_bytes {
            // The parts were planned for another length.
            return Err(Failure::Changed);
        }
        Ok(Self {
            source,
            info: fetched.info,
            attributes: fetched.attributes,
            stream: Some(fetched.stream),
            position: 0,
            attempts: 1,
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            match self.chunk().await {
                Ok(Some(chunk)) => {
                    self.position += chunk.len() as u64;
                    if self.position > self.info.size_bytes {
                        return Err(Failure::Changed);
                    }
                    return Ok(Some(chunk));
                }
                Ok(None) if self.position == self.info.size_bytes => return Ok(None),
                Ok(None) => self.again(None).await?,
                Err(error) if error.kind == StoreErrorKind::Transient => self.again(Some(error)).await?,
                Err(error) if error.kind == StoreErrorKind::Corrupt => return Err(Failure::Changed),
                Err(error) => return Err(of_source(error)),
            }
        }
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.stream.is_none() {
            let range = Some(self.position..self.info.size_bytes);
            let fetched = self.source.fetch(&self.info.key, range, self.info.etag.as_deref()).await?;
            self.stream = Some(fetched.stream);
        }
        self.stream.as_mut().expect("it was opened above").next().await.transpose()
    }

    /// Waits before the object is taken up again where it broke off.
    async fn again(&mut self, error: Option<StoreError>) -> Result<(), Failure> {
        if self.attempts >= READ_ATTEMPTS {
            return Err(match error {
                Some(error) => Failure::Run(error.into()),
                None => Failure::Object("it breaks off each time it is read".to_owned()),
            });
        }
        tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(self.attempts - 1)).await;
        self.attempts += 1;
        self.stream = None;
        Ok(())
    }
}

/// Sends an object in parts, at most `at_once` of them in memory.
async fn send(
    upload: &dyn Upload,
    reading: &mut Reading<'_>,
    mut sealing: Option<Encryptor>,
    part_bytes: u64,
    at_once: usize,
) -> Result<Contents, Failure> {
    let pool = Pool::new(at_once, usize::try_from(part_bytes).unwrap_or(usize::MAX));
    let (mut stored, mut content) = (Sha256Stream::new(), sealing.is_some().then(Sha256Stream::new));
    let (mut stored_bytes, mut number, mut sealed) = (0, 0, BytesMut::new());
    let mut sending = FuturesUnordered::new();
    let mut buffer: Option<Buffer> = None;
    let mut ended = false;
    while !ended {
        let chunk = if let Some(plain) = reading.next().await? {
            if let (Some(encryptor), Some(content)) = (&mut sealing, &mut content) {
                content.update(&plain);
                encryptor.push(&plain, &mut sealed);
                sealed.split().freeze()
            } else {
                plain
            }
        } else {
            ended = true;
            if let Some(encryptor) = sealing.take() {
                encryptor.finish(&mut sealed);
            }
            sealed.split().freeze()
        };
        stored.update(&chunk);
        stored_bytes += chunk.len() as u64;
        let mut rest = &chunk[..];
        while !rest.is_empty() || (ended && buffer.is_some()) {
            let mut filling = match buffer.take() {
                Some(filling) => filling,
                None => next_buffer(&pool, &mut sending).await?,
            };
            rest = filling.fill(rest);
            if filling.is_full() || (ended && rest.is_empty()) {
                number += 1;
                let body = filling.freeze();
                sending.push(upload.put_part(Part { number, sha256: Sha256::of(&body), body }));
            } else {
                buffer = Some(filling);
            }
        }
    }
    while let Some(sent) = sending.next().await {
        sent?;
    }
    let content_sha256 = content.map(Sha256Stream::finish);
    Ok(Contents { stored_bytes, sha256: Some(stored.finish()), content_sha256 })
}

/// A free buffer. Parts on their way free theirs as they arrive.
async fn next_buffer<F: Future<Output = Result<(), StoreError>>>(
    pool: &Pool,
    sending: &mut FuturesUnordered<F>,
) -> Result<Buffer, Failure> {
    loop {
        tokio::select! {
            biased;
            buffer = pool.take() => return Ok(buffer),
            Some(sent) = sending.next() => sent?,
        }
    }
}
