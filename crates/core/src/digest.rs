//! SHA-256 values, and the order-independent digest of a table.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a digest: expected 64 hexadecimal digits")]
pub struct ParseDigestError {
    /// What was read.
    pub text: String,
}

fn to_hex(bytes: &[u8; 32], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn from_hex(text: &str) -> Result<[u8; 32], ParseDigestError> {
    let error = || ParseDigestError { text: text.chars().take(80).collect() };
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(error());
    }
    let mut bytes = [0; 32];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[place * 2..place * 2 + 2], 16).map_err(|_| error())?;
    }
    Ok(bytes)
}

macro_rules! hex_value {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                to_hex(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                to_hex(&self.0, f)
            }
        }
        impl std::str::FromStr for $name {
            type Err = ParseDigestError;
            fn from_str(text: &str) -> Result<Self, ParseDigestError> {
                from_hex(text).map(Self)
            }
        }
        impl TryFrom<String> for $name {
            type Error = ParseDigestError;
            fn try_from(text: String) -> Result<Self, ParseDigestError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }
    };
}

/// A SHA-256, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256(pub [u8; 32]);

hex_value!(Sha256);

impl Sha256 {
    /// The SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }
}

/// A SHA-256 taken over bytes as they pass.
#[derive(Clone, Default)]
pub struct Sha256Stream(sha2::Sha256);

impl Sha256Stream {
    /// A digest of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything taken in.
    pub fn finish(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }
}

impl fmt::Debug for Sha256Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256Stream")
    }
}

/// The digest of a table that does not depend on the order of its documents: the sum, modulo 2^256, of the
/// SHA-256 of each line (without its line feed), taken as little-endian numbers.
///
/// Equal tables have equal digests. It guards against accidents, not against someone who chooses documents to
/// collide: that is what the SHA-256 of the whole entry beside it is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(try_from = "String", into = "String")]
pub struct TableDigest([u8; 32]);

hex_value!(TableDigest);

impl TableDigest {
    /// A digest that stands for another one: a keyed hash of it.
    pub fn hashed(hash: Sha256) -> Self {
        Self(hash.0)
    }

    /// The digest's 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Takes in one document, given as the SHA-256 of its line.
    pub fn add(&mut self, line: &Sha256) {
        let mut carry = 0_u16;
        for (sum, byte) in self.0.iter_mut().zip(line.0) {
            let total = u16::from(*sum) + u16::from(byte) + carry;
            *sum = total.to_le_bytes()[0];
            carry = total >> 8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_digest_ignores_order_but_not_number() {
        let (a, b) = (Sha256::of(b"a"), Sha256::of(b"b"));
        let sum = |lines: &[Sha256]| {
            let mut digest = TableDigest::default();
            for line in lines {
                digest.add(line);
            }
            digest
        };
        assert_eq!(sum(&[a, b]), sum(&[b, a]));
        assert_ne!(sum(&[a, b]), sum(&[a, b, b]));
        assert_ne!(sum(&[a]), sum(&[b]));
    }

    #[test]
    fn a_digest_survives_being_written_and_read() {
        let digest = Sha256::of(b"");
        assert_eq!(digest.to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(digest.to_string().parse::<Sha256>().unwrap(), digest);
        for text in ["e3", &"é".repeat(32), &"+f".repeat(32), &" f".repeat(32)] {
            assert!(text.parse::<Sha256>().is_err(), "{text}");
        }
    }
}
