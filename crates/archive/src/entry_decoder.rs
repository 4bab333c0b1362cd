//! [`EntryDecoder`]: the content of one entry from its compressed data, compared with what the index says of it.

use bytes::{Buf as _, Bytes};
use convault_core::{IndexEntry, Sha256, Sha256Stream};

use crate::{
    inflate::{Inflater, Resumed},
    random::{RandomError, bad},
};

/// Decodes the data of one entry as it is pushed in. Holds the piece that was pushed last, and the inflater.
pub struct EntryDecoder {
    name: String,
    size_bytes: u64,
    crc32: u32,
    sha256: Sha256,
    decoder: Decoder,
    check: Option<Check>,
    /// Data that is still to be pushed.
    rest_bytes: u64,
    piece: Bytes,
    /// Content given so far, and what lies before a resume point.
    bytes: u64,
    ended: bool,
}

enum Decoder {
    Stored,
    Deflate(Box<Inflater>),
    Resumed(Resumed),
}

struct Check {
    crc32: crc32fast::Hasher,
    sha256: Sha256Stream,
}

impl EntryDecoder {
    /// For the whole content of `entry`. Its size, CRC-32 and SHA-256 are checked at its end.
    pub fn new(entry: &IndexEntry) -> Result<Self, RandomError> {
        let decoder = match entry.method {
            0 => Decoder::Stored,
            8 => {
                let mut inflater = Inflater::new();
                inflater.reset(None);
                Decoder::Deflate(Box::new(inflater))
            }
            _ => return Err(bad("an entry has an unknown method")),
        };
        let check = Some(Check { crc32: crc32fast::Hasher::new(), sha256: Sha256Stream::new() });
        Ok(Self::with(entry, decoder, check, entry.compressed_bytes, 0))
    }

    /// For the rest of the content of `entry`, of which only the size is checked.
    pub(crate) fn resumed(
        entry: &IndexEntry,
        resumed: Resumed,
        rest_bytes: u64,
        content_offset: u64,
    ) -> Self {
        Self::with(entry, Decoder::Resumed(resumed), None, rest_bytes, content_offset)
    }

    fn with(entry: &IndexEntry, decoder: Decoder, check: Option<Check>, rest_bytes: u64, bytes: u64) -> Self {
        Self {
            name: entry.name.clone(),
            size_bytes: entry.size_bytes,
            crc32: entry.crc32,
            sha256: entry.sha256,
            decoder,
            check,
            rest_bytes,
            piece: Bytes::new(),
            bytes,
            ended: false,
        }
    }

    /// How much data is still to be pushed.
    pub fn rest_bytes(&self) -> u64 {
        self.rest_bytes
    }

    /// Takes the next data, once [`EntryDecoder::next_content`] has given `None` and wants more.
    pub fn push(&mut self, data: Bytes) {
        debug_assert!(self.piece.is_empty(), "the piece before was decoded to its end");
        self.rest_bytes = self.rest_bytes.saturating_sub(data.len() as u64);
        self.piece = data;
    }

    /// The next content, never empty. `None`: more data is wanted, or, where all was pushed, the content has come whole
    /// and every check has passed.
    pub fn next_content(&mut self) -> Result<Option<Bytes>, RandomError> {
        while !self.ended {
            if self.piece.is_empty() && self.rest_bytes > 0 {
                break;
            }
            let content = self.decode()?;
            self.bytes += content.len() as u64;
            if self.bytes > self.size_bytes {
                return Err(self.differs("it is longer"));
            }
            if let Some(check) = &mut self.check {
                check.crc32.update(&content);
                check.sha256.update(&content);
            }
            if self.ended {
                self.check_end()?;
            }
            if !content.is_empty() {
                return Ok(Some(content));
            }
        }
        Ok(None)
    }

    /// Decodes some of the piece.
    fn decode(&mut self) -> Result<Bytes, RandomError> {
        let damaged = || RandomError::Differs { entry: self.name.clone(), what: "its data is damaged" };
        let more = self.rest_bytes > 0;
        let input: &[u8] = &self.piece;
        let is_last = input.is_empty() && !more;
        let (consumed, content, ended) = match &mut self.decoder {
            Decoder::Stored => (input.len(), self.piece.clone(), !more),
            Decoder::Deflate(inflater) => {
                let step = inflater.step(input).map_err(|_| damaged())?;
                (step.consumed, Bytes::copy_from_slice(&inflater.output()[..step.produced]), step.ended)
            }
            Decoder::Resumed(resumed) => {
                let (consumed, content, ended) = resumed.step(input).map_err(|_| damaged())?;
                (consumed, Bytes::copy_from_slice(content), ended)
            }
        };
        if is_last && content.is_empty() && !ended {
            return Err(damaged());
        }
        self.piece.advance(consumed);
        self.ended = ended;
        Ok(content)
    }

    fn check_end(&mut self) -> Result<(), RandomError> {
        if !self.piece.is_empty() || self.rest_bytes > 0 {
            return Err(self.differs("its data ends early"));
        }
        if self.bytes != self.size_bytes {
            return Err(self.differs("it is shorter"));
        }
        let Some(Check { crc32, sha256 }) = self.check.take() else { return Ok(()) };
        if crc32.finalize() != self.crc32 {
            return Err(self.differs("its CRC-32 is another"));
        }
        if sha256.finish() != self.sha256 {
            return Err(self.differs("its SHA-256 is another"));
        }
        Ok(())
    }

    fn differs(&self, what: &'static str) -> RandomError {
        RandomError::Differs { entry: self.name.clone(), what }
    }
}

impl std::fmt::Debug for EntryDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EntryDecoder").field("entry", &self.name).finish_non_exhaustive()
    }
}
