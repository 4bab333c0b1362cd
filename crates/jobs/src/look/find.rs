//! [`find_documents`]: documents of one snapshot by what they are, without downloading it.

use bytes::Bytes;
use convault_core::{Manifest, ObjectRole, TableRef};

use super::{
    lookup::{Lookup, tables_of},
    wanted::Wanted,
};
use crate::{Content, JobError, RunContext};

/// What looking into a snapshot came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// The tables that were looked into.
    pub tables: Vec<TableRef>,
    /// Documents found.
    pub documents: u64,
    /// Stored bytes that were read for it.
    pub read_bytes: u64,
    /// Stored bytes of the snapshot.
    pub stored_bytes: u64,
}

impl Looked {
    /// What was read so far, for these tables.
    pub(crate) fn at(content: &Content<'_>, tables: Vec<TableRef>) -> Self {
        let (read_bytes, stored_bytes) = (content.read_bytes(), stored_bytes(content.manifest()));
        Self { tables, documents: 0, read_bytes, stored_bytes }
    }
}

/// Gives `take` every document that is wanted: by ids alone, each is looked up where it has to be, in `table` or in
/// whichever has its number; otherwise `table`, which then has to be named, is read whole.
pub async fn find_documents(
    content: &Content<'_>,
    table: Option<&TableRef>,
    wanted: &Wanted,
    lookup: &mut Lookup,
    context: &RunContext,
    mut take: impl FnMut(&TableRef, Bytes) -> Result<(), JobError>,
) -> Result<Looked, JobError> {
    let (mut tables, mut documents) = (Vec::new(), 0);
    if wanted.is_ids_only() {
        for id in &wanted.ids {
            let candidates = match table {
                Some(table) => vec![table.clone()],
                None => tables_of(content, id).await?,
            };
            for table in candidates {
                let looked_up = context.or_stop(lookup.document(content, &table, id)).await??;
                if let Some(line) = looked_up {
                    documents += 1;
                    take(&table, line)?;
                }
                if !tables.contains(&table) {
                    tables.push(table);
                }
            }
        }
    } else if let Some(table) = table {
        let lines = content.lines(table).await?;
        let mut lines = lines.ok_or_else(|| no_table(content, table))?;
        while let Some(line) = context.or_stop(lines.next()).await?? {
            if wanted.matches(&line) {
                documents += 1;
                take(table, line)?;
            }
        }
        tables.push(table.clone());
    }
    Ok(Looked { documents, ..Looked::at(content, tables) })
}

/// The error of a table that is not there.
pub(crate) fn no_table(content: &Content<'_>, table: &TableRef) -> JobError {
    JobError::NoSuchEntry { name: table.to_string(), place: place(content) }
}

/// Which snapshot content is of, for people.
pub(crate) fn place(content: &Content<'_>) -> String {
    let manifest = content.manifest();
    format!("{} {}", manifest.deployment, manifest.id)
}

/// Bytes of what lies in the destination of a snapshot's content; of shared files, all that it needs.
fn stored_bytes(manifest: &Manifest) -> u64 {
    let is_content = |role| matches!(role, ObjectRole::Snapshot | ObjectRole::Index | ObjectRole::Files);
    let objects = manifest.objects.iter().filter(|object| is_content(object.role));
    let shared = if manifest.object(ObjectRole::Files).is_some() { manifest.totals.file_bytes } else { 0 };
    objects.map(|object| object.size_bytes).sum::<u64>() + shared
}
