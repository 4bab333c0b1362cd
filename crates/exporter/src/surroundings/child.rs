//! A child process whose output is read as it comes, within limits, and which leaves no process behind.

use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use convault_core::{SurroundingError, SurroundingErrorKind};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::process::{ChildStderr, ChildStdout, Command};
use tokio::time::{Sleep, sleep};

use super::errors::Errors;

const READ_BYTES: usize = 64 << 10;
/// So much of what a program says of itself is kept for an error.
const TAIL_BYTES: usize = 2 << 10;
const TAIL_LINES: usize = 5;
/// Where programs are looked for without an environment.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How much a child may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) time_out: Duration,
    /// Of its standard output.
    pub(crate) max_bytes: Option<u64>,
}

/// A command of `program` and `arguments`. Only errors show the program, and none shows the arguments.
pub(crate) fn command<A: AsRef<std::ffi::OsStr>>(program: &str, arguments: &[A]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// The same without any variable of this process's environment, which holds keys.
pub(crate) fn clean_command<A: AsRef<std::ffi::OsStr>>(
    program: &str,
    arguments: &[A],
    folder: &Path,
) -> Command {
    let mut command = command(program, arguments);
    command.env_clear().env("PATH", PATH).env("LC_ALL", "C").current_dir(folder);
    command
}

/// A child process with a group of its own, all of which is killed when this value is dropped before the child ended.
#[derive(Debug)]
pub(crate) struct Child {
    program: String,
    process: tokio::process::Child,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    buffer: BytesMut,
    tail: Tail,
    limits: Limits,
    read_bytes: u64,
    deadline: Pin<Box<Sleep>>,
    errors: Errors,
}

impl Child {
    /// Starts `command` without input. What it is given to read and how it ends is told by the other functions.
    pub(crate) fn start(
        program: &str,
        mut command: Command,
        limits: Limits,
        errors: &Errors,
    ) -> Result<Self, SurroundingError> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let mut process = command.spawn().map_err(|error| {
            let kind = match error.kind() {
                std::io::ErrorKind::NotFound => SurroundingErrorKind::NotFound,
                std::io::ErrorKind::PermissionDenied => SurroundingErrorKind::Permission,
                _ => SurroundingErrorKind::Other,
            };
            errors.caused(kind, format!("cannot start `{program}`; check that it is installed"), error)
        })?;
        Ok(Self {
            program: program.to_owned(),
            stdout: process.stdout.take(),
            stderr: process.stderr.take(),
            process,
            buffer: BytesMut::with_capacity(READ_BYTES),
            tail: Tail::default(),
            limits,
            read_bytes: 0,
            deadline: Box::pin(sleep(limits.time_out)),
            errors: errors.clone(),
        })
    }

    /// The next bytes of its standard output; `None` after the last.
    pub(crate) async fn read(&mut self) -> Result<Option<Bytes>, SurroundingError> {
        let mut said = [0; 1024];
        while let Some(stdout) = &mut self.stdout {
            tokio::select! {
                biased;
                () = &mut self.deadline => return Err(self.too_slow()),
                read = stdout.read_buf(&mut self.buffer) => {
                    let read = read.map_err(|error| self.broken(error))?;
                    if read == 0 {
                        self.stdout = None;
                        break;
                    }
                    return self.counted(read).map(Some);
                }
                read = read_some(&mut self.stderr, &mut said) => match read {
                    Ok(0) | Err(_) => self.stderr = None,
                    Ok(read) => self.tail.add(&said[..read]),
                },
            }
        }
        Ok(None)
    }

    fn counted(&mut self, read: usize) -> Result<Bytes, SurroundingError> {
        self.read_bytes += read as u64;
        match self.limits.max_bytes {
            Some(max_bytes) if self.read_bytes > max_bytes => {
                let message = format!("`{}` gave more than `max_bytes`, {max_bytes} bytes", self.program);
                Err(self.errors.error(SurroundingErrorKind::Limit, message))
            }
            _ => {
                let bytes = self.buffer.split().freeze();
                self.buffer.reserve(READ_BYTES);
                Ok(bytes)
            }
        }
    }

    /// Waits for its end, which must be a good one.
    pub(crate) async fn finish(mut self) -> Result<(), SurroundingError> {
        let mut said = [0; 1024];
        while self.stderr.is_some() {
            tokio::select! {
                () = &mut self.deadline => return Err(self.too_slow()),
                read = read_some(&mut self.stderr, &mut said) => match read {
                    Ok(0) | Err(_) => self.stderr = None,
                    Ok(read) => self.tail.add(&said[..read]),
                },
            }
        }
        let status = tokio::select! {
            () = &mut self.deadline => return Err(self.too_slow()),
            status = self.process.wait() => status.map_err(|error| self.broken(error))?,
        };
        if status.success() {
            return Ok(());
        }
        let message = format!("`{}` failed ({status}){}", self.program, self.tail.said());
        Err(self.errors.error(SurroundingErrorKind::Other, message))
    }

    /// All of its standard output as text, and its end. For output that is known to be short.
    pub(crate) async fn text(mut self) -> Result<String, SurroundingError> {
        let mut text = Vec::new();
        while let Some(bytes) = self.read().await? {
            text.extend_from_slice(&bytes);
        }
        self.finish().await?;
        Ok(String::from_utf8_lossy(&text).trim().to_owned())
    }

    fn too_slow(&self) -> SurroundingError {
        let seconds = self.limits.time_out.as_secs_f64();
        let message = format!(
            "`{}` took longer than `time_out`, {seconds} s, and was killed{}",
            self.program,
            self.tail.said()
        );
        self.errors.error(SurroundingErrorKind::Limit, message)
    }

    fn broken(&self, error: std::io::Error) -> SurroundingError {
        let message = format!("the output of `{}` cannot be read", self.program);
        self.errors.caused(SurroundingErrorKind::Other, message, error)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A child that was waited for has no id any more, and its group may be somebody else's by now.
        let group = self.process.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(Err(error)) = group.map(|group| kill_process_group(group, Signal::KILL)) {
            tracing::debug!(%error, program = self.program, "a process group could not be killed");
        }
    }
}

/// Reads from `stderr` while it is open, and waits for ever once it is not.
async fn read_some(stderr: &mut Option<ChildStderr>, buffer: &mut [u8]) -> std::io::Result<usize> {
    match stderr {
        Some(stderr) => stderr.read(buffer).await,
        None => std::future::pending().await,
    }
}

/// The end of what a program said on its standard error.
#[derive(Debug, Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn add(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let too_many = self.0.len().saturating_sub(TAIL_BYTES);
        self.0.drain(..too_many);
    }

    /// Its last lines in one, after what they follow; nothing where it said nothing.
    fn said(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let clean =
            |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned();
        let lines: Vec<String> = text.lines().map(clean).filter(|line| !line.is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        if last.is_empty() { String::new() } else { format!(": {}", last.join(" / ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::Tail;

    #[test]
    fn the_last_lines_are_kept_without_control_characters() {
        let mut tail = Tail::default();
        assert_eq!(tail.said(), "");
        tail.add("x".repeat(5000).as_bytes());
        tail.add(b"\none\ntwo\r\n\n\x1b[31mthree\nfour\nfive");
        assert_eq!(tail.said(), ": one / two / [31mthree / four / five");
    }
}
