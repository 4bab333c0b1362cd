//! One file per verb of the command line.

mod accept;
mod act;
mod backup;
mod check;
mod choose;
#[cfg(feature = "simulator")]
mod demo;
mod diff;
mod doctor;
mod download;
mod drill;
mod erase;
mod erasures;
mod export;
mod find;
mod history;
mod hold;
mod keygen;
mod list;
mod mark;
mod mirror;
mod prune;
mod reading;
mod recover;
mod reencrypt;
mod repair;
mod restore;
mod run;
mod secrets;
mod several;
mod show;
#[cfg(feature = "simulator")]
mod simulate;
mod status;
mod target;
mod verify;

use std::{path::PathBuf, sync::Arc};

use clap::CommandFactory as _;
use convault_core::{SnapshotId, SystemClock};
use convault_jobs::RunContext;
use convault_settings::{Environment, LogFormat, Settings};
use tokio_util::sync::CancellationToken;

use crate::{
    arguments::{Arguments, Verb},
    exit::Exit,
    logging,
};

/// What every verb is handed.
pub(crate) struct Surroundings {
    pub(crate) config: Option<PathBuf>,
    pub(crate) json: bool,
    pub(crate) environment: Environment,
    /// Cancelled by the first Ctrl-C or SIGTERM.
    pub(crate) stop: CancellationToken,
    /// Cancelled by the second one.
    pub(crate) stop_at_once: CancellationToken,
}

impl Surroundings {
    pub(crate) fn settings(&self) -> anyhow::Result<Settings> {
        Ok(Settings::load(self.config.as_deref(), &self.environment)?)
    }

    /// A context for a verb that reads and is not written into the history.
    pub(crate) fn context(&self, progress: Arc<crate::progress::Progress>) -> RunContext {
        let clock = Arc::new(SystemClock);
        let id = SnapshotId::new(convault_core::Clock::now(clock.as_ref()), rand::random());
        RunContext::new(id, clock, self.stop.clone(), Arc::new(move |event| progress.show(&event)))
    }
}

/// Does what the command line says.
pub(crate) async fn perform(arguments: Arguments) -> anyhow::Result<Exit> {
    let surroundings = Surroundings {
        config: arguments.config,
        json: arguments.json,
        environment: Environment::of_process(),
        stop: CancellationToken::new(),
        stop_at_once: CancellationToken::new(),
    };
    if let Verb::Run = arguments.verb {
        return run::run(&surroundings).await;
    }
    let level = ["error", "info", "debug"][usize::from(arguments.verbose.min(2))];
    logging::start(LogFormat::Text, level, false)?;
    let signals = watch_signals(&surroundings)?;
    let exit = match arguments.verb {
        Verb::Run => unreachable!("it was handled above"),
        Verb::Backup(backup) => backup::backup(&surroundings, backup).await,
        Verb::List(place) => list::list(&surroundings, place).await,
        Verb::Show(one) => show::show(&surroundings, one).await,
        Verb::Verify(verify) => verify::verify(&surroundings, verify).await,
        Verb::Prune(prune) => prune::prune(&surroundings, prune).await,
        Verb::Accept(accept) => accept::accept(&surroundings, accept).await,
        Verb::Hold(hold) => hold::hold(&surroundings, hold).await,
        Verb::Repair(repair) => repair::repair(&surroundings, repair).await,
        Verb::Keygen { kind } => keygen::keygen(&surroundings, kind),
        Verb::Download(download) => download::download(&surroundings, download).await,
        Verb::Restore(restore) => restore::restore(&surroundings, *restore).await,
        Verb::Find(find) => find::find(&surroundings, find).await,
        Verb::History(history) => history::history(&surroundings, history).await,
        Verb::Diff(diff) => diff::diff(&surroundings, diff).await,
        Verb::Recover(recover) => recover::recover(&surroundings, recover).await,
        Verb::Export(export) => export::export(&surroundings, export).await,
        Verb::Erase(wish) => erase::erase(&surroundings, wish).await,
        Verb::Reencrypt(reencrypt) => reencrypt::reencrypt(&surroundings, reencrypt).await,
        Verb::Doctor(doctor) => doctor::doctor(&surroundings, doctor).await,
        Verb::Secrets { deed } => secrets::secrets(&surroundings, deed).await,
        Verb::Mirror { deed } => mirror::mirror(&surroundings, deed).await,
        Verb::Drill(drill) => drill::drill(&surroundings, drill).await,
        Verb::Status => status::status(&surroundings).await,
        Verb::Check => check::check(&surroundings),
        #[cfg(feature = "simulator")]
        Verb::Demo(demo) => demo::demo(&surroundings, demo).await,
        #[cfg(feature = "simulator")]
        Verb::Simulate(simulate) => simulate::simulate(&surroundings, simulate).await,
        Verb::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "convault", &mut std::io::stdout());
            Ok(Exit::Done)
        }
    };
    drop(signals);
    exit
}

/// The first Ctrl-C or SIGTERM asks for an orderly stop, the second for an end at once.
pub(crate) fn watch_signals(surroundings: &Surroundings) -> anyhow::Result<tokio::task::JoinSet<()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (first, second) = (surroundings.stop.clone(), surroundings.stop_at_once.clone());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        for token in [first, second] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            token.cancel();
        }
    });
    Ok(tasks)
}
