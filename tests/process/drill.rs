//! Drills: what they assert, when they are due, and what must not stay after them.

use std::{
    fmt::Write as _,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use convault_core::{
    DrillName, JobName, Journal as _, NewDeployment, Platform as _, RunId, RunOutcome, RunRecord, Secret,
    Verb,
};
use convault_journal::SqliteJournal;
use convault_restorer::{ManagementPlatform, PlatformSettings};
use convault_simulator::{PlatformConfig, PlatformServer, RunningSimulator, Simulator, SimulatorConfig};

use crate::support::{RunningDaemon, Setting, files_below};

const SCRATCH_KEY: &str = "drill-night-456|5c4a7c";
const CONTACTS: u64 = 40;

async fn scratch() -> RunningSimulator {
    Simulator::start(SimulatorConfig::new(Secret::new(SCRATCH_KEY))).await.unwrap()
}

/// A `[[drill]]` of this name with these lines.
fn drill(name: &str, lines: &str) -> String {
    format!("[[drill]]\nname = \"{name}\"\ndeployment = \"crm\"\n{lines}\n")
}

fn into_deployment(setting: &Setting, scratch: &RunningSimulator) -> String {
    let key = setting.path("scratch-key");
    write_private(&key, SCRATCH_KEY);
    format!("into = {{ url = \"{}\", key = {{ file = \"{}\" }} }}", scratch.url(), key.display())
}

fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

/// The section of a drill whose deployment this shell script starts.
fn by_script(setting: &Setting, script: &str) -> String {
    let path = setting.path("up.sh");
    std::fs::write(&path, script).unwrap();
    drill("weekly", &format!("into = {{ command = [\"sh\", \"{}\"] }}", path.display()))
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_mins(1), "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_passes_and_one_whose_assertion_does_not_hold_says_which() {
    let (setting, scratch) = (Setting::new(&[]).await, scratch().await);
    setting.back_up(0).await;
    let into = into_deployment(&setting, &scratch);
    let asserting = |assertions: &[String]| {
        let lines = assertions.iter().fold(into.clone(), |mut lines, assertion| {
            write!(lines, "\n[[drill.assert]]\n{assertion}").unwrap();
            lines
        });
        setting.write_all_settings(&["shelf"], "", &drill("weekly", &lines), "");
    };
    asserting(&[]);
    let marked = setting.run(&["drill", "weekly", "--prepare"]).await;
    assert_eq!(marked.code, Some(0), "{marked:?}");
    let at_least =
        |documents: u64| format!("min_documents = {{ table = \"contacts\", documents = {documents} }}");
    let holds = [
        at_least(CONTACTS),
        "references = { table = \"messages\", field = \"contactId\", to = \"contacts\" }".to_owned(),
        "references = { table = \"messages\", field = \"misspelt\", to = \"contacts\" }".to_owned(),
        "query = { function = \"checks:ok\" }".to_owned(),
    ];
    asserting(&holds);
    let passed = setting.run(&["drill", "weekly", "--report", "page.html", "--report", "page.txt"]).await;
    assert_eq!(passed.code, Some(0), "{passed:?}");
    assert!(passed.stderr.contains("assertion 3 was passed without looking at anything"), "{passed:?}");
    let page = std::fs::read_to_string(setting.path("page.txt")).unwrap();
    for words in ["Passed", "contacts has at least 40", "Not covered", "Assertion 3 was passed", "Signed by"]
    {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(std::fs::read_to_string(setting.path("page.html")).unwrap().starts_with("<!DOCTYPE html>"));

    asserting(&[
        at_least(CONTACTS),
        at_least(1_000_000),
        "query = { function = \"checks:fails\" }".to_owned(),
    ]);
    let told = setting.run(&["drill", "weekly"]).await;
    assert_eq!(told.code, Some(10), "{told:?}");
    let past = setting.json(&["drill", "weekly", "--past"]).await;
    let failed: Vec<_> =
        past["proof"]["failures"].as_array().unwrap().iter().map(|one| &one["number"]).collect();
    assert_eq!(failed, [2, 3], "{past}");
    assert_eq!(past["proof"]["checks"][4]["failed"], 0, "{past}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_that_is_due_runs_in_the_daemon_and_monitoring_sees_how_it_went() {
    let (setting, scratch) = (Setting::new(&[]).await, scratch().await);
    setting.back_up(0).await;
    let lines = format!("schedule = \"@daily\"\nmax_age = \"2d\"\n{}", into_deployment(&setting, &scratch));
    setting.write_all_settings(&["shelf"], "", &drill("weekly", &lines), "");
    // One that was due two days ago: what the daemon has missed since then is due when it starts.
    let job = JobName::drill(&DrillName::new("weekly").unwrap());
    let due = jiff::Timestamp::now() - Duration::from_hours(48);
    let begun =
        RunRecord::begun(&RunId::new(due, 7), &job, &"crm".parse().unwrap(), Verb::Drill, Some(due), due);
    let before = RunRecord { finished: Some(due), outcome: Some(RunOutcome::Failed), ..begun };
    let journal = SqliteJournal::open(setting.path("state/journal.sqlite")).await.unwrap();
    journal.record(&before).await.unwrap();
    drop(journal);

    let mut daemon = RunningDaemon::start(&setting).await;
    daemon.wait_for("outcome=\"good\"").await;
    let status = setting.json(&["status"]).await;
    let told = &status["drills"][0];
    assert_eq!(
        (&told["last_attempt"]["outcome"], &told["last_attempt"]["scheduled"]),
        (&"good".into(), &true.into())
    );
    assert!(told["last_passed"].is_string(), "{told}");
    let metrics = daemon.get("/metrics");
    let labels = "{drill=\"weekly\",deployment=\"crm\"";
    assert!(
        metrics.contains(&format!("convault_drill_last_outcome{labels},outcome=\"good\"}} 1")),
        "{metrics}"
    );
    for name in ["last_passed_timestamp", "restore", "data_age"] {
        let line = format!("convault_drill_{name}_seconds{labels}}} ");
        let value = metrics.lines().find_map(|found| found.strip_prefix(&line)?.parse::<f64>().ok());
        assert!(value.is_some_and(|value| value > 0.0), "{name}: {metrics}");
    }
    assert!(daemon.get("/").contains("weekly"));

    // Not empty any more, and not marked: it must not be made, and that is told.
    let refused = setting.run(&["drill", "weekly"]).await;
    assert_eq!(refused.code, Some(9), "{refused:?}");
    let metrics = daemon.get("/metrics");
    assert!(
        metrics.contains(&format!("convault_drill_last_outcome{labels},outcome=\"failed\"}} 1")),
        "{metrics}"
    );
    daemon.signal("TERM");
    assert_eq!(daemon.end().await, Some(0));
    let proofs = files_below(&setting.path("shelf"));
    assert_eq!(proofs.iter().filter(|path| path.to_string_lossy().ends_with("-drill.json")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_drills_do_not_restore_into_one_deployment_at_once() {
    let (setting, scratch) = (Setting::new(&[]).await, scratch().await);
    setting.back_up(0).await;
    let into = into_deployment(&setting, &scratch);
    let other = format!(
        "[[deployment]]\nname = \"copy\"\nurl = \"{}\"\nkey = {{ env = \"DEPLOY_KEY\" }}\n[[job]]\nname = \"copies\"\n\
         deployment = \"copy\"\nto = [\"shelf\"]\n",
        setting.deployment.url()
    );
    let of_copy = drill("monthly", &into).replace("\"crm\"", "\"copy\"");
    let sections = format!("{other}{}{of_copy}", drill("weekly", &into));
    setting.write_all_settings(&["shelf"], "runs_at_once = 4", &sections, "");
    assert_eq!(setting.run(&["backup", "copies"]).await.code, Some(0));
    assert_eq!(setting.run(&["drill", "weekly", "--prepare"]).await.code, Some(0));

    let mut daemon = RunningDaemon::start(&setting).await;
    // The first one waits for the counts of the deployment until the second has come.
    scratch.set_fault("counts-unavailable=1000".parse().unwrap());
    let first = setting.command(&["drill", "weekly"]).stderr(Stdio::null()).spawn().unwrap();
    daemon.wait_for("run starts").await;
    let second = setting.command(&["drill", "monthly"]).stderr(Stdio::null()).spawn().unwrap();
    daemon.wait_for("waits until another drill").await;
    scratch.clear_faults();
    let code = |mut child: std::process::Child| async move {
        tokio::task::spawn_blocking(move || child.wait().unwrap().code()).await.unwrap()
    };
    assert_eq!((code(first).await, code(second).await), (Some(0), Some(0)), "{}", daemon.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_says_much_does_not_stand_still() {
    let (setting, scratch) = (Setting::new(&[]).await, scratch().await);
    setting.back_up(0).await;
    let (url, stopped) = (scratch.url(), setting.path("stopped"));
    // More than a pipe takes, before the line and after it.
    let script = format!(
        "head -c 4000000 /dev/zero | tr '\\0' x >&2\necho '{{\"url\": \"{url}\", \"key\": \"{SCRATCH_KEY}\"}}'\n\
         head -c 4000000 /dev/zero | tr '\\0' x\ncat >/dev/null\necho yes >{}\n",
        stopped.display()
    );
    setting.write_all_settings(&["shelf"], "", &by_script(&setting, &script), "");
    let passed = setting.run(&["drill", "weekly"]).await;
    assert_eq!(passed.code, Some(0), "{passed:?}");
    assert!(!passed.stderr.contains("warning"), "{passed:?}");
    assert!(stopped.exists(), "it was not told to stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_said_last_is_told_where_it_fails() {
    let setting = Setting::new(&[]).await;
    setting.back_up(0).await;
    let script = "head -c 4000000 /dev/zero | tr '\\0' x >&2\necho >&2; echo 'no such image' >&2\nexit 3\n";
    setting.write_all_settings(&["shelf"], "", &by_script(&setting, script), "");
    let failed = setting.run(&["drill", "weekly"]).await;
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stdout.contains("no such image") && failed.stdout.len() < 4000, "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_before_the_deployment_is_up_stops_its_command_in_order() {
    let setting = Setting::new(&[]).await;
    setting.back_up(0).await;
    let (started, stopped) = (setting.path("started"), setting.path("stopped"));
    let script =
        format!("echo yes >{}\ncat >/dev/null\necho yes >{}\n", started.display(), stopped.display());
    setting.write_all_settings(&["shelf"], "", &by_script(&setting, &script), "");
    let mut child = setting.command(&["drill", "weekly"]).stderr(Stdio::null()).spawn().unwrap();
    until("the command starts", || started.exists()).await;
    assert!(Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status().unwrap().success());
    let code = tokio::task::spawn_blocking(move || child.wait().unwrap().code()).await.unwrap();
    assert_eq!(code, Some(7));
    assert!(stopped.exists(), "whatever it had started would run on");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_ended_drill_has_left_on_the_platform_is_deleted_by_the_next() {
    let setting = Setting::new(&[]).await;
    setting.back_up(0).await;
    let platform = PlatformServer::start(PlatformConfig::new(Secret::new("made-up-token"), 7)).await.unwrap();
    let token = setting.path("token");
    write_private(&token, "made-up-token");
    let into = format!(
        "into = {{ platform = {{ token = {{ file = \"{}\" }}, project = 7, url = \"{}\" }} }}",
        token.display(),
        platform.url()
    );
    setting.write_all_settings(&["shelf"], "", &drill("weekly", &into), "");
    let first = setting.json(&["drill", "weekly"]).await;
    assert_eq!((&first["proof"]["passed"], platform.deployments().len()), (&true.into(), 0), "{first}");

    // As if it could not have been deleted then. What another drill has made, perhaps just now, is not touched.
    let run = first["proof"]["run"].as_str().unwrap().to_lowercase();
    let settings = PlatformSettings {
        project: 7,
        token: platform.token(),
        url: Some(platform.url().parse().unwrap()),
        connection: convault_convex_client::ConnectionSettings::default(),
    };
    let there = ManagementPlatform::new(&settings).unwrap();
    let there = &there;
    let make = async |reference: String| {
        let expires = jiff::Timestamp::now() + Duration::from_hours(12);
        there.create(&NewDeployment { reference, expires }).await
    };
    make(format!("convault-drill-weekly-{run}")).await.unwrap();
    let now = RunId::new(jiff::Timestamp::now(), 5).to_string().to_lowercase();
    let others = make(format!("convault-drill-weekly-{now}")).await.unwrap();
    let second = setting.run(&["drill", "weekly"]).await;
    assert_eq!(second.code, Some(0), "{second:?}");
    assert!(second.stderr.contains("had left on the platform"), "{second:?}");
    assert_eq!(platform.deployments(), [others.name]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_no_settings_have_is_given_for_one_drill() {
    let (setting, scratch) = (Setting::new(&[]).await, scratch().await);
    assert_eq!(setting.run(&["keygen", "names", "-o", "names-key"]).await.code, Some(0));
    let anna = setting.run(&["keygen", "encryption", "-o", "anna"]).await;
    let encrypted = format!(
        "[encryption]\nnames_key = {{ file = \"names-key\" }}\n[[destination]]\nname = \"shelf\"\n\
         directory = \"{}\"\nencrypt_to = [\"{}\"]\n",
        setting.path("shelf").display(),
        anna.stdout.trim()
    );
    let sections = format!("{encrypted}{}", drill("weekly", &into_deployment(&setting, &scratch)));
    setting.write_all_settings(&["shelf"], "", &sections, "");
    setting.back_up(0).await;

    let without = setting.run(&["drill", "weekly"]).await;
    assert_eq!(without.code, Some(1), "{without:?}");
    assert!(without.stdout.contains("--identity FILE"), "{without:?}");
    let with = ["drill", "weekly", "--identity", "anna", "--report", "page.txt"];
    let passed = setting.run(&with).await;
    assert_eq!(passed.code, Some(0), "{passed:?}");
    let page = std::fs::read_to_string(setting.path("page.txt")).unwrap();
    assert!(page.contains("contacts: ") && page.contains("with hashed names"), "{page}");

    let daemon = RunningDaemon::start(&setting).await;
    let refused = setting.run(&with).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("with the identity of its settings only"), "{refused:?}");
    daemon.signal("TERM");
    assert_eq!(daemon.end().await, Some(0));
}
