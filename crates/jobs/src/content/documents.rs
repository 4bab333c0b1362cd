//! [`Lines`]: the lines of one table, and single documents.

use bytes::Bytes;
use convault_archive::{EntryContent, Line, LineCutter};
use convault_core::{IndexEntry, ObjectRole, TableRef};

use super::{
    Content, StoredIndex, documents_name,
    listing::{Listing, SortedRows},
    plan::Deed,
    sieve::Sieve,
    stored::Stored,
};
use crate::JobError;

/// The lines of one entry on their way out, in their order.
pub struct Lines<'c> {
    stored: &'c Stored<'c>,
    name: String,
    from: From<'c>,
    sieve: Sieve<'c>,
    line: u64,
}

enum From<'c> {
    Entry { entry: Box<EntryContent<'c>>, cutter: LineCutter, ended: bool },
    Rows(Box<SortedRows<'c>>),
    Nothing,
}

impl std::fmt::Debug for Lines<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<'c> Lines<'c> {
    pub(super) fn of_entry(
        stored: &'c Stored<'c>,
        entry: &IndexEntry,
        of: EntryContent<'c>,
        sieve: Sieve<'c>,
    ) -> Self {
        let from = From::Entry { entry: Box::new(of), cutter: LineCutter::default(), ended: false };
        Self { stored, name: entry.name.clone(), from, sieve, line: 0 }
    }

    /// The next line, without line feed; `None` after the last, when all that was read was what the index says.
    pub async fn next(&mut self) -> Result<Option<Bytes>, JobError> {
        while let Some(line) = self.next_stored().await? {
            self.line += 1;
            let passed = self.sieve.pass(line);
            let passed = passed.map_err(|problem| {
                self.stored.damaged(format!("line {} of `{}` {problem}", self.line, self.name))
            })?;
            if passed.is_some() {
                return Ok(passed);
            }
        }
        Ok(None)
    }

    async fn next_stored(&mut self) -> Result<Option<Bytes>, JobError> {
        let stored = self.stored;
        let (entry, cutter, ended) = match &mut self.from {
            From::Nothing => return Ok(None),
            From::Rows(rows) => return Ok(rows.next().await?.map(|row| row.line.into())),
            From::Entry { entry, cutter, ended } => (entry, cutter, ended),
        };
        loop {
            let line = cutter.next_line();
            let line = line.map_err(|error| stored.damaged(format!("`{}`: {error}", self.name)))?;
            if line.is_some() || *ended {
                return Ok(line);
            }
            let piece = stored.context.or_stop(entry.next()).await?;
            let Some(piece) = piece.map_err(|error| stored.unread(error))? else {
                *ended = true;
                return Ok(cutter.last_line());
            };
            cutter.push(piece);
        }
    }
}

impl Content<'_> {
    /// The lines of a user table, or with the name `_storage` the rows of stored files, in both ways of keeping them, in the
    /// order of their ids; `None` where there is no such table, or a rule leaves it out.
    pub async fn lines(&self, table: &TableRef) -> Result<Option<Lines<'_>>, JobError> {
        let name = documents_name(table);
        if table.table == "_storage" && self.stored.has_shared_files() {
            return self.shared_rows(&table.component, name).await;
        }
        let index = self.index().await?;
        match self.entry_named(&index, &name).await? {
            Some(entry) => self.entry_lines(&index, &entry, table).await,
            None => Ok(None),
        }
    }

    /// The lines of an entry that is made of such.
    pub(super) async fn entry_lines(
        &self,
        index: &StoredIndex<'_>,
        entry: &IndexEntry,
        table: &TableRef,
    ) -> Result<Option<Lines<'_>>, JobError> {
        let sieve = match self.plan_for(index, table).await?.deed(entry) {
            Deed::LeaveOut => return Ok(None),
            Deed::Copy => self.stored.everything(),
            Deed::Sift(sieve) => sieve,
            Deed::Empty => {
                let (name, sieve) = (entry.name.clone(), self.stored.everything());
                return Ok(Some(Lines { stored: &self.stored, name, from: From::Nothing, sieve, line: 0 }));
            }
        };
        Ok(Some(Lines::of_entry(&self.stored, entry, self.entry_content(entry).await?, sieve)))
    }

    async fn shared_rows(&self, component: &str, name: String) -> Result<Option<Lines<'_>>, JobError> {
        let list = documents_name(&TableRef::new(component, "_tables"));
        if !self.stored.rules.takes_files(component)
            || self.entry_named(&self.index().await?, &list).await?.is_none()
        {
            return Ok(None);
        }
        let sieve = self.stored.rows_sieve(component);
        let from = From::Rows(Box::new(SortedRows::new(&self.stored, Some(component)).await?));
        Ok(Some(Lines { stored: &self.stored, name, from, sieve, line: 0 }))
    }

    /// One document of a user table, or with the name `_storage` the row of a stored file, without line feed; `None` where
    /// there is none, or a rule leaves it out. Of the ZIP no more is read than lies between two resume points; what was read
    /// is compared with what the index says only where that is the whole entry.
    pub async fn document(&self, table: &TableRef, id: &str) -> Result<Option<Bytes>, JobError> {
        if table.table == "_storage" && self.stored.has_shared_files() {
            return self.shared_row(&table.component, id).await;
        }
        let name = documents_name(table);
        let index = self.index().await?;
        let Some(entry) = self.entry_named(&index, &name).await? else { return Ok(None) };
        let plan = self.plan_for(&index, table).await?;
        let mut sieve = match plan.deed(&entry) {
            Deed::LeaveOut | Deed::Empty => return Ok(None),
            Deed::Copy => self.stored.everything(),
            Deed::Sift(sieve) => sieve,
        };
        let content = self.entry_from(&index, &entry, id).await?;
        let mut lines = Lines::of_entry(&self.stored, &entry, content, self.stored.everything());
        let wrong = |problem| self.stored.damaged(format!("a line of `{name}` {problem}"));
        while let Some(line) = lines.next().await? {
            let found = Line::parse(&line).map_err(wrong)?;
            let found = found.text(&["_id"]).ok_or(convault_archive::LineProblem::NoId).map_err(wrong)?;
            if found == id {
                drop(found);
                return sieve.pass(line).map_err(wrong);
            }
            if *found > *id {
                break;
            }
        }
        Ok(None)
    }

    /// The content of an entry from the last resume point before a document on.
    async fn entry_from(
        &self,
        index: &StoredIndex<'_>,
        entry: &IndexEntry,
        id: &str,
    ) -> Result<EntryContent<'_>, JobError> {
        let point = self.stored.context.or_stop(index.resume_point(&entry.name, id)).await?;
        let Some(point) = point.map_err(|error| self.stored.unread(error))? else {
            return self.entry_content(entry).await;
        };
        let zip = self.stored.at_random(ObjectRole::Snapshot).await?;
        let content = self.stored.context.or_stop(EntryContent::resume(zip, entry, &point)).await?;
        content.map_err(|error| self.stored.unread(error))
    }

    async fn shared_row(&self, component: &str, id: &str) -> Result<Option<Bytes>, JobError> {
        if !self.stored.takes_file(component, id) {
            return Ok(None);
        }
        let mut listing = Listing::open(&self.stored)?;
        while let Some(file) = listing.next().await? {
            if file.component == component && file.fields.id == id {
                return Ok(Some(file.row.into()));
            }
        }
        Ok(None)
    }
}
