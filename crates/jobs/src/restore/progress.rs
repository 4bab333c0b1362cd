//! Follows an import: until it can be confirmed, and, once it was, to its end.

use std::time::Duration;

use convault_core::{ImportId, ImportMode, ImportStatus, Target, TargetError, TargetErrorKind};
use tokio::time::Instant;

use crate::{JobError, RunContext, error::chain};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// A server reads through all that was uploaded before it asks for confirmation, and works at one import at a time.
const CONFIRMABLE_WITHIN: Duration = Duration::from_hours(6);
/// How long a deployment may give no answer before it is given up.
const SILENT_FOR: Duration = Duration::from_mins(10);
/// A server that still waits so long after a confirmation has lost it, and is told again.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(15);
/// How long an import that was cancelled after its confirmation may take to end.
const CANCELLED_WITHIN: Duration = Duration::from_mins(5);
const CANCELS: u32 = 3;

/// What the server says before it is told to go on.
pub(super) struct Asked {
    pub(super) message: String,
    pub(super) deletes: bool,
}

/// One import of one deployment.
pub(super) struct Followed<'a> {
    pub(super) target: &'a dyn Target,
    pub(super) id: &'a ImportId,
    pub(super) mode: ImportMode,
    pub(super) context: &'a RunContext,
}

impl Followed<'_> {
    /// Waits until the import can be confirmed. Where that comes to nothing, or the run is stopped, it is cancelled.
    pub(super) async fn until_confirmable(&self) -> Result<Asked, JobError> {
        let asked = match self.context.or_stop(self.asked()).await {
            Ok(asked) => asked,
            Err(stopped) => Err(stopped),
        };
        if asked.is_err() {
            self.cancel_as_possible().await;
        }
        asked
    }

    async fn asked(&self) -> Result<Asked, JobError> {
        let (begun, mut pace) = (Instant::now(), Pace::new());
        loop {
            match self.look(&mut pace).await? {
                ImportStatus::WaitingForConfirmation { message, deletes } => {
                    return Ok(Asked { message, deletes });
                }
                ImportStatus::Failed { message } => return Err(self.failed(message)),
                ImportStatus::InProgress { .. } | ImportStatus::Completed { .. } => {
                    return Err(self.failed("somebody else confirmed it; look at the deployment".to_owned()));
                }
                ImportStatus::Uploaded => {}
            }
            if begun.elapsed() > CONFIRMABLE_WITHIN {
                let hours = CONFIRMABLE_WITHIN.as_secs() / 3600;
                return Err(self.failed(format!(
                    "after {hours} h the deployment still reads through it; look at its other imports"
                )));
            }
            pace.pause().await;
        }
    }

    /// Confirms the import and waits for its end. Gives the documents written. Stopped meanwhile, an import that is all
    /// or nothing is cancelled, and one that is not is waited for. Where nobody says what became of it, the error is
    /// [`JobError::Unsettled`].
    pub(super) async fn to_its_end(&self) -> Result<u64, JobError> {
        if self.context.stop.is_cancelled() {
            self.cancel_as_possible().await;
            return Err(JobError::Stopped);
        }
        if let Err(error) = self.confirm().await {
            self.cancel_as_possible().await;
            return Err(error);
        }
        let end = self.ended();
        let ended = if self.mode == ImportMode::Append {
            end.await
        } else {
            match self.context.or_stop(end).await {
                Ok(ended) => ended,
                Err(_) => self.withdrawn().await,
            }
        };
        ended.map_err(|error| match error {
            error @ (JobError::Import { .. } | JobError::Stopped | JobError::Unsettled { .. }) => error,
            error => self.unsettled(chain(&error)),
        })
    }

    /// Says that it may go on. Whether an answer that was lost had been a yes, the import itself tells.
    async fn confirm(&self) -> Result<(), JobError> {
        match self.target.confirm(self.id).await {
            Ok(()) => Ok(()),
            Err(error) if is_passing(&error) => {
                tracing::debug!(%error, "whether the import was confirmed is looked at");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn ended(&self) -> Result<u64, JobError> {
        let (mut pace, mut said) = (Pace::new(), String::new());
        let mut confirmed = Instant::now();
        loop {
            match self.look(&mut pace).await? {
                ImportStatus::Completed { documents } => return Ok(documents),
                ImportStatus::Failed { message } => return Err(self.failed(message)),
                ImportStatus::InProgress { message } if message != said => {
                    self.context.message(message.clone());
                    said = message;
                }
                ImportStatus::WaitingForConfirmation { .. } if confirmed.elapsed() > CONFIRMED_WITHIN => {
                    self.confirm().await?;
                    confirmed = Instant::now();
                }
                _ => {}
            }
            pace.pause().await;
        }
    }

    /// Takes back what was confirmed. It may have ended before that.
    async fn withdrawn(&self) -> Result<u64, JobError> {
        self.context.message("stopping: the import is cancelled; what was there stays as it was");
        self.cancel_as_possible().await;
        match tokio::time::timeout(CANCELLED_WITHIN, self.ended()).await {
            Ok(Ok(documents)) => Ok(documents),
            Ok(Err(JobError::Import { .. })) => Err(JobError::Stopped),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.unsettled("it was to be cancelled, and goes on all the same".to_owned())),
        }
    }

    /// How far it is. A deployment that does not answer for a while is asked again.
    async fn look(&self, pace: &mut Pace) -> Result<ImportStatus, JobError> {
        loop {
            match self.target.import(self.id).await {
                Ok(status) => {
                    pace.silent_since = None;
                    return Ok(status);
                }
                Err(error) if is_passing(&error) => {
                    let since = *pace.silent_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > SILENT_FOR {
                        return Err(error.into());
                    }
                    tracing::debug!(%error, "how far the import is will be asked again");
                    pace.pause().await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Cancels the import. One that stays behind all the same waits for its confirmation for ever, and changes nothing.
    async fn cancel_as_possible(&self) {
        if let Err(error) = cancel(self.target, self.id).await {
            self.context.warning(format!(
                "import {} could not be cancelled, and waits there for a confirmation that never comes: {}",
                self.id.0,
                chain(&error)
            ));
        }
    }

    fn unsettled(&self, what: String) -> JobError {
        JobError::Unsettled { target: self.target.name().to_owned(), import: self.id.0.clone(), what }
    }

    fn failed(&self, what: String) -> JobError {
        JobError::Import { target: self.target.name().to_owned(), what }
    }
}

/// Cancels an import that was not confirmed.
pub(super) async fn cancel(target: &dyn Target, id: &ImportId) -> Result<(), JobError> {
    let mut pace = Pace::new();
    for _ in 1..CANCELS {
        match target.cancel(id).await {
            Err(error) if is_passing(&error) => pace.pause().await,
            result => return Ok(result?),
        }
    }
    Ok(target.cancel(id).await?)
}

/// Whether asking again may help, and does no harm: for what may be repeated.
fn is_passing(error: &TargetError) -> bool {
    matches!(error.kind, TargetErrorKind::Transient | TargetErrorKind::Unknown)
}

/// When the next look is due.
struct Pace {
    pause: Duration,
    silent_since: Option<Instant>,
}

impl Pace {
    fn new() -> Self {
        Self { pause: FIRST_PAUSE, silent_since: None }
    }

    async fn pause(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 3 / 2).min(LONGEST_PAUSE);
    }
}
