//! [`Database`]: the file: opened, checked, begun anew where it is damaged or gone.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use convault_core::JournalError;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

/// The layout this code reads and writes. A file of another version is set aside, since nothing in it is needed.
const SCHEMA_VERSION: i64 = 1;

/// Pages of 4 KiB: the file never exceeds 8 MiB, which leaves room for the write-ahead log below 16.
const SETUP: &str = "
    PRAGMA page_size = 4096;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA max_page_count = 2048;
    PRAGMA wal_autocheckpoint = 256;
    PRAGMA journal_size_limit = 1048576;
    PRAGMA trusted_schema = OFF;
";

const TABLES: &str = "
    CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT;
    -- A run: `record` is the whole of it as JSON, the other columns are what is looked for.
    CREATE TABLE runs (
        id TEXT PRIMARY KEY NOT NULL,
        job TEXT NOT NULL,
        verb TEXT NOT NULL,
        started_us INTEGER NOT NULL,
        outcome TEXT,
        record TEXT NOT NULL
    ) STRICT;
    CREATE INDEX runs_by_time ON runs (started_us DESC, id DESC);
    CREATE INDEX runs_by_job ON runs (job, started_us DESC, id DESC);
    -- Apart from the runs, so that it outlives them.
    CREATE TABLE dues (job TEXT PRIMARY KEY NOT NULL, last_due_us INTEGER NOT NULL) STRICT;
";

/// How long to wait for another process that writes.
const BUSY: Duration = Duration::from_secs(5);

/// Which file this is, whatever it is called.
type Identity = (u64, u64);

/// The file and the connection to it.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    open: Option<(Connection, Identity)>,
}

/// Why the file cannot be used as it is.
enum Fault {
    /// It is not what this code wrote: set it aside.
    Unusable(String),
    /// The machine's or the user's doing: say so.
    Failed(JournalError),
}

impl Database {
    /// Opens the file at `path`, which is made if it is not there, as are the folders above it.
    pub(crate) fn open(path: PathBuf) -> Result<Self, JournalError> {
        let mut database = Self { path, open: None };
        database.connection()?;
        Ok(database)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Does `work` in one transaction, which counts as a whole or not at all. On a file that turns out to be damaged
    /// it is done again, on a new one.
    pub(crate) fn transaction<T>(
        &mut self,
        action: &str,
        work: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        match attempt(self.connection()?, &work) {
            Err(error) if is_damage(&error) => {
                self.set_aside(&error.to_string())?;
                attempt(self.connection()?, &work).map_err(|error| failed(&self.path, action, error))
            }
            result => result.map_err(|error| failed(&self.path, action, error)),
        }
    }

    /// The connection, to the file that is at the path now: somebody may have deleted or replaced it.
    fn connection(&mut self) -> Result<&mut Connection, JournalError> {
        if self.open.as_ref().is_some_and(|(_, opened)| identity(&self.path) != Some(*opened)) {
            tracing::warn!(path = %self.path.display(), "the run history was deleted or replaced; opening it anew");
            // Dropped before the next is opened: closing removes the write-ahead log of that name.
            self.open = None;
        }
        if self.open.is_none() {
            self.open = Some(self.open_or_begin()?);
        }
        Ok(&mut self.open.as_mut().expect("it was opened just now").0)
    }

    fn open_or_begin(&mut self) -> Result<(Connection, Identity), JournalError> {
        make_file(&self.path)?;
        match open_checked(&self.path) {
            Ok(connection) => Ok(connection),
            Err(Fault::Failed(error)) => Err(error),
            Err(Fault::Unusable(why)) => {
                self.set_aside(&why)?;
                make_file(&self.path)?;
                open_checked(&self.path).map_err(|fault| match fault {
                    Fault::Failed(error) => error,
                    Fault::Unusable(message) => {
                        JournalError { path: shown(&self.path), message, source: None }
                    }
                })
            }
        }
    }

    /// Moves the file aside, in place of one that was set aside before, so that this too stays bounded.
    fn set_aside(&mut self, why: &str) -> Result<(), JournalError> {
        self.open = None;
        let aside = with_suffix(&self.path, ".set-aside");
        tracing::warn!(
            path = %self.path.display(), aside = %aside.display(), why,
            "the run history cannot be used; beginning a new one (snapshots are not affected)"
        );
        let moved = fs::rename(&self.path, &aside).and_then(|()| {
            ["-wal", "-shm"].iter().try_for_each(|suffix| remove_if_there(&with_suffix(&self.path, suffix)))
        });
        match moved {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(unreachable_file(&self.path, "cannot be set aside: check who owns its folder", error))
            }
            _ => Ok(()),
        }
    }
}

fn attempt<T>(
    connection: &mut Connection,
    work: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = work(&transaction)?;
    transaction.commit()?;
    Ok(done)
}

/// Makes an empty file that only its owner can read: run records name tables and destinations.
fn make_file(path: &Path) -> Result<(), JournalError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made =
        folder.map_or(Ok(()), |folder| fs::DirBuilder::new().recursive(true).mode(0o700).create(folder));
    made.and_then(|()| fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path))
        .map(drop)
        .map_err(|error| {
            unreachable_file(path, "cannot be made: check that its folder can be written", error)
        })
}

fn open_checked(path: &Path) -> Result<(Connection, Identity), Fault> {
    let before = identity(path);
    let mut connection = Connection::open(path).map_err(|error| fault(path, error))?;
    let prepared = prepare(&mut connection).map_err(|error| fault(path, error))?;
    if let Some(why) = prepared {
        return Err(Fault::Unusable(why));
    }
    before.filter(|before| identity(path) == Some(*before)).map(|identity| (connection, identity)).ok_or_else(
        || {
            let message = "it was replaced while it was opened: try again".to_owned();
            Fault::Failed(JournalError { path: shown(path), message, source: None })
        },
    )
}

/// Sets the connection up and makes the tables in an empty file; says why the file is unusable, if it is.
fn prepare(connection: &mut Connection) -> rusqlite::Result<Option<String>> {
    connection.busy_timeout(BUSY)?;
    connection.execute_batch(SETUP)?;
    let check: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if check != "ok" {
        return Ok(Some(check));
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        transaction.execute_batch(TABLES)?;
        transaction.execute("INSERT INTO schema_version (version) VALUES (?1)", [SCHEMA_VERSION])?;
    }
    let version = transaction.query_row("SELECT version FROM schema_version", [], |row| row.get::<_, i64>(0));
    transaction.commit()?;
    Ok(match version {
        Ok(SCHEMA_VERSION) => None,
        Ok(other) => Some(format!("it has layout {other}, and this program uses layout {SCHEMA_VERSION}")),
        Err(error) => Some(error.to_string()),
    })
}

fn fault(path: &Path, error: rusqlite::Error) -> Fault {
    if is_damage(&error) {
        Fault::Unusable(error.to_string())
    } else {
        Fault::Failed(failed(path, "open", error))
    }
}

/// Whether the file's content is at fault. A table that is missing is `SQLite`'s "unknown" error.
fn is_damage(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown))
        || matches!(
            error,
            rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..)
        )
}

fn failed(path: &Path, action: &str, error: rusqlite::Error) -> JournalError {
    let remedy = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another process holds it for too long",
        Some(ErrorCode::DiskFull) => "the disk, or the space it may take, is full",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "check who owns it and that it can be written"
        }
        _ => "it may be deleted: nothing in it is needed for a restore",
    };
    JournalError {
        path: shown(path),
        message: format!("cannot {action}: {remedy}"),
        source: Some(Box::new(error)),
    }
}

fn unreachable_file(path: &Path, message: &str, error: std::io::Error) -> JournalError {
    JournalError { path: shown(path), message: message.to_owned(), source: Some(Box::new(error)) }
}

fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(suffix);
    PathBuf::from(text)
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
