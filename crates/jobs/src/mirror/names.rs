//! [`Names`]: how source keys and versions become names: by hashing, under a key where objects are encrypted.

use convault_archive::NamesKey;
use convault_core::{EntryName, EntryVersion, ObjectInfo};

use crate::Destination;

/// How names are made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Names<'a> {
    Plain,
    Keyed(&'a NamesKey),
}

impl<'a> Names<'a> {
    pub(crate) fn of(destination: &'a Destination) -> Self {
        destination.encryption.as_deref().map_or(Self::Plain, |encryption| Self::Keyed(&encryption.names))
    }

    /// What tells these names from those under another key.
    pub(crate) fn id(self) -> String {
        match self {
            Self::Plain => "sha256".to_owned(),
            Self::Keyed(key) => format!("keyed-{}", key.id()),
        }
    }

    pub(crate) fn name(self, key: &str) -> EntryName {
        match self {
            Self::Plain => EntryName::of_key(key),
            Self::Keyed(names) => names.hash("mirror-key", &[key.as_bytes()]).into(),
        }
    }

    /// The key is part of it: equal files under different keys tell nothing of each other.
    pub(crate) fn version(self, info: &ObjectInfo) -> EntryVersion {
        match self {
            Self::Plain => EntryVersion::of(info),
            Self::Keyed(names) => {
                let digest = |purpose: &str, text: String| {
                    names.hash(purpose, &[info.key.as_bytes(), text.as_bytes()])
                };
                EntryVersion::from_digests(
                    &digest("mirror-content", EntryVersion::content_text(info)),
                    &digest("mirror-version", EntryVersion::text(info)),
                )
            }
        }
    }
}
