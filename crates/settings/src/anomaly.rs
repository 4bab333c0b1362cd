//! `anomaly = { … }`: how far a snapshot may differ from the last good one.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use convault_core::{AnomalyLimits, NewTables, TableLimits};

use crate::{quantity, reading::Reading, section::Section};

/// A table cannot lose more than everything.
const DOWN: Range<u32> = 1..101;
/// A thousandfold, and far from overflow.
const UP: Range<u32> = 1..100_001;
const SECOND: Duration = Duration::from_secs(1);
/// Components nest, and their names go before the table's.
const LONGEST_TABLE_NAME: usize = 512;

pub(crate) fn read(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<AnomalyLimits> {
    let before = reading.problems.len();
    let down = section.count(reading, "down", DOWN);
    let up = section.count(reading, "up", UP);
    let new_tables = section.one_of(reading, "new_tables").map(new_tables);
    let allow_empty = section.flag(reading, "allow_empty");
    let min_documents = section.count(reading, "min_documents", 1..u32::MAX);
    let min_bytes = section.simple(reading, "min_bytes", quantity::size_bytes);
    let unchanged_for = section.duration(reading, "unchanged_for", SECOND);
    let tables = read_tables(section, reading);
    // What is optional and wrong is no limit that is not there.
    (reading.problems.len() == before).then_some(AnomalyLimits {
        down_percent: down?,
        up_percent: up?,
        new_tables: new_tables?,
        allow_empty: allow_empty?,
        min_documents: min_documents.map(u64::from),
        min_bytes,
        unchanged_for,
        tables,
    })
}

fn read_tables(section: &Section<'_>, reading: &mut Reading<'_>) -> BTreeMap<String, TableLimits> {
    let mut tables = BTreeMap::new();
    for (name, table) in section.tables_by_name(reading, "tables") {
        let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-/".contains(c));
        if !plain || name.len() > LONGEST_TABLE_NAME {
            let expected = "the name of a table, such as \"users\", or \"component/table\"";
            reading.problem(table.place(), table.path(), "a table of another name", expected);
        }
        let down_percent = table.count(reading, "down", DOWN);
        let up_percent = table.count(reading, "up", UP);
        let ignore = table.flag(reading, "ignore").unwrap_or_default();
        tables.insert(name.to_owned(), TableLimits { down_percent, up_percent, ignore });
    }
    tables
}

fn new_tables(word: &str) -> NewTables {
    match word {
        "suspect" => NewTables::Suspect,
        "ignore" => NewTables::Ignore,
        _ => NewTables::Warn,
    }
}
