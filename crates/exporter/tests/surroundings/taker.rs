//! Takes what is collected into memory, and looks for values where none should be.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use async_trait::async_trait;
use convault_convex_client::Url;
use convault_core::{
    Collect, DeploymentName, EntryDetails, NotCovered, Secret, Surrounding, SurroundingError, SurroundingName,
};
use convault_exporter::{DeploymentSettings, RetrySettings};
use convault_simulator::{Data, Database, Fault, RunningSimulator, Simulator, SimulatorConfig};

use crate::log::Log;

pub(crate) const KEY: &str = "rainy-otter-123|0123456789abcdef0123";
/// Part of every value that tests make up.
pub(crate) const VALUE: &str = "hunter2";

/// One entry.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) details: EntryDetails,
    pub(crate) bytes: Vec<u8>,
    /// The largest piece that came at once.
    pub(crate) largest_write: usize,
}

/// What was collected.
#[derive(Debug, Default)]
pub(crate) struct Taker {
    pub(crate) entries: BTreeMap<String, Entry>,
    pub(crate) values: BTreeMap<String, String>,
    pub(crate) not_covered: Vec<NotCovered>,
    /// Names whose values could not be had.
    pub(crate) unread: BTreeSet<String>,
    open: String,
}

#[async_trait]
impl Collect for Taker {
    async fn begin(&mut self, path: &str, details: EntryDetails) -> Result<(), SurroundingError> {
        let plain = path.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
        assert!(plain, "{path} is no path of plain segments");
        path.clone_into(&mut self.open);
        let before = self.entries.insert(path.to_owned(), Entry { details, ..Entry::default() });
        assert!(before.is_none(), "{path} is there twice");
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), SurroundingError> {
        let entry = self.entries.get_mut(&self.open).unwrap();
        entry.bytes.extend_from_slice(bytes);
        entry.largest_write = entry.largest_write.max(bytes.len());
        Ok(())
    }

    async fn value(&mut self, name: &str, value: &Secret) -> Result<(), SurroundingError> {
        let before = self.values.insert(name.to_owned(), value.expose().to_owned());
        assert!(before.is_none(), "{name} is there twice");
        Ok(())
    }

    fn unread(&mut self, name: &str) {
        self.unread.insert(name.to_owned());
    }
}

impl Taker {
    pub(crate) fn names(&self) -> Vec<&str> {
        self.entries.keys().map(String::as_str).collect()
    }

    pub(crate) fn text(&self, path: &str) -> &str {
        let entry = self.entries.get(path).unwrap_or_else(|| panic!("no {path} in {:?}", self.names()));
        std::str::from_utf8(&entry.bytes).unwrap()
    }

    pub(crate) fn json(&self, path: &str) -> serde_json::Value {
        serde_json::from_str(self.text(path)).unwrap()
    }

    /// What was not covered, each as one line.
    pub(crate) fn gaps(&self) -> Vec<String> {
        self.not_covered.iter().map(|gap| format!("{}: {}", gap.what, gap.why)).collect()
    }
}

/// Collects, and checks that nothing that is shown or logged has a value or a key in it.
pub(crate) async fn collect(surrounding: &dyn Surrounding) -> Result<Taker, SurroundingError> {
    assert_clean(&format!("{surrounding:?}"));
    let mut taker = Taker::default();
    let log = Log::default();
    let logging = tracing::subscriber::set_default(log.clone());
    let collected = surrounding.collect(&mut taker).await;
    drop(logging);
    assert_clean(&log.text());
    match collected {
        Ok(not_covered) => {
            assert_clean(&format!("{not_covered:?}"));
            taker.not_covered = not_covered;
            Ok(taker)
        }
        Err(error) => {
            assert_clean(&format!("{error} {error:?}"));
            let mut cause = error.source();
            while let Some(error) = cause {
                assert_clean(&format!("{error} {error:?}"));
                cause = error.source();
            }
            Err(error)
        }
    }
}

pub(crate) fn assert_clean(words: &str) {
    assert!(!words.contains(VALUE) && !words.contains("0123456789abcdef0123"), "{words}");
}

pub(crate) fn name(text: &str) -> SurroundingName {
    SurroundingName::new(text).unwrap()
}

/// A deployment with this in it, and these faults.
pub(crate) async fn deployment(
    database: Database,
    faults: &[&str],
) -> (RunningSimulator, DeploymentSettings) {
    let config = SimulatorConfig {
        data: Data::Database(Box::new(database)),
        faults: faults.iter().map(|fault| fault.parse::<Fault>().unwrap()).collect(),
        ..SimulatorConfig::new(Secret::new(KEY))
    };
    let simulator = Simulator::start(config).await.unwrap();
    let settings = settings(&simulator.url());
    (simulator, settings)
}

/// Settings in a hurry, except that silence is waited for as long as a busy machine may take.
pub(crate) fn settings(url: &str) -> DeploymentSettings {
    let url = Url::parse(url).unwrap();
    let mut settings =
        DeploymentSettings::new(DeploymentName::new("crm").unwrap(), Some(url), Secret::new(KEY));
    settings.retry = quick();
    settings.connection.request_timeout = std::time::Duration::from_mins(10);
    settings.connection.idle_timeout = std::time::Duration::from_mins(10);
    settings
}

pub(crate) fn quick() -> RetrySettings {
    RetrySettings {
        attempts: 3,
        first_pause: std::time::Duration::from_millis(2),
        longest_pause: std::time::Duration::from_millis(20),
    }
}
