//! A scratch deployment that a command starts, and stops when its standard input closes.

use std::{
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use convault_core::{RunId, ScratchKind, Secret};
use convault_jobs::{Connect, JobError, Reached, Scratch, ScratchDeployment};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader},
    process::{Child, Command},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::Connecting;

/// How long the command may take until its deployment is up.
const UP_WITHIN: Duration = Duration::from_mins(5);
/// How long it may take to stop it.
const STOPPED_WITHIN: Duration = Duration::from_mins(2);
/// So long is waited for what a command that ended said last.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(2);
/// A line longer than this is not the one that is waited for. Bytes.
const LONGEST_LINE: u64 = 64 << 10;
/// So much of what a command said last is told. Bytes.
const TOLD: usize = 1 << 10;

/// The line that a command prints.
#[derive(Deserialize)]
struct Up {
    url: String,
    key: String,
}

/// Deployments that a command starts.
#[derive(Debug)]
pub(super) struct CommandScratch {
    command: Vec<String>,
    connect: Connecting,
}

impl CommandScratch {
    pub(super) fn new(command: Vec<String>, connect: Connect) -> Self {
        Self { command, connect: Connecting(connect) }
    }

    fn failed(&self, what: &str) -> JobError {
        let program = self.command.first().map_or("", String::as_str);
        JobError::Scratch { what: format!("the command `{program}` {what}"), is_transient: false }
    }

    fn start(&self) -> std::io::Result<Child> {
        let (program, arguments) = self.command.split_first().expect("settings have a program");
        Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }
}

#[async_trait]
impl Scratch for CommandScratch {
    fn kind(&self) -> ScratchKind {
        ScratchKind::Command
    }

    async fn begin(
        &self,
        _: &RunId,
        _: &[RunId],
        _: Timestamp,
        warn: &(dyn Fn(String) + Send + Sync),
        stop: &CancellationToken,
    ) -> Result<Box<dyn ScratchDeployment>, JobError> {
        let child = self.start().map_err(|error| self.failed(&format!("cannot be started: {error}")))?;
        let mut running = Running::new(child);
        let up = tokio::select! {
            biased;
            () = stop.cancelled() => Err(JobError::Stopped),
            up = tokio::time::timeout(UP_WITHIN, running.up()) => match up {
                Ok(up) => up.map_err(|what| self.failed(&what)),
                Err(_) => Err(self.failed(&format!(
                    "printed no line within {} s{}",
                    UP_WITHIN.as_secs(),
                    running.said()
                ))),
            },
        };
        match up.and_then(|up| self.connect.reach(&up.url, &Secret::new(up.key))) {
            Ok(reached) => Ok(Box::new(Started { running, reached })),
            Err(error) => {
                if let Err(text) = running.stop().await {
                    warn(text);
                }
                Err(error)
            }
        }
    }
}

/// The command, and what reads all that it says: a pipe that nobody reads fills up, and whoever writes into it stands
/// still, the deployment too.
#[derive(Debug)]
struct Running {
    child: Child,
    readers: JoinSet<()>,
    words: LastWords,
}

impl Running {
    fn new(mut child: Child) -> Self {
        let (mut readers, words) = (JoinSet::new(), LastWords::default());
        let stderr = child.stderr.take().expect("standard error was asked for");
        readers.spawn(words.clone().take(stderr));
        Self { child, readers, words }
    }

    /// Waits for the line. Nothing of it is ever told, since it has a key in it.
    async fn up(&mut self) -> Result<Up, String> {
        let stdout = self.child.stdout.take().expect("standard output was asked for");
        let mut lines = BufReader::new(stdout.take(LONGEST_LINE));
        let mut line = Vec::new();
        let read = lines.read_until(b'\n', &mut line).await;
        read.map_err(|error| format!("could not be read: {error}"))?;
        if line.last() != Some(&b'\n') {
            // What it said last may be on its way still; whatever it started can keep the pipe open.
            drop(tokio::time::timeout(LAST_WORDS_WITHIN, self.readers.join_next()).await);
            let said = self.said();
            return Err(format!("ended without the line that tells where its deployment is{said}"));
        }
        self.readers.spawn(LastWords::default().take(lines.into_inner().into_inner()));
        serde_json::from_slice(&line)
            .map_err(|_| "printed a line that is not `{\"url\": …, \"key\": …}`".to_owned())
    }

    /// What it said last on standard error, as the end of a sentence.
    fn said(&self) -> String {
        let words = self.words.0.lock().unwrap_or_else(PoisonError::into_inner);
        match String::from_utf8_lossy(&words).trim().replace(char::is_control, " ") {
            text if text.is_empty() => text,
            text => format!("; it said: {text}"),
        }
    }

    /// Closes standard input and waits; a command that stays all the same is ended.
    async fn stop(mut self) -> Result<(), String> {
        drop(self.child.stdin.take());
        let left = "what it started may be running still, with all that was restored into it: look at it";
        match tokio::time::timeout(STOPPED_WITHIN, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => {
                Err(format!("the command of the scratch deployment ended with {status}; {left}"))
            }
            Ok(Err(error)) => Err(format!("the command of the scratch deployment is lost ({error}); {left}")),
            Err(_) => {
                let ended = self.child.kill().await;
                let seconds = STOPPED_WITHIN.as_secs();
                drop(ended);
                Err(format!(
                    "the command of the scratch deployment did not stop within {seconds} s and was ended; {left}"
                ))
            }
        }
    }
}

/// The last that was read of something.
#[derive(Debug, Clone, Default)]
struct LastWords(Arc<Mutex<Vec<u8>>>);

impl LastWords {
    /// Reads to the end.
    async fn take(self, mut from: impl AsyncRead + Unpin) {
        let mut bytes = [0; 4 << 10];
        while let Ok(length @ 1..) = from.read(&mut bytes).await {
            let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            words.extend_from_slice(&bytes[..length]);
            let too_many = words.len().saturating_sub(TOLD);
            words.drain(..too_many);
        }
    }
}

#[derive(Debug)]
struct Started {
    running: Running,
    reached: Reached,
}

#[async_trait]
impl ScratchDeployment for Started {
    fn reached(&self) -> &Reached {
        &self.reached
    }

    fn is_made(&self) -> bool {
        true
    }

    async fn end(self: Box<Self>) -> Result<(), String> {
        self.running.stop().await
    }
}
