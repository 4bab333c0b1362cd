//! A running daemon, reached through its Unix socket.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, bail};
use convault_core::{RunEvent, RunId, RunRecord, StartRequest, Status};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::{UnixStream, unix::OwnedReadHalf, unix::OwnedWriteHalf},
};

use crate::{
    exit::{Exit, ExitWith},
    socket::{Answer, Request},
};

/// How often a run is taken up again after the connection was cut, one second apart.
const REATTACHMENTS: u32 = 30;

/// A connection to a running daemon.
pub(crate) struct Remote {
    write: OwnedWriteHalf,
    lines: Lines<BufReader<OwnedReadHalf>>,
}

impl Remote {
    /// Connects; `None` where no daemon listens there.
    pub(crate) async fn connect(socket: &Path) -> anyhow::Result<Option<Self>> {
        match UnixStream::connect(socket).await {
            Ok(stream) => {
                let (read, write) = stream.into_split();
                Ok(Some(Self { write, lines: BufReader::new(read).lines() }))
            }
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error).with_context(|| {
                format!(
                    "a daemon may be running, but {} cannot be opened; are you in its group?",
                    socket.display()
                )
            }),
        }
    }

    async fn ask(&mut self, request: &Request) -> anyhow::Result<Answer> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.write.write_all(&line).await?;
        self.next().await?.context("the daemon closed the connection")
    }

    async fn next(&mut self) -> anyhow::Result<Option<Answer>> {
        let line = self.lines.next_line().await?;
        line.map(|line| serde_json::from_str(&line).context("the daemon is of another version")).transpose()
    }

    /// What the daemon knows.
    pub(crate) async fn status(&mut self) -> anyhow::Result<Status> {
        match self.ask(&Request::Status).await? {
            Answer::Status { status } => Ok(*status),
            other => unexpected(&other),
        }
    }

    /// Starts a run.
    pub(crate) async fn start(&mut self, request: StartRequest) -> anyhow::Result<RunId> {
        match self.ask(&Request::Start(request)).await? {
            Answer::Started { run } => Ok(run),
            other => unexpected(&other),
        }
    }

    /// Asks a run to stop.
    pub(crate) async fn cancel(&mut self, run: &RunId) -> anyhow::Result<()> {
        match self.ask(&Request::Cancel { run: run.clone() }).await? {
            Answer::Cancelled => Ok(()),
            other => unexpected(&other),
        }
    }
}

fn unexpected<T>(answer: &Answer) -> anyhow::Result<T> {
    match answer {
        Answer::Refused { not_found: true, why } => Err(ExitWith(Exit::NotFound, why.clone()).into()),
        Answer::Refused { why, .. } => bail!("the daemon refused: {why}"),
        _ => bail!("the daemon answered something else than was asked"),
    }
}

/// Follows a run to its end, telling `tell` what it tells. Where the connection is cut it is taken up again by the
/// run's identifier, from the event after the last one seen.
pub(crate) async fn follow(
    socket: &Path,
    run: &RunId,
    mut tell: impl FnMut(&RunEvent),
) -> anyhow::Result<Box<RunRecord>> {
    let mut after = 0;
    let mut left = REATTACHMENTS;
    loop {
        if let Some(mut remote) = Remote::connect(socket).await? {
            match follow_once(&mut remote, run, &mut after, &mut tell).await {
                Ok(Some(record)) => return Ok(record),
                Ok(None) => {}
                Err(error) if error.is::<ExitWith>() => return find_ended(&mut remote, run).await,
                Err(error) => tracing::debug!("the connection to the daemon was cut: {error:#}"),
            }
        }
        if left == 0 {
            let text =
                format!("the daemon went away while run {run} was going on; `convault status` tells more");
            return Err(ExitWith(Exit::Unreachable, text).into());
        }
        left -= 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn follow_once(
    remote: &mut Remote,
    run: &RunId,
    after: &mut u64,
    tell: &mut impl FnMut(&RunEvent),
) -> anyhow::Result<Option<Box<RunRecord>>> {
    let mut answer = Some(remote.ask(&Request::Watch { run: run.clone(), after: *after }).await?);
    while let Some(Answer::Event { number, event }) = answer {
        *after = number + 1;
        tell(&event);
        if let RunEvent::Finished { record } = event {
            return Ok(Some(record));
        }
        answer = remote.next().await?;
    }
    match answer {
        Some(other) => unexpected(&other),
        None => Ok(None),
    }
}

/// The daemon was started anew meanwhile: its history knows what became of the run.
async fn find_ended(remote: &mut Remote, run: &RunId) -> anyhow::Result<Box<RunRecord>> {
    let Answer::Runs { runs } = remote.ask(&Request::Runs { limit: 1000 }).await? else {
        bail!("the daemon answered something else than was asked");
    };
    let ended = runs.into_iter().find(|record| record.id == *run && record.outcome.is_some());
    ended.map(Box::new).ok_or_else(|| {
        ExitWith(Exit::Unreachable, format!("the daemon was restarted and does not remember run {run}"))
            .into()
    })
}
