//! Signatures in minisign's format, so that stock `minisign -V` checks what Convault signed and Convault checks what
//! stock `minisign -S` signed.
//!
//! The format is Ed25519 over the BLAKE2b-512 of the content ("prehashed"), and a second Ed25519 signature over the
//! first one and the trusted comment: <https://jedisct1.github.io/minisign/#signature-format>. Ed25519 is ring's.
//! Everything here is of a few kilobytes: manifests, marks and proofs, never a snapshot.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use blake2::digest::consts::U32;
use blake2::{Blake2b, Blake2b512, Digest as _};
use convault_core::Secret;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

/// The longest text that is looked at as a signature. One made by Convault has about 350 bytes.
pub const MAX_SIGNATURE_BYTES: usize = 4096;

/// The longest text that is looked at as a key.
const MAX_KEY_BYTES: usize = 4096;

/// What of a trusted comment is signed: a line this long still is one for stock minisign.
const MAX_COMMENT_CHARS: usize = 1000;

const UNTRUSTED_PREFIX: &str = "untrusted comment: ";
const TRUSTED_PREFIX: &str = "trusted comment: ";

/// Ed25519 in keys, and in signatures of the content itself.
const ED25519_PLAIN: &[u8] = b"Ed";
/// Ed25519 of the content's BLAKE2b-512.
const ED25519_PREHASHED: &[u8] = b"ED";
/// A secret key's checksum is `BLAKE2b`.
const BLAKE2B: &[u8] = b"B2";
const NO_PASSWORD: [u8; 2] = [0, 0];
const SCRYPT: &[u8] = b"Sc";

const ID_BYTES: usize = 8;
const SEED_BYTES: usize = 32;
const PUBLIC_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 32;
const ED25519_BYTES: usize = 64;
/// Of a secret key: salt, operations limit and memory limit, all zero without a password.
const KDF_BYTES: usize = 32 + 8 + 8;

/// Why a key or a signature was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The text is no minisign secret key, or one that was damaged.
    #[error(
        "this is not a minisign secret key: {reason}; expected the whole content of a file made by `minisign -G -W`"
    )]
    NotASecretKey {
        /// What is wrong with it; never a part of it.
        reason: &'static str,
    },
    /// A password protects the secret key, and nobody is there to type it.
    #[error(
        "a password protects this minisign secret key; make one without by `minisign -G -W -p convault.pub -s \
         convault.key`, or take the password off by `minisign -C -W -s FILE` (minisign 0.11 or newer)"
    )]
    PasswordProtected,
    /// The text is no minisign public key.
    #[error(
        "this is not a minisign public key: {reason}; expected the line beginning RW, or the whole content of a .pub file"
    )]
    NotAPublicKey {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The text is no signature that Convault accepts.
    #[error("this is not a minisign signature: {reason}")]
    NotASignature {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A signature, perhaps a good one, by a key that is not trusted.
    #[error("signed by key {id}, which is not among the trusted keys")]
    UntrustedKey {
        /// The key that the signature names.
        id: KeyId,
    },
    /// The signature names a trusted key, and is not that key's signature of this content.
    #[error("the signature by key {id} does not match the content: one of the two was altered")]
    ContentAltered {
        /// The key that the signature names.
        id: KeyId,
    },
    /// The content is what was signed, and the trusted comment is not.
    #[error("the content is what key {id} signed, but the trusted comment of the signature was altered")]
    CommentAltered {
        /// The key that the signature names.
        id: KeyId,
    },
}

/// A key's identifier: eight random bytes, the same in the secret key, the public key and each signature. Prints as
/// minisign prints it: 16 upper-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; ID_BYTES]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", u64::from_le_bytes(self.0))
    }
}

/// A public key: checks signatures. Prints as the one line, beginning `RW`, that `minisign -P` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    id: KeyId,
    key: [u8; PUBLIC_BYTES],
}

impl PublicKey {
    /// Reads the one line beginning `RW`, or the whole content of a `.pub` file.
    pub fn parse(text: &str) -> Result<Self, SignatureError> {
        let refused = |reason| SignatureError::NotAPublicKey { reason };
        let bytes = decode_key(text).map_err(refused)?;
        let mut parts = Parts(&bytes);
        let algorithm = parts.take(2);
        let id = parts.array();
        let key = parts.array();
        match (algorithm, id, key) {
            (Some(algorithm), ..) if algorithm != ED25519_PLAIN => Err(refused("it is not an Ed25519 key")),
            (_, Some(id), Some(key)) if parts.is_empty() => Ok(Self { id: KeyId(id), key }),
            _ => Err(refused("it has not 42 bytes")),
        }
    }

    /// The key's identifier.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The content of a `.pub` file, as `minisign -p` takes it.
    pub fn to_file(&self) -> String {
        format!("{UNTRUSTED_PREFIX}minisign public key {}\n{self}\n", self.id)
    }

    fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.key).verify(message, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [ED25519_PLAIN, &self.id.0, &self.key].concat();
        f.write_str(&BASE64.encode(bytes))
    }
}

/// A secret key: makes signatures. `Debug` prints only the key's identifier.
pub struct SigningKey {
    id: KeyId,
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// Reads the content of a secret key file made without a password: `minisign -G -W`.
    pub fn parse(text: &Secret) -> Result<Self, SignatureError> {
        let refused = |reason| SignatureError::NotASecretKey { reason };
        let bytes = decode_key(text.expose()).map_err(refused)?;
        let key = SecretParts::split(&bytes)
            .ok_or_else(|| refused("it has not 158 bytes, or another structure"))?;
        if key.kdf == SCRYPT {
            return Err(SignatureError::PasswordProtected);
        }
        if key.kdf != NO_PASSWORD {
            return Err(refused("its key derivation is unknown"));
        }
        // Stock minisign 0.11 leaves the checksum of a key without password zero.
        if key.checksum != [0; CHECKSUM_BYTES] && key.checksum != key.checksum_of() {
            return Err(refused("its checksum is wrong, so it was damaged"));
        }
        // This fails where the public half is not that of the secret half.
        let pair = Ed25519KeyPair::from_seed_and_public_key(&key.seed, &key.public)
            .map_err(|_| refused("its two halves do not fit, so it was damaged"))?;
        Ok(Self { id: key.id, pair })
    }

    /// Makes a new key, and gives with it the content of its secret key file, which is not protected by a password.
    pub fn generate() -> (Self, Secret) {
        let mut random = [0; ID_BYTES + SEED_BYTES];
        SystemRandom::new().fill(&mut random).expect("the kernel gives random bytes");
        let mut parts = Parts(&random);
        let fits = "the array was made that long";
        let id = KeyId(parts.array().expect(fits));
        let seed: [u8; SEED_BYTES] = parts.array().expect(fits);
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("any 32 bytes are a seed");
        let key = Self { id, pair };
        let text = key.to_secret_file(seed);
        (key, text)
    }

    /// The public key that belongs to it.
    pub fn public(&self) -> PublicKey {
        PublicKey { id: self.id, key: self.public_bytes() }
    }

    /// Signs `content`: gives the text of the `.minisig` file. `trusted_comment` is one line and is signed with it;
    /// control characters in it become spaces, and what goes beyond 1,000 characters is cut off.
    pub fn sign(&self, content: &[u8], trusted_comment: &str) -> String {
        let comment = one_line(trusted_comment);
        let signature = self.pair.sign(&Blake2b512::digest(content));
        let global = self.pair.sign(&[signature.as_ref(), comment.as_bytes()].concat());
        let head = [ED25519_PREHASHED, &self.id.0, signature.as_ref()].concat();
        format!(
            "{UNTRUSTED_PREFIX}signature by convault with key {}\n{}\n{TRUSTED_PREFIX}{comment}\n{}\n",
            self.id,
            BASE64.encode(head),
            BASE64.encode(global)
        )
    }

    fn public_bytes(&self) -> [u8; PUBLIC_BYTES] {
        let bytes = self.pair.public_key().as_ref();
        bytes.try_into().expect("an Ed25519 public key has 32 bytes")
    }

    fn to_secret_file(&self, seed: [u8; SEED_BYTES]) -> Secret {
        let parts = SecretParts {
            kdf: NO_PASSWORD,
            id: self.id,
            seed,
            public: self.public_bytes(),
            checksum: [0; CHECKSUM_BYTES],
        };
        let bytes = [
            ED25519_PLAIN,
            &parts.kdf,
            BLAKE2B,
            &[0; KDF_BYTES],
            &parts.id.0,
            &parts.seed,
            &parts.public,
            &parts.checksum_of(),
        ]
        .concat();
        Secret::new(format!("{UNTRUSTED_PREFIX}minisign secret key {}\n{}\n", self.id, BASE64.encode(bytes)))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

/// A good signature, told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The trusted key that made it.
    pub key: KeyId,
    /// What its maker said, signed as well.
    pub trusted_comment: String,
}

/// The keys whose signatures count: today's, and those of before a rotation as long as what they signed is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedKeys(Vec<PublicKey>);

impl TrustedKeys {
    /// Trusts these keys, and no others.
    pub fn new(keys: Vec<PublicKey>) -> Self {
        Self(keys)
    }

    /// Whether there is no key: then nothing can be verified, and every signature is by an untrusted key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys, in the order given.
    pub fn keys(&self) -> &[PublicKey] {
        &self.0
    }

    /// Checks that `signature`, the content of a `.minisig` file, is a trusted key's signature of `content`. A text
    /// over [`MAX_SIGNATURE_BYTES`] is refused unread, and so are signatures of before minisign 0.10, which were not
    /// prehashed.
    pub fn verify(&self, content: &[u8], signature: impl AsRef<[u8]>) -> Result<Verified, SignatureError> {
        let signature = Signature::parse(signature.as_ref())?;
        let id = signature.id;
        // An identifier is only a hint: two keys may have the same one.
        let named: Vec<_> = self.0.iter().filter(|key| key.id == id).collect();
        if named.is_empty() {
            return Err(SignatureError::UntrustedKey { id });
        }
        let digest = Blake2b512::digest(content);
        let signer = named
            .into_iter()
            .find(|key| key.signed(&digest, &signature.of_content))
            .ok_or(SignatureError::ContentAltered { id })?;
        let with_comment = [&signature.of_content[..], signature.comment.as_bytes()].concat();
        if !signer.signed(&with_comment, &signature.of_comment) {
            return Err(SignatureError::CommentAltered { id });
        }
        Ok(Verified { key: id, trusted_comment: signature.comment.to_owned() })
    }
}

impl FromIterator<PublicKey> for TrustedKeys {
    fn from_iter<I: IntoIterator<Item = PublicKey>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

/// The four lines of a `.minisig` file, taken apart; nothing of it is believed yet.
struct Signature<'a> {
    id: KeyId,
    of_content: [u8; ED25519_BYTES],
    comment: &'a str,
    of_comment: [u8; ED25519_BYTES],
}

impl<'a> Signature<'a> {
    fn parse(text: &'a [u8]) -> Result<Self, SignatureError> {
        Self::read(text).map_err(|reason| SignatureError::NotASignature { reason })
    }

    fn read(text: &'a [u8]) -> Result<Self, &'static str> {
        if text.len() > MAX_SIGNATURE_BYTES {
            return Err("it is longer than 4 KiB");
        }
        let text = std::str::from_utf8(text).map_err(|_| "it is not text")?;
        let mut lines = text.lines();
        let mut line = || lines.next().ok_or("it has fewer than four lines");
        let (untrusted, head, comment, global) = (line()?, line()?, line()?, line()?);
        if lines.any(|rest| !rest.is_empty()) {
            return Err("it has more than four lines");
        }
        if !untrusted.starts_with(UNTRUSTED_PREFIX) {
            return Err("its first line is not an untrusted comment");
        }
        let comment =
            comment.strip_prefix(TRUSTED_PREFIX).ok_or("its third line is not a trusted comment")?;
        let (id, of_content) = Self::read_head(&decode(head)?)?;
        let of_comment =
            decode(global)?.try_into().map_err(|_| "the signature of its comment has not 64 bytes")?;
        Ok(Self { id, of_content, comment, of_comment })
    }

    fn read_head(bytes: &[u8]) -> Result<(KeyId, [u8; ED25519_BYTES]), &'static str> {
        let mut parts = Parts(bytes);
        match parts.take(2) {
            Some(algorithm) if algorithm == ED25519_PREHASHED => {}
            Some(algorithm) if algorithm == ED25519_PLAIN => {
                return Err("it is of the old kind that is not prehashed");
            }
            _ => return Err("its algorithm is unknown"),
        }
        match (parts.array(), parts.array()) {
            (Some(id), Some(signature)) if parts.is_empty() => Ok((KeyId(id), signature)),
            _ => Err("the signature of the content has not 64 bytes"),
        }
    }
}

/// What a secret key without password is made of.
struct SecretParts {
    kdf: [u8; 2],
    id: KeyId,
    seed: [u8; SEED_BYTES],
    public: [u8; PUBLIC_BYTES],
    checksum: [u8; CHECKSUM_BYTES],
}

impl SecretParts {
    fn split(bytes: &[u8]) -> Option<Self> {
        let mut parts = Parts(bytes);
        let algorithm = parts.take(2)?;
        let kdf = parts.array()?;
        let checksum_algorithm = parts.take(2)?;
        parts.take(KDF_BYTES)?;
        let key = Self {
            kdf,
            id: KeyId(parts.array()?),
            seed: parts.array()?,
            public: parts.array()?,
            checksum: parts.array()?,
        };
        let known = algorithm == ED25519_PLAIN && checksum_algorithm == BLAKE2B;
        (known && parts.is_empty()).then_some(key)
    }

    fn checksum_of(&self) -> [u8; CHECKSUM_BYTES] {
        let mut hash = Blake2b::<U32>::new();
        for part in [ED25519_PLAIN, &self.id.0, &self.seed, &self.public] {
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// Bytes of which parts are taken from the front.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(part)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The bytes of a key: its one line alone, or after the untrusted comment of the file.
fn decode_key(text: &str) -> Result<Vec<u8>, &'static str> {
    if text.len() > MAX_KEY_BYTES {
        return Err("it is longer than 4 KiB");
    }
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut line = lines.next().ok_or("it is empty")?;
    if line.starts_with(UNTRUSTED_PREFIX) {
        line = lines.next().ok_or("after the comment there is no key")?;
    }
    if lines.next().is_some() {
        return Err("it has too many lines");
    }
    decode(line)
}

fn decode(line: &str) -> Result<Vec<u8>, &'static str> {
    BASE64.decode(line).map_err(|_| "it is not whole base64")
}

fn one_line(comment: &str) -> String {
    let line: String =
        comment.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_COMMENT_CHARS).collect();
    // A reader may trim, so there is nothing to be trimmed.
    line.trim().to_owned()
}
