//! `convault run`: the daemon.

use convault_settings::Settings;

use super::{Surroundings, watch_signals};
use crate::{
    daemon::{Daemon, StopSignals},
    exit::Exit,
    logging::{self, LevelHandle},
};

pub(crate) async fn run(surroundings: &Surroundings) -> anyhow::Result<Exit> {
    let settings = surroundings.settings()?;
    let levels = logging::start(
        settings.daemon.log,
        &settings.daemon.log_level,
        surroundings.environment.has_journal(),
    )?;
    for warning in settings.warnings() {
        tracing::warn!("{warning}");
    }
    let daemon = Daemon::build(settings).await?;
    tracing::info!(listen = %daemon.listening_on(), version = env!("CARGO_PKG_VERSION"), "started");
    let mut signals = watch_signals(surroundings)?;
    let (config, environment) = (surroundings.config.clone(), surroundings.environment.clone());
    let mut hang_up = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
    signals.spawn(async move {
        while hang_up.recv().await.is_some() {
            reload(Settings::load(config.as_deref(), &environment), &levels);
        }
    });
    let stop = StopSignals { begin: surroundings.stop.clone(), at_once: surroundings.stop_at_once.clone() };
    let report = daemon.run(stop).await?;
    signals.shutdown().await;
    if report.dropped.is_empty() {
        tracing::info!("stopped");
        return Ok(Exit::Done);
    }
    let names: Vec<&str> = report.dropped.iter().map(convault_core::JobName::as_str).collect();
    tracing::warn!(
        jobs = names.join(", "),
        "stopped without waiting for these runs; the next start cleans up"
    );
    Ok(Exit::Stopped)
}

/// Takes the log level from the settings as they are now; everything else takes a restart.
fn reload(settings: Result<Settings, convault_settings::SettingsProblems>, levels: &LevelHandle) {
    match settings {
        Ok(settings) => match levels.set(&settings.daemon.log_level) {
            Ok(()) => tracing::info!(
                level = settings.daemon.log_level,
                "took the log level from the settings; any other change takes a restart"
            ),
            Err(error) => tracing::error!("the log level stays as it is: {error:#}"),
        },
        Err(problems) => tracing::error!("nothing changed: {problems}"),
    }
}
