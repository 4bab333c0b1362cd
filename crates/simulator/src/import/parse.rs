//! Splits an uploaded file into tables and rows, and finds what can be found without looking at any value.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::archive::read_archive;
use super::arguments::{ImportArguments, ImportFormat};
use super::csv;
use super::failure::ImportFailure;
use super::upload::{Part, Rows, TableUpload, Upload};
use crate::error::SimulatorError;
use crate::value::{Document, Encoding, Value, write_document};

const MAX_JSON_ARRAY_BYTES: usize = 16 << 20;

/// Reads `bytes` as the format of `arguments`.
///
/// Finds what a real backend finds before the confirmation: damaged ZIPs, names that cannot be, and rows that are
/// not JSON. Values, IDs and stored files are only looked at while the import is performed.
pub(crate) fn parse(bytes: &Bytes, arguments: &ImportArguments) -> Result<Upload, ImportFailure> {
    let rows = match arguments.format {
        ImportFormat::Zip => return read_archive(bytes, arguments.base_component()),
        ImportFormat::JsonLines => json_lines(bytes, Encoding::Clean)?,
        ImportFormat::JsonArray => json_array(bytes)?,
        ImportFormat::Csv => csv_rows(bytes)?,
    };
    let name = arguments.table_name.clone().unwrap_or_default();
    check_user_table(&name)?;
    let component = arguments.base_component().to_owned();
    Ok(Upload {
        parts: vec![Part::Table(TableUpload { component, name, number: None, rows })],
        strays: Vec::new(),
    })
}

fn check_user_table(name: &str) -> Result<(), ImportFailure> {
    if name.starts_with('_') {
        return Err(ImportFailure::hit(format!("Invalid table name {name} starts with metadata prefix '_'")));
    }
    Ok(())
}

/// One JSON text a line. A blank line is an error, a missing last newline is not.
pub(crate) fn json_lines(bytes: &Bytes, encoding: Encoding) -> Result<Rows, ImportFailure> {
    check_text(bytes)?;
    let mut texts = Vec::new();
    let mut missing_id = false;
    for (at, line) in lines(bytes).enumerate() {
        let value: serde_json::Value =
            serde_json::from_slice(&line).map_err(|error| ImportFailure::not_json(at + 1, error))?;
        missing_id |= value.get("_id").is_none();
        texts.push(line);
    }
    Ok(Rows { texts, encoding, missing_id })
}

/// Lines with their newlines, as the backend hands them to its parser.
fn lines(bytes: &Bytes) -> impl Iterator<Item = Bytes> {
    bytes.split_inclusive(|byte| *byte == b'\n').map(|line| bytes.slice_ref(line))
}

fn check_text(bytes: &[u8]) -> Result<(), ImportFailure> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(ImportFailure::hit(
            "UTF-8 byte order marks are not supported: remove the file's first 3 bytes",
        ));
    }
    std::str::from_utf8(bytes)
        .map(drop)
        .map_err(|_| ImportFailure::plain("Import wasn't valid UTF8: stream did not contain valid UTF-8"))
}

fn json_array(bytes: &Bytes) -> Result<Rows, ImportFailure> {
    if bytes.len() > MAX_JSON_ARRAY_BYTES {
        return Err(ImportFailure::hit(format!(
            "JSON array import of {} bytes is larger than {MAX_JSON_ARRAY_BYTES}: use JSON lines instead",
            bytes.len()
        )));
    }
    check_text(bytes)?;
    let items: Vec<&RawValue> = serde_json::from_slice(bytes)
        .map_err(|error| ImportFailure::hit(format!("Import wasn't a JSON array: {error}")))?;
    let texts = items.iter().map(|item| bytes.slice_ref(item.get().as_bytes())).collect();
    Ok(Rows {
        texts,
        encoding: Encoding::Clean,
        missing_id: !items.iter().all(|item| item.get().contains("\"_id\"")),
    })
}

fn csv_rows(bytes: &Bytes) -> Result<Rows, ImportFailure> {
    check_text(bytes)?;
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let mut missing_id = false;
    let mut texts = Vec::new();
    for document in csv::documents(text)? {
        missing_id |= !document.contains_key("_id");
        let mut json = Vec::new();
        write_document(&document, Encoding::Encoded, &mut json);
        texts.push(json.into());
    }
    Ok(Rows { texts, encoding: Encoding::Encoded, missing_id })
}

/// The document in one row, not yet checked against any limit.
pub(crate) fn document(rows: &Rows, at: usize) -> Result<Document, ImportFailure> {
    let row = at + 1;
    match Value::parse(&rows.texts[at], rows.encoding) {
        Ok(Value::Object(document)) => Ok(document),
        Ok(_) => {
            let text = String::from_utf8_lossy(&rows.texts[at]);
            Err(ImportFailure::not_a_value(row, format!("expected object, received {}", text.trim())))
        }
        Err(SimulatorError::InvalidJson { reason }) => Err(ImportFailure::not_json(row, reason)),
        Err(SimulatorError::InvalidValue { reason }) => Err(ImportFailure::not_a_value(row, reason)),
        Err(error) => Err(ImportFailure::hit(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::import::arguments::ImportArguments;

    fn failure(format: &str, text: &'static str) -> String {
        let arguments = format!(r#"{{"format":"{format}","tableName":"t"}}"#);
        let arguments: ImportArguments = serde_json::from_str(&arguments).unwrap();
        parse(&text.into(), &arguments).unwrap_err().to_string()
    }

    #[test]
    fn a_bad_row_is_named_with_its_number() {
        let blank = "Row 2 wasn't valid JSON: EOF while parsing a value at line 2 column 0";
        assert_eq!(failure("jsonLines", "{\"a\":1}\n\n{\"a\":2}\n"), blank);
        assert_eq!(failure("jsonLines", "{\"a\":1}\n{\"a\":\n"), blank);
        assert_eq!(failure("csv", "a,b\n1\n"), "CSV row 2 doesn't have all of the fields in the header");
    }

    #[test]
    fn a_byte_order_mark_is_refused() {
        assert!(failure("jsonLines", "\u{feff}{}\n").contains("byte order marks"));
    }
}
