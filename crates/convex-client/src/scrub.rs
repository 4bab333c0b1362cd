//! Making a server's words fit to be shown: no key, one line, bounded.

use convault_core::Secret;

/// The longest text of a server that is kept, in characters.
const MAX_CHARS: usize = 400;
/// Shorter secrets would also blot out ordinary words.
const MIN_SECRET_BYTES: usize = 6;
/// The longest text of several lines that is kept, in lines, so that a table of very many tables stays readable.
const MAX_LINES: usize = 400;
const REDACTED: &str = "[redacted]";

/// Removes one key from texts.
#[derive(Debug, Clone)]
pub(crate) struct Scrub {
    key: Secret,
}

impl Scrub {
    pub(crate) fn new(key: &Secret) -> Self {
        Self { key: key.clone() }
    }

    pub(crate) fn key(&self) -> &Secret {
        &self.key
    }

    /// `text` without the key or its secret part, on one line, at most 400 characters long.
    pub(crate) fn clean(&self, text: &str) -> String {
        one_line(&self.without_key(text))
    }

    /// `text` without the key or its secret part, with its lines and the spaces that align them, at most 400 of them.
    pub(crate) fn clean_lines(&self, text: &str) -> String {
        let text = self.without_key(text);
        let mut lines: Vec<String> = text.lines().take(MAX_LINES).map(printable).collect();
        if text.lines().nth(MAX_LINES).is_some() {
            lines.push("…".to_owned());
        }
        lines.join("\n")
    }

    fn without_key(&self, text: &str) -> String {
        let key = self.key.expose().trim();
        let mut clean = text.to_owned();
        for secret in [key, key.rsplit('|').next().unwrap_or_default()] {
            if secret.len() >= MIN_SECRET_BYTES {
                clean = clean.replace(secret, REDACTED);
            }
        }
        clean
    }
}

/// A line without control characters, bounded.
fn printable(line: &str) -> String {
    line.trim_end().chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect()
}

/// Runs of white space and control characters become one space; what is too long ends in `…`.
pub(crate) fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use convault_core::Secret;

    use super::Scrub;

    #[test]
    fn the_key_and_its_secret_part_are_removed() {
        let scrub = Scrub::new(&Secret::new("prod:happy-animal-123|0123456789abcdef\n"));
        let clean = scrub.clean("no prod:happy-animal-123|0123456789abcdef and no 0123456789abcdef either");
        assert_eq!(clean, "no [redacted] and no [redacted] either");
    }

    #[test]
    fn a_table_keeps_its_lines_and_nothing_that_moves_a_cursor() {
        let scrub = Scrub::new(&Secret::new("a|0123456789"));
        assert_eq!(
            scrub.clean_lines("table | create\n-----\u{1b}[2J\nx     | 0123456789"),
            "table | create\n-----[2J\nx     | [redacted]"
        );
        assert_eq!(scrub.clean_lines(&"line\n".repeat(1000)).lines().count(), 401);
    }

    #[test]
    fn a_text_becomes_one_bounded_line() {
        let scrub = Scrub::new(&Secret::new("a|b"));
        assert_eq!(scrub.clean("one\n\ttwo\u{1b}[31m"), "one two [31m");
        assert_eq!(scrub.clean(&"ä".repeat(2000)).chars().count(), 401);
    }
}
