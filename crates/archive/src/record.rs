//! The records of a ZIP (PKWARE APPNOTE 4.3), read from bytes that are all there.

use crate::ArchiveError;

pub(crate) const LOCAL: [u8; 4] = *b"PK\x03\x04";
pub(crate) const DESCRIPTOR: [u8; 4] = *b"PK\x07\x08";
pub(crate) const CENTRAL: [u8; 4] = *b"PK\x01\x02";
pub(crate) const ZIP64_END: [u8; 4] = *b"PK\x06\x06";
pub(crate) const LOCATOR: [u8; 4] = *b"PK\x06\x07";
pub(crate) const END: [u8; 4] = *b"PK\x05\x06";

/// Flag bit 3: sizes and CRC follow the data.
const FLAG_DESCRIPTOR: u16 = 1 << 3;
/// Flag bits with a meaning we know: deflate level (1, 2), descriptor (3), UTF-8 (11).
const FLAGS_KNOWN: u16 = 0b110 | FLAG_DESCRIPTOR | 1 << 11;
const FLAG_ENCRYPTED: u16 = 1;

/// Stands in a 32-bit field for a value that is in the zip64 extra field.
const IN_ZIP64: u32 = u32::MAX;

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// How an entry is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Stored,
    Deflate,
}

impl Method {
    /// The number the ZIP has for it.
    pub(crate) fn number(self) -> u16 {
        match self {
            Self::Stored => 0,
            Self::Deflate => 8,
        }
    }
}

/// The fixed part of a local header, after its signature.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalFixed {
    pub(crate) flags: u16,
    method: u16,
    crc32: u32,
    compressed: u32,
    content: u32,
    pub(crate) name_length: u16,
    pub(crate) extra_length: u16,
}

/// What a header promises of the data that follows, where no descriptor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Promise {
    pub(crate) crc32: u32,
    pub(crate) compressed: u64,
    pub(crate) content: u64,
}

impl LocalFixed {
    /// Bytes after the signature.
    pub(crate) const LENGTH: usize = 26;

    pub(crate) fn parse(bytes: &[u8]) -> Self {
        Self {
            flags: u16_at(bytes, 2),
            method: u16_at(bytes, 4),
            crc32: u32_at(bytes, 10),
            compressed: u32_at(bytes, 14),
            content: u32_at(bytes, 18),
            name_length: u16_at(bytes, 22),
            extra_length: u16_at(bytes, 24),
        }
    }

    /// The method, where this entry can be read at all.
    pub(crate) fn method(&self, entry: &str) -> Result<Method, ArchiveError> {
        let entry = || entry.to_owned();
        if self.flags & FLAG_ENCRYPTED != 0 {
            return Err(ArchiveError::Encrypted { entry: entry() });
        }
        if self.flags & !FLAGS_KNOWN != 0 {
            return Err(ArchiveError::Flags { entry: entry(), flags: self.flags });
        }
        match self.method {
            0 if self.has_descriptor() => Err(ArchiveError::StoredWithDescriptor { entry: entry() }),
            0 => Ok(Method::Stored),
            8 => Ok(Method::Deflate),
            method => Err(ArchiveError::Method { entry: entry(), method }),
        }
    }

    pub(crate) fn has_descriptor(&self) -> bool {
        self.flags & FLAG_DESCRIPTOR != 0
    }

    /// What the header promises; `None` where a descriptor follows instead. `extra` is the extra field, and
    /// `end` the offset behind it.
    pub(crate) fn promise(&self, extra: &[u8], end: u64) -> Result<Option<Promise>, ArchiveError> {
        let mut zip64 = Zip64::find(extra, end)?;
        if self.has_descriptor() {
            return Ok(None);
        }
        let content = zip64.widen(self.content)?;
        let compressed = zip64.widen(self.compressed)?;
        Ok(Some(Promise { crc32: self.crc32, compressed, content }))
    }
}

/// The values of a zip64 extra field, taken in their order.
struct Zip64<'a> {
    values: &'a [u8],
    end: u64,
}

impl<'a> Zip64<'a> {
    fn find(mut extra: &'a [u8], end: u64) -> Result<Self, ArchiveError> {
        let mut values = &extra[..0];
        while !extra.is_empty() {
            let body = extra.get(4..).ok_or(ArchiveError::ExtraField { offset: end })?;
            let length = usize::from(u16_at(extra, 2));
            let field = body.get(..length).ok_or(ArchiveError::ExtraField { offset: end })?;
            if u16_at(extra, 0) == 1 {
                values = field;
            }
            extra = &body[length..];
        }
        Ok(Self { values, end })
    }

    fn widen(&mut self, value: u32) -> Result<u64, ArchiveError> {
        if value != IN_ZIP64 {
            return Ok(u64::from(value));
        }
        let (wide, rest) =
            self.values.split_at_checked(8).ok_or(ArchiveError::ExtraField { offset: self.end })?;
        self.values = rest;
        Ok(u64_at(wide, 0))
    }
}

/// Finds the length of the data descriptor at the start of `bytes` by what follows it, among the forms in use:
/// with or without signature, sizes of 4 or 8 bytes, and Convex's: a signature and two sizes of `FFFFFFFF`, which
/// say nothing. `bytes` has at least [`DESCRIPTOR_WINDOW`]; a ZIP never ends sooner after a descriptor.
pub(crate) fn descriptor_length(bytes: &[u8], crc32: u32, compressed: u64, content: u64) -> Option<usize> {
    let narrow = |at: usize| {
        let sizes = (u32_at(bytes, at), u32_at(bytes, at + 4));
        sizes == (IN_ZIP64, IN_ZIP64) || sizes == (low_half(compressed), low_half(content))
    };
    let wide = |at: usize| (u64_at(bytes, at), u64_at(bytes, at + 8)) == (compressed, content);
    let record_follows =
        |at: usize| [LOCAL, CENTRAL].contains(&bytes[at..at + 4].try_into().expect("four bytes"));
    let signed = bytes[..4] == DESCRIPTOR && u32_at(bytes, 4) == crc32;
    let bare = u32_at(bytes, 0) == crc32;
    [(16, signed && narrow(8)), (24, signed && wide(8)), (12, bare && narrow(4)), (20, bare && wide(4))]
        .into_iter()
        .find_map(|(length, fits)| (fits && record_follows(length)).then_some(length))
}

/// The CRC-32 that a descriptor records, if one with a signature stands at the start of `bytes`.
pub(crate) fn descriptor_crc32(bytes: &[u8]) -> Option<u32> {
    (bytes[..4] == DESCRIPTOR).then(|| u32_at(bytes, 4))
}

/// The longest descriptor and the signature behind it.
pub(crate) const DESCRIPTOR_WINDOW: usize = 28;

#[expect(clippy::cast_possible_truncation, reason = "old writers keep the low half")]
fn low_half(size: u64) -> u32 {
    size as u32
}

/// The fixed part of a central directory header, after its signature.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CentralFixed {
    pub(crate) flags: u16,
    pub(crate) method: u16,
    pub(crate) crc32: u32,
    compressed: u32,
    content: u32,
    pub(crate) name_length: u16,
    pub(crate) extra_length: u16,
    pub(crate) comment_length: u16,
    disk: u16,
    offset: u32,
}

/// Sizes and place of an entry, as the directory has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) content: u64,
    pub(crate) compressed: u64,
    pub(crate) offset: u64,
}

impl CentralFixed {
    /// Bytes after the signature.
    pub(crate) const LENGTH: usize = 42;

    pub(crate) fn parse(bytes: &[u8]) -> Self {
        Self {
            flags: u16_at(bytes, 4),
            method: u16_at(bytes, 6),
            crc32: u32_at(bytes, 12),
            compressed: u32_at(bytes, 16),
            content: u32_at(bytes, 20),
            name_length: u16_at(bytes, 24),
            extra_length: u16_at(bytes, 26),
            comment_length: u16_at(bytes, 28),
            disk: u16_at(bytes, 30),
            offset: u32_at(bytes, 38),
        }
    }

    /// Sizes and place, with the values of the extra field put in. `end` is the offset behind it.
    pub(crate) fn place(&self, extra: &[u8], end: u64) -> Result<Place, ArchiveError> {
        if self.disk != 0 {
            return Err(ArchiveError::Multipart);
        }
        let mut zip64 = Zip64::find(extra, end)?;
        let content = zip64.widen(self.content)?;
        let compressed = zip64.widen(self.compressed)?;
        let offset = zip64.widen(self.offset)?;
        Ok(Place { content, compressed, offset })
    }
}

/// What the end records must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) entries: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

fn expect(record: &'static str, field: &'static str, found: u64, expected: u64) -> Result<(), ArchiveError> {
    if found == expected { Ok(()) } else { Err(ArchiveError::EndRecord { record, field, found, expected }) }
}

/// Bytes of a zip64 end record after its signature.
pub(crate) const ZIP64_END_LENGTH: usize = 52;

/// Checks a zip64 end record, given without its signature.
pub(crate) fn check_zip64_end(bytes: &[u8], directory: &Directory) -> Result<(), ArchiveError> {
    let length = u64_at(bytes, 0);
    if length != ZIP64_END_LENGTH as u64 - 8 {
        return Err(ArchiveError::Zip64Record { length });
    }
    if u32_at(bytes, 12) != 0 || u32_at(bytes, 16) != 0 {
        return Err(ArchiveError::Multipart);
    }
    let record = "zip64 end record";
    expect(record, "entries on this disk", u64_at(bytes, 20), directory.entries)?;
    expect(record, "entries", u64_at(bytes, 28), directory.entries)?;
    expect(record, "directory size", u64_at(bytes, 36), directory.bytes)?;
    expect(record, "directory offset", u64_at(bytes, 44), directory.offset)
}

/// Bytes of a zip64 locator after its signature.
pub(crate) const LOCATOR_LENGTH: usize = 16;

/// Checks a zip64 locator, given without its signature.
pub(crate) fn check_locator(bytes: &[u8], zip64_end: u64) -> Result<(), ArchiveError> {
    if u32_at(bytes, 0) != 0 || u32_at(bytes, 12) != 1 {
        return Err(ArchiveError::Multipart);
    }
    expect("zip64 locator", "place of the zip64 end record", u64_at(bytes, 4), zip64_end)
}

/// Bytes of an end record after its signature, without a comment.
pub(crate) const END_LENGTH: usize = 18;

/// Checks an end record, given without its signature. Values that do not fit may stand in the zip64 record alone,
/// where there is one.
pub(crate) fn check_end(
    bytes: &[u8],
    directory: &Directory,
    zip64: bool,
    end: u64,
) -> Result<(), ArchiveError> {
    if u16_at(bytes, 0) != 0 || u16_at(bytes, 2) != 0 {
        return Err(ArchiveError::Multipart);
    }
    let check = |field, found: u64, expected: u64, marker: u64| {
        if zip64 && found == marker { Ok(()) } else { expect("end record", field, found, expected) }
    };
    let (short, long) = (u64::from(u16::MAX), u64::from(u32::MAX));
    check("entries on this disk", u64::from(u16_at(bytes, 4)), directory.entries, short)?;
    check("entries", u64::from(u16_at(bytes, 6)), directory.entries, short)?;
    check("directory size", u64::from(u32_at(bytes, 8)), directory.bytes, long)?;
    check("directory offset", u64::from(u32_at(bytes, 12)), directory.offset, long)?;
    match u16_at(bytes, 16) {
        0 => Ok(()),
        length => Err(ArchiveError::Comment { offset: end, length: u64::from(length) }),
    }
}
