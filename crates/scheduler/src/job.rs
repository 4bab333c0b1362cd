//! What the scheduler is told about a job.

use std::time::Duration;

use convault_core::{JobName, Schedule};
use jiff::Timestamp;

/// A job, as the scheduler sees it.
#[derive(Debug, Clone)]
pub struct ScheduledJob {
    /// Its name, unique in the list.
    pub name: JobName,
    /// Of the jobs with an equal group, one runs at a time. For backups: the deployment.
    pub group: String,
    /// When it is due; `None` for a job that runs only on request.
    pub schedule: Option<Schedule>,
    /// Each run starts up to this long after its due time, by an amount that is fixed for the job and the seed, so
    /// that many daemons with one schedule do not all call at once and the time between two runs stays the same.
    pub jitter: Duration,
    /// Whether a due time that passed while nothing ran here (the machine slept, the daemon was down) is made up
    /// for: once, however many passed.
    pub catch_up: bool,
    /// What is done about a run that failed and may be tried again.
    pub retry: RetryPolicy,
    /// How long one run may take before it is cancelled.
    pub time_out: Duration,
    /// What is remembered from before the start.
    pub past: Past,
}

/// What the run history remembers of a job from before the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Past {
    /// The newest due time that a run was started for. `None` when nothing is remembered: then nothing was missed.
    pub last_due: Option<Timestamp>,
    /// How many runs for that due time the end of the process cut off. With [`ScheduledJob::catch_up`] they count
    /// as failed attempts, so that a due time is tried again after a crash, but not for ever.
    pub cut_off: u32,
}

/// How often, and after how long, a failed run is tried again. Requested runs are not: whoever asked is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; 0 and 1 both mean no further attempt.
    pub attempts: u32,
    /// The wait before the second attempt.
    pub first: Duration,
    /// By how much each further wait is longer than the one before.
    pub factor: u32,
    /// The longest wait.
    pub max: Duration,
}

impl RetryPolicy {
    /// No further attempt.
    pub const NONE: Self = Self { attempts: 1, first: Duration::ZERO, factor: 1, max: Duration::ZERO };

    /// The wait after attempt number `failed` (1 is the first), or `None` if it was the last one.
    pub fn wait_after(&self, failed: u32) -> Option<Duration> {
        let times = self.factor.saturating_pow(failed.saturating_sub(1));
        (failed < self.attempts).then(|| self.first.saturating_mul(times).min(self.max))
    }
}

/// How long after each due time `name` starts: a number of whole milliseconds below `jitter` that depends on nothing
/// but `seed` and the name.
pub(crate) fn start_offset(seed: u64, name: &JobName, jitter: Duration) -> Duration {
    let bound = u64::try_from(jitter.as_millis()).unwrap_or(u64::MAX);
    if bound == 0 { Duration::ZERO } else { Duration::from_millis(mix(seed, name.as_str()) % bound) }
}

/// FNV-1a over the seed and the text, then the last step of `SplitMix64`, which spreads short names over all bits.
fn mix(seed: u64, text: &str) -> u64 {
    let fnv =
        seed.to_le_bytes().into_iter().chain(text.bytes()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let once = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let twice = (once ^ (once >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    twice ^ (twice >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> JobName {
        JobName::new(text).unwrap()
    }

    #[test]
    fn waits_grow_up_to_the_longest_and_end_with_the_attempts() {
        let policy = RetryPolicy {
            attempts: 5,
            first: Duration::from_secs(10),
            factor: 3,
            max: Duration::from_mins(1),
        };
        let waits: Vec<_> =
            (1..=5).map(|failed| policy.wait_after(failed).map(|wait| wait.as_secs())).collect();
        assert_eq!(waits, [Some(10), Some(30), Some(60), Some(60), None]);
        assert_eq!(RetryPolicy::NONE.wait_after(1), None);
        assert_eq!(RetryPolicy { factor: u32::MAX, attempts: 99, ..policy }.wait_after(98), Some(policy.max));
    }

    #[test]
    fn jitter_depends_on_the_seed_and_the_name_alone() {
        let jitter = Duration::from_mins(10);
        assert_eq!(start_offset(7, &name("crm"), jitter), start_offset(7, &name("crm"), jitter));
        assert_ne!(start_offset(7, &name("crm"), jitter), start_offset(8, &name("crm"), jitter));
        assert_ne!(start_offset(7, &name("crm"), jitter), start_offset(7, &name("shop"), jitter));
        assert_eq!(start_offset(7, &name("crm"), Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn jitter_spreads_over_its_whole_span() {
        let offsets: Vec<_> = (0..200)
            .map(|seed| start_offset(seed, &name("crm"), Duration::from_secs(100)).as_secs())
            .collect();
        assert!(offsets.iter().all(|offset| *offset < 100));
        assert!((0..4).all(|quarter| offsets.iter().filter(|offset| **offset / 25 == quarter).count() > 25));
    }
}
