//! Tables, how many documents they have, and the documents.

use super::{Call, files, pages, server_error};
use crate::database::{Component, Database};
use crate::document_id::STORAGE_TABLE_NUMBER;
use crate::value::{Document, Value};

/// `cli/tables`: the names of the user tables.
pub(super) fn list(call: Call<'_>) -> Result<Value, String> {
    let generator = call.state.generator();
    let names: Vec<String> = call.in_component(|database, path| {
        if let Some(generator) = &generator {
            return generator.tables().into_iter().map(|(name, _)| name).collect();
        }
        let tables = database.component(path).into_iter().flat_map(Component::tables);
        tables.map(|(name, _)| name.to_owned()).collect()
    })?;
    pages::page(&call, &names, |name| Value::object([("name", name.clone().into())]))
}

/// `tableSize`: how many documents a user table has; 0 where there is none.
pub(super) fn size(call: Call<'_>) -> Result<Value, String> {
    let name = call.text("tableName")?;
    let generator = call.state.generator();
    call.in_component(|database, path| {
        if let Some(generator) = &generator {
            let count = generator.documents_of(path, name).unwrap_or(0);
            return number(usize::try_from(count).unwrap_or(usize::MAX));
        }
        number(database.table(path, name).map_or(0, |table| table.documents.len()))
    })
}

/// `tableSize:sizeOfAllTables`: how many documents a component has.
pub(super) fn size_of_all(call: Call<'_>) -> Result<Value, String> {
    call.in_component(|database, path| {
        let tables = database.component(path).into_iter().flat_map(Component::tables);
        number(tables.map(|(_, table)| table.documents.len()).sum())
    })
}

/// `getTableMapping`: names by table number.
pub(super) fn mapping(call: Call<'_>) -> Result<Value, String> {
    let generator = call.state.generator();
    call.in_component(|database, path| {
        let tables = database.component(path).into_iter().flat_map(Component::tables);
        let mut names: Document =
            tables.map(|(name, table)| (table.number.to_string(), name.into())).collect();
        let generated = generator.iter().flat_map(|generator| generator.tables());
        names.extend(generated.map(|(name, number)| (number.to_string(), name.into())));
        names.insert(STORAGE_TABLE_NUMBER.to_string(), "_file_storage".into());
        Value::Object(names)
    })
}

/// `cli/tableData`: a page of documents by creation time.
pub(super) fn data(call: Call<'_>) -> Result<Value, String> {
    let table = call.text("table")?;
    let is_descending = match call.text("order")? {
        "asc" => false,
        "desc" => true,
        other => return Err(server_error(&format!("ArgumentValidationError: unknown order `{other}`."))),
    };
    let mut documents = call.in_component(|database, path| documents(database, path, table))?;
    documents.sort_by(|a, b| creation_time(a).total_cmp(&creation_time(b)));
    if is_descending {
        documents.reverse();
    }
    pages::page(&call, &documents, Clone::clone)
}

fn documents(database: &Database, path: &str, table: &str) -> Vec<Value> {
    if table == "_storage" {
        return files::rows(database, path);
    }
    let documents = database.table(path, table).into_iter().flat_map(|table| table.documents.values());
    documents.map(Value::Object).collect()
}

pub(super) fn creation_time(document: &Value) -> f64 {
    document.get("_creationTime").and_then(Value::as_f64).unwrap_or(0.0)
}

/// A count as these functions answer it: a double.
#[expect(clippy::cast_precision_loss, reason = "JavaScript counts in doubles as well")]
pub(super) fn number(count: usize) -> Value {
    Value::Float64(count as f64)
}
