//! Every stored file of a snapshot, one after another.

use std::sync::Arc;

use bytes::Bytes;
use convault_archive::{EntryContent, FrameKind};
use convault_core::{EntryKind, IndexLine, ObjectRole, TableRef};

use super::{Content, StoredFile, listing::Listing, plan::file_id};
use crate::JobError;

impl Content<'_> {
    /// Hands over every stored file that leaves, with its component's path, in the order in which they are stored. Those in
    /// the ZIP come without their rows.
    pub(crate) async fn each_file(
        &self,
        mut take: impl AsyncFnMut(&str, StoredFile<'_>) -> Result<(), JobError>,
    ) -> Result<(), JobError> {
        if self.stored.has_shared_files() {
            let mut listing = Listing::open(&self.stored)?;
            while let Some(file) = listing.next().await? {
                if self.stored.takes_file(&file.component, &file.fields.id) {
                    let component = file.component.clone();
                    take(&component, StoredFile::listed(&self.stored, file).await?).await?;
                }
            }
            return Ok(());
        }
        let (index, zip) = (self.index().await?, self.stored.at_random(ObjectRole::Snapshot).await?);
        for frame in index.frames().iter().filter(|frame| frame.kind == FrameKind::Entries) {
            let lines = self.stored.context.or_stop(index.lines(frame)).await?;
            for line in lines.map_err(|error| self.stored.unread(error))? {
                let IndexLine::Entry(entry) = line else { continue };
                if entry.kind != EntryKind::File
                    || !self.stored.takes_file(&entry.component, file_id(&entry.name))
                {
                    continue;
                }
                let content = EntryContent::whole(Arc::clone(&zip), &entry);
                let content = content.map_err(|error| self.stored.unread(error))?;
                take(&entry.component, StoredFile::of_entry(&self.stored, &entry, Bytes::new(), content))
                    .await?;
            }
        }
        Ok(())
    }

    /// The tables of rows of stored files, one a component.
    pub async fn row_tables(&self) -> Result<Vec<TableRef>, JobError> {
        if !self.has_files() {
            return Ok(Vec::new());
        }
        let mut tables = Vec::new();
        for component in self.components().await? {
            let table = TableRef::new(component, "_storage");
            let is_there = self.stored.has_shared_files() || self.table_entry(&table).await?.is_some();
            if is_there && self.rules().takes_files(&table.component) {
                tables.push(table);
            }
        }
        Ok(tables)
    }
}
