//! The whole content as a ZIP: entries that no rule touches as they are compressed, the others written anew, and behind them
//! the shared files with their rows, as an export with files has them.

use std::collections::BTreeSet;

use convault_archive::{EntryDecoder, FrameKind, LineCutter};
use convault_core::{EntryKind, IndexEntry, IndexLine, ObjectRole, RunPhase, TableRef};
use tokio::io::AsyncWrite;

use super::{
    Content, Outgone, RuleCounts, StoredFile, documents_name,
    forward::Forward,
    listing::{Listing, SortedRows},
    output::Output,
    plan::{Deed, Plan},
    sieve::Sieve,
    stored::Stored,
};
use crate::JobError;

impl Content<'_> {
    /// Writes the content as a ZIP that an import takes. Where no rule changes anything and files are not shared, those are
    /// the stored ZIP's own bytes. All that is read is compared with the manifest and the index: on an error, what was written
    /// must not be used. Memory does not grow with the sizes of tables and files.
    pub async fn write_zip(
        &self,
        output: &mut (dyn AsyncWrite + Send + Unpin),
        output_name: &str,
    ) -> Result<Outgone, JobError> {
        self.stored.context.phase(RunPhase::ReadBack);
        if self.leaves_as_stored() {
            let mut outgone =
                Outgone { size_bytes: self.pass(output, output_name).await?, ..Outgone::default() };
            self.each_entry(|entry| {
                outgone.summary.add(&entry);
                Ok(())
            })
            .await?;
            return Ok(outgone);
        }
        let plan = self.plan(self.facts().await?)?;
        let mut making = Making {
            content: self,
            plan,
            output: Output::new(output, output_name, &self.stored),
            outgone: Outgone::default(),
            components: BTreeSet::new(),
        };
        making.entries().await?;
        if self.stored.has_shared_files() {
            making.shared_rows().await?;
            making.shared_files().await?;
        }
        making.finish().await
    }

    /// Whether what leaves are the bytes of the stored ZIP.
    pub(crate) fn leaves_as_stored(&self) -> bool {
        self.stored.rules.change_nothing() && !self.stored.has_shared_files()
    }

    /// Writes the stored ZIP as it is, opened. Gives how many bytes it has. Nothing but the ZIP is read.
    pub(crate) async fn pass(
        &self,
        output: &mut (dyn AsyncWrite + Send + Unpin),
        output_name: &str,
    ) -> Result<u64, JobError> {
        let mut whole = self.stored.whole(self.stored.object(ObjectRole::Snapshot)?)?;
        let mut output = Output::new(output, output_name, &self.stored);
        while let Some(piece) = whole.next().await? {
            output.pass(&piece).await?;
        }
        output.flush().await
    }
}

/// A ZIP being made.
struct Making<'c> {
    content: &'c Content<'c>,
    plan: Plan<'c>,
    output: Output<'c>,
    outgone: Outgone,
    /// Components that have a list of tables.
    components: BTreeSet<String>,
}

impl Making<'_> {
    /// Goes through every entry of the stored ZIP, in its order.
    async fn entries(&mut self) -> Result<(), JobError> {
        let (content, stored) = (self.content, &self.content.stored);
        let mut zip = Forward::new(stored.whole(stored.object(ObjectRole::Snapshot)?)?);
        let index = content.index().await?;
        for frame in index.frames().iter().filter(|frame| frame.kind == FrameKind::Entries) {
            let lines = stored.context.or_stop(index.lines(frame)).await?;
            for line in lines.map_err(|error| stored.unread(error))? {
                if let IndexLine::Entry(entry) = line {
                    self.entry(entry, &mut zip).await?;
                }
            }
        }
        zip.finish().await
    }

    async fn entry(&mut self, entry: IndexEntry, zip: &mut Forward<'_>) -> Result<(), JobError> {
        if entry.kind == EntryKind::Tables {
            self.components.insert(entry.component.clone());
        }
        match self.plan.deed(&entry) {
            Deed::LeaveOut => self.left_out(&entry),
            Deed::Copy => self.copy(entry, zip).await?,
            Deed::Empty => {
                self.output.begin(&entry.name, true)?;
                let dropped = entry.documents.unwrap_or(0);
                self.rewritten(&entry, RuleCounts { dropped, masked: 0 });
            }
            Deed::Sift(sieve) => self.sift(&entry, sieve, zip).await?,
        }
        Ok(())
    }

    fn left_out(&mut self, entry: &IndexEntry) {
        if let (EntryKind::Schema, Some(table)) = (entry.kind, &entry.table) {
            let table = TableRef::new(&entry.component, table);
            if self.plan.rules.takes_table(&table) {
                self.outgone.without_schema.insert(table);
            }
        }
    }

    async fn copy(&mut self, entry: IndexEntry, zip: &mut Forward<'_>) -> Result<(), JobError> {
        self.output.begin_raw(&entry)?;
        find(&self.content.stored, &entry, zip).await?;
        let mut left = entry.compressed_bytes;
        while left > 0 {
            let piece = zip.next(left).await?.ok_or_else(|| lies_elsewhere(&self.content.stored, &entry))?;
            left -= piece.len() as u64;
            self.output.write(&piece).await?;
        }
        self.outgone.summary.add(&entry);
        Ok(())
    }

    async fn sift(
        &mut self,
        entry: &IndexEntry,
        mut sieve: Sieve<'_>,
        zip: &mut Forward<'_>,
    ) -> Result<(), JobError> {
        let stored = &self.content.stored;
        let mut decoder = EntryDecoder::new(entry).map_err(|error| stored.unread(error))?;
        let mut cutter = LineCutter::default();
        self.output.begin(&entry.name, true)?;
        find(stored, entry, zip).await?;
        let wrong = |number: u64, what: &dyn std::fmt::Display| {
            stored.damaged(format!("line {number} of `{}` {what}", entry.name))
        };
        loop {
            while let Some(piece) = decoder.next_content().map_err(|error| stored.unread(error))? {
                cutter.push(piece);
                while let Some(line) = cutter
                    .next_line()
                    .map_err(|error| stored.damaged(format!("`{}`: {error}", entry.name)))?
                {
                    if let Some(line) = sieve.pass(line).map_err(|problem| wrong(cutter.lines(), &problem))? {
                        self.output.line(&line).await?;
                    }
                }
            }
            if decoder.rest_bytes() == 0 {
                break;
            }
            let piece = zip.next(decoder.rest_bytes()).await?;
            decoder.push(piece.ok_or_else(|| lies_elsewhere(stored, entry))?);
        }
        if let Some(line) = cutter.last_line()
            && let Some(line) = sieve.pass(line).map_err(|problem| wrong(cutter.lines(), &problem))?
        {
            self.output.line(&line).await?;
        }
        self.rewritten(entry, sieve.counts);
        Ok(())
    }

    /// Ends an entry that was written anew.
    fn rewritten(&mut self, entry: &IndexEntry, counts: RuleCounts) {
        let written = self.output.written();
        self.outgone.summary.add(&IndexEntry {
            size_bytes: written.size_bytes,
            sha256: written.sha256,
            documents: entry.documents.map(|_| written.lines),
            ..entry.clone()
        });
        match (entry.kind, &entry.table) {
            (EntryKind::Documents, Some(table)) => {
                self.outgone.changed(TableRef::new(&entry.component, table), counts);
            }
            (EntryKind::StorageRows, _) => self.outgone.dropped_files(&entry.component, counts.dropped),
            _ => {}
        }
    }

    /// Writes the rows of shared files, for every component with a list of tables.
    async fn shared_rows(&mut self) -> Result<(), JobError> {
        let stored = &self.content.stored;
        let mut rows = SortedRows::new(stored, None).await?;
        let mut next = rows.next().await?;
        for component in std::mem::take(&mut self.components) {
            if !self.plan.rules.takes_files(&component) {
                continue;
            }
            let mut entry = made_entry(&component);
            self.output.begin(&entry.name, true)?;
            let mut sieve = stored.rows_sieve(&component);
            while let Some(row) = next.take_if(|row| row.component <= component) {
                next = rows.next().await?;
                if row.component != component {
                    continue;
                }
                let passed = sieve.pass(row.line.into());
                let passed =
                    passed.map_err(|problem| stored.damaged(format!("the row of {} {problem}", row.id)))?;
                if let Some(line) = passed {
                    self.output.line(&line).await?;
                }
            }
            entry.documents = Some(0);
            self.rewritten(&entry, sieve.counts);
        }
        Ok(())
    }

    async fn shared_files(&mut self) -> Result<(), JobError> {
        let mut listing = Listing::open(&self.content.stored)?;
        while let Some(file) = listing.next().await? {
            if !self.content.stored.takes_file(&file.component, &file.fields.id) {
                continue;
            }
            let component = file.component.clone();
            let gains = file.fields.content_type.as_deref().is_some_and(gains);
            let mut stored = StoredFile::listed(&self.content.stored, file).await?;
            if stored.is_missing() {
                self.outgone.files_missing += 1;
                continue;
            }
            self.output.begin(&stored.name, gains)?;
            while let Some(piece) = stored.next().await? {
                self.output.write(&piece).await?;
            }
            let entry = IndexEntry { kind: EntryKind::File, name: stored.name, ..made_entry(&component) };
            self.rewritten(&entry, RuleCounts::default());
        }
        Ok(())
    }

    async fn finish(self) -> Result<Outgone, JobError> {
        let Self { content, output, mut outgone, .. } = self;
        let stored = &content.stored;
        if outgone.files_missing > 0 {
            stored.context.warning(format!(
                "{} stored file(s) could not be fetched when the snapshot was made: their rows are there, their entries \
                 are not",
                outgone.files_missing
            ));
        }
        outgone.size_bytes = output.finish().await?;
        Ok(outgone)
    }
}

/// Goes to where the data of an entry begins.
async fn find(stored: &Stored<'_>, entry: &IndexEntry, zip: &mut Forward<'_>) -> Result<(), JobError> {
    if zip.skip_to(entry.data_offset).await? { Ok(()) } else { Err(lies_elsewhere(stored, entry)) }
}

fn lies_elsewhere(stored: &Stored<'_>, entry: &IndexEntry) -> JobError {
    stored.damaged(format!("its index says that `{}` lies where it does not", entry.name))
}

/// Whether content of a type gains something by being compressed.
fn gains(content_type: &str) -> bool {
    ["text/", "application/json", "application/xml", "image/svg"]
        .iter()
        .any(|beginning| content_type.starts_with(beginning))
}

/// What an index would say of the rows of a component that are not in the stored ZIP, without their sizes and hashes.
fn made_entry(component: &str) -> IndexEntry {
    IndexEntry {
        name: documents_name(&TableRef::new(component, "_storage")),
        kind: EntryKind::StorageRows,
        component: component.to_owned(),
        table: None,
        header_offset: 0,
        data_offset: 0,
        compressed_bytes: 0,
        size_bytes: 0,
        method: 8,
        crc32: 0,
        sha256: convault_core::Sha256([0; 32]),
        documents: None,
        digest: None,
    }
}
