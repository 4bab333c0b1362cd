//! [`KeptFiles`]: the shared files of a stored snapshot as a [`Source`], so that they can be collected once more, for other
//! recipients.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use convault_archive::{
    Line, LineUnpacker,
    encryption::{Decryptor, Identities},
};
use convault_core::{
    ByteStream, DeploymentName, Export, ExportRequest, ExportStream, FileRow, FileStream, Layout, Manifest,
    ObjectRole, Preflight, Progress, Release, Secret, Sha256, Source, SourceError, SourceErrorKind, Store,
    StoreErrorKind,
};
use futures::{StreamExt as _, stream, stream::BoxStream};

use crate::{
    Access, JobError,
    access::{ObjectContent, is_encrypted},
    error::chain,
    shared::listing::{ListedFile, ListingLine},
};

/// The files of one snapshot, opened. Only its files: there is nothing to export.
#[derive(Debug)]
pub(crate) struct KeptFiles {
    store: Arc<dyn Store>,
    manifest: Manifest,
    identities: Option<Identities>,
    /// Behind the names of its file objects.
    suffix: &'static str,
    /// The places of those that the deployment no longer listed after its export, once the list was read.
    uncertain: OnceLock<BTreeSet<u32>>,
}

impl KeptFiles {
    /// Those of the snapshot of `manifest`.
    pub(crate) fn of(store: Arc<dyn Store>, manifest: &Manifest, identities: Option<&Identities>) -> Self {
        let listing = manifest.object(ObjectRole::Files);
        let suffix = if listing.is_some_and(is_encrypted) { Layout::ENCRYPTED_SUFFIX } else { "" };
        Self {
            store,
            manifest: manifest.clone(),
            identities: identities.cloned(),
            suffix,
            uncertain: OnceLock::new(),
        }
    }

    fn error(&self, kind: SourceErrorKind, message: impl Into<String>) -> SourceError {
        SourceError {
            kind,
            deployment: self.manifest.deployment.clone(),
            message: message.into(),
            source: None,
        }
    }

    fn unread(&self, error: &JobError) -> SourceError {
        let message = format!("the files of the snapshot {}: {}", self.manifest.id, chain(error));
        self.error(SourceErrorKind::Other, message)
    }

    fn no_row(&self) -> SourceError {
        let message =
            format!("a line in the list of files of the snapshot {} is none; verify it", self.manifest.id);
        self.error(SourceErrorKind::Other, message)
    }
}

/// A line of the list as the deployment once listed it. Where the object lies is its address.
fn listed(file: &ListedFile) -> Option<FileRow> {
    let row = Line::parse(file.row.get().as_bytes()).ok()?;
    let text = |name| row.text(&[name]).map(Cow::into_owned);
    let number = |name| row.raw(&[name]).and_then(|raw| std::str::from_utf8(raw).ok());
    let digest: [u8; 32] = STANDARD.decode(text("sha256")?).ok()?.try_into().ok()?;
    Some(FileRow {
        component: file.component.clone(),
        component_id: file.object.map(|object| object.to_string()),
        id: text("_id")?,
        creation_time: number("_creationTime")?.to_owned(),
        sha256: Sha256(digest),
        size_bytes: number("size")?.parse().ok()?,
        content_type: text("contentType"),
        internal_id: Secret::new(text("internalId")?),
    })
}

/// The list of files being read.
struct Reading<'a> {
    files: &'a KeptFiles,
    content: Option<ObjectContent<'a>>,
    unpacker: LineUnpacker,
    /// The place of the next file.
    place: u32,
    uncertain: BTreeSet<u32>,
}

impl Reading<'_> {
    async fn next(&mut self) -> Result<Option<FileRow>, SourceError> {
        let files = self.files;
        loop {
            match self.unpacker.next_text() {
                Err(_) => return Err(files.no_row()),
                Ok(Some(text)) => match ListingLine::parse(text).map_err(|_| files.no_row())? {
                    ListingLine::File(file) => {
                        self.place += 1;
                        // As after the export, they are no longer listed when the list is read again.
                        if files
                            .uncertain
                            .get()
                            .is_some_and(|uncertain| uncertain.contains(&(self.place - 1)))
                        {
                            continue;
                        }
                        return listed(&file).map(Some).ok_or_else(|| files.no_row());
                    }
                    ListingLine::Uncertain(numbers) => self.uncertain.extend(numbers),
                    ListingLine::Totals(_) | ListingLine::Other => {}
                },
                Ok(None) => {
                    let Some(content) = &mut self.content else {
                        files.uncertain.get_or_init(|| std::mem::take(&mut self.uncertain));
                        return Ok(None);
                    };
                    if let Some(bytes) = content.next().await.map_err(|error| files.unread(&error))? {
                        self.unpacker.push(&bytes);
                    } else {
                        let content = self.content.take();
                        let checked = content.map_or(Ok(()), ObjectContent::check);
                        checked.map_err(|error| files.unread(&error))?;
                    }
                }
            }
        }
    }
}

#[async_trait]
impl Source for KeptFiles {
    fn deployment(&self) -> &DeploymentName {
        &self.manifest.deployment
    }

    async fn preflight(&self) -> Result<Preflight, SourceError> {
        Err(self.error(SourceErrorKind::Unsupported, "a snapshot is no deployment"))
    }

    async fn export(
        &self,
        _request: ExportRequest,
        _progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Export, SourceError> {
        Err(self.error(SourceErrorKind::Unsupported, "a snapshot exports nothing"))
    }

    async fn open(&self, _export: &Export) -> Result<ExportStream, SourceError> {
        Err(self.error(SourceErrorKind::Unsupported, "a snapshot exports nothing"))
    }

    async fn release(&self, _export: &Export) -> Release {
        Release::Kept("a snapshot has no exports")
    }

    fn list_files(&self) -> BoxStream<'_, Result<FileRow, SourceError>> {
        let opened = self.manifest.object(ObjectRole::Files).map(|object| {
            let access = Access::Opened(self.identities.as_ref());
            ObjectContent::open(self.store.as_ref(), &self.manifest, object, access)
        });
        let content = match opened {
            Some(Ok(content)) => Some(content),
            Some(Err(error)) => return stream::iter([Err(self.unread(&error))]).boxed(),
            None => None,
        };
        let reading = Reading {
            files: self,
            content,
            unpacker: LineUnpacker::new(),
            place: 0,
            uncertain: BTreeSet::new(),
        };
        stream::unfold(Some(reading), async |reading| {
            let mut reading = reading?;
            match reading.next().await {
                Ok(Some(row)) => Some((Ok(row), Some(reading))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    async fn open_file(&self, row: &FileRow) -> Result<FileStream, SourceError> {
        let missing =
            || self.error(SourceErrorKind::Missing, "it could not be fetched when the snapshot was made");
        let object = row.component_id.as_ref().ok_or_else(missing)?;
        let key = Layout::new(self.manifest.deployment.clone()).file(object, self.suffix);
        let stored = self.store.get(&key, None).await.map_err(|error| {
            let kind = match error.kind {
                StoreErrorKind::NotFound => SourceErrorKind::Missing,
                StoreErrorKind::Transient => SourceErrorKind::Transit,
                _ => SourceErrorKind::Other,
            };
            SourceError { source: Some(Box::new(error)), ..self.error(kind, "a shared file cannot be read") }
        })?;
        let decryptor = self.identities.as_ref().filter(|_| !self.suffix.is_empty()).map(Decryptor::new);
        let opening =
            Opening { stored: Some(stored), decryptor, deployment: self.manifest.deployment.clone() };
        Ok(FileStream { length_bytes: row.size_bytes, bytes: opening.stream() })
    }
}

/// A file object on its way, opened where it is encrypted.
struct Opening {
    stored: Option<ByteStream>,
    decryptor: Option<Decryptor>,
    deployment: DeploymentName,
}

impl Opening {
    fn stream(self) -> BoxStream<'static, Result<Bytes, SourceError>> {
        stream::unfold(self, |mut opening| async move {
            let piece = opening.next().await?;
            if piece.is_err() {
                opening.stored = None;
            }
            Some((piece, opening))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Result<Bytes, SourceError>> {
        let broken =
            |deployment: &DeploymentName, error: Box<dyn std::error::Error + Send + Sync>| SourceError {
                kind: SourceErrorKind::Transit,
                deployment: deployment.clone(),
                message: "a shared file came otherwise than it was stored".to_owned(),
                source: Some(error),
            };
        let mut plain = BytesMut::new();
        let opened = match self.stored.as_mut()?.next().await {
            Some(Err(error)) => return Some(Err(broken(&self.deployment, Box::new(error)))),
            Some(Ok(chunk)) => match &mut self.decryptor {
                None => return Some(Ok(chunk)),
                Some(decryptor) => decryptor.push(&chunk, &mut plain),
            },
            None => {
                self.stored = None;
                self.decryptor.take()?.finish(&mut plain)
            }
        };
        match opened {
            Ok(()) => Some(Ok(plain.freeze())),
            Err(error) => Some(Err(broken(&self.deployment, Box::new(error)))),
        }
    }
}
