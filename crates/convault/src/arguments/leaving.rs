//! What every verb takes that gives content away.

use clap::Args;

use super::IdentityFile;

/// What is done to content on its way out.
#[derive(Debug, Args, Default)]
pub(crate) struct Leaving {
    #[command(flatten)]
    pub(crate) identity: IdentityFile,
    /// Give away what was erased as well: for whoever must
    #[arg(long)]
    pub(crate) include_erased: bool,
    /// Replace what the `[[mask]]` tables of the settings name, as for a staging copy
    #[arg(long)]
    pub(crate) masked: bool,
    /// Leave the tables empty that the deployment's `automations` in the settings name, so that a copy sends nothing
    #[arg(long)]
    pub(crate) quiet_automations: bool,
}
