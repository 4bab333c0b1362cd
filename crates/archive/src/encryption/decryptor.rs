//! Decrypts what passes.

use bytes::BytesMut;

use crate::encryption::{
    error::OpenError,
    header,
    identities::Identities,
    stream::{PayloadKey, SEALED, TAG},
};

/// Opens one age file as it is pushed, and gives out only what has been verified. It holds less than 128 KiB behind the
/// header, whatever passes. That what came out is the whole is only known once [`Decryptor::finish`] has succeeded.
pub struct Decryptor {
    state: State,
    /// Bytes taken so far.
    length: u64,
}

enum State {
    Header { identities: Identities, head: Vec<u8> },
    Payload(Box<Payload>),
    Failed,
}

struct Payload {
    key: PayloadKey,
    /// Where the first chunk begins.
    start: u64,
    index: u64,
    /// A chunk is opened only once it is known whether it is the last.
    pending: Vec<u8>,
}

impl Decryptor {
    /// Begins to open an age file with one of these identities.
    pub fn new(identities: &Identities) -> Self {
        Self { state: State::Header { identities: identities.clone(), head: Vec::new() }, length: 0 }
    }

    /// Takes the next bytes of the age file, and appends to `out` the plaintext that is ready: as much as went in, to
    /// 64 KiB. After an error every further call fails.
    pub fn push(&mut self, bytes: &[u8], out: &mut BytesMut) -> Result<(), OpenError> {
        self.length += bytes.len() as u64;
        self.state = match std::mem::replace(&mut self.state, State::Failed) {
            State::Failed => return Err(OpenError::Failed),
            State::Header { identities, mut head } => {
                head.extend_from_slice(bytes);
                begin(identities, head, out)?
            }
            State::Payload(mut payload) => {
                payload.push(bytes, out)?;
                State::Payload(payload)
            }
        };
        Ok(())
    }

    /// Appends to `out` the plaintext that remains, and proves that the age file has come to its end.
    pub fn finish(self, out: &mut BytesMut) -> Result<(), OpenError> {
        match self.state {
            State::Failed => Err(OpenError::Failed),
            State::Header { .. } => Err(OpenError::Truncated { length: self.length }),
            State::Payload(payload) => payload.finish(self.length, out),
        }
    }
}

/// Opens the header, once it has come whole.
fn begin(identities: Identities, head: Vec<u8>, out: &mut BytesMut) -> Result<State, OpenError> {
    let Some(length) = header::length(&head)? else { return Ok(State::Header { identities, head }) };
    let (head, bytes) = head.split_at(length);
    let key = header::open(head, &identities)?;
    let mut payload = Payload { key, start: length as u64, index: 0, pending: Vec::with_capacity(SEALED) };
    payload.push(bytes, out)?;
    Ok(State::Payload(Box::new(payload)))
}

impl Payload {
    fn push(&mut self, mut bytes: &[u8], out: &mut BytesMut) -> Result<(), OpenError> {
        while self.pending.len() + bytes.len() > SEALED {
            let (taken, rest) = bytes.split_at(SEALED - self.pending.len());
            self.pending.extend_from_slice(taken);
            if !self.open(false, out) {
                return Err(self.explained());
            }
            self.index += 1;
            self.pending.clear();
            bytes = rest;
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self, length: u64, out: &mut BytesMut) -> Result<(), OpenError> {
        // No chunk but that of the empty file is empty. That is how each file has one form only.
        let is_whole = self.pending.len() > TAG || (self.index == 0 && self.pending.len() == TAG);
        if is_whole && self.open(true, out) {
            return Ok(());
        }
        // What opens as a chunk in the middle was followed by others.
        let is_middle = self.pending.len() == SEALED && self.open(false, &mut BytesMut::new());
        if is_middle || !is_whole { Err(OpenError::Truncated { length }) } else { Err(self.altered()) }
    }

    /// Opens what is pending onto the end of `out`, which stays as it was where that fails.
    fn open(&self, is_last: bool, out: &mut BytesMut) -> bool {
        let start = out.len();
        out.extend_from_slice(&self.pending);
        let opened = self.key.open(self.index, is_last, &mut out[start..]);
        let length = opened.as_deref().map_or(0, <[u8]>::len);
        let is_open = opened.is_ok();
        out.truncate(start + length);
        is_open
    }

    /// Why what is pending is no chunk in the middle, although more follows.
    fn explained(&self) -> OpenError {
        if self.open(true, &mut BytesMut::new()) {
            OpenError::Trailing { end: self.offset() + SEALED as u64 }
        } else {
            self.altered()
        }
    }

    fn altered(&self) -> OpenError {
        OpenError::Altered { chunk: self.index, offset: self.offset() }
    }

    /// Where the chunk that is pending begins.
    fn offset(&self) -> u64 {
        self.start + self.index * SEALED as u64
    }
}

impl std::fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decryptor").field("length", &self.length).finish_non_exhaustive()
    }
}
