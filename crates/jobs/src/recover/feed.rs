//! What is uploaded for a recovery: a ZIP of one table, or of stored files, since JSON Lines by themselves lose types.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use convault_archive::{Packing, ZipEntry, ZipWriter};
use convault_core::TableRef;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::{
    Content, JobError, RunContext,
    content::component_prefix,
    look::{Held, Meeting, Merge, Side, TableLines},
    restore::Feed,
};

/// What every table of a lossless export has beside its documents.
const SCHEMA: &[u8] = b"\"uniform\"\n";
const FLUSH_BYTES: usize = 256 << 10;
/// Names, headers and the directory.
const FRAME_BYTES: u64 = 64 << 10;

/// What was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Documents.
    pub(super) documents: u64,
    /// Stored files.
    pub(super) files: u64,
    /// Bytes of the ZIP.
    pub(super) size_bytes: u64,
}

/// A ZIP on its way.
struct Out<'o> {
    zip: ZipWriter,
    ready: BytesMut,
    output: &'o mut (dyn AsyncWrite + Send + Unpin),
    sent: Sent,
}

impl<'o> Out<'o> {
    fn new(output: &'o mut (dyn AsyncWrite + Send + Unpin)) -> Self {
        Self { zip: ZipWriter::new(), ready: BytesMut::new(), output, sent: Sent::default() }
    }

    fn begin(&mut self, name: &str, packing: Packing) -> Result<(), JobError> {
        let begun = self.zip.begin(&ZipEntry::named(name), packing, &mut self.ready);
        begun.map_err(|error| JobError::Bug(error.to_string()))
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), JobError> {
        self.zip.write(bytes, &mut self.ready);
        if self.ready.len() >= FLUSH_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn line(&mut self, line: &[u8]) -> Result<(), JobError> {
        self.write(line).await?;
        self.write(b"\n").await
    }

    async fn flush(&mut self) -> Result<(), JobError> {
        let failed = |source| JobError::File { path: "the upload".to_owned(), what: "cannot write", source };
        self.output.write_all(&self.ready).await.map_err(failed)?;
        self.sent.size_bytes += self.ready.len() as u64;
        self.ready.clear();
        Ok(())
    }

    async fn finish(mut self) -> Result<Sent, JobError> {
        let zip = std::mem::take(&mut self.zip);
        zip.finish(&mut self.ready).map_err(|error| JobError::Bug(error.to_string()))?;
        self.flush().await?;
        Ok(self.sent)
    }
}

/// One table: what is live with what is brought back put in, or either alone.
pub(super) struct TableFeed<'a> {
    pub(super) table: &'a TableRef,
    /// The table as it is live; without it only what is brought back is sent.
    pub(super) live: Option<&'a Content<'a>>,
    pub(super) back: Back<'a>,
    pub(super) largest_bytes: u64,
}

/// What is brought back of a table.
pub(super) enum Back<'a> {
    /// These documents, by id.
    Documents(&'a BTreeMap<String, Bytes>),
    /// All of it, as it was.
    Whole(&'a Content<'a>),
}

#[async_trait]
impl Feed for TableFeed<'_> {
    type Made = Sent;

    fn largest_bytes(&self) -> u64 {
        self.largest_bytes + FRAME_BYTES
    }

    async fn write(
        &self,
        output: &mut (dyn AsyncWrite + Send + Unpin),
        context: &RunContext,
    ) -> Result<Sent, JobError> {
        let mut out = Out::new(output);
        let folder = format!("{}{}", component_prefix(&self.table.component), self.table.table);
        out.begin(&format!("{folder}/documents.jsonl"), Packing::Deflate)?;
        let live = match self.live {
            Some(content) => Side::of(content, self.table).await?,
            None => Side::Missing(Held::new(Vec::new(), "nothing")),
        };
        match &self.back {
            Back::Documents(documents) => {
                let held = Held::new(documents.values().cloned().collect(), "what is brought back");
                merged(Merge::new(live, held), &mut out, context).await?;
            }
            Back::Whole(content) => {
                let mut stored = Side::of(content, self.table).await?;
                while let Some(line) = context.or_stop(stored.next_line()).await?? {
                    out.line(&line).await?;
                    out.sent.documents += 1;
                }
            }
        }
        out.begin(&format!("{folder}/generated_schema.jsonl"), Packing::Deflate)?;
        out.write(SCHEMA).await?;
        out.finish().await
    }
}

/// Of an id that both have, what is brought back counts.
async fn merged(
    mut merge: Merge<Side<'_>, Held>,
    out: &mut Out<'_>,
    context: &RunContext,
) -> Result<(), JobError> {
    while let Some(meeting) = context.or_stop(merge.next()).await?? {
        let (Meeting::First(line) | Meeting::Second(line) | Meeting::Both(_, line)) = meeting;
        out.line(&line).await?;
        out.sent.documents += 1;
    }
    Ok(())
}

/// Stored files with their rows.
pub(super) struct FilesFeed<'a> {
    pub(super) content: &'a Content<'a>,
    /// Component path and id.
    pub(super) files: &'a [(String, String)],
    pub(super) largest_bytes: u64,
}

#[async_trait]
impl Feed for FilesFeed<'_> {
    type Made = Sent;

    fn largest_bytes(&self) -> u64 {
        self.largest_bytes + FRAME_BYTES * (1 + self.files.len() as u64)
    }

    async fn write(
        &self,
        output: &mut (dyn AsyncWrite + Send + Unpin),
        context: &RunContext,
    ) -> Result<Sent, JobError> {
        let mut out = Out::new(output);
        let mut components: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (component, id) in self.files {
            components.entry(component).or_default().push(id);
        }
        for (component, ids) in components {
            let prefix = component_prefix(component);
            out.begin(&format!("{prefix}_storage/documents.jsonl"), Packing::Deflate)?;
            let rows = TableRef::new(component, "_storage");
            for id in &ids {
                if let Some(row) = self.content.document(&rows, id).await? {
                    out.line(&row).await?;
                }
            }
            for id in ids {
                let Some(mut file) = self.content.file(component, id).await? else { continue };
                out.begin(&file.name, Packing::Blocks)?;
                while let Some(piece) = context.or_stop(file.next()).await?? {
                    out.write(&piece).await?;
                }
                out.sent.files += 1;
            }
        }
        out.finish().await
    }
}
