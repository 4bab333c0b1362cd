//! Tables as CSV (RFC 4180), by the rules that [`RULES`] states.

use std::{
    borrow::Cow,
    fs::File,
    io::{BufWriter, Write as _},
};

use bytes::Bytes;
use convault_core::TableRef;
use serde_json::json;

use super::{Columns, Made, Outlet, Receiver, json_lines::close, outlet::failed, receiver::file_name};
use crate::{
    JobError,
    look::{FieldPath, Token},
};

/// How values are written, for whoever reads the files.
pub const RULES: &str = "RFC 4180, UTF-8, lines end with CR LF. A field of an object is a column of its own, with a \
    dotted name (a dot or backslash inside a name has a backslash before it); an object with more than 256 different \
    keys in the table stays one column of JSON. Texts are always in quotes, and so are arrays and such objects, as JSON. \
    Without quotes: null is `null`, a field that a document does not have is empty, booleans are `true` and `false`, an \
    Int64 is its decimal digits, a Float64 is as it was written, always with a point or an exponent, or `NaN`, `Infinity`, \
    `-Infinity`; bytes are base64.";

/// Writes tables as CSV, each with a note of its columns beside it.
#[derive(Debug)]
pub struct Csv {
    outlet: Outlet,
    /// Whether what a spreadsheet would take for a formula gets an apostrophe.
    guard: bool,
    open: Option<Open>,
    formulas: u64,
}

#[derive(Debug)]
struct Open {
    file: BufWriter<File>,
    table: TableRef,
    columns: Columns,
    paths: Vec<FieldPath>,
}

impl Csv {
    /// Into that place; where it is a file, there may be one table only. With `guard`, a text that a spreadsheet would
    /// take for a formula gets an apostrophe before it: what is written is then no longer what it was.
    pub fn new(outlet: Outlet, guard: bool) -> Self {
        Self { outlet, guard, open: None, formulas: 0 }
    }

    fn write(&mut self, row: &[u8]) -> Result<(), JobError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.file.write_all(row).map_err(failed(self.outlet.target(), "cannot write"))
    }

    fn row(&mut self, line: &[u8]) -> Vec<u8> {
        let mut row = Vec::with_capacity(line.len());
        let Some(open) = &self.open else { return row };
        let cells = open.columns.cells(line);
        for (at, path) in open.paths.iter().enumerate() {
            if at > 0 {
                row.push(b',');
            }
            if let Some(raw) = cells.get(path) {
                let (text, quoted) = cell(raw);
                let is_formula = is_formula(raw, &text);
                self.formulas += u64::from(is_formula);
                put(&mut row, &text, quoted, is_formula && self.guard);
            }
        }
        row.extend_from_slice(b"\r\n");
        row
    }

    fn note(open: &Open) -> serde_json::Value {
        let documents = open.columns.documents();
        let columns: Vec<_> = open
            .columns
            .iter()
            .map(|(path, column)| {
                let present: u64 = column.types.values().sum();
                json!({ "column": path.to_string(), "types": column.types, "missing": documents.saturating_sub(present) })
            })
            .collect();
        json!({ "table": open.table, "documents": documents, "rules": RULES, "columns": columns })
    }
}

impl Receiver for Csv {
    fn flattens(&self) -> Option<bool> {
        Some(true)
    }

    fn begin(&mut self, table: &TableRef, columns: Option<Columns>) -> Result<(), JobError> {
        let columns = columns.unwrap_or_else(|| Columns::new(table.to_string(), true));
        let name = if self.outlet.is_folder() { file_name(table, "csv") } else { String::new() };
        let file = BufWriter::new(self.outlet.create(&name)?.0);
        let paths: Vec<FieldPath> = columns.iter().map(|(path, _)| path.clone()).collect();
        let mut heading = Vec::new();
        for (at, path) in paths.iter().enumerate() {
            if at > 0 {
                heading.push(b',');
            }
            let name = path.to_string();
            let is_formula = begins_like_formula(&name);
            self.formulas += u64::from(is_formula);
            let quoted = is_formula || name.contains([',', '"']);
            put(&mut heading, &name, quoted, is_formula && self.guard);
        }
        heading.extend_from_slice(b"\r\n");
        self.open = Some(Open { file, table: table.clone(), columns, paths });
        self.write(&heading)
    }

    fn take(&mut self, lines: &[Bytes]) -> Result<(), JobError> {
        for line in lines {
            let row = self.row(line);
            self.write(&row)?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), JobError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let is_folder = self.outlet.is_folder();
        let name = if is_folder { file_name(&open.table, "columns.json") } else { "columns.json".to_owned() };
        let mut note = BufWriter::new(self.outlet.create(&name)?.0);
        let written = writeln!(note, "{:#}", Self::note(&open));
        written.map_err(failed(self.outlet.target(), "cannot write"))?;
        close(Some(note), &self.outlet)?;
        close(Some(open.file), &self.outlet)
    }

    fn finish(self: Box<Self>) -> Result<Made, JobError> {
        let mut notes = Vec::new();
        if self.formulas > 0 {
            let and = if self.guard {
                "each has an apostrophe before it now"
            } else {
                "they are as they were; --guard-formulas puts an apostrophe before each"
            };
            notes.push(format!(
                "{} cell(s) begin with = + - @ or a tab, which a spreadsheet may take for a formula: {and}",
                self.formulas
            ));
        }
        Ok(Made { path: self.outlet.publish()?, notes })
    }
}

/// What stands in the cell of a value, and whether in quotes.
fn cell(raw: &str) -> (Cow<'_, str>, bool) {
    match Token::of(raw.as_bytes()) {
        Some(Token::Text(text)) => (text, true),
        Some(Token::Bytes(base64)) => (base64, false),
        Some(Token::Special(number)) => match special(raw, number) {
            Some(word) => (word.into(), false),
            None => (raw.into(), true),
        },
        Some(Token::List(text) | Token::Record(text)) => (text.into(), true),
        _ => (raw.into(), false),
    }
}

/// The word for a number that has none in JSON; only where it is the usual one of its kind.
fn special(raw: &str, number: f64) -> Option<&'static str> {
    let is_usual = raw == r#"{"$float":"AAAAAAAA+H8="}"#;
    match number {
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ if number.is_nan() && is_usual => Some("NaN"),
        _ => None,
    }
}

/// Only what somebody could have typed, not numbers.
fn is_formula(raw: &str, text: &str) -> bool {
    (raw.starts_with('"') || raw.starts_with("{\"$bytes\"")) && begins_like_formula(text)
}

fn begins_like_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r'])
}

fn put(row: &mut Vec<u8>, text: &str, quoted: bool, guarded: bool) {
    let apostrophe = if guarded { "'" } else { "" };
    if quoted {
        row.push(b'"');
        row.extend_from_slice(apostrophe.as_bytes());
        row.extend_from_slice(text.replace('"', "\"\"").as_bytes());
        row.push(b'"');
    } else {
        row.extend_from_slice(apostrophe.as_bytes());
        row.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(lines: &[String], guard: bool) -> (String, serde_json::Value, Made) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        let mut columns = Columns::new("t", true);
        for line in lines {
            columns.add(line.as_bytes()).unwrap();
        }
        let mut csv = Box::new(Csv::new(Outlet::file(&path).unwrap(), guard));
        csv.begin(&TableRef::new("", "t"), Some(columns)).unwrap();
        let lines: Vec<Bytes> = lines.iter().cloned().map(Bytes::from).collect();
        csv.take(&lines).unwrap();
        csv.end().unwrap();
        let made = csv.finish().unwrap();
        let note = std::fs::read(folder.path().join("t.csv.columns.json")).unwrap();
        (std::fs::read_to_string(&path).unwrap(), serde_json::from_slice(&note).unwrap(), made)
    }

    /// Rows of cells, each with whether it was in quotes: RFC 4180, and nothing else.
    fn parsed(text: &str) -> Vec<Vec<(String, bool)>> {
        let mut rows = vec![vec![(String::new(), false)]];
        let mut characters = text.chars().peekable();
        let mut in_quotes = false;
        while let Some(character) = characters.next() {
            let row = rows.last_mut().unwrap();
            let cell = row.last_mut().unwrap();
            match character {
                '"' if in_quotes && characters.peek() == Some(&'"') => {
                    characters.next();
                    cell.0.push('"');
                }
                '"' => {
                    in_quotes = !in_quotes;
                    cell.1 = true;
                }
                other if in_quotes => cell.0.push(other),
                ',' => row.push((String::new(), false)),
                '\r' => {
                    assert_eq!(characters.next(), Some('\n'));
                    rows.push(vec![(String::new(), false)]);
                }
                other => cell.0.push(other),
            }
        }
        assert_eq!(rows.pop().unwrap(), [(String::new(), false)]);
        rows
    }

    #[test]
    fn every_type_has_its_place() {
        let line = concat!(
            r#"{"_creationTime":1.5,"_id":"x","address":{"city":"Łódź, \"PL\"","zip":7},"b":{"$bytes":"AAE="},"#,
            r#""big":9223372036854775807,"empty":"","f":-0.0,"inf":{"$float":"AAAAAAAA8H8="},"list":[1,2.0],"n":null,"#,
            r#""nan":{"$float":"AAAAAAAA+H8="},"odd":{"$float":"AQAAAAAA+H8="},"text":"null","two":"a\nb"}"#
        );
        let (text, note, _) =
            written(&[line.to_owned(), r#"{"_creationTime":2.5,"_id":"y"}"#.to_owned()], false);
        let expected = concat!(
            "_id,_creationTime,address.city,address.zip,b,big,empty,f,inf,list,n,nan,odd,text,two\r\n",
            "\"x\",1.5,\"Łódź, \"\"PL\"\"\",7,AAE=,9223372036854775807,\"\",-0.0,Infinity,\"[1,2.0]\",null,NaN,",
            "\"{\"\"$float\"\":\"\"AQAAAAAA+H8=\"\"}\",\"null\",\"a\nb\"\r\n",
            "\"y\",2.5,,,,,,,,,,,,,\r\n",
        );
        assert_eq!(text, expected);
        assert_eq!(note["columns"][2]["missing"], 1);
        assert_eq!(note["columns"][4]["types"]["bytes"], 1);
    }

    #[test]
    fn what_looks_like_a_formula_is_counted_and_guarded_on_request() {
        let lines = [r#"{"_id":"x","a":"=1+1","b":-5}"#.to_owned()];
        let (text, _, made) = written(&lines, false);
        assert!(text.contains("\"=1+1\",-5"), "{text}");
        assert!(made.notes[0].starts_with("1 cell(s)"), "{made:?}");
        let (text, _, _) = written(&lines, true);
        assert!(text.contains("\"'=1+1\",-5"), "{text}");
    }

    proptest! {
        #[test]
        fn texts_come_back_as_they_were(texts in prop::collection::vec(any::<String>(), 1..6)) {
            let fields: Vec<String> = texts.iter().enumerate()
                .map(|(at, text)| format!(r#""f{at}":{}"#, serde_json::to_string(text).unwrap())).collect();
            let line = format!(r#"{{"_id":"x",{}}}"#, fields.join(","));
            let (text, _, _) = written(&[line], false);
            let rows = parsed(&text);
            prop_assert_eq!(rows.len(), 2);
            for (cell, expected) in rows[1][1..].iter().zip(&texts) {
                prop_assert_eq!(&cell.0, expected);
                prop_assert!(cell.1);
            }
        }
    }
}
