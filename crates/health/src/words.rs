//! Numbers and times as people read them, text that is safe in HTML, and the one word for each state and ability.

use std::fmt;

use convault_core::{Abilities, Ability};
use jiff::{SignedDuration, Timestamp};

/// Text from anywhere, for the content of an element or a quoted attribute.
pub(crate) struct Escaped<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        self.0.to_string().chars().try_for_each(|character| match character {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            other => f.write_char(other),
        })
    }
}

/// Text as HTML, with what is in backticks as code.
pub(crate) fn with_code(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(number, part)| {
        let part = Escaped(part);
        if number % 2 == 1 { format!("<code>{part}</code>") } else { part.to_string() }
    });
    parts.collect()
}

/// A length of time in its two largest units: `3 d 4 h`, `12 min`, `5 s`.
pub(crate) fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().unsigned_abs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, 0) => format!("{hours} h"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, 0, _) => format!("{days} d"),
        _ => format!("{days} d {hours} h"),
    }
}

/// `5 min ago`, `in 3 h`.
pub(crate) fn relative(time: Timestamp, now: Timestamp) -> String {
    if time > now {
        format!("in {}", span(time.duration_since(now)))
    } else {
        format!("{} ago", span(now.duration_since(time)))
    }
}

/// Bytes in binary units with three digits: `1.46 GiB`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    let digits = match value {
        _ if unit == 0 => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A number with thin spaces between thousands: `3 000 000`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join("\u{2009}")
}

/// What a snapshot folder can be, as [`convault_core::HoldingStatus::states`] has it.
pub(crate) const STATES: [&str; 10] = [
    "good",
    "suspect",
    "damaged",
    "headless",
    "unreadable",
    "untrusted",
    "interrupted",
    "under-way",
    "being-removed",
    "fenced-off",
];

/// Each ability by name, with what came of trying it.
pub(crate) fn abilities(seen: &Abilities) -> [(&'static str, Ability); 7] {
    [
        ("put-if-absent", seen.put_if_absent),
        ("finish-if-absent", seen.finish_if_absent),
        ("replace-if-match", seen.replace_if_match),
        ("checksums", seen.checksums),
        ("list-uploads", seen.list_uploads),
        ("versions", seen.versions),
        ("locks", seen.locks),
    ]
}

/// What came of trying an ability, in one word, as in JSON.
pub(crate) fn ability(result: Ability) -> &'static str {
    match result {
        Ability::Works => "works",
        Ability::Ignored => "ignored",
        Ability::Refused => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        let sizes = [0, 999, 1000, 1536, 1_572_864, 10_737_418_240, u64::MAX].map(size);
        assert_eq!(sizes, ["0 B", "999 B", "0.98 KiB", "1.50 KiB", "1.50 MiB", "10.0 GiB", "16.0 EiB"]);
        assert_eq!([7, 1234, 3_000_000].map(count), ["7", "1\u{2009}234", "3\u{2009}000\u{2009}000"]);
        let spans =
            [5, 61, 3600, 3720, 86_400, 100_000].map(|seconds| span(SignedDuration::from_secs(seconds)));
        assert_eq!(spans, ["5 s", "1 min", "1 h", "1 h 2 min", "1 d", "1 d 3 h"]);
    }

    #[test]
    fn what_is_in_backticks_becomes_code() {
        assert_eq!(with_code("see `a < b`, then `c`."), "see <code>a &lt; b</code>, then <code>c</code>.");
    }

    #[test]
    fn nothing_escapes_from_text() {
        assert_eq!(Escaped("<a href=\"x\">'&").to_string(), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
    }
}
