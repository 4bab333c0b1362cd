//! [`Wanted`]: what a document has to be in order to be meant.

use std::{collections::BTreeSet, str::FromStr};

use jiff::Timestamp;

use super::{
    path::FieldPath,
    token::{Token, each_text, elements, value_at},
};

/// Numbers beyond this are not told apart by a 64-bit float.
const EXACT: i64 = 1 << 53;

/// What a document has to be in order to be meant: all of it together. Without anything, every document is.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Its `_id` is one of these; any, where there are none.
    pub ids: BTreeSet<String>,
    /// Each of these fields has that value.
    pub fields: Vec<FieldValue>,
    /// Each of these occurs in some text of it, in lower case.
    pub words: Vec<String>,
    /// It was made at this time or later.
    pub created_from: Option<Timestamp>,
    /// It was made before this time.
    pub created_before: Option<Timestamp>,
}

/// A field, and what its value has to be: `stage=won`, `address.city=Gdynia`, `amount=12.5`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldValue {
    /// The field.
    pub path: FieldPath,
    /// The value. A text is compared as it is, a number by its value, whichever its type; of an array one element has
    /// to be it.
    pub value: String,
}

impl FromStr for FieldValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (path, value) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}`: expected FIELD=VALUE, as in `stage=won`"))?;
        let path = path.parse().map_err(|error: super::path::ParseFieldPathError| error.to_string())?;
        Ok(Self { path, value: value.to_owned() })
    }
}

impl Wanted {
    /// These ids and nothing else.
    pub fn ids(ids: impl IntoIterator<Item = String>) -> Self {
        Self { ids: ids.into_iter().collect(), ..Self::default() }
    }

    /// Takes in words to be looked for.
    pub fn add_words(&mut self, text: &str) {
        self.words.extend(text.split_whitespace().map(str::to_lowercase));
    }

    /// Whether nothing but ids is asked for, so that only those need be looked up.
    pub fn is_ids_only(&self) -> bool {
        !self.ids.is_empty()
            && self.fields.is_empty()
            && self.words.is_empty()
            && self.created_from.is_none()
            && self.created_before.is_none()
    }

    /// Whether the document in `line`, a JSON object, is meant.
    pub fn matches(&self, line: &[u8]) -> bool {
        self.has_id(line) && self.was_made_then(line) && self.has_fields(line) && self.has_words(line)
    }

    fn has_id(&self, line: &[u8]) -> bool {
        self.ids.is_empty() || super::token::id_of(line).is_some_and(|id| self.ids.contains(&id))
    }

    fn has_fields(&self, line: &[u8]) -> bool {
        let has = |wanted: &FieldValue| {
            value_at(line, &wanted.path.0).is_some_and(|raw| equals(raw.as_bytes(), &wanted.value))
        };
        self.fields.iter().all(has)
    }

    fn was_made_then(&self, line: &[u8]) -> bool {
        if self.created_from.is_none() && self.created_before.is_none() {
            return true;
        }
        let raw = value_at(line, &["_creationTime".to_owned()]);
        let Some(made_ms) = raw.and_then(|raw| raw.parse::<f64>().ok()) else { return false };
        let ms = |time: &Timestamp| time.as_duration().as_secs_f64() * 1000.0;
        self.created_from.as_ref().is_none_or(|time| made_ms >= ms(time))
            && self.created_before.as_ref().is_none_or(|time| made_ms < ms(time))
    }

    fn has_words(&self, line: &[u8]) -> bool {
        let mut missing: Vec<&str> = self.words.iter().map(String::as_str).collect();
        if missing.is_empty() {
            return true;
        }
        each_text(line, |text| {
            if !missing.is_empty() {
                let text = text.to_lowercase();
                missing.retain(|word| !text.contains(word));
            }
        });
        missing.is_empty()
    }
}

/// Whether a value as it is written is the one that a person wrote.
fn equals(raw: &[u8], value: &str) -> bool {
    match Token::of(raw) {
        None => false,
        Some(Token::Null | Token::Boolean(_)) => raw == value.as_bytes(),
        Some(Token::Int64(text) | Token::Float64(text)) => same_number(text, value),
        // NaN and the infinities have one spelling each.
        Some(Token::Special(number)) => value
            .parse::<f64>()
            .is_ok_and(|value| value.total_cmp(&number).is_eq() || value.is_nan() && number.is_nan()),
        Some(Token::Text(text)) => {
            text == value || serde_json::from_str::<String>(value).is_ok_and(|value| value == text)
        }
        Some(Token::Bytes(base64)) => base64 == value || raw == value.as_bytes(),
        Some(Token::List(text)) => {
            let items = elements(text).unwrap_or_default();
            text == value || items.iter().any(|item| equals(item.as_bytes(), value))
        }
        Some(Token::Record(text)) => text == value,
    }
}

fn same_number(text: &str, value: &str) -> bool {
    if let (Ok(one), Ok(two)) = (text.parse::<i64>(), value.parse::<i64>()) {
        return one == two;
    }
    let is_exact = |text: &str| text.parse::<i64>().map_or(true, |number| number.abs() <= EXACT);
    match (text.parse::<f64>(), value.parse::<f64>()) {
        #[expect(clippy::float_cmp, reason = "the value that was written is meant, and no other")]
        (Ok(one), Ok(two)) => one == two && is_exact(text) && is_exact(value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = br#"{"_creationTime":1700000000000.5,"_id":"j57","address":{"city":"Gdynia"},"amount":12.5,
        "big":9223372036854775807,"body":"A Red\nBicycle","count":5,"ok":true,"none":null,"tags":["vip","b2b"]}"#;

    fn has(text: &str) -> bool {
        Wanted { fields: vec![text.parse().unwrap()], ..Wanted::default() }.matches(LINE)
    }

    #[test]
    fn fields_are_compared_by_value() {
        for text in [
            "address.city=Gdynia",
            "address.city=\"Gdynia\"",
            "amount=12.5",
            "amount=1.25e1",
            "big=9223372036854775807",
            "count=5",
            "count=5.0",
            "ok=true",
            "none=null",
            "tags=vip",
            r#"tags=["vip","b2b"]"#,
        ] {
            assert!(has(text), "{text}");
        }
        for text in [
            "address.city=gdynia",
            "address=Gdynia",
            "big=9223372036854775806",
            "big=9223372036854775807.0",
            "count=6",
            "missing=null",
            "ok=false",
            "tags=vi",
        ] {
            assert!(!has(text), "{text}");
        }
    }

    #[test]
    fn words_are_looked_for_in_texts_whatever_their_case() {
        let with = |text: &str| {
            let mut wanted = Wanted::default();
            wanted.add_words(text);
            wanted.matches(LINE)
        };
        assert!(with("bicycle red"));
        assert!(with("vip"));
        assert!(with(""));
        assert!(!with("bicycle blue"));
        assert!(!with("amount"));
    }

    #[test]
    fn the_time_of_making_is_from_the_first_moment_to_before_the_last() {
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        let wanted =
            |from, before| Wanted { created_from: from, created_before: before, ..Wanted::default() };
        assert!(wanted(Some(at(1_700_000_000_000)), None).matches(LINE));
        assert!(wanted(None, Some(at(1_700_000_000_001))).matches(LINE));
        assert!(!wanted(Some(at(1_700_000_000_001)), None).matches(LINE));
        assert!(!wanted(None, Some(at(1_700_000_000_000))).matches(LINE));
    }

    #[test]
    fn only_what_is_asked_for_by_id_alone_is_looked_up() {
        assert!(Wanted::ids(["a".to_owned()]).is_ids_only());
        assert!(!Wanted::default().is_ids_only());
        assert!(!Wanted { words: vec!["x".to_owned()], ..Wanted::ids(["a".to_owned()]) }.is_ids_only());
        assert!(Wanted::ids(["j57".to_owned()]).matches(LINE));
        assert!(!Wanted::ids(["j58".to_owned()]).matches(LINE));
    }
}
