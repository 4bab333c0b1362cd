//! The payload of an age file: chunks of 64 KiB, each sealed by itself with ChaCha20-Poly1305. Their nonces count them
//! and say which one is the last, so none can be left out, put in or moved.

use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce},
    error::Unspecified,
    hkdf::{HKDF_SHA256, Salt},
};

/// Plaintext in each chunk but the last, which has less or as much; it has none only in the empty file.
pub const CHUNK_BYTES: u64 = 64 << 10;

/// What sealing adds to each chunk.
pub const TAG_BYTES: u64 = 16;

/// A chunk in memory.
pub(super) const CHUNK: usize = 64 << 10;

/// What sealing adds to a chunk in memory.
pub(super) const TAG: usize = 16;

/// A sealed chunk, of which only the last may be shorter.
pub(super) const SEALED: usize = CHUNK + TAG;

/// The length of the age file that `plain_length` bytes become, behind a header (its nonce included) of
/// `header_length` bytes: see [`crate::encryption::Encryptor::header_length`].
pub const fn encrypted_length(header_length: u64, plain_length: u64) -> u64 {
    let full = plain_length.div_ceil(CHUNK_BYTES);
    let chunks = if full == 0 { 1 } else { full };
    header_length + plain_length + chunks * TAG_BYTES
}

/// The length of what is in an age file of `encrypted_length` bytes; `None` where no age file with a header of
/// `header_length` bytes is that long. It is only true of a file whose last chunk has been opened as its last.
pub const fn plain_length(header_length: u64, encrypted_length: u64) -> Option<u64> {
    let Some(payload) = encrypted_length.checked_sub(header_length) else { return None };
    let sealed = CHUNK_BYTES + TAG_BYTES;
    let last = payload % sealed;
    let is_empty_file = payload == TAG_BYTES;
    if payload == 0 || (last != 0 && last <= TAG_BYTES && !is_empty_file) {
        return None;
    }
    Some(payload - payload.div_ceil(sealed) * TAG_BYTES)
}

/// Seals and opens the chunks of one file.
pub(super) struct PayloadKey(LessSafeKey);

impl PayloadKey {
    /// The key that a file key and the nonce behind the header give.
    pub(super) fn derive(file_key: &[u8; 16], nonce: &[u8]) -> Self {
        let secret = Salt::new(HKDF_SHA256, nonce).extract(file_key);
        let key = secret.expand(&[b"payload"], &CHACHA20_POLY1305).expect("32 bytes are never too many");
        Self(LessSafeKey::new(key.into()))
    }

    /// Seals `chunk` where it lies; gives its tag.
    pub(super) fn seal(&self, index: u64, is_last: bool, chunk: &mut [u8]) -> [u8; TAG] {
        let sealed = self.0.seal_in_place_separate_tag(nonce(index, is_last), Aad::empty(), chunk);
        let tag = sealed.expect("a chunk is far below the cipher's limit");
        tag.as_ref().try_into().expect("a tag has 16 bytes")
    }

    /// Opens `sealed` where it lies; gives its plaintext. Where it fails, what is left there is to be thrown away.
    pub(super) fn open<'a>(
        &self,
        index: u64,
        is_last: bool,
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], Unspecified> {
        self.0.open_in_place(nonce(index, is_last), Aad::empty(), sealed)
    }
}

/// Eleven bytes that count, big-endian, and one that says whether it is the last chunk.
fn nonce(index: u64, is_last: bool) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[3..11].copy_from_slice(&index.to_be_bytes());
    bytes[11] = u8::from(is_last);
    Nonce::assume_unique_for_key(bytes)
}
