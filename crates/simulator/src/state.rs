//! What the routes and the export worker of one simulated deployment share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use convault_core::{Clock, Secret};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::database::Database;
use crate::export_table::ExportTable;
use crate::faults::{FaultKind, FaultSet};
use crate::generator::Generator;
use crate::import::ImportTable;
use crate::keys::DeployKeys;
use crate::platform::CloudIdentity;

/// The state of one simulated deployment. Cloning gives another handle to the same one.
#[derive(Debug, Clone)]
pub(crate) struct AppState(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    address: SocketAddr,
    pub(crate) instance_name: String,
    pub(crate) key: Secret,
    /// Others that were made for it.
    pub(crate) deploy_keys: DeployKeys,
    /// What it is in the cloud, where that is known.
    pub(crate) cloud: Option<CloudIdentity>,
    pub(crate) server_version: String,
    pub(crate) export_time: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) faults: FaultSet,
    generator: Mutex<Option<Arc<Generator>>>,
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) exports: Mutex<ExportTable>,
    imports: Mutex<ImportTable>,
    /// Held by the import that is being read or performed: the backend handles one at a time.
    pub(crate) import_turn: tokio::sync::Mutex<()>,
    database: Mutex<Database>,
    counters: Mutex<Counters>,
    changes: watch::Sender<u64>,
    last_timestamp: AtomicI64,
}

/// What was asked of a simulated deployment so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests by method and route, such as `POST /api/query`, the variable parts of a path as `{id}`.
    pub requests: BTreeMap<String, u64>,
    /// Bytes of export downloads handed to connections.
    pub download_bytes: u64,
    /// Stored files served by their URL, whole or in part.
    pub files: u64,
    /// Bytes of them handed to connections.
    pub file_bytes: u64,
    /// What reached it as a write.
    pub writes: Writes,
}

/// Requests that changed something that a deployment's users could notice. Uploads, and imports that nobody
/// confirmed, change nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Writes {
    /// Imports that were confirmed, however they ended.
    pub imports: u64,
    /// Mutations that ran.
    pub mutations: u64,
    /// Changes of environment variables.
    pub environment: u64,
    /// How often it was paused or unpaused.
    pub pauses: u64,
}

impl Writes {
    /// All of them.
    pub fn total(self) -> u64 {
        self.imports + self.mutations + self.environment + self.pauses
    }
}

/// What is needed to make the state; see [`crate::SimulatorConfig`] for the meaning of each.
pub(crate) struct NewState {
    pub(crate) address: SocketAddr,
    pub(crate) instance_name: String,
    pub(crate) key: Secret,
    pub(crate) cloud: Option<CloudIdentity>,
    pub(crate) server_version: String,
    pub(crate) export_time: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) faults: FaultSet,
    pub(crate) database: Database,
    pub(crate) generator: Option<Arc<Generator>>,
}

impl std::ops::Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl AppState {
    pub(crate) fn new(new: NewState) -> Self {
        Self(Arc::new(Shared {
            address: new.address,
            instance_name: new.instance_name,
            key: new.key,
            deploy_keys: DeployKeys::default(),
            cloud: new.cloud,
            server_version: new.server_version,
            export_time: new.export_time,
            clock: new.clock,
            faults: new.faults,
            generator: Mutex::new(new.generator),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            exports: Mutex::default(),
            imports: Mutex::default(),
            import_turn: tokio::sync::Mutex::default(),
            database: Mutex::new(new.database),
            counters: Mutex::default(),
            changes: watch::Sender::new(0),
            last_timestamp: AtomicI64::new(0),
        }))
    }

    /// Reads the data.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&Database) -> R) -> R {
        read(&self.database())
    }

    /// Changes the data in one transaction, and tells those who follow [`Self::changes`].
    pub(crate) fn write<R>(&self, change: impl FnOnce(&mut Database) -> R) -> R {
        let result = change(&mut self.database());
        self.changed();
        result
    }

    /// A consistent snapshot of all data, which later writes do not reach.
    pub(crate) fn snapshot(&self) -> Database {
        self.database().clone()
    }

    /// Tells those who follow [`Self::changes`] that some row is different now.
    pub(crate) fn changed(&self) {
        self.changes.send_modify(|version| *version += 1);
    }

    /// A number that grows whenever data, exports or imports change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// A timestamp in nanoseconds since the Unix epoch, later than every one given before.
    pub(crate) fn next_timestamp(&self) -> i64 {
        let now = i64::try_from(self.clock.now().as_nanosecond()).unwrap_or(i64::MAX);
        let later = |last| Some(now.max(last + 1));
        let previous = self.last_timestamp.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
        previous.map_or(now, |last| now.max(last + 1))
    }

    /// The time now as `_creationTime` counts it: milliseconds since the Unix epoch, with a fraction.
    #[expect(clippy::cast_precision_loss, reason = "Convex keeps this time in a double as well")]
    pub(crate) fn now_ms(&self) -> f64 {
        self.clock.now().as_nanosecond() as f64 / 1e6
    }

    /// What makes up the data, unless there is real data.
    pub(crate) fn generator(&self) -> Option<Arc<Generator>> {
        self.generator.lock().expect("no holder of this lock panics").clone()
    }

    /// Has real data in the place of what was made up.
    pub(crate) fn end_generator(&self) {
        *self.generator.lock().expect("no holder of this lock panics") = None;
    }

    /// The origin that the deployment believes it is reached by; what `CONVEX_CLOUD_ORIGIN` is to a real one.
    pub(crate) fn cloud_origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether the deployment is paused.
    pub(crate) fn is_paused(&self) -> bool {
        self.faults.is_on(FaultKind::Paused)
    }

    pub(crate) fn count(&self, count: impl FnOnce(&mut Counters)) {
        count(&mut self.counters.lock().expect("no holder of this lock panics"));
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters.lock().expect("no holder of this lock panics").clone()
    }

    pub(crate) fn exports(&self) -> MutexGuard<'_, ExportTable> {
        self.exports.lock().expect("no holder of this lock panics")
    }

    pub(crate) fn imports(&self) -> MutexGuard<'_, ImportTable> {
        self.imports.lock().expect("no holder of this lock panics")
    }

    fn database(&self) -> MutexGuard<'_, Database> {
        self.database.lock().expect("no holder of this lock panics")
    }
}
