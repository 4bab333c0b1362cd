//! The daemon: bound, checked and ready to run; running; ended.

mod lock;
mod runner;

use std::{num::NonZeroUsize, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use convault_core::{Clock, Control, JobName, Journal, RunOutcome, SystemClock};
use convault_health::{Health, HealthSettings};
use convault_jobs::JobError;
use convault_journal::SqliteJournal;
use convault_scheduler::{Past, RetryPolicy, ScheduledJob, Scheduler, Stop, StopReport, Ticker};
use convault_settings::{JobSettings, Settings};
use tokio::{net::UnixListener, sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use self::runner::DaemonRunner;
pub(crate) use self::{lock::StateLock, runner::elsewhere};
use crate::{
    exit::{Exit, ExitWith},
    hub::Hub,
    look, socket,
    task::{DrillTask, MirrorTask, VerifyTask, WatchTask},
    worker::{Sharing, Worker},
};

/// Runs looked at when counting how often the end of the process cut a due run off.
const HISTORY_LOOKED_AT: usize = 20;
/// How long the start waits for the destination that holds the leases to show what it can do.
const SHARING_CHECKED_WITHIN: Duration = Duration::from_secs(20);
/// A verify or a mirror's run that a store's outage cut short is tried again so often, after so long.
const VERIFY_RETRY: RetryPolicy =
    RetryPolicy { attempts: 3, first: Duration::from_mins(10), factor: 2, max: Duration::from_hours(1) };

/// Opens the run history in the state directory.
pub(crate) async fn open_journal(state_dir: &Path) -> anyhow::Result<Arc<dyn Journal>> {
    Ok(Arc::new(SqliteJournal::open(state_dir.join("journal.sqlite")).await?))
}

/// A daemon whose settings were read, whose sockets are bound and whose history is open. Nothing runs yet.
pub(crate) struct Daemon {
    settings: Settings,
    hub: Arc<Hub>,
    worker: Arc<Worker>,
    scheduler: Scheduler<DaemonRunner>,
    http: Health,
    unix: UnixListener,
    _lock: StateLock,
}

/// How a daemon is told to stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct StopSignals {
    /// Start nothing more, let what runs reach a safe point, then end.
    pub(crate) begin: CancellationToken,
    /// End at once.
    pub(crate) at_once: CancellationToken,
}

impl Daemon {
    /// Binds and checks everything that can fail before the first run.
    pub(crate) async fn build(settings: Settings) -> anyhow::Result<Self> {
        let lock = StateLock::take(&settings.daemon.state_dir)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let journal = open_journal(&settings.daemon.state_dir).await?;
        // Runs of one deployment or one mirror never go on at once.
        let protected = settings.deployments.len() + settings.mirrors.len();
        let runs_at_once = u64::from(settings.daemon.runs_at_once).min(protected as u64);
        let worker =
            Worker::new(settings.clone(), Arc::clone(&journal), Arc::clone(&clock), runs_at_once).await?;
        let worker = Arc::new(worker);
        if let Some(sharing) = &worker.sharing {
            check_at_start(sharing).await?;
        }
        let hub = Arc::new(Hub::new(Arc::clone(&worker)));
        hub.remember().await?;

        let mut jobs = Vec::new();
        for job in &settings.jobs {
            let past = past(&job.name, journal.as_ref()).await?;
            jobs.push(scheduled(job, past));
        }
        for task in &worker.tasks {
            let past = past(&task.name, journal.as_ref()).await?;
            jobs.push(scheduled_verify(task, past));
        }
        for task in &worker.mirrors {
            let past = past(&task.name, journal.as_ref()).await?;
            jobs.push(scheduled_mirror(task, past));
        }
        for task in &worker.watches {
            let past = past(&task.name, journal.as_ref()).await?;
            jobs.push(scheduled_watch(task, past));
        }
        for task in &worker.drills {
            let past = past(&task.name, journal.as_ref()).await?;
            jobs.push(scheduled_drill(task, past));
        }
        let runner = Arc::new(DaemonRunner { worker: Arc::clone(&worker), hub: Arc::clone(&hub) });
        let cap = usize::try_from(settings.daemon.runs_at_once).ok().and_then(NonZeroUsize::new);
        let (scheduler, handle) =
            Scheduler::new(jobs, runner, clock, cap.unwrap_or(NonZeroUsize::MIN), jitter_seed())?;
        hub.connect(handle);

        let http_settings =
            HealthSettings { listen: settings.daemon.listen, token: settings.daemon.token.clone() };
        let http = Health::bind(http_settings, Arc::clone(&hub) as Arc<dyn Control>).await?;
        let unix = socket::bind(&settings.daemon.socket)?;
        Ok(Self { settings, hub, worker, scheduler, http, unix, _lock: lock })
    }

    /// The address the HTTP endpoint is bound to.
    pub(crate) fn listening_on(&self) -> std::net::SocketAddr {
        self.http.local_addr()
    }

    /// What the daemon knows of itself.
    #[cfg(feature = "simulator")]
    pub(crate) fn control(&self) -> Arc<Hub> {
        Arc::clone(&self.hub)
    }

    /// Runs until `stop`, then stops in order: not ready, no new runs, running ones to a safe point, the socket, and
    /// the HTTP endpoint last.
    pub(crate) async fn run(self, stop: StopSignals) -> anyhow::Result<StopReport> {
        let Self { settings, hub, worker, scheduler, http, unix, _lock } = self;
        let (sender, ticks) = mpsc::channel(1);
        let ticker = Ticker::start(sender).await?;
        let endpoints = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(socket::serve(unix, Arc::clone(&hub) as Arc<dyn Control>, endpoints.clone()));
        let (all, own) = (Arc::clone(&worker), Arc::clone(&hub));
        tasks.spawn(look::look_at_holdings(Arc::clone(&all), Arc::clone(&own), stop.begin.clone()));
        tasks.spawn(look::look_at_mirrors(Arc::clone(&all), Arc::clone(&own), stop.begin.clone()));
        tasks.spawn(look::look_at_drills(Arc::clone(&all), Arc::clone(&own), stop.begin.clone()));
        tasks.spawn(look::look_at_abilities(all, own, stop.begin.clone()));
        tasks.spawn(feed_watchdog(endpoints.clone()));
        let http_stop = CancellationToken::new();
        let mut http_task = JoinSet::new();
        http_task.spawn(http.serve(http_stop.clone()));

        hub.set_not_ready(Vec::new());
        notify(&[sd_notify::NotifyState::Ready]);
        tracing::info!(settings = %settings.file().display(), "ready");
        let scheduler_stop = Stop {
            begin: stop.begin.clone(),
            at_once: stop.at_once.clone(),
            grace: settings.daemon.stop_grace,
        };
        let mark_stopping = async {
            stop.begin.cancelled().await;
            hub.set_not_ready(vec!["stopping".to_owned()]);
            notify(&[sd_notify::NotifyState::Stopping]);
        };
        let (report, ()) = tokio::join!(
            async {
                let report = scheduler.run(ticks, scheduler_stop).await;
                // The scheduler also ends by itself, when the ticker does.
                stop.begin.cancel();
                report
            },
            mark_stopping
        );
        worker.settle().await;
        ticker.stop().await;
        endpoints.cancel();
        while tasks.join_next().await.is_some() {}
        http_stop.cancel();
        // A socket nobody listens on would only puzzle; the next start would replace it.
        if let Err(error) = std::fs::remove_file(&settings.daemon.socket) {
            tracing::debug!(%error, "the socket stays behind");
        }
        while let Some(ended) = http_task.join_next().await {
            ended.context("the HTTP endpoint ended unexpectedly")?;
        }
        Ok(report)
    }
}

/// Makes sure that the leases can be kept where the settings say. A store that does not answer yet is asked again by
/// the first run; one that is not fit for leases ends the start.
pub(crate) async fn check_at_start(sharing: &Sharing) -> anyhow::Result<()> {
    let checked = tokio::time::timeout(SHARING_CHECKED_WITHIN, sharing.leases()).await;
    let problem = match checked {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error @ JobError::Lease { .. })) => {
            let text = format!("setting daemon.coordinate_in: {}", convault_jobs::chain(&error));
            return Err(ExitWith(Exit::Settings, text).into());
        }
        Ok(Err(error)) => convault_jobs::chain(&error),
        Err(_) => "it does not answer".to_owned(),
    };
    tracing::warn!(
        destination = %sharing.destination(),
        "whether it can hold leases is not known yet, so each run looks first: {problem}"
    );
    Ok(())
}

async fn past(name: &JobName, journal: &dyn Journal) -> anyhow::Result<Past> {
    let last_due = journal.last_due(name).await?;
    let runs = journal.runs(Some(name), HISTORY_LOOKED_AT).await?;
    let cut_off = runs
        .iter()
        .filter(|run| last_due.is_some() && run.due == last_due)
        .take_while(|run| run.outcome == Some(RunOutcome::Interrupted))
        .count();
    Ok(Past { last_due, cut_off: u32::try_from(cut_off).unwrap_or(u32::MAX) })
}

fn scheduled(job: &JobSettings, past: Past) -> ScheduledJob {
    ScheduledJob {
        name: job.name.clone(),
        group: job.deployment.to_string(),
        schedule: job.schedule.clone(),
        jitter: job.jitter,
        catch_up: job.catch_up,
        retry: RetryPolicy {
            attempts: job.retry.attempts,
            first: job.retry.first,
            factor: 2,
            max: job.retry.max,
        },
        time_out: job.time_out,
        past,
    }
}

fn scheduled_verify(task: &VerifyTask, past: Past) -> ScheduledJob {
    ScheduledJob {
        name: task.name.clone(),
        group: task.deployment.to_string(),
        schedule: Some(task.settings.schedule.clone()),
        jitter: Duration::ZERO,
        catch_up: true,
        retry: VERIFY_RETRY,
        time_out: task.time_out,
        past,
    }
}

fn scheduled_mirror(task: &MirrorTask, past: Past) -> ScheduledJob {
    ScheduledJob {
        name: task.name.clone(),
        group: task.protected.to_string(),
        schedule: task.settings.schedule.clone(),
        jitter: Duration::ZERO,
        catch_up: true,
        retry: VERIFY_RETRY,
        time_out: task.settings.time_out,
        past,
    }
}

fn scheduled_watch(task: &WatchTask, past: Past) -> ScheduledJob {
    ScheduledJob {
        name: task.name.clone(),
        group: task.job.deployment.to_string(),
        schedule: Some(task.schedule.clone()),
        jitter: Duration::ZERO,
        // What changed meanwhile, the next look finds as well.
        catch_up: false,
        retry: VERIFY_RETRY,
        time_out: task.job.time_out,
        past,
    }
}

fn scheduled_drill(task: &DrillTask, past: Past) -> ScheduledJob {
    ScheduledJob {
        name: task.name.clone(),
        group: task.settings.deployment.to_string(),
        schedule: task.settings.schedule.clone(),
        jitter: Duration::ZERO,
        catch_up: true,
        retry: VERIFY_RETRY,
        time_out: task.settings.time_out,
        past,
    }
}

/// One machine keeps its place within the jitter over restarts.
fn jitter_seed() -> u64 {
    let machine = std::fs::read("/etc/machine-id").unwrap_or_default();
    let digest = convault_core::Sha256::of(&machine).0;
    digest.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}

/// Tells the service manager that the runtime still turns, where it wants to know.
async fn feed_watchdog(stop: CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(limit / 3) => notify(&[sd_notify::NotifyState::Watchdog]),
        }
    }
}
