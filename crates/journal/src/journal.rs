//! [`SqliteJournal`]: the questions and answers of [`Journal`], as SQL.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use convault_core::{JobName, Journal, JournalError, RunOutcome, RunRecord, Verb};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params, types::Type};

use crate::database::Database;

/// Runs kept per job, beside its newest success.
const KEEP_RUNS: i64 = 200;

/// Bytes of all records together; with their indexes they stay well below the 8 MiB that the file may have.
const KEEP_BYTES: i64 = 4 << 20;

/// Bytes of one record; texts beyond are cut, so that no run drives out all the others.
const RECORD_BYTES_MAX: usize = 64 << 10;

/// The run history in one `SQLite` file. Cheap to clone; clones share the connection.
#[derive(Debug, Clone)]
pub struct SqliteJournal {
    database: Arc<Mutex<Database>>,
    path: Arc<PathBuf>,
}

impl SqliteJournal {
    /// Opens the history at `path`, or begins one there. A file that is damaged, or of another version, is renamed
    /// to the same name with `.set-aside` behind it. Fails where the file cannot be made or written.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, JournalError> {
        let path = path.into();
        let shown = path.clone();
        let opened = tokio::task::spawn_blocking(move || Database::open(path)).await;
        let database = opened.map_err(|error| broken_off(&shown, error))??;
        let path = Arc::new(database.path().to_owned());
        Ok(Self { database: Arc::new(Mutex::new(database)), path })
    }

    /// Runs `work` in a transaction on a thread that may block. It goes on when the caller stops waiting.
    async fn transaction<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        let database = Arc::clone(&self.database);
        let done = tokio::task::spawn_blocking(move || {
            let mut database = database.lock().unwrap_or_else(PoisonError::into_inner);
            database.transaction(action, |transaction| work(transaction))
        });
        done.await.map_err(|error| broken_off(&self.path, error))?
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn record(&self, run: &RunRecord) -> Result<(), JournalError> {
        let run = bounded(run);
        self.transaction("write a run", move |connection| {
            write(connection, &run)?;
            forget_old(connection, &run.job)
        })
        .await
    }

    async fn runs(&self, job: Option<&JobName>, limit: usize) -> Result<Vec<RunRecord>, JournalError> {
        let (job, limit) = (job.map(JobName::to_string), i64::try_from(limit).unwrap_or(i64::MAX));
        self.transaction("read the runs", move |connection| {
            let sql = "SELECT record FROM runs WHERE ?1 IS NULL OR job = ?1
                       ORDER BY started_us DESC, id DESC LIMIT ?2";
            connection.prepare_cached(sql)?.query_map(params![job, limit], record_of)?.collect()
        })
        .await
    }

    /// Of the runs that make snapshots: a verify of an old snapshot is no success of the job.
    async fn last_success(&self, job: &JobName) -> Result<Option<RunRecord>, JournalError> {
        let job = job.to_string();
        self.transaction("read the last success", move |connection| {
            let sql = "SELECT record FROM runs
                       WHERE job = ?1 AND verb = 'backup' AND outcome IN ('good', 'partial')
                       ORDER BY started_us DESC, id DESC LIMIT 1";
            connection.query_row(sql, [&job], record_of).optional()
        })
        .await
    }

    async fn last_due(&self, job: &JobName) -> Result<Option<Timestamp>, JournalError> {
        let job = job.to_string();
        self.transaction("read the last due time", move |connection| {
            let sql = "SELECT last_due_us FROM dues WHERE job = ?1";
            let found: Option<i64> = connection.query_row(sql, [&job], |row| row.get(0)).optional()?;
            Ok(found.and_then(|microseconds| Timestamp::from_microsecond(microseconds).ok()))
        })
        .await
    }

    async fn close_interrupted(&self, now: Timestamp) -> Result<Vec<RunRecord>, JournalError> {
        self.transaction("close interrupted runs", move |connection| {
            let sql = "SELECT record FROM runs WHERE outcome IS NULL ORDER BY started_us DESC, id DESC";
            let open: Vec<RunRecord> =
                connection.prepare(sql)?.query_map([], record_of)?.collect::<Result<_, _>>()?;
            let closed: Vec<_> = open.into_iter().map(|run| interrupted(run, now)).collect();
            closed.iter().try_for_each(|run| write(connection, run))?;
            Ok(closed)
        })
        .await
    }
}

fn interrupted(run: RunRecord, now: Timestamp) -> RunRecord {
    RunRecord {
        finished: Some(now.max(run.started)),
        outcome: Some(RunOutcome::Interrupted),
        message: "the process ended in the middle of this run: what it left behind does not count and the next run \
                  removes it"
            .to_owned(),
        retryable: true,
        ..run
    }
}

fn write(connection: &Connection, run: &RunRecord) -> rusqlite::Result<()> {
    let record = serde_json::to_string(run)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let sql = "INSERT INTO runs (id, job, verb, started_us, outcome, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (id) DO UPDATE SET job = excluded.job, verb = excluded.verb,
                   started_us = excluded.started_us, outcome = excluded.outcome, record = excluded.record";
    let outcome = run.outcome.map(RunOutcome::as_str);
    let row = params![
        run.id.as_str(),
        run.job.as_str(),
        verb(run.verb),
        run.started.as_microsecond(),
        outcome,
        record
    ];
    connection.prepare_cached(sql)?.execute(row)?;
    if let Some(due) = run.due {
        let sql = "INSERT INTO dues (job, last_due_us) VALUES (?1, ?2)
                   ON CONFLICT (job) DO UPDATE SET last_due_us = max(last_due_us, excluded.last_due_us)";
        connection.prepare_cached(sql)?.execute(params![run.job.as_str(), due.as_microsecond()])?;
    }
    Ok(())
}

/// Deletes the job's runs beyond the newest ones, then the oldest of all jobs until the rest is small enough; never
/// a job's newest success, and never a run that goes on.
fn forget_old(connection: &Connection, job: &JobName) -> rusqlite::Result<()> {
    const SUCCESSES: &str = "SELECT id FROM (
            SELECT id, row_number() OVER (PARTITION BY job ORDER BY started_us DESC, id DESC) AS place FROM runs
            WHERE verb = 'backup' AND outcome IN ('good', 'partial')
        ) WHERE place = 1";
    let beyond = format!(
        "DELETE FROM runs WHERE job = ?1 AND outcome IS NOT NULL AND id NOT IN ({SUCCESSES}) AND id NOT IN
         (SELECT id FROM runs WHERE job = ?1 ORDER BY started_us DESC, id DESC LIMIT ?2)"
    );
    connection.prepare_cached(&beyond)?.execute(params![job.as_str(), KEEP_RUNS])?;
    let heavy = format!(
        "DELETE FROM runs WHERE outcome IS NOT NULL AND id NOT IN ({SUCCESSES}) AND id IN
         (SELECT id FROM (
             SELECT id, sum(length(record)) OVER (ORDER BY started_us DESC, id DESC) AS bytes FROM runs
         ) WHERE bytes > ?1)"
    );
    connection.prepare_cached(&heavy)?.execute([KEEP_BYTES])?;
    Ok(())
}

/// The record with its free texts cut so that it takes no more than its share.
fn bounded(run: &RunRecord) -> RunRecord {
    let mut run = run.clone();
    let texts = 1 + run.warnings.len() + run.destinations.len();
    let share = (RECORD_BYTES_MAX / 2 / texts).max(256);
    let most = RECORD_BYTES_MAX / 4 / share.min(512);
    if run.warnings.len() > most {
        let left_out = run.warnings.len() - most;
        run.warnings.truncate(most);
        run.warnings.push(format!("… and {left_out} more warnings"));
    }
    let problems = run.destinations.iter_mut().filter_map(|result| result.problem.as_mut());
    [&mut run.message].into_iter().chain(&mut run.warnings).chain(problems).for_each(|text| cut(text, share));
    run
}

fn cut(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
        text.push('…');
    }
}

fn verb(verb: Verb) -> &'static str {
    match verb {
        Verb::Backup => "backup",
        Verb::Verify => "verify",
        Verb::Prune => "prune",
        Verb::Repair => "repair",
        Verb::Mirror => "mirror",
        Verb::Watch => "watch",
        Verb::Drill => "drill",
        Verb::Restore => "restore",
    }
}

fn record_of(row: &Row<'_>) -> rusqlite::Result<RunRecord> {
    let text: String = row.get(0)?;
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}

fn broken_off(path: &std::path::Path, error: tokio::task::JoinError) -> JournalError {
    let message = "the work on it broke off, which is a bug unless the program is ending".to_owned();
    JournalError { path: path.display().to_string(), message, source: Some(Box::new(error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_never_splits_a_character() {
        let mut text = "ééé".to_owned();
        cut(&mut text, 3);
        assert_eq!(text, "é…");
    }
}
