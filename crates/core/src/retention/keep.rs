//! [`Keep`]: the rule.

use std::time::Duration;

use serde::Serialize;

use crate::Tier;

/// What to keep. The default keeps everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Keep {
    /// This many newest good snapshots.
    pub last: u32,
    /// One for each of this many newest hours that have one.
    pub hourly: u32,
    /// One for each of this many newest days that have one.
    pub daily: u32,
    /// One for each of this many newest weeks (from Monday, ISO 8601) that have one.
    pub weekly: u32,
    /// One for each of this many newest months that have one.
    pub monthly: u32,
    /// One for each of this many newest years that have one.
    pub yearly: u32,
    /// Every good snapshot that is not older than this.
    pub within: Option<Duration>,
    /// The floor: this many newest good snapshots stay, whatever the rest says; at least 1.
    pub at_least_verified: u32,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            last: 0,
            hourly: 0,
            daily: 0,
            weekly: 0,
            monthly: 0,
            yearly: 0,
            within: None,
            at_least_verified: 3,
        }
    }
}

impl Keep {
    /// Of how many newest slots of this tier one snapshot each is kept.
    pub fn of(&self, tier: Tier) -> u32 {
        match tier {
            Tier::Hourly => self.hourly,
            Tier::Daily => self.daily,
            Tier::Weekly => self.weekly,
            Tier::Monthly => self.monthly,
            Tier::Yearly => self.yearly,
        }
    }

    /// The rule for a destination that accepts only these tiers: they and the floor remain. Where none of them has a
    /// number nothing limits anything, and everything is kept.
    #[must_use]
    pub fn restricted_to(&self, tiers: &[Tier]) -> Self {
        let number = |tier| if tiers.contains(&tier) { self.of(tier) } else { 0 };
        Self {
            last: 0,
            hourly: number(Tier::Hourly),
            daily: number(Tier::Daily),
            weekly: number(Tier::Weekly),
            monthly: number(Tier::Monthly),
            yearly: number(Tier::Yearly),
            within: None,
            at_least_verified: self.at_least_verified,
        }
    }

    /// Whether no rule limits anything: then everything is kept.
    pub fn keeps_everything(&self) -> bool {
        self.within.is_none() && self.last == 0 && Tier::ALL.iter().all(|tier| self.of(*tier) == 0)
    }

    /// The floor, which is never 0.
    pub(super) fn floor(&self) -> usize {
        self.at_least_verified.max(1) as usize
    }
}
