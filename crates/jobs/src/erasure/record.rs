//! An entry of the ledger as it is stored: made, encrypted, opened and checked.

use bytes::{Bytes, BytesMut};
use convault_archive::{
    NamesKey,
    encryption::{Decryptor, Encryptor, OpenError},
};
use convault_core::{
    ERASURE_FORMAT, ErasureEntry, ErasureRecord, Layout, LedgerEntry, Sha256, StoreErrorKind,
};

use crate::{
    Destination, Encryption, JobError, Trust, erasure::ledger::LedgerKeys, error::chain, read::read_small,
};

/// Ten thousand subjects make an entry of less than 2 MiB.
pub(super) const LARGEST_RECORD_BYTES: u64 = 16 << 20;
/// So much more may encryption make of it.
const SEALING_BYTES: u64 = 1 << 20;
const PURPOSE: &str = "erasure-record";

/// Makes the record of an entry, signed where somebody signs.
pub(super) fn make(entry: &ErasureEntry, names: &NamesKey, trust: &Trust) -> ErasureRecord {
    let text = serde_json::to_string(entry).expect("an entry has only string keys");
    let comment = format!("convault erasure {} {} {}", entry.deployment, entry.number, entry.at);
    ErasureRecord {
        mac: names.hash(PURPOSE, &[text.as_bytes()]),
        signature: trust.signer().map(|signer| signer.sign(text.as_bytes(), &comment)),
        entry: text,
    }
}

/// The bytes of a record before encryption. One that is too large to be read again is refused: it could never be taken
/// away, and nothing of the deployment would be read any more.
pub(super) fn to_bytes(record: &ErasureRecord, subjects: u64) -> Result<Vec<u8>, JobError> {
    let bytes = record.to_bytes();
    let most = LARGEST_RECORD_BYTES - SEALING_BYTES;
    let length = bytes.len() as u64;
    if length > most {
        // So many as fill nine tenths of it: those that are named next may be longer.
        return Err(JobError::TooManySubjects { subjects, most: subjects * (most / 10 * 9) / length });
    }
    Ok(bytes)
}

/// The bytes of a record as a destination stores them, and what its key ends in.
pub(super) fn seal(record: &[u8], encryption: Option<&Encryption>) -> (Bytes, &'static str) {
    let Some(encryption) = encryption else { return (Bytes::copy_from_slice(record), "") };
    let mut sealed = BytesMut::new();
    let mut encryptor = Encryptor::new(&encryption.recipients);
    encryptor.push(record, &mut sealed);
    encryptor.finish(&mut sealed);
    (sealed.freeze(), Layout::ENCRYPTED_SUFFIX)
}

/// What was found under a key of the ledger.
pub(super) enum Opened {
    /// A whole record, with its bytes as they are without encryption.
    Whole(Box<LedgerEntry>, Bytes),
    /// Something else, and what is wrong with it.
    Broken(String),
}

/// Reads the object `key`. That nobody here can open it is an error, as is a store that does not answer.
pub(super) async fn open(
    destination: &Destination,
    key: &str,
    keys: &LedgerKeys,
) -> Result<Opened, JobError> {
    let store = destination.store.as_ref();
    let stored = match read_small(store, key, LARGEST_RECORD_BYTES).await {
        Ok(stored) => stored,
        Err(JobError::Store(error)) if error.kind == StoreErrorKind::NotFound => {
            return Ok(Opened::Broken("it is missing".to_owned()));
        }
        Err(JobError::Damaged { what, .. }) => return Ok(Opened::Broken(what)),
        Err(error) => return Err(error),
    };
    let place = || format!("{} {key}", store.location());
    let plain = if key.ends_with(Layout::ENCRYPTED_SUFFIX) {
        let encrypted = |why: String| JobError::Encrypted {
            place: place(),
            why,
            recipients: "the recipients of its destination".to_owned(),
        };
        let identities =
            keys.identities.as_ref().ok_or_else(|| encrypted("no identity was given".to_owned()))?;
        let mut decryptor = Decryptor::new(identities);
        let mut plain = BytesMut::new();
        match decryptor.push(&stored, &mut plain).and_then(|()| decryptor.finish(&mut plain)) {
            Ok(()) => plain.freeze(),
            Err(error @ OpenError::NoIdentity { .. }) => return Err(encrypted(error.to_string())),
            Err(error) => return Ok(Opened::Broken(format!("it does not open: {}", chain(&error)))),
        }
    } else {
        stored
    };
    Ok(match check(&plain, &destination.trust, keys) {
        Ok(entry) => Opened::Whole(Box::new(entry), plain),
        Err(what) => Opened::Broken(what),
    })
}

/// Reads a record and makes sure of who made it.
fn check(plain: &[u8], trust: &Trust, keys: &LedgerKeys) -> Result<LedgerEntry, String> {
    #[derive(serde::Deserialize)]
    struct Head {
        format: u32,
        names_key: String,
    }
    let changed = |_| "it is not a record as it was written".to_owned();
    let record: ErasureRecord = serde_json::from_slice(plain).map_err(changed)?;
    let head: Head = serde_json::from_str(&record.entry).map_err(changed)?;
    if head.format == 0 || head.format > ERASURE_FORMAT {
        return Err(format!("it has format {}: use a newer convault", head.format));
    }
    let names = keys.names.as_ref().filter(|names| names.id() == head.names_key);
    let names = names.ok_or_else(|| {
        format!("its hashes are under the names key {}, which the settings do not have", head.names_key)
    })?;
    if names.hash(PURPOSE, &[record.entry.as_bytes()]) != record.mac {
        return Err(
            "it was changed since it was written, or made by somebody without the names key".to_owned()
        );
    }
    if trust.is_required() {
        let signature = record.signature.as_ref().ok_or("it is not signed")?;
        if !trust.vouches(record.entry.as_bytes(), signature.as_bytes()) {
            return Err("nobody trusted has signed it".to_owned());
        }
    }
    let entry: ErasureEntry = serde_json::from_str(&record.entry).map_err(changed)?;
    Ok(LedgerEntry { entry, sha256: Sha256::of(plain) })
}
