//! `convault erase`.

use std::path::PathBuf;

use clap::Args;
use convault_core::{Cascade, DeploymentName, DestinationName, FieldPath, TableRef};

use super::{IdentityFile, parse_reason};

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Erase {
    /// The deployment; may be left out where there is one
    #[arg(long)]
    pub(crate) deployment: Option<DeploymentName>,
    /// Forget documents of this table (`contacts`, `component/contacts`; `_storage` for stored files)
    #[arg(long, requires = "reason", conflicts_with_all = ["rewrite", "complete", "list", "verify_certificate", "certificate"])]
    pub(crate) table: Option<TableRef>,
    /// A document, by its id; may be repeated
    #[arg(long = "id", value_name = "ID", requires = "table")]
    pub(crate) ids: Vec<String>,
    /// Documents with this value in this field; may be repeated
    #[arg(long = "field", value_name = "NAME=VALUE", requires = "table", value_parser = parse_value)]
    pub(crate) fields: Vec<(FieldPath, String)>,
    /// More of both, one a line, from this file, or `-` for standard input: so they are in no list of processes
    #[arg(long, value_name = "FILE", requires = "table")]
    pub(crate) from: Option<PathBuf>,
    /// What goes with them, beside the deployment's `cascades` in the settings: `contacts:messages.contactId`,
    /// `messages.imageIds:images`, `contacts.avatarId:_storage`; may be repeated
    #[arg(long = "cascade", value_name = "CASCADE", requires = "table")]
    pub(crate) cascades: Vec<Cascade>,
    /// Why, for whoever looks at it later; never the data itself
    #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
    pub(crate) reason: Option<String>,
    /// Only show what would be erased
    #[arg(long, conflicts_with_all = ["complete", "list", "verify_certificate", "certificate"])]
    pub(crate) dry_run: bool,
    /// Write stored snapshots anew without what is erased, and remove the old ones where locks allow
    #[arg(long, conflicts_with_all = ["complete", "list", "verify_certificate"])]
    pub(crate) rewrite: bool,
    /// Only in this destination
    #[arg(long, requires = "rewrite")]
    pub(crate) destination: Option<DestinationName>,
    /// Make a certificate of what is gone: this file, its text beside it (.txt), and its signature (.minisig)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["complete", "list", "verify_certificate"])]
    pub(crate) certificate: Option<PathBuf>,
    /// Check a certificate: its signature, the ledger it names, and that what is gone is not found
    #[arg(long, value_name = "FILE", conflicts_with_all = ["complete", "list"])]
    pub(crate) verify_certificate: Option<PathBuf>,
    /// Bring the erasure ledger to every destination that lacks some of it
    #[arg(long, conflicts_with = "list")]
    pub(crate) complete: bool,
    /// List the entries of the erasure ledger
    #[arg(long)]
    pub(crate) list: bool,
    #[command(flatten)]
    pub(crate) identity: IdentityFile,
}

/// `NAME=VALUE`.
pub(crate) fn parse_value(text: &str) -> Result<(FieldPath, String), String> {
    let (field, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((
        field.parse().map_err(|error: convault_core::ParseFieldPathError| error.to_string())?,
        value.to_owned(),
    ))
}
