//! The daemon: bound, checked and ready to run; running; ended.

use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    num::NonZeroUsize,
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use convault_core::{
    Clock, Control, JobName, Journal, RunOutcome, RunRecord, StartRequest, SystemClock, Verb,
};
use convault_health::{Health, HealthSettings};
use convault_jobs::RunContext;
use convault_journal::SqliteJournal;
use convault_scheduler::{
    CancelReason, Outcome, Past, RetryPolicy, Run, Runner, ScheduledJob, Scheduler, Stop, StopReport, Ticker,
    Why,
};
use convault_settings::{JobSettings, Settings};
use tokio::{net::UnixListener, sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    hub::{Hub, Wish},
    socket,
    worker::Worker,
};

/// How often destinations are looked at when no run does it.
const LOOK_EVERY: Duration = Duration::from_hours(1);
/// Runs looked at when counting how often the end of the process cut a due run off.
const HISTORY_LOOKED_AT: usize = 20;

/// The exclusive use of the state directory. Given up when dropped, also by `kill -9`.
#[derive(Debug)]
pub(crate) struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes the state directory, making it where it is missing; fails when another process has it.
    pub(crate) fn take(state_dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(state_dir)
            .with_context(|| format!("cannot make {} (setting daemon.state_dir)", state_dir.display()))?;
        let path = state_dir.join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file =
            file.with_context(|| format!("cannot open {} (setting daemon.state_dir)", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => bail!(
                "another convault process uses {}; if it is the daemon, its socket (setting daemon.socket) is not \
                 where this one looks for it",
                state_dir.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }
}

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
        // Runs of one deployment never go on at once.
        let runs_at_once = u64::from(settings.daemon.runs_at_once).min(settings.deployments.len() as u64);
        let worker =
            Worker::new(settings.clone(), Arc::clone(&journal), Arc::clone(&clock), runs_at_once).await?;
        let worker = Arc::new(worker);
        let locations: BTreeMap<_, _> =
            worker.stores.iter().map(|(name, store)| (name.clone(), store.location())).collect();
        let hub = Arc::new(Hub::new(&settings, &locations, Arc::clone(&clock), Arc::clone(&journal)));
        hub.remember().await?;

        let mut jobs = Vec::new();
        for job in &settings.jobs {
            jobs.push(scheduled(job, journal.as_ref()).await?);
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
        tasks.spawn(look_at_destinations(Arc::clone(&worker), Arc::clone(&hub), stop.begin.clone()));
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

async fn scheduled(job: &JobSettings, journal: &dyn Journal) -> anyhow::Result<ScheduledJob> {
    let last_due = journal.last_due(&job.name).await?;
    let runs = journal.runs(Some(&job.name), HISTORY_LOOKED_AT).await?;
    let cut_off = runs
        .iter()
        .filter(|run| last_due.is_some() && run.due == last_due)
        .take_while(|run| run.outcome == Some(RunOutcome::Interrupted))
        .count();
    Ok(ScheduledJob {
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
        past: Past { last_due, cut_off: u32::try_from(cut_off).unwrap_or(u32::MAX) },
    })
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

/// Counts what each destination holds, at start and then every hour, so that metrics are right without a run.
async fn look_at_destinations(worker: Arc<Worker>, hub: Arc<Hub>, stop: CancellationToken) {
    loop {
        for job in &worker.settings.jobs {
            tokio::select! {
                () = stop.cancelled() => return,
                () = look(&worker, &hub, job) => {}
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

async fn look(worker: &Worker, hub: &Hub, job: &JobSettings) {
    for store in worker.stores_of(job) {
        let seen = convault_jobs::inventory(store.as_ref(), &job.deployment).await;
        let seen = seen.map_err(|error| convault_jobs::chain(&error));
        hub.set_inventory(store.destination(), &job.deployment, seen);
    }
}

/// Runs a job for the scheduler and reports to the hub.
#[derive(Debug)]
struct DaemonRunner {
    worker: Arc<Worker>,
    hub: Arc<Hub>,
}

#[async_trait]
impl Runner for DaemonRunner {
    type Wish = Wish;

    async fn run(&self, run: Run<Wish>) -> Outcome {
        let job = self.worker.settings.job(&run.job).expect("the scheduler only knows jobs of the settings");
        let due = run.why.due();
        let wish = match run.why {
            Why::Requested(wish) => wish,
            _ => Wish {
                id: self.worker.new_id(),
                request: StartRequest {
                    job: run.job.clone(),
                    verb: Verb::Backup,
                    tags: Vec::new(),
                    keep_until: None,
                },
            },
        };
        let id = wish.id;
        self.hub.begin(&id, &run.job, wish.request.verb, run.attempt > 1, run.cancel.clone());
        let (hub, feed) = (Arc::clone(&self.hub), id.clone());
        let context = RunContext::new(
            id,
            Arc::clone(&self.worker.clock),
            run.cancel.token().clone(),
            Arc::new(move |event| hub.tell(&feed, event)),
        );
        let mut record = self.worker.run(job, wish.request, due, &context).await;
        if record.outcome == Some(RunOutcome::Cancelled)
            && run.cancel.reason() == Some(CancelReason::Stopping)
        {
            // Nobody wanted this run gone: the next start makes up for it, as for one that the process's end cut off.
            record.outcome = Some(RunOutcome::Interrupted);
            self.worker.remember(&record).await;
        }
        self.hub.end(&record);
        look(&self.worker, &self.hub, job).await;
        outcome(&record)
    }

    fn dropped(&self, job: &JobName, wish: Wish) {
        self.hub.drop_wish(job, &wish, "the daemon stopped before it began");
    }
}

fn outcome(record: &RunRecord) -> Outcome {
    match record.outcome {
        // A snapshot that looks wrong will look the same the next time; a destination that is missing one gets the next.
        Some(RunOutcome::Good | RunOutcome::Partial | RunOutcome::Suspect) => Outcome::Succeeded,
        Some(RunOutcome::Cancelled | RunOutcome::Interrupted) => Outcome::Cancelled,
        _ => Outcome::Failed { retryable: record.retryable },
    }
}
