//! Who may read what is encrypted.

use std::{collections::BTreeMap, fmt, str::FromStr};

use age::ssh::ParseRecipientKeyError;
use convault_core::{Sha256, Sha256Stream};

use crate::encryption::error::RecipientError;

/// More recipients than this are refused, so that each header can be read back ([`super::MAX_HEADER_BYTES`]).
pub const MAX_RECIPIENTS: usize = 256;

/// As much of a text that is no recipient is repeated, which is enough to find it.
const REPEATED_CHARACTERS: usize = 40;

/// A public key that objects are encrypted to. It prints as its canonical text: without a comment, in lower case.
#[derive(Clone)]
pub struct Recipient {
    key: Key,
    text: String,
}

#[derive(Clone)]
enum Key {
    X25519(age::x25519::Recipient),
    Ssh(age::ssh::Recipient),
}

impl FromStr for Recipient {
    type Err = RecipientError;

    fn from_str(text: &str) -> Result<Self, RecipientError> {
        if is_secret(text) {
            return Err(RecipientError::SecretKey);
        }
        let text = text.trim();
        let parsed =
            if text.starts_with("ssh-") || text.contains(' ') { parse_ssh(text) } else { parse_age(text) };
        parsed.map_err(|problem| RecipientError::Invalid { text: shortened(text), problem })
    }
}

/// Whether somebody took the wrong half of a key: also in lower case, which is as valid, and from the middle of a file.
fn is_secret(text: &str) -> bool {
    let text = text.to_ascii_uppercase();
    // The last is how the base64 of every OpenSSH private key begins.
    ["AGE-SECRET-KEY-", "PRIVATE KEY", "B3BLBNNZAC1RZXKTDJE"].iter().any(|sign| text.contains(sign))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(REPEATED_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn parse_age(text: &str) -> Result<Recipient, &'static str> {
    let lower = text.to_ascii_lowercase();
    let data = lower.strip_prefix("age1").ok_or("it is no public key of a known kind")?;
    // What names a plugin or another kind of key ends at another `1`, which is no digit of the key itself.
    if data.contains('1') {
        return Err("only X25519 keys are supported, no plugins and no other kinds");
    }
    let key: age::x25519::Recipient =
        text.parse().map_err(|_| "its length or its checksum is wrong, as after a slip of the pen")?;
    Ok(Recipient { text: key.to_string(), key: Key::X25519(key) })
}

fn parse_ssh(text: &str) -> Result<Recipient, &'static str> {
    let mut words = text.split_ascii_whitespace();
    let given = [words.next().unwrap_or_default(), words.next().unwrap_or_default()].join(" ");
    let key: age::ssh::Recipient = given.parse().map_err(|error| match error {
        ParseRecipientKeyError::RsaModulusTooSmall => "an RSA key needs at least 2048 bits",
        ParseRecipientKeyError::RsaModulusTooLarge => "an RSA key may have at most 4096 bits",
        ParseRecipientKeyError::Unsupported(_) => "SSH keys of this kind cannot be encrypted to",
        _ => "it is damaged or incomplete",
    })?;
    let text = key.to_string();
    // The parser stops where the key ends, and what follows without a space would be lost without a word.
    if text.trim_end_matches('=') != given.trim_end_matches('=') {
        return Err("it is damaged or has something behind it");
    }
    Ok(Recipient { key: Key::Ssh(key), text })
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A set of recipients, each of which can read by itself: never empty, each once, sorted by their texts.
#[derive(Clone)]
pub struct Recipients(Vec<Recipient>);

impl Recipients {
    /// The set of these recipients.
    pub fn new(recipients: impl IntoIterator<Item = Recipient>) -> Result<Self, RecipientError> {
        let set: BTreeMap<String, Recipient> =
            recipients.into_iter().map(|recipient| (recipient.text.clone(), recipient)).collect();
        match set.len() {
            0 => Err(RecipientError::None),
            count if count > MAX_RECIPIENTS => Err(RecipientError::TooMany { count }),
            _ => Ok(Self(set.into_values().collect())),
        }
    }

    /// The set of the recipients with these texts: `age1…`, `ssh-ed25519 …` or `ssh-rsa …`, with or without a comment
    /// behind them. The first that is none is the error.
    pub fn parse<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, RecipientError> {
        let recipients: Vec<Recipient> =
            texts.into_iter().map(|text| text.as_ref().parse()).collect::<Result<_, _>>()?;
        Self::new(recipients)
    }

    /// The recipients, sorted by their texts.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Recipient> {
        self.0.iter()
    }

    /// Equal for equal sets, however they were written: the SHA-256 of their texts, sorted, each with a line feed
    /// behind it.
    pub fn fingerprint(&self) -> Sha256 {
        let mut sha256 = Sha256Stream::new();
        for recipient in &self.0 {
            sha256.update(recipient.text.as_bytes());
            sha256.update(b"\n");
        }
        sha256.finish()
    }

    /// As age takes them.
    pub(super) fn keys(&self) -> impl Iterator<Item = &dyn age::Recipient> {
        self.0.iter().map(|recipient| match &recipient.key {
            Key::X25519(key) => key as &dyn age::Recipient,
            Key::Ssh(key) => key as &dyn age::Recipient,
        })
    }
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.0).finish()
    }
}

impl PartialEq for Recipients {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().map(|recipient| &recipient.text).eq(other.0.iter().map(|recipient| &recipient.text))
    }
}

impl Eq for Recipients {}
