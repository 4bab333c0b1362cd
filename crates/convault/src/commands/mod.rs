//! One file per verb of the command line.

mod act;
mod backup;
mod check;
#[cfg(feature = "simulator")]
mod demo;
mod download;
mod list;
mod prune;
mod run;
mod show;
#[cfg(feature = "simulator")]
mod simulate;
mod status;
mod verify;

use std::{path::PathBuf, sync::Arc};

use clap::CommandFactory as _;
use convault_core::{DeploymentName, DestinationName, Manifest, SnapshotId, Store, SystemClock};
use convault_jobs::{JobError, RunContext};
use convault_settings::{Environment, LogFormat, Settings};
use tokio_util::sync::CancellationToken;

use crate::{
    arguments::{Arguments, One, Verb, Which},
    exit::{Exit, ExitWith},
    logging, print,
    wiring::Stores,
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
        Verb::Download(download) => download::download(&surroundings, download).await,
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

/// The destinations a verb looks into: one, or all.
pub(crate) fn chosen_stores(
    settings: &Settings,
    only: Option<&DestinationName>,
) -> anyhow::Result<Vec<Arc<dyn Store>>> {
    let mut stores: Stores = crate::wiring::stores(settings)?;
    if let Some(name) = only {
        let store = stores.remove(name);
        return store.map(|store| vec![store]).ok_or_else(|| {
            ExitWith(Exit::NotFound, format!("the settings have no destination named {name}")).into()
        });
    }
    Ok(settings.destinations.iter().filter_map(|destination| stores.remove(&destination.name)).collect())
}

/// The deployments a verb looks at: one, or all. One that the settings no longer name may still have snapshots.
pub(crate) fn chosen_deployments(settings: &Settings, only: Option<&DeploymentName>) -> Vec<DeploymentName> {
    match only {
        Some(name) => vec![name.clone()],
        None => settings.deployments.iter().map(|deployment| deployment.name.clone()).collect(),
    }
}

/// Finds the snapshot that is meant: by its id in the first destination that has it, or the newest good one.
pub(crate) async fn find_snapshot(
    settings: &Settings,
    one: &One,
) -> anyhow::Result<(Arc<dyn Store>, Manifest)> {
    let deployments = chosen_deployments(settings, one.deployment.as_ref());
    if one.snapshot == Which::Latest && deployments.len() > 1 {
        let text =
            "there are several deployments: say whose latest snapshot is meant, with --deployment NAME";
        return Err(ExitWith(Exit::Failed, text.to_owned()).into());
    }
    let id = match &one.snapshot {
        Which::Latest => None,
        Which::Id(id) => Some(id),
    };
    let mut newest: Option<(Arc<dyn Store>, Manifest)> = None;
    let mut failure = None;
    for store in chosen_stores(settings, one.destination.as_ref())? {
        for deployment in &deployments {
            match convault_jobs::find(store.as_ref(), deployment, id).await {
                Ok(Some(manifest)) => {
                    let newer = |(_, known): &(_, Manifest)| known.snapshot_ts_ns >= manifest.snapshot_ts_ns;
                    if !newest.as_ref().is_some_and(newer) {
                        newest = Some((Arc::clone(&store), manifest));
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    print::note(&format!("warning: {}", convault_jobs::chain(&error)));
                    failure = Some(error);
                }
            }
        }
    }
    match (newest, failure) {
        (Some(found), _) => Ok(found),
        (None, Some(error)) => Err(error.into()),
        (None, None) => Err(no_snapshot(id, &deployments, one)),
    }
}

fn no_snapshot(id: Option<&SnapshotId>, deployments: &[DeploymentName], one: &One) -> anyhow::Error {
    let names: Vec<&str> = deployments.iter().map(DeploymentName::as_str).collect();
    let deployment = names.join(", ");
    let destination = one.destination.as_ref().map_or("any destination".to_owned(), ToString::to_string);
    if let Some(id) = id {
        return JobError::NoSuchSnapshot { id: id.clone(), deployment, destination }.into();
    }
    let text = format!("there is no good snapshot of {deployment} in {destination}");
    ExitWith(Exit::NotFound, text).into()
}
