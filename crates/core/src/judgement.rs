//! What a snapshot is worth: its manifest and its marks together.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Manifest, Mark, MarkKind, Sha256};

/// What a snapshot counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It counts.
    Good,
    /// It looked wrong when it was made, and nobody has accepted it.
    Suspect,
    /// What is stored of it is not what its manifest says.
    Damaged,
}

impl Standing {
    /// The standing in one lower-case word, as in metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Suspect => "suspect",
            Self::Damaged => "damaged",
        }
    }
}

/// A wish that a snapshot is not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Until when; `None` means until somebody releases it.
    pub until: Option<Timestamp>,
}

/// What a snapshot is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// What it counts for.
    pub standing: Standing,
    /// When a person accepted it although it looked wrong.
    pub accepted: Option<Timestamp>,
    /// Whether it may be deleted.
    pub hold: Option<Hold>,
    /// Whether it was damaged once and is whole again.
    pub repaired: bool,
}

impl Judgement {
    /// Judges a snapshot by its manifest, that manifest's SHA-256, and its marks in any order. Marks that speak of
    /// another manifest are passed over. Of `damaged` and `repaired`, and of `hold` and `release`, the newest wins.
    pub fn of(manifest: &Manifest, manifest_sha256: &Sha256, marks: &[Mark]) -> Self {
        let speaks = |mark: &&Mark| {
            mark.id == manifest.id
                && match mark.manifest_sha256 {
                    Some(sha256) => sha256 == *manifest_sha256,
                    None => mark.repository == manifest.repository,
                }
        };
        let newest = |kinds: &[MarkKind]| {
            marks
                .iter()
                .filter(speaks)
                .filter(|mark| kinds.contains(&mark.kind))
                .max_by(|a, b| (a.at, &a.mark).cmp(&(b.at, &b.mark)))
        };
        let accepted = marks
            .iter()
            .filter(speaks)
            .filter(|mark| mark.kind == MarkKind::Accept)
            .map(|mark| mark.at)
            .min();
        let wholeness = newest(&[MarkKind::Damaged, MarkKind::Repaired]).map(|mark| mark.kind);
        let standing = match wholeness {
            Some(MarkKind::Damaged) => Standing::Damaged,
            _ if manifest.is_good() || accepted.is_some() => Standing::Good,
            _ => Standing::Suspect,
        };
        let hold = newest(&[MarkKind::Hold, MarkKind::Release])
            .filter(|mark| mark.kind == MarkKind::Hold)
            .map(|mark| Hold { until: mark.until });
        Self { standing, accepted, hold, repaired: wholeness == Some(MarkKind::Repaired) }
    }
}

/// Whether something written at `written` under fencing number `fence` comes from a holder that had been replaced:
/// something with a higher number was there before. `others` are the fencing numbers and times of everything else
/// written under leases; all times are the store's. What was written without a lease is never fenced off.
pub fn is_fenced_off(
    fence: Option<u64>,
    written: Timestamp,
    others: impl IntoIterator<Item = (u64, Timestamp)>,
) -> bool {
    let Some(fence) = fence else { return false };
    others.into_iter().any(|(other, at)| other > fence && at < written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Problem, RunId, Verdict, manifest::tests::example};

    fn mark(kind: MarkKind, second: i64) -> Mark {
        let manifest = example();
        let at = manifest.started + jiff::SignedDuration::from_secs(second);
        Mark {
            format: 1,
            kind,
            mark: RunId::new(at, 0),
            repository: manifest.repository.clone(),
            deployment: manifest.deployment.clone(),
            id: manifest.id.clone(),
            manifest_sha256: Some(Sha256::of(b"m")),
            at,
            reason: String::new(),
            names: Vec::new(),
            store_tags: std::collections::BTreeMap::new(),
            until: None,
            fence: None,
        }
    }

    fn judge(manifest: &Manifest, marks: &[Mark]) -> Judgement {
        Judgement::of(manifest, &Sha256::of(b"m"), marks)
    }

    #[test]
    fn the_newest_of_two_opposite_marks_wins_in_any_order() {
        let manifest = example();
        let mut marks = [mark(MarkKind::Damaged, 1), mark(MarkKind::Repaired, 2), mark(MarkKind::Hold, 3)];
        let judged = judge(&manifest, &marks);
        assert_eq!((judged.standing, judged.hold), (Standing::Good, Some(Hold { until: None })));
        assert!(judged.repaired);
        marks.reverse();
        assert_eq!(judge(&manifest, &marks), judged);
        let again = [marks.to_vec(), vec![mark(MarkKind::Damaged, 4), mark(MarkKind::Release, 5)]].concat();
        assert_eq!(judge(&manifest, &again).standing, Standing::Damaged);
        assert_eq!(judge(&manifest, &again).hold, None);
    }

    #[test]
    fn a_suspect_snapshot_counts_once_accepted_but_not_by_a_mark_on_another_manifest() {
        let problem = Problem { kind: "empty".into(), what: "nothing".into(), ids: Vec::new() };
        let manifest = Manifest { verdict: Verdict::Suspect { problems: vec![problem] }, ..example() };
        assert_eq!(judge(&manifest, &[]).standing, Standing::Suspect);
        assert_eq!(judge(&manifest, &[mark(MarkKind::Accept, 1)]).standing, Standing::Good);
        let other = Mark { manifest_sha256: Some(Sha256::of(b"other")), ..mark(MarkKind::Accept, 1) };
        assert_eq!(judge(&manifest, &[other]).standing, Standing::Suspect);
    }

    #[test]
    fn only_what_came_after_a_newer_holder_is_fenced_off() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(is_fenced_off(Some(1), at(20), [(2, at(10))]));
        assert!(!is_fenced_off(Some(1), at(5), [(2, at(10))]));
        assert!(!is_fenced_off(Some(2), at(20), [(1, at(10)), (2, at(11))]));
        assert!(!is_fenced_off(None, at(20), [(2, at(10))]));
    }
}
