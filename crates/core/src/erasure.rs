//! Erasure: who is to be forgotten, what of theirs goes with them, and what shows that it went.

mod cascade;
mod certificate;
mod entry;
mod field_path;
mod ledger;
mod search;

pub use cascade::{Cascade, CascadeSide, ParseCascadeError};
pub use certificate::{
    CERTIFICATE_FORMAT, CertifiedCopy, CertifiedEntry, CopyState, ErasureCertificate, Remaining,
};
pub use entry::{ERASURE_FORMAT, ErasureEntry, ErasureRecord, Subject};
pub use field_path::{FieldPath, ParseFieldPathError};
pub use ledger::{LedgerEntry, chain_fault};
pub use search::{DocumentFields, ErasureSearch, KeyedHash, TooManyErased};
