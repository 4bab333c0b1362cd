//! `convault drill …`

use std::path::PathBuf;

use clap::Args;
use convault_core::{DrillName, RunId};

use super::IdentityFile;

#[derive(Debug, Args)]
pub(crate) struct Drill {
    /// The drill, as the settings name it
    #[arg(value_name = "DRILL")]
    pub(crate) name: DrillName,
    /// Write a page about it for whoever has to know: FILE.html, to be read and printed, or FILE.txt; may be repeated
    #[arg(long, value_name = "FILE", value_parser = parse_report)]
    pub(crate) report: Vec<PathBuf>,
    /// Practise nothing: only tell about the newest drill that left a proof, or about the one of this run
    #[arg(long, value_name = "RUN", num_args = 0..=1, default_missing_value = "latest", value_parser = parse_past)]
    pub(crate) past: Option<PastDrill>,
    /// Make no drill: mark the scratch deployment (`CONVAULT_SCRATCH`), so that it may hold something when one begins.
    /// Refused on anything that is, or may be, a deployment of the settings
    #[arg(long, conflicts_with_all = ["report", "past", "identity"])]
    pub(crate) prepare: bool,
    /// With --prepare: all that the scratch deployment holds may be lost. Its name, as it calls itself
    #[arg(long, value_name = "NAME", requires = "prepare")]
    pub(crate) replace: Option<String>,
    #[command(flatten)]
    pub(crate) identity: IdentityFile,
}

/// Which drill of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PastDrill {
    Latest,
    Run(RunId),
}

fn parse_past(text: &str) -> Result<PastDrill, String> {
    if text == "latest" {
        return Ok(PastDrill::Latest);
    }
    RunId::parse(text).map(PastDrill::Run).map_err(|error| format!("{error}, or `latest`"))
}

fn parse_report(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let known = path.extension().is_some_and(|ending| ending == "html" || ending == "txt");
    if known { Ok(path) } else { Err("expected a name that ends in .html or .txt".to_owned()) }
}
