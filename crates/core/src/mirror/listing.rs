//! [`MirrorEntry`]: a line of a listing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Attributes, RunId, Sha256};

use super::{EntryName, EntryVersion};

/// One source object as a run found it, and what is stored of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorEntry {
    /// What stands for its key.
    pub name: EntryName,
    /// Which version of it.
    pub version: EntryVersion,
    /// The run that stored it: with the name, the object's key.
    pub run: RunId,
    /// The stored object's size, bytes.
    pub stored_bytes: u64,
    /// The stored object's SHA-256; absent where the server copied it by itself and did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// What only those may read who have a private key, where objects are encrypted; then it is elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<MirrorDetails>,
}

/// What a source object was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorDetails {
    /// Its key.
    pub key: String,
    /// Its size, bytes.
    pub size_bytes: u64,
    /// Its entity tag, where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// When it was written, by its store's clock.
    pub modified: Timestamp,
    /// The SHA-256 of its bytes; absent where that is the stored object's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_sha256: Option<Sha256>,
    /// What was kept beside its bytes.
    #[serde(default)]
    pub attributes: Attributes,
}
