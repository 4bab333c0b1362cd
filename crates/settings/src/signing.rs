//! `[signing]`: who signs manifests, marks and proofs, and whose signatures count.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use convault_core::Secret;

use crate::{
    keys::Form,
    reading::{Reading, Refusal},
    secret::read_key_file,
    section::Section,
};

/// `[signing]`: at least one of the two.
#[derive(Debug, Clone)]
pub struct SigningSettings {
    /// The content of a minisign secret key file made without a password; without it nothing is signed.
    pub key: Option<Secret>,
    /// Public keys whose signatures count, beside that of `key`: one line each, `RW…`.
    pub trusted_keys: Vec<String>,
}

/// Algorithm, key identifier, key.
const PUBLIC_KEY_BYTES: usize = 2 + 8 + 32;
const ED25519: &[u8] = b"Ed";

pub(crate) fn read(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<SigningSettings> {
    if !section.has("key") && !section.has("trusted_keys") {
        reading.problem(section.place(), section.path(), "neither", "`key`, `trusted_keys`, or both");
    }
    let before = reading.problems.len();
    let key = read_key_file(section, reading, "key");
    let trusted_keys = section.list(reading, "trusted_keys", parse_public_key);
    let alright = reading.problems.len() == before;
    if alright && trusted_keys.as_ref().is_some_and(Vec::is_empty) {
        let place = section.place_of(reading, "trusted_keys");
        let expected = "at least one key; without `trusted_keys` only that of `key` is trusted";
        reading.problem(place, &section.key_path("trusted_keys"), "an empty list", expected);
    }
    alright.then(|| SigningSettings { key, trusted_keys: trusted_keys.unwrap_or_default() })
}

/// Looks at the form alone: whether it is a point on the curve shows when it is used.
fn parse_public_key(text: &str) -> Result<String, Refusal> {
    let bytes = BASE64.decode(text).unwrap_or_default();
    if bytes.len() == PUBLIC_KEY_BYTES && bytes.starts_with(ED25519) {
        return Ok(text.to_owned());
    }
    // It may be the secret key.
    Err(Refusal::unshown("something that is no public key (not shown)", Form::PublicKeys.expected()))
}
