//! [`Verdict`]: how something is to be seen.

use convault_core::{DrillStatus, JobStatus, MirrorStatus, RunOutcome, WatchStatus};
use jiff::Timestamp;

/// How much later than its schedule allows something may be before it is called late: the same half hour as in the
/// alert rules, for the run itself and its jitter.
pub(crate) const LATE_AFTER_SECONDS: f64 = 1800.0;

/// A colour and a word.
pub(crate) struct Verdict {
    pub(crate) class: &'static str,
    pub(crate) word: &'static str,
}

impl Verdict {
    /// How a job does.
    pub(crate) fn of_job(job: &JobStatus, now: Timestamp) -> Self {
        let finished = job.last_success.as_ref().and_then(|run| run.finished);
        let age = finished.map(|time| now.duration_since(time).as_secs_f64());
        let late = age
            .zip(job.expected_interval_seconds)
            .is_some_and(|(age, limit)| age > limit + LATE_AFTER_SECONDS);
        let last = job.last_attempt.as_ref().and_then(|run| run.outcome);
        let (class, word) = match last {
            Some(RunOutcome::Failed) => ("bad", "last run failed"),
            Some(RunOutcome::Suspect) => ("bad", "last snapshot is suspect"),
            Some(RunOutcome::Interrupted) => ("bad", "last run was interrupted"),
            _ if late => ("bad", "backup is late"),
            Some(RunOutcome::Partial) => ("warn", "a destination has no snapshot of the last run"),
            Some(RunOutcome::Cancelled) => ("warn", "last run was cancelled"),
            Some(RunOutcome::Good) => ("good", "good"),
            None => ("info", "no run yet"),
        };
        Self { class, word }
    }

    /// How a mirror does.
    pub(crate) fn of_mirror(mirror: &MirrorStatus, now: Timestamp) -> Self {
        let last = mirror.last_attempt.as_ref().and_then(|run| run.outcome);
        let (class, word) = match last {
            _ if mirror.braked_since.is_some() => ("bad", "the brake holds"),
            Some(RunOutcome::Failed) => ("bad", "last run failed"),
            Some(RunOutcome::Interrupted) => ("bad", "last run was interrupted"),
            _ if is_late(mirror, now) => ("bad", "not up to date"),
            Some(RunOutcome::Partial) => ("warn", "some objects could not be copied"),
            Some(RunOutcome::Cancelled) => ("warn", "last run was cancelled"),
            Some(RunOutcome::Good | RunOutcome::Suspect) => ("good", "good"),
            None => ("info", "no run yet"),
        };
        Self { class, word }
    }

    /// How a drill does, as a daemon sees it that runs since `started`.
    pub(crate) fn of_drill(drill: &DrillStatus, started: Timestamp, now: Timestamp) -> Self {
        let last = drill.last_attempt.as_ref();
        let (class, word) = match last.and_then(|run| run.outcome) {
            Some(RunOutcome::Failed) if last.is_some_and(|run| run.snapshot.is_some()) => {
                ("bad", "not passed")
            }
            Some(RunOutcome::Failed) => ("bad", "could not be made"),
            _ if drill.is_too_old(started, now) && drill.last_passed.is_none() => ("bad", "never passed"),
            _ if drill.is_too_old(started, now) => ("bad", "passed too long ago"),
            Some(RunOutcome::Interrupted) => ("warn", "last drill was interrupted"),
            Some(RunOutcome::Cancelled) => ("warn", "last drill was cancelled"),
            Some(RunOutcome::Good | RunOutcome::Partial | RunOutcome::Suspect) => ("good", "passed"),
            None if drill.last_passed.is_some() => ("good", "passed"),
            None => ("info", "no drill yet"),
        };
        Self { class, word }
    }

    /// How the looks at a job's secrets do, as a daemon sees it that runs since `started`.
    pub(crate) fn of_watch(watch: &WatchStatus, started: Timestamp, now: Timestamp) -> Self {
        let last = watch.last_attempt.as_ref().and_then(|run| run.outcome);
        let (class, word) = match last {
            _ if is_unread(watch, started, now) => ("bad", "not read for too long"),
            Some(RunOutcome::Failed | RunOutcome::Interrupted) => ("warn", "last look failed"),
            Some(RunOutcome::Partial) => ("warn", "last look was not whole"),
            Some(RunOutcome::Cancelled) => ("warn", "last look was cancelled"),
            Some(RunOutcome::Good | RunOutcome::Suspect) => ("good", "good"),
            None => ("info", "no look yet"),
        };
        Self { class, word }
    }

    /// The colour of an outcome; of a run that goes on, where there is none yet.
    pub(crate) fn class_of(outcome: Option<RunOutcome>) -> &'static str {
        match outcome {
            Some(RunOutcome::Good) => "good",
            Some(RunOutcome::Failed | RunOutcome::Suspect | RunOutcome::Interrupted) => "bad",
            Some(RunOutcome::Partial | RunOutcome::Cancelled) => "warn",
            None => "info",
        }
    }
}

/// Whether a mirror has not been up to date for twice its interval. The same rule as the alert `ConvaultMirrorTooOld`.
pub(crate) fn is_late(mirror: &MirrorStatus, now: Timestamp) -> bool {
    let age = mirror.last_success.map(|time| now.duration_since(time).as_secs_f64());
    age.zip(mirror.expected_interval_seconds)
        .is_some_and(|(age, interval)| age > 2.0 * interval + LATE_AFTER_SECONDS)
}

/// Whether no look has read all secrets for three times its interval; where none ever did, that counts from the daemon's
/// start. The same rule as the alert `ConvaultSecretsNotRead`.
fn is_unread(watch: &WatchStatus, started: Timestamp, now: Timestamp) -> bool {
    let age = now.duration_since(watch.last_success.unwrap_or(started)).as_secs_f64();
    watch.expected_interval_seconds.is_some_and(|interval| age > 3.0 * interval + LATE_AFTER_SECONDS)
}
