//! [`Choice`]: what is to be brought back, and [`Chosen`]: what of it a snapshot has.

use std::collections::BTreeMap;

use bytes::Bytes;
use convault_core::TableRef;

use crate::{
    Content, JobError, RunContext, Wanted,
    look::{FieldPath, Looked, Lookup, find_documents, id_of, no_table, tables_of},
};

/// Chosen documents are held; more of them are a whole table's business.
const MOST_BYTES: usize = 16 << 20;

/// What is to be brought back.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// The table. Without documents that are wanted, all of it. Of documents that are wanted by ids alone it need not be
    /// named.
    pub table: Option<TableRef>,
    /// Which documents.
    pub wanted: Option<Wanted>,
    /// Only these fields of them; none: whole documents.
    pub fields: Vec<FieldPath>,
    /// Stored files, by their ids.
    pub files: Vec<String>,
}

/// What a snapshot has of a choice.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// Documents by table and id.
    pub documents: BTreeMap<TableRef, BTreeMap<String, Bytes>>,
    /// A table as a whole, which is not held.
    pub whole: Option<TableRef>,
    /// Of the documents only these fields.
    pub fields: Vec<FieldPath>,
    /// Stored files: component path and id.
    pub files: Vec<(String, String)>,
    /// What it does not have.
    pub missing: Vec<String>,
    /// What was read for it.
    pub looked: Looked,
}

impl Chosen {
    /// How many documents were chosen one by one.
    pub fn count(&self) -> u64 {
        self.documents.values().map(|documents| documents.len() as u64).sum()
    }

    /// Whether there is nothing to bring back.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty() && self.whole.is_none() && self.files.is_empty()
    }
}

/// Looks what of a choice is there.
pub async fn choose(
    content: &Content<'_>,
    choice: &Choice,
    context: &RunContext,
) -> Result<Chosen, JobError> {
    let mut documents: BTreeMap<TableRef, BTreeMap<String, Bytes>> = BTreeMap::new();
    let (mut held, mut whole, mut missing) = (0, None, Vec::new());
    let wanted = choice.wanted.clone().unwrap_or_default();
    let mut take = |table: &TableRef, line: Bytes| {
        held += line.len();
        if held > MOST_BYTES {
            return Err(JobError::TooMuchChosen { table: table.to_string(), most_bytes: MOST_BYTES });
        }
        if let Some(id) = id_of(&line) {
            // A copy: the line is a piece of something larger, which would stay with it.
            documents.entry(table.clone()).or_default().insert(id, Bytes::copy_from_slice(&line));
        }
        Ok(())
    };
    let table = choice.table.as_ref();
    match (table, &choice.wanted) {
        (Some(table), None) if choice.fields.is_empty() => {
            content.table_entry(table).await?.ok_or_else(|| no_table(content, table))?;
            whole = Some(table.clone());
        }
        (None, None) => {}
        _ => {
            find_documents(content, table, &wanted, &mut Lookup::new(), context, &mut take).await?;
        }
    }
    let found = |id: &String| documents.values().any(|documents| documents.contains_key(id));
    missing.extend(wanted.ids.iter().filter(|id| !found(id)).cloned());
    let files = files(content, choice, &mut missing).await?;
    let looked = Looked::at(content, documents.keys().cloned().collect());
    Ok(Chosen { documents, whole, fields: choice.fields.clone(), files, missing, looked })
}

async fn files(
    content: &Content<'_>,
    choice: &Choice,
    missing: &mut Vec<String>,
) -> Result<Vec<(String, String)>, JobError> {
    let mut found = Vec::new();
    for id in &choice.files {
        let mut place = None;
        for rows in tables_of(content, id).await?.into_iter().filter(|table| table.table == "_storage") {
            if content.document(&rows, id).await?.is_some() {
                place = Some((rows.component, id.clone()));
            }
        }
        match place {
            Some(place) => found.push(place),
            None => missing.push(id.clone()),
        }
    }
    Ok(found)
}
