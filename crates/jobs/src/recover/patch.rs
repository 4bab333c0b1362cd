//! Single fields of a document, put back as they were. Values are copied, byte for byte.

use crate::look::{FieldPath, members};

/// Something on the way to a field is no object.
#[derive(Debug)]
pub(crate) struct NoObject;

/// The object in `raw` with the field at `path` as it is in `value`; without it, where that is `None`. Objects on the way
/// that are not there are made.
fn with_field(raw: &str, path: &[String], value: Option<&str>) -> Result<String, NoObject> {
    let (name, rest) = path.split_first().ok_or(NoObject)?;
    let mut parts: Vec<(String, String)> = Vec::new();
    let mut was_there = false;
    for (key, old) in members(raw.as_bytes()).ok_or(NoObject)? {
        if key != *name {
            parts.push((key.into_owned(), old.to_owned()));
            continue;
        }
        was_there = true;
        if let Some(new) = inner(Some(old), rest, value)? {
            parts.push((key.into_owned(), new));
        }
    }
    if !was_there && let Some(new) = inner(None, rest, value)? {
        // Exports have keys in the order of their bytes.
        let at = parts.iter().position(|(key, _)| key > name).unwrap_or(parts.len());
        parts.insert(at, (name.clone(), new));
    }
    let quoted = |key: &str| serde_json::to_string(key).map_err(|_| NoObject);
    let written: Result<Vec<String>, NoObject> =
        parts.iter().map(|(key, value)| Ok([&quoted(key)?, ":", value].concat())).collect();
    Ok(format!("{{{}}}", written?.join(",")))
}

/// What a member becomes; nothing, where it goes.
fn inner(old: Option<&str>, rest: &[String], value: Option<&str>) -> Result<Option<String>, NoObject> {
    match (rest.is_empty(), old, value) {
        (true, _, value) => Ok(value.map(str::to_owned)),
        (false, None, None) => Ok(None),
        (false, old, value) => with_field(old.unwrap_or("{}"), rest, value).map(Some),
    }
}

/// The live document with these fields as the stored one has them.
pub(crate) fn patched(live: &[u8], stored: &[u8], fields: &[FieldPath]) -> Result<String, NoObject> {
    let mut text = std::str::from_utf8(live).map_err(|_| NoObject)?.to_owned();
    for field in fields {
        text = with_field(&text, &field.0, field.value(stored))?;
    }
    Ok(text)
}

/// The stored document with nothing but its id and these fields.
pub(crate) fn reduced(stored: &[u8], fields: &[FieldPath]) -> Result<String, NoObject> {
    let id = FieldPath(vec!["_id".to_owned()]);
    let mut text = "{}".to_owned();
    for field in std::iter::once(&id).chain(fields) {
        if let Some(value) = field.value(stored) {
            text = with_field(&text, &field.0, Some(value))?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn paths(texts: &[&str]) -> Vec<FieldPath> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    const STORED: &str = r#"{"_id":"a","address":{"city":"Oslo","zip":1.0},"n":9007199254740993,"note":"x"}"#;
    const LIVE: &str = r#"{"_id":"a","address":{"city":"Bergen","street":"y"},"extra":-0.0,"n":5}"#;

    #[test]
    fn chosen_fields_become_what_they_were_and_nothing_else_changes() {
        let of = |fields: &[&str]| patched(LIVE.as_bytes(), STORED.as_bytes(), &paths(fields)).unwrap();
        assert_eq!(of(&["n"]), LIVE.replace(":5}", ":9007199254740993}"));
        assert_eq!(of(&["address.city"]), LIVE.replace("Bergen", "Oslo"));
        assert_eq!(of(&["address.zip"]), LIVE.replace("\"y\"", "\"y\",\"zip\":1.0"));
        assert_eq!(of(&["extra"]), LIVE.replace("\"extra\":-0.0,", ""));
        assert_eq!(of(&["note"]), LIVE.replace(":5}", ":5,\"note\":\"x\"}"));
        assert_eq!(of(&["missing.deep"]), LIVE);
        assert!(patched(br#"{"_id":"a","n":1}"#, br#"{"_id":"a","n":{"x":1}}"#, &paths(&["n.x"])).is_err());
    }

    #[test]
    fn a_document_can_be_reduced_to_some_fields() {
        let text = reduced(STORED.as_bytes(), &paths(&["address.zip", "n", "gone"])).unwrap();
        assert_eq!(text, r#"{"_id":"a","address":{"zip":1.0},"n":9007199254740993}"#);
    }

    proptest! {
        #[test]
        fn a_field_that_is_put_back_has_its_value_and_the_others_theirs(
            live in prop::collection::btree_map("[a-e]", -99_i64..99, 0..5),
            stored in prop::collection::btree_map("[a-e]", -99_i64..99, 0..5),
            field in "[a-e]",
        ) {
            let text = |fields: &std::collections::BTreeMap<String, i64>| {
                let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", fields.join(","))
            };
            let mut expected = live.clone();
            match stored.get(&field) {
                Some(value) => { expected.insert(field.clone(), *value); }
                None => { expected.remove(&field); }
            }
            let path = [field.parse::<FieldPath>().unwrap()];
            let found = patched(text(&live).as_bytes(), text(&stored).as_bytes(), &path).unwrap();
            prop_assert_eq!(found, text(&expected));
        }
    }
}
