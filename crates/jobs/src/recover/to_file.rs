//! What was chosen, as files that a person can look into: the second source of a value.

use std::path::PathBuf;

use bytes::Bytes;
use convault_core::TableRef;

use super::{choice::Chosen, patch::reduced};
use crate::{
    Content, JobError, JsonLines, Outlet, Receiver as _, RunContext, Wanted, hand_over, handover::write_file,
};

/// What became files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The file or folder.
    pub path: PathBuf,
    /// Documents in it.
    pub documents: u64,
    /// Stored files in it.
    pub files: u64,
}

/// Writes what was chosen: documents of one table into a file of JSON Lines; documents of several, and stored files with
/// their rows, into a folder. It appears only once it is whole.
pub async fn recover_to_file(
    content: &Content<'_>,
    chosen: &Chosen,
    outlet: Outlet,
    context: &RunContext,
) -> Result<Written, JobError> {
    if let Some(table) = &chosen.whole
        && chosen.files.is_empty()
    {
        let receiver = Box::new(JsonLines::new(outlet));
        let tables = std::slice::from_ref(table);
        let handed = hand_over(content, tables, &Wanted::default(), receiver, context).await?;
        let documents = handed.tables.iter().map(|(_, documents)| documents).sum();
        return Ok(Written { path: handed.made.path, documents, files: 0 });
    }
    let mut outlet = outlet;
    let rows = write_files(content, chosen, &mut outlet, context).await?;
    let mut receiver = Box::new(JsonLines::new(outlet));
    let mut tables = chosen.documents.clone();
    for (component, row) in &rows {
        let table = TableRef::new(component, "_storage");
        let id = crate::look::id_of(row).unwrap_or_default();
        tables.entry(table).or_default().insert(id, row.clone());
    }
    let mut documents = 0;
    for (table, lines) in &tables {
        let lines: Vec<Bytes> = lines.values().map(|line| shown(chosen, table, line)).collect();
        documents += if table.table == "_storage" { 0 } else { lines.len() as u64 };
        receiver.begin(table, None)?;
        receiver.take(&lines)?;
        receiver.end()?;
    }
    let made = receiver.finish()?;
    Ok(Written { path: made.path, documents, files: rows.len() as u64 })
}

/// The line, or what was asked for of it.
fn shown(chosen: &Chosen, table: &TableRef, line: &Bytes) -> Bytes {
    if chosen.fields.is_empty() || table.table == "_storage" {
        return line.clone();
    }
    reduced(line, &chosen.fields).map_or_else(|_| line.clone(), Bytes::from)
}

/// Writes the stored files. Gives their rows with their components.
async fn write_files(
    content: &Content<'_>,
    chosen: &Chosen,
    outlet: &mut Outlet,
    context: &RunContext,
) -> Result<Vec<(String, Bytes)>, JobError> {
    let mut rows = Vec::new();
    for (component, id) in &chosen.files {
        let Some(file) = content.file(component, id).await? else { continue };
        rows.push((component.clone(), file.row.clone()));
        write_file(component, file, outlet, context).await?;
    }
    Ok(rows)
}

/// Where a stored file lies in a folder: `_storage/<name>`, or `mail._storage/<name>` of a component.
pub(crate) fn file_place(component: &str, name: &str) -> String {
    let folder = TableRef::new(component, "_storage").to_string().replace('/', ".");
    format!("{folder}/{name}")
}
