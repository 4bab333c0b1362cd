//! [`FileRef`]: one line of `refs.zst`, which says what file objects a snapshot needs (`docs/format.md`).

use std::fmt;

use jiff::Timestamp;

use crate::Sha256;

/// A file object that a snapshot needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileRef {
    /// Its name: the SHA-256 of the content, or, where it is encrypted, a keyed hash of that.
    pub name: Sha256,
    /// Its size in bytes, as stored.
    pub size_bytes: u64,
    /// SHA-256 of its bytes, as stored.
    pub sha256: Sha256,
    /// Until when it is known to be locked against deletion, to the second.
    pub locked_until: Option<Timestamp>,
}

impl FileRef {
    /// Reads a line, without its line feed. Words behind those that are known are passed over; `None` where it is no
    /// such line.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line.split(|byte| *byte == b' ');
        let name = parse_hex(words.next()?)?;
        let size_bytes = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
        let sha256 = parse_hex(words.next()?)?;
        let locked_until = match words.next() {
            Some(word) => Some(Timestamp::from_second(std::str::from_utf8(word).ok()?.parse().ok()?).ok()?),
            None => None,
        };
        Some(Self { name, size_bytes, sha256, locked_until })
    }

    /// Appends the line, with its line feed.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_hex(&self.name, out);
        out.push(b' ');
        out.extend_from_slice(self.size_bytes.to_string().as_bytes());
        out.push(b' ');
        write_hex(&self.sha256, out);
        if let Some(until) = self.locked_until {
            out.push(b' ');
            out.extend_from_slice(until.as_second().to_string().as_bytes());
        }
        out.push(b'\n');
    }
}

impl fmt::Display for FileRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)
    }
}

/// A million lines are read and written at once, where the general way to print a digest takes seconds.
fn write_hex(digest: &Sha256, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in digest.0 {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

fn parse_hex(word: &[u8]) -> Option<Sha256> {
    let mut bytes = [0; 32];
    if word.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(word.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(Sha256(bytes))
}

fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(locked_until: Option<Timestamp>) -> FileRef {
        FileRef { name: Sha256::of(b"name"), size_bytes: 70_123, sha256: Sha256::of(b"bytes"), locked_until }
    }

    #[test]
    fn a_line_is_read_as_it_is_written() {
        for locked_until in [None, Some("2026-12-24T18:00:00Z".parse().unwrap())] {
            let (one, mut line) = (example(locked_until), Vec::new());
            one.write(&mut line);
            assert_eq!(line.pop(), Some(b'\n'));
            assert_eq!(FileRef::parse(&line), Some(one));
            let more = [&line[..], b" 1793491200 more"].concat();
            assert!(locked_until.is_none() || FileRef::parse(&more) == Some(one));
        }
    }

    #[test]
    fn lines_sort_as_their_names_do() {
        let mut names = [Sha256::of(b"1"), Sha256::of(b"2"), Sha256::of(b"3")];
        names.sort();
        let line = |name: &Sha256| {
            let mut line = Vec::new();
            FileRef { name: *name, ..example(None) }.write(&mut line);
            line
        };
        assert!(names.iter().map(line).is_sorted());
    }

    #[test]
    fn what_is_no_line_is_refused() {
        let mut line = Vec::new();
        example(None).write(&mut line);
        line.pop();
        let text = String::from_utf8(line).unwrap();
        for wrong in [
            "",
            &text[..64],
            &text[..text.len() - 1],
            &text[1..],
            &text.to_uppercase(),
            &text.replace(' ', "  "),
            &format!("{text} soon"),
        ] {
            assert_eq!(FileRef::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
