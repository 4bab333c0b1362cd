//! JSON Lines under zstd, written and read a line at a time: `zstd -d` gives them all.

use std::io::Write as _;

use serde::{Serialize, de::DeserializeOwned};
use zstd::stream::write::{Decoder, Encoder};

const LEVEL: i32 = 3;
/// How far back zstd refers: whoever reads holds so much (64 KiB) for each object that is read at the same time, and dozens of
/// refs are.
const WINDOW_LOG: u32 = 16;
/// Longer lines are none that we wrote. Bytes.
const LONGEST_LINE: usize = 1 << 20;
/// So much is unpacked at once, so that a small file which unpacks to a huge one is noticed early. Bytes.
const UNPACKED_AT_ONCE: usize = 4 << 10;

/// Why packed lines cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PackedError {
    /// It is not zstd, or damaged.
    #[error("it is not zstd, or damaged")]
    Zstd(#[source] std::io::Error),
    /// A line is not what it should be.
    #[error("line {number} is not what it should be")]
    Line {
        /// Counted from 1.
        number: u64,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The last line has no end, or one is longer than any should be.
    #[error("it breaks off, or line {number} is longer than any should be")]
    Unfinished {
        /// Counted from 1.
        number: u64,
    },
}

/// Packs lines. What is ready is taken out as it comes.
pub struct LinePacker(Encoder<'static, Vec<u8>>);

impl LinePacker {
    /// Begins.
    pub fn new() -> Self {
        let mut encoder = Encoder::new(Vec::new(), LEVEL).expect("zstd begins where there is memory");
        encoder.include_checksum(true).expect("zstd has checksums");
        encoder.window_log(WINDOW_LOG).expect("zstd has windows of this size");
        Self(encoder)
    }

    /// Adds a line. A value that JSON cannot hold is a bug.
    pub fn push(&mut self, line: &impl Serialize) {
        let mut text = serde_json::to_vec(line).expect("lines are structs with string keys");
        text.push(b'\n');
        self.push_text(&text);
    }

    /// Adds lines as they are, each with its line feed.
    pub fn push_text(&mut self, lines: &[u8]) {
        self.0.write_all(lines).expect("writing to memory does not fail");
    }

    /// What is ready, which is then forgotten here.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.0.get_mut())
    }

    /// The rest.
    pub fn finish(self) -> Vec<u8> {
        self.0.finish().expect("writing to memory does not fail")
    }
}

impl Default for LinePacker {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for LinePacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinePacker")
    }
}

/// Unpacks lines from bytes that are pushed in.
pub struct LineUnpacker {
    decoder: Decoder<'static, Vec<u8>>,
    /// What is pushed in and not unpacked yet.
    packed: Vec<u8>,
    packed_from: usize,
    /// Where the next line begins in what is unpacked.
    from: usize,
    number: u64,
}

impl LineUnpacker {
    /// Begins.
    pub fn new() -> Self {
        let decoder = Decoder::new(Vec::new()).expect("zstd begins where there is memory");
        Self { decoder, packed: Vec::new(), packed_from: 0, from: 0, number: 0 }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.packed.drain(..self.packed_from);
        self.packed_from = 0;
        self.packed.extend_from_slice(bytes);
    }

    /// The next line; `None` where more bytes are needed.
    pub fn next_line<T: DeserializeOwned>(&mut self) -> Result<Option<T>, PackedError> {
        let Some(line) = self.next_text()? else { return Ok(None) };
        let parsed = serde_json::from_slice(line);
        parsed.map(Some).map_err(|source| PackedError::Line { number: self.number, source })
    }

    /// The text of the next line, without its line feed; `None` where more bytes are needed.
    pub fn next_text(&mut self) -> Result<Option<&[u8]>, PackedError> {
        loop {
            let unpacked = self.decoder.get_ref();
            if let Some(length) = memchr::memchr(b'\n', &unpacked[self.from..]) {
                let from = self.from;
                self.from += length + 1;
                self.number += 1;
                return Ok(Some(&self.decoder.get_ref()[from..from + length]));
            }
            if unpacked.len() - self.from > LONGEST_LINE {
                return Err(PackedError::Unfinished { number: self.number + 1 });
            }
            if self.packed_from == self.packed.len() {
                return Ok(None);
            }
            self.unpack()?;
        }
    }

    fn unpack(&mut self) -> Result<(), PackedError> {
        self.decoder.get_mut().drain(..self.from);
        self.from = 0;
        let end = self.packed.len().min(self.packed_from + UNPACKED_AT_ONCE);
        let written = self.decoder.write_all(&self.packed[self.packed_from..end]);
        self.packed_from = end;
        written.and_then(|()| self.decoder.flush()).map_err(PackedError::Zstd)
    }

    /// After the last line: makes sure that it was one.
    pub fn finish(self) -> Result<(), PackedError> {
        if self.from == self.decoder.get_ref().len() && self.packed_from == self.packed.len() {
            Ok(())
        } else {
            Err(PackedError::Unfinished { number: self.number + 1 })
        }
    }
}

impl Default for LineUnpacker {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for LineUnpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineUnpacker").field("number", &self.number).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(lines: u32) -> Vec<u8> {
        let mut packer = LinePacker::new();
        let mut all = Vec::new();
        for number in 0..lines {
            packer.push(&(number, "x".repeat(number as usize % 300)));
            all.extend(packer.take());
        }
        all.extend(packer.finish());
        all
    }

    #[test]
    fn lines_come_out_as_they_went_in_however_the_bytes_are_cut() {
        let bytes = packed(5000);
        for cut in [1, 7, 4096, bytes.len()] {
            let mut unpacker = LineUnpacker::new();
            let mut next = 0;
            for piece in bytes.chunks(cut) {
                unpacker.push(piece);
                while let Some((number, text)) = unpacker.next_line::<(u32, String)>().unwrap() {
                    assert_eq!((number, text.len()), (next, next as usize % 300));
                    next += 1;
                }
            }
            assert_eq!(next, 5000);
            unpacker.finish().unwrap();
        }
    }

    #[test]
    fn damage_and_lines_of_another_kind_are_errors() {
        let mut bytes = packed(2000);
        let mut unpacker = LineUnpacker::new();
        unpacker.push(&bytes);
        assert!(matches!(unpacker.next_line::<u32>(), Err(PackedError::Line { number: 1, .. })));
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        let mut unpacker = LineUnpacker::new();
        unpacker.push(&bytes);
        let failed = loop {
            match unpacker.next_line::<(u32, String)>() {
                Ok(Some(_)) => {}
                Ok(None) => break unpacker.finish().is_err(),
                Err(_) => break true,
            }
        };
        assert!(failed, "a flipped bit is noticed");
    }
}
