//! [`StoredFile`]: one stored file, wherever it lies.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use convault_archive::{EntryContent, FrameKind, Line, encryption::Decryptor};
use convault_core::{EntryKind, IndexEntry, IndexLine, Layout, ObjectRole, Sha256, Sha256Stream, TableRef};

use super::{
    Content, StoredIndex,
    listing::{Listed, Listing},
    plan::file_id,
    stored::Stored,
};
use crate::{
    JobError,
    access::{Access, is_encrypted, not_opened},
    read::ObjectReader,
    shared::{component_prefix, entry_name},
};

/// A stored file of a snapshot, and its content from its first byte to its last.
pub struct StoredFile<'c> {
    /// Its line of `_storage/documents.jsonl`, without line feed.
    pub row: Bytes,
    /// The full name of its entry in a ZIP.
    pub name: String,
    /// Its size in bytes, as its row says.
    pub size_bytes: u64,
    stored: &'c Stored<'c>,
    from: From<'c>,
}

enum From<'c> {
    Entry(Box<EntryContent<'c>>),
    Object(Box<SharedObject<'c>>),
    Missing,
}

impl std::fmt::Debug for StoredFile<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredFile").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<'c> StoredFile<'c> {
    /// A file in the ZIP.
    pub(super) fn of_entry(
        stored: &'c Stored<'c>,
        entry: &IndexEntry,
        row: Bytes,
        content: EntryContent<'c>,
    ) -> Self {
        let (name, size_bytes) = (entry.name.clone(), entry.size_bytes);
        Self { row, name, size_bytes, stored, from: From::Entry(Box::new(content)) }
    }

    /// A file of the list of shared files.
    pub(super) async fn listed(stored: &'c Stored<'c>, file: Listed) -> Result<Self, JobError> {
        let name = file.entry_name();
        let size_bytes = file.fields.size;
        let from = match file.object {
            Some(object) => {
                let (sha256, id) = (file.fields.sha256, &file.fields.id);
                From::Object(Box::new(SharedObject::open(stored, object, size_bytes, sha256, id).await?))
            }
            None => From::Missing,
        };
        Ok(Self { row: file.row.into(), name, size_bytes, stored, from })
    }

    /// Whether there is a row and no content: the file could not be fetched when the snapshot was made.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self.from, From::Missing)
    }

    /// The next content, at times none; `None` after the last. By then it was compared: a shared file with the SHA-256 in
    /// its row, one in the ZIP with what the index says.
    pub async fn next(&mut self) -> Result<Option<Bytes>, JobError> {
        let stored = self.stored;
        match &mut self.from {
            From::Entry(entry) => {
                stored.context.or_stop(entry.next()).await?.map_err(|error| stored.unread(error))
            }
            From::Object(object) => stored.context.or_stop(object.next()).await?,
            From::Missing => Err(stored.damaged(format!(
                "the stored file `{}` could not be fetched when the snapshot was made",
                self.name
            ))),
        }
    }
}

impl Content<'_> {
    /// A stored file of a component, with its row, in both ways of keeping files; `None` where there is no such file, or a
    /// rule leaves it out.
    pub async fn file(&self, component: &str, id: &str) -> Result<Option<StoredFile<'_>>, JobError> {
        if !self.stored.takes_file(component, id) {
            return Ok(None);
        }
        if self.stored.has_shared_files() {
            let mut listing = Listing::open(&self.stored)?;
            while let Some(file) = listing.next().await? {
                if file.component == component && file.fields.id == id {
                    return StoredFile::listed(&self.stored, file).await.map(Some);
                }
            }
            return Ok(None);
        }
        let rows = TableRef::new(component, "_storage");
        let Some(row) = self.document(&rows, id).await? else { return Ok(None) };
        let line = Line::parse(&row)
            .map_err(|problem| self.stored.damaged(format!("the row of file {id} {problem}")))?;
        let size = line.raw(&["size"]).and_then(|raw| std::str::from_utf8(raw).ok()?.parse().ok());
        let name = entry_name(component, id, line.text(&["contentType"]).as_deref());
        let index = self.index().await?;
        let entry = match self.entry_named(&index, &name).await? {
            Some(entry) => Some(entry),
            None => self.file_entry(&index, Some(component), id).await?,
        };
        let from = match &entry {
            Some(entry) => From::Entry(Box::new(self.entry_content(entry).await?)),
            None => From::Missing,
        };
        let size_bytes = size.or(entry.as_ref().map(|entry| entry.size_bytes)).unwrap_or(0);
        let name = entry.map_or(name, |entry| entry.name);
        Ok(Some(StoredFile { row, name, size_bytes, stored: &self.stored, from }))
    }

    /// The entry of a stored file in the ZIP, whatever ending it has; of one component, or of whichever has it.
    pub(super) async fn file_entry(
        &self,
        index: &StoredIndex<'_>,
        component: Option<&str>,
        id: &str,
    ) -> Result<Option<IndexEntry>, JobError> {
        let is_it = |entry: &IndexEntry| {
            entry.kind == EntryKind::File
                && file_id(&entry.name) == id
                && component.is_none_or(|component| entry.component == component)
        };
        let beginning = component.map(|component| format!("{}_storage/{id}", component_prefix(component)));
        for frame in index.frames().iter().filter(|frame| frame.kind == FrameKind::Entries) {
            let past = beginning.as_deref().is_some_and(|beginning| {
                frame.last.as_deref() < Some(beginning)
                    || frame.first.as_deref() > Some(beginning)
                        && !frame.first.as_deref().is_some_and(|first| first.starts_with(beginning))
            });
            if past {
                continue;
            }
            let lines = self
                .stored
                .context
                .or_stop(index.lines(frame))
                .await?
                .map_err(|error| self.stored.unread(error))?;
            let found = lines.into_iter().find_map(|line| match line {
                IndexLine::Entry(entry) if is_it(&entry) => Some(entry),
                _ => None,
            });
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// A shared file being read, opened where it is encrypted.
struct SharedObject<'c> {
    reader: ObjectReader<'c>,
    decryptor: Option<Decryptor>,
    recipients: &'c [String],
    read_bytes: Arc<AtomicU64>,
    sha256: Option<Sha256Stream>,
    /// As the row has it: base64.
    expected: String,
    id: String,
}

impl<'c> SharedObject<'c> {
    async fn open(
        stored: &'c Stored<'c>,
        object: Sha256,
        size_bytes: u64,
        expected: String,
        id: &str,
    ) -> Result<Self, JobError> {
        let listing = stored.object(ObjectRole::Files)?;
        let suffix = if is_encrypted(listing) { Layout::ENCRYPTED_SUFFIX } else { "" };
        let key = Layout::new(stored.manifest.deployment.clone()).file(&object.to_string(), suffix);
        let access = Access::Opened(stored.identities);
        let identities = access.identities(stored.store, stored.manifest, listing)?;
        let size_bytes = match identities {
            Some(_) => stored.store.head(&key).await?.size_bytes,
            None => size_bytes,
        };
        Ok(Self {
            reader: ObjectReader::new(stored.store, key, size_bytes),
            decryptor: identities.map(Decryptor::new),
            recipients: &stored.manifest.recipients,
            read_bytes: Arc::clone(&stored.read_bytes),
            sha256: Some(Sha256Stream::new()),
            expected,
            id: id.to_owned(),
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, JobError> {
        let plain = self.next_plain().await?;
        match (&plain, &mut self.sha256) {
            (Some(plain), Some(sha256)) => sha256.update(plain),
            (None, sha256) => {
                let is_it =
                    sha256.take().is_none_or(|sha256| STANDARD.encode(sha256.finish().0) == self.expected);
                if !is_it {
                    let what = format!("it is not the content of the stored file {}", self.id);
                    return Err(JobError::Damaged { place: self.reader.place(), what });
                }
            }
            (Some(_), None) => {}
        }
        Ok(plain)
    }

    async fn next_plain(&mut self) -> Result<Option<Bytes>, JobError> {
        let chunk = self.reader.next().await?;
        self.read_bytes.fetch_add(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64), Ordering::Relaxed);
        let mut plain = BytesMut::new();
        let opened = match (chunk, self.decryptor.as_mut()) {
            (chunk, None) => return Ok(chunk),
            (Some(chunk), Some(decryptor)) => decryptor.push(&chunk, &mut plain),
            (None, Some(_)) => self.decryptor.take().map_or(Ok(()), |decryptor| decryptor.finish(&mut plain)),
        };
        opened.map_err(|error| not_opened(&error, self.reader.place(), self.recipients))?;
        Ok(Some(plain.freeze()))
    }
}
