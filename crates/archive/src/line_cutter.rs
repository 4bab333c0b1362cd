//! [`LineCutter`]: gives content back line by line as it comes.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::options::MAX_LINE_BYTES;

/// A line that is longer than any document can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {number} is longer than any document can be")]
pub struct LineTooLong {
    /// Counted from 1.
    pub number: u64,
}

/// Cuts content into lines. A line that lies in one piece of it is a slice of that; it holds that piece and at most one
/// unfinished line.
#[derive(Debug, Default)]
pub struct LineCutter {
    piece: Bytes,
    unfinished: BytesMut,
    lines: u64,
}

impl LineCutter {
    /// Takes the next content, once [`LineCutter::next_line`] has given `None`.
    pub fn push(&mut self, piece: Bytes) {
        debug_assert!(self.piece.is_empty(), "the piece before was cut to its end");
        self.piece = piece;
    }

    /// The next line that ends, without its line feed; `None` where more content is needed.
    pub fn next_line(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        let end = memchr::memchr(b'\n', &self.piece);
        let length = end.unwrap_or(self.piece.len());
        if self.unfinished.len() + length > MAX_LINE_BYTES {
            return Err(LineTooLong { number: self.lines + 1 });
        }
        let part = self.piece.split_to(length);
        if end.is_none() {
            self.unfinished.extend_from_slice(&part);
            return Ok(None);
        }
        self.piece.advance(1);
        self.lines += 1;
        if self.unfinished.is_empty() {
            return Ok(Some(part));
        }
        self.unfinished.extend_from_slice(&part);
        Ok(Some(std::mem::take(&mut self.unfinished).freeze()))
    }

    /// At the end of the content: a last line without line feed.
    pub fn last_line(&mut self) -> Option<Bytes> {
        if self.unfinished.is_empty() {
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.unfinished).freeze())
    }

    /// Lines given so far.
    pub fn lines(&self) -> u64 {
        self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&'static [u8]]) -> Result<Vec<String>, LineTooLong> {
        let mut cutter = LineCutter::default();
        let mut found = Vec::new();
        let mut keep = |line: Bytes| found.push(String::from_utf8_lossy(&line).into_owned());
        for piece in pieces {
            cutter.push(Bytes::from_static(piece));
            while let Some(line) = cutter.next_line()? {
                keep(line);
            }
        }
        cutter.last_line().into_iter().for_each(&mut keep);
        assert_eq!(cutter.lines(), found.len() as u64);
        Ok(found)
    }

    #[test]
    fn any_pieces_give_the_same_lines() {
        static TEXT: &[u8] = b"one\n\nthree\nlast";
        assert_eq!(cut(&[TEXT]).unwrap(), ["one", "", "three", "last"]);
        for at in 0..TEXT.len() {
            for then in at..TEXT.len() {
                let pieces = [&TEXT[..at], &TEXT[at..then], &TEXT[then..]];
                assert_eq!(cut(&pieces).unwrap(), ["one", "", "three", "last"]);
            }
        }
        assert_eq!(cut(&[b"a\n"]).unwrap(), ["a"]);
        assert!(cut(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_line_that_never_ends_is_refused_before_it_is_held() {
        static PIECE: [u8; 1 << 20] = [b'x'; 1 << 20];
        let pieces: Vec<&'static [u8]> = vec![&PIECE; 17];
        assert_eq!(cut(&pieces), Err(LineTooLong { number: 1 }));
    }
}
