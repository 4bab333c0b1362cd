//! A run of a mirror: first what would be propagated is counted, then it is, and last the record makes it a state.

use convault_core::{
    ListingFacts, MIRROR_FORMAT, MirrorEntry, MirrorRun, MirrorTally, MirrorVerdict, RunEvent, RunId,
    RunPhase, expired_runs,
};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesOrdered};
use jiff::Timestamp;

use super::{
    Mirror, Mirrored,
    copy::{Copier, Outcome},
    diff::{Before, Step, Steps},
    history::{MirrorHistory, read_run, write_run},
    lines::{LinesWriter, WrittenLines},
    progress::{self, Progress},
    tidy,
    window::{WINDOW_OBJECTS, Window},
};
use crate::{JobError, RunContext, repository};

/// So many entries are on their way into the listing at once, those that are being copied included.
const IN_FLIGHT: usize = 64;
/// So many failures are told one by one,
const FAILURES_TOLD: usize = 20;
/// and a run with more than this has another cause than the objects.
const MOST_FAILURES: u64 = 1000;

/// Brings a mirror up to date, and removes what is not kept any more.
pub async fn mirror(mirror: &Mirror, context: &RunContext) -> Result<Mirrored, JobError> {
    context.phase(RunPhase::Preflight);
    let repository = repository::open_or_make(&mirror.destination, &context.id).await?.repository;
    let history = MirrorHistory::look(&mirror.destination, &mirror.name).await?;
    let mut run = Run { mirror, context, history, repository, warnings: Vec::new(), failures: Vec::new() };
    let previous = run.previous().await?;
    let started = context.clock.now();

    let (surveyed, window) = run.survey(previous.as_ref()).await?;
    let why = if mirror.release_brake { None } else { mirror.brake.why(&surveyed) };
    let record = if let Some(why) = why {
        run.record(MirrorVerdict::Braked, started, previous, surveyed, None, Some(why))
    } else if previous.is_some() && surveyed.is_unchanged() {
        run.record(MirrorVerdict::Unchanged, started, previous, surveyed, None, None)
    } else {
        run.propagate(previous, started, window).await?
    };
    context.check_lease().await?;
    write_run(&mirror.destination, &record).await?;
    let held_back = if record.verdict == MirrorVerdict::Braked {
        Vec::new()
    } else {
        tidy::tidy(mirror, &record, &run.history, context).await?
    };
    Ok(Mirrored { run: record, failures: run.failures, warnings: run.warnings, held_back })
}

struct Run<'a> {
    mirror: &'a Mirror,
    context: &'a RunContext,
    history: MirrorHistory,
    repository: RunId,
    warnings: Vec<String>,
    failures: Vec<String>,
}

impl Run<'_> {
    /// The newest state, if what is stored of it can be gone on with.
    async fn previous(&mut self) -> Result<Option<MirrorRun>, JobError> {
        let Some(newest) = self.history.with(MirrorVerdict::Complete).next_back() else { return Ok(None) };
        let (destination, name) = (&self.mirror.destination, &self.mirror.name);
        let record = read_run(destination, name, newest, MirrorVerdict::Complete).await?;
        if record.names == self.mirror.names().id() && record.recipients == self.recipients() {
            return Ok(Some(record));
        }
        let text = "who may read it, or the names key, is another than before: everything is stored anew, and the \
                    brake has nothing to compare with";
        self.context.warning(text);
        self.warnings.push(text.to_owned());
        Ok(None)
    }

    fn recipients(&self) -> Option<String> {
        let encryption = self.mirror.destination.encryption.as_ref()?;
        Some(encryption.recipients.fingerprint().to_string())
    }

    async fn window(&self, at_least: Option<convault_core::EntryName>) -> Result<Window, JobError> {
        let (source, names) = (self.mirror.source.as_ref(), self.mirror.names());
        Window::fill(source, names, at_least, WINDOW_OBJECTS, self.context).await
    }

    /// Counts what would be propagated. Where the source fits in memory, what was found is given as well.
    async fn survey(&self, previous: Option<&MirrorRun>) -> Result<(MirrorTally, Option<Window>), JobError> {
        let mut tally = first_tally(previous);
        let mut before = self.before(previous);
        let mut window = self.window(None).await?;
        let only = window.next().is_none().then(|| window.clone());
        loop {
            let next = window.next();
            let mut steps = Steps::of(window);
            while self.context.or_stop(steps.next(&mut before, &mut tally)).await??.is_some() {}
            if next.is_none() {
                return Ok((tally, only));
            }
            window = self.window(next).await?;
        }
    }

    fn before(&self, previous: Option<&MirrorRun>) -> Before<'_> {
        previous.map_or(Before::nothing(), |record| Before::open(&self.mirror.destination, record))
    }

    /// Copies what is new, and writes the listing.
    async fn propagate(
        &mut self,
        previous: Option<MirrorRun>,
        started: Timestamp,
        window: Option<Window>,
    ) -> Result<MirrorRun, JobError> {
        self.context.phase(RunPhase::Transfer);
        let (mirror, run) = (self.mirror, self.context.id.clone());
        let key = mirror.layout().listing(&run);
        let mut listing = LinesWriter::begin(mirror.destination.store.as_ref(), key).await?;
        let mut progress = Progress::new(mirror, run);
        let mut totals = Totals { tally: first_tally(previous.as_ref()), bytes: 0, why: None };
        let copied = self.copy_all(previous.as_ref(), window, &mut listing, &mut progress, &mut totals).await;
        // What is stored is written down whatever became of the rest.
        let kept = progress.write().await;
        let done = copied.and(kept);
        if let Err(error) = done {
            listing.abort().await;
            // Objects that were on their way when it ended.
            if let Err(error) =
                tidy::abort_uploads(mirror, std::slice::from_ref(&self.context.id), self.context).await
            {
                tracing::warn!(%error, "unfinished uploads stay until a later run aborts them");
            }
            return Err(error);
        }
        if let Some(why) = totals.why {
            listing.abort().await;
            let tally = totals.tally;
            return Ok(self.record(MirrorVerdict::Braked, started, previous, tally, None, Some(why)));
        }
        self.context.check_lease().await?;
        let written = listing.finish().await?;
        let listing = (written, totals.bytes);
        Ok(self.record(MirrorVerdict::Complete, started, previous, totals.tally, Some(listing), None))
    }

    async fn copy_all(
        &mut self,
        previous: Option<&MirrorRun>,
        mut window: Option<Window>,
        listing: &mut LinesWriter<'_>,
        progress: &mut Progress<'_>,
        totals: &mut Totals,
    ) -> Result<(), JobError> {
        let copier = Copier::new(self.mirror, self.context.id.clone());
        let mirror = self.mirror;
        let mut before =
            previous.map_or(Before::nothing(), |record| Before::open(&mirror.destination, record));
        let mut at_least = None;
        loop {
            let mut current = match window.take() {
                Some(window) => window,
                None => self.window(at_least).await?,
            };
            let (store, layout) = (self.mirror.destination.store.as_ref(), self.mirror.layout());
            progress::take_over(store, &layout, &mut current, self.context).await?;
            at_least = current.next();
            let mut steps = Steps::of(current);
            let mut flying: FuturesOrdered<BoxFuture<'_, Result<Arrived, JobError>>> = FuturesOrdered::new();
            let mut more = true;
            while more || !flying.is_empty() {
                while more && flying.len() < IN_FLIGHT {
                    match self.context.or_stop(steps.next(&mut before, &mut totals.tally)).await?? {
                        None => more = false,
                        Some(step) => flying.extend(fly(&copier, step)),
                    }
                }
                if !self.mirror.release_brake && self.mirror.brake.is_over(&totals.tally) {
                    totals.why = self.mirror.brake.why(&totals.tally);
                    return Ok(());
                }
                let Some(arrived) = self.context.or_stop(flying.next()).await? else { continue };
                self.land(arrived?, listing, progress, totals).await?;
            }
            if at_least.is_none() {
                totals.why = if mirror.release_brake { None } else { mirror.brake.why(&totals.tally) };
                return Ok(());
            }
        }
    }

    /// Writes an entry into the listing, if there is one.
    async fn land(
        &mut self,
        arrived: Arrived,
        listing: &mut LinesWriter<'_>,
        progress: &mut Progress<'_>,
        totals: &mut Totals,
    ) -> Result<(), JobError> {
        let entry = match arrived {
            Arrived::Same(entry) => Some(entry),
            Arrived::Copied { outcome: Outcome::Stored(stored), .. } => {
                totals.tally.read_bytes += stored.read_bytes;
                totals.tally.server_copied_bytes += stored.server_copied_bytes;
                if !stored.taken_over {
                    progress.add(stored.entry.clone(), stored.hidden).await?;
                }
                let done_bytes = totals.tally.read_bytes + totals.tally.server_copied_bytes;
                self.context.tell(RunEvent::Transferred { done_bytes, total_bytes: None });
                Some(stored.entry)
            }
            // It went while the run was on its way: the next listing would not have it either.
            Arrived::Copied { outcome: Outcome::Gone, .. } => None,
            Arrived::Copied { key, old, outcome: Outcome::Failed(why) } => {
                totals.tally.failed += 1;
                self.fail(&key, &why, totals.tally.failed)?;
                old
            }
        };
        let Some(entry) = entry else { return Ok(()) };
        totals.bytes += entry.details.as_ref().map_or(entry.stored_bytes, |details| details.size_bytes);
        listing.push(&entry).await
    }

    fn fail(&mut self, key: &str, why: &str, failed: u64) -> Result<(), JobError> {
        let text = format!("{key}: {why}");
        if failed > MOST_FAILURES {
            let what = format!("more than {MOST_FAILURES} objects could not be copied; the last: {text}");
            return Err(JobError::Mirror { mirror: self.mirror.name.clone(), what });
        }
        if self.failures.len() < FAILURES_TOLD {
            self.context.warning(text.clone());
            self.failures.push(text);
        }
        Ok(())
    }

    fn record(
        &self,
        verdict: MirrorVerdict,
        started: Timestamp,
        previous: Option<MirrorRun>,
        tally: MirrorTally,
        listing: Option<(WrittenLines, u64)>,
        why: Option<String>,
    ) -> MirrorRun {
        let now = self.context.clock.now();
        let newest = self.history.with(MirrorVerdict::Complete).next_back().cloned();
        let mut complete: Vec<RunId> = self.history.with(MirrorVerdict::Complete).cloned().collect();
        complete.extend(listing.is_some().then(|| self.context.id.clone()));
        let expired = match verdict {
            MirrorVerdict::Braked => Vec::new(),
            _ => expired_runs(&complete, &self.mirror.keep, now),
        };
        MirrorRun {
            format: MIRROR_FORMAT,
            run: self.context.id.clone(),
            repository: self.repository.clone(),
            mirror: self.mirror.name.clone(),
            verdict,
            started,
            finished: now,
            listing: listing.map(|(written, bytes)| ListingFacts {
                entries: written.lines,
                bytes,
                stored_bytes: written.stored_bytes,
                sha256: written.sha256,
            }),
            previous: previous.map(|record| record.run).or(newest),
            names: self.mirror.names().id(),
            recipients: self.recipients(),
            tally,
            why,
            released: self.mirror.release_brake,
            known: (complete.len() - expired.len()) as u64,
            expired,
            fence: self.context.fence(),
            convault_version: self.mirror.version.clone(),
        }
    }
}

fn first_tally(previous: Option<&MirrorRun>) -> MirrorTally {
    let before = previous.and_then(|record| record.listing).map_or(0, |listing| listing.entries);
    MirrorTally { before, ..MirrorTally::default() }
}

/// What a run adds up while it propagates.
struct Totals {
    tally: MirrorTally,
    /// Bytes of the source objects that the listing names.
    bytes: u64,
    /// Why it braked.
    why: Option<String>,
}

/// A step whose object is where it belongs, or not.
enum Arrived {
    Same(MirrorEntry),
    Copied { key: String, old: Option<MirrorEntry>, outcome: Outcome },
}

/// Sets a step going. What has vanished goes nowhere.
fn fly<'a>(copier: &'a Copier<'_>, step: Step) -> Option<BoxFuture<'a, Result<Arrived, JobError>>> {
    match step {
        Step::Vanished => None,
        Step::Same(entry) => Some(std::future::ready(Ok(Arrived::Same(entry))).boxed()),
        Step::Other(found, old) => {
            let arriving = async move {
                let key = found.info.key.clone();
                let outcome = copier.copy(*found).await?;
                Ok(Arrived::Copied { key, old, outcome })
            };
            Some(arriving.boxed())
        }
    }
}
