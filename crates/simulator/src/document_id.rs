//! Document IDs and the text they are written as.

use std::fmt;
use std::str::FromStr;

use crate::error::SimulatorError;

/// Table number of `_storage` in today's deployments.
pub const STORAGE_TABLE_NUMBER: u32 = 540;
/// The number that the first user table of a component gets.
pub const FIRST_USER_TABLE_NUMBER: u32 = 10_001;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const INTERNAL_BYTES: usize = 16;
const FOOTER_BYTES: usize = 2;

/// The ID of a document: which table it is in, by number, and which row (`crates/value/src/id_v6.rs`).
///
/// IDs of one table sort by their 16 internal bytes, and so do their texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId {
    /// The table's number within its component. The same number appears in several components.
    pub table_number: u32,
    /// The row: 14 random bytes, then the day of creation since the epoch, big endian.
    pub internal: [u8; 16],
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; MAX_TEXT_BYTES];
        f.write_str(self.encode(&mut text))
    }
}

/// The longest text of an ID: a table number of five groups.
pub(crate) const MAX_TEXT_BYTES: usize = 37;

impl DocumentId {
    /// Writes the text of this ID without allocating, for the generator that writes millions of them.
    pub(crate) fn encode<'a>(&self, text: &'a mut [u8; MAX_TEXT_BYTES]) -> &'a str {
        let mut bytes = [0; 5 + INTERNAL_BYTES + FOOTER_BYTES];
        let mut length = 0;
        let mut number = self.table_number;
        loop {
            let group = (number & 0x7f).to_le_bytes()[0];
            number >>= 7;
            bytes[length] = if number == 0 { group } else { group | 0x80 };
            length += 1;
            if number == 0 {
                break;
            }
        }
        bytes[length..length + INTERNAL_BYTES].copy_from_slice(&self.internal);
        length += INTERNAL_BYTES;
        let footer = fletcher16(&bytes[..length]);
        bytes[length..length + FOOTER_BYTES].copy_from_slice(&footer.to_le_bytes());
        let written = base32_encode(&bytes[..length + FOOTER_BYTES], text);
        std::str::from_utf8(&text[..written]).expect("the alphabet is ASCII")
    }
}

impl FromStr for DocumentId {
    type Err = SimulatorError;

    fn from_str(text: &str) -> Result<Self, SimulatorError> {
        let invalid = |reason| SimulatorError::InvalidId { text: text.to_owned(), reason };
        if !(31..=MAX_TEXT_BYTES).contains(&text.len()) {
            return Err(invalid("it must have 31 to 37 characters"));
        }
        let bytes = base32_decode(text).ok_or_else(|| invalid("it must be lower-case Crockford base32"))?;
        let number_bytes = bytes
            .len()
            .checked_sub(INTERNAL_BYTES + FOOTER_BYTES)
            .filter(|length| *length > 0)
            .ok_or_else(|| invalid("it is too short"))?;
        let table_number =
            read_varint(&bytes[..number_bytes]).ok_or_else(|| invalid("its table number is not valid"))?;
        let internal =
            bytes[number_bytes..number_bytes + INTERNAL_BYTES].try_into().expect("16 bytes were counted");
        let id = Self { table_number, internal };
        // Covers the footer and every text that is not the one this ID is written as.
        if id.to_string() == text { Ok(id) } else { Err(invalid("its checksum does not match")) }
    }
}

fn fletcher16(bytes: &[u8]) -> u16 {
    let (mut low, mut high) = (0_u8, 0_u8);
    for byte in bytes {
        low = low.wrapping_add(*byte);
        high = high.wrapping_add(low);
    }
    u16::from_be_bytes([high, low])
}

fn read_varint(bytes: &[u8]) -> Option<u32> {
    let (last, groups) = bytes.split_last()?;
    if last & 0x80 != 0 || groups.iter().any(|group| group & 0x80 == 0) {
        return None;
    }
    bytes.iter().rev().try_fold(0_u32, |number, group| {
        number.checked_mul(128).map(|shifted| shifted | u32::from(group & 0x7f))
    })
}

fn base32_encode(bytes: &[u8], text: &mut [u8; MAX_TEXT_BYTES]) -> usize {
    let (mut bits, mut count, mut written) = (0_u32, 0, 0);
    let mut put = |index: u32| {
        text[written] = ALPHABET[(index & 31) as usize];
        written += 1;
    };
    for byte in bytes {
        bits = (bits << 8) | u32::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            put(bits >> count);
        }
    }
    if count > 0 {
        put(bits << (5 - count));
    }
    written
}

fn base32_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.bytes() {
        let digit = ALPHABET.iter().position(|known| *known == letter)?;
        bits = (bits << 5) | u32::try_from(digit).ok()?;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count).to_le_bytes()[0]);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::DocumentId;

    const COUNTING: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    #[test]
    fn known_ids_are_read_and_written() {
        let random =
            [0x7c, 0x75, 0xfb, 0x4a, 0x61, 0xfb, 0x00, 0x3c, 0xa5, 0xa2, 0x08, 0x6f, 0x49, 0x13, 0x4d, 0x1a];
        for (text, table_number, internal) in [
            ("kg27rxfv99gzp01wmph0gvt92d6hnvy6", 540, random),
            ("kg2000820c20a1g7104gm2rc1m70y674", 540, COUNTING),
            ("j5700000000000000000000000001qv0", 10_001, [0; 16]),
            ("j57000820c20a1g7104gm2rc1m70ynr8", 10_001, COUNTING),
        ] {
            let id = DocumentId { table_number, internal };
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse::<DocumentId>().unwrap(), id);
        }
    }

    #[test]
    fn every_table_number_survives_the_text() {
        for table_number in [1, 127, 128, 512, 16_383, 16_384, 2_097_152, u32::MAX] {
            let id = DocumentId { table_number, internal: COUNTING };
            assert_eq!(id.to_string().parse::<DocumentId>().unwrap(), id);
        }
    }

    #[test]
    fn an_altered_id_is_refused() {
        for text in [
            "",
            "nonsense",
            "kg27rxfv99gzp01wmph0gvt92d6hnvy7",
            "KG27RXFV99GZP01WMPH0GVT92D6HNVY6",
            "kg27rxfv99gzp01wmph0gvt92d6hnvu6",
            "kg27rxfv99gzp01wmph0gvt92d6hnvy60",
        ] {
            assert!(text.parse::<DocumentId>().is_err(), "{text}");
        }
    }
}
