//! `contents.json`, the last entry of the ZIP: what is in it, and what is not (`docs/format.md`).

use convault_core::{DeploymentName, NotCovered, Sha256, SurroundingKind, SurroundingName};
use jiff::Timestamp;
use serde::Serialize;

/// Its name in the ZIP.
pub(crate) const CONTENTS_NAME: &str = "contents.json";
/// The entry with every named value, one a line.
pub(crate) const VALUES_NAME: &str = "secrets.jsonl";

/// What is in the ZIP.
#[derive(Debug, Serialize)]
pub(crate) struct Contents<'a> {
    pub(crate) format: u32,
    pub(crate) deployment: &'a DeploymentName,
    pub(crate) at: Timestamp,
    pub(crate) surroundings: &'a [Part],
}

/// One part of the surroundings.
#[derive(Debug, Serialize)]
pub(crate) struct Part {
    pub(crate) name: SurroundingName,
    pub(crate) kind: SurroundingKind,
    pub(crate) required: bool,
    /// Whether it was collected to its end.
    pub(crate) complete: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) not_covered: Vec<NotCovered>,
}

/// One entry.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) size_bytes: u64,
    pub(crate) sha256: Sha256,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<(u32, u32)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) modified: Option<Timestamp>,
}
