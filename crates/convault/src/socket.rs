//! The Unix socket: how verbs that act reach a running daemon. One JSON object per line, both ways.
//!
//! Whoever may open the socket may act: its file mode is 0660, so that is the daemon's user and group.

use std::{
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use convault_core::{Control, DestinationResult, MarkWish, RunEvent, RunId, RunRecord, StartRequest, Status};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A longer request line is none of ours.
const LONGEST_REQUEST_BYTES: u64 = 64 << 10;

/// What a client asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Start a run; answered by `Started`.
    Start(StartRequest),
    /// Follow a run; answered by `Event` lines, ending with the finished one.
    Watch {
        /// Which.
        run: RunId,
        /// The first event number wanted.
        after: u64,
    },
    /// Ask a run to stop; answered by `Cancelled`.
    Cancel {
        /// Which.
        run: RunId,
    },
    /// Say something of a snapshot; answered by `Marked`.
    Mark(MarkWish),
    /// What is known; answered by `Status`.
    Status,
    /// The newest runs; answered by `Runs`.
    Runs {
        /// How many at most.
        limit: usize,
    },
}

/// What the daemon answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// The run was accepted.
    Started {
        /// Its identifier.
        run: RunId,
    },
    /// Something a run tells.
    Event {
        /// Its number.
        number: u64,
        /// What.
        event: RunEvent,
    },
    /// The run was asked to stop.
    Cancelled,
    /// What became of a mark.
    Marked {
        /// In each destination that has the snapshot; empty where none has it.
        results: Vec<DestinationResult>,
    },
    /// What is known.
    Status {
        /// It.
        status: Box<Status>,
    },
    /// The newest runs.
    Runs {
        /// They.
        runs: Vec<RunRecord>,
    },
    /// The request was not granted.
    Refused {
        /// Whether that is because there is no such job or run.
        not_found: bool,
        /// Why.
        why: String,
    },
}

/// Binds the socket. What a daemon left that died is replaced; a socket on which somebody answers, and a file that is
/// none, stay as they are.
pub(crate) fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder of the socket, {}", folder.display()))?;
    }
    make_room(path)?;
    let listener = UnixListener::bind(path)
        .with_context(|| format!("cannot listen on {} (setting daemon.socket)", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
        .with_context(|| format!("cannot set the mode of {}", path.display()))?;
    Ok(listener)
}

fn make_room(path: &Path) -> anyhow::Result<()> {
    let place = path.display();
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        found => found.with_context(|| format!("cannot look at {place} (setting daemon.socket)"))?,
    };
    if !found.file_type().is_socket() {
        bail!(
            "{place} (setting daemon.socket) is there and is no socket: name another path, or move it away"
        );
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!(
            "another process answers on {place} (setting daemon.socket): stop it, or give this daemon a socket of its own"
        );
    }
    std::fs::remove_file(path).with_context(|| format!("cannot replace the old socket {place}"))
}

/// Serves the socket until `stop`, and then until every connection has been answered.
pub(crate) async fn serve(listener: UnixListener, control: Arc<dyn Control>, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (control, stop) = (Arc::clone(&control), stop.clone());
                connections.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        result = converse(stream, control.as_ref()) => if let Err(error) = result {
                            tracing::debug!(%error, "a connection to the socket ended");
                        },
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the socket could not accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn converse(stream: UnixStream, control: &dyn Control) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut reader = BufReader::new(read);
    loop {
        let mut line = String::new();
        if (&mut reader).take(LONGEST_REQUEST_BYTES).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        match serde_json::from_str(&line) {
            Ok(request) => answer(request, control, &mut write).await?,
            Err(error) => {
                let why = format!("this is not a request of this version: {error}");
                send(&mut write, &Answer::Refused { not_found: false, why }).await?;
                return Ok(());
            }
        }
    }
}

async fn answer(request: Request, control: &dyn Control, write: &mut OwnedWriteHalf) -> std::io::Result<()> {
    let refused = |error: convault_core::ControlError| Answer::Refused {
        not_found: matches!(
            error,
            convault_core::ControlError::NoSuchJob(_) | convault_core::ControlError::NoSuchRun(_)
        ),
        why: error.to_string(),
    };
    let answer = match request {
        Request::Watch { run, after } => match control.watch(&run, after) {
            Ok(mut events) => {
                while let Some((number, event)) = events.next().await {
                    send(write, &Answer::Event { number, event }).await?;
                }
                return Ok(());
            }
            Err(error) => refused(error),
        },
        Request::Start(start) => {
            control.start(start).await.map_or_else(refused, |run| Answer::Started { run })
        }
        Request::Cancel { run } => control.cancel(&run).await.map_or_else(refused, |()| Answer::Cancelled),
        Request::Mark(wish) => {
            control.mark(wish).await.map_or_else(refused, |results| Answer::Marked { results })
        }
        Request::Status => Answer::Status { status: Box::new(control.status()) },
        Request::Runs { limit } => {
            control.runs(limit).await.map_or_else(refused, |runs| Answer::Runs { runs })
        }
    };
    send(write, &answer).await
}

async fn send(write: &mut OwnedWriteHalf, answer: &Answer) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    write.write_all(&line).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_a_dead_daemon_left_is_replaced_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let listening = bind(&path).unwrap();
        let refused = bind(&path).unwrap_err().to_string();
        assert!(refused.starts_with("another process answers on "), "{refused}");
        drop(listening);
        assert!(path.exists(), "a listener that goes away leaves its file");
        drop(bind(&path).unwrap());

        let precious = folder.path().join("precious");
        std::fs::write(&precious, "years of work").unwrap();
        let refused = bind(&precious).unwrap_err().to_string();
        assert!(refused.contains("is there and is no socket"), "{refused}");
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "years of work");
    }
}
