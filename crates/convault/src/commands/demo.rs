//! `convault demo`: shows everything on a simulated deployment, with the real daemon, from the first backup to a
//! restore that was practised and a record that came back.

mod typed;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use convault_core::{
    Clock as _, Control, JobName, RunOutcome, RunRecord, Secret, StartRequest, SystemClock, Verb as RunVerb,
};
use convault_settings::Environment;
use convault_simulator::{Data, Database, RunningSimulator, Simulator, SimulatorConfig, Value};
use tokio::task::JoinSet;

use self::typed::typed;
use super::Surroundings;
use crate::{
    arguments::Demo,
    daemon::{Daemon, StopSignals},
    exit::{Exit, ExitWith},
    hub::Hub,
    print,
};

const MARKER: &str = ".convault-demo";
const JOB: &str = "nightly";
const DRILL: &str = "rehearsal";
const KEY_VARIABLE: &str = "DEMO_DEPLOY_KEY";
const KEY: &str = "convault-demo|0123456789abcdef";

pub(crate) async fn demo(surroundings: &Surroundings, demo: Demo) -> anyhow::Result<Exit> {
    let folder = prepare_folder(&demo.directory)?;
    print::line(
        "1. A simulated Convex deployment with the data of a small company starts, and an empty one.",
    );
    let deployment = start_deployment("convault-demo", Data::Database(Box::new(Database::crm(1)))).await?;
    let scratch = start_deployment("convault-demo-scratch", Data::Empty).await?;
    print::line(&format!("   {} and {}", deployment.url(), scratch.url()));

    print::line("2. The daemon starts with these settings:");
    let config = write_settings(&folder, &deployment.url(), &scratch.url(), demo.serve)?;
    let inner = inner_surroundings(surroundings, &config);
    let settings = inner.settings()?;
    let daemon = Daemon::build(settings).await?;
    print::line(&format!("   status page and metrics: http://{}/", daemon.listening_on()));
    let hub = daemon.control();
    let stop =
        StopSignals { begin: surroundings.stop.child_token(), at_once: surroundings.stop_at_once.clone() };
    let mut running = JoinSet::new();
    running.spawn(daemon.run(stop.clone()));

    let shown = tokio::select! {
        shown = show_all(&inner, &hub, &deployment, &folder) => shown,
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
    scratch.stop().await;
    shown
}

async fn show_all(
    inner: &Surroundings,
    hub: &Arc<Hub>,
    deployment: &RunningSimulator,
    folder: &Path,
) -> anyhow::Result<Exit> {
    print::line("3. The schedule is due every minute; the first backup waits for the next one.");
    let first = wait_for_scheduled(hub).await?;
    tell(&first)?;
    print::line(
        "4. A day goes by: contacts come and change, a file is added. One contact is deleted by mistake.",
    );
    let lost = a_day_goes_by(deployment).context("the day of changes deletes a contact")?;
    print::line(&format!("   it was {lost}"));
    print::line("5. Somebody is about to do something risky, and backs up first.");
    let second = back_up_now(hub).await?;
    tell(&second)?;
    print::line("6. Every stored byte is read back and compared:");
    typed(inner, &["verify", "--read-data"]).await?;
    print::line("7. The snapshots, and what retention does with them:");
    typed(inner, &["list"]).await?;
    typed(inner, &["prune", JOB, "--dry-run"]).await?;
    print::line("8. The newest snapshot, as the ZIP that `npx convex import` takes:");
    let (zip, page) = (folder.join("snapshot.zip"), folder.join("drill.html"));
    typed(inner, &["download", "latest", "-o", &zip.to_string_lossy()]).await?;
    print::line(
        "9. A restore is practised: into the empty deployment, which is then compared with what was stored.",
    );
    typed(inner, &["drill", DRILL, "--report", &page.to_string_lossy()]).await?;
    print::line("10. The contact comes back, alone, and what is live is stored before anything is written:");
    let first = first.id.to_string();
    typed(inner, &["recover", &first, "--id", &lost, "--to", "crm", "--replace", "crm", "--yes"]).await?;
    print::line("");
    print::line(&format!("Done. Look around: {}", folder.display()));
    print::line(&format!("  unzip -l {}", zip.display()));
    print::line(&format!("  what the drill measured, and its proof: {}", page.display()));
    let program =
        std::env::current_exe().map_or_else(|_| "convault".to_owned(), |path| path.display().to_string());
    let config = folder.join("convault.toml");
    print::line(&format!("  {KEY_VARIABLE}='{KEY}' {program} --config {} list", config.display()));
    Ok(Exit::Done)
}

/// Changes the data as a day's work does; gives the id of the contact that is gone afterwards.
fn a_day_goes_by(deployment: &RunningSimulator) -> Option<String> {
    let before = deployment.snapshot();
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this century are exact")]
    deployment.change(|data| data.apply_day_of_changes(SystemClock.now().as_millisecond() as f64));
    let after = deployment.snapshot();
    let left = &after.table("", "contacts")?.documents;
    let lost = before.table("", "contacts")?.documents.iter().find(|(key, _)| !left.contains_key(key))?.1;
    match lost.get("_id") {
        Some(Value::String(id)) => Some(id.clone()),
        _ => None,
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

async fn start_deployment(instance_name: &str, data: Data) -> anyhow::Result<RunningSimulator> {
    let config = SimulatorConfig {
        instance_name: instance_name.to_owned(),
        data,
        export_time: Duration::from_secs(1),
        ..SimulatorConfig::new(Secret::new(KEY))
    };
    Ok(Simulator::start(config).await?)
}

fn write_settings(folder: &Path, url: &str, scratch: &str, serve: bool) -> anyhow::Result<PathBuf> {
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

[[drill]]
name = "{DRILL}"
deployment = "crm"
into = {{ url = "{scratch}", key = {{ env = "{KEY_VARIABLE}" }} }}
assert = [{{ references = {{ table = "invoices", field = "file", to = "_storage" }} }}]
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
