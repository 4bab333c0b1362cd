//! Fetches one stored file and stores it wherever it is wanted, encrypted once for each set of recipients.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use convault_archive::encryption::{Encryptor, encrypted_length};
use convault_core::{
    FileRef, FileRow, Layout, PartPlan, PutMode, Sha256, Sha256Stream, Source, SourceErrorKind, Store,
    StoreError, StoreErrorKind, Stored,
};
use futures::StreamExt as _;
use tokio::sync::Semaphore;

use crate::{
    Encryption, JobError, RunContext,
    error::chain,
    fan_out::FanOut,
    group::stored_name,
    read::{ObjectReader, check_object},
};

/// A file is fetched so often before it counts as one that cannot be.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
/// Smaller files are held whole, checked, and only then sent. Bytes.
const WHOLE_BYTES: u64 = 512 << 10;
/// What every age file begins with.
const AGE: &[u8] = b"age-encryption.org/v1\n";
/// The header of an age file of ours has no more, its nonce included. Bytes.
const HEADER_BYTES: std::ops::Range<u64> = 50..(1 << 20);

/// Where a file is wanted: destinations of one set of recipients.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) encryption: Option<Arc<Encryption>>,
    /// The object's name.
    pub(crate) name: Sha256,
    /// The destinations, with what the caller knows them by.
    pub(crate) stores: Vec<(usize, Arc<dyn Store>)>,
    /// What lies there already is about to be swept away, so that it is written again.
    pub(crate) condemned: bool,
}

/// What became of a file.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// It was stored, or failed to be, in each destination.
    Stored(Vec<(usize, Result<FileRef, String>)>),
    /// It cannot be had from the deployment, and why.
    Missing(String),
}

/// What fetching needs.
#[derive(Clone, Copy)]
pub(crate) struct Fetcher<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) layout: &'a Layout,
    pub(crate) upload_memory_bytes: u64,
    pub(crate) stall_limit: Duration,
    /// Large files pass one at a time, since each takes all of the memory.
    pub(crate) large: &'a Semaphore,
    pub(crate) context: &'a RunContext,
}

/// Why an attempt failed.
enum Failure {
    /// It may come right the next time.
    Again(String),
    Missing(String),
    Error(JobError),
}

impl From<JobError> for Failure {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Source(error) if error.kind == SourceErrorKind::Missing => {
                Self::Missing("it is not there to be fetched".to_owned())
            }
            JobError::Source(error) if error.kind == SourceErrorKind::Transit => Self::Again(chain(&error)),
            error => Self::Error(error),
        }
    }
}

impl Fetcher<'_> {
    /// Fetches a file and stores it as `wishes` say.
    pub(crate) async fn fetch(&self, row: &FileRow, wishes: &[Wish]) -> Result<Fetched, JobError> {
        let mut pause = PAUSE;
        let mut attempt = 1;
        loop {
            let fetched = if row.size_bytes <= WHOLE_BYTES {
                self.whole(row, wishes).await
            } else {
                self.in_parts(row, wishes).await
            };
            match fetched {
                Ok(stored) => return Ok(Fetched::Stored(stored)),
                Err(Failure::Missing(why)) => return Ok(Fetched::Missing(why)),
                Err(Failure::Error(error)) => return Err(error),
                Err(Failure::Again(why)) if attempt == ATTEMPTS => return Ok(Fetched::Missing(why)),
                Err(Failure::Again(why)) => {
                    tracing::debug!(id = row.shown_id(), why, "a file is fetched again");
                }
            }
            attempt += 1;
            self.context.or_stop(tokio::time::sleep(pause)).await?;
            pause *= 2;
        }
    }

    async fn whole(
        &self,
        row: &FileRow,
        wishes: &[Wish],
    ) -> Result<Vec<(usize, Result<FileRef, String>)>, Failure> {
        let mut stream = self.opened(row).await?;
        let mut content = BytesMut::with_capacity(usize::try_from(row.size_bytes).unwrap_or(0));
        while let Some(piece) = self.context.or_stop(stream.bytes.next()).await? {
            content.extend_from_slice(&piece.map_err(JobError::from)?);
        }
        drop(stream);
        if Sha256::of(&content) != row.sha256 {
            return Err(differs());
        }
        let content = content.freeze();
        let mut results = Vec::new();
        for wish in wishes {
            let (body, sha256) = match &wish.encryption {
                None => (content.clone(), row.sha256),
                Some(encryption) => {
                    let body = sealed(&content, encryption);
                    let sha256 = Sha256::of(&body);
                    (body, sha256)
                }
            };
            let expected =
                FileRef { name: wish.name, size_bytes: body.len() as u64, sha256, locked_until: None };
            let puts = wish.stores.iter().map(|(place, store)| {
                let body = body.clone();
                async move { (*place, self.put(store.as_ref(), wish, row, &expected, body).await) }
            });
            for (place, put) in futures::future::join_all(puts).await {
                results.push((place, told(put)?));
            }
        }
        Ok(results)
    }

    async fn opened(&self, row: &FileRow) -> Result<convault_core::FileStream, Failure> {
        let opened = self.context.or_stop(self.source.open_file(row)).await?;
        Ok(opened.map_err(JobError::from)?)
    }

    async fn put(
        &self,
        store: &dyn Store,
        wish: &Wish,
        row: &FileRow,
        expected: &FileRef,
        body: Bytes,
    ) -> Result<FileRef, JobError> {
        let key = self.key(wish);
        let mode = if wish.condemned { PutMode::Overwrite } else { PutMode::IfAbsent };
        match self.context.or_stop(store.put(&key, body.clone(), mode)).await? {
            Ok(stored) => self.proven(store, key, &stored, expected).await,
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
                if let Some(there) = self.adopted(store, &key, wish, row, expected).await? {
                    return Ok(there);
                }
                let stored = self.context.or_stop(store.put(&key, body, PutMode::Overwrite)).await??;
                self.proven(store, key, &stored, expected).await
            }
            Err(error) => Err(error.into()),
        }
    }

    fn key(&self, wish: &Wish) -> String {
        let name = stored_name(&wish.name.to_string(), wish.encryption.as_deref());
        self.layout.file(&name, "")
    }

    /// Makes sure that the store holds what was sent, by the checksum it gave back or by reading it.
    async fn proven(
        &self,
        store: &dyn Store,
        key: String,
        stored: &Stored,
        expected: &FileRef,
    ) -> Result<FileRef, JobError> {
        if stored.size_bytes != expected.size_bytes {
            let what = format!("the store holds {} bytes, not {}", stored.size_bytes, expected.size_bytes);
            return Err(JobError::Damaged { place: format!("{} {key}", store.location()), what });
        }
        if !stored.checksum_confirmed {
            let check = check_object(store, key, expected.size_bytes, &expected.sha256);
            self.context.or_stop(check).await??;
        }
        Ok(*expected)
    }

    /// What lies under the key already: left by a run that did not come to its end, or needed by an older snapshot. Every
    /// byte of it is read. Where it is encrypted nobody here can open it, so that it is taken for what its name says if
    /// it has the form and the length of it. `None` where it is not what it should be.
    async fn adopted(
        &self,
        store: &dyn Store,
        key: &str,
        wish: &Wish,
        row: &FileRow,
        expected: &FileRef,
    ) -> Result<Option<FileRef>, JobError> {
        let size_bytes = store.head(key).await?.size_bytes;
        let header = size_bytes.checked_sub(encrypted_length(0, row.size_bytes));
        let fits = match wish.encryption {
            None => size_bytes == row.size_bytes,
            Some(_) => header.is_some_and(|header| HEADER_BYTES.contains(&header)),
        };
        if !fits {
            return Ok(None);
        }
        let mut reader = ObjectReader::new(store, key.to_owned(), size_bytes);
        let mut sha256 = Sha256Stream::new();
        let mut begin: Vec<u8> = Vec::new();
        while let Some(piece) = self.context.or_stop(reader.next()).await?? {
            sha256.update(&piece);
            begin.extend(piece.iter().take(AGE.len().saturating_sub(begin.len())));
        }
        let sha256 = sha256.finish();
        let is_it = match wish.encryption {
            None => sha256 == expected.sha256,
            Some(_) => begin == AGE,
        };
        Ok(is_it.then_some(FileRef { size_bytes, sha256, ..*expected }))
    }

    async fn in_parts(
        &self,
        row: &FileRow,
        wishes: &[Wish],
    ) -> Result<Vec<(usize, Result<FileRef, String>)>, Failure> {
        let _turn = self.large.acquire().await.expect("the semaphore is never closed");
        let mut stream = self.opened(row).await?;
        let share = self.upload_memory_bytes / wishes.len().max(1) as u64;
        let begun: Result<Vec<Passing<'_>>, JobError> =
            wishes.iter().map(|wish| Passing::begin(self, wish, row, share)).collect();
        let mut passing = begun?;
        let sent = self.send(&mut stream, row, &mut passing).await;
        if let Err(failure) = sent {
            futures::future::join_all(passing.into_iter().map(|one| one.fan_out.abort())).await;
            return Err(failure);
        }
        let mut results = Vec::new();
        for one in passing {
            results.extend(self.close(one, row).await?);
        }
        Ok(results)
    }

    /// Sends a file's bytes to every set of recipients. Nothing of it is visible yet.
    async fn send(
        &self,
        stream: &mut convault_core::FileStream,
        row: &FileRow,
        passing: &mut [Passing<'_>],
    ) -> Result<(), Failure> {
        let mut sha256 = Sha256Stream::new();
        while let Some(piece) = self.context.or_stop(stream.bytes.next()).await? {
            let piece = piece.map_err(JobError::from)?;
            sha256.update(&piece);
            for one in passing.iter_mut() {
                self.context.or_stop(one.write(&piece)).await?;
            }
        }
        if sha256.finish() != row.sha256 {
            return Err(differs());
        }
        for one in passing {
            self.context.or_stop(one.end()).await?;
        }
        Ok(())
    }

    /// Makes a file visible in the destinations of one set of recipients.
    async fn close(
        &self,
        passing: Passing<'_>,
        row: &FileRow,
    ) -> Result<Vec<(usize, Result<FileRef, String>)>, Failure> {
        let Passing { wish, fan_out, .. } = passing;
        let sent = fan_out.close(false, &self.context.stop).await;
        let expected = FileRef {
            name: wish.name,
            size_bytes: sent.length_bytes,
            sha256: sent.sha256,
            locked_until: None,
        };
        let mut results = Vec::new();
        let mut in_the_way = false;
        for ((place, _), lane) in wish.stores.iter().zip(sent.lanes) {
            let finished = match lane.result {
                Ok(finishing) => {
                    let stored = finishing.finish().await;
                    self.finished(lane.store.as_ref(), wish, row, stored, &expected).await
                }
                Err(error) => Err(error.into_job_error(&self.context.stop)),
            };
            match told(finished)? {
                Ok(Some(stored)) => results.push((*place, Ok(stored))),
                Ok(None) => in_the_way = true,
                Err(why) => results.push((*place, Err(why))),
            }
        }
        if in_the_way {
            return Err(Failure::Again("something else lay under its name, and was removed".to_owned()));
        }
        Ok(results)
    }

    /// What became of an upload. `None` where something lay there that is of no use: it is gone now.
    async fn finished(
        &self,
        store: &dyn Store,
        wish: &Wish,
        row: &FileRow,
        stored: Result<Stored, StoreError>,
        expected: &FileRef,
    ) -> Result<Option<FileRef>, JobError> {
        let key = self.key(wish);
        match stored {
            Ok(stored) => self.proven(store, key, &stored, expected).await.map(Some),
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
                if !wish.condemned
                    && let Some(there) = self.adopted(store, &key, wish, row, expected).await?
                {
                    return Ok(Some(there));
                }
                self.context.check_lease().await?;
                store.delete(&key).await?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A destination's failure is told; what ends the whole run is an error.
fn told<T>(stored: Result<T, JobError>) -> Result<Result<T, String>, JobError> {
    match stored {
        Ok(stored) => Ok(Ok(stored)),
        Err(error @ (JobError::Stopped | JobError::LeaseLost { .. })) => Err(error),
        Err(error) => Ok(Err(chain(&error))),
    }
}

fn differs() -> Failure {
    Failure::Again("its content is not what its row announces".to_owned())
}

fn sealed(content: &[u8], encryption: &Encryption) -> Bytes {
    let mut sealed = BytesMut::new();
    let mut encryptor = Encryptor::new(&encryption.recipients);
    encryptor.push(content, &mut sealed);
    encryptor.finish(&mut sealed);
    sealed.freeze()
}

/// A large file on its way to the destinations of one set of recipients.
struct Passing<'a> {
    wish: &'a Wish,
    encryptor: Option<Encryptor>,
    sealed: BytesMut,
    fan_out: FanOut,
    /// No destination is left.
    gone: bool,
}

impl<'a> Passing<'a> {
    fn begin(fetcher: &Fetcher<'_>, wish: &'a Wish, row: &FileRow, share: u64) -> Result<Self, JobError> {
        let encryptor = wish.encryption.as_ref().map(|encryption| Encryptor::new(&encryption.recipients));
        let header = encryptor.as_ref().map(Encryptor::header_length);
        let length = header.map_or(row.size_bytes, |header| encrypted_length(header, row.size_bytes));
        let plan = PartPlan::new(length, share)?;
        let stores: Vec<Arc<dyn Store>> = wish.stores.iter().map(|(_, store)| Arc::clone(store)).collect();
        let fan_out = FanOut::begin(&stores, &fetcher.key(wish), plan, fetcher.stall_limit);
        Ok(Self { wish, encryptor, sealed: BytesMut::new(), fan_out, gone: false })
    }

    async fn write(&mut self, bytes: &[u8]) {
        match &mut self.encryptor {
            None => self.gone |= self.gone || self.fan_out.write(bytes).await.is_err(),
            Some(encryptor) => {
                encryptor.push(bytes, &mut self.sealed);
                self.flush().await;
            }
        }
    }

    async fn end(&mut self) {
        if let Some(encryptor) = self.encryptor.take() {
            encryptor.finish(&mut self.sealed);
            self.flush().await;
        }
    }

    /// That no destination of a set is left shows when it is closed: each says why.
    async fn flush(&mut self) {
        self.gone |= self.gone || self.fan_out.write(&self.sealed).await.is_err();
        self.sealed.clear();
    }
}
