//! Each export-side fault of the simulator, and the outcome it has a name for.

use std::time::Duration;

use convault_convex_client::Url;
use convault_core::{
    Export, ExportRequest, Progress, Release, Secret, Source as _, SourceError, SourceErrorKind,
};
use convault_exporter::{DeploymentSettings, DeploymentSource};
use convault_simulator::{Data, Fault, GeneratorConfig, RunningSimulator, Simulator, SimulatorConfig};
use futures::StreamExt as _;

use crate::fake::{KEY, Told, name, pass, quick, request, source};

/// A small deployment with files, these faults, and a source that reaches it.
async fn with(faults: &[&str]) -> (RunningSimulator, DeploymentSource) {
    let data = GeneratorConfig {
        seed: 7,
        tables: 2,
        documents: 20,
        document_bytes: 200,
        files: 3,
        file_bytes: 1000,
        components: 1,
    };
    let config = SimulatorConfig {
        data: Data::Generated(data),
        faults: faults.iter().map(|fault| fault.parse::<Fault>().unwrap()).collect(),
        ..SimulatorConfig::new(Secret::new(KEY))
    };
    let simulator = Simulator::start(config).await.unwrap();
    let url = Url::parse(&simulator.url()).unwrap();
    let source = source(quick(DeploymentSettings::new(name(), Some(url), simulator.key())));
    (simulator, source)
}

/// A run that began before the simulator's own time.
fn scheduled() -> ExportRequest {
    ExportRequest { run_started: "2020-01-01T00:00:00Z".parse().unwrap(), ..request() }
}

/// How an export ends whose deadline passes once it was looked at a few times.
async fn overdue(simulator: &RunningSimulator, source: &DeploymentSource) -> SourceError {
    let request = scheduled();
    let late = pass(request.deadline, || asked(simulator, LOOK) > 8);
    let (ended, ()) = tokio::join!(source.export(request, &|_| {}), late);
    ended.unwrap_err()
}

fn moving_within(limit_ms: u64) -> ExportRequest {
    ExportRequest { no_progress_limit: Duration::from_millis(limit_ms), ..scheduled() }
}

async fn exported(source: &DeploymentSource) -> Export {
    source.export(scheduled(), &|_| {}).await.unwrap()
}

async fn downloaded(source: &DeploymentSource, export: &Export) -> Result<Vec<u8>, SourceError> {
    let mut stream = source.open(export).await?.bytes;
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(bytes)
}

/// A whole round that must succeed: the export is ours, and every byte of it arrives.
async fn succeeds_under(faults: &[&str]) -> (RunningSimulator, Export) {
    let (simulator, source) = with(faults).await;
    let export = exported(&source).await;
    let bytes = downloaded(&source, &export).await.unwrap();
    assert_eq!(Some(bytes.len() as u64), export.size_bytes);
    assert!(bytes.starts_with(b"PK\x03\x04"));
    (simulator, export)
}

fn asked(simulator: &RunningSimulator, route: &str) -> u64 {
    simulator.counters().requests.get(route).copied().unwrap_or(0)
}

const REQUEST: &str = "POST /api/export/request/zip";
const CANCEL: &str = "POST /api/export/cancel/{id}";
const DOWNLOAD: &str = "GET /api/export/zip/{id}";
const LOOK: &str = "POST /api/query";

#[tokio::test]
async fn without_faults_a_round_succeeds_and_the_export_expires() {
    let (simulator, source) = with(&[]).await;
    assert!(source.preflight().await.unwrap().warnings.is_empty());
    let export = exported(&source).await;
    assert!(!export.adopted);
    assert_eq!(downloaded(&source, &export).await.unwrap(), downloaded(&source, &export).await.unwrap());
    assert_eq!(source.release(&export).await, Release::ExpirySet);
    assert_eq!(simulator.remove_expired_exports(), 1);
    assert_eq!(downloaded(&source, &export).await.unwrap_err().kind, SourceErrorKind::ExportLost);
}

#[tokio::test]
async fn stuck_export_is_cancelled_after_the_limit() {
    let (simulator, source) = with(&["stuck-export"]).await;
    let failure = source.export(moving_within(300), &|_| {}).await.unwrap_err();
    assert_eq!(failure.kind, SourceErrorKind::Stuck);
    assert!(failure.message.ends_with("was cancelled"), "{failure}");
    simulator.clear_faults();
    exported(&source).await;
}

#[tokio::test]
async fn stuck_export_that_the_key_may_not_cancel_prints_the_command() {
    let (_simulator, source) =
        with(&["stuck-export", "limited-key=CreateBackups,ViewBackups,DownloadBackups"]).await;
    let failure = source.export(moving_within(300), &|_| {}).await.unwrap_err();
    assert_eq!(failure.kind, SourceErrorKind::Stuck);
    assert!(
        failure.message.contains("`deployment:backups:import`") && failure.message.contains("| curl "),
        "{failure}"
    );
}

#[tokio::test]
async fn slow_export_is_not_taken_for_a_stuck_one() {
    let (_simulator, source) = with(&["slow-export=5"]).await;
    let told = Told::default();
    source.export(moving_within(4000), &told.listener()).await.unwrap();
    let changes = told.all().iter().filter(|progress| matches!(progress, Progress::Exporting { .. })).count();
    assert!(changes > 2, "{changes}");
}

#[tokio::test]
async fn slow_export_past_its_deadline_is_cancelled() {
    let (simulator, source) = with(&["slow-export"]).await;
    let failure = overdue(&simulator, &source).await;
    assert_eq!(failure.kind, SourceErrorKind::Deadline);
    assert_eq!(asked(&simulator, CANCEL), 1);
}

#[tokio::test]
async fn missing_file_hang_ends_at_the_deadline_with_the_cause_guessed() {
    let (simulator, source) = with(&["missing-file-hang"]).await;
    let failure = overdue(&simulator, &source).await;
    assert_eq!(failure.kind, SourceErrorKind::Deadline);
    assert!(failure.message.contains("a stored file that is missing on the server"), "{failure}");
    assert!(failure.message.ends_with("was cancelled"), "{failure}");
}

#[tokio::test]
async fn export_canceled_by_somebody_is_lost_and_the_next_one_succeeds() {
    let (simulator, source) = with(&["export-canceled=1"]).await;
    let failure = source.export(scheduled(), &|_| {}).await.unwrap_err();
    assert_eq!(failure.kind, SourceErrorKind::ExportLost);
    exported(&source).await;
    assert_eq!(asked(&simulator, CANCEL), 0);
}

#[tokio::test]
async fn slot_held_by_a_cloud_backup_is_waited_for() {
    let (simulator, source) = with(&["slot-held=1"]).await;
    let told = Told::default();
    let export = source.export(scheduled(), &told.listener()).await.unwrap();
    assert!(!export.adopted);
    assert_eq!(told.all()[0], Progress::WaitingForSlot { holder: "cloudBackup".to_owned() });
    assert_eq!(asked(&simulator, CANCEL), 0);
}

#[tokio::test]
async fn slot_held_past_the_deadline_is_busy_and_never_cancelled() {
    let (simulator, source) = with(&["slot-held"]).await;
    let failure = overdue(&simulator, &source).await;
    assert_eq!(failure.kind, SourceErrorKind::Busy);
    assert!(failure.message.contains("(cloudBackup)"), "{failure}");
    assert_eq!(asked(&simulator, CANCEL), 0);
}

#[tokio::test]
async fn cancel_conflict_is_retried() {
    let (simulator, source) = with(&["stuck-export", "cancel-conflict=2"]).await;
    let failure = source.export(moving_within(300), &|_| {}).await.unwrap_err();
    assert!(failure.message.ends_with("was cancelled"), "{failure}");
    assert_eq!(asked(&simulator, CANCEL), 3);
}

async fn fails_in_transit(fault: &str) {
    let (_simulator, source) = with(&[fault]).await;
    let export = exported(&source).await;
    let failure = downloaded(&source, &export).await.unwrap_err();
    assert_eq!(failure.kind, SourceErrorKind::Transit, "{failure}");
    let bytes = downloaded(&source, &export).await.unwrap();
    assert_eq!(Some(bytes.len() as u64), export.size_bytes, "the next download is whole");
}

#[tokio::test]
async fn truncated_download_ends_in_a_transit_error() {
    fails_in_transit("truncated-download=1").await;
}

#[tokio::test]
async fn wrong_length_is_noticed_before_the_first_byte() {
    fails_in_transit("wrong-length=1").await;
}

#[tokio::test]
async fn stalled_download_ends_after_the_idle_limit() {
    let (_simulator, source) = with(&["stalled-download=1"]).await;
    let export = exported(&source).await;
    let mut stream = source.open(&export).await.unwrap().bytes;
    stream.next().await.unwrap().unwrap();
    let rest = async {
        while let Some(chunk) = stream.next().await {
            chunk?;
        }
        Ok::<_, SourceError>(())
    };
    let (rest, ()) = tokio::join!(rest, pass(Duration::from_mins(3), || true));
    assert_eq!(rest.unwrap_err().kind, SourceErrorKind::Transit);
    let bytes = downloaded(&source, &export).await.unwrap();
    assert_eq!(Some(bytes.len() as u64), export.size_bytes, "the next download is whole");
}

#[tokio::test]
async fn request_503_is_retried() {
    let (simulator, export) = succeeds_under(&["request-503=2"]).await;
    assert!(!export.adopted);
    assert_eq!(asked(&simulator, REQUEST), 3);
}

#[tokio::test]
async fn request_503_for_ever_is_transient() {
    let (_simulator, source) = with(&["request-503"]).await;
    assert_eq!(source.export(scheduled(), &|_| {}).await.unwrap_err().kind, SourceErrorKind::Transient);
}

#[tokio::test]
async fn poll_503_is_retried() {
    succeeds_under(&["poll-503=3"]).await;
}

#[tokio::test]
async fn download_503_is_retried() {
    let (simulator, _) = succeeds_under(&["download-503=2"]).await;
    assert_eq!(asked(&simulator, DOWNLOAD), 3);
}

#[tokio::test]
async fn timeout_408_does_not_ask_twice() {
    let (simulator, export) = succeeds_under(&["timeout-408=1"]).await;
    assert!(export.adopted, "it may be somebody else's, so its expiry is left alone");
    assert_eq!(asked(&simulator, REQUEST), 1);
}

#[tokio::test]
async fn restart_during_export_is_followed_to_the_end() {
    let (simulator, _) = succeeds_under(&["restart-during-export=1"]).await;
    assert_eq!(asked(&simulator, REQUEST), 1);
}

#[tokio::test]
async fn paused_deployments_are_exported() {
    succeeds_under(&["paused"]).await;
}

#[tokio::test]
async fn old_server_exports_and_warns_that_it_can_neither_cancel_nor_expire() {
    let (_simulator, export) = succeeds_under(&["old-server"]).await;
    let (_simulator, source) = with(&["old-server"]).await;
    let warnings = source.preflight().await.unwrap().warnings;
    assert!(warnings[0].contains("older than 2025-05-12"), "{warnings:?}");
    let Release::Refused(reason) = source.release(&export).await else { panic!("not refused") };
    assert!(reason.contains("older than 2025-05-12"), "{reason}");
}

#[tokio::test]
async fn limited_key_is_refused_by_name_before_and_while_exporting() {
    let (_simulator, source) = with(&["limited-key=ViewBackups,DownloadBackups"]).await;
    for failure in
        [source.preflight().await.unwrap_err(), source.export(scheduled(), &|_| {}).await.unwrap_err()]
    {
        assert_eq!(failure.kind, SourceErrorKind::Permission);
        assert!(failure.message.contains("`deployment:backups:create`"), "{failure}");
    }
    let (_simulator, source) = with(&["limited-key=CreateBackups"]).await;
    let failure = source.export(scheduled(), &|_| {}).await.unwrap_err();
    assert_eq!(failure.kind, SourceErrorKind::Permission);
    assert!(failure.message.contains("`deployment:backups:view`"), "{failure}");
}

#[tokio::test]
async fn read_only_key_is_called_read_only() {
    let (_simulator, source) = with(&["read-only-key"]).await;
    let failure = source.preflight().await.unwrap_err();
    assert_eq!(failure.kind, SourceErrorKind::Permission);
    assert!(failure.message.contains("read-only"), "{failure}");
}

#[tokio::test]
async fn bad_key_is_not_retried() {
    let (simulator, source) = with(&["bad-key"]).await;
    let failure = source.preflight().await.unwrap_err();
    assert_eq!(failure.kind, SourceErrorKind::Key);
    assert_eq!(asked(&simulator, "GET /api/check_admin_key"), 1);
}

#[tokio::test]
async fn expiry_denied_is_a_refusal_with_its_remedy_and_no_failure() {
    let (_simulator, source) = with(&["expiry-denied"]).await;
    let Release::Refused(reason) = source.release(&exported(&source).await).await else {
        panic!("not refused")
    };
    assert!(reason.contains("`deployment:backups:delete`"), "{reason}");
    assert!(reason.contains("`expire_exports = false`"), "{reason}");
}
