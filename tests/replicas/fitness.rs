//! A store in which two daemons could hold one lease is found out by trying, and refused.

use std::time::Duration;

use convault_core::{DestinationName, Secret, Store as _};
use convault_jobs::Leases;
use convault_simulator::s3::{RunningS3, S3Fault, S3Server, S3ServerConfig};
use convault_uploader::{S3Profile, S3Settings, S3Store, S3Timeouts};

async fn server() -> RunningS3 {
    let server = S3Server::new(S3ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        root: None,
        access_key: "convault".to_owned(),
        secret_key: Secret::new("convault-secret"),
        faults: Vec::new(),
    });
    server.start().await.unwrap()
}

fn store(server: &RunningS3) -> S3Store {
    let settings = S3Settings {
        bucket: "backups".to_owned(),
        prefix: "convex".to_owned(),
        region: None,
        endpoint: Some(server.endpoint()),
        path_style: None,
        profile: S3Profile::Minio,
        access_key: Secret::new("convault"),
        secret_key: Secret::new("convault-secret"),
        session_token: None,
        ca_file: None,
        timeouts: S3Timeouts { answer: Duration::from_secs(2), tries: 1, ..S3Timeouts::default() },
    };
    S3Store::new(DestinationName::new("offsite").unwrap(), &settings).unwrap()
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_refused_and_one_that_honours_them_is_taken() {
    let server = server().await;
    let store = store(&server);
    Leases::check_store(&store, &store.abilities().await.unwrap()).unwrap();

    server.set_faults(&["s3-ignore-if-none-match".parse::<S3Fault>().unwrap()]);
    let refused = Leases::check_store(&store, &store.abilities().await.unwrap()).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("overwrites all the same") && text.contains("one daemon only"), "{text}");
}
