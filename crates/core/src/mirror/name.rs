//! [`EntryName`] and [`EntryVersion`]: what stands for a source key and for one version of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ObjectInfo, Sha256};

const BYTES: usize = 16;

/// A text that is not 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the name of an entry: expected 32 hexadecimal digits")]
pub struct ParseEntryNameError {
    /// What was read.
    pub text: String,
}

macro_rules! hexadecimal {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub [u8; BYTES]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseEntryNameError;
            fn try_from(text: String) -> Result<Self, ParseEntryNameError> {
                text.parse()
            }
        }

        impl std::str::FromStr for $name {
            type Err = ParseEntryNameError;
            fn from_str(text: &str) -> Result<Self, ParseEntryNameError> {
                let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                if text.len() != BYTES * 2 || !text.bytes().all(digit) {
                    return Err(ParseEntryNameError { text: text.chars().take(80).collect() });
                }
                let mut bytes = [0; BYTES];
                for (place, byte) in bytes.iter_mut().enumerate() {
                    let digits = &text[place * 2..place * 2 + 2];
                    *byte = u8::from_str_radix(digits, 16).expect("both are hexadecimal digits");
                }
                Ok(Self(bytes))
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }
    };
}

hexadecimal! {
    /// What stands for a source key: half of a digest of it. Listings are in its order, which no server has a say in.
    EntryName
}
hexadecimal! {
    /// What stands for one version of a source object: a part that tells its content, and one that tells its time as
    /// well.
    EntryVersion
}

impl From<Sha256> for EntryName {
    fn from(digest: Sha256) -> Self {
        let (half, _) = digest.0.split_first_chunk().expect("a SHA-256 has 32 bytes");
        Self(*half)
    }
}

impl EntryName {
    /// The name of a source key where nothing is encrypted: half of the key's SHA-256.
    pub fn of_key(key: &str) -> Self {
        Sha256::of(key.as_bytes()).into()
    }

    /// The first byte: the folder of its objects.
    pub fn shard(self) -> u8 {
        self.0[0]
    }
}

impl EntryVersion {
    /// What a version's content is told by, as bytes to be digested: entity tag and size.
    pub fn content_text(info: &ObjectInfo) -> String {
        format!("{}\n{}", info.etag.as_deref().unwrap_or_default(), info.size_bytes)
    }

    /// What a version is told by: its content, and its time to the second, since a head request tells no more.
    pub fn text(info: &ObjectInfo) -> String {
        format!("{}\n{}", Self::content_text(info), info.modified.as_second())
    }

    /// The version with these digests of [`EntryVersion::content_text`] and [`EntryVersion::text`]: half of either.
    pub fn from_digests(content: &Sha256, all: &Sha256) -> Self {
        let mut bytes = [0; BYTES];
        let (first, second) = bytes.split_at_mut(BYTES / 2);
        first.copy_from_slice(&content.0[..BYTES / 2]);
        second.copy_from_slice(&all.0[..BYTES / 2]);
        Self(bytes)
    }

    /// The version of a source object where nothing is encrypted.
    pub fn of(info: &ObjectInfo) -> Self {
        let digest = |text: String| Sha256::of(text.as_bytes());
        Self::from_digests(&digest(Self::content_text(info)), &digest(Self::text(info)))
    }

    /// Whether the content is the same, as far as its store tells: it was written again, or what is kept beside it has
    /// changed.
    pub fn has_content_of(self, other: Self) -> bool {
        self.0[..BYTES / 2] == other.0[..BYTES / 2]
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_name_survives_being_written() {
        let name = EntryName::of_key("courses/1/intro.mp4");
        assert_eq!(name.to_string().parse::<EntryName>().unwrap(), name);
        assert!("0g".repeat(16).parse::<EntryName>().is_err() && "00".parse::<EntryName>().is_err());
    }

    #[test]
    fn a_version_changes_with_tag_size_or_time_and_not_with_parts_of_a_second() {
        let info = |etag: &str, size_bytes, ms| ObjectInfo {
            key: "k".to_owned(),
            size_bytes,
            modified: Timestamp::from_millisecond(ms).unwrap(),
            etag: Some(etag.to_owned()),
        };
        let version = EntryVersion::of(&info("a", 1, 5000));
        assert_eq!(version, EntryVersion::of(&info("a", 1, 5999)));
        for other in [info("b", 1, 5000), info("a", 2, 5000), info("a", 1, 6000)] {
            assert_ne!(version, EntryVersion::of(&other));
        }
        assert!(version.has_content_of(EntryVersion::of(&info("a", 1, 9000))));
        assert!(!version.has_content_of(EntryVersion::of(&info("b", 1, 5000))));
    }
}
