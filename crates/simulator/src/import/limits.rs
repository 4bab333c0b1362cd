//! What a document may hold: the limits that a real backend was seen to enforce.

use crate::value::{Document, Value};

const MAX_ARRAY: usize = 8192;
const MAX_FIELDS: usize = 1024;
const MAX_NESTING: usize = 64;
const MAX_FIELD_NAME: usize = 1024;
const MAX_DOCUMENT_BYTES: usize = 1 << 20;

/// Says what is wrong with the shape of a document as it was uploaded, in the words of the backend.
pub(crate) fn check_shape(document: &Document) -> Result<(), String> {
    nested(object_depth(document)?).map(drop)
}

/// Levels of nesting below and including this value.
fn depth(value: &Value) -> Result<usize, String> {
    let inner = match value {
        Value::Array(items) => array_depth(items)?,
        Value::Object(fields) => object_depth(fields)?,
        _ => return Ok(0),
    };
    nested(inner)
}

/// One level more than the deepest inner value has.
fn nested(inner: usize) -> Result<usize, String> {
    let levels = inner + 1;
    if levels > MAX_NESTING {
        return Err(format!(
            "Value is too nested (nested {levels} levels deep > maximum nesting {MAX_NESTING})"
        ));
    }
    Ok(levels)
}

fn array_depth(items: &[Value]) -> Result<usize, String> {
    if items.len() > MAX_ARRAY {
        return Err(format!("Array length is too long ({} > maximum length {MAX_ARRAY})", items.len()));
    }
    items.iter().try_fold(0, |deepest: usize, item| Ok(deepest.max(depth(item)?)))
}

fn object_depth(fields: &Document) -> Result<usize, String> {
    if fields.len() > MAX_FIELDS {
        return Err(format!("Object has too many fields ({} > maximum number {MAX_FIELDS})", fields.len()));
    }
    fields.iter().try_fold(0, |deepest: usize, (name, value)| {
        check_field_name(name)?;
        Ok(deepest.max(depth(value)?))
    })
}

fn check_field_name(name: &str) -> Result<(), String> {
    if let Some(wrong) = name.chars().find(|letter| !letter.is_ascii() || letter.is_ascii_control()) {
        return Err(format!(
            "Field name {name} has invalid character '{wrong}': Field names can only contain non-control ASCII \
             characters"
        ));
    }
    if name.len() > MAX_FIELD_NAME {
        return Err(format!("Field name is too long ({} > maximum {MAX_FIELD_NAME})", name.len()));
    }
    Ok(())
}

/// Says by how much a whole document is too large.
pub(crate) fn check_size(document: &Document) -> Result<(), String> {
    let bytes = fields_size(document);
    if bytes <= MAX_DOCUMENT_BYTES {
        return Ok(());
    }
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    let mebibytes = bytes as f64 / MAX_DOCUMENT_BYTES as f64;
    Err(format!("Value is too large ({mebibytes:.2} MiB > maximum size 1 MiB)"))
}

/// The size that the backend counts, which is not that of any JSON.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Boolean(_) => 1,
        Value::Int64(_) | Value::Float64(_) => 9,
        Value::String(text) => text.len() + 2,
        Value::Bytes(bytes) => bytes.len() + 2,
        Value::Array(items) => items.iter().map(size).sum::<usize>() + 2,
        Value::Object(fields) => fields_size(fields),
    }
}

fn fields_size(fields: &Document) -> usize {
    fields.iter().map(|(name, value)| name.len() + 1 + size(value)).sum::<usize>() + 2
}

#[cfg(test)]
mod tests {
    use super::{check_shape, check_size};
    use crate::value::{Document, Encoding, Value};

    fn shape(json: &str) -> String {
        let value = Value::parse(json.as_bytes(), Encoding::Clean).unwrap();
        check_shape(value.as_object().unwrap()).unwrap_err()
    }

    #[test]
    fn shapes_beyond_the_limits_are_refused_in_the_words_of_the_backend() {
        let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(70), "]".repeat(70));
        assert_eq!(shape(&deep), "Value is too nested (nested 65 levels deep > maximum nesting 64)");
        let long = format!(r#"{{"a":[{}0]}}"#, "0,".repeat(8192));
        assert_eq!(shape(&long), "Array length is too long (8193 > maximum length 8192)");
        assert!(shape(r#"{"a":{"ü":1}}"#).contains("invalid character 'ü'"));
    }

    #[test]
    fn a_document_of_just_over_a_mebibyte_is_refused() {
        let document = |length: usize| Document::from([("s".to_owned(), Value::String("x".repeat(length)))]);
        assert_eq!(check_size(&document((1 << 20) - 6)), Ok(()));
        let refused = check_size(&document((1 << 20) - 5)).unwrap_err();
        assert_eq!(refused, "Value is too large (1.00 MiB > maximum size 1 MiB)");
    }
}
