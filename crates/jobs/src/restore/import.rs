//! Brings the content of a snapshot into a deployment.

use async_trait::async_trait;
use convault_core::{FilesMode, ImportRequest, ObjectRole, Target};
use tokio::io::AsyncWrite;

use super::{
    prepared::{Prepared, prepare},
    upload::Feed,
};
use crate::{Content, JobError, Outgone, RunContext};

/// Uploads the ZIP of `stored`, and waits until the deployment has read through it. Nothing is changed there. Where the
/// fate of a part is not known, the upload begins again from its start.
pub async fn import_content(
    stored: &Content<'_>,
    target: &dyn Target,
    request: &ImportRequest,
    context: &RunContext,
) -> Result<Prepared, JobError> {
    prepare(
        &Zip { content: stored, name: format!("the upload to {}", target.name()) },
        target,
        request,
        context,
    )
    .await
}

/// The whole of a snapshot's content, as a ZIP.
struct Zip<'a> {
    content: &'a Content<'a>,
    name: String,
}

/// Names, headers and checksums of an entry, twice.
const ENTRY_BYTES: u64 = 1024;

#[async_trait]
impl Feed for Zip<'_> {
    type Made = Outgone;

    /// What is uncompressed is never smaller than what becomes of it, and masking makes lines longer by little.
    fn largest_bytes(&self) -> u64 {
        let (manifest, totals) = (self.content.manifest(), self.content.manifest().totals);
        let stored = manifest.object(ObjectRole::Snapshot).map_or(0, |object| object.size_bytes);
        let shared = if manifest.files == FilesMode::Shared { totals.file_bytes } else { 0 };
        let content = totals.document_bytes.saturating_add(totals.file_bytes);
        let entries = (totals.tables * 2 + totals.files * 2).saturating_mul(ENTRY_BYTES);
        stored.saturating_add(shared).max(content / 4 * 5).saturating_add(entries)
    }

    async fn write(
        &self,
        output: &mut (dyn AsyncWrite + Send + Unpin),
        _: &RunContext,
    ) -> Result<Outgone, JobError> {
        self.content.write_zip(output, &self.name).await
    }
}
