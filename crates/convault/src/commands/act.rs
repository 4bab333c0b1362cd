//! Verbs that act: through the running daemon where there is one, else in this process, with the same events and
//! the same exit code.

use std::sync::Arc;

use convault_core::{Clock, RunRecord, StartRequest, SystemClock};
use convault_jobs::RunContext;
use convault_settings::{Settings, socket_path};

use super::Surroundings;
use crate::{
    daemon::{StateLock, open_journal},
    exit::{Exit, ExitWith},
    print,
    progress::Progress,
    remote::{Remote, follow},
    worker::Worker,
};

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

async fn act_here(
    surroundings: &Surroundings,
    settings: Settings,
    request: StartRequest,
    progress: Arc<Progress>,
) -> anyhow::Result<RunRecord> {
    let Some(job) = settings.job(&request.job).cloned() else {
        let text = format!("there is no job named {}", request.job);
        return Err(ExitWith(Exit::NotFound, text).into());
    };
    let _lock = StateLock::take(&settings.daemon.state_dir)?;
    let journal = open_journal(&settings.daemon.state_dir).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let worker = Worker::new(settings, journal, Arc::clone(&clock), 1).await?;
    let events = Arc::clone(&progress);
    let context = RunContext::new(
        worker.new_id(),
        clock,
        surroundings.stop.clone(),
        Arc::new(move |event| events.show(&event)),
    );
    let work = worker.run(&job, request, None, &context);
    tokio::pin!(work);
    tokio::select! {
        record = &mut work => return Ok(record),
        () = surroundings.stop.cancelled() => print::note("stopping; once more leaves without cleaning up"),
        () = tokio::time::sleep(job.time_out) => {
            print::note(&format!("stopping: longer than the job's time_out of {} s", job.time_out.as_secs()));
            surroundings.stop.cancel();
        }
    }
    tokio::select! {
        record = work => {
            worker.settle().await;
            Ok(record)
        }
        () = surroundings.stop_at_once.cancelled() => {
            Err(ExitWith(Exit::Stopped, "left without cleaning up; the next run does".to_owned()).into())
        }
    }
}
