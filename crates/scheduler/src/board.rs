//! [`Board`]: every job, what waits, what runs, and what may start next. Plain data: no task, no channel, no waiting.

use std::{
    collections::{HashSet, VecDeque},
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use convault_core::JobName;
use jiff::Timestamp;

use crate::{
    handle::RequestError,
    job::{ScheduledJob, start_offset},
    runner::{Cancel, CancelReason, Run, Why},
    state::{Cause, Ended, JobState, LastRun, RetryState, RunningState},
    timetable::{Due, Timetable},
};

/// How many requested runs of one job may wait.
const WISHES_MAX: usize = 16;

/// What time it is, by both hands of the clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// The time of day.
    pub(crate) time: Timestamp,
    /// A point on the clock that never jumps.
    pub(crate) instant: Instant,
}

/// A run that may start once its job, its group and the cap allow it.
#[derive(Debug)]
struct Waiting<W> {
    /// Its place in the order of all runs of all jobs.
    number: u64,
    why: Why<W>,
    attempt: u32,
    /// When it may start, where it was postponed.
    postponed: Option<Postponed>,
}

/// Until when a run is postponed, and how often it was.
#[derive(Debug, Clone, Copy)]
struct Postponed {
    ready: Instant,
    shown: Timestamp,
    times: u32,
}

/// A further attempt whose time has not come.
#[derive(Debug)]
struct Retry {
    due: Timestamp,
    attempt: u32,
    ready: Instant,
    shown: Timestamp,
}

#[derive(Debug)]
struct Running<W> {
    state: RunningState,
    number: u64,
    why: Why<W>,
    postponed: u32,
    cancel: Cancel,
}

#[derive(Debug)]
struct Slot<W> {
    job: ScheduledJob,
    timetable: Option<Timetable>,
    waiting: VecDeque<Waiting<W>>,
    retry: Option<Retry>,
    running: Option<Running<W>>,
    last: Option<LastRun>,
    retries: u64,
}

/// Every job, by its place in the list.
#[derive(Debug)]
pub(crate) struct Board<W> {
    slots: Vec<Slot<W>>,
    cap: NonZeroUsize,
    next_number: u64,
}

impl<W: Clone> Board<W> {
    pub(crate) fn new(jobs: Vec<ScheduledJob>, cap: NonZeroUsize, seed: u64, now: Now) -> Self {
        let slots = jobs.into_iter().map(|job| Slot::new(job, seed, now)).collect();
        Self { slots, cap, next_number: 0 }
    }

    /// Looks at the clock: puts what has become due among the waiting.
    pub(crate) fn tick(&mut self, now: Now) {
        for slot in &mut self.slots {
            let due = slot.timetable.as_mut().and_then(|table| table.advance(now.time, now.instant));
            if let Some(why) = due.and_then(|due| slot.wanted(due)) {
                slot.retry = None;
                slot.wait(&mut self.next_number, why, 1);
            } else if let Some(retry) = slot.retry.take_if(|retry| retry.ready <= now.instant) {
                slot.wait(&mut self.next_number, Why::Retry { due: retry.due }, retry.attempt);
            }
        }
    }

    /// Puts a requested run among the waiting.
    pub(crate) fn request(&mut self, name: &JobName, wish: W) -> Result<(), RequestError> {
        let slot = self.slots.iter_mut().find(|slot| slot.job.name == *name);
        let slot = slot.ok_or_else(|| RequestError::NoSuchJob(name.clone()))?;
        let waiting = slot.waiting.iter().filter(|waiting| waiting.why.due().is_none()).count();
        if waiting >= WISHES_MAX {
            return Err(RequestError::TooMany { job: name.clone(), waiting });
        }
        slot.wait(&mut self.next_number, Why::Requested(wish), 1);
        Ok(())
    }

    /// Takes a requested run that waits off the board.
    pub(crate) fn withdraw(&mut self, name: &JobName, matcher: impl Fn(&W) -> bool) -> Option<W> {
        let slot = self.slots.iter_mut().find(|slot| slot.job.name == *name)?;
        let meant = |waiting: &Waiting<W>| matches!(&waiting.why, Why::Requested(wish) if matcher(wish));
        let place = slot.waiting.iter().position(meant)?;
        wish(slot.waiting.remove(place)?.why)
    }

    /// The run that has waited longest of those that may start, with its job's place; it counts as running from here.
    pub(crate) fn start_next(&mut self, now: Now) -> Option<(usize, Run<W>)> {
        let running = self.slots.iter().filter(|slot| slot.running.is_some());
        let groups: HashSet<&str> = running.map(|slot| slot.job.group.as_str()).collect();
        if self.running_count() >= self.cap.get() {
            return None;
        }
        // A job that runs holds its own group, so that a free group means a free job.
        let free =
            self.slots.iter().enumerate().filter(|(_, slot)| !groups.contains(slot.job.group.as_str()));
        let oldest = free.filter_map(|(place, slot)| Some((slot.next_number(now)?, place))).min();
        let (_, place) = oldest?;
        Some((place, self.slots[place].start(now)?))
    }

    /// A run has ended: decides about another attempt.
    pub(crate) fn ended(&mut self, place: usize, ended: Ended, now: Now) {
        self.slots[place].ended(ended, now);
    }

    /// A run could not take place yet: it waits again. Gives back a requested one that will not, since all stops.
    pub(crate) fn postponed(&mut self, place: usize, after: Duration, now: Now) -> Option<W> {
        self.slots[place].postponed(after, now)
    }

    /// Forgets everything that waits, and gives back the requested runs.
    pub(crate) fn clear(&mut self) -> Vec<(JobName, W)> {
        let mut wishes = Vec::new();
        for slot in &mut self.slots {
            slot.retry = None;
            let waiting = slot.waiting.drain(..);
            wishes.extend(waiting.filter_map(|waiting| Some((slot.job.name.clone(), wish(waiting.why)?))));
        }
        wishes
    }

    /// Asks every run to stop.
    pub(crate) fn cancel_all(&self, reason: CancelReason) {
        self.slots.iter().filter_map(|slot| slot.running.as_ref()).for_each(|run| run.cancel.cancel(reason));
    }

    /// The jobs that run, with the time since when.
    pub(crate) fn running(&self) -> impl Iterator<Item = (&JobName, Timestamp)> {
        self.slots.iter().filter_map(|slot| Some((&slot.job.name, slot.running.as_ref()?.state.since)))
    }

    pub(crate) fn running_count(&self) -> usize {
        self.running().count()
    }

    pub(crate) fn job(&self, place: usize) -> &ScheduledJob {
        &self.slots[place].job
    }

    pub(crate) fn states(&self) -> Vec<JobState> {
        self.slots.iter().map(Slot::state).collect()
    }
}

impl<W: Clone> Slot<W> {
    fn new(job: ScheduledJob, seed: u64, now: Now) -> Self {
        let offset = start_offset(seed, &job.name, job.jitter);
        let timetable = job
            .schedule
            .clone()
            .map(|schedule| Timetable::new(schedule, offset, job.past.last_due, now.time, now.instant));
        let mut slot = Self {
            job,
            timetable,
            waiting: VecDeque::new(),
            retry: None,
            running: None,
            last: None,
            retries: 0,
        };
        slot.mend_cut_off(now);
        slot
    }

    /// A run that the end of the process cut off counts as a failed attempt.
    fn mend_cut_off(&mut self, now: Now) {
        let past = self.job.past;
        let (Some(due), true, true) = (past.last_due, past.cut_off > 0, self.job.catch_up) else { return };
        self.retry = self.further_attempt(due, past.cut_off, now);
        let (job, cut_off) = (&self.job.name, past.cut_off);
        if self.retry.is_some() {
            tracing::warn!(%job, %due, cut_off, "the last run was cut off; it will be tried again");
        } else {
            tracing::warn!(%job, %due, cut_off, "every attempt was cut off; waiting for the next due time");
        }
    }

    fn further_attempt(&self, due: Timestamp, failed: u32, now: Now) -> Option<Retry> {
        let wait = self.job.retry.wait_after(failed)?;
        Some(Retry { due, attempt: failed + 1, ready: now.instant + wait, shown: now.time + wait })
    }

    /// What a due time asks for; nothing if it was missed and is not to be caught up.
    fn wanted(&self, due: Due) -> Option<Why<W>> {
        let job = &self.job.name;
        match due {
            Due::OnTime(due) => Some(Why::Scheduled { due }),
            Due::Missed(due) if self.job.catch_up => {
                tracing::info!(%job, %due, "a due time was missed; catching up");
                Some(Why::CatchUp { due })
            }
            Due::Missed(due) => {
                tracing::warn!(%job, %due, "a due time was missed and is left out, since catch_up is off");
                None
            }
        }
    }

    /// At most one run that the schedule asks for waits: a newer one takes the place of an older one.
    fn wait(&mut self, next_number: &mut u64, why: Why<W>, attempt: u32) {
        if why.due().is_some()
            && let Some(older) = scheduled(&mut self.waiting)
        {
            tracing::warn!(job = %self.job.name, "due again before the last run could start; one run stands for both");
            (older.why, older.attempt) = (why, attempt);
            return;
        }
        self.waiting.push_back(Waiting { number: *next_number, why, attempt, postponed: None });
        *next_number += 1;
    }

    /// The place in the order of all runs of the one that is next here, if it may start.
    fn next_number(&self, now: Now) -> Option<u64> {
        let next = self.waiting.front()?;
        next.postponed.is_none_or(|postponed| postponed.ready <= now.instant).then_some(next.number)
    }

    fn start(&mut self, now: Now) -> Option<Run<W>> {
        let Waiting { number, why, attempt, postponed } = self.waiting.pop_front()?;
        let postponed = postponed.map_or(0, |postponed| postponed.times);
        let cancel = Cancel::default();
        let state = RunningState { since: now.time, cause: cause(&why), attempt };
        self.retries += u64::from(state.cause == Cause::Retry);
        self.running = Some(Running { state, number, why: why.clone(), postponed, cancel: cancel.clone() });
        let more_attempts = why.due().is_some() && self.job.retry.wait_after(attempt).is_some();
        Some(Run { job: self.job.name.clone(), why, attempt, postponed, more_attempts, cancel })
    }

    fn ended(&mut self, ended: Ended, now: Now) {
        let Some(Running { state, why, cancel, .. }) = self.running.take() else { return };
        let RunningState { since: started, cause, attempt } = state;
        self.last = Some(LastRun { cause, attempt, started, finished: now.time, ended });
        // A success makes up for whatever failed before it; a due time that already waits comes instead of a retry.
        let superseded = scheduled(&mut self.waiting).is_some();
        let stopping = cancel.reason() == Some(CancelReason::Stopping);
        match why.due() {
            _ if ended == Ended::Succeeded => self.retry = None,
            Some(due) if ended.retryable() && !superseded && !stopping => {
                self.retry = self.further_attempt(due, attempt, now);
            }
            _ => {}
        }
        if let Some(retry) = &self.retry {
            tracing::info!(job = %self.job.name, attempt = retry.attempt, at = %retry.shown, "will be tried again");
        }
    }

    /// Puts the run that has just been postponed back at the head of the queue, as if it had not started. A due time
    /// that came meanwhile stands for it, and waits as long: what stands in the way is the same.
    fn postponed(&mut self, after: Duration, now: Now) -> Option<W> {
        let Running { state, number, why, postponed, cancel } = self.running.take()?;
        self.retries -= u64::from(state.cause == Cause::Retry);
        if cancel.reason() == Some(CancelReason::Stopping) {
            return wish(why);
        }
        let (ready, shown) = (now.instant + after, now.time + after);
        let postponed = Some(Postponed { ready, shown, times: postponed.saturating_add(1) });
        if why.due().is_some()
            && let Some(newer) = scheduled(&mut self.waiting)
        {
            tracing::warn!(job = %self.job.name, "due again before the last run could take place; one run stands for both");
            newer.postponed = postponed;
            return None;
        }
        self.waiting.push_front(Waiting { number, why, attempt: state.attempt, postponed });
        None
    }

    fn state(&self) -> JobState {
        JobState {
            name: self.job.name.clone(),
            group: self.job.group.clone(),
            next_due: self.timetable.as_ref().and_then(Timetable::next_due),
            next_start: self.timetable.as_ref().and_then(Timetable::next_start),
            running: self.running.as_ref().map(|running| running.state),
            waiting: self.waiting.len(),
            postponed: self.waiting.front().and_then(|next| Some(next.postponed?.shown)),
            retry: self.retry.as_ref().map(|retry| RetryState { attempt: retry.attempt, at: retry.shown }),
            last: self.last,
            retries: self.retries,
        }
    }
}

/// The run among those waiting that the schedule asks for: there is one at most.
fn scheduled<W>(waiting: &mut VecDeque<Waiting<W>>) -> Option<&mut Waiting<W>> {
    waiting.iter_mut().find(|waiting| waiting.why.due().is_some())
}

/// What was asked for, of a run that somebody asked for.
fn wish<W>(why: Why<W>) -> Option<W> {
    match why {
        Why::Requested(wish) => Some(wish),
        _ => None,
    }
}

fn cause<W>(why: &Why<W>) -> Cause {
    match why {
        Why::Scheduled { .. } => Cause::Scheduled,
        Why::CatchUp { .. } => Cause::CatchUp,
        Why::Retry { .. } => Cause::Retry,
        Why::Requested(_) => Cause::Requested,
    }
}
