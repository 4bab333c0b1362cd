//! The header of an age file, which age itself writes, reads and checks. Only the file key is taken out of it on the
//! way, as age shows it to every kind of recipient and identity.

use std::{cell::RefCell, collections::HashSet};

use age::{
    DecryptError, EncryptError, Identity, Recipient,
    secrecy::{ExposeSecret as _, SecretBox},
};
use age_core::format::{FileKey, Stanza};

use crate::encryption::{
    error::OpenError, identities::Identities, recipients::Recipients, stream::PayloadKey,
};

/// A header over this is not believed. Each recipient takes less than 1 KiB.
pub const MAX_HEADER_BYTES: usize = 256 << 10;

/// Bytes of the nonce between the header and the first chunk.
const NONCE_BYTES: usize = 16;

/// The first line of every age file.
const FIRST_LINE: &[u8] = b"age-encryption.org/v1\n";

/// How the header's last line begins, with the line feed before it.
const LAST_LINE: &[u8] = b"\n---";

/// A new header and nonce, and the key of the payload behind them.
pub(super) fn seal(recipients: &Recipients) -> (Vec<u8>, PayloadKey) {
    let seen = RefCell::new(None);
    let seeing: Vec<_> =
        recipients.keys().map(|recipient| Seeing { inner: recipient, seen: &seen }).collect();
    let encryptor =
        age::Encryptor::with_recipients(seeing.iter().map(|recipient| recipient as &dyn Recipient))
            .expect("there are recipients, and neither X25519 nor SSH ones refuse each other");
    let mut head = Vec::new();
    // The writer it gives is for a payload that age would encrypt; nothing has been written for one yet.
    drop(encryptor.wrap_output(&mut head).expect("writing to memory does not fail"));
    let file_key = seen.into_inner().expect("every recipient is shown the file key");
    let nonce = &head[head.len() - NONCE_BYTES..];
    let key = PayloadKey::derive(file_key.expose_secret(), nonce);
    (head, key)
}

/// The length of the header and nonce that `bytes` begins with; `None` where they go on behind its end.
pub(super) fn length(bytes: &[u8]) -> Result<Option<usize>, OpenError> {
    let begun = bytes.len().min(FIRST_LINE.len());
    if bytes[..begun] != FIRST_LINE[..begun] {
        return Err(OpenError::NotAge);
    }
    let length = memchr::memmem::find(bytes, LAST_LINE).and_then(|before| {
        let line = before + LAST_LINE.len();
        memchr::memchr(b'\n', &bytes[line..]).map(|end| line + end + 1 + NONCE_BYTES)
    });
    match length {
        Some(length) if length <= bytes.len() => Ok(Some(length)),
        _ if bytes.len() > MAX_HEADER_BYTES => Err(OpenError::DamagedHeader { problem: "it has no end" }),
        _ => Ok(None),
    }
}

/// The key of the payload behind `head`, a whole header and nonce.
pub(super) fn open(head: &[u8], identities: &Identities) -> Result<PayloadKey, OpenError> {
    let seen = RefCell::new(None);
    let seeing: Vec<_> = identities.keys().map(|identity| Seeing { inner: identity, seen: &seen }).collect();
    age::Decryptor::new_buffered(head)
        .and_then(|decryptor| decryptor.decrypt(seeing.iter().map(|identity| identity as &dyn Identity)))
        .map_err(|error| explained(&error, identities))?;
    let file_key = seen.into_inner().expect("an identity has unwrapped the file key");
    Ok(PayloadKey::derive(file_key.expose_secret(), &head[head.len() - NONCE_BYTES..]))
}

fn explained(error: &DecryptError, identities: &Identities) -> OpenError {
    match error {
        DecryptError::NoMatchingKeys => OpenError::NoIdentity { identities: identities.len() },
        DecryptError::InvalidMac => OpenError::AlteredHeader,
        DecryptError::DecryptionFailed => {
            OpenError::DamagedHeader { problem: "what is wrapped for one of the identities does not open" }
        }
        _ => OpenError::DamagedHeader { problem: "it cannot be read" },
    }
}

/// A recipient or identity that keeps the file key it is shown.
struct Seeing<'a, T: ?Sized> {
    inner: &'a T,
    seen: &'a RefCell<Option<SecretBox<[u8; 16]>>>,
}

impl<T: ?Sized> Seeing<'_, T> {
    fn see(&self, file_key: &FileKey) {
        *self.seen.borrow_mut() = Some(SecretBox::new(Box::new(*file_key.expose_secret())));
    }
}

impl Recipient for Seeing<'_, dyn Recipient + '_> {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        self.see(file_key);
        self.inner.wrap_file_key(file_key)
    }
}

impl Identity for Seeing<'_, dyn Identity + '_> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        let unwrapped = self.inner.unwrap_stanzas(stanzas);
        if let Some(Ok(file_key)) = &unwrapped {
            self.see(file_key);
        }
        unwrapped
    }
}
