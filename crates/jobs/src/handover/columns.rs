//! The columns that the documents of a table need.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{
    JobError,
    look::{FieldPath, Token, members},
};

/// An object that has more different keys than this, over all documents, is a map and no record: it stays one column.
const MOST_KEYS: u64 = 256;
/// A table that needs more columns than this is not written as columns.
const MOST_COLUMNS: usize = 10_000;

/// The columns of a table, found by looking at every document once. Does not grow with the documents.
#[derive(Debug, Clone)]
pub struct Columns {
    table: String,
    flat: bool,
    found: BTreeMap<FieldPath, Column>,
    records: BTreeMap<FieldPath, RecordFacts>,
    maps: BTreeSet<FieldPath>,
    documents: u64,
}

/// A column.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Column {
    /// How many documents have a value of each type here; all others have no such field.
    pub types: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Clone, Default)]
struct RecordFacts {
    keys: u64,
    seen: u64,
}

impl Columns {
    /// No columns yet. With `flat`, an object becomes a column for each of its fields; without, one.
    pub fn new(table: impl Into<String>, flat: bool) -> Self {
        Self {
            table: table.into(),
            flat,
            found: BTreeMap::new(),
            records: BTreeMap::new(),
            maps: BTreeSet::new(),
            documents: 0,
        }
    }

    /// Takes in what a document has.
    pub fn add(&mut self, line: &[u8]) -> Result<(), JobError> {
        self.documents += 1;
        let mut found = Vec::new();
        let mut records = Vec::new();
        self.walk(line, &mut |path, raw| found.push((path, kind_of(raw))), &mut |path| records.push(path));
        for path in records {
            if self.admits(&path) {
                self.records.entry(path).or_default().seen += 1;
            }
        }
        for (path, kind) in found {
            if self.admits(&path) {
                *self.found.entry(path).or_default().types.entry(kind).or_default() += 1;
            }
        }
        if self.found.len() > MOST_COLUMNS {
            return Err(JobError::TooManyColumns { table: self.table.clone(), most: MOST_COLUMNS });
        }
        Ok(())
    }

    /// Whether there is to be something at `path`, which is not so inside of a map. One key too many makes one.
    fn admits(&mut self, path: &FieldPath) -> bool {
        let ancestor = |length: usize| FieldPath(path.0[..length].to_vec());
        if (1..path.0.len()).any(|length| self.maps.contains(&ancestor(length))) {
            return false;
        }
        let is_known = self.found.contains_key(path) || self.records.contains_key(path);
        if path.0.len() == 1 || is_known {
            return true;
        }
        let parent = ancestor(path.0.len() - 1);
        let record = self.records.entry(parent.clone()).or_default();
        record.keys += 1;
        let admits = record.keys <= MOST_KEYS;
        if !admits {
            self.make_map(parent);
        }
        admits
    }

    /// What was taken for a record becomes one column.
    fn make_map(&mut self, path: FieldPath) {
        let is_inside = |other: &FieldPath| other.0.len() > path.0.len() && other.0.starts_with(&path.0);
        self.found.retain(|other, _| !is_inside(other));
        let seen = self.records.get(&path).map_or(0, |record| record.seen);
        self.records.retain(|other, _| *other != path && !is_inside(other));
        *self.found.entry(path.clone()).or_default().types.entry("object").or_default() += seen;
        self.maps.insert(path);
    }

    /// Goes through the cells of a document. `record` is told of objects that are taken apart.
    fn walk<'a>(
        &self,
        line: &'a [u8],
        take: &mut impl FnMut(FieldPath, &'a str),
        record: &mut impl FnMut(FieldPath),
    ) {
        let mut open = vec![(FieldPath(Vec::new()), line)];
        while let Some((path, raw)) = open.pop() {
            for (name, value) in members(raw).unwrap_or_default() {
                let path = path.child(&name);
                if self.flat && is_record(value) && !self.maps.contains(&path) {
                    record(path.clone());
                    open.push((path, value.as_bytes()));
                } else {
                    take(path, value);
                }
            }
        }
    }

    /// The columns in their order: `_id`, `_creationTime`, then by name.
    pub fn iter(&self) -> impl Iterator<Item = (&FieldPath, &Column)> {
        let rank = |path: &FieldPath| match path.0.as_slice() {
            [name] if name == "_id" => 0,
            [name] if name == "_creationTime" => 1,
            _ => 2,
        };
        let mut all: Vec<_> = self.found.iter().collect();
        all.sort_by_key(|(path, _)| rank(path));
        all.into_iter()
    }

    /// How many documents were looked at.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// What a document has in each column that it has a value in.
    pub fn cells<'a>(&self, line: &'a [u8]) -> BTreeMap<FieldPath, &'a str> {
        let mut cells = BTreeMap::new();
        self.walk(line, &mut |path, raw| cells.extend([(path, raw)]), &mut |_| {});
        cells
    }
}

/// An object with fields in it. An empty one is a value of its own.
fn is_record(raw: &str) -> bool {
    raw.starts_with('{') && matches!(Token::of(raw.as_bytes()), Some(Token::Record(text)) if text != "{}")
}

fn kind_of(raw: &str) -> &'static str {
    Token::of(raw.as_bytes()).map_or("null", |token| token.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(flat: bool, lines: &[&str]) -> Columns {
        let mut columns = Columns::new("t", flat);
        for line in lines {
            columns.add(line.as_bytes()).unwrap();
        }
        columns
    }

    fn names(columns: &Columns) -> Vec<String> {
        columns.iter().map(|(path, _)| path.to_string()).collect()
    }

    const LINES: [&str; 3] = [
        r#"{"Z":1,"_creationTime":1.5,"_id":"a","address":{"city":"Oslo","geo":{"lat":1.5}},"n":5}"#,
        r#"{"_creationTime":2.5,"_id":"b","address":{},"n":5.0,"tags":["x"]}"#,
        r#"{"_creationTime":3.5,"_id":"c","a.b":{"$bytes":"AA=="},"address":null}"#,
    ];

    #[test]
    fn objects_become_columns_and_arrays_do_not() {
        let columns = columns(true, &LINES);
        let expected =
            ["_id", "_creationTime", "Z", r"a\.b", "address", "address.city", "address.geo.lat", "n", "tags"];
        assert_eq!(names(&columns), expected);
        let types: BTreeMap<_, _> =
            columns.iter().map(|(path, column)| (path.to_string(), &column.types)).collect();
        assert_eq!(types["n"], &BTreeMap::from([("float64", 1), ("int64", 1)]));
        assert_eq!(types["address"], &BTreeMap::from([("null", 1), ("object", 1)]));
        assert_eq!(types[r"a\.b"], &BTreeMap::from([("bytes", 1)]));
        let cells = columns.cells(LINES[0].as_bytes());
        assert_eq!(cells[&"address.geo.lat".parse().unwrap()], "1.5");
        assert_eq!(cells.get(&"address".parse().unwrap()), None);
    }

    #[test]
    fn without_flattening_there_is_a_column_for_each_field() {
        assert_eq!(
            names(&columns(false, &LINES)),
            ["_id", "_creationTime", "Z", r"a\.b", "address", "n", "tags"]
        );
    }

    #[test]
    fn an_object_of_very_many_keys_is_one_column() {
        let mut columns = Columns::new("t", true);
        for key in 0..600 {
            let line = format!(r#"{{"_id":"a","counts":{{"k{key}":{{"deep":1}},"always":1}}}}"#);
            columns.add(line.as_bytes()).unwrap();
        }
        columns.add(br#"{"_id":"b","counts":{"k1":5}}"#).unwrap();
        assert_eq!(names(&columns), ["_id", "counts"]);
        let cells = columns.cells(br#"{"_id":"b","counts":{"k1":5}}"#);
        assert_eq!(cells[&"counts".parse().unwrap()], r#"{"k1":5}"#);
        let counts = columns.iter().find(|(path, _)| path.to_string() == "counts").unwrap().1.types["object"];
        assert_eq!(counts, 601);
    }
}
