//! The one module that writes to standard output and standard error for people.

use std::io::{IsTerminal as _, Write as _};

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

/// Prints a result line.
pub(crate) fn line(text: &str) {
    // A reader that went away, as in `convault list | head`, is no reason to fail.
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// Prints a result as JSON, on one line.
pub(crate) fn json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => line(&text),
        Err(error) => note(&format!("cannot write JSON: {error}")),
    }
}

/// Tells a person something beside the result.
pub(crate) fn note(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// Prints an error with its causes.
pub(crate) fn error(error: &anyhow::Error) {
    note(&format!("convault: {error:#}"));
}

/// Whether a person looks at standard error.
pub(crate) fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Asks a person a question on standard error; anything but a yes is a no.
pub(crate) fn ask(question: &str) -> bool {
    let mut stderr = std::io::stderr();
    if write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush()).is_err() {
        return false;
    }
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Writes rows under a heading, in columns as wide as their widest cell. Columns whose heading begins with `>` are
/// aligned to the right.
pub(crate) fn table(heading: &[&str], rows: &[Vec<String>]) {
    let right: Vec<bool> = heading.iter().map(|text| text.starts_with('>')).collect();
    let heading: Vec<String> = heading.iter().map(|text| text.trim_start_matches('>').to_owned()).collect();
    let width = |column: usize| {
        rows.iter().chain([&heading]).map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    for row in std::iter::once(&heading).chain(rows) {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(column, cell)| {
                let pad = " ".repeat(widths[column] - cell.chars().count());
                if right[column] { format!("{pad}{cell}") } else { format!("{cell}{pad}") }
            })
            .collect();
        line(cells.join("  ").trim_end());
    }
}

/// A word of a command that somebody will copy into a shell.
pub(crate) fn shell_word(word: &str) -> String {
    let is_plain = |byte: char| byte.is_ascii_alphanumeric() || "-_./:=,@%+".contains(byte);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A size in the largest unit that leaves a number of at least 1: `1.5 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]) }
}

/// A number with its thousands set apart: `3,000,000`.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in the zone of this machine, to the second.
pub(crate) fn time(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// How long ago or ahead a time is, in its two largest units: `3 h 20 min`.
pub(crate) fn distance(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().unsigned_abs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let shown: Vec<String> = parts[first..]
        .iter()
        .take(2)
        .filter(|(count, unit)| *count > 0 || *unit == "s" && first == 3)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_numbers_are_short_and_right() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(u64::MAX), "16383.9 PiB");
        assert_eq!(number(3_000_000), "3,000,000");
        assert_eq!(number(12), "12");
    }

    #[test]
    fn distances_have_two_units() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(distance(at(0), at(0)), "0 s");
        assert_eq!(distance(at(0), at(3 * 3600 + 20 * 60 + 5)), "3 h 20 min");
        assert_eq!(distance(at(86_400 * 2), at(0)), "2 d");
    }
}
