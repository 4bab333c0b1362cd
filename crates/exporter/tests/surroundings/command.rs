//! What a command prints.

use std::time::Duration;

use convault_core::{SurroundingError, SurroundingErrorKind};
use convault_exporter::{CommandOutput, CommandSettings};

use crate::taker::{Taker, collect, name};

fn shell(script: &str, time_out_ms: u64, max_bytes: u64) -> CommandOutput {
    let settings = CommandSettings {
        command: vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()],
        time_out: Duration::from_millis(time_out_ms),
        max_bytes,
    };
    CommandOutput::new(name("doppler"), false, settings)
}

async fn run(script: &str) -> Result<Taker, SurroundingError> {
    collect(&shell(script, 600_000, 1 << 20)).await
}

#[tokio::test]
async fn what_is_printed_is_stored_and_a_change_is_noticed() {
    let one = run("printf 'KEY=hunter2\\n\\377'").await.unwrap();
    assert_eq!(one.entries["output"].bytes, b"KEY=hunter2\n\xff");
    let two = run("printf 'KEY=hunter2\\n\\376'").await.unwrap();
    assert_ne!(one.values["output"], two.values["output"]);
    assert_eq!(one.values["output"], run("printf 'KEY=hunter2\\n\\377'").await.unwrap().values["output"]);
}

#[tokio::test]
async fn a_failure_tells_the_last_words_and_nothing_that_was_printed() {
    let error = run("echo hunter2; echo one >&2; echo 'not logged in' >&2; exit 3").await.unwrap_err();
    assert_eq!(error.kind, SurroundingErrorKind::Other);
    assert_eq!(
        error.to_string(),
        "surroundings `doppler`: `sh` failed (exit status: 3): one / not logged in"
    );
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!(
        "sleep 3600 & echo waiting >&2; echo $! >{0}.new; mv {0}.new {0}; sleep 3600",
        file.display()
    );
    let late = async {
        while !file.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Whatever it has said by now is read before this is over.
        tokio::time::sleep(Duration::from_millis(10)).await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_mins(5)).await;
        tokio::time::resume();
    };
    let slow = shell(&script, 300_000, 1000);
    let (ended, ()) = tokio::join!(collect(&slow), late);
    let error = ended.unwrap_err();
    assert_eq!(error.kind, SurroundingErrorKind::Limit);
    assert!(error.message.contains("took longer than `time_out`, 300 s, and was killed: waiting"), "{error}");
    let started = std::fs::read_to_string(file).unwrap();
    let gone = async {
        while is_running(started.trim()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(10), gone).await.expect("what it started goes on");
}

/// Whether there is such a process, and it has not ended: one that nobody has waited for yet has.
fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
}

#[tokio::test]
async fn one_that_leaves_its_output_open_is_held_to_the_same_limit() {
    let error = collect(&shell("sleep 3600 & echo started", 300, 1000)).await.unwrap_err();
    assert_eq!(error.kind, SurroundingErrorKind::Limit);
}

#[tokio::test]
async fn more_output_than_allowed_is_an_error() {
    let error = collect(&shell("yes hunter2", 600_000, 100_000)).await.unwrap_err();
    assert_eq!(error.kind, SurroundingErrorKind::Limit);
    assert!(error.message.contains("gave more than `max_bytes`, 100000 bytes"), "{error}");
}

#[tokio::test]
async fn much_on_standard_error_does_not_stop_it() {
    let taken = run("head -c 1000000 /dev/zero >&2; echo done").await.unwrap();
    assert_eq!(taken.text("output"), "done\n");
}

#[tokio::test]
async fn a_large_output_comes_in_pieces() {
    let taken = run("head -c 1000000 /dev/zero").await.unwrap();
    assert_eq!(taken.entries["output"].bytes.len(), 1_000_000);
    assert!(taken.entries["output"].largest_write <= 128 << 10);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let settings = CommandSettings {
        command: vec!["no-such-program".to_owned(), "hunter2".to_owned()],
        time_out: Duration::from_mins(10),
        max_bytes: 1,
    };
    let error = collect(&CommandOutput::new(name("doppler"), false, settings)).await.unwrap_err();
    assert_eq!(error.kind, SurroundingErrorKind::NotFound);
    assert!(error.message.contains("cannot start `no-such-program`"), "{error}");
}
