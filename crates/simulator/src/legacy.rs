//! The shapes that servers before 2026-03-11 wrote into `generated_schema.jsonl`.

use std::io::{self, Write};

use crate::database::Table;
use crate::value::{Document, Encoding, Value};

/// Writes the shape of the table as a JSON string, then a line for each document whose types the lossy encoding hides.
pub(crate) fn write_shapes(table: &Table, out: &mut dyn Write) -> io::Result<()> {
    let shape = Value::from(if table.documents.is_empty() {
        "never"
    } else {
        "{_creationTime: float64, _id: string, ...}"
    });
    writeln!(out, "{}", shape.to_json(Encoding::Clean))?;
    for document in table.documents.values() {
        let hidden = hidden_fields(&document);
        if let (false, Some(id)) = (hidden.is_empty(), document.get("_id").and_then(Value::as_str)) {
            let line = Value::object([(id, Value::Object(hidden))]);
            writeln!(out, "{}", line.to_json(Encoding::Clean))?;
        }
    }
    Ok(())
}

/// The fields whose type cannot be told from their lossy text, with the marker of that type.
fn hidden_fields(document: &Document) -> Document {
    let hidden =
        document.iter().filter_map(|(name, value)| Some((name.clone(), Value::from(marker(value)?))));
    hidden.collect()
}

fn marker(value: &Value) -> Option<&'static str> {
    match value {
        Value::Int64(_) => Some("int64"),
        Value::Bytes(_) => Some("bytes"),
        Value::Float64(number) if number.is_nan() => Some("float64NaN"),
        Value::Float64(number) if number.is_infinite() => Some("float64inf"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::write_shapes;
    use crate::database::Database;
    use crate::value::{Document, Value};

    #[test]
    fn only_documents_with_hidden_types_have_a_line() {
        let mut database = Database::new(1);
        database.insert("", "t", Document::from([("a".to_owned(), Value::Float64(1.0))]), 1.0);
        let id = database.insert("", "t", Document::from([("a".to_owned(), Value::Int64(1))]), 1.0);
        let mut out = Vec::new();
        write_shapes(database.table("", "t").unwrap(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [r#""{_creationTime: float64, _id: string, ...}""#, &format!(r#"{{"{id}":{{"a":"int64"}}}}"#)]
        );
    }
}
