//! From the wish for an export to a finished one: waiting for the slot, asking, waiting, giving up.

use std::sync::Arc;

use convault_convex_client::{ClientError, Deployment, ExportRow, ExportState, RetryClass};
use convault_core::{Export, ExportRequest, Progress, SourceError, SourceErrorKind};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::ask::{Asked, ask, is_new};
use crate::backoff::{Backoff, retrying};
use crate::own_export::{Canceller, OwnExport};
use crate::settings::PollSettings;
use crate::teller::Teller;
use crate::watch::Watch;

/// One wait for one export.
pub(crate) struct Wait<'a> {
    pub(crate) teller: &'a Teller,
    pub(crate) canceller: Arc<Canceller>,
    pub(crate) poll: PollSettings,
    pub(crate) request: &'a ExportRequest,
    pub(crate) progress: &'a (dyn Fn(Progress) + Send + Sync),
    pub(crate) holding: Holding,
    /// The first request whose answer was lost, if any.
    pub(crate) unanswered: Option<Unanswered>,
}

/// A request whose answer was lost: it may still be acted on.
#[derive(Debug)]
pub(crate) struct Unanswered {
    /// The newest row's id before the request.
    newest_before: Option<String>,
}

/// What the wait is for at the moment.
#[derive(Debug)]
pub(crate) enum Holding {
    /// Nothing was asked for yet.
    Nothing,
    /// Our export.
    Ours(OwnExport),
    /// An export that is probably ours, but could be somebody else's.
    Perhaps(String),
    /// The slot, which somebody else's export holds.
    Slot { holder: String, id: Option<String> },
}

impl Wait<'_> {
    /// Waits until there is a finished export, or gives up and leaves none of ours running.
    pub(crate) async fn run(mut self) -> Result<Export, SourceError> {
        let error = match tokio::time::timeout(self.request.deadline, self.obtain()).await {
            Ok(Ok(export)) => return Ok(export),
            Ok(Err(error)) => error,
            Err(_elapsed) => self.overdue(),
        };
        Err(self.give_up(error).await)
    }

    async fn obtain(&mut self) -> Result<Export, SourceError> {
        let mut backoff = Backoff::polling(&self.poll);
        let mut tries = Backoff::retrying(&self.canceller.retry);
        let mut unanswered = 0;
        loop {
            let newest = self.look().await?;
            if let Some(row) = newest.as_ref().filter(|row| row.state.holds_slot()) {
                if self.may_be_ours(row) {
                    return self.take_perhaps(row).await;
                }
                if let Some(export) = self.wait_for_theirs(row).await? {
                    return Ok(export);
                }
                continue;
            }
            match self.ask(newest.map(|row| row.id)).await? {
                Asked::Ours(own, row) => {
                    self.holding = Holding::Ours(own);
                    return self.wait_for(&row).await;
                }
                Asked::Perhaps(row) => return self.take_perhaps(&row).await,
                Asked::SlotTaken => {
                    self.note_slot_holder().await?;
                    tokio::time::sleep(backoff.pause()).await;
                }
                Asked::Unanswered(error) => {
                    unanswered += 1;
                    if unanswered >= crate::backoff::attempts(&self.canceller.retry, &error) {
                        return Err(self.teller.failed("cannot ask for an export", error));
                    }
                    tries.wait_after(&error).await;
                }
                Asked::Unseen(cause) => return Err(self.unseen(cause)),
                Asked::Refused(error) => return Err(self.teller.failed("cannot ask for an export", error)),
            }
        }
    }

    fn deployment(&self) -> &Deployment {
        &self.canceller.deployment
    }

    fn tell(&self, progress: Progress) {
        (self.progress)(progress);
    }

    async fn look(&self) -> Result<Option<ExportRow>, SourceError> {
        retrying(&self.canceller.retry, || self.deployment().latest_export())
            .await
            .map_err(|error| self.teller.failed("cannot look at the exports", error))
    }

    /// Asks in a task of its own: see [`ask`]. What nobody receives is dropped, and so cancelled, within that task or
    /// right here, so that whoever waits for the tasks waits for that cancel too.
    async fn ask(&mut self, before: Option<String>) -> Result<Asked, SourceError> {
        let asking = ask(Arc::clone(&self.canceller), self.request.include_files, before.clone());
        let (sender, receiver) = oneshot::channel();
        self.canceller.tasks.spawn(async move { drop(sender.send(asking.await)) });
        let asked = receiver.await.map_err(|_panicked| {
            self.teller.error(
                SourceErrorKind::Other,
                "asking for an export stopped unexpectedly; please report this",
            )
        })?;
        if matches!(asked, Asked::Unanswered(_)) {
            self.unanswered.get_or_insert(Unanswered { newest_before: before });
        }
        Ok(asked)
    }

    fn may_be_ours(&self, row: &ExportRow) -> bool {
        let unanswered = self.unanswered.as_ref();
        unanswered.is_some_and(|it| is_new(row, it.newest_before.as_deref(), self.request.include_files))
    }

    async fn take_perhaps(&mut self, row: &ExportRow) -> Result<Export, SourceError> {
        self.holding = Holding::Perhaps(row.id.clone());
        self.wait_for(row).await
    }

    /// Waits for an export that is ours, or is used as if it were.
    async fn wait_for(&mut self, row: &ExportRow) -> Result<Export, SourceError> {
        let id = row.id.as_str();
        let adopted = !matches!(self.holding, Holding::Ours(_));
        self.tell(Progress::Requested { export: id.to_owned(), adopted });
        let outcome = self.poll_until_ended(row).await?;
        // Only from here on is it certain that there is nothing to cancel.
        if let Holding::Ours(own) = std::mem::replace(&mut self.holding, Holding::Nothing) {
            own.ended();
        }
        match outcome {
            Ended::Completed(finished) => Ok(self.export(id, finished, adopted)),
            Ended::Lost(how) => Err(self.teller.error(
                SourceErrorKind::ExportLost,
                format!("the export {id} {how} before it was finished; the next attempt asks for a new one"),
            )),
        }
    }

    /// Waits while somebody else's export runs. Gives it back if it may be used instead of one of ours.
    async fn wait_for_theirs(&mut self, row: &ExportRow) -> Result<Option<Export>, SourceError> {
        self.note_slot(&row.requestor, Some(&row.id));
        let ended = self.poll_until_ended(row).await;
        self.holding = Holding::Nothing;
        let Ended::Completed(finished) = ended? else { return Ok(None) };
        let run_started = self.request.run_started.as_nanosecond();
        let young_enough = i128::from(finished.snapshot_ts) >= run_started;
        let alike = row.include_storage == Some(self.request.include_files);
        if !(self.request.may_adopt && young_enough && alike) {
            return Ok(None);
        }
        self.tell(Progress::Requested { export: row.id.clone(), adopted: true });
        Ok(Some(self.export(&row.id, finished, true)))
    }

    fn export(&self, id: &str, finished: Finished, adopted: bool) -> Export {
        Export {
            id: id.to_owned(),
            snapshot_ts_ns: finished.snapshot_ts,
            size_bytes: finished.size_bytes,
            include_files: self.request.include_files,
            adopted,
        }
    }

    /// Looks at an export until it has ended. A failed look is not an end: the deployment may be starting again. Our
    /// own export must show progress meanwhile; somebody else's is only bound by the deadline.
    async fn poll_until_ended(&self, export: &ExportRow) -> Result<Ended, SourceError> {
        let mut watch = Watch::new(self.request.no_progress_limit, Instant::now());
        let mut backoff = Backoff::polling(&self.poll);
        loop {
            let failure = match self.sight(export).await {
                Ok(Sight::Ended(ended)) => return Ok(ended),
                Ok(Sight::Hidden) => None,
                Ok(Sight::Running(row)) => {
                    self.note_progress(&mut watch, row);
                    None
                }
                Err(error) if is_final(&error) => {
                    return Err(self
                        .teller
                        .failed(&format!("cannot look at the export {}", export.id), error));
                }
                Err(error) => Some(error),
            };
            self.check(&watch, &export.id, failure.as_ref())?;
            match failure {
                Some(error) => backoff.wait_after(&error).await,
                None => tokio::time::sleep(backoff.pause()).await,
            }
        }
    }

    fn note_progress(&self, watch: &mut Watch, row: ExportRow) {
        if watch.sees(&row, Instant::now())
            && let Some(message) = row.progress_message
        {
            self.tell(Progress::Exporting { message });
        }
    }

    /// Gives up on an export that does not move, or cannot be seen.
    fn check(&self, watch: &Watch, id: &str, failure: Option<&ClientError>) -> Result<(), SourceError> {
        let seconds = self.request.no_progress_limit.as_secs_f64();
        if watch.is_blind(Instant::now()) {
            let why = failure.map(|error| format!(" ({error})")).unwrap_or_default();
            let message = format!(
                "the export {id} could not be looked at for {seconds} s{why}; check that the deployment is running"
            );
            return Err(self.teller.error(SourceErrorKind::Transient, message));
        }
        if !matches!(self.holding, Holding::Slot { .. }) && watch.is_stuck(Instant::now()) {
            let message = format!("the export {id} showed no progress for {seconds} s");
            return Err(self.teller.error(SourceErrorKind::Stuck, message));
        }
        Ok(())
    }

    async fn sight(&self, export: &ExportRow) -> Result<Sight, ClientError> {
        let newest = self.deployment().latest_export().await?;
        let Some(row) = newest.as_ref().filter(|row| row.id == export.id) else {
            let is_over = newest.is_none_or(|newest| newest.creation_time_ms > export.creation_time_ms);
            return self.sight_behind(&export.id, is_over).await;
        };
        match (&row.state, row.start_ts) {
            (ExportState::Completed, Some(snapshot_ts)) => Ok(Sight::completed(snapshot_ts, row.size_bytes)),
            (ExportState::Completed, None) => self.sight_behind(&export.id, true).await,
            (ExportState::Failed, _) => Ok(Sight::lost("failed")),
            (ExportState::Canceled, _) => Ok(Sight::lost("was cancelled by somebody")),
            (ExportState::Requested | ExportState::InProgress | ExportState::Other(_), _) => {
                Ok(Sight::Running(row.clone()))
            }
        }
    }

    /// What became of an export that is not the newest. If a later one is (`is_over`), this one has ended, since there
    /// is one slot; if it was finished, it can be downloaded by its id all the same.
    async fn sight_behind(&self, id: &str, is_over: bool) -> Result<Sight, ClientError> {
        match self.deployment().export_head(id).await {
            Ok(head) => Ok(match head.snapshot_ts {
                Some(snapshot_ts) => Sight::completed(snapshot_ts, head.length_bytes),
                None => Sight::lost("was hidden by a later one, and does not say its time,"),
            }),
            Err(error) if error.status() == Some(400) => {
                Ok(if is_over { Sight::lost("was cancelled by somebody") } else { Sight::Hidden })
            }
            Err(error) if error.status() == Some(404) => Ok(Sight::lost("vanished")),
            Err(error) => Err(error),
        }
    }

    /// Finds out who holds the slot, so that it can be said. Not every server can tell.
    async fn note_slot_holder(&mut self) -> Result<(), SourceError> {
        match self.deployment().latest_cloud_export().await {
            Ok(Some(row)) if row.state.holds_slot() => self.note_slot(&row.requestor, Some(&row.id)),
            Ok(_) => self.note_slot("another export", None),
            Err(error) if error.status() == Some(401) => {
                return Err(self.teller.failed("cannot look at the cloud backups", error));
            }
            Err(error) => {
                tracing::debug!(%error, "cannot see which backup of the dashboard holds the slot");
                self.note_slot("another export", None);
            }
        }
        Ok(())
    }

    fn note_slot(&mut self, holder: &str, id: Option<&str>) {
        if !matches!(&self.holding, Holding::Slot { holder: known, .. } if known == holder) {
            self.tell(Progress::WaitingForSlot { holder: holder.to_owned() });
        }
        self.holding = Holding::Slot { holder: holder.to_owned(), id: id.map(str::to_owned) };
    }

    fn unseen(&self, cause: Option<ClientError>) -> SourceError {
        let message = "an export was asked for, but does not appear among the exports: it may be running; look at the \
                       dashboard before the next attempt";
        match cause {
            Some(cause) => self.teller.caused(SourceErrorKind::ExportLost, message, cause),
            None => self.teller.error(SourceErrorKind::ExportLost, message),
        }
    }

    /// The deadline has passed.
    fn overdue(&self) -> SourceError {
        let seconds = self.request.deadline.as_secs_f64();
        let running = |id: &str| {
            format!(
                "the export {id} was not finished within {seconds} s; give it a longer deadline if it is only slow (a \
                 stored file that is missing on the server makes it begin again for ever)"
            )
        };
        let (kind, message) = match &self.holding {
            Holding::Ours(own) => (SourceErrorKind::Deadline, running(own.id())),
            Holding::Perhaps(id) => (SourceErrorKind::Deadline, running(id)),
            Holding::Slot { holder, id } => {
                (SourceErrorKind::Busy, self.busy(seconds, holder, id.as_deref()))
            }
            Holding::Nothing => (
                SourceErrorKind::Transient,
                format!("the deployment did not take an export within {seconds} s"),
            ),
        };
        self.teller.error(kind, message)
    }

    fn busy(&self, seconds: f64, holder: &str, id: Option<&str>) -> String {
        let by_hand = match id {
            Some(id) => format!("if the export {id} is stuck, {}", self.canceller.by_hand(id)),
            None => "if it is stuck, cancel it in the dashboard".to_owned(),
        };
        format!(
            "somebody else's export ({holder}) held the only slot for {seconds} s and was left alone; {by_hand}"
        )
    }

    /// Leaves nothing of ours running, and says what is left to do.
    async fn give_up(&mut self, mut error: SourceError) -> SourceError {
        let more = match std::mem::replace(&mut self.holding, Holding::Nothing) {
            Holding::Ours(own) => own.cancel().await,
            Holding::Perhaps(id) => format!(
                "the export {id} was left alone, since it may be somebody else's (the answer to our request was lost); \
                 if it is stuck, {}",
                self.canceller.by_hand(&id)
            ),
            Holding::Nothing | Holding::Slot { .. } => return error,
        };
        error.message = format!("{}; {more}", error.message);
        error
    }
}

/// What a look at an export shows.
enum Sight {
    Running(ExportRow),
    /// An older row is shown instead, and it is not finished: nothing is known.
    Hidden,
    Ended(Ended),
}

/// How an export ended.
enum Ended {
    Completed(Finished),
    Lost(&'static str),
}

#[derive(Clone, Copy)]
struct Finished {
    snapshot_ts: i64,
    size_bytes: Option<u64>,
}

impl Sight {
    fn completed(snapshot_ts: i64, size_bytes: Option<u64>) -> Self {
        Self::Ended(Ended::Completed(Finished { snapshot_ts, size_bytes }))
    }

    fn lost(how: &'static str) -> Self {
        Self::Ended(Ended::Lost(how))
    }
}

/// Whether a failed look will not get better by waiting.
fn is_final(error: &ClientError) -> bool {
    error.retry_class() == RetryClass::Never
        || error.missing_permission().is_some()
        || error.is_unknown_function()
}
