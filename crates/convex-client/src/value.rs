//! 64-bit integers as the server writes them in JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An Int64 in any of its spellings: `{"$integer":"<base64 of 8 bytes, little endian>"}` (`convex_encoded_json`), a
/// decimal string (`json`), or a plain integer.
#[derive(Deserialize)]
#[serde(untagged)]
enum Int64 {
    Encoded {
        #[serde(rename = "$integer")]
        base64: String,
    },
    Decimal(String),
    Plain(i64),
}

impl Int64 {
    fn value(self) -> Result<i64, String> {
        match self {
            Self::Encoded { base64 } => {
                let bytes = STANDARD.decode(&base64).ok().and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
                bytes.map(i64::from_le_bytes).ok_or_else(|| format!("`{base64}` is not 8 bytes in base64"))
            }
            Self::Decimal(text) => text.parse().map_err(|_| format!("`{text}` is not a 64-bit integer")),
            Self::Plain(value) => Ok(value),
        }
    }
}

/// Reads an Int64 field that may be null; with `#[serde(default)]` it may also be absent.
pub(crate) fn optional_int64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let value = Option::<Int64>::deserialize(deserializer)?;
    value.map(Int64::value).transpose().map_err(D::Error::custom)
}

/// The bytes of a `{"$bytes":"<base64>"}`; `None` for anything else.
pub fn decode_bytes(value: &RawValue) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Encoded {
        #[serde(rename = "$bytes")]
        base64: String,
    }
    let encoded: Encoded = serde_json::from_str(value.get()).ok()?;
    STANDARD.decode(encoded.base64).ok()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Row {
        #[serde(default, deserialize_with = "super::optional_int64")]
        n: Option<i64>,
    }

    fn read(json: &str) -> Option<i64> {
        serde_json::from_str::<Row>(json).unwrap().n
    }

    #[test]
    fn every_spelling_of_an_integer_is_read() {
        assert_eq!(read(r#"{"n":{"$integer":"BQAAAAAAAAA="}}"#), Some(5));
        assert_eq!(read(r#"{"n":{"$integer":"//////////8="}}"#), Some(-1));
        assert_eq!(read(r#"{"n":{"$integer":"/////////38="}}"#), Some(i64::MAX));
        assert_eq!(read(r#"{"n":"1795312183291579600"}"#), Some(1_795_312_183_291_579_600));
        assert_eq!(read(r#"{"n":1795312183291579600}"#), Some(1_795_312_183_291_579_600));
        assert_eq!(read(r#"{"n":null}"#), None);
        assert_eq!(read("{}"), None);
    }

    #[test]
    fn what_is_no_integer_is_refused() {
        for json in [r#"{"n":{"$integer":"BQ=="}}"#, r#"{"n":"1.5"}"#, r#"{"n":1.5}"#, r#"{"n":true}"#] {
            assert!(serde_json::from_str::<Row>(json).is_err(), "{json}");
        }
    }
}
