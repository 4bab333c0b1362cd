//! A form of documents in which those of the old format of exports can be compared with those of the new one.
//!
//! The old one writes an Int64 as a string of digits, bytes as a string of base64, and what is not a number by name; the
//! types stand beside the documents. The new one keeps them. In the form here a value is what both can tell: `5`, `5.0`
//! and `"5"` are one, and so are `{"$bytes":"AA=="}` and `"AA=="`. Everything else counts: fields, lengths of lists,
//! texts, and numbers by value.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use convault_core::Sha256;
use serde_json::Value;

/// A digest of the values of a document; `None` where the line is no JSON.
pub(super) fn digest(line: &[u8]) -> Option<Sha256> {
    let value: Value = serde_json::from_slice(line).ok()?;
    let mut form = Vec::with_capacity(line.len());
    write(&value, &mut form);
    Some(Sha256::of(&form))
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(b'n'),
        Value::Bool(value) => out.push(if *value { b't' } else { b'f' }),
        Value::Number(number) => plain(&number_form(&number.to_string()), out),
        Value::String(text) => plain(&number_form(text), out),
        Value::Array(items) => {
            out.push(b'[');
            for item in items {
                write(item, out);
            }
            out.push(b']');
        }
        Value::Object(fields) => {
            if let Some(text) = special(fields) {
                return plain(&text, out);
            }
            out.push(b'{');
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            for (name, value) in sorted {
                plain(name, out);
                write(value, out);
            }
            out.push(b'}');
        }
    }
}

/// A text with its length in front, so that two lists of texts are never one.
fn plain(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("\"{}:", text.len()).as_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// One form for everything that says the same number; any other text stays as it is.
fn number_form(text: &str) -> String {
    if let Ok(whole) = text.parse::<i64>() {
        return whole.to_string();
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && looks_like_a_number(text) => of_float(number),
        _ => text.to_owned(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "only where it is a whole number that fits")]
fn of_float(number: f64) -> String {
    const LIMIT: f64 = 9.0e15;
    if number.fract() == 0.0 && number.abs() < LIMIT {
        (number as i64).to_string()
    } else {
        format!("{number:e}")
    }
}

fn looks_like_a_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E'))
}

/// What JSON cannot hold, as the old format writes it.
fn special(fields: &serde_json::Map<String, Value>) -> Option<String> {
    let (name, value) = fields.iter().next().filter(|_| fields.len() == 1)?;
    let text = value.as_str()?;
    let eight = || <[u8; 8]>::try_from(STANDARD.decode(text).ok()?).ok();
    match name.as_str() {
        "$bytes" => Some(number_form(text)),
        "$integer" => Some(i64::from_le_bytes(eight()?).to_string()),
        "$float" => Some(match f64::from_le_bytes(eight()?) {
            number if number.is_nan() => "NaN".to_owned(),
            f64::INFINITY => "Infinity".to_owned(),
            f64::NEG_INFINITY => "-Infinity".to_owned(),
            number => of_float(number),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_of_one_document_have_one_digest() {
        let new = br#"{"_creationTime":1700000000000.5,"_id":"k1","a":5,"b":{"$bytes":"AAE="},"c":{"$float":"AAAAAAAA+H8="},"d":[1.0,-0.0],"e":"x"}"#;
        let old = br#"{"_creationTime":1700000000000.5,"_id":"k1","a":"5","b":"AAE=","c":"NaN","d":[1.0,0.0],"e":"x"}"#;
        assert_eq!(digest(new), digest(old));
    }

    #[test]
    fn another_value_field_or_length_has_another_digest() {
        let one = digest(br#"{"a":5,"b":[1,2]}"#);
        for other in [
            r#"{"a":6,"b":[1,2]}"#,
            r#"{"a":5,"c":[1,2]}"#,
            r#"{"a":5,"b":[12]}"#,
            r#"{"a":5,"b":[1,2],"c":null}"#,
            r#"{"a":"5 ","b":[1,2]}"#,
        ] {
            assert_ne!(digest(other.as_bytes()), one, "{other}");
        }
        assert_eq!(digest(b"{"), None);
    }
}
