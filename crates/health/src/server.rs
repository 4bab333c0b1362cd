//! [`Health`]: the socket: connections, their limits, and an orderly end.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use convault_core::{Control, Secret};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time,
};
use tokio_util::sync::CancellationToken;

use crate::{Access, router};

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 256;

/// How long a request's head may take.
const HEAD_WITHIN: Duration = Duration::from_secs(15);

/// How many bytes a request's head may have.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// How long connections may take to finish their answer once the server ends.
const END_WITHIN: Duration = Duration::from_secs(5);

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {listen} for health, metrics and status: choose another address (daemon.listen) or stop \
         what uses this one"
)]
pub struct HealthError {
    /// The address.
    pub listen: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// What the server needs to know.
#[derive(Debug, Clone)]
pub struct HealthSettings {
    /// The address to listen on; port 0 is any free port.
    pub listen: SocketAddr,
    /// Who shows this may act, and may read where [`Access`] wants it; without it nobody may act.
    pub token: Option<Secret>,
}

/// A listening socket that answers once [`Health::serve`] runs.
#[derive(Debug)]
pub struct Health {
    listener: TcpListener,
    listen: SocketAddr,
    access: Access,
    control: Arc<dyn Control>,
}

impl Health {
    /// Takes the address, so that a start fails early where it is in use.
    pub async fn bind(settings: HealthSettings, control: Arc<dyn Control>) -> Result<Self, HealthError> {
        let error = |source| HealthError { listen: settings.listen, source };
        let listener = TcpListener::bind(settings.listen).await.map_err(error)?;
        let listen = listener.local_addr().map_err(error)?;
        let access = Access::new(listen, settings.token);
        Ok(Self { listener, listen, access, control })
    }

    /// The address as it was taken, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.listen
    }

    /// Answers until `stop`; then streams of events end at once, and answers that have begun have five seconds.
    pub async fn serve(self, stop: CancellationToken) {
        let router = router(self.control, self.access, stop.clone());
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, self.listener.accept().await)
            };
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next() => log_panic(ended),
                (place, accepted) = next => match accepted {
                    Ok((stream, _)) => {
                        let (router, stop) = (router.clone(), stop.clone());
                        connections.spawn(async move {
                            answer(stream, router, stop).await;
                            drop(place);
                        });
                    }
                    Err(error) => pause_after(&error).await,
                },
            }
        }
        drop(self.listener);
        let all = async { while connections.join_next().await.is_some() {} };
        if time::timeout(END_WITHIN, all).await.is_err() {
            tracing::debug!("connections that did not end are cut");
        }
        connections.shutdown().await;
    }
}

/// Out of file descriptors, mostly: trying again at once would only burn time.
async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection for health, metrics and status");
    time::sleep(Duration::from_millis(200)).await;
}

async fn answer(stream: TcpStream, router: Router, stop: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "a connection ended early");
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "answering a request panicked, which is a bug");
    }
}
