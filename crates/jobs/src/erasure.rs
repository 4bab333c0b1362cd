//! The right to be forgotten: an append-only ledger of who is to be erased, what of a snapshot that means, clean copies
//! of stored snapshots, and certificates.
//!
//! The ledger lies in every destination that holds snapshots of the deployment. Whatever reads content reads it first,
//! and reads nothing where it is not whole.

mod add;
mod certify;
mod check;
mod complete;
mod fault;
mod ledger;
mod listing;
mod record;
mod rewrite;
mod search;

pub use add::{Added, ErasureRequest, add_erasure};
pub use certify::{SealedCertificate, certify, seal_certificate};
pub use check::{CertificateCheck, CheckedCopy, check_certificate};
pub use complete::{Completed, complete_ledger, tend_ledger};
pub use ledger::{Ledger, LedgerKeys, read_ledger};
pub use rewrite::{Rewrite, Rewriting, RewrittenSnapshot, plan_rewrite, rewrite};
pub use search::{ErasureLimits, Found, erased, search_erased};

pub(crate) use complete::complete_by_copy;
pub(crate) use listing::{newest_listed, newest_stated};
