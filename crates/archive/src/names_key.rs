//! [`NamesKey`]: keyed hashes, by which names can be compared and not read.

use std::fmt;

use convault_core::{KeyedHash, Secret, Sha256};
use ring::hmac;

/// Bytes of the key.
const KEY_BYTES: usize = 32;

/// What is wrong with a names key. Never repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no names key: 64 hexadecimal digits are expected, as `convault keygen names` prints them")]
pub struct NamesKeyError;

/// The symmetric secret under which table names, file names and the like are hashed where a destination is encrypted:
/// equal names have equal hashes for everyone who shares the key, and tell nothing to anybody else. HMAC-SHA-256.
#[derive(Clone)]
pub struct NamesKey {
    key: hmac::Key,
    secret: Secret,
}

impl NamesKey {
    /// A new key.
    pub fn generate() -> Self {
        Self::of(rand::random())
    }

    /// The key of this text: 64 hexadecimal digits, with or without white space around them.
    pub fn parse(secret: &Secret) -> Result<Self, NamesKeyError> {
        let bytes: Sha256 = secret.expose().trim().parse().map_err(|_| NamesKeyError)?;
        Ok(Self::of(bytes.0))
    }

    fn of(bytes: [u8; KEY_BYTES]) -> Self {
        let text = Sha256(bytes).to_string();
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &bytes), secret: Secret::new(text) }
    }

    /// The key's text, for whoever must store it encrypted.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// What tells this key from others, and nothing else: the first 16 digits of a hash under it.
    pub fn id(&self) -> String {
        let mut id = self.hash("names-key-id", &[]).to_string();
        id.truncate(16);
        id
    }

    /// The hash of `parts` for one purpose. Different purposes, and different cuts into parts, never give the same.
    pub fn hash(&self, purpose: &str, parts: &[&[u8]]) -> Sha256 {
        let mut context = hmac::Context::with_key(&self.key);
        for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let tag = context.sign();
        Sha256(tag.as_ref().try_into().expect("a tag of HMAC-SHA-256 has 32 bytes"))
    }
}

impl KeyedHash for NamesKey {
    fn hash(&self, purpose: &str, parts: &[&[u8]]) -> Sha256 {
        self.hash(purpose, parts)
    }
}

impl fmt::Debug for NamesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NamesKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let key = NamesKey::generate();
        let again =
            NamesKey::parse(&Secret::new(format!(" {}\n", key.secret().expose().to_uppercase()))).unwrap();
        assert_eq!(key.id(), again.id());
        assert_eq!(key.hash("table", &[b"", b"contacts"]), again.hash("table", &[b"", b"contacts"]));
        assert_eq!(format!("{key:?}"), "NamesKey");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in
            ["", "0", &"0".repeat(62), &"0".repeat(63), &"0".repeat(66), &"g".repeat(64), &"é".repeat(32)]
        {
            assert!(NamesKey::parse(&Secret::new(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn purposes_and_cuts_differ() {
        let key = NamesKey::parse(&Secret::new("00".repeat(32))).unwrap();
        let hashes = [
            key.hash("table", &[b"a", b"b"]),
            key.hash("table", &[b"ab", b""]),
            key.hash("table", &[b"ab"]),
            key.hash("file", &[b"a", b"b"]),
        ];
        for (at, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..at].contains(hash), "{at}");
        }
    }
}
