//! [`Brake`]: when so much vanishes or changes at once that a person has to look first.

use super::MirrorTally;

/// Fewer objects than this are no bulk, whatever share of the source they are.
pub const LEAST_BULK: u64 = 10;

/// The rule of the brake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brake {
    /// The largest share of the objects that may vanish or change from one run to the next, percent.
    pub percent: u32,
}

impl Brake {
    /// Why nothing of this may be propagated; `None` where it may. A source that was not empty and is empty now always
    /// brakes: a disk that is not mounted and a wrong prefix look like that. What is added never does.
    pub fn why(self, tally: &MirrorTally) -> Option<String> {
        let MirrorTally { before, objects, changed, vanished, .. } = *tally;
        if before > 0 && objects == 0 {
            return Some(format!("the source is empty, and had {before} objects"));
        }
        let gone = vanished + changed;
        let over = u128::from(gone) * 100 > u128::from(before) * u128::from(self.percent);
        (over && gone >= LEAST_BULK).then(|| {
            format!(
                "{vanished} of {before} objects have vanished and {changed} have changed: more than {} %",
                self.percent
            )
        })
    }

    /// Whether so many objects already brake, whatever else is found: then looking further is of no use.
    pub fn is_over(self, tally: &MirrorTally) -> bool {
        // The source is not empty as far as this knows.
        self.why(&MirrorTally { objects: tally.objects.max(1), ..*tally }).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(before: u64, objects: u64, vanished: u64, changed: u64) -> MirrorTally {
        MirrorTally { before, objects, changed, vanished, ..MirrorTally::default() }
    }

    #[test]
    fn a_bulk_brakes_and_a_handful_or_what_is_new_does_not() {
        let brake = Brake { percent: 20 };
        let braked = |before, objects, vanished, changed| {
            brake.why(&tally(before, objects, vanished, changed)).is_some()
        };
        assert!(braked(1000, 799, 201, 0));
        assert!(braked(1000, 1000, 100, 101), "vanished and changed count together");
        assert!(!braked(1000, 800, 200, 0), "no more than the share");
        assert!(!braked(10, 5, 5, 4), "nine objects are no bulk");
        assert!(braked(3, 0, 3, 0), "an empty source brakes, however small it was");
        assert!(!braked(0, 1_000_000, 0, 0), "a first run brings only what is new");
        assert!(!braked(0, 0, 0, 0));
        assert!(!Brake { percent: 100 }.is_over(&tally(50, 50, 0, 50)), "all of it may change at 100");
    }
}
