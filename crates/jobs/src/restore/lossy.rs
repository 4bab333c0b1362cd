//! What would become of a table whose `generated_schema.jsonl` is left out: without it a backend reads every number as
//! Float64, and refuses bytes, infinities and what is not a number.
//!
//! A backend cannot import its own export of a table named `…_storage`: it takes that entry for a stored file with the id
//! `generated_schema`. Without the entry the import works, so that a table which loses nothing is restored without it.

use std::collections::BTreeMap;

use convault_archive::{Line, LineProblem};
use serde::Serialize;

/// What would become of the values of one field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LostTypes {
    /// Int64 values, which would become Float64.
    pub integers: u64,
    /// Bytes, infinities and what is not a number, which are refused.
    pub refused: u64,
}

/// The fields of a table in which values would change, by name; what lies deeper counts for the field that it lies in.
pub type Lossy = BTreeMap<String, LostTypes>;

/// Adds what would become of the document in `line`.
pub(super) fn look_at(line: &[u8], found: &mut Lossy) -> Result<(), LineProblem> {
    let parsed = Line::parse(line)?;
    for (name, raw) in parsed.fields() {
        // Most fields are strings, which lose nothing.
        if matches!(raw.first(), Some(b'"' | b't' | b'f' | b'n')) {
            continue;
        }
        let Some(span) = parsed.span(&[&name]) else { continue };
        for leaf in parsed.leaves(span) {
            count(&name, &line[leaf], found);
        }
    }
    Ok(())
}

fn count(field: &str, value: &[u8], found: &mut Lossy) {
    let is_number = value.first().is_some_and(|byte| *byte == b'-' || byte.is_ascii_digit());
    let is_float = value.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
    let is_special = value.first() == Some(&b'{') && value.len() > 2;
    if is_number && !is_float {
        found.entry(field.to_owned()).or_default().integers += 1;
    } else if is_special {
        found.entry(field.to_owned()).or_default().refused += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_what_json_cannot_hold_are_found_wherever_they_are() {
        let mut found = Lossy::new();
        let line = br#"{"_creationTime":1.5,"_id":"k1","a":[1,{"b":-2}],"c":{"$bytes":"AA=="},"d":"1","e":{},"f":[2.0,-0.0,1e16],"g":{"h":{"$float":"x"},"i":3}}"#;
        look_at(line, &mut found).unwrap();
        let expected = [
            ("a", LostTypes { integers: 2, refused: 0 }),
            ("c", LostTypes { integers: 0, refused: 1 }),
            ("g", LostTypes { integers: 1, refused: 1 }),
        ];
        assert_eq!(found, expected.map(|(name, lost)| (name.to_owned(), lost)).into());
    }

    #[test]
    fn plain_documents_lose_nothing() {
        let mut found = Lossy::new();
        look_at(br#"{"_creationTime":1700000000000.0,"_id":"k1","n":1.0,"s":"{\"$bytes\":1}"}"#, &mut found)
            .unwrap();
        assert!(found.is_empty());
    }
}
