//! `convault mirror …`

use clap::{Args, Subcommand};
use convault_core::{MirrorName, RunId};
use jiff::Timestamp;

use super::{IdentityFile, parse_time};

#[derive(Debug, Subcommand)]
pub(crate) enum Mirror {
    /// Bring a mirror up to date now, and wait for it
    Run {
        /// The mirror, as the settings name it
        mirror: MirrorName,
        /// What has vanished or changed is right, however much it is: somebody looked at `convault mirror diff`
        #[arg(long)]
        release_brake: bool,
    },
    /// List the runs of a mirror, and what can be restored
    Runs {
        /// The mirror, as the settings name it
        mirror: MirrorName,
    },
    /// List the objects of a state
    List {
        #[command(flatten)]
        state: OneState,
        #[command(flatten)]
        identity: IdentityFile,
    },
    /// Compare the source as it is now with the newest state, or two states: what was added, changed and removed
    Diff {
        #[command(flatten)]
        state: OneState,
        /// Compare the state as of this with that of `--as-of`, or with the newest
        #[arg(long, value_name = "TIME|RUN", value_parser = parse_moment)]
        since: Option<Moment>,
        #[command(flatten)]
        identity: IdentityFile,
    },
    /// Give the objects of a state back, each checked against its SHA-256
    Restore {
        #[command(flatten)]
        state: OneState,
        /// Where to: a folder, which is made (with a slash in it, such as `./media`), the name of a destination, or
        /// `source`
        #[arg(long, value_name = "PLACE")]
        to: String,
        /// Write over objects there that are not the same; without it they are left as they are
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        identity: IdentityFile,
    },
}

/// One state of a mirror, and which of its objects.
#[derive(Debug, Args)]
pub(crate) struct OneState {
    /// The mirror, as the settings name it
    pub(crate) mirror: MirrorName,
    /// As of this time (2026-12-24T18:00:00Z, or a day, whose beginning in UTC is meant), or of this run; else the newest
    #[arg(long, value_name = "TIME|RUN", value_parser = parse_moment)]
    pub(crate) as_of: Option<Moment>,
    /// Only objects whose keys begin with this
    #[arg(long, default_value = "", hide_default_value = true, value_name = "PREFIX")]
    pub(crate) prefix: String,
}

/// A point in the history of a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Moment {
    Time(Timestamp),
    Run(RunId),
}

fn parse_moment(text: &str) -> Result<Moment, String> {
    if let Ok(run) = RunId::parse(text) {
        return Ok(Moment::Run(run));
    }
    parse_time(text).map(Moment::Time).map_err(|error| format!("{error}, or the id of a run"))
}
