//! What an import is about to do: the figures of each table, and the text that asks for a confirmation.

use std::fmt::Write as _;

use super::arguments::ImportMode;
use super::failure::ImportFailure;
use super::row::count;
use super::upload::{Part, Upload};
use crate::database::{Component, Database};
use crate::value::Value;

/// The figures of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Path of the component; empty for the root.
    pub(crate) component: String,
    pub(crate) table: String,
    /// The name of the hidden table that rows go into first.
    pub(crate) tablet: Option<String>,
    pub(crate) total: usize,
    pub(crate) written: usize,
    pub(crate) existing: usize,
    pub(crate) to_delete: usize,
    pub(crate) missing_id: bool,
}

impl Checkpoint {
    /// The element of `checkpoints` in the row.
    pub(crate) fn to_value(&self) -> Value {
        let component = if self.component.is_empty() { Value::Null } else { self.component.clone().into() };
        Value::object([
            ("component_path", component),
            ("display_table_name", self.table.clone().into()),
            ("tablet_id", self.tablet.clone().map_or(Value::Null, Value::String)),
            ("total_num_rows_to_write", count(self.total)),
            ("num_rows_written", count(self.written)),
            ("existing_rows_in_table", count(self.existing)),
            ("existing_rows_to_delete", count(self.to_delete)),
            ("is_missing_id_field", Value::Boolean(self.missing_id)),
        ])
    }
}

/// The figures of every table that `upload` touches, by component and name.
///
/// Fails where `requireEmpty` meets a table that has rows; empty tables are fine.
pub(crate) fn checkpoints(
    upload: &Upload,
    mode: ImportMode,
    database: &Database,
) -> Result<Vec<Checkpoint>, ImportFailure> {
    let mut checkpoints: Vec<Checkpoint> =
        upload.parts.iter().map(|part| of_part(part, mode, database)).collect();
    if mode == ImportMode::ReplaceAll {
        add_removed_tables(&mut checkpoints, database);
    }
    checkpoints.sort_by(|a, b| (&a.component, &a.table).cmp(&(&b.component, &b.table)));
    let full = checkpoints.iter().find(|checkpoint| checkpoint.existing > 0);
    if let Some(full) = full.filter(|_| mode == ImportMode::RequireEmpty) {
        return Err(ImportFailure::table_exists(&full.table));
    }
    Ok(checkpoints)
}

fn of_part(part: &Part, mode: ImportMode, database: &Database) -> Checkpoint {
    let existing = database.component(part.component()).map_or(0, |component| existing_rows(part, component));
    Checkpoint {
        component: part.component().to_owned(),
        table: part.display_name().to_owned(),
        tablet: None,
        total: part.rows(),
        written: 0,
        existing,
        to_delete: if mode.replaces() { existing } else { 0 },
        missing_id: matches!(part, Part::Table(table) if table.rows.missing_id),
    }
}

fn existing_rows(part: &Part, component: &Component) -> usize {
    match part {
        Part::Table(table) => component.table(&table.name).map_or(0, |table| table.documents.len()),
        Part::Files(_) => component.files().len(),
    }
}

/// `replaceAll` deletes the tables that are not in the file, too.
fn add_removed_tables(checkpoints: &mut Vec<Checkpoint>, database: &Database) {
    for (path, component) in database.components() {
        for (name, table) in component.tables() {
            if checkpoints.iter().any(|checkpoint| checkpoint.component == path && checkpoint.table == name) {
                continue;
            }
            checkpoints.push(Checkpoint {
                component: path.to_owned(),
                table: name.to_owned(),
                tablet: None,
                total: 0,
                written: 0,
                existing: table.documents.len(),
                to_delete: table.documents.len(),
                missing_id: false,
            });
        }
    }
}

/// The text that asks for a confirmation, and whether something would be deleted.
pub(crate) fn confirmation(checkpoints: &[Checkpoint]) -> (String, bool) {
    let mut text = "Import change summary:\n".to_owned();
    for group in checkpoints.chunk_by(|a, b| a.component == b.component) {
        if !group[0].component.is_empty() {
            writeln!(text, "Component {}", group[0].component).expect("a string takes everything");
        }
        write_component(group, &mut text);
    }
    text.push_str("Once the import has started, it will run in the background.\n");
    text.push_str("Interrupting `npx convex import` will not cancel it.");
    (text, checkpoints.iter().any(|checkpoint| checkpoint.to_delete > 0))
}

fn write_component(checkpoints: &[Checkpoint], text: &mut String) {
    let mut rows = vec![["table".to_owned(), "create".to_owned(), "delete".to_owned()]];
    rows.extend(checkpoints.iter().map(|checkpoint| {
        let unit = if checkpoint.table == "_storage" { " files" } else { "" };
        let delete =
            format!("{} of {}{unit}", thousands(checkpoint.to_delete), thousands(checkpoint.existing));
        [checkpoint.table.clone(), thousands(checkpoint.total), delete]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    for (at, [table, create, delete]) in rows.iter().enumerate() {
        let line = format!("{table:0$} | {create:1$} | {delete:2$} |", widths[0], widths[1], widths[2]);
        writeln!(text, "{line}").expect("a string takes everything");
        if at == 0 {
            writeln!(text, "{}", "-".repeat(line.len())).expect("a string takes everything");
        }
    }
}

/// A count with commas: `1,000`.
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Checkpoint, confirmation, thousands};

    fn checkpoint(component: &str, table: &str, total: usize, existing: usize) -> Checkpoint {
        Checkpoint {
            component: component.to_owned(),
            table: table.to_owned(),
            tablet: None,
            total,
            written: 0,
            existing,
            to_delete: existing,
            missing_id: false,
        }
    }

    #[test]
    fn the_confirmation_is_the_text_that_a_real_backend_writes() {
        let checkpoints = [
            checkpoint("", "_storage", 11, 11),
            checkpoint("", "messages", 1000, 1000),
            checkpoint("widget/inner", "notes", 1, 1),
        ];
        let expected = "Import change summary:\n\
            table    | create | delete         |\n\
            ------------------------------------\n\
            _storage | 11     | 11 of 11 files |\n\
            messages | 1,000  | 1,000 of 1,000 |\n\
            Component widget/inner\n\
            table | create | delete |\n\
            -------------------------\n\
            notes | 1      | 1 of 1 |\n\
            Once the import has started, it will run in the background.\n\
            Interrupting `npx convex import` will not cancel it.";
        assert_eq!(confirmation(&checkpoints), (expected.to_owned(), true));
    }

    #[test]
    fn counts_have_commas() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
