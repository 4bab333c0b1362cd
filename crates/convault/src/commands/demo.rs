//! `convault demo`: shows everything on a simulated deployment, with the real daemon, from the first backup to the
//! importable ZIP.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use convault_core::{
    Clock as _, Control, JobName, RunOutcome, RunRecord, Secret, StartRequest, SystemClock, Verb as RunVerb,
};
use convault_settings::{Environment, Settings};
use convault_simulator::{Data, Database, RunningSimulator, Simulator, SimulatorConfig};
use tokio::task::JoinSet;

use super::{Surroundings, list, prune::show as show_plan, verify};
use crate::{
    arguments::{AsOf, Demo, Download, Leaving, One, Place, Verify, Which},
    daemon::{Daemon, StopSignals},
    exit::{Exit, ExitWith},
    hub::Hub,
    print,
};

const MARKER: &str = ".convault-demo";
const JOB: &str = "nightly";
const KEY_VARIABLE: &str = "DEMO_DEPLOY_KEY";
const KEY: &str = "convault-demo|0123456789abcdef";

pub(crate) async fn demo(surroundings: &Surroundings, demo: Demo) -> anyhow::Result<Exit> {
    let folder = prepare_folder(&demo.directory)?;
    print::line("1. A simulated Convex deployment with the data of a small company starts.");
    let deployment = start_deployment().await?;
    print::line(&format!("   {}", deployment.url()));

    print::line("2. The daemon starts with these settings:");
    let config = write_settings(&folder, &deployment.url(), demo.serve)?;
    let inner = inner_surroundings(surroundings, &config);
    let settings = inner.settings()?;
    let daemon = Daemon::build(settings.clone()).await?;
    print::line(&format!("   status page and metrics: http://{}/", daemon.listening_on()));
    let hub = daemon.control();
    let stop =
        StopSignals { begin: surroundings.stop.child_token(), at_once: surroundings.stop_at_once.clone() };
    let mut running = JoinSet::new();
    running.spawn(daemon.run(stop.clone()));

    let shown = tokio::select! {
        shown = show_all(&inner, &settings, &hub, &deployment, &folder) => shown,
        () = surroundings.stop.cancelled() => Err(ExitWith(Exit::Stopped, "stopped".to_owned()).into()),
    };
    if shown.is_ok() && demo.serve {
        print::line("The daemon goes on until Ctrl-C, with a scheduled backup every minute.");
        surroundings.stop.cancelled().await;
    }
    stop.begin.cancel();
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    deployment.stop().await;
    shown
}

async fn show_all(
    inner: &Surroundings,
    settings: &Settings,
    hub: &Arc<Hub>,
    deployment: &RunningSimulator,
    folder: &Path,
) -> anyhow::Result<Exit> {
    print::line("3. The schedule is due every minute; the first backup waits for the next one.");
    let first = wait_for_scheduled(hub).await?;
    tell(&first)?;
    print::line("4. A day goes by: contacts come, change and go, a file is added.");
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this century are exact")]
    deployment.change(|data| data.apply_day_of_changes(SystemClock.now().as_millisecond() as f64));
    print::line("5. Somebody is about to do something risky, and backs up first.");
    let second = back_up_now(hub).await?;
    tell(&second)?;
    print::line("6. Every stored byte is read back and compared:");
    let everything = Verify {
        snapshots: Vec::new(),
        deployment: None,
        destination: None,
        read_data: true,
        no_proof: false,
        as_of: AsOf::default(),
    };
    expect_done(verify::verify(inner, everything).await?)?;
    print::line("7. The snapshots, and what retention does with them:");
    expect_done(
        list::list(inner, Place { deployment: None, destination: None, as_of: AsOf::default() }).await?,
    )?;
    show_retention(settings).await?;
    print::line("8. The newest snapshot, as the ZIP that `npx convex import` takes:");
    let zip = folder.join("snapshot.zip");
    let one = One { snapshot: Which::Latest, deployment: None, destination: None, as_of: AsOf::default() };
    let leaving = Leaving::default();
    let download = Download { one, output: Some(zip.clone()), entry: None, leaving, encrypted: false };
    expect_done(super::download::download(inner, download).await?)?;
    print::line("");
    print::line(&format!("Done. Look around: {}", folder.display()));
    print::line(&format!("  unzip -l {}", zip.display()));
    let program =
        std::env::current_exe().map_or_else(|_| "convault".to_owned(), |path| path.display().to_string());
    let config = folder.join("convault.toml");
    print::line(&format!("  {KEY_VARIABLE}='{KEY}' {program} --config {} list", config.display()));
    Ok(Exit::Done)
}

fn expect_done(exit: Exit) -> anyhow::Result<()> {
    if exit == Exit::Done {
        Ok(())
    } else {
        Err(ExitWith(exit, "the demo found something wrong".to_owned()).into())
    }
}

/// A fresh folder; one that an earlier demo made is emptied, any other that has something in it is left alone.
fn prepare_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    let has_content = folder.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    if has_content {
        if !folder.join(MARKER).is_file() {
            bail!("{} is not empty and no demo made it: name another with --directory", folder.display());
        }
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder.join("shelf"))
        .with_context(|| format!("cannot make {}", folder.display()))?;
    std::fs::write(folder.join(MARKER), "made by convault demo, which may remove this folder\n")?;
    Ok(folder.canonicalize()?)
}

async fn start_deployment() -> anyhow::Result<RunningSimulator> {
    let config = SimulatorConfig {
        data: Data::Database(Box::new(Database::crm(1))),
        export_time: Duration::from_secs(1),
        ..SimulatorConfig::new(Secret::new(KEY))
    };
    Ok(Simulator::start(config).await?)
}

fn write_settings(folder: &Path, url: &str, serve: bool) -> anyhow::Result<PathBuf> {
    // The page is where the README says while the demo serves it; otherwise any free port does.
    let wanted = if serve { 9640 } else { 0 };
    let free = std::net::TcpListener::bind(("127.0.0.1", wanted)).is_ok();
    let port = if free { wanted } else { 0 };
    // A Unix socket's path may not be long, and this folder's may.
    let socket = std::env::temp_dir().join(format!("convault-demo-{}.sock", std::process::id()));
    let text = format!(
        r#"[daemon]
listen = "127.0.0.1:{port}"
state_dir = "{folder}/state"
socket = "{socket}"

[[deployment]]
name = "crm"
url = "{url}"
key = {{ env = "{KEY_VARIABLE}" }}

[[destination]]
name = "shelf"
directory = "{folder}/shelf"

[[job]]
name = "{JOB}"
deployment = "crm"
schedule = "* * * * *"
to = ["shelf"]
keep = {{ last = 5, daily = 7, weekly = 4, monthly = 6 }}
"#,
        folder = folder.display(),
        socket = socket.display(),
    );
    text.lines().filter(|line| !line.is_empty()).for_each(|line| print::line(&format!("   {line}")));
    let config = folder.join("convault.toml");
    std::fs::write(&config, text)?;
    Ok(config)
}

fn inner_surroundings(surroundings: &Surroundings, config: &Path) -> Surroundings {
    Surroundings {
        config: Some(config.to_owned()),
        json: surroundings.json,
        environment: Environment::new([(KEY_VARIABLE, KEY)]),
        stop: surroundings.stop.clone(),
        stop_at_once: surroundings.stop_at_once.clone(),
    }
}

async fn wait_for_scheduled(hub: &Arc<Hub>) -> anyhow::Result<RunRecord> {
    let mut told = false;
    loop {
        let status = hub.status();
        let job = status.jobs.first().context("the demo has one job")?;
        if let Some(run) = &job.last_attempt {
            return Ok(run.clone());
        }
        if let Some(due) = job.next_due.filter(|_| !told && job.running.is_none()) {
            print::line(&format!("   due in {}", print::distance(status.now, due)));
            told = true;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn back_up_now(hub: &Arc<Hub>) -> anyhow::Result<RunRecord> {
    let request = StartRequest {
        tags: vec!["before-release".to_owned()],
        ..StartRequest::new(JobName::new(JOB)?, RunVerb::Backup)
    };
    let run = hub.start(request).await?;
    let mut events = hub.watch(&run, 0)?;
    while let Some((_, event)) = futures::StreamExt::next(&mut events).await {
        if let convault_core::RunEvent::Finished { record } = event {
            return Ok(*record);
        }
    }
    bail!("run {run} was forgotten before it ended")
}

fn tell(record: &RunRecord) -> anyhow::Result<()> {
    if record.outcome == Some(RunOutcome::Good) {
        print::line(&format!("   {}: {}", record.id, record.message));
        return Ok(());
    }
    Err(ExitWith(super::backup::exit_of(record), record.message.clone()).into())
}

async fn show_retention(settings: &Settings) -> anyhow::Result<()> {
    let job = settings.jobs.first().context("the demo has one job")?;
    let request = StartRequest::new(job.name.clone(), RunVerb::Prune);
    let rules = crate::worker::prune_rules(settings, job, &request);
    for (name, destination) in &crate::wiring::destinations(settings)? {
        let now = SystemClock.now();
        let plan = convault_jobs::plan_prune(destination, &job.deployment, &rules, now).await?;
        show_plan(&format!("retention in {name}"), &plan, &job.time_zone);
    }
    Ok(())
}
