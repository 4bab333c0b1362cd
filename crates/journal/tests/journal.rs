//! The run history as its callers see it, on real files.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use convault_core::{DeploymentName, JobName, Journal as _, RunId, RunOutcome, RunRecord, Verb};
use convault_journal::SqliteJournal;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn job(text: &str) -> JobName {
    JobName::new(text).unwrap()
}

/// Run number `number` of a job: one a minute.
fn run(name: &str, number: u32, outcome: Option<RunOutcome>) -> RunRecord {
    let started = at("2026-11-01T00:00:00Z") + SignedDuration::from_mins(i64::from(number));
    RunRecord {
        id: RunId::new(started, number),
        job: job(name),
        deployment: DeploymentName::new("crm").unwrap(),
        verb: Verb::Backup,
        scheduled: true,
        due: Some(started),
        started,
        finished: outcome.map(|_| started + SignedDuration::from_secs(30)),
        outcome,
        message: "stored".to_owned(),
        snapshot: None,
        snapshot_time: None,
        destinations: vec![],
        read_bytes: 1,
        documents: 2,
        files: 3,
        warnings: vec![],
        retryable: false,
        refused: false,
    }
}

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("state/journal.sqlite")
    }

    async fn open(&self) -> SqliteJournal {
        SqliteJournal::open(self.file()).await.unwrap()
    }

    fn bytes(&self) -> u64 {
        let entries = fs::read_dir(self.folder.path().join("state")).unwrap();
        entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    }
}

#[tokio::test]
async fn what_is_written_is_read_after_a_restart() {
    let place = Place::new();
    let mut first = run("crm", 1, None);
    let journal = place.open().await;
    journal.record(&first).await.unwrap();
    first.outcome = Some(RunOutcome::Good);
    journal.record(&first).await.unwrap();
    journal.record(&run("shop", 2, Some(RunOutcome::Failed))).await.unwrap();
    drop(journal);
    let journal = place.open().await;
    assert_eq!(journal.runs(Some(&job("crm")), 10).await.unwrap(), [first.clone()]);
    assert_eq!(
        journal.runs(None, 10).await.unwrap(),
        [run("shop", 2, Some(RunOutcome::Failed)), first.clone()]
    );
    assert_eq!(journal.runs(None, 1).await.unwrap().len(), 1);
    assert_eq!(journal.last_due(&job("crm")).await.unwrap(), first.due);
    assert_eq!(journal.last_due(&job("other")).await.unwrap(), None);
    assert_eq!(fs::metadata(place.file()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn the_last_success_is_the_newest_good_or_partial_backup() {
    let place = Place::new();
    let journal = place.open().await;
    let outcomes = [RunOutcome::Good, RunOutcome::Partial, RunOutcome::Suspect, RunOutcome::Failed];
    for (number, outcome) in (1..).zip(outcomes) {
        journal.record(&run("crm", number, Some(outcome))).await.unwrap();
    }
    let verify = RunRecord { verb: Verb::Verify, ..run("crm", 9, Some(RunOutcome::Good)) };
    journal.record(&verify).await.unwrap();
    let success = journal.last_success(&job("crm")).await.unwrap().unwrap();
    assert_eq!(success, run("crm", 2, Some(RunOutcome::Partial)));
    assert_eq!(journal.last_success(&job("shop")).await.unwrap(), None);
}

#[tokio::test]
async fn a_run_without_an_end_is_closed_as_interrupted_once() {
    let place = Place::new();
    let journal = place.open().await;
    journal.record(&run("crm", 1, Some(RunOutcome::Good))).await.unwrap();
    journal.record(&run("crm", 2, None)).await.unwrap();
    let now = at("2026-11-22T03:00:00Z");
    let closed = journal.close_interrupted(now).await.unwrap();
    assert_eq!(closed.len(), 1);
    assert_eq!((closed[0].outcome, closed[0].finished), (Some(RunOutcome::Interrupted), Some(now)));
    assert_eq!(journal.runs(None, 1).await.unwrap(), closed);
    assert_eq!(journal.close_interrupted(now).await.unwrap(), []);
}

#[tokio::test]
async fn two_openers_see_and_do_not_disturb_each_other() {
    let place = Place::new();
    let (one, other) = (place.open().await, place.open().await);
    let writes = |journal: SqliteJournal, name: &'static str, first: u32| async move {
        for number in first..first + 40 {
            journal.record(&run(name, number, Some(RunOutcome::Good))).await.unwrap();
        }
    };
    tokio::join!(writes(one.clone(), "crm", 0), writes(other.clone(), "shop", 1000));
    assert_eq!(one.runs(None, 100).await.unwrap().len(), 80);
    assert_eq!(one.runs(None, 100).await.unwrap(), other.runs(None, 100).await.unwrap());
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_a_new_one_begun() {
    let damage = "not a database at all, but a text of more than a hundred bytes, ".repeat(100);
    let place = Place::new();
    fs::create_dir(place.folder.path().join("state")).unwrap();
    fs::write(place.file(), &damage).unwrap();
    let journal = place.open().await;
    journal.record(&run("crm", 1, Some(RunOutcome::Good))).await.unwrap();
    assert_eq!(journal.runs(None, 10).await.unwrap().len(), 1);
    let aside = place.folder.path().join("state/journal.sqlite.set-aside");
    assert_eq!(fs::read_to_string(aside).unwrap(), damage);
}

#[tokio::test]
async fn pages_overwritten_in_the_middle_are_noticed() {
    let place = Place::new();
    let journal = place.open().await;
    for number in 0..100 {
        journal.record(&run("crm", number, Some(RunOutcome::Good))).await.unwrap();
    }
    drop(journal);
    let mut bytes = fs::read(place.file()).unwrap();
    bytes[4096..].fill(0xa5);
    fs::write(place.file(), bytes).unwrap();
    let journal = place.open().await;
    assert_eq!(journal.runs(None, 10).await.unwrap(), []);
    journal.record(&run("crm", 1, Some(RunOutcome::Good))).await.unwrap();
    assert_eq!(journal.runs(None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_file_of_a_later_layout_is_set_aside() {
    let place = Place::new();
    drop(place.open().await);
    let connection = rusqlite::Connection::open(place.file()).unwrap();
    connection.execute("UPDATE schema_version SET version = 99", []).unwrap();
    connection.close().unwrap();
    let journal = place.open().await;
    journal.record(&run("crm", 1, Some(RunOutcome::Good))).await.unwrap();
    assert_eq!(place.open().await.runs(None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn deleting_the_file_under_an_open_history_costs_only_the_history() {
    let place = Place::new();
    let journal = place.open().await;
    journal.record(&run("crm", 1, Some(RunOutcome::Good))).await.unwrap();
    fs::remove_dir_all(place.folder.path().join("state")).unwrap();
    journal.record(&run("crm", 2, Some(RunOutcome::Good))).await.unwrap();
    assert_eq!(place.open().await.runs(None, 10).await.unwrap(), [run("crm", 2, Some(RunOutcome::Good))]);
    fs::remove_file(place.file()).unwrap();
    assert_eq!(journal.runs(None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn old_runs_are_forgotten_but_not_the_last_success_nor_the_last_due_time() {
    let place = Place::new();
    let journal = place.open().await;
    journal.record(&run("crm", 0, Some(RunOutcome::Good))).await.unwrap();
    for number in 1..=250 {
        let failed = RunRecord { due: None, ..run("crm", number, Some(RunOutcome::Failed)) };
        journal.record(&failed).await.unwrap();
    }
    let kept = journal.runs(Some(&job("crm")), 1000).await.unwrap();
    assert_eq!(kept.len(), 201);
    assert_eq!(kept[0].id, run("crm", 250, None).id);
    assert_eq!(kept[200].id, run("crm", 0, None).id);
    assert_eq!(journal.last_due(&job("crm")).await.unwrap(), run("crm", 0, None).due);
}

#[tokio::test]
async fn the_files_stay_small_however_long_the_records_are() {
    let place = Place::new();
    let journal = place.open().await;
    for number in 0..400 {
        let long = RunRecord {
            message: "long ".repeat(100_000),
            warnings: vec!["w".repeat(1000); 1000],
            ..run(&format!("job-{}", number % 7), number, Some(RunOutcome::Failed))
        };
        journal.record(&long).await.unwrap();
    }
    assert!(place.bytes() < 12 << 20, "{} bytes", place.bytes());
    let kept = journal.runs(None, 1000).await.unwrap();
    assert!(kept.len() > 50, "{} runs kept", kept.len());
    assert_eq!(kept[0].id, run("job", 399, None).id);
    assert!(kept[0].warnings.last().unwrap().contains("more warnings"));
}

#[tokio::test]
async fn a_file_that_cannot_be_made_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("a-file");
    fs::write(&blocked, "").unwrap();
    let error = SqliteJournal::open(blocked.join("journal.sqlite")).await.unwrap_err();
    assert!(error.to_string().contains("a-file/journal.sqlite"), "{error}");
}
