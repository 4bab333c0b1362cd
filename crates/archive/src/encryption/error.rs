//! What can be wrong with a recipient, an identity and an encrypted object.

use crate::{encryption::recipients::MAX_RECIPIENTS, ranged::RangedError};

/// Why a recipient, or a set of them, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipientError {
    /// A secret key was given. It is not repeated here.
    #[error(
        "this is a secret key, and who has it can read every backup: it belongs where no backup is made; expected its \
         public half (`age1…`, or the line of the `.pub` file)"
    )]
    SecretKey,
    /// The text is not a recipient.
    #[error(
        "`{text}` is not a recipient: {problem}; expected an age public key (`age1…`) or an SSH public key \
         (`ssh-ed25519 …` or `ssh-rsa …`)"
    )]
    Invalid {
        /// The text, shortened.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There is none.
    #[error("there is no recipient: expected at least one, or nobody could read what is encrypted")]
    None,
    /// There are more than anybody would believe.
    #[error("there are {count} recipients: expected at most {MAX_RECIPIENTS}")]
    TooMany {
        /// How many different ones there are.
        count: usize,
    },
}

/// Why an identity cannot be used. No part of what was given is repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// A line is neither empty, nor a comment, nor an identity.
    #[error(
        "line {line} of the identity file is not an identity: expected `AGE-SECRET-KEY-1…` as `age-keygen` writes it, \
         or the whole of an OpenSSH private key"
    )]
    NotAnIdentity {
        /// Counted from 1.
        line: usize,
    },
    /// A passphrase protects it, and nobody is there to type it.
    #[error(
        "a passphrase protects the identity file: take it off a copy of it first (`ssh-keygen -p -N \"\" -f COPY` for an \
         SSH key, `age -d` for an age identity file)"
    )]
    Passphrase,
    /// An SSH private key that is damaged, or of a kind that age cannot use.
    #[error(
        "this SSH private key cannot be used: {problem}; expected an Ed25519 or RSA key in OpenSSH's format"
    )]
    Ssh {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There is none.
    #[error("the identity file holds no identity: expected at least one line `AGE-SECRET-KEY-1…`")]
    None,
}

/// Why an encrypted object does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It does not begin like one.
    #[error(
        "this is not an age file: it does not begin with `age-encryption.org/v1`; look whether it is encrypted at all"
    )]
    NotAge,
    /// Its header cannot be read.
    #[error("the header of the age file is damaged: {problem}; use another copy of the object")]
    DamagedHeader {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It was encrypted to others, or the part of its header that was meant for one of these is damaged.
    #[error(
        "none of the {identities} given identities opens the age file: it is encrypted to other recipients"
    )]
    NoIdentity {
        /// How many there are.
        identities: usize,
    },
    /// An identity opens it, but its header is not as it was written.
    #[error("the header of the age file was altered: its MAC is another; use another copy of the object")]
    AlteredHeader,
    /// A chunk of it is not as it was written.
    #[error(
        "the age file was altered, or cut off, in its chunk {chunk} (from byte {offset} on); use another copy of the \
         object"
    )]
    Altered {
        /// Counted from 0.
        chunk: u64,
        /// Where the chunk begins in the age file.
        offset: u64,
    },
    /// Its end is missing.
    #[error(
        "the age file ends early, after {length} bytes: its end is missing; use another copy of the object"
    )]
    Truncated {
        /// How much of it there is.
        length: u64,
    },
    /// No age file with its header is that long.
    #[error(
        "no age file with this header is {length} bytes long: its end is missing, or something follows it; use another \
         copy of the object"
    )]
    Length {
        /// How much of it there is.
        length: u64,
    },
    /// Something stands behind its end.
    #[error("the age file ends at byte {end}, and something else follows; use another copy of the object")]
    Trailing {
        /// Where it ends.
        end: u64,
    },
    /// A decryptor that has failed was asked to go on.
    #[error("the age file has already failed to open")]
    Failed,
    /// The store failed.
    #[error("cannot read bytes {start} to {end} of the encrypted object")]
    Read {
        /// The first byte.
        start: u64,
        /// Behind the last byte.
        end: u64,
        /// The store's error.
        source: RangedError,
    },
}
