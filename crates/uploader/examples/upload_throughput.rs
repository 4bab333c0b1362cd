//! What an upload costs in processor time, client and server in process together:
//! `cargo run --release -p convault-uploader --example upload_throughput`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that cannot go on fails, and prints"
)]

use std::{fs, sync::Arc};

use bytes::Bytes;
use convault_core::{DestinationName, Part, PutMode, Secret, Sha256, Store as _};
use convault_simulator::s3::{S3Server, S3ServerConfig};
use convault_uploader::{S3Settings, S3Store, S3Timeouts};
use futures::{StreamExt as _, TryStreamExt as _, stream};

const PART_BYTES: usize = 8 << 20;
const PARTS: u32 = 64;

/// Processor time of this process so far. Hundredths of a second, the kernel's unit.
fn processor_time() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::main]
async fn main() {
    let root = tempfile::tempdir().unwrap();
    for root in [None, Some(root.path().to_owned())] {
        let server = S3Server::new(S3ServerConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            root: root.clone(),
            access_key: "convault".to_owned(),
            secret_key: Secret::new("convault-secret"),
            faults: Vec::new(),
        });
        let server = server.start().await.unwrap();
        let settings = S3Settings {
            bucket: "throughput".to_owned(),
            prefix: String::new(),
            region: "us-east-1".to_owned(),
            endpoint: Some(server.endpoint()),
            path_style: true,
            sends_checksums: true,
            access_key: Secret::new("convault"),
            secret_key: Secret::new("convault-secret"),
            session_token: None,
            ca_file: None,
            timeouts: S3Timeouts::default(),
        };
        let store = S3Store::new(DestinationName::new("offsite").unwrap(), &settings).unwrap();
        let body = Bytes::from(vec![0x5a; PART_BYTES]);
        let sha256 = Sha256::of(&body);
        let before = processor_time();
        let upload = Arc::new(store.upload("big", PART_BYTES as u64, PutMode::IfAbsent).await.unwrap());
        let parts = (1..=PARTS).map(|number| {
            let (upload, body) = (upload.clone(), body.clone());
            async move { upload.put_part(Part { number, body, sha256 }).await }
        });
        stream::iter(parts).buffer_unordered(4).try_for_each(|()| async { Ok(()) }).await.unwrap();
        let stored = upload.finish().await.unwrap();
        let hundredths = (processor_time() - before).max(1);
        assert!(stored.checksum_confirmed);
        let place = if root.is_some() { "on disk" } else { "in memory" };
        let rate = stored.size_bytes * 100 / hundredths / 1_000_000;
        println!(
            "upload to the S3 server {place}: {rate} MB per second of one core, client and server together"
        );
        server.stop().await;
    }
}
