//! The private keys that open what is encrypted.

use std::{fmt, sync::Arc};

use age::secrecy::ExposeSecret as _;
use convault_core::Secret;

use crate::encryption::error::IdentityError;

/// How an SSH private key begins, in OpenSSH's own format and in the older one for RSA keys.
const SSH_PREFIXES: [&str; 2] = ["-----BEGIN OPENSSH PRIVATE KEY-----", "-----BEGIN RSA PRIVATE KEY-----"];

/// How an age file begins, as which an identity file is kept under a passphrase.
const AGE_PREFIXES: [&str; 2] = ["age-encryption.org/", "-----BEGIN AGE ENCRYPTED FILE-----"];

/// Private keys, each of which opens what was encrypted to its public half. `Debug` tells how many there are.
#[derive(Clone)]
pub struct Identities(Arc<[Box<dyn age::Identity + Send + Sync>]>);

impl Identities {
    /// The identities in the content of an age identity file, or the one in that of an OpenSSH private key. Neither may
    /// be protected by a passphrase.
    pub fn parse(content: &Secret) -> Result<Self, IdentityError> {
        let text = content.expose().trim();
        let starts_as = |prefixes: &[&str]| prefixes.iter().any(|prefix| text.starts_with(prefix));
        if starts_as(&AGE_PREFIXES) {
            return Err(IdentityError::Passphrase);
        }
        let identities = if starts_as(&SSH_PREFIXES) { vec![parse_ssh(text)?] } else { parse_lines(text)? };
        if identities.is_empty() { Err(IdentityError::None) } else { Ok(Self(identities.into())) }
    }

    /// How many there are; never none.
    #[allow(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// As age takes them.
    pub(super) fn keys(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.0.iter().map(|identity| &**identity as &dyn age::Identity)
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({})", self.len())
    }
}

fn parse_lines(text: &str) -> Result<Vec<Box<dyn age::Identity + Send + Sync>>, IdentityError> {
    let mut identities: Vec<Box<dyn age::Identity + Send + Sync>> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            let identity = line.parse::<age::x25519::Identity>();
            identities
                .push(Box::new(identity.map_err(|_| IdentityError::NotAnIdentity { line: number + 1 })?));
        }
    }
    Ok(identities)
}

fn parse_ssh(text: &str) -> Result<Box<dyn age::Identity + Send + Sync>, IdentityError> {
    // Its parser wants the last line to be ended.
    let text = Secret::new(format!("{text}\n"));
    match age::ssh::Identity::from_buffer(text.expose().as_bytes(), None) {
        Ok(identity @ age::ssh::Identity::Unencrypted(_)) => Ok(Box::new(identity)),
        Ok(age::ssh::Identity::Encrypted(_)) => Err(IdentityError::Passphrase),
        Ok(age::ssh::Identity::Unsupported(_)) => {
            Err(IdentityError::Ssh { problem: "age knows no such kind" })
        }
        Err(_) => Err(IdentityError::Ssh { problem: "it is damaged or incomplete" }),
    }
}

/// A new pair: its public text, and the content of an identity file as `age-keygen` writes it.
pub fn generate() -> (String, Secret) {
    let identity = age::x25519::Identity::generate();
    let public = identity.to_public().to_string();
    let file = format!("# public key: {public}\n{}\n", identity.to_string().expose_secret());
    (public, Secret::new(file))
}
