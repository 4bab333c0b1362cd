//! The listener of a simulated deployment and the connections it serves.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use convault_core::{Clock, Secret, SystemClock};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::database::Database;
use crate::error::SimulatorError;
use crate::faults::{Fault, FaultKind, FaultSet};
use crate::generator::{Generator, GeneratorConfig};
use crate::http;
use crate::keys::DeployKeys;
use crate::platform::CloudIdentity;
use crate::state::{AppState, Counters, NewState};
use crate::worker;

/// What a simulated deployment is to be.
#[derive(Debug)]
pub struct SimulatorConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The key that is accepted. `<instance name>|<hex>` is what real ones look like.
    pub key: Secret,
    /// What `/instance_name` answers.
    pub instance_name: String,
    /// What it is in the cloud; `None` leaves that to what the key looks like.
    pub cloud: Option<CloudIdentity>,
    /// What `/version` answers; a backend built without a release says `unknown`.
    pub server_version: String,
    /// What it holds.
    pub data: Data,
    /// So many of a hundred stored files, about, are others than those that [`Data::Generated`] begins with: they were
    /// replaced a day later.
    pub changed_files_percent: u64,
    /// IDs of documents of [`Data::Generated`] that are not there any more.
    pub deleted_documents: BTreeSet<String>,
    /// The faults that are on from the start.
    pub faults: Vec<Fault>,
    /// How long an export takes at least.
    pub export_time: Duration,
    /// What time it is there.
    pub clock: Arc<dyn Clock>,
}

impl SimulatorConfig {
    /// An empty deployment on a free port of the loopback interface that accepts this key and exports in 50 ms.
    ///
    /// Its instance name is what stands before the `|` of the key, else `convex-self-hosted`.
    pub fn new(key: Secret) -> Self {
        let before_bar = key.expose().split_once('|').map(|(name, _)| name);
        let instance_name =
            before_bar.map_or("convex-self-hosted", |name| name.rsplit(':').next().unwrap_or(name));
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            instance_name: instance_name.to_owned(),
            key,
            cloud: None,
            server_version: "unknown".to_owned(),
            data: Data::Empty,
            changed_files_percent: 0,
            deleted_documents: BTreeSet::new(),
            faults: Vec::new(),
            export_time: Duration::from_millis(50),
            clock: Arc::new(SystemClock),
        }
    }
}

/// What a simulated deployment holds.
#[derive(Debug)]
pub enum Data {
    /// Nothing.
    Empty,
    /// This, in memory.
    Database(Box<Database>),
    /// Data that is made up as it is exported and never held. Exports have it, its tables are counted, and its stored
    /// files are listed and served. An import can only take the place of all of it.
    Generated(GeneratorConfig),
}

/// When the components of data that is made up were made: milliseconds since the Unix epoch.
const GENERATED_MS: f64 = 1_795_000_000_000.0;

/// A Convex deployment in process. See [`Simulator::start`].
#[derive(Debug)]
pub struct Simulator;

impl Simulator {
    /// Starts to serve a deployment.
    pub async fn start(config: SimulatorConfig) -> Result<RunningSimulator, SimulatorError> {
        let (listener, address) = listen(config.listen).await?;
        let (database, generator) = match config.data {
            Data::Empty => (Database::new(0), None),
            Data::Database(database) => (*database, None),
            Data::Generated(generated) => {
                let mut database = Database::new(generated.seed);
                let generator = Generator::new(generated)
                    .with_changed_files(config.changed_files_percent)
                    .without_documents(config.deleted_documents);
                for path in generator.component_paths() {
                    database.ensure_component(&path, GENERATED_MS).mounted = true;
                }
                (database, Some(Arc::new(generator)))
            }
        };
        let state = AppState::new(NewState {
            address,
            instance_name: config.instance_name,
            key: config.key,
            cloud: config.cloud,
            server_version: config.server_version,
            export_time: config.export_time,
            clock: config.clock,
            faults: FaultSet::default(),
            database,
            generator,
        });
        let simulator = RunningSimulator { address, state };
        config.faults.into_iter().for_each(|fault| simulator.set_fault(fault));
        let router = http::router(simulator.state.clone());
        simulator.state.tracker.spawn(serve(listener, router, simulator.state.stop.clone()));
        Ok(simulator)
    }
}

/// Takes an address, and says which one it became.
pub(crate) async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), SimulatorError> {
    let refused = |source| SimulatorError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok((listener, address))
}

/// Serves connections until `stop`.
pub(crate) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, router.clone()));
                }
                Err(error) => tracing::warn!(%error, "a connection could not be accepted"),
            },
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router) {
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// A deployment that is being served. Dropping it without [`Self::stop`] leaves the port to the runtime's end.
#[derive(Debug)]
pub struct RunningSimulator {
    address: SocketAddr,
    state: AppState,
}

impl RunningSimulator {
    /// Its URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The key that it accepts.
    pub fn key(&self) -> Secret {
        self.state.key.clone()
    }

    /// The keys that were made for it.
    pub(crate) fn deploy_keys(&self) -> &DeployKeys {
        &self.state.deploy_keys
    }

    /// What was asked of it so far.
    pub fn counters(&self) -> Counters {
        self.state.counters()
    }

    /// Turns a fault on, from now on.
    pub fn set_fault(&self, fault: Fault) {
        let kind = fault.kind();
        self.state.faults.set(fault);
        if kind == FaultKind::SlotHeld {
            worker::hold_slot(&self.state);
        }
    }

    /// Turns a fault off.
    pub fn clear_fault(&self, kind: FaultKind) {
        self.state.faults.clear(kind);
    }

    /// Turns all faults off.
    pub fn clear_faults(&self) {
        self.state.faults.clear_all();
    }

    /// Changes its data in one transaction, as deployed functions would.
    pub fn change<R>(&self, change: impl FnOnce(&mut Database) -> R) -> R {
        self.state.write(change)
    }

    /// A consistent copy of its data.
    pub fn snapshot(&self) -> Database {
        self.state.snapshot()
    }

    /// Does what the clean-up job of a real server does every half hour: removes exports that expired more than 30
    /// days ago. Returns how many they were.
    pub fn remove_expired_exports(&self) -> usize {
        worker::remove_expired(&self.state)
    }

    /// Closes every connection and ends every worker.
    pub async fn stop(self) {
        self.state.stop.cancel();
        self.state.tracker.close();
        self.state.tracker.wait().await;
    }
}
