//! Gives a stored snapshot back, re-checked on its way out.

use std::path::{Path, PathBuf};

use convault_core::{Manifest, ObjectRole, RunEvent, RunPhase, Store};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::{
    Content, JobError, Outgone, Rules, RunContext, StoredEntry,
    access::{Access, ObjectContent},
};

/// What was given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// Bytes written.
    pub size_bytes: u64,
    /// What is in it, where it is a ZIP that was made anew.
    pub outgone: Option<Outgone>,
}

/// Writes a snapshot's ZIP to `output`, comparing length and SHA-256 with the manifest, and opened where it is encrypted
/// and `access` says so. On an error what was written must not be used: `output` has had bytes that were not yet known
/// to be right. Files that are shared are put back into it; asked for as stored, the ZIP comes without them. No rule is
/// applied.
pub async fn download(
    store: &dyn Store,
    manifest: &Manifest,
    access: Access<'_>,
    output: &mut (dyn AsyncWrite + Send + Unpin),
    output_name: &str,
    context: &RunContext,
) -> Result<Downloaded, JobError> {
    context.phase(RunPhase::ReadBack);
    match access {
        Access::AsStored => as_stored(store, manifest, output, output_name, context).await,
        Access::Opened(identities) => {
            let rules = Rules::default();
            let content = Content::new(store, manifest, identities, &rules, context);
            download_content(&content, output, output_name).await
        }
    }
}

/// Like [`download`], of what is opened, with the rules of `content`. Where nothing changes, the ZIP alone is read: a damaged
/// index does not stand in its way.
pub async fn download_content(
    content: &Content<'_>,
    output: &mut (dyn AsyncWrite + Send + Unpin),
    output_name: &str,
) -> Result<Downloaded, JobError> {
    if content.leaves_as_stored() {
        let size_bytes = content.pass(output, output_name).await?;
        return Ok(Downloaded { size_bytes, outgone: None });
    }
    let outgone = content.write_zip(output, output_name).await?;
    Ok(Downloaded { size_bytes: outgone.size_bytes, outgone: Some(outgone) })
}

async fn as_stored(
    store: &dyn Store,
    manifest: &Manifest,
    output: &mut (dyn AsyncWrite + Send + Unpin),
    output_name: &str,
    context: &RunContext,
) -> Result<Downloaded, JobError> {
    let object = manifest.object(ObjectRole::Snapshot).ok_or_else(|| JobError::Damaged {
        place: format!("{} manifest of {}", store.location(), manifest.id),
        what: "it names no snapshot object".to_owned(),
    })?;
    let failed = |what| move |source| JobError::File { path: output_name.to_owned(), what, source };
    let mut stored = ObjectContent::open(store, manifest, object, Access::AsStored)?;
    while let Some(chunk) = context.or_stop(stored.next()).await?? {
        output.write_all(&chunk).await.map_err(failed("cannot write"))?;
        let done_bytes = stored.read_bytes;
        context.tell(RunEvent::Transferred { done_bytes, total_bytes: Some(object.size_bytes) });
    }
    output.flush().await.map_err(failed("cannot write"))?;
    let size_bytes = stored.given_bytes;
    stored.check()?;
    Ok(Downloaded { size_bytes, outgone: None })
}

/// Like [`download`], into a file that appears under its name only once everything was checked. A file that is
/// there already is left alone, and an error.
pub async fn download_to_file(
    store: &dyn Store,
    manifest: &Manifest,
    access: Access<'_>,
    path: &Path,
    context: &RunContext,
) -> Result<Downloaded, JobError> {
    let shown = path.display().to_string();
    let write =
        async |file: &mut tokio::fs::File| download(store, manifest, access, file, &shown, context).await;
    into_file(path, write).await
}

/// Like [`download_content`], into a file as [`download_to_file`] makes it.
pub async fn content_to_file(content: &Content<'_>, path: &Path) -> Result<Downloaded, JobError> {
    let shown = path.display().to_string();
    into_file(path, async |file: &mut tokio::fs::File| download_content(content, file, &shown).await).await
}

/// Like [`StoredEntry::write`], into a file as [`download_to_file`] makes it.
pub async fn entry_to_file(entry: StoredEntry<'_>, path: &Path) -> Result<Downloaded, JobError> {
    let shown = path.display().to_string();
    let write = async |file: &mut tokio::fs::File| {
        let size_bytes = entry.write(file, &shown).await?;
        Ok(Downloaded { size_bytes, outgone: None })
    };
    into_file(path, write).await
}

/// Makes a file by `write` that is there under its name only if all went well.
async fn into_file<T>(
    path: &Path,
    write: impl AsyncFnOnce(&mut tokio::fs::File) -> Result<T, JobError>,
) -> Result<T, JobError> {
    let shown = path.display().to_string();
    let failed = |what| {
        let path = shown.clone();
        move |source| JobError::File { path, what, source }
    };
    // Looked at before anything is fetched; what decides is the link below.
    if tokio::fs::symlink_metadata(path).await.is_ok() {
        let there = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(failed("name another file, or move away what is there")(there));
    }
    let partial = partial_name(path);
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(&partial).await.map_err(failed("cannot make the file beside it"))?;
    let result = async {
        let written = write(&mut file).await?;
        file.sync_all().await.map_err(failed("cannot write"))?;
        // A link, unlike a rename, refuses to replace what is there.
        tokio::fs::hard_link(&partial, path)
            .await
            .map_err(failed("cannot put the finished file in its place"))?;
        Ok(written)
    }
    .await;
    tokio::fs::remove_file(&partial).await.map_err(failed("cannot remove the file beside it"))?;
    result
}

fn partial_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    path.with_file_name(name)
}
