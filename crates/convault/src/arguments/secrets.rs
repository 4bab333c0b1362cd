//! `convault secrets …`

use clap::{Args, Subcommand};
use convault_core::{DeploymentName, DestinationName, RunId};
use jiff::Timestamp;

use super::{IdentityFile, parse_time};

#[derive(Debug, Subcommand)]
pub(crate) enum Secrets {
    /// The names of the newest secrets, and when each got the value that it has; needs the names key and no identity
    List {
        #[command(flatten)]
        place: SecretsPlace,
    },
    /// Names that were added, changed and removed from one time to another; needs the names key and no identity
    Diff {
        /// A snapshot or set by its id, a time (the newest at or before it), or `latest`
        #[arg(value_parser = parse_stored_at)]
        older: StoredAt,
        /// The same
        #[arg(value_parser = parse_stored_at, default_value = "latest")]
        newer: StoredAt,
        #[command(flatten)]
        place: SecretsPlace,
    },
    /// Print one value to standard output; needs an identity
    Show {
        /// Its name, such as `STRIPE_KEY`, or in full `environment/STRIPE_KEY`
        name: String,
        /// A snapshot or set by its id, a time (the newest at or before it), or `latest`
        #[arg(long, value_parser = parse_stored_at, default_value = "latest", value_name = "ID|TIME")]
        at: StoredAt,
        #[command(flatten)]
        place: SecretsPlace,
        #[command(flatten)]
        identity: IdentityFile,
    },
    /// Put stored environment variables into a deployment: shows the plan, and writes with --yes; needs an identity
    Restore {
        /// The deployment that gets them, as the settings name it; its key needs `deployment:env:view` and `:write`
        #[arg(long, value_name = "NAME")]
        to: DeploymentName,
        /// A snapshot or set by its id, a time (the newest at or before it), or `latest`
        #[arg(long, value_parser = parse_stored_at, default_value = "latest", value_name = "ID|TIME")]
        from: StoredAt,
        /// Only this variable; may be repeated
        #[arg(long, value_name = "NAME")]
        only: Vec<String>,
        /// Remove variables that are not among the stored ones
        #[arg(long, conflicts_with = "only")]
        remove: bool,
        /// Write what the plan says
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        place: SecretsPlace,
        #[command(flatten)]
        identity: IdentityFile,
    },
}

/// Whose secrets, and where they are looked for.
#[derive(Debug, Args)]
pub(crate) struct SecretsPlace {
    /// The deployment whose secrets are meant; needed where there are several
    #[arg(long)]
    pub(crate) deployment: Option<DeploymentName>,
    /// Only in this destination
    #[arg(long)]
    pub(crate) destination: Option<DestinationName>,
}

/// A time at which secrets were stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoredAt {
    Latest,
    Id(RunId),
    Time(Timestamp),
}

fn parse_stored_at(text: &str) -> Result<StoredAt, String> {
    if text == "latest" {
        return Ok(StoredAt::Latest);
    }
    if let Ok(id) = RunId::parse(text) {
        return Ok(StoredAt::Id(id));
    }
    let time = parse_time(text).map(StoredAt::Time);
    time.map_err(|error| format!("{error}, the id of a snapshot or set, or `latest`"))
}
