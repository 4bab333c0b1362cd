//! Starting and stopping the server.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use convault_core::{Clock, DefaultLock, Secret, SystemClock};
use futures::{StreamExt as _, stream};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use s3s::{
    Body, HttpError,
    auth::SimpleAuth,
    dto::StreamingBlob,
    service::{S3Service, S3ServiceBuilder},
    stream::DynByteStream,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    bytes_store::BytesStore,
    counters::S3Counters,
    faults::{ActiveFaults, S3Fault, S3FaultKind},
    locks::Keeping,
    persist::{self, Records},
    policy::{Access, S3Policy},
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
    /// Versions and locks are asked for together with a folder.
    #[error(
        "S3 server: versions and locks are kept in memory only: leave out the folder {root}, or versions and locks"
    )]
    VersionsOnDisk {
        /// The folder as configured.
        root: PathBuf,
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
    keeping: Keeping,
    more_keys: Vec<(String, Secret, S3Policy)>,
    clock: Arc<dyn Clock>,
}

impl S3Server {
    /// A server set up like this, whose buckets keep no versions.
    pub fn new(config: S3ServerConfig) -> Self {
        Self { config, keeping: Keeping::default(), more_keys: Vec::new(), clock: Arc::new(SystemClock) }
    }

    /// The same server with versioning turned on in all its buckets. In memory only.
    #[must_use]
    pub fn with_versions(mut self) -> Self {
        self.keeping.versions = true;
        self
    }

    /// The same server with versioning and Object Lock in all its buckets, which put `default_lock` on every new
    /// object by themselves. In memory only.
    #[must_use]
    pub fn with_locks(mut self, default_lock: Option<DefaultLock>) -> Self {
        self.keeping = Keeping { versions: true, locks: true, default_lock };
        self
    }

    /// The same server with one more pair of keys, whose holder may do what `policy` says. The pair of the
    /// configuration may do everything.
    #[must_use]
    pub fn with_keys(mut self, access_key: impl Into<String>, secret_key: Secret, policy: S3Policy) -> Self {
        self.more_keys.push((access_key.into(), secret_key, policy));
        self
    }

    /// The same server taking the times of its objects, and the end of locks, from `clock`. Signatures are checked
    /// against the machine's.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Listens and answers until [`RunningS3::stop`], or until what is returned is dropped.
    pub async fn start(self) -> Result<RunningS3, S3ServerError> {
        let Self { config, keeping, more_keys, clock } = self;
        let S3ServerConfig { listen, root, access_key, secret_key, faults } = config;
        if let Some(root) = root.clone().filter(|_| keeping.versions) {
            return Err(S3ServerError::VersionsOnDisk { root });
        }
        let (bytes, records, held) = open(root)?;
        let state = Arc::new(State {
            held: Mutex::new(held),
            bytes: Arc::new(bytes),
            records,
            faults: ActiveFaults::new(&faults),
            counters: Arc::default(),
            keeping,
            clock,
        });
        let mut builder = S3ServiceBuilder::new(Service::new(state.clone()));
        let (mut keys, mut policies) = (SimpleAuth::new(), BTreeMap::new());
        for (access_key, secret_key, policy) in more_keys {
            keys.register(access_key.clone(), secret_key.expose().into());
            policies.insert(access_key, policy);
        }
        keys.register(access_key, secret_key.expose().into());
        builder.set_auth(keys);
        builder.set_access(Access { policies, state: state.clone() });
        let failed = |source| S3ServerError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(accept(listener, builder.build(), state.clone(), stop.clone()));
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
async fn accept(listener: TcpListener, service: S3Service, state: Arc<State>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let _set = stream.set_nodelay(true);
                    connections.spawn(serve(TokioIo::new(stream), service.clone(), state.clone()));
                }
                Err(error) => tracing::warn!(%error, "a connection to the S3 server could not be accepted"),
            },
        }
    }
    connections.shutdown().await;
}

async fn serve(stream: TokioIo<tokio::net::TcpStream>, service: S3Service, state: Arc<State>) {
    let answer = service_fn(|request: Request<Incoming>| answer(request, service.clone(), state.clone()));
    if let Err(error) = http1::Builder::new().serve_connection(stream, answer).await {
        tracing::debug!(%error, "a connection to the S3 server broke");
    }
}

/// The answer to a request, unless it is the one that a fault was chosen for.
async fn answer(
    request: Request<Incoming>,
    service: S3Service,
    state: Arc<State>,
) -> Result<Response<Body>, HttpError> {
    let broken = || HttpError::new("the connection is broken on purpose".into());
    let (fault, reads) = (state.faults.of_this_request(), request.method() == Method::GET);
    match fault {
        Some(S3FaultKind::NthError) => return Ok(internal_error()),
        Some(S3FaultKind::NthTimeout) => std::future::pending().await,
        Some(S3FaultKind::GoneFrom) => return Err(broken()),
        Some(S3FaultKind::NthCut) if !reads => return Err(broken()),
        _ => {}
    }
    let answer = hyper::service::Service::call(&service, request).await?;
    if fault == Some(S3FaultKind::NthLost) || answer.headers().contains_key(BREAK_CONNECTION) {
        return Err(broken());
    }
    Ok(if fault == Some(S3FaultKind::NthCut) { answer.map(cut) } else { answer })
}

fn internal_error() -> Response<Body> {
    let text = "<Error><Code>InternalError</Code><Message>this request was told to fail</Message></Error>";
    let mut answer = Response::new(Body::from(text.to_owned()));
    *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    answer
}

/// Half of the first piece of a body, and then an error instead of the rest.
fn cut(body: Body) -> Body {
    let first = stream::once(async move {
        let mut body = std::pin::pin!(body);
        let first = body.next().await.transpose().map_err(io::Error::other)?.unwrap_or_default();
        Ok::<Bytes, io::Error>(first.slice(..first.len() / 2))
    });
    let rest = stream::once(async { Err(io::Error::other("the body is cut on purpose")) });
    let stream: DynByteStream = StreamingBlob::wrap(first.chain(rest)).into();
    Body::from(stream)
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
