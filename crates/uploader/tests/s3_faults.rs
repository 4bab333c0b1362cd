//! Each fault of the S3 server in process, and what the store makes of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use bytes::Bytes;
use convault_core::{
    Ability, DestinationName, Part, PutMode, Secret, Sha256, Store as _, StoreErrorKind, Upload,
};
use convault_simulator::s3::{RunningS3, S3Fault, S3Server, S3ServerConfig};
use convault_uploader::{S3Settings, S3Store, S3Timeouts, UploaderError};
use futures::TryStreamExt as _;

const PART_BYTES: u64 = 5 << 20;

fn settings(endpoint: String) -> S3Settings {
    S3Settings {
        bucket: "faults".to_owned(),
        prefix: "convex".to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: Some(endpoint),
        path_style: true,
        sends_checksums: true,
        access_key: Secret::new("convault"),
        secret_key: Secret::new("convault-secret"),
        session_token: None,
        ca_file: None,
        timeouts: S3Timeouts { tries: 3, first_back_off: Duration::from_millis(20), ..S3Timeouts::default() },
    }
}

fn store(settings: &S3Settings) -> S3Store {
    S3Store::new(DestinationName::new("offsite").unwrap(), settings).unwrap()
}

async fn server() -> (RunningS3, S3Store) {
    let server = S3Server::new(S3ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        root: None,
        access_key: "convault".to_owned(),
        secret_key: Secret::new("convault-secret"),
        faults: Vec::new(),
    });
    let server = server.start().await.unwrap();
    let store = store(&settings(server.endpoint()));
    (server, store)
}

fn show(server: &RunningS3, fault: &str) {
    server.set_faults(&[fault.parse::<S3Fault>().unwrap()]);
}

fn body() -> Bytes {
    Bytes::from_static(b"the bytes of a manifest")
}

async fn begin(store: &S3Store, key: &str, mode: PutMode) -> Box<dyn Upload> {
    let upload = store.upload(key, PART_BYTES, mode).await.unwrap();
    upload.put_part(Part { number: 1, sha256: Sha256::of(&body()), body: body() }).await.unwrap();
    upload
}

async fn read(store: &S3Store, key: &str) -> Vec<u8> {
    store.get(key, None).await.unwrap().try_collect::<Vec<_>>().await.unwrap().concat()
}

#[tokio::test]
async fn a_503_is_repeated_until_it_passes_and_given_up_when_it_does_not() {
    let (server, store) = server().await;
    for mode in [PutMode::Overwrite, PutMode::IfAbsent] {
        show(&server, "s3-503=2");
        let key = format!("{mode:?}");
        assert!(store.put(&key, body(), mode).await.unwrap().checksum_confirmed);
    }
    show(&server, "s3-503=2");
    begin(&store, "big", PutMode::IfAbsent).await.finish().await.unwrap();
    show(&server, "s3-503");
    let before = server.counters().calls("PutObject");
    let error = store.put("never", body(), PutMode::Overwrite).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Transient, "{error}");
    assert!(error.to_string().contains("overloaded"), "{error}");
    assert_eq!(server.counters().calls("PutObject") - before, 3);
}

#[tokio::test]
async fn a_slow_server_is_waited_for() {
    let (server, store) = server().await;
    show(&server, "s3-slow=300");
    store.put("a", body(), PutMode::IfAbsent).await.unwrap();
    assert_eq!(read(&store, "a").await, body());
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_in_time() {
    let (server, _) = server().await;
    let mut settings = settings(server.endpoint());
    settings.timeouts.answer = Duration::from_secs(1);
    let store = store(&settings);
    show(&server, "s3-stall=1");
    store.put("once", body(), PutMode::Overwrite).await.unwrap();
    show(&server, "s3-stall");
    let error = store.put("never", body(), PutMode::Overwrite).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Transient, "{error}");
    assert!(error.to_string().contains("in time"), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn the_probe_tells_a_server_that_ignores_conditions() {
    let (server, store) = server().await;
    show(&server, "s3-ignore-if-none-match");
    let abilities = store.abilities().await.unwrap();
    assert_eq!(abilities.put_if_absent, Ability::Ignored);
    assert_eq!(abilities.finish_if_absent, Ability::Ignored);
    assert_eq!(abilities.replace_if_match, Ability::Works);
}

#[tokio::test]
async fn the_probe_tells_a_server_that_ignores_if_match() {
    let (server, store) = server().await;
    show(&server, "s3-ignore-if-match");
    let abilities = store.abilities().await.unwrap();
    assert_eq!(abilities.put_if_absent, Ability::Works);
    assert_eq!(abilities.replace_if_match, Ability::Ignored);
    assert!(abilities.why_no_leases().unwrap().contains("overwrites all the same"));
}

#[tokio::test]
async fn the_probe_tells_a_server_that_ignores_conditions_only_when_an_upload_is_completed() {
    let (server, store) = server().await;
    show(&server, "s3-ignore-conditional-complete");
    let abilities = store.abilities().await.unwrap();
    assert_eq!(abilities.put_if_absent, Ability::Works);
    assert_eq!(abilities.finish_if_absent, Ability::Ignored);
    assert_eq!((abilities.replace_if_match, abilities.why_no_leases()), (Ability::Works, None));
}

#[tokio::test]
async fn the_probe_tells_a_server_that_refuses_conditions() {
    let (server, store) = server().await;
    show(&server, "s3-refuse-conditions");
    let abilities = store.abilities().await.unwrap();
    assert_eq!(abilities.put_if_absent, Ability::Refused);
    assert_eq!(abilities.finish_if_absent, Ability::Refused);
    assert_eq!(abilities.replace_if_match, Ability::Refused);
    assert!(abilities.why_no_leases().unwrap().contains("refuses"));
    assert!(store.list("").try_collect::<Vec<_>>().await.unwrap().is_empty());
    assert!(store.list_uploads("").await.unwrap().is_empty());
}

/// Every kind of failure at every request of a put and of an upload: either it comes through, and then it is there, or
/// it fails, and is found out to be there or not.
#[tokio::test]
async fn whichever_request_fails_the_outcome_is_the_truth() {
    let (server, _) = server().await;
    let mut settings = settings(server.endpoint());
    (settings.timeouts.answer, settings.timeouts.tries) = (Duration::from_millis(400), 8);
    let store = store(&settings);
    for fault in ["s3-nth-error", "s3-nth-timeout", "s3-nth-cut", "s3-nth-lost"] {
        for nth in 1..=6 {
            let key = format!("{fault}-{nth}");
            server.set_faults(&[format!("{fault}={nth}").parse().unwrap()]);
            let stored = store.put(&format!("{key}-put"), body(), PutMode::IfAbsent).await.unwrap();
            assert!(stored.checksum_confirmed, "{key}");
            server.set_faults(&[format!("{fault}={nth}").parse().unwrap()]);
            let upload = begin(&store, &format!("{key}-upload"), PutMode::IfAbsent).await;
            let stored = upload.finish().await.unwrap();
            assert!(stored.checksum_confirmed, "{key}");
            server.set_faults(&[]);
            assert_eq!(read(&store, &format!("{key}-put")).await, body());
            assert_eq!(read(&store, &format!("{key}-upload")).await, body());
        }
    }
}

#[tokio::test]
async fn a_body_that_is_cut_is_an_error_and_not_a_short_object() {
    let (server, store) = server().await;
    // So much does not wait with the head of its answer in a buffer until it is cut, which would be another try.
    let large = Bytes::from(vec![7; 4 << 20]);
    store.put("a", large.clone(), PutMode::Overwrite).await.unwrap();
    show(&server, "s3-nth-cut=1");
    let error = store.get("a", None).await.unwrap().try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Transient, "{error}");
    assert!(read(&store, "a").await == large);
}

#[tokio::test]
async fn a_server_that_is_gone_in_the_middle_is_transient() {
    let (server, store) = server().await;
    let upload = begin(&store, "a", PutMode::Overwrite).await;
    show(&server, "s3-gone-from=1");
    let error = upload.finish().await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Transient, "{error}");
    server.set_faults(&[]);
    assert_eq!(store.head("a").await.unwrap_err().kind, StoreErrorKind::NotFound);
    upload.finish().await.unwrap();
}

#[tokio::test]
async fn without_checksums_nothing_is_confirmed() {
    let (server, store) = server().await;
    show(&server, "s3-no-checksums");
    assert!(!store.put("a", body(), PutMode::Overwrite).await.unwrap().checksum_confirmed);
    assert!(!begin(&store, "big", PutMode::Overwrite).await.finish().await.unwrap().checksum_confirmed);
    assert_eq!(store.abilities().await.unwrap().checksums, Ability::Ignored);
    server.set_faults(&[]);
    assert!(store.put("a", body(), PutMode::Overwrite).await.unwrap().checksum_confirmed);
    assert!(begin(&store, "big", PutMode::Overwrite).await.finish().await.unwrap().checksum_confirmed);
}

#[tokio::test]
async fn a_server_that_cannot_list_uploads_says_unsupported() {
    let (server, store) = server().await;
    show(&server, "s3-no-list-uploads");
    assert_eq!(store.list_uploads("").await.unwrap_err().kind, StoreErrorKind::Unsupported);
    assert_eq!(store.abilities().await.unwrap().list_uploads, Ability::Refused);
}

#[tokio::test]
async fn a_lost_answer_to_the_finish_is_found_out() {
    let (server, store) = server().await;
    for mode in [PutMode::Overwrite, PutMode::IfAbsent] {
        let key = format!("{mode:?}");
        let upload = begin(&store, &key, mode).await;
        show(&server, "s3-lost-answer=1");
        let stored = upload.finish().await.unwrap();
        assert!(stored.checksum_confirmed);
        assert_eq!(read(&store, &key).await, body());
    }
    assert_eq!(server.counters().calls("CompleteMultipartUpload"), 4);
    assert!(store.list_uploads("").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_lost_answer_to_a_conditional_put_is_told_from_somebody_elses_object() {
    let (server, store) = server().await;
    show(&server, "s3-lost-answer=1");
    assert!(store.put("ours", body(), PutMode::IfAbsent).await.unwrap().checksum_confirmed);
    show(&server, "s3-lost-answer");
    assert!(store.put("always-lost", body(), PutMode::IfAbsent).await.unwrap().checksum_confirmed);
    server.set_faults(&[]);
    store.put("theirs", Bytes::from_static(b"other"), PutMode::Overwrite).await.unwrap();
    show(&server, "s3-503=1");
    let error = store.put("theirs", body(), PutMode::IfAbsent).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::AlreadyExists, "{error}");
    assert_eq!(read(&store, "theirs").await, b"other");
}

#[tokio::test]
async fn bytes_that_change_on_the_way_back_are_noticed_where_the_checksum_covers_them() {
    let (server, store) = server().await;
    store.put("a", body(), PutMode::Overwrite).await.unwrap();
    begin(&store, "big", PutMode::Overwrite).await.finish().await.unwrap();
    show(&server, "s3-corrupt-get");
    let error = store.get("a", None).await.unwrap().try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Corrupt, "{error}");
    // The checksum of parts cannot be compared with bytes as they pass: that is left to the caller's digest.
    assert_ne!(read(&store, "big").await, body());
}

#[tokio::test]
async fn a_full_server_is_said_to_be_full() {
    let (server, store) = server().await;
    show(&server, "s3-full");
    let error = store.put("a", body(), PutMode::Overwrite).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Full, "{error}");
    assert!(error.to_string().contains("free space"), "{error}");
    assert_eq!(
        store.upload("a", PART_BYTES, PutMode::Overwrite).await.err().unwrap().kind,
        StoreErrorKind::Full
    );
}

#[tokio::test]
async fn a_denied_delete_names_the_permission_and_the_probe_lives_with_it() {
    let (server, store) = server().await;
    show(&server, "s3-deny-delete");
    store.put("a", body(), PutMode::Overwrite).await.unwrap();
    let error = store.delete("a").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(error.to_string().contains("`s3:DeleteObject` on bucket `faults`"), "{error}");
    assert_eq!(store.abilities().await.unwrap().put_if_absent, Ability::Works);
}

#[tokio::test]
async fn credentials_that_may_not_read_still_write_with_a_confirmed_checksum() {
    let (server, store) = server().await;
    show(&server, "s3-deny-get");
    let stored = store.put("a", body(), PutMode::IfAbsent).await.unwrap();
    assert!(stored.checksum_confirmed && stored.size_bytes == body().len() as u64);
    let stored = begin(&store, "big", PutMode::IfAbsent).await.finish().await.unwrap();
    assert!(stored.checksum_confirmed && stored.size_bytes == body().len() as u64);
    assert_eq!(store.head("a").await.unwrap_err().kind, StoreErrorKind::Denied);
}

#[tokio::test]
async fn a_part_with_the_wrong_checksum_is_refused_by_the_server() {
    let (_server, store) = server().await;
    let upload = store.upload("a", PART_BYTES, PutMode::Overwrite).await.unwrap();
    let part = Part { number: 1, sha256: Sha256::of(b"other"), body: body() };
    assert_eq!(upload.put_part(part).await.unwrap_err().kind, StoreErrorKind::Corrupt);
}

#[tokio::test]
async fn a_part_that_is_too_small_is_refused_with_the_servers_words() {
    let (_server, store) = server().await;
    let upload = store.upload("a", 4, PutMode::Overwrite).await.unwrap();
    for number in [1, 2] {
        let body = Bytes::from_static(b"four");
        upload.put_part(Part { number, sha256: Sha256::of(&body), body }).await.unwrap();
    }
    let error = upload.finish().await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Other);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("EntityTooSmall"), "{cause}");
}

#[tokio::test]
async fn a_wrong_key_is_denied_with_a_remedy_and_without_the_secret() {
    let (server, _) = server().await;
    let wrong_secret = S3Settings { secret_key: Secret::new("hunter2"), ..settings(server.endpoint()) };
    let wrong_key = S3Settings { access_key: Secret::new("hunter2"), ..settings(server.endpoint()) };
    for (settings, remedy) in [(wrong_secret, "does not belong"), (wrong_key, "not known there")] {
        let store = store(&settings);
        let error = store.put("a", body(), PutMode::Overwrite).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
        assert!(error.to_string().contains(remedy), "{error}");
        let printed = format!("{error} {error:?} {store:?} {}", store.location());
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}

#[tokio::test]
async fn an_endpoint_where_nobody_listens_is_transient_and_names_what_to_check() {
    // The first port is nobody's.
    let error = store(&settings("http://127.0.0.1:1".to_owned())).head("a").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Transient, "{error}");
    assert!(error.to_string().contains("check `endpoint`"), "{error}");
}

#[test]
fn an_endpoint_that_is_none_is_named_before_anything_is_sent() {
    let settings = settings("s3.example.com".to_owned());
    let error = S3Store::new(DestinationName::new("offsite").unwrap(), &settings).unwrap_err();
    assert!(matches!(error, UploaderError::EndpointInvalid { .. }), "{error}");
}

#[tokio::test]
async fn objects_below_a_root_outlive_the_server() {
    let root = tempfile::tempdir().unwrap();
    let config = S3ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        root: Some(root.path().to_owned()),
        access_key: "convault".to_owned(),
        secret_key: Secret::new("convault-secret"),
        faults: Vec::new(),
    };
    let server = S3Server::new(config.clone()).start().await.unwrap();
    let first = store(&settings(server.endpoint()));
    first.put("kept", body(), PutMode::Overwrite).await.unwrap();
    first.put("gone", body(), PutMode::Overwrite).await.unwrap();
    first.delete("gone").await.unwrap();
    begin(&first, "unfinished", PutMode::Overwrite).await;
    let before = first.head("kept").await.unwrap();
    server.stop().await;
    let server = S3Server::new(config).start().await.unwrap();
    let second = store(&settings(server.endpoint()));
    assert_eq!(second.list("").try_collect::<Vec<_>>().await.unwrap(), [before]);
    assert_eq!(read(&second, "kept").await, body());
    assert_eq!(std::fs::read_dir(root.path().join("bytes")).unwrap().count(), 1);
}
