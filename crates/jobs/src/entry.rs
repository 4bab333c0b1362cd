//! Gives one entry of a stored snapshot back: a table, a stored file, the README. Of the ZIP and its index, only what
//! that takes is read.

use std::sync::Arc;

use convault_archive::{EntryContent, FrameKind, Index, RandomError, RangedReader, encryption::Identities};
use convault_core::{EntryKind, IndexEntry, IndexLine, Manifest, ObjectRole, RunEvent, RunPhase, Store};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::{
    JobError, RunContext,
    access::{at_random, key_of},
};

/// An entry of a stored snapshot, found in its index.
pub struct StoredEntry<'a> {
    zip: Arc<dyn RangedReader + 'a>,
    entry: IndexEntry,
    place: String,
}

impl std::fmt::Debug for StoredEntry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredEntry").field("entry", &self.entry.name).finish_non_exhaustive()
    }
}

impl<'a> StoredEntry<'a> {
    /// Finds an entry by its full name in the ZIP, by the name of a table (`contacts`, `component/contacts`), or by the
    /// id of a stored file.
    pub async fn find(
        store: &'a dyn Store,
        manifest: &Manifest,
        name: &str,
        identities: Option<&Identities>,
    ) -> Result<Self, JobError> {
        let object = |role, what: &str| {
            manifest.object(role).ok_or_else(|| JobError::Damaged {
                place: format!("{} manifest of {}", store.location(), manifest.id),
                what: format!("it names no {what}"),
            })
        };
        let zip = object(ObjectRole::Snapshot, "snapshot object")?;
        let place = format!("{} {}", store.location(), key_of(manifest, zip));
        let index = object(ObjectRole::Index, "index")?;
        let reader = at_random(store, manifest, index, identities).await?;
        let index = Index::open(reader).await.map_err(|error| unread(error, &place))?;
        let entry = look_up(&index, name).await.map_err(|error| unread(error, &place))?;
        let Some(entry) = entry else { return Err(JobError::NoSuchEntry { name: name.to_owned(), place }) };
        let zip = at_random(store, manifest, zip, identities).await?;
        Ok(Self { zip, entry, place })
    }

    /// What the index says of it.
    pub fn entry(&self) -> &IndexEntry {
        &self.entry
    }

    /// Writes the entry's content to `output`. Size, CRC-32 and SHA-256 are checked at its end: on an error, what was
    /// written must not be used.
    pub async fn write(
        &self,
        output: &mut (dyn AsyncWrite + Send + Unpin),
        output_name: &str,
        context: &RunContext,
    ) -> Result<u64, JobError> {
        context.phase(RunPhase::ReadBack);
        let failed = |what| move |source| JobError::File { path: output_name.to_owned(), what, source };
        let unread = |error| unread(error, &self.place);
        let mut plain = EntryContent::whole(Arc::clone(&self.zip), &self.entry).map_err(unread)?;
        let mut done_bytes = 0;
        while let Some(chunk) = context.or_stop(plain.next()).await?.map_err(unread)? {
            output.write_all(&chunk).await.map_err(failed("cannot write"))?;
            done_bytes += chunk.len() as u64;
            context.tell(RunEvent::Transferred { done_bytes, total_bytes: Some(self.entry.size_bytes) });
        }
        output.flush().await.map_err(failed("cannot write"))?;
        Ok(done_bytes)
    }
}

pub(crate) fn unread(error: RandomError, place: &str) -> JobError {
    let place = place.to_owned();
    match error {
        RandomError::Read { object, start, end, source } => JobError::Unread {
            place,
            what: format!("bytes {start} to {end} of the {object} could not be read"),
            source,
        },
        error => JobError::Damaged { place, what: error.to_string() },
    }
}

async fn look_up<R: RangedReader>(index: &Index<R>, name: &str) -> Result<Option<IndexEntry>, RandomError> {
    let mut names = vec![name.to_owned(), format!("{name}/documents.jsonl")];
    if let Some((component, table)) = name.rsplit_once('/') {
        let component = component.replace('/', "/_components/");
        names.push(format!("_components/{component}/{table}/documents.jsonl"));
    }
    for name in &names {
        if let Some(entry) = index.entry(name).await? {
            return Ok(Some(entry));
        }
    }
    if name.contains('/') { Ok(None) } else { stored_file(index, name).await }
}

/// `_storage/<id>` has the extension of its content type behind it, and may lie in any component.
async fn stored_file<R: RangedReader>(index: &Index<R>, id: &str) -> Result<Option<IndexEntry>, RandomError> {
    let is_it = |entry: &IndexEntry| {
        let file = entry.name.rsplit('/').next().unwrap_or_default();
        entry.kind == EntryKind::File && file.split('.').next() == Some(id)
    };
    for frame in index.frames().iter().filter(|frame| frame.kind == FrameKind::Entries) {
        let in_root = frame.first.as_deref().is_some_and(|first| first.starts_with("_storage/"));
        let past = in_root
            && !(frame.first.as_deref() <= Some(&format!("_storage/{id}~"))
                && frame.last.as_deref() >= Some(&format!("_storage/{id}")));
        if past {
            continue;
        }
        let found = index.lines(frame).await?.into_iter().find_map(|line| match line {
            IndexLine::Entry(entry) if is_it(&entry) => Some(entry),
            _ => None,
        });
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}
