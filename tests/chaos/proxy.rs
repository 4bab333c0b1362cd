//! What stands between the program and a deployment: it passes requests on, counts them, and lets the Nth fail.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It answers 500, and nothing is done.
    Error,
    /// It never answers, and nothing is done.
    Silence,
    /// It is done, and its answer breaks off halfway.
    Cut,
    /// It is done, and the connection breaks instead of an answer.
    Lost,
}

pub(crate) const FAILURES: [Failure; 4] = [Failure::Error, Failure::Silence, Failure::Cut, Failure::Lost];

/// A proxy, until it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicU64>,
    _connections: JoinSet<()>,
}

impl Proxy {
    /// Passes everything on to `upstream`, but the `nth` request meets its failure.
    pub(crate) async fn start(upstream: SocketAddr, plan: Option<(u64, Failure)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&requests);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                open.spawn(async move {
                    // A connection that breaks is what this is for.
                    drop(serve(client, upstream, &counted, plan).await);
                });
            }
        });
        Self { address, requests, _connections: connections }
    }

    /// How many requests there were.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// One request and its answer: whoever wants another makes another connection.
async fn serve(
    mut client: TcpStream,
    upstream: SocketAddr,
    requests: &AtomicU64,
    plan: Option<(u64, Failure)>,
) -> std::io::Result<()> {
    let request = read_request(&mut client).await?;
    let number = requests.fetch_add(1, Ordering::Relaxed) + 1;
    let failure = plan.filter(|(nth, _)| *nth == number).map(|(_, failure)| failure);
    match failure {
        Some(Failure::Error) => {
            let answer =
                b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            return client.write_all(answer).await;
        }
        Some(Failure::Silence) => return std::future::pending().await,
        _ => {}
    }
    let mut server = TcpStream::connect(upstream).await?;
    server.write_all(&request).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    match failure {
        Some(Failure::Lost) => Ok(()),
        Some(Failure::Cut) => client.write_all(&answer[..answer.len() / 2]).await,
        _ => client.write_all(&answer).await,
    }
}

/// Reads a request, and makes it the last of its connection.
async fn read_request(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut request = Vec::new();
    let head = loop {
        if let Some(at) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 2;
        }
        if client.read_buf(&mut request).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let end = head + 2 + length.unwrap_or(0);
    while request.len() < end {
        client.read_buf(&mut request).await?;
    }
    request.splice(head..head, *b"connection: close\r\n");
    Ok(request)
}
