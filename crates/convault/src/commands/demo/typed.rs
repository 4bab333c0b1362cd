//! Commands of the demo as a person would type them: what is shown is what is done.

use anyhow::bail;
use clap::Parser as _;

use crate::{
    arguments::{Arguments, Verb},
    commands::{Surroundings, download, drill, list, prune, recover, verify},
    exit::{Exit, ExitWith},
    print,
};

/// Shows a command and does it. Anything but success ends the demo with its exit code.
pub(super) async fn typed(surroundings: &Surroundings, words: &[&str]) -> anyhow::Result<()> {
    print::line(&format!("   $ convault {}", words.join(" ")));
    let arguments = Arguments::try_parse_from([&["convault"], words].concat())?;
    let exit = match arguments.verb {
        Verb::Verify(verify) => verify::verify(surroundings, verify).await?,
        Verb::List(place) => list::list(surroundings, place).await?,
        Verb::Prune(prune) => prune::prune(surroundings, prune).await?,
        Verb::Download(download) => download::download(surroundings, download).await?,
        Verb::Drill(drill) => drill::drill(surroundings, drill).await?,
        Verb::Recover(recover) => recover::recover(surroundings, recover).await?,
        _ => bail!("the demo does not show {words:?}"),
    };
    match exit {
        Exit::Done => Ok(()),
        exit => Err(ExitWith(exit, "the demo found something wrong".to_owned()).into()),
    }
}
