//! Verbs that act: through the running daemon where there is one, else in this process, with the same events and
//! the same exit code.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use convault_core::{
    Clock, DeploymentName, DestinationName, Holder, JobName, RunRecord, StartRequest, SystemClock,
};
use convault_jobs::RunContext;
use convault_settings::{Settings, socket_path};

use super::Surroundings;
use crate::{
    daemon::{StateLock, check_at_start, elsewhere, open_journal},
    exit::{Exit, ExitWith},
    print,
    progress::Progress,
    remote::{Remote, follow},
    task::Order,
    worker::{Turn, Worker},
};

/// A job, as far as choosing one takes.
pub(super) struct JobFacts {
    pub(super) name: JobName,
    pub(super) deployment: DeploymentName,
    pub(super) destinations: Vec<DestinationName>,
}

/// Every job: from the daemon where there is one, which takes no secret, else from the settings.
pub(super) async fn jobs(surroundings: &Surroundings) -> anyhow::Result<Vec<JobFacts>> {
    let socket = socket_path(surroundings.config.as_deref(), &surroundings.environment);
    if let Some(mut daemon) = Remote::connect(&socket).await? {
        let jobs = daemon.status().await?.jobs.into_iter();
        return Ok(jobs
            .map(|job| JobFacts { name: job.job, deployment: job.deployment, destinations: job.destinations })
            .collect());
    }
    let jobs = surroundings.settings()?.jobs.into_iter();
    Ok(jobs
        .map(|job| JobFacts { name: job.name, deployment: job.deployment, destinations: job.to })
        .collect())
}

/// Runs a job and waits for its end.
pub(crate) async fn act(surroundings: &Surroundings, request: StartRequest) -> anyhow::Result<RunRecord> {
    let socket = socket_path(surroundings.config.as_deref(), &surroundings.environment);
    let progress = Arc::new(Progress::new(surroundings.json));
    let Some(mut daemon) = Remote::connect(&socket).await? else {
        let settings = surroundings.settings()?;
        if !surroundings.json {
            print::note(&format!("no daemon listens on {}; running in this process", socket.display()));
        }
        return act_here(surroundings, settings, request, progress).await;
    };
    let run = daemon.start(request).await?;
    if !surroundings.json {
        print::note(&format!("run {run}, in the daemon"));
    }
    let followed = follow(&socket, &run, |event| progress.show(event));
    tokio::pin!(followed);
    tokio::select! {
        record = &mut followed => return Ok(*record?),
        () = surroundings.stop.cancelled() => {}
    }
    print::note("stopping the run; once more leaves it running");
    daemon.cancel(&run).await?;
    tokio::select! {
        record = followed => Ok(*record?),
        () = surroundings.stop_at_once.cancelled() => {
            Err(ExitWith(Exit::Stopped, format!("left while run {run} was stopping")).into())
        }
    }
}

/// Runs a job in this process with these settings, which are not what the file says: a daemon has only what that says.
pub(super) async fn act_with(
    surroundings: &Surroundings,
    settings: Settings,
    request: StartRequest,
) -> anyhow::Result<RunRecord> {
    let socket = socket_path(surroundings.config.as_deref(), &surroundings.environment);
    if Remote::connect(&socket).await?.is_some() {
        let text = format!(
            "a daemon listens on {}, and opens what is encrypted with the identity of its settings only: leave --identity \
             away, or give --config with settings that have a `state_dir` and a `socket` of their own",
            socket.display()
        );
        return Err(ExitWith(Exit::Failed, text).into());
    }
    act_here(surroundings, settings, request, Arc::new(Progress::new(surroundings.json))).await
}

async fn act_here(
    surroundings: &Surroundings,
    settings: Settings,
    request: StartRequest,
    progress: Arc<Progress>,
) -> anyhow::Result<RunRecord> {
    let (mirror, drill) = (request.job.as_mirror(), request.job.as_drill());
    if settings.job(&request.job).is_none()
        && mirror.as_ref().is_none_or(|name| settings.mirror(name).is_none())
        && drill.as_ref().is_none_or(|name| settings.drill(name).is_none())
    {
        let text = match (&mirror, &drill) {
            (Some(name), _) => format!("there is no mirror named {name}"),
            (_, Some(name)) => format!("there is no drill named {name}"),
            _ => format!("there is no job named {}", request.job),
        };
        return Err(ExitWith(Exit::NotFound, text).into());
    }
    let _lock = StateLock::take(&settings.daemon.state_dir)?;
    let journal = open_journal(&settings.daemon.state_dir).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let worker = Worker::new(settings, journal, Arc::clone(&clock), 1).await?;
    if let Some(sharing) = &worker.sharing {
        check_at_start(sharing).await?;
    }
    let events = Arc::clone(&progress);
    let context = RunContext::new(
        worker.new_id(),
        clock,
        surroundings.stop.clone(),
        Arc::new(move |event| events.show(&event)),
    );
    let task = worker.task(&request.job).expect("the settings have it, as was checked");
    let time_out = task.time_out();
    let order = Order { task, request, due: None, known: BTreeMap::new(), cancel: None };
    let mut work = Box::pin(in_turn(&worker, &order, &context));
    tokio::select! {
        record = &mut work => return record,
        () = surroundings.stop.cancelled() => print::note("stopping; once more leaves without cleaning up"),
        () = tokio::time::sleep(time_out) => {
            print::note(&format!("stopping: longer than the time_out of {} s", time_out.as_secs()));
            surroundings.stop.cancel();
        }
    }
    tokio::select! {
        record = work => {
            worker.settle().await;
            record
        }
        () = surroundings.stop_at_once.cancelled() => {
            Err(ExitWith(Exit::Stopped, "left without cleaning up; the next run does".to_owned()).into())
        }
    }
}

/// Waits for the lease, where several daemons share the work, and makes the run.
async fn in_turn(worker: &Worker, order: &Order<'_>, context: &RunContext) -> anyhow::Result<RunRecord> {
    let mut told: Option<Option<Holder>> = None;
    loop {
        let retry_after = match worker.take_turn(order, context).await {
            Turn::Ran(record) => return Ok(*record),
            Turn::Elsewhere { holder, retry_after } => {
                if told.as_ref() != Some(&holder) {
                    context.message(elsewhere(order.task.deployment().as_str(), holder.as_ref()));
                    told = Some(holder);
                }
                retry_after
            }
            // Only due times can be done by others; nothing was due here.
            Turn::Done => Duration::ZERO,
        };
        tokio::select! {
            () = context.stop.cancelled() => {
                let text = "stopped while waiting for the lease; nothing was done".to_owned();
                return Err(ExitWith(Exit::Stopped, text).into());
            }
            () = tokio::time::sleep(retry_after) => {}
        }
    }
}
