//! `[erasure]`, and the `cascades` of a deployment: who is to be forgotten, how much at most, and what goes with them.

use convault_core::Cascade;

use crate::{
    reading::{Reading, Refusal},
    section::Section,
};

/// `[erasure]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasureSettings {
    /// So many documents and files of one snapshot may be erased.
    pub max_erased_ids: u32,
}

/// Ids are held in memory: about 200 bytes each.
const MOST_IDS: u32 = 10_000_000;

pub(crate) fn read(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<ErasureSettings> {
    let max_erased_ids = section.count(reading, "max_erased_ids", 1..MOST_IDS + 1);
    Some(ErasureSettings { max_erased_ids: max_erased_ids? })
}

/// One of a deployment's `cascades`.
pub(crate) fn cascade(text: &str) -> Result<Cascade, Refusal> {
    let expected = "a cascade such as \"contacts:messages.contactId\" (messages that name an erased contact) or \
                    \"contacts.avatarId:_storage\" (stored files that an erased contact names)";
    text.parse().map_err(|_| Refusal::expected(expected))
}
