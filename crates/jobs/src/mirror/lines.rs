//! Files of packed lines in a store: written as they are made, read as they arrive.

use bytes::{Bytes, BytesMut};
use convault_archive::{
    LinePacker, LineUnpacker,
    encryption::{Decryptor, Encryptor, Identities, Recipients},
};
use convault_core::{Part, PutMode, Sha256, Sha256Stream, Store, Upload};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    JobError,
    access::not_opened,
    error::chain,
    read::{ObjectReader, check_object},
    trust::put_own,
};

/// S3 takes ten thousand parts: enough for a listing of some hundred million objects.
const PART_BYTES: usize = 8 << 20;

/// What was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WrittenLines {
    pub(crate) lines: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) sha256: Sha256,
}

/// A large file of lines on its way into a store.
pub(crate) struct LinesWriter<'a> {
    store: &'a dyn Store,
    key: String,
    upload: Box<dyn Upload>,
    packer: LinePacker,
    ready: BytesMut,
    parts: u32,
    lines: u64,
    stored_bytes: u64,
    sha256: Sha256Stream,
}

impl<'a> LinesWriter<'a> {
    pub(crate) async fn begin(store: &'a dyn Store, key: String) -> Result<Self, JobError> {
        let upload = store.upload(&key, PART_BYTES as u64, PutMode::IfAbsent).await?;
        Ok(Self {
            store,
            key,
            upload,
            packer: LinePacker::new(),
            ready: BytesMut::new(),
            parts: 0,
            lines: 0,
            stored_bytes: 0,
            sha256: Sha256Stream::new(),
        })
    }

    pub(crate) async fn push(&mut self, line: &impl Serialize) -> Result<(), JobError> {
        self.packer.push(line);
        self.lines += 1;
        self.ready.extend_from_slice(&self.packer.take());
        while self.ready.len() >= PART_BYTES {
            let part = self.ready.split_to(PART_BYTES).freeze();
            self.send(part).await?;
        }
        Ok(())
    }

    async fn send(&mut self, body: Bytes) -> Result<(), JobError> {
        self.parts += 1;
        self.stored_bytes += body.len() as u64;
        self.sha256.update(&body);
        let part = Part { number: self.parts, sha256: Sha256::of(&body), body };
        Ok(self.upload.put_part(part).await?)
    }

    /// Ends the file, and makes sure that it lies there as it was written.
    pub(crate) async fn finish(mut self) -> Result<WrittenLines, JobError> {
        let packer = std::mem::take(&mut self.packer);
        self.ready.extend_from_slice(&packer.finish());
        while !self.ready.is_empty() {
            let part = self.ready.split_to(self.ready.len().min(PART_BYTES)).freeze();
            self.send(part).await?;
        }
        let stored = self.upload.finish().await?;
        let written =
            WrittenLines { lines: self.lines, stored_bytes: self.stored_bytes, sha256: self.sha256.finish() };
        if !stored.checksum_confirmed {
            check_object(self.store, self.key, written.stored_bytes, &written.sha256).await?;
        }
        Ok(written)
    }

    /// Gives the file up.
    pub(crate) async fn abort(self) {
        if let Err(error) = self.upload.abort().await {
            tracing::warn!(%error, "an unfinished upload stays until a later run aborts it");
        }
    }
}

/// Writes a small file of lines at once, encrypted where somebody is named.
pub(crate) async fn put_lines<T: Serialize>(
    store: &dyn Store,
    key: &str,
    lines: &[T],
    recipients: Option<&Recipients>,
) -> Result<(), JobError> {
    let mut packer = LinePacker::new();
    for line in lines {
        packer.push(line);
    }
    let plain = packer.finish();
    let body = match recipients {
        None => Bytes::from(plain),
        Some(recipients) => encrypt(&plain, recipients),
    };
    put_own(store, key, body, PutMode::IfAbsent).await
}

/// An age file of these bytes.
pub(crate) fn encrypt(plain: &[u8], recipients: &Recipients) -> Bytes {
    let mut encryptor = Encryptor::new(recipients);
    let mut sealed = BytesMut::new();
    encryptor.push(plain, &mut sealed);
    encryptor.finish(&mut sealed);
    sealed.freeze()
}

/// A file of lines being read.
pub(crate) struct LinesReader<'a> {
    /// Until its end.
    object: Option<ObjectReader<'a>>,
    place: String,
    unpacker: Option<LineUnpacker>,
    decryptor: Option<Decryptor>,
    expected: Option<Sha256>,
}

impl<'a> LinesReader<'a> {
    /// Reads the file `key` of `stored_bytes`; where `expected` is given, the end of it must have that SHA-256.
    pub(crate) fn new(
        store: &'a dyn Store,
        key: String,
        stored_bytes: u64,
        expected: Option<Sha256>,
        identities: Option<&Identities>,
    ) -> Self {
        let object = ObjectReader::new(store, key, stored_bytes);
        let place = object.place();
        let (unpacker, decryptor) = (Some(LineUnpacker::new()), identities.map(Decryptor::new));
        Self { object: Some(object), place, unpacker, decryptor, expected }
    }

    /// The next line; `None` after the last, when all of the file has been checked.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, JobError> {
        loop {
            let Some(unpacker) = self.unpacker.as_mut() else { return Ok(None) };
            let line = unpacker.next_line().map_err(|error| damaged(&self.place, chain(&error)))?;
            if line.is_some() {
                return Ok(line);
            }
            let Some(object) = self.object.as_mut() else { return self.close() };
            let plain = if let Some(chunk) = object.next().await? {
                self.open(&chunk)?
            } else {
                let object = self.object.take().expect("it is there until its end");
                if let Some(expected) = &self.expected {
                    object.check(expected)?;
                }
                self.open_rest()?
            };
            self.unpacker.as_mut().expect("it is there until the last line").push(&plain);
        }
    }

    fn close<T>(&mut self) -> Result<Option<T>, JobError> {
        let unpacker = self.unpacker.take().expect("it is there until the last line");
        unpacker.finish().map(|()| None).map_err(|error| damaged(&self.place, chain(&error)))
    }

    fn open(&mut self, chunk: &Bytes) -> Result<Bytes, JobError> {
        let Some(decryptor) = self.decryptor.as_mut() else { return Ok(chunk.clone()) };
        let mut plain = BytesMut::new();
        let opened = decryptor.push(chunk, &mut plain);
        opened.map_err(|error| not_opened(&error, self.place.clone(), &[]))?;
        Ok(plain.freeze())
    }

    fn open_rest(&mut self) -> Result<Bytes, JobError> {
        let Some(decryptor) = self.decryptor.take() else { return Ok(Bytes::new()) };
        let mut plain = BytesMut::new();
        let opened = decryptor.finish(&mut plain);
        opened.map_err(|error| not_opened(&error, self.place.clone(), &[]))?;
        Ok(plain.freeze())
    }
}

fn damaged(place: &str, what: String) -> JobError {
    JobError::Damaged { place: place.to_owned(), what }
}
