//! What is different between two states of one document.

use serde::Serialize;

use super::{path::FieldPath, token::members};

/// A field that one state has otherwise than the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldChange {
    /// Which field: `address.city`.
    pub field: String,
    /// Its value before, as it was written; `None` where there was no such field.
    pub before: Option<String>,
    /// Its value afterwards.
    pub after: Option<String>,
}

/// The fields that differ, in the order of their names. Objects are looked into; everything else, arrays too, is
/// compared as a whole, by its bytes.
pub fn changes(before: &[u8], after: &[u8]) -> Vec<FieldChange> {
    let mut found = Vec::new();
    compare(&FieldPath(Vec::new()), before, after, &mut found);
    found
}

fn compare(at: &FieldPath, before: &[u8], after: &[u8], found: &mut Vec<FieldChange>) {
    let (Some(mut olds), Some(mut news)) = (members(before), members(after)) else { return };
    olds.sort();
    news.sort();
    let (mut olds, mut news) = (olds.into_iter().peekable(), news.into_iter().peekable());
    loop {
        let order = match (olds.peek(), news.peek()) {
            (None, None) => return,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let old = if order.is_le() { olds.next() } else { None };
        let new = if order.is_ge() { news.next() } else { None };
        let Some(name) = old.as_ref().or(new.as_ref()).map(|(name, _)| name.clone()) else { return };
        let (old, new) = (old.map(|(_, value)| value), new.map(|(_, value)| value));
        if old == new {
            continue;
        }
        let path = at.child(&name);
        match (old, new) {
            (Some(old), Some(new)) if is_record(old) && is_record(new) => {
                compare(&path, old.as_bytes(), new.as_bytes(), found);
            }
            _ => found.push(FieldChange {
                field: path.to_string(),
                before: old.map(str::to_owned),
                after: new.map(str::to_owned),
            }),
        }
    }
}

/// An object with fields, and not one that stands for bytes or a number.
fn is_record(raw: &str) -> bool {
    raw.starts_with('{') && !raw.starts_with("{\"$")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(before: &str, after: &str) -> Vec<(String, Option<String>, Option<String>)> {
        changes(before.as_bytes(), after.as_bytes())
            .into_iter()
            .map(|change| (change.field, change.before, change.after))
            .collect()
    }

    fn change(
        field: &str,
        before: Option<&str>,
        after: Option<&str>,
    ) -> (String, Option<String>, Option<String>) {
        (field.to_owned(), before.map(str::to_owned), after.map(str::to_owned))
    }

    #[test]
    fn fields_are_told_with_the_bytes_they_had() {
        let before = r#"{"_id":"a","address":{"city":"Oslo","zip":1},"gone":1,"n":5,"tags":[1,2]}"#;
        let after = r#"{"_id":"a","address":{"city":"Bergen","zip":1},"n":5.0,"new":null,"tags":[2,1]}"#;
        let expected = [
            change("address.city", Some("\"Oslo\""), Some("\"Bergen\"")),
            change("gone", Some("1"), None),
            change("n", Some("5"), Some("5.0")),
            change("new", None, Some("null")),
            change("tags", Some("[1,2]"), Some("[2,1]")),
        ];
        assert_eq!(of(before, after), expected);
        assert!(of(before, before).is_empty());
    }

    #[test]
    fn bytes_and_special_numbers_are_no_objects() {
        let before = r#"{"_id":"a","b":{"$bytes":"AA=="}}"#;
        let after = r#"{"_id":"a","b":{"$bytes":"AQ=="}}"#;
        let expected = [change("b", Some(r#"{"$bytes":"AA=="}"#), Some(r#"{"$bytes":"AQ=="}"#))];
        assert_eq!(of(before, after), expected);
    }
}
