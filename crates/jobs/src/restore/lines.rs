//! Brings documents of one table into a deployment, as JSON Lines.

use async_trait::async_trait;
use convault_core::{ImportKind, ImportMode, ImportRequest, TableRef, Target};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::{
    prepared::{Prepared, prepare},
    upload::Feed,
};
use crate::{JobError, RunContext};

/// Documents of one table, given anew from the first for every upload that is begun.
#[async_trait]
pub trait LineSource: Send + Sync {
    /// No fewer bytes than all lines have together, line feeds included.
    fn largest_bytes(&self) -> u64;

    /// Gives every line to `output`.
    async fn write(&self, output: &mut LineOutput<'_>) -> Result<(), JobError>;
}

/// Where lines go.
pub struct LineOutput<'a> {
    output: &'a mut (dyn AsyncWrite + Send + Unpin),
    sent: SentLines,
}

/// What was uploaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SentLines {
    /// Documents.
    pub documents: u64,
    /// Bytes, line feeds included.
    pub size_bytes: u64,
}

impl std::fmt::Debug for LineOutput<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineOutput").field("sent", &self.sent).finish_non_exhaustive()
    }
}

impl LineOutput<'_> {
    /// Sends one document: its line, without the line feed.
    pub async fn line(&mut self, line: &[u8]) -> Result<(), JobError> {
        let written = async {
            self.output.write_all(line).await?;
            self.output.write_all(b"\n").await
        };
        let failed = |source| JobError::File { path: "the upload".to_owned(), what: "cannot write", source };
        written.await.map_err(failed)?;
        self.sent.documents += 1;
        self.sent.size_bytes += line.len() as u64 + 1;
        Ok(())
    }
}

/// Uploads documents of `table`, and waits until the deployment has read through them. Nothing is changed there. JSON
/// Lines have no schema entry beside them: the deployment reads a bare `1` as Float64 and refuses `$integer`, `$bytes`
/// and `$float` (`docs/restoring.md`), so that only documents without such values may be sent this way.
pub async fn import_lines(
    lines: &dyn LineSource,
    table: &TableRef,
    mode: ImportMode,
    target: &dyn Target,
    context: &RunContext,
) -> Result<Prepared<SentLines>, JobError> {
    let kind = ImportKind::JsonLines { component: table.component.clone(), table: table.table.clone() };
    prepare(&JsonLines(lines), target, &ImportRequest { mode, kind }, context).await
}

struct JsonLines<'a>(&'a dyn LineSource);

#[async_trait]
impl Feed for JsonLines<'_> {
    type Made = SentLines;

    fn largest_bytes(&self) -> u64 {
        self.0.largest_bytes()
    }

    async fn write(
        &self,
        output: &mut (dyn AsyncWrite + Send + Unpin),
        _: &RunContext,
    ) -> Result<SentLines, JobError> {
        let mut output = LineOutput { output, sent: SentLines::default() };
        self.0.write(&mut output).await?;
        Ok(output.sent)
    }
}
