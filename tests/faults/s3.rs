//! Faults of a bucket, seen by a whole backup into it.

use std::{sync::Arc, time::Duration};

use convault_core::{DestinationName, Keep, ObjectRole, ReadBack, Secret};
use convault_jobs::BackupJob;
use convault_simulator::s3::{RunningS3, S3Fault, S3FaultKind, S3Server, S3ServerConfig};
use convault_uploader::{S3Settings, S3Store, S3Timeouts};

use crate::bench::Bench;

/// A bucket with one good snapshot, and the deployment that it is of.
struct Bucket {
    server: RunningS3,
    bench: Bench,
}

impl Bucket {
    async fn new() -> Self {
        let config = S3ServerConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            root: None,
            access_key: "convault".to_owned(),
            secret_key: Secret::new("convault-secret"),
            faults: Vec::new(),
        };
        let server = S3Server::new(config).start().await.unwrap();
        let store =
            S3Store::new(DestinationName::new("offsite").unwrap(), &settings(server.endpoint())).unwrap();
        Self { server, bench: Bench::into_store(Arc::new(store)).await }
    }

    /// Like [`Bucket::new`], for faults that take their time.
    async fn impatient() -> Self {
        let mut bucket = Self::new().await;
        let wait = Duration::from_secs(2);
        let timeouts = S3Timeouts { answer: wait, idle: wait, tries: 3, ..S3Timeouts::default() };
        let settings = S3Settings { timeouts, ..settings(bucket.server.endpoint()) };
        let name = DestinationName::new("offsite").unwrap();
        bucket.bench.store = Arc::new(S3Store::new(name, &settings).unwrap());
        bucket
    }

    async fn showing(kind: S3FaultKind, number: Option<u64>) -> Self {
        let bucket = Self::new().await;
        bucket.server.set_faults(&[S3Fault { kind, number }]);
        bucket
    }

    /// Runs the job while the fault is on, and mends the bucket before looking into it.
    async fn fails(&self, words: &[&str]) {
        let record = self.bench.run().await;
        self.server.set_faults(&[]);
        assert_eq!(record.outcome, Some(convault_core::RunOutcome::Failed), "{}", record.message);
        for word in ["offsite"].iter().chain(words) {
            assert!(record.message.contains(word), "`{word}` is not in: {}", record.message);
        }
        assert!(!record.message.contains("convault-secret"), "{}", record.message);
        self.bench.assert_stored(1).await;
        self.bench.succeeds().await;
    }
}

fn settings(endpoint: String) -> S3Settings {
    S3Settings {
        bucket: "backups".to_owned(),
        prefix: "convex".to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: Some(endpoint),
        path_style: true,
        sends_checksums: true,
        access_key: Secret::new("convault"),
        secret_key: Secret::new("convault-secret"),
        session_token: None,
        ca_file: None,
        timeouts: S3Timeouts { tries: 3, first_back_off: Duration::from_millis(10), ..S3Timeouts::default() },
    }
}

#[tokio::test]
async fn a_bucket_that_is_overloaded_for_a_moment_is_asked_again() {
    let bucket = Bucket::showing(S3FaultKind::Unavailable, Some(2)).await;
    bucket.bench.succeeds().await;
}

#[tokio::test]
async fn a_bucket_that_stays_overloaded_gets_no_snapshot() {
    let bucket = Bucket::showing(S3FaultKind::Unavailable, None).await;
    bucket.fails(&["overloaded"]).await;
}

#[tokio::test]
async fn a_slow_bucket_is_waited_for() {
    let bucket = Bucket::showing(S3FaultKind::Slow, Some(10)).await;
    bucket.bench.succeeds().await;
}

#[tokio::test]
async fn a_bucket_that_takes_no_data_is_given_up() {
    let bucket = Bucket::impatient().await;
    bucket.server.set_faults(&[S3Fault { kind: S3FaultKind::Stall, number: None }]);
    bucket.fails(&["no answer came in time"]).await;
}

#[tokio::test]
async fn a_bucket_that_ignores_conditions_or_tells_nothing_of_itself_gets_its_snapshot() {
    for kind in [
        S3FaultKind::IgnoreIfNoneMatch,
        S3FaultKind::IgnoreIfMatch,
        S3FaultKind::IgnoreConditionalComplete,
        S3FaultKind::DenySettings,
    ] {
        let bucket = Bucket::showing(kind, None).await;
        bucket.bench.succeeds().await;
    }
}

#[tokio::test]
async fn one_request_that_goes_wrong_is_made_again() {
    for kind in [S3FaultKind::NthError, S3FaultKind::NthTimeout, S3FaultKind::NthCut, S3FaultKind::NthLost] {
        let bucket = Bucket::impatient().await;
        bucket.server.set_faults(&[S3Fault { kind, number: Some(9) }]);
        bucket.bench.succeeds().await;
    }
}

#[tokio::test]
async fn a_bucket_that_is_gone_from_one_request_on_gets_no_snapshot() {
    let bucket = Bucket::showing(S3FaultKind::GoneFrom, Some(12)).await;
    let record = bucket.bench.run().await;
    assert_eq!(record.outcome, Some(convault_core::RunOutcome::Failed), "{}", record.message);
    // What it left could not be taken away, and does not stand in the way of the next run.
    bucket.server.set_faults(&[]);
    let next = bucket.bench.run().await;
    assert_eq!(next.outcome, Some(convault_core::RunOutcome::Good), "{}", next.message);
}

#[tokio::test]
async fn a_bucket_that_refuses_conditions_says_so() {
    let bucket = Bucket::showing(S3FaultKind::RefuseConditions, None).await;
    bucket.fails(&["a write cannot be conditional"]).await;
}

#[tokio::test]
async fn a_bucket_without_checksums_is_read_back() {
    let bucket = Bucket::showing(S3FaultKind::NoChecksums, None).await;
    let (_, manifest) = bucket.bench.succeeds().await;
    assert_eq!(manifest.object(ObjectRole::Snapshot).unwrap().read_back, ReadBack::Data);
}

#[tokio::test]
async fn a_bucket_that_cannot_list_unfinished_uploads_gets_its_snapshot() {
    let bucket = Bucket::showing(S3FaultKind::NoListUploads, None).await;
    let record = bucket.bench.run().await;
    bucket.server.set_faults(&[]);
    assert_eq!(record.outcome, Some(convault_core::RunOutcome::Good), "{}", record.message);
    bucket.bench.assert_stored(2).await;
}

#[tokio::test]
async fn an_answer_that_is_lost_leaves_one_whole_snapshot() {
    for number in [Some(1), None] {
        let bucket = Bucket::showing(S3FaultKind::LostAnswer, number).await;
        bucket.bench.succeeds().await;
    }
}

#[tokio::test]
async fn a_bucket_that_gives_other_bytes_back_gets_no_snapshot() {
    let bucket = Bucket::new().await;
    let faults = [S3FaultKind::NoChecksums, S3FaultKind::CorruptGet];
    bucket.server.set_faults(&faults.map(|kind| S3Fault { kind, number: None }));
    bucket.fails(&[]).await;
}

#[tokio::test]
async fn a_full_bucket_is_told_to_be_full() {
    let bucket = Bucket::showing(S3FaultKind::Full, None).await;
    bucket.fails(&["space"]).await;
}

#[tokio::test]
async fn a_key_that_may_not_delete_stores_snapshots_and_says_that_retention_waits() {
    let mut bucket = Bucket::showing(S3FaultKind::DenyDelete, None).await;
    let keep = Keep { last: 1, at_least_verified: 1, ..Keep::default() };
    bucket.bench.job = BackupJob { keep, ..bucket.bench.job.clone() };
    let (record, _) = bucket.bench.succeeds().await;
    let told = |text: &String| text.contains("deleting is denied") && text.contains("s3:DeleteObject");
    assert!(record.warnings.iter().any(told), "{:?}", record.warnings);
}

#[tokio::test]
async fn a_key_that_may_not_read_is_told_the_permission_it_lacks() {
    let bucket = Bucket::showing(S3FaultKind::DenyGet, None).await;
    bucket.fails(&["s3:GetObject"]).await;
}
