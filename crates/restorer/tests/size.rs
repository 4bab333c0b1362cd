//! A large import, and whether what is exported afterwards is what was imported.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::time::Duration;

use bytes::Bytes;
use convault_convex_client::{ConnectionSettings, Deployment, ExportState, Url};
use convault_core::{
    DeploymentName, ImportId, ImportKind, ImportMode, ImportRequest, ImportStatus, Secret, Sha256,
    Sha256Stream, Target as _,
};
use convault_restorer::{DeploymentTarget, TargetSettings};
use convault_simulator::{Data, GeneratorConfig, RunningSimulator, Simulator, SimulatorConfig};
use futures::TryStreamExt as _;

const KEY: &str = "rainy-otter-123|0123456789abcdef0123";
const PART_BYTES: usize = 8 << 20;

async fn start(data: Data) -> RunningSimulator {
    Simulator::start(SimulatorConfig { data, ..SimulatorConfig::new(Secret::new(KEY)) }).await.unwrap()
}

/// The ZIP of a deployment, in a file.
async fn exported(simulator: &RunningSimulator) -> File {
    let url = Url::parse(&simulator.url()).unwrap();
    let deployment = Deployment::new(url, &Secret::new(KEY), &ConnectionSettings::default()).unwrap();
    deployment.request_export(true).await.unwrap();
    let row = loop {
        let row = deployment.latest_export().await.unwrap().unwrap();
        if row.state == ExportState::Completed {
            break row;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let mut file = tempfile::tempfile().unwrap();
    let mut pieces = deployment.download(&row.id).await.unwrap().bytes;
    while let Some(piece) = pieces.try_next().await.unwrap() {
        file.write_all(&piece).unwrap();
    }
    file
}

/// The digest of every entry.
fn entries(file: &File) -> BTreeMap<String, Sha256> {
    let mut archive = zip::ZipArchive::new(std::io::BufReader::new(file)).unwrap();
    let mut piece = vec![0; 1 << 20];
    let mut entry_digest = |at| {
        let mut entry = archive.by_index(at).unwrap();
        let mut digest = Sha256Stream::new();
        loop {
            let read = entry.read(&mut piece).unwrap();
            if read == 0 {
                break;
            }
            digest.update(&piece[..read]);
        }
        (entry.name().unwrap().into_owned(), digest.finish())
    };
    let count = zip::ZipArchive::new(std::io::BufReader::new(file)).unwrap().len();
    (0..count).map(&mut entry_digest).collect()
}

async fn import(target: &DeploymentTarget, zip: &mut File) -> ImportId {
    zip.seek(SeekFrom::Start(0)).unwrap();
    let mut upload = target.begin_upload().await.unwrap();
    loop {
        let mut part = Vec::new();
        zip.take(PART_BYTES as u64).read_to_end(&mut part).unwrap();
        if part.is_empty() {
            break;
        }
        upload.send(Bytes::from(part)).await.unwrap();
    }
    let request = ImportRequest { mode: ImportMode::RequireEmpty, kind: ImportKind::Zip };
    upload.finish(&request).await.unwrap()
}

async fn until(
    target: &DeploymentTarget,
    id: &ImportId,
    is_it: impl Fn(&ImportStatus) -> bool,
) -> ImportStatus {
    loop {
        let status = target.import(id).await.unwrap();
        assert!(!matches!(status, ImportStatus::Failed { .. }), "{status:?}");
        if is_it(&status) {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The most memory that this process had, in MiB; `None` where the system does not say.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib / 1024)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and gigabytes: cargo test -p convault-restorer --test size -- --ignored --nocapture"]
#[expect(clippy::print_stdout, clippy::disallowed_methods, reason = "its figures are for a person to read")]
async fn a_million_documents_and_a_gibibyte_of_files_come_back_byte_for_byte() {
    let source = start(Data::Generated(GeneratorConfig {
        seed: 1,
        tables: 4,
        documents: 250_000,
        document_bytes: 400,
        files: 1_024,
        file_bytes: 1 << 20,
        components: 0,
    }))
    .await;
    let mut zip = exported(&source).await;
    source.stop().await;
    let before = entries(&zip);
    let peak_before = peak_mib();
    let empty = start(Data::Empty).await;
    let target = DeploymentTarget::new(TargetSettings {
        deployment: DeploymentName::new("large").unwrap(),
        url: Some(Url::parse(&empty.url()).unwrap()),
        key: Secret::new(KEY),
        provision_url: None,
        connection: ConnectionSettings::default(),
    });
    let began = std::time::Instant::now();
    let figure =
        |what: &str| println!("{what}: {:.0} s, peak {:?} MiB", began.elapsed().as_secs_f64(), peak_mib());
    println!("before: peak {peak_before:?} MiB");
    let id = import(&target, &mut zip).await;
    figure("uploaded");
    until(&target, &id, |status| !matches!(status, ImportStatus::Uploaded)).await;
    figure("read");
    target.confirm(&id).await.unwrap();
    let ended = until(&target, &id, |status| matches!(status, ImportStatus::Completed { .. })).await;
    figure("imported");
    assert_eq!(ended, ImportStatus::Completed { documents: 1_000_000 });
    let contents = target.contents().await.unwrap();
    assert_eq!(contents.components[""].files, 1_024);
    drop(zip);
    let again = exported(&empty).await;
    figure("exported");
    assert!(entries(&again) == before, "something else came back");
    empty.stop().await;
}
