//! Variables in the dotenv format, such that a stock parser gives back every value exactly.
//!
//! The format has no specification. What is written here is read alike by npm's `dotenv` (which Next.js, Vite and
//! Convex's own command line build on). For all but values that need backticks or escapes, python-dotenv (without
//! interpolation) agrees.

use std::fmt::Write as _;

/// Characters that a double-quoted value may not have: parsers and shells differ about each.
const NOT_IN_DOUBLE: [char; 5] = ['"', '\\', '$', '`', '\r'];

/// One line (or several, where the value has several) that sets `name` to `value`, with its line feed. A value that
/// no form of quotes can hold is left out, with a comment in its place.
pub(crate) fn line(name: &str, value: &str) -> String {
    match quoted(value).filter(|_| is_name(name)) {
        Some(quoted) => format!("{name}={quoted}\n"),
        None => format!("# {} cannot be written in this format: see variables.json\n", name.escape_debug()),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// `value` in the first form that gives it back exactly.
fn quoted(value: &str) -> Option<String> {
    // A closing quote after a backslash is taken for one more character of the value.
    let may_end = !value.ends_with('\\');
    let single = may_end && !value.contains(['\'', '\r']);
    // Python's parser takes two backslashes between single quotes for one.
    if single && !value.contains("\\\\") {
        return Some(format!("'{value}'"));
    }
    if !value.contains(NOT_IN_DOUBLE) {
        return Some(format!("\"{value}\""));
    }
    if is_plain(value) {
        return Some(value.to_owned());
    }
    if single {
        return Some(format!("'{value}'"));
    }
    if may_end && !value.contains('"') && !value.contains("\\n") && !value.contains("\\r") {
        return Some(double_escaped(value));
    }
    (may_end && !value.contains(['`', '\r'])).then(|| format!("`{value}`"))
}

/// Whether `value` can stand without quotes.
fn is_plain(value: &str) -> bool {
    let is_blank = |c: char| c.is_whitespace() || c == '\u{feff}';
    !value.contains(['#', '\n', '\r'])
        && !value.starts_with(['\'', '"', '`'])
        && !value.starts_with(is_blank)
        && !value.ends_with(is_blank)
        && !value.is_empty()
}

/// A carriage return by itself would be read as a line feed, so both are escaped.
fn double_escaped(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            other => text.push(other),
        }
    }
    text.push('"');
    text
}

/// All variables, one after the other.
pub(crate) fn file<'a>(variables: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    variables.fold(String::new(), |mut text, (name, value)| {
        // Writing to a string does not fail.
        let _written = write!(text, "{}", line(name, value));
        text
    })
}

#[cfg(test)]
mod tests {
    use super::{file, line};

    /// Reads a file as npm's `dotenv` does: a quoted value ends at its quote if nothing but a comment follows.
    fn read(text: &str) -> Vec<(String, String)> {
        let mut rest = text.replace("\r\n", "\n").replace('\r', "\n");
        let mut variables = Vec::new();
        while !rest.is_empty() {
            if let Some(comment) = rest.strip_prefix('#') {
                rest = comment.split_once('\n').map_or_else(String::new, |(_, after)| after.to_owned());
                continue;
            }
            let (name, value) = rest.split_once('=').unwrap();
            let (value, after) = read_value(value);
            variables.push((name.to_owned(), value));
            rest = after.trim_start_matches('\n').to_owned();
        }
        variables
    }

    fn read_value(text: &str) -> (String, String) {
        let quote = text.chars().next().filter(|c| "'\"`".contains(*c));
        let ends = |at: usize| text[at + 1..].is_empty() || text[at + 1..].starts_with('\n');
        let closing = quote.and_then(|quote| {
            let mut escaped = false;
            let mut indices = text.char_indices().skip(1);
            indices.find_map(|(at, c)| {
                let is_end = c == quote && !escaped && ends(at);
                escaped = c == '\\';
                is_end.then_some(at)
            })
        });
        match (quote, closing) {
            (Some('"'), Some(end)) => {
                (text[1..end].replace("\\n", "\n").replace("\\r", "\r"), text[end + 1..].to_owned())
            }
            (Some(_), Some(end)) => (text[1..end].to_owned(), text[end + 1..].to_owned()),
            _ => {
                let line = text.split('\n').next().unwrap();
                (line.split('#').next().unwrap().trim().to_owned(), text[line.len()..].to_owned())
            }
        }
    }

    const VALUES: [&str; 24] = [
        "",
        "plain",
        " spaces around ",
        "two\nlines",
        "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n",
        "it's",
        "say \"it's\"",
        "\"quoted\"",
        "'quoted'",
        "it's \"all\"\nquotes\n'",
        "$HOME ${PATH} $(date)",
        "back\\slash \\n stays",
        "C:\\\\share\\",
        "two\\\\backslashes",
        "ends in a backslash\\",
        "# no comment",
        "a # b",
        "a=b=c",
        "üñí 漢字 🙂 \u{feff}",
        "tab\tand\u{a0}space ",
        "windows\r\nlines",
        "it's windows\r\nlines",
        "{\"json\":\"value\",\"n\":1.0}",
        "{\"it's\":\"json\\n\"}",
    ];

    #[test]
    fn every_value_is_read_back_exactly() {
        let names: Vec<String> = (0..VALUES.len()).map(|number| format!("V{number}")).collect();
        let variables = || names.iter().map(String::as_str).zip(VALUES);
        let read = read(&file(variables()));
        let expected: Vec<_> = variables().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        assert_eq!(read, expected);
    }

    #[test]
    fn what_no_quotes_can_hold_is_said_and_not_written_wrongly() {
        for value in ["it's\n\"all\"\n`quotes`", "two\nlines\\"] {
            assert_eq!(line("A", value), "# A cannot be written in this format: see variables.json\n");
        }
        assert_eq!(line("A B", "x"), "# A B cannot be written in this format: see variables.json\n");
    }

    #[test]
    fn the_commonest_values_stand_between_single_quotes() {
        assert_eq!(line("A", "sk_live_$1"), "A='sk_live_$1'\n");
        assert_eq!(line("A", "it's"), "A=\"it's\"\n");
        assert_eq!(line("A", "it's $1"), "A=it's $1\n");
    }
}
