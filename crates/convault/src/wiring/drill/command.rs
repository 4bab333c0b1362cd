//! A scratch deployment that a command starts, and stops when its standard input closes.

use std::{process::Stdio, time::Duration};

use async_trait::async_trait;
use convault_core::{RunId, ScratchKind, Secret};
use convault_jobs::{Connect, JobError, Reached, Scratch, ScratchDeployment};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, Command},
};

use super::Connecting;

/// How long the command may take until its deployment is up.
const UP_WITHIN: Duration = Duration::from_mins(5);
/// How long it may take to stop it.
const STOPPED_WITHIN: Duration = Duration::from_mins(2);
/// A line longer than this is not the one that is waited for. Bytes.
const LONGEST_LINE: u64 = 64 << 10;
/// So much of what a command said on its way out is told. Bytes.
const TOLD: u64 = 1 << 10;

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
    ) -> Result<Box<dyn ScratchDeployment>, JobError> {
        let mut child = self.start().map_err(|error| self.failed(&format!("cannot be started: {error}")))?;
        let up = tokio::time::timeout(UP_WITHIN, up(&mut child)).await;
        let reached = match up {
            Ok(Ok(up)) => self.connect.reach(&up.url, &Secret::new(up.key)),
            Ok(Err(what)) => Err(self.failed(&what)),
            Err(_) => Err(self.failed(&format!("printed no line within {} s", UP_WITHIN.as_secs()))),
        };
        match reached {
            Ok(reached) => Ok(Box::new(Started { child, reached })),
            Err(error) => {
                if let Err(text) = stop(child).await {
                    warn(text);
                }
                Err(error)
            }
        }
    }
}

/// Waits for the line. Nothing of it is ever told, since it has a key in it.
async fn up(child: &mut Child) -> Result<Up, String> {
    let stdout = child.stdout.take().expect("standard output was asked for");
    let mut lines = BufReader::new(stdout.take(LONGEST_LINE));
    let mut line = Vec::new();
    let read = lines.read_until(b'\n', &mut line).await;
    read.map_err(|error| format!("could not be read: {error}"))?;
    if line.last() != Some(&b'\n') {
        return Err(format!(
            "ended without the line that tells where its deployment is{}",
            said(child).await
        ));
    }
    // What it prints from now on must not fill the pipe.
    child.stdout = Some(lines.into_inner().into_inner());
    serde_json::from_slice(&line)
        .map_err(|_| "printed a line that is not `{\"url\": …, \"key\": …}`".to_owned())
}

/// What a command that failed said on standard error.
async fn said(child: &mut Child) -> String {
    let Some(stderr) = child.stderr.take() else { return String::new() };
    let mut text = Vec::new();
    let mut stderr = stderr.take(TOLD);
    let read = stderr.read_to_end(&mut text);
    if !matches!(tokio::time::timeout(Duration::from_secs(2), read).await, Ok(Ok(_))) || text.is_empty() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&text).trim().replace(char::is_control, " ");
    format!("; it said: {text}")
}

#[derive(Debug)]
struct Started {
    child: Child,
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
        stop(self.child).await
    }
}

/// Closes standard input and waits; a command that stays all the same is ended.
async fn stop(mut child: Child) -> Result<(), String> {
    drop(child.stdin.take());
    drop(child.stdout.take());
    drop(child.stderr.take());
    let left = "what it started may be running still, with all that was restored into it: look at it";
    match tokio::time::timeout(STOPPED_WITHIN, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("the command of the scratch deployment ended with {status}; {left}")),
        Ok(Err(error)) => Err(format!("the command of the scratch deployment is lost ({error}); {left}")),
        Err(_) => {
            let ended = child.kill().await;
            let seconds = STOPPED_WITHIN.as_secs();
            drop(ended);
            Err(format!(
                "the command of the scratch deployment did not stop within {seconds} s and was ended; {left}"
            ))
        }
    }
}
