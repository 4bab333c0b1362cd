//! [`Mask`]: what makes a value unreadable in copies that are not for everybody.

use crate::{FieldPath, Sha256, TableRef};

/// Digits of a hash that stand for a text: enough that two of a deployment's values never share one by chance.
const SHOWN_DIGITS: usize = 32;

/// A field of a table whose values are replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// Which table.
    pub table: TableRef,
    /// Which field. On its way it goes through every element of an array. A document without it is left alone.
    pub field: FieldPath,
    /// What takes the value's place.
    pub with: MaskWith,
}

/// What takes a value's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MaskWith {
    /// A keyed hash, of the type that the value had: a text of 32 digits, a number, bytes. Equal values get equal hashes,
    /// so that what was joined by them still is. `null` stays, `true` and `false` become `false`. Of an array or an object
    /// every value inside is replaced.
    Hash,
    /// A text becomes `<hash>@example.invalid`, to which no mail can be sent; anything else is hashed.
    Email,
    /// `null`, whatever was there.
    Null,
    /// This JSON value, whatever was there.
    Fixed(String),
}

impl MaskWith {
    /// This text, whatever was there.
    pub fn text(text: &str) -> Self {
        Self::Fixed(serde_json::Value::from(text).to_string())
    }

    /// The JSON that takes the place of the whole value, where it does not matter what that was.
    pub fn whole(&self) -> Option<&[u8]> {
        match self {
            Self::Hash | Self::Email => None,
            Self::Null => Some(b"null"),
            Self::Fixed(json) => Some(json.as_bytes()),
        }
    }

    /// The JSON that takes the place of one plain value: a text, a number, `true`, `false`, `null`, or what JSON cannot
    /// hold (`{"$bytes":"…"}` and the like). `hash` is keyed, and the same for the whole copy.
    pub fn replaced(&self, value: &[u8], hash: impl Fn(&[u8]) -> Sha256) -> Vec<u8> {
        if let Some(whole) = self.whole() {
            return whole.to_vec();
        }
        match value.first() {
            Some(b'n') => value.to_vec(),
            Some(b't' | b'f') => b"false".to_vec(),
            Some(b'"') => {
                // The text itself is hashed, not its spelling: `\u0041` is `A`.
                let text: Option<String> = serde_json::from_slice(value).ok();
                let digits = digits(&hash(&text.map_or_else(|| value.to_vec(), String::into_bytes)));
                match self {
                    Self::Email => format!("\"{digits}@example.invalid\""),
                    _ => format!("\"{digits}\""),
                }
                .into_bytes()
            }
            Some(b'{') => special(value, &hash(value)),
            _ if value.iter().any(|byte| b".eE".contains(byte)) => {
                format!("{}.0", number(&hash(value))).into()
            }
            _ => number(&hash(value)).to_string().into(),
        }
    }
}

/// What takes the place of a value that JSON cannot hold. Its kind is kept where it is known.
fn special(value: &[u8], hash: &Sha256) -> Vec<u8> {
    match key_of(value) {
        // Digits are base64, too.
        Some(b"$bytes") => format!("{{\"$bytes\":\"{}\"}}", digits(hash)).into(),
        Some(b"$float") => format!("{}.0", number(hash)).into(),
        Some(b"$integer") => number(hash).to_string().into(),
        _ => b"null".to_vec(),
    }
}

/// The first key of an object.
fn key_of(object: &[u8]) -> Option<&[u8]> {
    let start = object.iter().position(|byte| *byte == b'"')? + 1;
    let length = object[start..].iter().position(|byte| *byte == b'"')?;
    Some(&object[start..start + length])
}

fn digits(hash: &Sha256) -> String {
    let mut digits = hash.to_string();
    digits.truncate(SHOWN_DIGITS);
    digits
}

/// A number of 53 bits: an Int64, and a Float64 that loses nothing.
fn number(hash: &Sha256) -> u64 {
    let (first, _) = hash.0.split_first_chunk().expect("a hash has 32 bytes");
    u64::from_be_bytes(*first) >> 11
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(value: &[u8]) -> Sha256 {
        Sha256::of(&[b"key ", value].concat())
    }

    fn replaced(with: &MaskWith, value: &str) -> String {
        String::from_utf8(with.replaced(value.as_bytes(), hash)).unwrap()
    }

    #[test]
    fn a_hash_keeps_the_type_of_what_it_stands_for() {
        let text = replaced(&MaskWith::Hash, r#""anna""#);
        assert_eq!(text, format!("\"{}\"", &hash(b"anna").to_string()[..32]));
        assert_eq!(text, replaced(&MaskWith::Hash, r#""\u0061nna""#));
        let integer = replaced(&MaskWith::Hash, "7");
        assert!(integer.parse::<u64>().unwrap() < 1 << 53, "{integer}");
        for float in ["7.0", "1e16", "-0.0", r#"{"$float":"AAAAAAAA+H8="}"#] {
            let masked = replaced(&MaskWith::Hash, float);
            assert!(masked.ends_with(".0") && masked.parse::<f64>().is_ok(), "{float}: {masked}");
        }
        assert!(replaced(&MaskWith::Hash, r#"{"$integer":"BQAAAAAAAAA="}"#).parse::<u64>().is_ok());
        let bytes = replaced(&MaskWith::Hash, r#"{"$bytes":"AAAA"}"#);
        assert!(bytes.starts_with(r#"{"$bytes":""#) && bytes.len() == 13 + SHOWN_DIGITS, "{bytes}");
        assert_eq!(replaced(&MaskWith::Hash, r#"{"$other":1}"#), "null");
    }

    #[test]
    fn nothing_of_what_was_there_is_left() {
        for (with, value, expected) in [
            (MaskWith::Hash, "null", "null"),
            (MaskWith::Hash, "true", "false"),
            (MaskWith::Email, "false", "false"),
            (MaskWith::Null, r#""anna""#, "null"),
            (MaskWith::Null, "[1]", "null"),
            (MaskWith::Fixed("\"x\"".into()), "null", "\"x\""),
            (MaskWith::Fixed("1.0".into()), r#"{"a":1}"#, "1.0"),
        ] {
            assert_eq!(replaced(&with, value), expected, "{with:?} {value}");
        }
        let email = replaced(&MaskWith::Email, r#""anna@example.com""#);
        assert!(email.ends_with("@example.invalid\"") && !email.contains("anna"), "{email}");
        assert_eq!(replaced(&MaskWith::Email, "7"), replaced(&MaskWith::Hash, "7"));
    }
}
