//! Encrypts what passes.

use bytes::{BufMut as _, BytesMut};

use crate::encryption::{
    header,
    recipients::Recipients,
    stream::{CHUNK, PayloadKey},
};

/// Makes one age file of the plaintext pushed into it. It holds less than 128 KiB, whatever passes. Two files made of
/// the same plaintext for the same recipients differ; destinations with equal recipients share the output of one.
pub struct Encryptor {
    /// The header and nonce, until they have been given out.
    head: Vec<u8>,
    header_length: u64,
    key: PayloadKey,
    /// A chunk is sealed only once it is known whether it is the last.
    pending: Vec<u8>,
    index: u64,
}

impl Encryptor {
    /// Begins an age file to these recipients.
    pub fn new(recipients: &Recipients) -> Self {
        let (head, key) = header::seal(recipients);
        let header_length = head.len() as u64;
        Self { head, header_length, key, pending: Vec::with_capacity(CHUNK), index: 0 }
    }

    /// The bytes before the first chunk, for [`super::encrypted_length`]. It differs from file to file, also for the
    /// same recipients.
    pub fn header_length(&self) -> u64 {
        self.header_length
    }

    /// Takes the next plaintext, and appends to `out` the ciphertext that is ready: as much as went in, to 64 KiB.
    pub fn push(&mut self, mut plain: &[u8], out: &mut BytesMut) {
        self.give_head(out);
        while self.pending.len() + plain.len() > CHUNK {
            let (taken, rest) = plain.split_at(CHUNK - self.pending.len());
            self.seal(taken, false, out);
            self.pending.clear();
            plain = rest;
        }
        self.pending.extend_from_slice(plain);
    }

    /// Appends to `out` what remains of the age file. Without it, the file does not open.
    pub fn finish(mut self, out: &mut BytesMut) {
        self.give_head(out);
        self.seal(&[], true, out);
    }

    fn give_head(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(&self.head);
        self.head = Vec::new();
    }

    /// Seals what is pending with `more` behind it.
    fn seal(&mut self, more: &[u8], is_last: bool, out: &mut BytesMut) {
        let start = out.len();
        out.extend_from_slice(&self.pending);
        out.extend_from_slice(more);
        let tag = self.key.seal(self.index, is_last, &mut out[start..]);
        out.put_slice(&tag);
        self.index += 1;
    }
}

impl std::fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encryptor").field("chunks", &self.index).finish_non_exhaustive()
    }
}
