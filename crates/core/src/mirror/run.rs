//! [`MirrorRun`]: the record of one run of a mirror, written last.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{MirrorName, RunId, Sha256};

/// The format of mirrors this build writes, and the newest it reads.
pub const MIRROR_FORMAT: u32 = 1;

/// What came of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MirrorVerdict {
    /// The source as it was found can be restored: there is a listing.
    Complete,
    /// The source was as the newest listing says.
    Unchanged,
    /// Too much had vanished or changed at once: nothing was stored, and the newest listing stays the newest.
    Braked,
}

impl MirrorVerdict {
    /// Every verdict.
    pub const ALL: [Self; 3] = [Self::Complete, Self::Unchanged, Self::Braked];

    /// The verdict in one lower-case word, as in keys and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Unchanged => "unchanged",
            Self::Braked => "braked",
        }
    }

    /// The verdict of this word.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == word)
    }
}

/// What a run counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MirrorTally {
    /// Objects in the newest listing before.
    pub before: u64,
    /// Objects found in the source.
    pub objects: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Objects whose key the newest listing did not have.
    pub added: u64,
    /// Objects whose key it had with another content.
    pub changed: u64,
    /// Objects that it had with the same content, written again or with other attributes: copied, and no change to the
    /// brake.
    #[serde(default)]
    pub touched: u64,
    /// Keys it had that are gone.
    pub vanished: u64,
    /// Bytes that were read from the source.
    pub read_bytes: u64,
    /// Bytes that the server copied by itself.
    pub server_copied_bytes: u64,
    /// Objects that could not be copied: the listing has them as they were before, or not at all.
    pub failed: u64,
}

impl MirrorTally {
    /// Whether the source was as the newest listing says.
    pub fn is_unchanged(&self) -> bool {
        self.added + self.changed + self.touched + self.vanished == 0
    }
}

/// A listing, for whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingFacts {
    /// Lines.
    pub entries: u64,
    /// Bytes of the source objects it names.
    pub bytes: u64,
    /// The stored listing's size, bytes.
    pub stored_bytes: u64,
    /// The stored listing's SHA-256.
    pub sha256: Sha256,
}

/// One run of a mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorRun {
    /// [`MIRROR_FORMAT`].
    pub format: u32,
    /// The run, also in the key.
    pub run: RunId,
    /// The repository.
    pub repository: RunId,
    /// The mirror.
    pub mirror: MirrorName,
    /// What came of it.
    pub verdict: MirrorVerdict,
    /// When it began to list the source, by the clock of whoever ran it.
    pub started: Timestamp,
    /// When it had stored everything.
    pub finished: Timestamp,
    /// Its own listing, of a complete run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<ListingFacts>,
    /// The newest complete run before.
    pub previous: Option<RunId>,
    /// How keys became names: `sha256`, or `keyed-` and the fingerprint of the names key.
    pub names: String,
    /// The fingerprint of the recipients that objects are encrypted to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<String>,
    /// What it counted.
    pub tally: MirrorTally,
    /// Why it braked, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whether a person had released the brake.
    pub released: bool,
    /// Complete runs that stay after it: a later one that finds fewer removes nothing.
    pub known: u64,
    /// Complete runs that are not kept any more: they are being removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expired: Vec<RunId>,
    /// The fencing number of the lease under which it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<u64>,
    /// The version of Convault.
    pub convault_version: String,
}
