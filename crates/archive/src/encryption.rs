//! Encryption with age (<https://age-encryption.org/v1>): to X25519 and SSH recipients, streaming, and read at random.
//!
//! What [`Encryptor`] makes is an ordinary age file, which stock `age -d` opens. Deliberately absent: passphrases,
//! ASCII armour, plugins and post-quantum recipients. Who is encrypted to what, and where, is for the caller to decide.
//! Why it is made like this: `docs/decisions/0010-encryption.md`.

mod decryptor;
mod encryptor;
mod error;
mod header;
mod identities;
mod reader;
mod recipients;
mod stream;

pub use decryptor::Decryptor;
pub use encryptor::Encryptor;
pub use error::{IdentityError, OpenError, RecipientError};
pub use header::MAX_HEADER_BYTES;
pub use identities::{Identities, generate};
pub use reader::EncryptedReader;
pub use recipients::{MAX_RECIPIENTS, Recipient, Recipients};
pub use stream::{CHUNK_BYTES, TAG_BYTES, encrypted_length, plain_length};
