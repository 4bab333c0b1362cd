//! `restore`: what it shows, what it refuses, and that a refusal writes nothing.

use convault_core::Secret;
use convault_simulator::{RunningSimulator, Simulator, SimulatorConfig};

use crate::support::{KEY, Setting};

const REFUSED: Option<i32> = Some(9);
const OTHER_KEY: &str = "quiet-heron-7|0ther5ec2e7";

/// An empty deployment beside the one of the settings, and the file with its key.
async fn empty(setting: &Setting) -> (RunningSimulator, String) {
    let other = Simulator::start(SimulatorConfig::new(Secret::new(OTHER_KEY))).await.unwrap();
    let file = setting.path("other.key");
    std::fs::write(&file, format!("{OTHER_KEY}\n")).unwrap();
    (other, file.display().to_string())
}

fn writes(deployment: &RunningSimulator) -> u64 {
    let writes = deployment.counters().writes;
    writes.imports + writes.mutations + writes.environment
}

#[tokio::test(flavor = "multi_thread")]
async fn live_data_is_left_alone_until_its_name_is_typed_and_somebody_said_yes() {
    let setting = Setting::new(&[]).await;
    let id = setting.back_up(0).await;
    for (more, words) in [
        (&["--yes"][..], "to write over that, say --replace crm"),
        (&["--yes", "--replace", "other"], "--replace names other, and the target is crm"),
        (&["--replace", "crm"], "say --yes"),
    ] {
        let ended = setting.run(&[&["restore", &id, "--to", "crm"], more].concat()).await;
        assert_eq!(ended.code, REFUSED, "{ended:?}");
        assert!(ended.stderr.contains(words) && ended.stderr.contains("nothing was touched"), "{ended:?}");
        for shown in ["contacts", "replaced", "a safety snapshot", "will be lost", "in an emergency"] {
            assert!(ended.stdout.contains(shown), "the plan lacks `{shown}`: {ended:?}");
        }
        assert_eq!(writes(&setting.deployment), 0);
    }
    let ended = setting.run(&["restore", &id, "--to", "crm", "--replace", "crm", "--dry-run"]).await;
    assert_eq!((ended.code, writes(&setting.deployment)), (Some(0), 0), "{ended:?}");
    let told = setting.json(&["restore", &id, "--to", "crm", "--replace", "crm", "--pause", "--yes"]).await;
    assert_eq!(told["compared"]["differences"], serde_json::json!([]), "{told}");
    assert!(
        told["safety"]["bring_back"].as_str().unwrap().contains("--to crm --replace crm --pause"),
        "{told}"
    );
    assert_eq!(setting.deployment.counters().writes.imports, 1);
    setting.deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_name_of_a_deployment_is_no_other_deployment() {
    let setting = Setting::new(&[]).await;
    let alias = format!(
        "[[deployment]]\nname = \"staging\"\nurl = \"{}\"\nkey = {{ env = \"DEPLOY_KEY\" }}\n",
        setting.deployment.url().replace("127.0.0.1", "localhost")
    );
    setting.write_all_settings(&["shelf"], "", &alias, "");
    setting.back_up(0).await;
    let restore = ["restore", "latest", "--deployment", "crm", "--yes"];
    let to_staging = ["--to", "staging", "--replace", "staging", "--safety-to", "shelf"];
    let ended = setting.run(&[&restore[..], &to_staging].concat()).await;
    assert_eq!(ended.code, REFUSED, "{ended:?}");
    assert!(ended.stderr.contains("it is simulated, the deployment crm of the settings"), "{ended:?}");
    let (url, file) = (setting.deployment.url(), setting.path("crm.key"));
    std::fs::write(&file, KEY).unwrap();
    let to_url = ["--to-url", &url, "--to-key-file", file.to_str().unwrap(), "--replace", "simulated"];
    let ended = setting.run(&[&restore[..], &to_url].concat()).await;
    assert_eq!(ended.code, REFUSED, "{ended:?}");
    assert_eq!(writes(&setting.deployment), 0);
    setting.deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_is_in_no_settings_is_reached_by_its_address_and_a_file() {
    let setting = Setting::new(&[]).await;
    let id = setting.back_up(0).await;
    let (other, file) = empty(&setting).await;
    let url = other.url();
    let restore = ["restore", &id, "--to-url", &url, "--to-key-file", &file, "--yes"];
    let ended = setting.run(&restore).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("quiet-heron-7") && ended.stdout.contains("all equal"), "{ended:?}");
    assert!(!format!("{ended:?}").contains("0ther5ec2e7"), "{ended:?}");
    assert_eq!(other.snapshot().document_count(), setting.deployment.snapshot().document_count());
    let again = setting.run(&restore).await;
    assert_eq!(again.code, REFUSED, "{again:?}");
    assert!(again.stderr.contains("say --replace quiet-heron-7"), "{again:?}");
    let again = setting.run(&[&restore[..], &["--replace", "quiet-heron-7"]].concat()).await;
    assert_eq!(again.code, REFUSED, "{again:?}");
    assert!(again.stderr.contains("say one with --safety-to"), "{again:?}");
    assert_eq!(writes(&other), 1);
    let again =
        setting.run(&[&restore[..], &["--replace", "quiet-heron-7", "--safety-to", "shelf"]].concat()).await;
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(setting.path("shelf/quiet-heron-7/snapshots").exists());
    other.stop().await;
    setting.deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_that_brings_it_back_is_whole_and_puts_back_no_more_than_was_replaced() {
    let setting = Setting::new(&[]).await;
    let id = setting.back_up(0).await;
    let (other, _) = empty(&setting).await;
    let file = setting.path("other key");
    std::fs::write(&file, OTHER_KEY).unwrap();
    let (url, file) = (other.url(), file.display().to_string());
    let restore = ["restore", &id, "--to-url", &url, "--to-key-file", &file, "--yes"];
    setting.json(&restore).await;
    let over = [&restore[..], &["--replace", "quiet-heron-7", "--safety-to", "shelf"]].concat();
    let bring_back = async |more: &[&str]| {
        let told = setting.json(&[&over[..], more].concat()).await;
        told["safety"]["bring_back"].as_str().unwrap().to_owned()
    };
    let whole = bring_back(&[]).await;
    assert!(whole.contains(&format!("--to-key-file '{file}' --replace quiet-heron-7")), "{whole}");
    assert!(whole.ends_with(" --safety-to shelf"), "{whole}");
    let part = bring_back(&["--only", "contacts"]).await;
    assert!(part.contains("--replace quiet-heron-7 --only contacts --safety-to shelf"), "{part}");
    other.stop().await;
    setting.deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_is_paused_is_told_of_with_the_command_that_unpauses_it() {
    let setting = Setting::new(&[]).await;
    let id = setting.back_up(0).await;
    let doctor = setting.run(&["doctor"]).await;
    assert!(!doctor.stdout.contains("paused"), "{doctor:?}");
    setting.deployment.set_fault("paused".parse().unwrap());
    let how = format!(
        "curl --fail-with-body -X POST -H @- '{}/api/v1/unpause_deployment'",
        setting.deployment.url()
    );
    let doctor = setting.run(&["doctor"]).await;
    assert_eq!(doctor.code, Some(1), "{doctor:?}");
    assert!(doctor.stdout.contains("it is paused") && doctor.stdout.contains(&how), "{doctor:?}");
    let ended = setting.run(&["restore", &id, "--to", "crm", "--replace", "crm", "--yes"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains(&how), "{ended:?}");
    assert!(ended.stderr.contains("crm is paused still, as it was before"), "{ended:?}");
    setting.deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_safety_snapshot_nothing_happens_and_nobody_is_kept_out() {
    let setting = Setting::new(&[]).await;
    setting.write_all_settings(&["shelf", "gone"], "", "", "");
    let id = setting.back_up(0).await;
    std::fs::remove_dir_all(setting.path("gone")).unwrap();
    std::fs::write(setting.path("gone"), "no folder").unwrap();
    let restore =
        ["restore", &id, "--destination", "shelf", "--to", "crm", "--replace", "crm", "--yes", "--pause"];
    let ended = setting.run(&[&restore[..], &["--safety-to", "gone"]].concat()).await;
    assert_eq!(ended.code, REFUSED, "{ended:?}");
    assert!(ended.stderr.contains("there is no safety snapshot of it"), "{ended:?}");
    assert_eq!(writes(&setting.deployment), 0);
    assert_eq!(setting.deployment.counters().writes.pauses, 2, "it was paused, and unpaused again");
    setting.deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_snapshot_does_not_have_is_not_restored_in_part() {
    let setting = Setting::new(&[]).await;
    let id = setting.back_up(0).await;
    let (other, file) = empty(&setting).await;
    let url = other.url();
    let restore = ["restore", &id, "--to-url", &url, "--to-key-file", &file, "--yes"];
    for part in [["--only", "contracts"], ["--component", "nowhere"]] {
        let ended = setting.run(&[&restore[..], &part].concat()).await;
        assert_eq!(ended.code, Some(6), "{ended:?}");
    }
    let told = setting.json(&[&restore[..], &["--only", "contacts"]].concat()).await;
    assert_eq!(told["compared"]["tables"], 1, "{told}");
    assert_eq!(writes(&other), 1);
    other.stop().await;
    setting.deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_refuses_a_document_is_told_as_drift() {
    let setting = Setting::new(&[]).await;
    let id = setting.back_up(0).await;
    setting.deployment.set_fault("import-refuses-row".parse().unwrap());
    let ended = setting.run(&["restore", &id, "--to", "crm", "--replace", "crm", "--yes"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("drift: the schema of the code there refuses"), "{ended:?}");
    assert!(
        ended.stderr.contains("first document ") && ended.stdout.contains("it comes back with"),
        "{ended:?}"
    );
    setting.deployment.stop().await;
}
