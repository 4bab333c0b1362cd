//! Comma-separated values, as far as the backend reads them: a header, quotes, floats and strings.

use super::failure::ImportFailure;
use crate::value::{Document, Value};

/// One document a row. A cell that reads as a number is a Float64, every other a string.
pub(crate) fn documents(text: &str) -> Result<Vec<Document>, ImportFailure> {
    let mut records = records(text).into_iter();
    let header = records.next().ok_or_else(|| ImportFailure::hit("CSV file has no headers"))?;
    records
        .enumerate()
        .map(|(at, cells)| {
            if cells.len() < header.len() {
                let row = at + 2;
                let message = format!("CSV row {row} doesn't have all of the fields in the header");
                return Err(ImportFailure::plain(message));
            }
            Ok(header.iter().cloned().zip(cells.iter().map(|cell| value(cell))).collect())
        })
        .collect()
}

fn value(cell: &str) -> Value {
    cell.parse().map_or_else(|_| Value::from(cell), Value::Float64)
}

/// Rows of cells. A quoted cell may hold commas, line ends, and quotes written twice; empty lines are passed over.
fn records(text: &str) -> Vec<Vec<String>> {
    let mut records = Vec::new();
    let mut record = vec![String::new()];
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let cell = record.last_mut().expect("a record starts with a cell");
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => cell.push('"'),
            '"' if quoted || cell.is_empty() => quoted = !quoted,
            ',' if !quoted => record.push(String::new()),
            '\r' if !quoted && letters.peek() == Some(&'\n') => {}
            '\n' if !quoted => end_record(&mut record, &mut records),
            _ => cell.push(letter),
        }
    }
    end_record(&mut record, &mut records);
    records
}

fn end_record(record: &mut Vec<String>, records: &mut Vec<Vec<String>>) {
    let record = std::mem::replace(record, vec![String::new()]);
    if record.len() > 1 || !record[0].is_empty() {
        records.push(record);
    }
}

#[cfg(test)]
mod tests {
    use super::documents;
    use crate::value::Value;

    #[test]
    fn quotes_and_numbers_are_read_as_the_backend_reads_them() {
        let text =
            "name,age,note\r\nAda,36,\"comma, inside\"\n\"Grace \"\"Amazing\"\"\",85.5,plain\nŁukasz,,\n";
        let documents = documents(text).unwrap();
        assert_eq!(documents.len(), 3);
        assert_eq!(documents[0]["age"], Value::Float64(36.0));
        assert_eq!(documents[0]["note"], Value::from("comma, inside"));
        assert_eq!(documents[1]["name"], Value::from("Grace \"Amazing\""));
        assert_eq!(documents[2]["age"], Value::from(""));
    }
}
