//! Starting and stopping the server.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use convault_core::Secret;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use s3s::{
    HttpError,
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    bytes_store::BytesStore,
    counters::S3Counters,
    faults::{ActiveFaults, S3Fault},
    persist::{self, Records},
    service::Service,
    state::{BREAK_CONNECTION, Held, State},
};

/// A failure to set the server up.
#[derive(Debug, thiserror::Error)]
pub enum S3ServerError {
    /// The address cannot be listened on.
    #[error("S3 server: cannot listen on {address}: choose a free port of this machine, or port 0")]
    Listen {
        /// The address as configured.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The folder for objects cannot be used.
    #[error(
        "S3 server: cannot keep objects below {root}: name a folder that can be written, of this server's own"
    )]
    Root {
        /// The folder as configured.
        root: PathBuf,
        /// What went wrong in it.
        #[source]
        source: io::Error,
    },
    /// A fault was asked for that does not exist, or with a number it does not take.
    #[error("fault `{text}`: {reason}")]
    InvalidFault {
        /// The text as it was given.
        text: String,
        /// What is wrong with it and what is expected instead.
        reason: String,
    },
}

/// How the server is set up.
#[derive(Debug, Clone)]
pub struct S3ServerConfig {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The folder that objects are kept below, which is made; in memory where there is none.
    pub root: Option<PathBuf>,
    /// The one access key id that is known.
    pub access_key: String,
    /// The secret access key that belongs to it.
    pub secret_key: Secret,
    /// The faults in force from the start.
    pub faults: Vec<S3Fault>,
}

/// An S3 server that has not been started.
#[derive(Debug)]
pub struct S3Server {
    config: S3ServerConfig,
}

impl S3Server {
    /// A server set up like this.
    pub fn new(config: S3ServerConfig) -> Self {
        Self { config }
    }

    /// Listens and answers until [`RunningS3::stop`], or until what is returned is dropped.
    pub async fn start(self) -> Result<RunningS3, S3ServerError> {
        let S3ServerConfig { listen, root, access_key, secret_key, faults } = self.config;
        let (bytes, records, held) = open(root)?;
        let state = Arc::new(State::new(held, bytes, records, ActiveFaults::new(&faults)));
        let mut builder = S3ServiceBuilder::new(Service::new(state.clone()));
        builder.set_auth(SimpleAuth::from_single(access_key, secret_key.expose()));
        let failed = |source| S3ServerError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(accept(listener, builder.build(), stop.clone()));
        Ok(RunningS3 { address, state, stop, task })
    }
}

fn open(root: Option<PathBuf>) -> Result<(BytesStore, Records, Held), S3ServerError> {
    let Some(root) = root else { return Ok((BytesStore::new(None), Records::default(), Held::default())) };
    let opened = persist::bytes_folder(&root).and_then(|folder| {
        let (records, held) = Records::open(&root)?;
        Ok((BytesStore::new(Some(folder)), records, held))
    });
    opened.map_err(|source| S3ServerError::Root { root, source })
}

/// Takes connections until told to stop; those that are open then are closed as they are.
async fn accept(listener: TcpListener, service: S3Service, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let _set = stream.set_nodelay(true);
                    connections.spawn(serve(TokioIo::new(stream), service.clone()));
                }
                Err(error) => tracing::warn!(%error, "a connection to the S3 server could not be accepted"),
            },
        }
    }
    connections.shutdown().await;
}

async fn serve(stream: TokioIo<tokio::net::TcpStream>, service: S3Service) {
    let answer = service_fn(|request: Request<Incoming>| {
        let service = service.clone();
        async move {
            let answer = hyper::service::Service::call(&service, request).await?;
            if answer.headers().contains_key(BREAK_CONNECTION) {
                return Err(HttpError::new("the answer is lost on purpose".into()));
            }
            Ok::<_, HttpError>(answer)
        }
    });
    if let Err(error) = http1::Builder::new().serve_connection(stream, answer).await {
        tracing::debug!(%error, "a connection to the S3 server broke");
    }
}

/// A server that answers.
#[derive(Debug)]
pub struct RunningS3 {
    address: SocketAddr,
    state: Arc<State>,
    stop: CancellationToken,
    task: JoinSet<()>,
}

impl RunningS3 {
    /// Where it answers: `http://127.0.0.1:8333`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has done since its start.
    pub fn counters(&self) -> S3Counters {
        self.state.counters.read()
    }

    /// Puts these faults in the place of those in force.
    pub fn set_faults(&self, faults: &[S3Fault]) {
        self.state.faults.set(faults);
    }

    /// Closes every connection and waits until nothing of the server runs any more. Objects in memory are gone
    /// then.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.task.join_next().await.is_some() {}
    }
}
