//! A running daemon, reached through its Unix socket.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, bail};
use convault_core::{DestinationResult, MarkWish, RunEvent, RunId, RunRecord, StartRequest, Status};
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

    /// Says something of a snapshot.
    pub(crate) async fn mark(&mut self, wish: MarkWish) -> anyhow::Result<Vec<DestinationResult>> {
        match self.ask(&Request::Mark(wish)).await? {
            Answer::Marked { results } => Ok(results),
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

#[cfg(test)]
mod tests {
    use convault_core::{JobName, RunOutcome, StartRequest, Verb};
    use jiff::Timestamp;
    use tokio::net::UnixListener;

    use super::*;

    fn ended(id: &RunId) -> RunRecord {
        let name = JobName::new("nightly").unwrap();
        let mut record: RunRecord = serde_json::from_value(serde_json::json!({
            "id": id, "job": name, "deployment": "crm", "verb": "backup", "scheduled": false,
            "started": "2026-11-22T03:00:56Z", "finished": null, "outcome": null, "message": "", "snapshot": null,
            "destinations": [], "read_bytes": 0, "documents": 0, "files": 0, "warnings": [], "retryable": false,
        }))
        .unwrap();
        record.outcome = Some(RunOutcome::Good);
        record
    }

    async fn serve_one(listener: &UnixListener, answers: &[Answer]) -> Request {
        let (stream, _) = listener.accept().await.unwrap();
        let (read, mut write) = stream.into_split();
        let line = BufReader::new(read).lines().next_line().await.unwrap().unwrap();
        for answer in answers {
            let mut line = serde_json::to_vec(answer).unwrap();
            line.push(b'\n');
            write.write_all(&line).await.unwrap();
        }
        serde_json::from_str(&line).unwrap()
    }

    #[tokio::test]
    async fn a_cut_connection_is_taken_up_after_the_last_event_seen() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let run = RunId::new("2026-11-22T03:00:56Z".parse().unwrap(), 1);
        let message = RunEvent::Message { at: Timestamp::UNIX_EPOCH, text: "a".into() };
        let finished = RunEvent::Finished { record: Box::new(ended(&run)) };
        let daemon = async {
            let first = serve_one(&listener, &[Answer::Event { number: 7, event: message.clone() }]).await;
            let second = serve_one(&listener, &[Answer::Event { number: 8, event: finished.clone() }]).await;
            (first, second)
        };
        let mut seen = Vec::new();
        let client = follow(&socket, &run, |event| seen.push(event.clone()));
        let (requests, record) = tokio::join!(daemon, client);
        assert!(matches!(requests.0, Request::Watch { after: 0, .. }), "{requests:?}");
        assert!(matches!(requests.1, Request::Watch { after: 8, .. }), "{requests:?}");
        assert_eq!(seen, [message, finished]);
        assert_eq!(record.unwrap().outcome, Some(RunOutcome::Good));
    }

    #[test]
    fn a_start_request_needs_only_a_job() {
        let request: Request = serde_json::from_str(r#"{"request":"start","job":"nightly"}"#).unwrap();
        let Request::Start(StartRequest { verb, tags, .. }) = request else { panic!("{request:?}") };
        assert_eq!((verb, tags.len()), (Verb::Backup, 0));
    }
}
