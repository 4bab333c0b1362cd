//! Durations such as `"90s"` or `"1h30m"`, and sizes such as `"48MiB"`.

use std::time::Duration;

const DURATION_UNITS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

const SIZE_UNITS: [(&str, u64); 8] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// Reads whole numbers with units, largest unit first: `90s`, `5m`, `6h`, `7d`, `2w`, `1h30m`, `500ms`.
/// A day is 24 hours.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total_ms = 0_u64;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let (number, unit_ms, after) = number_and_unit(rest, &DURATION_UNITS)?;
        if unit_ms >= smallest {
            return None;
        }
        smallest = unit_ms;
        total_ms = total_ms.checked_add(number.checked_mul(unit_ms)?)?;
        rest = after;
    }
    (smallest != u64::MAX).then(|| Duration::from_millis(total_ms))
}

/// Reads one whole number with its unit, in bytes: `48MiB`, `1GiB`, `500KB`.
pub(crate) fn size_bytes(text: &str) -> Option<u64> {
    let (number, unit, after) = number_and_unit(text, &SIZE_UNITS)?;
    if after.is_empty() { number.checked_mul(unit) } else { None }
}

fn number_and_unit<'t>(text: &'t str, units: &[(&str, u64)]) -> Option<(u64, u64, &'t str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = text[..digits].parse().ok()?;
    let letters = text[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
    let (word, after) = text[digits..].split_at(letters);
    let (_, unit) = units.iter().find(|(name, _)| *name == word)?;
    Some((number, *unit, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit_for_every_number() {
        for (text, seconds) in
            [("90s", 90), ("5m", 300), ("6h", 21_600), ("7d", 604_800), ("1h30m", 5400), ("0s", 0)]
        {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        for bad in [
            "",
            "90",
            "s",
            "5 m",
            "-5m",
            "1.5h",
            "5M",
            "30m1h",
            "1h1h",
            "5mx",
            "99999999999999999999s",
            "9999999999999999w",
        ] {
            assert_eq!(duration(bad), None, "{bad:?} was taken");
        }
    }

    #[test]
    fn a_size_is_one_number_with_a_unit() {
        assert_eq!(size_bytes("48MiB"), Some(48 << 20));
        assert_eq!(size_bytes("500KB"), Some(500_000));
        assert_eq!(size_bytes("0B"), Some(0));
        for bad in ["", "48", "48 MiB", "48mib", "MiB", "1GiB1MiB", "99999999999TiB"] {
            assert_eq!(size_bytes(bad), None, "{bad:?} was taken");
        }
    }
}
