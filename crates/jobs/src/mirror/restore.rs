//! Gives back what a mirror has: every object of a state, or those below a prefix, each checked against its SHA-256.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use convault_archive::encryption::Decryptor;
use convault_core::{
    MirrorLayout, MirrorName, Part, PartPlan, PutMode, RunEvent, RunPhase, Sha256, Sha256Stream, Store,
    StoreErrorKind, Upload,
};
use futures::{StreamExt as _, stream::FuturesUnordered};

use super::{COPIED_AT_ONCE, MirrorState, StateLine};
use crate::{JobError, RunContext, access::not_opened, error::chain, read::ObjectReader};

/// So many objects that were not restored are named.
const NAMED: usize = 50;
/// An object that could not be put because of a passing failure is put again after so long.
const BEFORE_ANOTHER: Duration = Duration::from_secs(2);
const ATTEMPTS: u32 = 3;

/// Where to, and what of.
#[derive(Debug, Clone)]
pub struct RestoreTarget {
    /// What the objects are put into.
    pub store: Arc<dyn Store>,
    /// What their keys there have before those of the source; empty, or ends in a slash.
    pub key_prefix: String,
    /// Only keys that begin with this.
    pub only: String,
    /// Whether what is there already, and is another object, is written over.
    pub replace: bool,
    /// Bytes that may be in memory at once.
    pub memory_bytes: u64,
}

/// What a restore did.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// Objects that were put there.
    pub restored: u64,
    /// Bytes of them.
    pub restored_bytes: u64,
    /// Objects that were there already, byte for byte.
    pub already: u64,
    /// Objects that are there with another content, and were left as they are; the first of them.
    pub in_the_way: Vec<String>,
    /// How many those are.
    pub left: u64,
    /// Objects that could not be restored, and why; the first of them.
    pub failures: Vec<String>,
    /// How many those are.
    pub failed: u64,
    /// Restored objects whose SHA-256 nobody knows, since the server had copied them by itself: only their size was
    /// compared.
    pub unproven: u64,
}

/// What became of one object.
enum Fate {
    Restored { unproven: bool },
    Already,
    InTheWay,
    Failed(String),
}

/// Restores a state into `target`.
pub async fn restore_mirror(
    mirror: &MirrorName,
    mut state: MirrorState<'_>,
    stored_in: &Arc<dyn Store>,
    target: &RestoreTarget,
    context: &RunContext,
) -> Result<Restored, JobError> {
    context.phase(RunPhase::ReadBack);
    let layout = MirrorLayout::new(mirror.clone());
    let restoring =
        Restoring { layout, stored_in: stored_in.as_ref(), target, identities: state.identities() };
    let mut done = Restored::default();
    let mut flying = FuturesUnordered::new();
    let mut more = true;
    while more || !flying.is_empty() {
        while more && flying.len() < COPIED_AT_ONCE {
            match state.next(context).await? {
                None => more = false,
                Some(line) if line.details.key.starts_with(&target.only) => {
                    flying.push(restoring.restore(line));
                }
                Some(_) => {}
            }
        }
        if let Some(ended) = context.or_stop(flying.next()).await? {
            let (key, size_bytes, fate) = ended?;
            done.count(key, size_bytes, fate);
            context.tell(RunEvent::Transferred { done_bytes: done.restored_bytes, total_bytes: None });
        }
    }
    Ok(done)
}

impl Restored {
    fn count(&mut self, key: String, size_bytes: u64, fate: Fate) {
        match fate {
            Fate::Restored { unproven } => {
                self.restored += 1;
                self.restored_bytes += size_bytes;
                self.unproven += u64::from(unproven);
            }
            Fate::Already => self.already += 1,
            Fate::InTheWay => {
                self.left += 1;
                if self.in_the_way.len() < NAMED {
                    self.in_the_way.push(key);
                }
            }
            Fate::Failed(why) => {
                self.failed += 1;
                if self.failures.len() < NAMED {
                    self.failures.push(format!("{key}: {why}"));
                }
            }
        }
    }
}

struct Restoring<'a> {
    layout: MirrorLayout,
    stored_in: &'a dyn Store,
    target: &'a RestoreTarget,
    identities: Option<&'a convault_archive::encryption::Identities>,
}

impl Restoring<'_> {
    async fn restore(&self, line: StateLine) -> Result<(String, u64, Fate), JobError> {
        let (key, size_bytes) = (line.details.key.clone(), line.details.size_bytes);
        let mut attempt = 1;
        loop {
            match self.once(&line).await {
                Ok(fate) => return Ok((key, size_bytes, fate)),
                Err(JobError::Store(error))
                    if error.kind == StoreErrorKind::Transient && attempt < ATTEMPTS =>
                {
                    attempt += 1;
                    tokio::time::sleep(BEFORE_ANOTHER).await;
                }
                // One object that is damaged, or that the target cannot hold, costs no other.
                Err(error @ JobError::Damaged { .. }) => {
                    return Ok((key, size_bytes, Fate::Failed(chain(&error))));
                }
                Err(JobError::Store(error))
                    if matches!(error.kind, StoreErrorKind::Other | StoreErrorKind::NotFound) =>
                {
                    return Ok((key, size_bytes, Fate::Failed(chain(&error))));
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn once(&self, line: &StateLine) -> Result<Fate, JobError> {
        let key = format!("{}{}", self.target.key_prefix, line.details.key);
        let mode = match self.target.store.head(&key).await {
            Err(error) if error.kind == StoreErrorKind::NotFound => PutMode::IfAbsent,
            Err(error) => return Err(error.into()),
            Ok(there) => {
                if there.size_bytes == line.details.size_bytes
                    && self.is_same(line, &key, there.etag.as_deref()).await?
                {
                    return Ok(Fate::Already);
                }
                if !self.target.replace {
                    return Ok(Fate::InTheWay);
                }
                PutMode::Overwrite
            }
        };
        match self.put(line, &key, mode).await {
            Err(JobError::Store(error)) if error.kind == StoreErrorKind::AlreadyExists => Ok(Fate::InTheWay),
            done => done,
        }
    }

    /// Whether an object of the same size is the same: by its entity tag, or else byte for byte.
    async fn is_same(&self, line: &StateLine, key: &str, etag: Option<&str>) -> Result<bool, JobError> {
        if etag.is_some() && etag == line.details.etag.as_deref() {
            return Ok(true);
        }
        let expected = line.details.content_sha256.or(line.entry.sha256);
        let Some(expected) = expected else { return Ok(false) };
        let mut reader =
            ObjectReader::new(self.target.store.as_ref(), key.to_owned(), line.details.size_bytes);
        while reader.next().await?.is_some() {}
        Ok(reader.check(&expected).is_ok())
    }

    async fn put(&self, line: &StateLine, key: &str, mode: PutMode) -> Result<Fate, JobError> {
        let share = self.target.memory_bytes / COPIED_AT_ONCE as u64;
        let plan = PartPlan::new(line.details.size_bytes, share)
            .or_else(|_| PartPlan::new(line.details.size_bytes, self.target.memory_bytes))?;
        let mut contents = Contents::open(self, line);
        let store = self.target.store.as_ref();
        if line.details.size_bytes <= plan.part_bytes {
            let mut body = BytesMut::new();
            while let Some(chunk) = contents.next().await? {
                body.extend_from_slice(&chunk);
            }
            let sha256 = contents.check()?;
            let body = body.freeze();
            let found = Sha256::of(&body);
            let put = store.put_with(key, body, mode, &line.details.attributes).await?;
            self.read_back(key, line, put.checksum_confirmed, &found).await?;
            return Ok(Fate::Restored { unproven: sha256.is_none() });
        }
        let upload = store.upload_with(key, plan.part_bytes, mode, &line.details.attributes).await?;
        match self.send(upload.as_ref(), contents, plan.part_bytes).await {
            Ok((unproven, confirmed, found)) => {
                self.read_back(key, line, confirmed, &found).await?;
                Ok(Fate::Restored { unproven })
            }
            Err(error) => {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(%error, "an unfinished upload stays");
                }
                Err(error)
            }
        }
    }

    async fn read_back(
        &self,
        key: &str,
        line: &StateLine,
        confirmed: bool,
        sha256: &Sha256,
    ) -> Result<(), JobError> {
        if confirmed {
            return Ok(());
        }
        let store = self.target.store.as_ref();
        crate::read::check_object(store, key.to_owned(), line.details.size_bytes, sha256).await
    }

    /// Sends an object in parts, one after the other, and completes it only once all of it has been checked.
    async fn send(
        &self,
        upload: &dyn Upload,
        mut contents: Contents<'_>,
        part_bytes: u64,
    ) -> Result<(bool, bool, Sha256), JobError> {
        let part_bytes = usize::try_from(part_bytes).unwrap_or(usize::MAX);
        let (mut waiting, mut number, mut sent) = (BytesMut::new(), 0, Sha256Stream::new());
        loop {
            let chunk = contents.next().await?;
            let ended = chunk.is_none();
            if let Some(chunk) = chunk {
                sent.update(&chunk);
                waiting.extend_from_slice(&chunk);
            }
            while waiting.len() >= part_bytes || (ended && !waiting.is_empty()) {
                number += 1;
                let body = waiting.split_to(waiting.len().min(part_bytes)).freeze();
                upload.put_part(Part { number, sha256: Sha256::of(&body), body }).await?;
            }
            if ended {
                let unproven = contents.check()?.is_none();
                let stored = upload.finish().await?;
                return Ok((unproven, stored.checksum_confirmed, sent.finish()));
            }
        }
    }
}

/// The bytes of a stored object, opened where they are encrypted.
struct Contents<'a> {
    reader: ObjectReader<'a>,
    decryptor: Option<Decryptor>,
    place: String,
    stored_sha256: Option<Sha256>,
    content_sha256: Option<Sha256>,
    size_bytes: u64,
    given_bytes: u64,
    given: Sha256Stream,
}

impl<'a> Contents<'a> {
    fn open(restoring: &'a Restoring<'_>, line: &StateLine) -> Self {
        let key = restoring.layout.object(line.entry.name, &line.entry.run);
        let reader = ObjectReader::new(restoring.stored_in, key, line.entry.stored_bytes);
        let place = reader.place();
        Self {
            reader,
            decryptor: restoring.identities.map(Decryptor::new),
            place,
            stored_sha256: line.entry.sha256,
            content_sha256: line.details.content_sha256,
            size_bytes: line.details.size_bytes,
            given_bytes: 0,
            given: Sha256Stream::new(),
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, JobError> {
        let mut plain = BytesMut::new();
        let chunk = match (self.reader.next().await?, self.decryptor.as_mut()) {
            (Some(chunk), None) => chunk,
            (Some(chunk), Some(decryptor)) => {
                let opened = decryptor.push(&chunk, &mut plain);
                opened.map_err(|error| not_opened(&error, self.place.clone(), &[]))?;
                plain.freeze()
            }
            (None, None) => return Ok(None),
            (None, Some(_)) => {
                let decryptor = self.decryptor.take().expect("it is there");
                let opened = decryptor.finish(&mut plain);
                opened.map_err(|error| not_opened(&error, self.place.clone(), &[]))?;
                plain.freeze()
            }
        };
        self.given_bytes += chunk.len() as u64;
        self.given.update(&chunk);
        Ok(Some(chunk))
    }

    /// After the last byte: it is what was stored. Gives the SHA-256 that says so, where one is known.
    fn check(self) -> Result<Option<Sha256>, JobError> {
        let damaged = |what: String| JobError::Damaged { place: self.place.clone(), what };
        if self.given_bytes != self.size_bytes {
            return Err(damaged(format!("it gives {} bytes, not {}", self.given_bytes, self.size_bytes)));
        }
        if let Some(expected) = &self.stored_sha256 {
            self.reader.check(expected)?;
        }
        let given = self.given.finish();
        match self.content_sha256 {
            Some(expected) if expected != given => Err(JobError::Damaged {
                place: self.place,
                what: format!("the SHA-256 of what it gives is {given}, not {expected}"),
            }),
            Some(expected) => Ok(Some(expected)),
            None => Ok(self.stored_sha256),
        }
    }
}
