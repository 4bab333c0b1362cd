//! Reads the text of a failed import: which table's schema refuses which document.

use serde::Serialize;

/// The target's code has a schema that refuses what is in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// The table, as far as the server names it.
    pub table: Option<String>,
    /// The id of the first document that is refused, as far as the server names it.
    pub document: Option<String>,
}

/// What a failure says of a schema, if it is about one. The text of a server has no fixed form; these are the words of
/// its validator, as in `Document with ID "…" in table "…" does not match the schema` and `Failed to insert or update a
/// document in table "…" because it does not match the schema`.
pub fn drift(failure: &str) -> Option<Drift> {
    if !failure.contains("does not match the schema") {
        return None;
    }
    Some(Drift {
        table: quoted_after(failure, "table "),
        document: quoted_after(failure, "ID ")
            .or_else(|| quoted_after(failure, "_id: "))
            .or_else(|| quoted_after(failure, "\"_id\":")),
    })
}

/// What stands in quotation marks right behind a word.
fn quoted_after(text: &str, word: &str) -> Option<String> {
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        rest = &rest[at + word.len()..];
        let quote = rest.chars().next().filter(|first| matches!(first, '"' | '`' | '\''));
        if let Some(quote) = quote {
            let (name, _) = rest[1..].split_once(quote)?;
            return Some(name.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_and_document_are_found_in_the_words_of_the_validator() {
        let text =
            "Document with ID \"k1\" in table \"orders\" does not match the schema: Object is missing `a`.";
        let found = Drift { table: Some("orders".to_owned()), document: Some("k1".to_owned()) };
        assert_eq!(drift(text), Some(found));
        let text = "Failed to insert or update a document in table \"orders\" because it does not match the schema: \
                    Object contains extra field `b`.\nObject: {_id: \"k2\", b: 1.0}";
        let found = Drift { table: Some("orders".to_owned()), document: Some("k2".to_owned()) };
        assert_eq!(drift(text), Some(found));
        assert_eq!(drift("Sha256 mismatch"), None);
    }
}
