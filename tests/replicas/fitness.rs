//! Leases over S3: what a store must be fit for is found out by trying, and an unfit one is refused.

use std::{sync::Arc, time::Duration};

use convault_core::{DeploymentName, DestinationName, Holder, JobName, Secret, Store as _, SystemClock};
use convault_jobs::{Attempt, Leases};
use convault_simulator::s3::{RunningS3, S3Fault, S3Server, S3ServerConfig};
use convault_uploader::{S3Settings, S3Store, S3Timeouts};

/// Its heartbeat comes three times as often.
const LEASE: Duration = Duration::from_mins(1);

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
        region: "us-east-1".to_owned(),
        endpoint: Some(server.endpoint()),
        path_style: true,
        sends_checksums: true,
        access_key: Secret::new("convault"),
        secret_key: Secret::new("convault-secret"),
        session_token: None,
        ca_file: None,
        timeouts: S3Timeouts { tries: 1, ..S3Timeouts::default() },
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

#[tokio::test]
async fn a_lease_is_taken_renewed_given_back_and_taken_again_over_s3() {
    let server = server().await;
    let daemon = |instance: &str| {
        let holder = Holder { instance: instance.to_owned(), host: "host".to_owned() };
        Leases::new(Arc::new(store(&server)), holder, LEASE, Arc::new(SystemClock))
    };
    let (a, b) = (daemon("a"), daemon("b"));
    let (deployment, job) = (DeploymentName::new("crm").unwrap(), JobName::new("nightly").unwrap());
    let due = "2026-11-22T03:00:00Z".parse().unwrap();
    let wanted = Some((&job, due));
    let Attempt::Held(held) = a.try_take(&deployment, wanted).await.unwrap() else { panic!() };
    let elsewhere = b.try_take(&deployment, wanted).await.unwrap();
    assert!(matches!(elsewhere, Attempt::Elsewhere { holder: Some(holder), .. } if holder.instance == "a"));
    let objects = store(&server);
    for _ in 0..4 {
        let before = objects.head("leases/crm.json").await.unwrap().etag;
        // Time passes at once up to the next heartbeat, which then takes as long as the machine needs.
        tokio::time::pause();
        tokio::time::advance(LEASE / 3).await;
        tokio::time::resume();
        while objects.head("leases/crm.json").await.unwrap().etag == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    held.check().await.unwrap();
    assert!(matches!(b.try_take(&deployment, wanted).await.unwrap(), Attempt::Elsewhere { .. }));
    held.release(Some((job.clone(), due))).await.unwrap();
    assert!(matches!(b.try_take(&deployment, wanted).await.unwrap(), Attempt::Done));
    let Attempt::Held(next) = b.try_take(&deployment, None).await.unwrap() else { panic!() };
    assert_eq!((next.fence(), next.was_given_back()), (held.fence() + 1, true));
}
