//! Removes what a mirror keeps no more: expired states, what cut off runs wrote down, records nobody needs, and, through
//! the sweep, objects that no listing names.

use std::time::Duration;

use convault_core::{MirrorRun, MirrorVerdict, RunId, RunPhase, Store, StoreErrorKind};
use futures::TryStreamExt as _;

use super::{
    Mirror,
    history::{MirrorHistory, read_run, record_keys},
    progress, sweep,
};
use crate::{JobError, RunContext};

/// Longer than any run may take: older uploads belong to nobody.
const NOBODYS_AFTER: Duration = Duration::from_hours(48);
/// So many records of runs that changed nothing are kept.
const RECORDS_KEPT: usize = 50;

/// Removes what `record`, which was just written, says is not kept, and what has no owner. Gives why something was not
/// removed that should have been.
pub(super) async fn tidy(
    mirror: &Mirror,
    record: &MirrorRun,
    history: &MirrorHistory,
    context: &RunContext,
) -> Result<Vec<String>, JobError> {
    context.phase(RunPhase::Prune);
    if let Err(error) = abort_uploads(mirror, &mirror.dead_runs, context).await {
        return Ok(vec![format!("unfinished uploads: {}", crate::error::chain(&error))]);
    }
    if mirror.destination.append_only {
        // Whoever may delete there does all of this.
        return Ok(Vec::new());
    }
    if let Some(why) = missing(mirror, record, history).await? {
        return Ok(vec![why]);
    }
    let mut deed = Deed { mirror, context, held_back: Vec::new() };
    for run in &record.expired {
        deed.remove_state(run).await?;
    }
    deed.remove_progress(&context.id).await?;
    deed.remove_old_records(history).await?;
    deed.held_back.extend(sweep::sweep(mirror, record, context).await?);
    Ok(deed.held_back)
}

/// Why nothing may be removed because states that were there are not.
async fn missing(
    mirror: &Mirror,
    record: &MirrorRun,
    history: &MirrorHistory,
) -> Result<Option<String>, JobError> {
    if mirror.release_brake {
        return Ok(None);
    }
    let with_state = [MirrorVerdict::Complete, MirrorVerdict::Unchanged];
    let newest = history.runs.iter().rev().find(|(_, verdict)| with_state.contains(verdict));
    let Some((run, verdict)) = newest.filter(|(run, _)| *run != record.run) else { return Ok(None) };
    let before = read_run(&mirror.destination, &mirror.name, run, *verdict).await?;
    let stays = |run: &&RunId| !before.expired.contains(run);
    let found = history.with(MirrorVerdict::Complete).filter(stays).count() as u64;
    Ok((found < before.known).then(|| {
        format!(
            "only {found} of {} states that were known are there: nothing is removed; look at `convault mirror runs \
             {name}`, and say `convault mirror run {name} --release-brake` if they are known to be gone",
            before.known,
            name = mirror.name
        )
    }))
}

/// Aborts uploads that `dead` runs left, and those of runs that began more than two days ago.
pub(super) async fn abort_uploads(
    mirror: &Mirror,
    dead: &[RunId],
    context: &RunContext,
) -> Result<(), JobError> {
    let (store, layout) = (mirror.destination.store.as_ref(), mirror.layout());
    let unfinished = match store.list_uploads(&layout.prefix()).await {
        Ok(unfinished) => unfinished,
        Err(error) if matches!(error.kind, StoreErrorKind::Unsupported | StoreErrorKind::Denied) => {
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let now = context.clock.now();
    for upload in unfinished {
        let of_object = layout.parse_object(&upload.key).map(|(_, run)| run);
        let Some(run) = of_object.or_else(|| layout.parse_listing(&upload.key)) else { continue };
        let age = now.duration_since(run.time());
        if dead.contains(&run) || (!age.is_negative() && age.unsigned_abs() > NOBODYS_AFTER) {
            store.abort_upload(&upload).await?;
        }
    }
    Ok(())
}

/// Something being removed.
pub(super) struct Deed<'a> {
    pub(super) mirror: &'a Mirror,
    pub(super) context: &'a RunContext,
    pub(super) held_back: Vec<String>,
}

impl Deed<'_> {
    fn store(&self) -> &dyn Store {
        self.mirror.destination.store.as_ref()
    }

    /// The record goes first: without it the state is none. Its listing protects its objects until it is gone as well.
    async fn remove_state(&mut self, run: &RunId) -> Result<(), JobError> {
        self.context.check_lease().await?;
        let layout = self.mirror.layout();
        for key in record_keys(&layout, run, MirrorVerdict::Complete) {
            if !self.delete(&key).await? {
                return Ok(());
            }
        }
        self.delete(&layout.listing(run)).await?;
        self.context.message(format!("{}: the state of {run} is not kept any more", self.mirror.name));
        Ok(())
    }

    /// What was written down on the way is in the listing now, or stands for versions that are no more.
    async fn remove_progress(&mut self, own: &RunId) -> Result<(), JobError> {
        let (store, layout) = (self.mirror.destination.store.clone(), self.mirror.layout());
        for run in progress::runs(store.as_ref(), &layout).await? {
            if run > *own {
                continue;
            }
            let mut pieces = store.list(&format!("{}{run}/", layout.progress_prefix()));
            while let Some(piece) = pieces.try_next().await? {
                self.delete(&piece.key).await?;
            }
        }
        Ok(())
    }

    async fn remove_old_records(&mut self, history: &MirrorHistory) -> Result<(), JobError> {
        let layout = self.mirror.layout();
        for verdict in [MirrorVerdict::Unchanged, MirrorVerdict::Braked] {
            for run in history.with(verdict).rev().skip(RECORDS_KEPT) {
                for key in record_keys(&layout, run, verdict) {
                    self.delete(&key).await?;
                }
            }
        }
        Ok(())
    }

    /// Deletes one object; `false` where the store does not allow it.
    pub(super) async fn delete(&mut self, key: &str) -> Result<bool, JobError> {
        if self.context.stop.is_cancelled() {
            return Err(JobError::Stopped);
        }
        match self.store().delete(key).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind == StoreErrorKind::Denied => {
                if self.held_back.is_empty() {
                    self.held_back.push(format!("deleting is denied (the next run tries again): {error}"));
                }
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}
