//! Values as they stand in a line: which type a token is of, and what is in it. Nothing is ever written anew.

use std::borrow::Cow;

use convault_archive::Line;
use serde_json::value::RawValue;

/// A value of a document, as its token says: the encoding of Convex's exports, in which a number with neither point nor
/// exponent is an Int64 and every other one a Float64.
#[derive(Debug, Clone, PartialEq)]
pub enum Token<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// Decimal digits, perhaps with a minus.
    Int64(&'a str),
    /// A number with a point or an exponent, as it is written.
    Float64(&'a str),
    /// `{"$float":"…"}`, which is how NaN and the infinities are written.
    Special(f64),
    /// A string, without its quotes and escapes.
    Text(Cow<'a, str>),
    /// `{"$bytes":"…"}`: the base64 in it.
    Bytes(Cow<'a, str>),
    /// An array, as it is written.
    List(&'a str),
    /// Any other object, as it is written.
    Record(&'a str),
}

impl<'a> Token<'a> {
    /// What `raw`, one whole JSON value without white space around it, is. `None` where it is none.
    pub fn of(raw: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(raw).ok()?;
        Some(match raw.first()? {
            b'n' => Self::Null,
            b't' => Self::Boolean(true),
            b'f' => Self::Boolean(false),
            b'"' => Self::Text(unquoted(text)?),
            b'[' => Self::List(text),
            b'{' => wrapped(text).unwrap_or(Self::Record(text)),
            _ if is_int64(text) => Self::Int64(text),
            _ => Self::Float64(text),
        })
    }

    /// The word for its type.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "boolean",
            Self::Int64(_) => "int64",
            Self::Float64(_) | Self::Special(_) => "float64",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "array",
            Self::Record(_) => "object",
        }
    }
}

/// What an importer takes for an Int64: neither point nor exponent, within 64 bits; `-0` is a Float64.
fn is_int64(text: &str) -> bool {
    text != "-0" && text.parse::<i64>().is_ok()
}

fn unquoted(text: &str) -> Option<Cow<'_, str>> {
    if text.contains('\\') {
        return serde_json::from_str(text).ok().map(Cow::Owned);
    }
    text.strip_prefix('"')?.strip_suffix('"').map(Cow::Borrowed)
}

/// `{"$bytes":…}` and `{"$float":…}`.
fn wrapped(text: &str) -> Option<Token<'_>> {
    if !text.starts_with("{\"$") {
        return None;
    }
    let members = members(text.as_bytes())?;
    let [(key, value)] = members.as_slice() else { return None };
    let value = unquoted(value)?;
    match key.as_ref() {
        "$bytes" => Some(Token::Bytes(value)),
        "$float" => special(&value).map(Token::Special),
        _ => None,
    }
}

fn special(encoded: &str) -> Option<f64> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let bytes: [u8; 8] = STANDARD.decode(encoded).ok()?.try_into().ok()?;
    Some(f64::from_le_bytes(bytes))
}

/// The members of an object in their order, each with its value as it is written. `None` where `raw` is no object.
pub fn members(raw: &[u8]) -> Option<Vec<(Cow<'_, str>, &str)>> {
    let line = Line::parse(raw).ok()?;
    line.fields().map(|(name, value)| Some((name, std::str::from_utf8(value).ok()?))).collect()
}

/// The elements of an array in their order, as they are written. `None` where `raw` is no array.
pub(crate) fn elements(raw: &str) -> Option<Vec<&str>> {
    let elements: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

/// The value at a path of keys, as it is written.
pub(crate) fn value_at<'a>(raw: &'a [u8], path: &[String]) -> Option<&'a str> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    std::str::from_utf8(Line::parse(raw).ok()?.raw(&path)?).ok()
}

/// The `_id` of a line.
pub(crate) fn id_of(line: &[u8]) -> Option<String> {
    Some(Line::parse(line).ok()?.text(&["_id"])?.into_owned())
}

/// Gives every string of a line that is a value and not a key, without its escapes. The line has to be JSON.
pub(crate) fn each_text(line: &[u8], mut take: impl FnMut(&str)) {
    let mut rest = line;
    let mut key: &[u8] = b"";
    while let Some(start) = rest.iter().position(|byte| *byte == b'"') {
        rest = &rest[start + 1..];
        let Some(end) = end_of_string(rest) else { return };
        let content = &rest[..end];
        rest = &rest[end + 1..];
        let after = rest.iter().find(|byte| !byte.is_ascii_whitespace());
        if after == Some(&b':') {
            key = content;
            continue;
        }
        if key != b"$bytes" && key != b"$float" {
            give(content, &mut take);
        }
        key = b"";
    }
}

/// Where the string ends whose first byte is that of `rest`.
fn end_of_string(rest: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += rest.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if rest[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

fn give(content: &[u8], take: &mut impl FnMut(&str)) {
    let Ok(text) = std::str::from_utf8(content) else { return };
    if !text.contains('\\') {
        take(text);
    } else if let Ok(text) = serde_json::from_str::<String>(&format!("\"{text}\"")) {
        take(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_tell_int64_and_float64_apart_by_how_they_are_written() {
        let of = |raw: &'static str| Token::of(raw.as_bytes()).unwrap();
        assert_eq!(of("5"), Token::Int64("5"));
        assert_eq!(of("-9223372036854775808"), Token::Int64("-9223372036854775808"));
        assert_eq!(of("9223372036854775808"), Token::Float64("9223372036854775808"));
        assert_eq!(of("-0"), Token::Float64("-0"));
        assert_eq!(of("5.0"), Token::Float64("5.0"));
        assert_eq!(of("1e16"), Token::Float64("1e16"));
        assert_eq!(of(r#""a\nb""#), Token::Text("a\nb".into()));
        assert_eq!(of(r#"{"$bytes":"AAE="}"#), Token::Bytes("AAE=".into()));
        assert_eq!(of(r#"{"$float":"AAAAAAAA8H8="}"#), Token::Special(f64::INFINITY));
        assert_eq!(of(r#"{"a":1}"#), Token::Record(r#"{"a":1}"#));
        assert!(matches!(of(r#"{"$float":"AAAAAAAA+H8="}"#), Token::Special(value) if value.is_nan()));
    }

    #[test]
    fn members_keep_their_order_and_their_bytes() {
        let found = members(br#"{"B":1.0,"_id":"x","a":{"c":[1, 2]},"a\u0062":null}"#).unwrap();
        let expected = [("B", "1.0"), ("_id", r#""x""#), ("a", r#"{"c":[1, 2]}"#), ("ab", "null")];
        let found: Vec<_> = found.iter().map(|(key, value)| (key.as_ref(), *value)).collect();
        assert_eq!(found, expected);
        assert!(members(b"[]").is_none());
        assert!(members(b"{} {}").is_none());
    }

    #[test]
    fn texts_are_values_and_no_keys() {
        let mut texts = Vec::new();
        let line = br#"{"k":"v","a":["x\"y",{"z" : "w"}],"b":{"$bytes":"AAEC"},"n":1,"o":[],"p":"\\"}"#;
        each_text(line, |text| texts.push(text.to_owned()));
        assert_eq!(texts, ["v", "x\"y", "w", "\\"]);
    }
}
