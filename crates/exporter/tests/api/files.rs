//! Stored files of the simulated deployment: listed, and fetched one by one.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::sync::Arc;

use convault_core::{DeploymentName, FileRow, Secret, Sha256, Source, SourceErrorKind, SystemClock};
use convault_exporter::{DeploymentSettings, DeploymentSource, RetrySettings};
use convault_simulator::{
    Data, Database, Fault, FaultKind, GeneratorConfig, RunningSimulator, Simulator, SimulatorConfig,
};
use futures::{StreamExt as _, TryStreamExt as _};

async fn simulator(data: Data) -> (RunningSimulator, DeploymentSource) {
    let key = Secret::new("simulated|0123456789abcdef");
    let simulator =
        Simulator::start(SimulatorConfig { data, ..SimulatorConfig::new(key.clone()) }).await.unwrap();
    let name = DeploymentName::new("crm").unwrap();
    let mut settings = DeploymentSettings::new(name, Some(simulator.url().parse().unwrap()), key);
    settings.retry = RetrySettings {
        attempts: 3,
        first_pause: std::time::Duration::from_millis(1),
        longest_pause: std::time::Duration::from_millis(5),
    };
    (simulator, DeploymentSource::new(settings, Arc::new(SystemClock)))
}

async fn listed(source: &DeploymentSource) -> Vec<FileRow> {
    source.list_files().try_collect().await.unwrap()
}

async fn fetched(source: &DeploymentSource, row: &FileRow) -> Result<Vec<u8>, SourceErrorKind> {
    let mut stream = source.open_file(row).await.map_err(|error| error.kind)?;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.bytes.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| error.kind)?);
    }
    Ok(bytes)
}

fn with_a_component() -> Database {
    let mut database = Database::crm(1);
    database.store_file("waitlist", &b"in a component"[..], Some("text/plain"), 1_795_000_000_000.25);
    database.store_file("waitlist/inner", &b""[..], None, 1_795_000_000_001.0);
    database
}

#[tokio::test]
async fn every_file_of_every_component_is_listed_and_fetched() {
    for fault in [None, Some(FaultKind::ShortPages)] {
        let (simulator, source) = simulator(Data::Database(Box::new(with_a_component()))).await;
        if let Some(kind) = fault {
            simulator.set_fault(Fault::new(kind));
        }
        let rows = listed(&source).await;
        let database = simulator.snapshot();
        let all: usize = database.components().map(|(_, component)| component.files().len()).sum();
        assert_eq!(rows.len(), all);
        for row in &rows {
            let bytes = fetched(&source, row).await.unwrap();
            assert_eq!((Sha256::of(&bytes), bytes.len() as u64), (row.sha256, row.size_bytes));
        }
        let times: Vec<&str> = rows.iter().rev().take(2).map(|row| row.creation_time.as_str()).collect();
        assert_eq!(times, ["1795000000001.0", "1795000000000.25"]);
        assert_eq!(rows.last().unwrap().component, "waitlist/inner");
        simulator.stop().await;
    }
}

#[tokio::test]
async fn files_that_are_made_up_are_listed_oldest_first_and_served() {
    let config = GeneratorConfig {
        seed: 1,
        tables: 0,
        documents: 0,
        document_bytes: 0,
        files: 9_001,
        file_bytes: 100,
        components: 1,
    };
    let (simulator, source) = simulator(Data::Generated(config)).await;
    let rows = listed(&source).await;
    assert_eq!(rows.len(), 9_001);
    assert!(rows.iter().map(|row| row.created_us().unwrap()).is_sorted());
    let bytes = fetched(&source, &rows[77]).await.unwrap();
    assert_eq!(Sha256::of(&bytes), rows[77].sha256);
    let counters = simulator.counters();
    assert_eq!((counters.files, counters.file_bytes), (1, 100));
    simulator.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_told_from_what_does_not_answer() {
    let (simulator, source) = simulator(Data::Database(Box::new(Database::crm(1)))).await;
    let rows = listed(&source).await;
    let first_of_all = simulator.snapshot().component("").unwrap().files().keys().next().unwrap().to_string();
    let chosen = rows.iter().find(|row| row.id == first_of_all).unwrap();
    simulator.set_fault(Fault::new(FaultKind::FileNotFound));
    assert_eq!(fetched(&source, chosen).await, Err(SourceErrorKind::Missing));
    simulator.clear_faults();
    simulator.set_fault(Fault::with(FaultKind::File503, 2));
    assert!(fetched(&source, chosen).await.is_ok());
    simulator.set_fault(Fault::with(FaultKind::TruncatedFile, 1));
    assert_eq!(fetched(&source, chosen).await, Err(SourceErrorKind::Transit));
    assert!(fetched(&source, chosen).await.is_ok());
    assert_eq!(source.why_no_files().await.unwrap(), None);
    simulator.set_fault(Fault::new(FaultKind::Paused));
    assert!(source.why_no_files().await.unwrap().unwrap().contains("paused"));
    assert_eq!(fetched(&source, chosen).await, Err(SourceErrorKind::Transient));
    simulator.stop().await;
}

#[tokio::test]
async fn no_error_says_where_a_file_can_be_fetched() {
    let (simulator, source) = simulator(Data::Database(Box::new(Database::crm(1)))).await;
    let row = FileRow {
        internal_id: Secret::new("8c2d5a4e-0d4e-4b1c-9a2e-0f3a1b2c3d4e"),
        ..listed(&source).await.remove(0)
    };
    let mut error: Option<&dyn std::error::Error> = None;
    let failed = source.open_file(&row).await.unwrap_err();
    error.replace(&failed);
    while let Some(one) = error {
        assert!(!one.to_string().contains("8c2d5a4e") && !format!("{one:?}").contains("8c2d5a4e"), "{one:?}");
        error = one.source();
    }
    simulator.stop().await;
}
