//! Buckets of an S3 server in process. Its sockets do not go with paused time, so that everything is quick instead.

use std::{sync::Arc, time::Duration};

use convault_core::{DestinationName, Secret};
use convault_jobs::Trust;
use convault_simulator::s3::{RunningS3, S3Server, S3ServerConfig};
use convault_uploader::{S3Settings, S3Store, S3Timeouts};

use crate::{
    daemon::{Pace, Place},
    time::{StoreClock, Time},
};

/// How quick everything is.
pub(crate) const QUICK: Pace = Pace {
    lease: Duration::from_millis(1800),
    late: Duration::from_millis(200),
    stall_limit: Duration::from_secs(1),
};

/// An S3 server whose times are those of the test.
pub(crate) async fn start(time: &Arc<Time>, versions: bool) -> RunningS3 {
    let config = S3ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        root: None,
        access_key: "convault".to_owned(),
        secret_key: Secret::new("convault-secret"),
        faults: Vec::new(),
    };
    let server = S3Server::new(config).with_clock(Arc::new(StoreClock(Arc::clone(time))));
    let server = if versions { server.with_versions() } else { server };
    server.start().await.unwrap()
}

/// A bucket of a server. Nothing that fails there is tried again, and silence is over after `silence`.
pub(crate) fn place(server: &RunningS3, name: &str, trust: &Trust, silence: Duration) -> Place {
    let timeouts = S3Timeouts {
        connect: Duration::from_secs(5),
        answer: silence,
        idle: silence,
        tries: 1,
        first_back_off: Duration::from_millis(10),
    };
    let settings = S3Settings {
        bucket: name.to_owned(),
        prefix: "convex".to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: Some(server.endpoint()),
        path_style: true,
        sends_checksums: true,
        access_key: Secret::new("convault"),
        secret_key: Secret::new("convault-secret"),
        session_token: None,
        ca_file: None,
        timeouts,
    };
    let store = S3Store::new(DestinationName::new(name).unwrap(), &settings).unwrap();
    Place { raw: Arc::new(store), memory: None, trust: trust.clone(), accept: None }
}
