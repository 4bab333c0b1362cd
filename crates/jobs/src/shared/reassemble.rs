//! Puts a snapshot whose files are shared together again: its ZIP's entries as they are, and behind them the stored files
//! with their rows, as an export with files has them.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use convault_archive::{
    FrameKind, Index, LineUnpacker, Packing, RawEntry, ZipEntry, ZipWriteError, ZipWriter,
    encryption::Decryptor,
};
use convault_core::{
    EntryKind, IndexEntry, IndexLine, Layout, Manifest, ObjectRole, RunEvent, Sha256, Sha256Stream, Store,
    StoredObject,
};
use serde::Deserialize;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::{
    Downloaded, JobError, RunContext,
    access::{Access, ObjectContent, at_random, is_encrypted, not_opened},
    entry::unread,
    read::ObjectReader,
    shared::{
        listing::{ListedFile, ListingLine},
        rows::{component_prefix, entry_name},
    },
};

/// So many rows are held and sorted at once. The listing is read once more for each further lot.
const ROWS: u64 = 100_000;
/// Rows are counted by so much of the beginnings of their ids.
const KEY_BYTES: usize = 6;
/// Bytes that are ready are written out from here on.
const FLUSH_BYTES: usize = 256 << 10;
/// Types that gain something by being compressed begin like this.
const COMPRESSIBLE: [&str; 4] = ["text/", "application/json", "application/xml", "image/svg"];

/// A snapshot being put together.
pub(crate) struct Reassembly<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) manifest: &'a Manifest,
    pub(crate) access: Access<'a>,
    pub(crate) output: &'a mut (dyn AsyncWrite + Send + Unpin),
    pub(crate) output_name: &'a str,
    pub(crate) context: &'a RunContext,
}

/// The fields of a file's row that its entry needs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    #[serde(rename = "_id")]
    id: String,
    sha256: String,
    size: u64,
    content_type: Option<String>,
}

/// The ZIP on its way out.
struct Out<'a> {
    zip: ZipWriter,
    ready: BytesMut,
    output: &'a mut (dyn AsyncWrite + Send + Unpin),
    output_name: &'a str,
    size_bytes: u64,
    read_bytes: u64,
    total_bytes: u64,
    context: &'a RunContext,
}

/// A component and the beginning of an id: rows are sorted by both.
type Key = (String, String);

impl Reassembly<'_> {
    /// Writes the whole ZIP. Every byte that is read is compared with what the manifest and the rows say: on an error,
    /// what was written must not be used.
    pub(crate) async fn write(self) -> Result<Downloaded, JobError> {
        let Self { store, manifest, access, output, output_name, context } = self;
        let whole = Whole { store, manifest, access, context };
        let total_bytes = whole.object(ObjectRole::Snapshot)?.size_bytes + manifest.totals.file_bytes;
        let mut out = Out {
            zip: ZipWriter::new(),
            ready: BytesMut::new(),
            output,
            output_name,
            size_bytes: 0,
            read_bytes: 0,
            total_bytes,
            context,
        };
        let components = whole.copy_entries(&mut out).await?;
        let counted = whole.counted().await?;
        for component in &components {
            whole.put_rows(component, &counted, &mut out).await?;
        }
        let missing = whole.put_files(&mut out).await?;
        if missing > 0 {
            context.warning(format!(
                "{missing} stored file(s) could not be fetched when the snapshot was made: their rows are there, their \
                 entries are not"
            ));
        }
        out.finish().await
    }
}

/// The snapshot that is read.
struct Whole<'a> {
    store: &'a dyn Store,
    manifest: &'a Manifest,
    access: Access<'a>,
    context: &'a RunContext,
}

impl Whole<'_> {
    fn object(&self, role: ObjectRole) -> Result<&StoredObject, JobError> {
        self.manifest.object(role).ok_or_else(|| {
            let role = format!("{role:?}").to_lowercase();
            self.damaged(format!("its manifest names no object that is its {role}"))
        })
    }

    fn damaged(&self, what: impl Into<String>) -> JobError {
        let place = format!("{} {} {}", self.store.location(), self.manifest.deployment, self.manifest.id);
        JobError::Damaged { place, what: what.into() }
    }

    /// Copies every entry of the ZIP as it is compressed there. Gives the components.
    async fn copy_entries(&self, out: &mut Out<'_>) -> Result<Vec<String>, JobError> {
        let place = format!("{} {}", self.store.location(), self.manifest.id);
        let identities = match self.access {
            Access::Opened(identities) => identities,
            Access::AsStored => None,
        };
        let index = self.object(ObjectRole::Index)?;
        let reader = at_random(self.store, self.manifest, index, identities).await?;
        let index = Index::open(reader).await.map_err(|error| unread(error, &place))?;
        let object = self.object(ObjectRole::Snapshot)?;
        let mut zip = Forward {
            content: ObjectContent::open(self.store, self.manifest, object, self.access)?,
            piece: Bytes::new(),
            position: 0,
        };
        let mut components = Vec::new();
        for frame in index.frames().iter().filter(|frame| frame.kind == FrameKind::Entries) {
            for line in index.lines(frame).await.map_err(|error| unread(error, &place))? {
                let IndexLine::Entry(entry) = line else { continue };
                if entry.kind == EntryKind::Tables {
                    components.push(entry.component.clone());
                }
                self.copy_entry(&entry, &mut zip, out).await?;
            }
        }
        while zip.next(u64::MAX).await?.is_some() {}
        out.read_bytes = zip.content.read_bytes;
        zip.content.check()?;
        Ok(components)
    }

    async fn copy_entry(
        &self,
        entry: &IndexEntry,
        zip: &mut Forward<'_>,
        out: &mut Out<'_>,
    ) -> Result<(), JobError> {
        let raw = RawEntry {
            method: entry.method,
            crc32: entry.crc32,
            compressed_bytes: entry.compressed_bytes,
            size_bytes: entry.size_bytes,
        };
        out.zip
            .begin_raw(&ZipEntry::named(&entry.name), raw, &mut out.ready)
            .map_err(|error| self.no_zip(&error))?;
        let differs = || self.damaged(format!("its index says that `{}` lies where it does not", entry.name));
        let before = entry.data_offset.checked_sub(zip.position).ok_or_else(differs)?;
        let mut left = before;
        while left > 0 {
            let skipped = zip.next(left).await?.ok_or_else(differs)?;
            left -= skipped.len() as u64;
        }
        let mut left = entry.compressed_bytes;
        while left > 0 {
            let piece = self.context.or_stop(zip.next(left)).await??.ok_or_else(differs)?;
            left -= piece.len() as u64;
            out.read_bytes = zip.content.read_bytes;
            out.write(&piece).await?;
        }
        Ok(())
    }

    fn no_zip(&self, error: &ZipWriteError) -> JobError {
        self.damaged(error.to_string())
    }

    /// Goes through the listing, which is checked to its last byte.
    async fn each_file(
        &self,
        mut take: impl AsyncFnMut(ListedFile) -> Result<(), JobError>,
    ) -> Result<(), JobError> {
        let object = self.object(ObjectRole::Files)?;
        let mut content = ObjectContent::open(self.store, self.manifest, object, self.access)?;
        let mut unpacker = LineUnpacker::new();
        let (mut found, mut announced) = (0, None);
        let wrong = |what: &dyn std::fmt::Display| self.damaged(format!("its list of files: {what}"));
        while let Some(bytes) = self.context.or_stop(content.next()).await?? {
            unpacker.push(&bytes);
            while let Some(text) = unpacker.next_text().map_err(|error| wrong(&error))? {
                match ListingLine::parse(text).map_err(|error| wrong(&error))? {
                    ListingLine::File(file) => {
                        found += 1;
                        take(file).await?;
                    }
                    ListingLine::Totals(totals) => announced = Some(totals.files),
                    ListingLine::Other => {}
                }
            }
        }
        unpacker.finish().map_err(|error| wrong(&error))?;
        content.check()?;
        if announced == Some(found) { Ok(()) } else { Err(wrong(&"it is not whole")) }
    }

    fn row(&self, file: &ListedFile) -> Result<Row, JobError> {
        serde_json::from_str(file.row.get())
            .map_err(|error| self.damaged(format!("a row in its list of files: {error}")))
    }

    /// How many rows there are of each key.
    async fn counted(&self) -> Result<BTreeMap<Key, u64>, JobError> {
        let mut counted = BTreeMap::new();
        self.each_file(async |file| {
            let key = key(&file.component, &self.row(&file)?.id);
            *counted.entry(key).or_default() += 1;
            Ok(())
        })
        .await?;
        Ok(counted)
    }

    /// Writes the rows of one component, in the order of their ids.
    async fn put_rows(
        &self,
        component: &str,
        counted: &BTreeMap<Key, u64>,
        out: &mut Out<'_>,
    ) -> Result<(), JobError> {
        let name = format!("{}_storage/documents.jsonl", component_prefix(component));
        let begun = out.zip.begin(&ZipEntry::named(&name), Packing::Deflate, &mut out.ready);
        begun.map_err(|error| self.no_zip(&error))?;
        for (first, last) in lots(component, counted) {
            let mut rows: Vec<(String, String)> = Vec::new();
            self.each_file(async |file| {
                if file.component == component {
                    let id = self.row(&file)?.id;
                    if (&first..=&last).contains(&&key(component, &id)) {
                        rows.push((id, file.row.get().to_owned()));
                    }
                }
                Ok(())
            })
            .await?;
            rows.sort_unstable();
            for (_, mut row) in rows {
                row.push('\n');
                out.write(row.as_bytes()).await?;
            }
        }
        Ok(())
    }

    /// Writes every file. Gives how many are not there because they could not be fetched.
    async fn put_files(&self, out: &mut Out<'_>) -> Result<u64, JobError> {
        let mut missing = 0;
        self.each_file(async |file| {
            if let Some(object) = file.object {
                return self.put_file(&file, &object, out).await;
            }
            missing += 1;
            Ok(())
        })
        .await?;
        Ok(missing)
    }

    async fn put_file(&self, file: &ListedFile, object: &Sha256, out: &mut Out<'_>) -> Result<(), JobError> {
        let row = self.row(file)?;
        let content_type = row.content_type.as_deref();
        let gains = content_type.is_some_and(|text| COMPRESSIBLE.iter().any(|begin| text.starts_with(begin)));
        let packing = if gains { Packing::Deflate } else { Packing::Blocks };
        let name = entry_name(&file.component, &row.id, content_type);
        let begun = out.zip.begin(&ZipEntry::named(&name), packing, &mut out.ready);
        begun.map_err(|error| self.no_zip(&error))?;
        let mut content = self.file_content(object, &row).await?;
        let mut sha256 = Sha256Stream::new();
        while let Some(piece) = self.context.or_stop(content.next(self)).await?? {
            sha256.update(&piece);
            out.read_bytes += piece.len() as u64;
            out.write(&piece).await?;
        }
        if STANDARD.encode(sha256.finish().0) == row.sha256 {
            return Ok(());
        }
        Err(JobError::Damaged {
            place: content.reader.place(),
            what: format!("it is not the content of the stored file {}", row.id),
        })
    }

    async fn file_content(&self, object: &Sha256, row: &Row) -> Result<FileContent<'_>, JobError> {
        let listing = self.object(ObjectRole::Files)?;
        let layout = Layout::new(self.manifest.deployment.clone());
        let suffix = if is_encrypted(listing) { Layout::ENCRYPTED_SUFFIX } else { "" };
        let key = layout.file(&object.to_string(), suffix);
        let identities = self.access.identities(self.store, self.manifest, listing)?;
        let size_bytes = match identities {
            Some(_) => self.store.head(&key).await?.size_bytes,
            None => row.size,
        };
        let decryptor = identities.map(Decryptor::new);
        Ok(FileContent { reader: ObjectReader::new(self.store, key, size_bytes), decryptor })
    }
}

/// What rows are sorted by, first of all.
fn key(component: &str, id: &str) -> Key {
    (component.to_owned(), id.chars().take(KEY_BYTES).collect())
}

/// The first and the last key of each lot of rows of a component.
fn lots(component: &str, counted: &BTreeMap<Key, u64>) -> Vec<(Key, Key)> {
    let mut lots: Vec<(Key, Key)> = Vec::new();
    let mut held = 0;
    let of_component = counted.iter().filter(|((other, _), _)| other == component);
    for (key, count) in of_component {
        match lots.last_mut() {
            Some((_, last)) if held + count <= ROWS => *last = key.clone(),
            _ => {
                held = 0;
                lots.push((key.clone(), key.clone()));
            }
        }
        held += count;
    }
    lots
}

/// A ZIP being read forward, in pieces no longer than asked for.
struct Forward<'a> {
    content: ObjectContent<'a>,
    piece: Bytes,
    position: u64,
}

impl Forward<'_> {
    /// The next bytes, at most so many; `None` after the last.
    async fn next(&mut self, at_most: u64) -> Result<Option<Bytes>, JobError> {
        while self.piece.is_empty() {
            match self.content.next().await? {
                Some(piece) => self.piece = piece,
                None => return Ok(None),
            }
        }
        let length = usize::try_from(at_most).unwrap_or(usize::MAX).min(self.piece.len());
        self.position += length as u64;
        Ok(Some(self.piece.split_to(length)))
    }
}

/// A file object being read, opened where it is encrypted.
struct FileContent<'a> {
    reader: ObjectReader<'a>,
    decryptor: Option<Decryptor>,
}

impl FileContent<'_> {
    async fn next(&mut self, whole: &Whole<'_>) -> Result<Option<Bytes>, JobError> {
        let recipients = &whole.manifest.recipients;
        let chunk = self.reader.next().await?;
        let mut plain = BytesMut::new();
        let opened = match (chunk, &mut self.decryptor) {
            (chunk, None) => return Ok(chunk),
            (Some(chunk), Some(decryptor)) => decryptor.push(&chunk, &mut plain),
            (None, Some(_)) => match self.decryptor.take() {
                Some(decryptor) => decryptor.finish(&mut plain),
                None => Ok(()),
            },
        };
        opened.map_err(|error| not_opened(&error, self.reader.place(), recipients))?;
        Ok(Some(plain.freeze()))
    }
}

impl Out<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), JobError> {
        self.zip.write(bytes, &mut self.ready);
        if self.ready.len() >= FLUSH_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), JobError> {
        let failed =
            |source| JobError::File { path: self.output_name.to_owned(), what: "cannot write", source };
        self.output.write_all(&self.ready).await.map_err(failed)?;
        self.size_bytes += self.ready.len() as u64;
        self.ready.clear();
        let (done_bytes, total_bytes) = (self.read_bytes, Some(self.total_bytes));
        self.context.tell(RunEvent::Transferred { done_bytes, total_bytes });
        Ok(())
    }

    async fn finish(mut self) -> Result<Downloaded, JobError> {
        let zip = std::mem::take(&mut self.zip);
        zip.finish(&mut self.ready).map_err(|error| JobError::Bug(error.to_string()))?;
        self.flush().await?;
        let path = self.output_name.to_owned();
        self.output.flush().await.map_err(|source| JobError::File { path, what: "cannot write", source })?;
        Ok(Downloaded { size_bytes: self.size_bytes })
    }
}
