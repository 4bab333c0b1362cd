//! [`FileLock`]: locks file objects against deletion for as long as the snapshot that needs them is expected to be kept.

use convault_core::{Candidate, FileRef, Layout, Lock, Standing, keep_horizon};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};

use crate::{BackupJob, Destination, JobError, RunContext, error::chain, prepare::Ready, prune::candidate};

/// A lock that has to be extended is extended by a quarter of its time more, and by this at least: so each file costs a
/// request once in some nights, not every night.
const LEAST_SLACK: SignedDuration = SignedDuration::from_hours(7 * 24);
/// So many requests are on their way at once.
const AT_ONCE: usize = 16;

/// What the file objects of one destination are locked with.
#[derive(Debug, Clone)]
pub(crate) struct FileLock {
    /// A lock that lasts until then is long enough.
    needed: Timestamp,
    /// What is set where it is not.
    lock: Lock,
    suffix: &'static str,
    /// Why the destination takes no locks.
    pub(super) refused: Option<String>,
}

impl FileLock {
    /// What the settings ask for; `None` where nothing is locked. The snapshot is not made yet: it is taken for a good
    /// one of this moment.
    pub(crate) fn of(ready: &Ready, job: &BackupJob, context: &RunContext) -> Option<Self> {
        let mode = ready.destination.object_lock?;
        let now = context.clock.now();
        let own = Candidate {
            id: context.id.clone(),
            time: now,
            standing: Standing::Good,
            since: now,
            hold: None,
            keep_until: job.keep_until,
        };
        let candidates: Vec<Candidate> = ready.survey.snapshots().map(candidate).collect();
        let keep = job.prune_rules(ready.store().destination()).keep_in(&ready.destination);
        let needed = keep_horizon(&own, &candidates, &keep, &job.time_zone, job.expected_interval, now)?;
        Self::until(Lock { mode, until: needed }, &ready.destination, now)
    }

    /// One that lasts as long as `lock` does; `None` where that is over.
    pub(crate) fn until(lock: Lock, destination: &Destination, now: Timestamp) -> Option<Self> {
        let (needed, mode) = (lock.until, lock.mode);
        if needed <= now {
            return None;
        }
        let slack = (needed.duration_since(now) / 4).max(LEAST_SLACK);
        let until = needed.saturating_add(slack).unwrap_or(Timestamp::MAX);
        let suffix = if destination.encryption.is_some() { Layout::ENCRYPTED_SUFFIX } else { "" };
        Some(Self { needed, lock: Lock { mode, until }, suffix, refused: None })
    }

    /// Locks those of `refs` whose locks end too early, and notes in them until when they are locked. A store that
    /// refuses is not asked again: the files are there without their locks as well.
    pub(super) async fn hold(
        &mut self,
        store: &dyn convault_core::Store,
        layout: &Layout,
        refs: &mut [FileRef],
        context: &RunContext,
    ) -> Result<(), JobError> {
        if self.refused.is_some() {
            return Ok(());
        }
        let (needed, lock, suffix) = (self.needed, self.lock, self.suffix);
        let is_short = |one: &&mut FileRef| one.locked_until.is_none_or(|until| until < needed);
        let mut short: Vec<&mut FileRef> = refs.iter_mut().filter(is_short).collect();
        for some in short.chunks_mut(AT_ONCE) {
            let locking = some.iter_mut().map(|one| {
                let key = layout.file(&one.name.to_string(), suffix);
                async move {
                    store.set_lock(&key, lock).await?;
                    one.locked_until = Some(lock.until);
                    Ok::<_, convault_core::StoreError>(())
                }
            });
            // All at once, so that no closure is held while they are waited for.
            let locked = context.or_stop(join_all(locking)).await?;
            if let Some(error) = locked.into_iter().find_map(Result::err) {
                let text = format!("{}: shared files are not locked: {}", error.destination, chain(&error));
                self.refused = Some(text);
                break;
            }
        }
        Ok(())
    }
}
