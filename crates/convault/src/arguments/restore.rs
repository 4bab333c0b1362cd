//! `convault restore …`, and which deployment is written to.

use std::path::PathBuf;

use clap::Args;
use convault_core::{DeploymentName, DestinationName, TableRef};

use super::{Leaving, One};

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Restore {
    #[command(flatten)]
    pub(crate) one: One,
    #[command(flatten)]
    pub(crate) to: To,
    /// Only this table (`contacts`, `component/contacts`; `_storage` for stored files); may be repeated. Other tables of
    /// the target stay
    #[arg(long, value_name = "TABLE")]
    pub(crate) only: Vec<TableRef>,
    /// Only this component with its tables and stored files; may be repeated. Others of the target stay
    #[arg(long = "component", value_name = "PATH")]
    pub(crate) components: Vec<String>,
    /// Write the environment variables of that time back too, as `secrets restore` does
    #[arg(long)]
    pub(crate) environment: bool,
    /// Only show what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Leave out stored files that are damaged in the snapshot, with their rows
    #[arg(long)]
    pub(crate) without_damaged: bool,
    /// Let the Int64 values of this table, which is named `…_storage`, become Float64; may be repeated
    #[arg(long, value_name = "TABLE")]
    pub(crate) accept_lossy: Vec<TableRef>,
    /// Keep the stored files of the target, of which the snapshot says nothing
    #[arg(long)]
    pub(crate) keep_files: bool,
    #[command(flatten)]
    pub(crate) leaving: Leaving,
}

/// Which deployment is written to, and how.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_field_names,
    reason = "they are called as they are typed: --to, --to-url, --to-key-file"
)]
pub(crate) struct To {
    /// The deployment to write to, as the settings name it
    #[arg(long, value_name = "NAME", conflicts_with = "to_url")]
    pub(crate) to: Option<DeploymentName>,
    /// The address of a deployment that is not in the settings
    #[arg(long, value_name = "URL", requires = "to_key_file")]
    pub(crate) to_url: Option<String>,
    /// A file with its deploy key
    #[arg(long, value_name = "FILE", requires = "to_url")]
    pub(crate) to_key_file: Option<PathBuf>,
    /// Write over live data: the name of the deployment, once more. Its safety snapshot is taken first
    #[arg(long, value_name = "NAME")]
    pub(crate) replace: Option<String>,
    /// Pause the deployment meanwhile, so that nobody writes what would be lost
    #[arg(long)]
    pub(crate) pause: bool,
    /// Where the safety snapshot goes [default: the destinations of the deployment's job]
    #[arg(long, value_name = "DESTINATION")]
    pub(crate) safety_to: Option<DestinationName>,
    /// A stored file that is known to be damaged on the target itself, as a refusal names it; may be repeated. The safety
    /// snapshot has it as it is
    #[arg(long, value_name = "ID")]
    pub(crate) known_damaged: Vec<String>,
    /// Do it without asking
    #[arg(long)]
    pub(crate) yes: bool,
}
