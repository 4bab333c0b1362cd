//! Tables as a database of `SQLite`: for whoever takes their data elsewhere. The only SQL beside the journal's.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use convault_core::TableRef;
use convault_jobs::{Column, Columns, FieldPath, JobError, Made, Outlet, Receiver, Token};
use rusqlite::{Connection, types::Value};

/// `SQLite` has 2,000 columns at most; one is the line's.
const MOST_COLUMNS: usize = 1990;
/// One transaction has so many documents.
const TRANSACTION_ROWS: u64 = 10_000;

const OWN_TABLES: &str = "\
    PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;\
    CREATE TABLE _convault_about (key TEXT PRIMARY KEY, value TEXT NOT NULL);\
    CREATE TABLE _convault_tables (name TEXT PRIMARY KEY, component TEXT NOT NULL, convex_table TEXT NOT NULL, \
        documents INTEGER NOT NULL);\
    CREATE TABLE _convault_columns (table_name TEXT NOT NULL, name TEXT NOT NULL, field TEXT NOT NULL, \
        types TEXT NOT NULL, missing INTEGER NOT NULL, PRIMARY KEY (table_name, name));";

/// How values are kept, for whoever opens the database.
const RULES: &str = "Each Convex table is a table; one of a component has the component's path and a slash before its \
    name. Each field is a column, and `_line` has every document as it was exported, byte for byte. Int64 is INTEGER, \
    Float64 is REAL (NaN is the text 'NaN', and SQLite has no negative zero), booleans are 0 and 1, bytes are BLOB, \
    arrays and objects are JSON text. A field that is null and one that is not there are both NULL: `_line` tells them \
    apart. Where a column has values of several types, each has its own. Names that differ only in case have a number \
    behind them; _convault_columns says which field is which column, and of which types its values are.";

/// Writes tables into one `SQLite` database.
pub(crate) struct Sqlite {
    outlet: Outlet,
    connection: Connection,
    names: Names,
    open: Option<Open>,
    notes: Vec<String>,
}

/// The table that is being filled.
struct Open {
    table: TableRef,
    name: String,
    columns: Columns,
    /// The fields that are columns, in their order.
    fields: Vec<FieldPath>,
    insert: String,
    documents: u64,
}

/// Names that are taken; `SQLite` does not tell case apart.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    fn take(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        for number in 2.. {
            if self.0.insert(name.to_lowercase()) {
                break;
            }
            name = format!("{wanted}_{number}");
        }
        name
    }
}

impl Sqlite {
    /// Into that file; `about` says what it is of.
    pub(crate) fn new(mut outlet: Outlet, about: &[(&str, String)]) -> Result<Self, JobError> {
        let (_, path) = outlet.create("")?;
        let made = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(&path)?;
            connection.execute_batch(OWN_TABLES)?;
            let mut insert = connection.prepare("INSERT INTO _convault_about VALUES (?, ?)")?;
            for (key, value) in
                about.iter().map(|(key, value)| (*key, value.as_str())).chain([("rules", RULES)])
            {
                insert.execute((key, value))?;
            }
            drop(insert);
            Ok(connection)
        };
        let connection = made().map_err(failed(&outlet))?;
        let mut names = Names::default();
        for own in ["_convault_about", "_convault_tables", "_convault_columns"] {
            names.take(own);
        }
        Ok(Self { outlet, connection, names, open: None, notes: Vec::new() })
    }

    fn make_table(&mut self, table: &TableRef, columns: Columns) -> rusqlite::Result<Open> {
        let plain = table.to_string();
        // SQLite keeps these names for itself.
        let is_reserved = plain.to_lowercase().starts_with("sqlite_");
        let name = self.names.take(&if is_reserved { format!("_{plain}") } else { plain });
        let mut taken = Names::default();
        taken.take("_line");
        let (mut definitions, mut fields) = (Vec::new(), Vec::new());
        let all = columns.iter().count();
        for (field, column) in columns.iter().take(MOST_COLUMNS) {
            let column_name = taken.take(&field.0.join("."));
            let key = if column_name == "_id" { " PRIMARY KEY" } else { "" };
            definitions.push(format!("{} {}{key}", quoted(&column_name), affinity(column)));
            self.note_column(&name, &column_name, field, column, columns.documents())?;
            fields.push(field.clone());
        }
        if all > MOST_COLUMNS {
            let more = all - MOST_COLUMNS;
            self.notes
                .push(format!("{table}: {more} more fields than SQLite has columns are in `_line` only"));
        }
        definitions.push("\"_line\" TEXT NOT NULL".to_owned());
        let places = vec!["?"; fields.len() + 1].join(", ");
        let insert = format!("INSERT INTO {} VALUES ({places})", quoted(&name));
        let create = format!("CREATE TABLE {} ({})", quoted(&name), definitions.join(", "));
        self.connection.execute_batch(&create)?;
        self.connection.execute_batch("BEGIN")?;
        Ok(Open { table: table.clone(), name, columns, fields, insert, documents: 0 })
    }

    fn note_column(
        &self,
        table: &str,
        name: &str,
        field: &FieldPath,
        column: &Column,
        documents: u64,
    ) -> rusqlite::Result<()> {
        let types = serde_json::to_string(&column.types).unwrap_or_default();
        let missing = documents.saturating_sub(column.types.values().sum());
        let mut insert =
            self.connection.prepare_cached("INSERT INTO _convault_columns VALUES (?, ?, ?, ?, ?)")?;
        insert.execute((table, name, field.to_string(), types, signed(missing))).map(drop)
    }

    fn insert(&mut self, lines: &[Bytes]) -> rusqlite::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let mut insert = self.connection.prepare_cached(&open.insert)?;
        for line in lines {
            let cells = open.columns.cells(line);
            let values =
                open.fields.iter().map(|field| cells.get(field).map_or(Value::Null, |raw| value(raw)));
            let text = String::from_utf8_lossy(line).into_owned();
            insert.execute(rusqlite::params_from_iter(values.chain([Value::Text(text)])))?;
            open.documents += 1;
            if open.documents.is_multiple_of(TRANSACTION_ROWS) {
                self.connection.execute_batch("COMMIT; BEGIN")?;
            }
        }
        Ok(())
    }

    fn close_table(&self, open: &Open) -> rusqlite::Result<()> {
        let mut insert =
            self.connection.prepare_cached("INSERT INTO _convault_tables VALUES (?, ?, ?, ?)")?;
        let (component, table) = (&open.table.component, &open.table.table);
        insert.execute((&open.name, component, table, signed(open.documents)))?;
        self.connection.execute_batch("COMMIT")
    }
}

impl Receiver for Sqlite {
    fn flattens(&self) -> Option<bool> {
        Some(false)
    }

    fn begin(&mut self, table: &TableRef, columns: Option<Columns>) -> Result<(), JobError> {
        let columns = columns.unwrap_or_else(|| Columns::new(table.to_string(), false));
        let made = self.make_table(table, columns);
        self.open = Some(made.map_err(failed(&self.outlet))?);
        Ok(())
    }

    fn take(&mut self, lines: &[Bytes]) -> Result<(), JobError> {
        self.insert(lines).map_err(failed(&self.outlet))
    }

    fn end(&mut self) -> Result<(), JobError> {
        match self.open.take() {
            Some(open) => self.close_table(&open).map_err(failed(&self.outlet)),
            None => Ok(()),
        }
    }

    fn finish(self: Box<Self>) -> Result<Made, JobError> {
        let Self { mut outlet, connection, notes, .. } = *self;
        connection.close().map_err(|(_, error)| failed(&outlet)(error))?;
        outlet.settle("")?;
        Ok(Made { path: outlet.publish()?, notes })
    }
}

fn failed(outlet: &Outlet) -> impl FnOnce(rusqlite::Error) -> JobError + use<> {
    let path = outlet.target().display().to_string();
    move |error| JobError::File {
        path,
        what: "cannot write the database",
        source: std::io::Error::other(error),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The type of a column; none where its values are of several, so that `SQLite` changes none of them.
fn affinity(column: &Column) -> &'static str {
    let kind = |types: &BTreeMap<&str, u64>| -> BTreeSet<&'static str> {
        let of = |kind: &str| match kind {
            "int64" | "boolean" => "INTEGER",
            "float64" => "REAL",
            "bytes" => "BLOB",
            _ => "TEXT",
        };
        types.keys().filter(|kind| **kind != "null").map(|kind| of(kind)).collect()
    };
    let kinds = kind(&column.types);
    match (kinds.len(), kinds.first()) {
        (1, Some(only)) => only,
        _ => "",
    }
}

fn value(raw: &str) -> Value {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    match Token::of(raw.as_bytes()) {
        None | Some(Token::Null) => Value::Null,
        Some(Token::Boolean(value)) => Value::Integer(value.into()),
        Some(Token::Int64(text)) => {
            text.parse().map_or_else(|_| Value::Text(text.to_owned()), Value::Integer)
        }
        Some(Token::Float64(text)) => text.parse().map_or_else(|_| Value::Text(text.to_owned()), Value::Real),
        Some(Token::Special(number)) if number.is_nan() => Value::Text("NaN".to_owned()),
        Some(Token::Special(number)) => Value::Real(number),
        Some(Token::Text(text)) => Value::Text(text.into_owned()),
        Some(Token::Bytes(base64)) => {
            STANDARD.decode(base64.as_bytes()).map_or_else(|_| Value::Text(raw.to_owned()), Value::Blob)
        }
        Some(Token::List(text) | Token::Record(text)) => Value::Text(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&str; 2] = [
        concat!(
            r#"{"Name":"upper","_creationTime":1.5,"_id":"a","b":{"$bytes":"AAH/"},"big":9223372036854775807,"#,
            r#""f":0.1,"inf":{"$float":"AAAAAAAA8H8="},"mixed":1.0,"name":"lower","nan":{"$float":"AAAAAAAA+H8="},"#,
            r#""nested":{"x":[1,2.0]},"no":null,"ok":true,"t":"it's \"so\""}"#
        ),
        r#"{"_creationTime":2.5,"_id":"b","mixed":1}"#,
    ];

    fn made(tables: &[&str]) -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.sqlite");
        let outlet = Outlet::file(&path).unwrap();
        let mut sqlite = Box::new(Sqlite::new(outlet, &[("snapshot", "x".to_owned())]).unwrap());
        for table in tables {
            let table: TableRef = table.parse().unwrap();
            let mut columns = Columns::new("t", false);
            for line in LINES {
                columns.add(line.as_bytes()).unwrap();
            }
            sqlite.begin(&table, Some(columns)).unwrap();
            sqlite.take(&LINES.map(|line| Bytes::from_static(line.as_bytes()))).unwrap();
            sqlite.end().unwrap();
        }
        assert!(!path.exists());
        sqlite.finish().unwrap();
        (folder, Connection::open(path).unwrap())
    }

    fn row(database: &Connection, sql: &str) -> Vec<Value> {
        let mut statement = database.prepare(sql).unwrap();
        let columns = statement.column_count();
        statement.query_row([], |row| (0..columns).map(|at| row.get(at)).collect()).unwrap()
    }

    #[test]
    fn every_type_is_kept_and_the_line_as_it_was() {
        let (_folder, database) = made(&["t"]);
        let found = row(
            &database,
            "SELECT b, big, f, inf, mixed, name, Name_2, nan, nested, \"no\", ok, t FROM t WHERE _id = 'a'",
        );
        let text = |text: &str| Value::Text(text.to_owned());
        let expected = [
            Value::Blob(vec![0, 1, 255]),
            Value::Integer(i64::MAX),
            Value::Real(0.1),
            Value::Real(f64::INFINITY),
            Value::Real(1.0),
            text("upper"),
            text("lower"),
            text("NaN"),
            text(r#"{"x":[1,2.0]}"#),
            Value::Null,
            Value::Integer(1),
            text("it's \"so\""),
        ];
        assert_eq!(found, expected);
        assert_eq!(row(&database, "SELECT mixed FROM t WHERE _id = 'b'"), [Value::Integer(1)]);
        for (id, line) in [("a", LINES[0]), ("b", LINES[1])] {
            assert_eq!(row(&database, &format!("SELECT _line FROM t WHERE _id = '{id}'")), [text(line)]);
        }
        let field =
            row(&database, "SELECT field, types, missing FROM _convault_columns WHERE name = 'mixed'");
        assert_eq!(field, [text("mixed"), text(r#"{"float64":1,"int64":1}"#), Value::Integer(0)]);
    }

    #[test]
    fn names_that_sqlite_would_confuse_are_told_apart() {
        let (_folder, database) = made(&["Users", "users", "mail/users", "sqlite_own"]);
        for name in ["Users", "users_2", "mail/users", "_sqlite_own"] {
            let count = row(&database, &format!("SELECT count(*) FROM {}", quoted(name)));
            assert_eq!(count, [Value::Integer(2)], "{name}");
        }
        let component =
            row(&database, "SELECT component, documents FROM _convault_tables WHERE name = 'mail/users'");
        assert_eq!(component, [Value::Text("mail".to_owned()), Value::Integer(2)]);
    }
}
