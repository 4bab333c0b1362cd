//! One number before and after, and whether the step between them is too large.

use super::limits::Limits;

/// Something that is counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amount {
    /// What is counted: `documents`, `bytes of stored files`.
    pub(super) of: &'static str,
    /// The problem's kind without its direction.
    pub(super) kind: &'static str,
    /// A change of no more than this says nothing.
    pub(super) noise: u64,
    /// In the last good snapshot.
    pub(super) before: u64,
    /// In the one examined.
    pub(super) after: u64,
}

/// A step that is too large.
#[derive(Debug)]
pub(super) struct Step {
    /// The problem's kind.
    pub(super) kind: String,
    /// What happened, to be put after the name of what it happened to: `has 650 documents, …`.
    pub(super) what: String,
}

impl Amount {
    /// What is wrong with the step, if anything. Growth from nothing has no ratio and is never too large.
    pub(super) fn step(&self, limits: Limits) -> Option<Step> {
        let Self { of, kind, noise, before, after } = *self;
        let (percent, direction, word, limit) = if after < before {
            (Percent::of(before - after, before), "down", "less", limits.down_percent)
        } else {
            (Percent::of(after - before, before), "up", "more", limits.up_percent)
        };
        let too_large = before > 0 && before.abs_diff(after) > noise && percent.exceeds(limit);
        too_large.then(|| Step {
            kind: format!("{kind}-{direction}"),
            what: format!(
                "has {after} {of}, {percent} % {word} than the {before} before (limit: {limit} %)",
                percent = percent.to_text()
            ),
        })
    }
}

/// A part of a whole, compared without rounding.
#[derive(Debug, Clone, Copy)]
struct Percent {
    part: u128,
    whole: u128,
}

impl Percent {
    fn of(part: u64, whole: u64) -> Self {
        Self { part: u128::from(part), whole: u128::from(whole) }
    }

    fn exceeds(self, limit: u32) -> bool {
        self.part * 100 > self.whole * u128::from(limit)
    }

    /// With one decimal place, cut off.
    fn to_text(self) -> String {
        let tenths = self.part * 1000 / self.whole.max(1);
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}
