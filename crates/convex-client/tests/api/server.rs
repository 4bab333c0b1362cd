//! A server that answers every request with the bytes a test gives it.

use std::sync::{Arc, Mutex};

use convault_convex_client::{ConnectionSettings, Deployment, Url};
use convault_core::Secret;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub(crate) const KEY: &str = "prod:happy-animal-123|0123456789abcdef0123";

/// What is sent back: these bytes, and then either the connection's end or silence.
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) then_silence: bool,
}

pub(crate) fn raw(text: impl Into<Vec<u8>>) -> Reply {
    Reply { bytes: text.into(), then_silence: false }
}

/// A whole answer with a body of JSON.
pub(crate) fn json(status: u16, body: &str) -> Reply {
    answer(status, "content-type: application/json\r\n", body)
}

pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Reply {
    raw(format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()))
}

/// A server on a free port of the loopback interface, and the requests it was sent.
pub(crate) struct Server {
    pub(crate) url: Url,
    requests: Arc<Mutex<Vec<String>>>,
    _accepting: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, reply).await
    }

    pub(crate) async fn start_with(
        tls: Option<TlsAcceptor>,
        reply: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = Url::parse(&format!("{scheme}://{}", listener.local_addr().unwrap())).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (log, reply) = (Arc::clone(&requests), Arc::new(reply));
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (log, reply, tls) = (Arc::clone(&log), Arc::clone(&reply), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, &log, &*reply).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &log, &*reply).await;
                            }
                        }
                    }
                });
            }
        });
        Self { url, requests, _accepting: accepting }
    }

    /// The requests so far, head and body as they came.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn deployment(&self) -> Deployment {
        self.deployment_with(&ConnectionSettings::default())
    }

    pub(crate) fn deployment_with(&self, settings: &ConnectionSettings) -> Deployment {
        Deployment::new(self.url.clone(), &Secret::new(KEY), settings).unwrap()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    log: &Mutex<Vec<String>>,
    reply: &(impl Fn(&str) -> Reply + ?Sized),
) {
    let Some(request) = read_request(&mut stream).await else { return };
    log.lock().unwrap().push(request.clone());
    let reply = reply(&request);
    if stream.write_all(&reply.bytes).await.is_ok() && stream.flush().await.is_ok() {
        if reply.then_silence {
            std::future::pending::<()>().await;
        }
        drop(stream.shutdown().await);
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return Some(text);
        }
    }
}

/// Everything that a log or a report could show of an error.
pub(crate) fn all_words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = vec![format!("{error} {error:?}")];
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push(format!("{error} {error:?}"));
        cause = error.source();
    }
    words.join("\n")
}
