//! [`Tier`]: the units of time that retention counts in.

use std::fmt;

use jiff::Zoned;
use serde::{Deserialize, Serialize};

/// A unit of time of which retention keeps one snapshot each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Clock hours.
    Hourly,
    /// Days.
    Daily,
    /// Weeks from Monday (ISO 8601).
    Weekly,
    /// Months.
    Monthly,
    /// Years.
    Yearly,
}

impl Tier {
    /// Every tier, the shortest first.
    pub const ALL: [Self; 5] = [Self::Hourly, Self::Daily, Self::Weekly, Self::Monthly, Self::Yearly];

    /// The tier in one lower-case word, as in settings and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }

    /// The slot that a time in the job's time zone belongs to: `2026-11-22 03:00+00:00`, `2026-11-22`, `2026-W47`,
    /// `2026-11`, `2026`.
    pub fn slot(self, time: &Zoned) -> String {
        let form = match self {
            Self::Hourly => "%Y-%m-%d %H:00%:z",
            Self::Daily => "%Y-%m-%d",
            Self::Weekly => "%G-W%V",
            Self::Monthly => "%Y-%m",
            Self::Yearly => "%Y",
        };
        time.strftime(form).to_string()
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
