//! What a document's id says: the number of its table.

/// Crockford's alphabet in lower case, as Convex writes ids.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const INTERNAL_BYTES: usize = 16;
const FOOTER_BYTES: usize = 2;

/// The number of the table that a document or stored file of this id is in. Numbers are given for each component, so
/// that several components may have a table of one number. `None` where the text is no id.
pub fn table_number(id: &str) -> Option<u32> {
    if !(31..=37).contains(&id.len()) {
        return None;
    }
    let bytes = decode(id.as_bytes())?;
    let (content, footer) = bytes.split_at_checked(bytes.len().checked_sub(FOOTER_BYTES)?)?;
    if footer != fletcher16(content).to_le_bytes() {
        return None;
    }
    let varint = content.get(..content.len().checked_sub(INTERNAL_BYTES)?)?;
    number(varint)
}

/// Bits that are left over have to be zero, so that an id has one spelling.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut buffer, mut bits) = (0_u32, 0);
    for character in text {
        let value = ALPHABET.iter().position(|known| known == character)?;
        buffer = buffer << 5 | u32::try_from(value).ok()?;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(buffer >> bits).ok()?);
            buffer &= (1 << bits) - 1;
        }
    }
    (buffer == 0 && bits < 5).then_some(bytes)
}

fn number(varint: &[u8]) -> Option<u32> {
    let (last, before) = varint.split_last()?;
    let is_one = before.iter().all(|byte| byte & 0x80 != 0) && last & 0x80 == 0;
    let is_shortest = before.is_empty() || *last != 0;
    if !is_one || !is_shortest || varint.len() > 5 {
        return None;
    }
    let value = varint.iter().rev().fold(0_u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
    u32::try_from(value).ok()
}

fn fletcher16(bytes: &[u8]) -> u16 {
    let (mut first, mut second) = (0_u8, 0_u8);
    for byte in bytes {
        first = first.wrapping_add(*byte);
        second = second.wrapping_add(first);
    }
    u16::from(second) << 8 | u16::from(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_say_the_number_of_their_table() {
        for (id, number) in [
            ("kg27rxfv99gzp01wmph0gvt92d6hnvy6", 540),
            ("kg2000820c20a1g7104gm2rc1m70y674", 540),
            ("j5700000000000000000000000001qv0", 10_001),
            ("j57000820c20a1g7104gm2rc1m70ynr8", 10_001),
        ] {
            assert_eq!(table_number(id), Some(number), "{id}");
        }
    }

    #[test]
    fn what_is_no_id_has_no_number() {
        for text in [
            "",
            "contacts",
            "j57000820c20a1g7104gm2rc1m70ynr9",
            "J57000820C20A1G7104GM2RC1M70YNR8",
            "j57000820c20a1g7104gm2rc1m70ynr",
            "j57000820c20a1g7104gm2rc1m70ynrl",
        ] {
            assert_eq!(table_number(text), None, "{text}");
        }
    }
}
