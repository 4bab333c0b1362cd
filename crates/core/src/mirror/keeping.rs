//! Which listings of a mirror are kept.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};

use crate::{Candidate, Keep, RunId, Standing, plan_retention};

/// What is kept of a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorKeep {
    /// What vanished or changed can be restored for at least this long.
    pub hold_deletions: Duration,
    /// Which states stay longer than that; `None` where none need.
    pub keep: Option<Keep>,
    /// The time zone in which days, weeks and months begin.
    pub time_zone: TimeZone,
}

/// Which complete runs go, of `runs` in any order, oldest first.
///
/// A listing is the state until the next one takes its place, and only then does what it alone names begin to age. So
/// one stays while its successor is younger than `hold_deletions`. The newest always stays.
pub fn expired_runs(runs: &[RunId], keep: &MirrorKeep, now: Timestamp) -> Vec<RunId> {
    let mut sorted: Vec<&RunId> = runs.iter().collect();
    sorted.sort();
    let hold = jiff::SignedDuration::try_from(keep.hold_deletions).unwrap_or(jiff::SignedDuration::MAX);
    let is_young = |successor: &RunId| now.duration_since(successor.time()) <= hold;
    let by_rule: Vec<RunId> = match &keep.keep {
        None => sorted.iter().map(|run| (*run).clone()).collect(),
        Some(rule) => {
            let candidates: Vec<Candidate> = sorted.iter().map(|run| candidate(run)).collect();
            let plan = plan_retention(&candidates, rule, &keep.time_zone, now);
            let mut removed: Vec<RunId> = plan.removed().map(|decision| decision.id.clone()).collect();
            removed.sort();
            removed
        }
    };
    let superseded = sorted.windows(2).filter(|pair| !is_young(pair[1])).map(|pair| pair[0]);
    superseded.filter(|run| by_rule.binary_search(run).is_ok()).cloned().collect()
}

fn candidate(run: &RunId) -> Candidate {
    Candidate {
        id: run.clone(),
        time: run.time(),
        standing: Standing::Good,
        since: run.time(),
        hold: None,
        keep_until: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(day: u32) -> RunId {
        RunId::parse(&format!("202611{day:02}T030000Z-700000")).unwrap()
    }

    fn keep(days: u64, keep: Option<Keep>) -> MirrorKeep {
        let hold_deletions = Duration::from_hours(24 * days);
        MirrorKeep { hold_deletions, keep, time_zone: TimeZone::UTC }
    }

    #[test]
    fn a_state_stays_for_the_hold_after_another_took_its_place() {
        let now = "2026-11-22T04:00:00Z".parse().unwrap();
        // What run 2 alone names vanished on the 20th: it may be restored until the 27th.
        let runs = [run(20), run(1), run(2), run(21)];
        assert_eq!(expired_runs(&runs, &keep(7, None), now), [run(1)]);
        assert_eq!(expired_runs(&runs, &keep(0, None), now), [run(1), run(2), run(20)]);
        assert_eq!(expired_runs(&runs[..1], &keep(0, None), now), [], "the newest stays");
    }

    #[test]
    fn a_rule_keeps_states_longer_and_never_shorter() {
        let now = "2026-11-22T04:00:00Z".parse().unwrap();
        let runs: Vec<RunId> = (1..=21).map(run).collect();
        let rule = Keep { weekly: 3, at_least_verified: 1, ..Keep::default() };
        let gone = expired_runs(&runs, &keep(2, Some(rule)), now);
        let stays: Vec<&RunId> = runs.iter().filter(|run| !gone.contains(run)).collect();
        assert_eq!(stays, [&run(2), &run(9), &run(16), &run(20), &run(21)]);
        assert_eq!(expired_runs(&runs, &keep(2, Some(Keep::default())), now), [], "no rule keeps all");
    }
}
