//! `encrypt_to`: whom a destination is encrypted to; and `[encryption]`: the secrets that go with it.

use convault_core::Secret;

use crate::{
    keys::Form,
    reading::{Reading, Refusal},
    secret::{read_key_file, read_secret},
    section::Section,
};

/// `[encryption]`: at least one of the two.
#[derive(Debug, Clone)]
pub struct EncryptionSettings {
    /// The names key, 64 hexadecimal digits: under it names are hashed that nobody may read. There wherever anything is
    /// encrypted.
    pub names_key: Option<Secret>,
    /// The content of an age identity file, or of an OpenSSH private key without a passphrase; only where what is
    /// encrypted is read.
    pub identity: Option<Secret>,
}

const NAMES_KEY_DIGITS: usize = 64;

/// What a secret key has in it: an age identity, a PEM file, and the base64 of every OpenSSH private key. In upper case.
const SECRET_SIGNS: [&str; 3] = ["AGE-SECRET-KEY-", "PRIVATE KEY", "B3BLBNNZAC1RZXKTDJE"];
const PUBLIC_BEGINNINGS: [&str; 3] = ["age1", "ssh-ed25519 ", "ssh-rsa "];

pub(crate) fn read(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<EncryptionSettings> {
    if !section.has("names_key") && !section.has("identity") {
        reading.problem(section.place(), section.path(), "neither", "`names_key`, `identity`, or both");
    }
    let before = reading.problems.len();
    let names_key = read_secret(section, reading, "names_key");
    let identity = read_key_file(section, reading, "identity");
    let is_key = |secret: &Secret| {
        let text = secret.expose().trim();
        text.len() == NAMES_KEY_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    if names_key.as_ref().is_some_and(|secret| !is_key(secret)) {
        let place = section.place_of(reading, "names_key");
        let expected = "64 hexadecimal digits, as `convault keygen names` prints them";
        reading.problem(
            place,
            &section.key_path("names_key"),
            "a secret of another form (not shown)",
            expected,
        );
    }
    (reading.problems.len() == before).then_some(EncryptionSettings { names_key, identity })
}

/// `encrypt_to`: public keys, at least one where the key is there at all. Looks at their form alone: whether each is
/// whole shows when it is used.
pub(crate) fn read_recipients(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<Vec<String>> {
    let before = reading.problems.len();
    let recipients = section.list(reading, "encrypt_to", parse_recipient)?;
    if recipients.is_empty() && reading.problems.len() == before {
        let place = section.place_of(reading, "encrypt_to");
        let expected = "at least one recipient; without `encrypt_to` nothing is encrypted";
        reading.problem(place, &section.key_path("encrypt_to"), "an empty list", expected);
    }
    Some(recipients)
}

fn parse_recipient(text: &str) -> Result<String, Refusal> {
    let text = text.trim();
    let upper = text.to_ascii_uppercase();
    if SECRET_SIGNS.iter().any(|sign| upper.contains(sign)) {
        let expected = "its public half (`age1…`, or the line of the `.pub` file): who has the secret key can read every \
                        backup, so it belongs where no backup is made";
        return Err(Refusal::unshown("a secret key (not shown)", expected));
    }
    let lower = text.to_ascii_lowercase();
    if PUBLIC_BEGINNINGS.iter().any(|beginning| lower.starts_with(beginning)) {
        return Ok(text.to_owned());
    }
    // It may be a part of a secret key.
    Err(Refusal::unshown("something that is no public key (not shown)", Form::Recipients.expected()))
}
