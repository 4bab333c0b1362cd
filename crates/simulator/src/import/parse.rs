//! Splits an uploaded file into tables and rows, and finds what can be found without looking at any value.

use std::io::Read as _;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::archive::read_archive;
use super::arguments::{ImportArguments, ImportFormat};
use super::csv;
use super::failure::ImportFailure;
use super::rows::{RowSource, Rows, check_text};
use super::upload::{Part, TableUpload, Upload};
use crate::error::SimulatorError;
use crate::spool::Spool;
use crate::value::{Document, Encoding, Value, write_document};

const MAX_JSON_ARRAY_BYTES: usize = 16 << 20;

/// Reads what was uploaded as the format of `arguments`; `as_old` passes over the markers of a ZIP, as a server would
/// that is older than they are.
///
/// Finds what a real backend finds before the confirmation: damaged ZIPs, names that cannot be, and rows that are
/// not JSON. Values, IDs and stored files are only looked at while the import is performed.
pub(crate) fn parse(
    spool: &Arc<Spool>,
    arguments: &ImportArguments,
    as_old: bool,
) -> Result<Upload, ImportFailure> {
    let rows = match arguments.format {
        ImportFormat::Zip => return read_archive(spool, arguments.base_component(), as_old),
        ImportFormat::JsonLines => Rows::json_lines(RowSource::Lines, spool, Encoding::Clean)?,
        ImportFormat::JsonArray => json_array(&whole(spool)?)?,
        ImportFormat::Csv => csv_rows(&whole(spool)?)?,
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

/// All of an upload, for formats that are small.
fn whole(spool: &Arc<Spool>) -> Result<Bytes, ImportFailure> {
    let mut bytes = Vec::new();
    spool.reader().read_to_end(&mut bytes).map_err(ImportFailure::hit)?;
    Ok(bytes.into())
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
    let texts: Vec<Bytes> = items.iter().map(|item| bytes.slice_ref(item.get().as_bytes())).collect();
    Ok(Rows {
        count: texts.len(),
        source: RowSource::Texts(texts),
        encoding: Encoding::Clean,
        missing_id: !items.iter().all(|item| item.get().contains("\"_id\"")),
    })
}

fn csv_rows(bytes: &Bytes) -> Result<Rows, ImportFailure> {
    check_text(bytes)?;
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let mut missing_id = false;
    let mut texts: Vec<Bytes> = Vec::new();
    for document in csv::documents(text)? {
        missing_id |= !document.contains_key("_id");
        let mut json = Vec::new();
        write_document(&document, Encoding::Encoded, &mut json);
        texts.push(json.into());
    }
    let (count, source) = (texts.len(), RowSource::Texts(texts));
    Ok(Rows { source, count, encoding: Encoding::Encoded, missing_id })
}

/// The document in one row, not yet checked against any limit.
pub(crate) fn document(text: &[u8], encoding: Encoding, at: usize) -> Result<Document, ImportFailure> {
    let row = at + 1;
    match Value::parse(text, encoding) {
        Ok(Value::Object(document)) => Ok(document),
        Ok(_) => {
            let text = String::from_utf8_lossy(text);
            Err(ImportFailure::not_a_value(row, format!("expected object, received {}", text.trim())))
        }
        Err(SimulatorError::InvalidJson { reason }) => Err(ImportFailure::not_json(row, reason)),
        Err(SimulatorError::InvalidValue { reason }) => Err(ImportFailure::not_a_value(row, reason)),
        Err(error) => Err(ImportFailure::hit(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::parse;
    use crate::import::arguments::ImportArguments;
    use crate::spool::Spool;

    fn failure(format: &str, text: &'static str) -> String {
        let arguments = format!(r#"{{"format":"{format}","tableName":"t"}}"#);
        let arguments: ImportArguments = serde_json::from_str(&arguments).unwrap();
        let spool = Arc::new(Spool::of(text.as_bytes()).unwrap());
        parse(&spool, &arguments, false).unwrap_err().to_string()
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
