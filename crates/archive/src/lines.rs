//! Cuts content into lines as it comes.

/// A line that passed the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong {
    /// Its number, from 0.
    pub(crate) number: u64,
}

/// Why cutting stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop<E> {
    /// A line passed the limit.
    TooLong(TooLong),
    /// Whoever takes the lines refused one.
    Refused(E),
}

/// A whole line and where it stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Without its line feed.
    pub(crate) text: &'a [u8],
    /// From 0.
    pub(crate) number: u64,
    /// Offset of its first byte in the content.
    pub(crate) offset: u64,
}

/// Above this, the buffer of an unusually long line is given back.
const KEPT_BYTES: usize = 256 << 10;

/// Cuts content into lines as it comes; holds at most one unfinished line.
#[derive(Debug)]
pub(crate) struct Lines {
    unfinished: Vec<u8>,
    number: u64,
    offset: u64,
    limit: usize,
}

impl Lines {
    /// Lines of at most `limit` bytes, without the line feed.
    pub(crate) fn new(limit: usize) -> Self {
        Self { unfinished: Vec::new(), number: 0, offset: 0, limit }
    }

    /// Begins new content.
    pub(crate) fn reset(&mut self) {
        self.unfinished.clear();
        (self.number, self.offset) = (0, 0);
    }

    /// Takes in the next bytes and hands over every line that ends in them.
    pub(crate) fn push<E>(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Line<'_>) -> Result<(), E>,
    ) -> Result<(), Stop<E>> {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.check(end)?;
            let (text, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if self.unfinished.is_empty() {
                each(Line { text, number: self.number, offset: self.offset }).map_err(Stop::Refused)?;
                self.advance(text.len() + 1);
            } else {
                self.unfinished.extend_from_slice(text);
                each(Line { text: &self.unfinished, number: self.number, offset: self.offset })
                    .map_err(Stop::Refused)?;
                self.advance(self.unfinished.len() + 1);
                self.unfinished.clear();
                self.unfinished.shrink_to(KEPT_BYTES);
            }
        }
        self.check(bytes.len())?;
        self.unfinished.extend_from_slice(bytes);
        Ok(())
    }

    /// Hands over a last line that had no line feed.
    pub(crate) fn finish<E>(&mut self, each: impl FnOnce(Line<'_>) -> Result<(), E>) -> Result<(), E> {
        if !self.unfinished.is_empty() {
            each(Line { text: &self.unfinished, number: self.number, offset: self.offset })?;
            self.advance(self.unfinished.len());
            self.unfinished.clear();
        }
        Ok(())
    }

    /// The longest line, bytes.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Lines handed over since the last reset.
    pub(crate) fn count(&self) -> u64 {
        self.number
    }

    fn advance(&mut self, bytes: usize) {
        self.number += 1;
        self.offset += bytes as u64;
    }

    fn check<E>(&self, more: usize) -> Result<(), Stop<E>> {
        if self.unfinished.len() + more > self.limit {
            return Err(Stop::TooLong(TooLong { number: self.number }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: &[&[u8]], limit: usize) -> Result<Vec<(u64, u64, String)>, Stop<()>> {
        let mut lines = Lines::new(limit);
        let mut found = Vec::new();
        let mut keep = |line: Line<'_>| {
            found.push((line.number, line.offset, String::from_utf8_lossy(line.text).into_owned()));
            Ok(())
        };
        for chunk in chunks {
            lines.push(chunk, &mut keep)?;
        }
        lines.finish(keep).map_err(Stop::Refused)?;
        Ok(found)
    }

    #[test]
    fn any_chunking_gives_the_same_lines() {
        let text = b"one\n\nthree\nlast";
        let whole = cut(&[text], 100).unwrap();
        let expected = [(0, 0, "one"), (1, 4, ""), (2, 5, "three"), (3, 11, "last")]
            .map(|(n, o, t)| (n, o, t.to_owned()));
        assert_eq!(whole, expected);
        for at in 0..text.len() {
            assert_eq!(cut(&[&text[..at], &text[at..]], 100).unwrap(), whole);
        }
    }

    #[test]
    fn a_line_over_the_limit_is_refused_before_it_is_held() {
        assert!(cut(&[b"12345\n"], 5).is_ok());
        assert_eq!(cut(&[b"1\n123456\n"], 5), Err(Stop::TooLong(TooLong { number: 1 })));
        assert_eq!(cut(&[b"123", b"456"], 5), Err(Stop::TooLong(TooLong { number: 0 })));
    }
}
