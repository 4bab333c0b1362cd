//! [`StoredEntry`]: one entry of a snapshot, by the names that people call it by.

use convault_archive::EntryContent;
use convault_core::{EntryKind, IndexEntry, RunEvent, RunPhase, TableRef};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::{
    Content, Lines, StoredFile, StoredIndex, documents_name, listing::Listing, plan::Deed, stored::Stored,
};
use crate::JobError;

/// An entry of a stored snapshot, as it leaves.
pub struct StoredEntry<'c> {
    stored: &'c Stored<'c>,
    name: String,
    size_bytes: Option<u64>,
    what: What<'c>,
}

enum What<'c> {
    Lines(Lines<'c>),
    File(StoredFile<'c>),
    Other(EntryContent<'c>),
}

impl std::fmt::Debug for StoredEntry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredEntry").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Content<'_> {
    /// Finds an entry by its full name in the ZIP, by the name of a table (`contacts`, `component/contacts`), or by the
    /// id of a stored file. One that a rule leaves out is not found. Of the ZIP and its index, only what that takes is read.
    pub async fn entry(&self, name: &str) -> Result<StoredEntry<'_>, JobError> {
        let index = self.index().await?;
        let found = match self.look_up(&index, name).await? {
            Some(entry) => self.of_index(&index, entry).await?,
            None => self.of_files(name).await?,
        };
        found.ok_or_else(|| JobError::NoSuchEntry {
            name: name.to_owned(),
            place: self.stored.place(convault_core::ObjectRole::Snapshot),
        })
    }

    async fn look_up(&self, index: &StoredIndex<'_>, name: &str) -> Result<Option<IndexEntry>, JobError> {
        let mut names = vec![name.to_owned()];
        if let Ok(table) = name.parse::<TableRef>() {
            names.push(documents_name(&table));
        }
        for name in &names {
            if let Some(entry) = self.entry_named(index, name).await? {
                return Ok(Some(entry));
            }
        }
        if name.contains('/') { Ok(None) } else { self.file_entry(index, None, name).await }
    }

    async fn of_index(
        &self,
        index: &StoredIndex<'_>,
        entry: IndexEntry,
    ) -> Result<Option<StoredEntry<'_>>, JobError> {
        let table = match (entry.kind, &entry.table) {
            (_, Some(table)) => table.as_str(),
            (EntryKind::StorageRows, None) => "_storage",
            (_, None) => "_tables",
        };
        let table = TableRef::new(&entry.component, table);
        let mut size_bytes = Some(entry.size_bytes);
        let what = match self.plan_for(index, &table).await?.deed(&entry) {
            Deed::LeaveOut => return Ok(None),
            Deed::Copy => What::Other(self.entry_content(&entry).await?),
            Deed::Empty | Deed::Sift(_) => {
                size_bytes = None;
                let Some(lines) = self.entry_lines(index, &entry, &table).await? else { return Ok(None) };
                What::Lines(lines)
            }
        };
        Ok(Some(StoredEntry { stored: &self.stored, name: entry.name, size_bytes, what }))
    }

    /// A file that is shared, or the rows of such.
    async fn of_files(&self, name: &str) -> Result<Option<StoredEntry<'_>>, JobError> {
        if !self.stored.has_shared_files() {
            return Ok(None);
        }
        let rows = name.strip_suffix("/documents.jsonl").unwrap_or(name).replace("_components/", "");
        if let Ok(table) = rows.parse::<TableRef>()
            && table.table == "_storage"
            && let Some(lines) = self.lines(&table).await?
        {
            let (name, what) = (documents_name(&table), What::Lines(lines));
            return Ok(Some(StoredEntry { stored: &self.stored, name, size_bytes: None, what }));
        }
        let mut listing = Listing::open(&self.stored)?;
        while let Some(file) = listing.next().await? {
            let is_named = file.fields.id == name || file.entry_name() == name;
            if is_named && self.stored.takes_file(&file.component, &file.fields.id) {
                let file = StoredFile::listed(&self.stored, file).await?;
                let (name, size_bytes) = (file.name.clone(), Some(file.size_bytes));
                return Ok(Some(StoredEntry {
                    stored: &self.stored,
                    name,
                    size_bytes,
                    what: What::File(file),
                }));
            }
        }
        Ok(None)
    }
}

impl StoredEntry<'_> {
    /// Its full name in the ZIP.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes the entry's content to `output`, and gives how many bytes that was. What was read is checked at its end: on
    /// an error, what was written must not be used.
    pub async fn write(
        mut self,
        output: &mut (dyn AsyncWrite + Send + Unpin),
        output_name: &str,
    ) -> Result<u64, JobError> {
        let context = self.stored.context;
        context.phase(RunPhase::ReadBack);
        let failed = |source| JobError::File { path: output_name.to_owned(), what: "cannot write", source };
        let mut done_bytes = 0;
        while let Some(piece) = self.next().await? {
            output.write_all(&piece).await.map_err(failed)?;
            done_bytes += piece.len() as u64;
            if matches!(self.what, What::Lines(_)) {
                output.write_all(b"\n").await.map_err(failed)?;
                done_bytes += 1;
            }
            context.tell(RunEvent::Transferred { done_bytes, total_bytes: self.size_bytes });
        }
        output.flush().await.map_err(failed)?;
        Ok(done_bytes)
    }

    async fn next(&mut self) -> Result<Option<bytes::Bytes>, JobError> {
        match &mut self.what {
            What::Lines(lines) => lines.next().await,
            What::File(file) => file.next().await,
            What::Other(content) => {
                let next = self.stored.context.or_stop(content.next()).await?;
                next.map_err(|error| self.stored.unread(error))
            }
        }
    }
}
