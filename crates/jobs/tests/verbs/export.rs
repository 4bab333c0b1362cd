//! Exports made of bytes, and a deployment that hands them out.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{Cursor, Write as _},
    sync::{Mutex, atomic::AtomicU32, atomic::Ordering},
};

use async_trait::async_trait;
use base64::Engine as _;
use bytes::Bytes;
use convault_core::{
    DeploymentName, Export, ExportRequest, ExportStream, Preflight, Progress, Release, Sha256, Source,
    SourceError, SourceErrorKind,
};
use futures::StreamExt as _;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// The id of the only stored file.
pub(crate) const FILE_ID: &str = "kg2aaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// An export with two documents and one stored file of `file_bytes`.
pub(crate) fn sound(file_bytes: usize) -> Bytes {
    export(file_bytes, |_| {})
}

/// The same, but every byte of the file is another one for another `flavour`.
pub(crate) fn export_of(file_bytes: usize, flavour: u8) -> Bytes {
    build(file_bytes, flavour, |_| {})
}

/// The same, but the stored file is not what its row announces.
pub(crate) fn damaged_at_the_source(file_bytes: usize) -> Bytes {
    export(file_bytes, |file| file[0] ^= 1)
}

fn export(file_bytes: usize, spoil: impl FnOnce(&mut [u8])) -> Bytes {
    build(file_bytes, 0, spoil)
}

/// An export of a deployment with nothing in it.
pub(crate) fn empty() -> Bytes {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for name in ["_tables/documents.jsonl", "_storage/documents.jsonl"] {
        zip.start_file(name, options).unwrap();
    }
    zip.finish().unwrap().into_inner().into()
}

/// An export of these tables, as `table` or `component/table`, with so many documents each; no stored files.
pub(crate) fn of_tables(tables: &[(&str, usize)]) -> Bytes {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    let mut components: BTreeMap<&str, Vec<(&str, usize)>> = BTreeMap::new();
    components.entry("").or_default();
    for (name, documents) in tables {
        let (component, table) = name.rsplit_once('/').unwrap_or(("", name));
        components.entry(component).or_default().push((table, *documents));
    }
    for (component, tables) in components {
        let folder = if component.is_empty() { String::new() } else { format!("_components/{component}/") };
        let mut put = |name: String, content: String| {
            zip.start_file(format!("{folder}{name}"), options).unwrap();
            zip.write_all(content.as_bytes()).unwrap();
        };
        let listed = tables.iter().enumerate();
        let listed = listed
            .map(|(number, (table, _))| format!("{{\"name\":\"{table}\",\"id\":{}}}\n", 10_001 + number));
        put("_tables/documents.jsonl".to_owned(), listed.collect());
        for (table, documents) in tables {
            let lines = (0..documents).map(|number| {
                format!(
                    "{{\"_creationTime\":1.5,\"_id\":\"k{number:08}\",\"of\":\"{table}\",\"n\":{number}}}\n"
                )
            });
            put(format!("{table}/documents.jsonl"), lines.collect());
            put(format!("{table}/generated_schema.jsonl"), "\"uniform\"\n".to_owned());
        }
    }
    zip.finish().unwrap().into_inner().into()
}

fn build(file_bytes: usize, flavour: u8, spoil: impl FnOnce(&mut [u8])) -> Bytes {
    let mut file: Vec<u8> = (0..=250).cycle().skip(usize::from(flavour)).take(file_bytes).collect();
    let row = format!(
        r#"{{"_id":"{FILE_ID}","_creationTime":1700000000000.0,"sha256":"{}","size":{file_bytes},"contentType":null,"internalId":"8c2d5a4e-0d4e-4b1c-9a2e-0f3a1b2c3d4e"}}"#,
        base64::engine::general_purpose::STANDARD.encode(Sha256::of(&file).0),
    );
    spoil(&mut file);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let users = "{\"_creationTime\":1.5,\"_id\":\"k1\"}\n{\"_creationTime\":2.0,\"_id\":\"k2\"}\n";
    for (name, content) in [
        ("_tables/documents.jsonl", "{\"name\":\"users\",\"id\":10001}\n".as_bytes()),
        ("users/documents.jsonl", users.as_bytes()),
        ("users/generated_schema.jsonl", b"\"uniform\"\n"),
        ("_storage/documents.jsonl", (row + "\n").as_bytes()),
        (&format!("_storage/{FILE_ID}.bin"), &file),
    ] {
        zip.start_file(name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner().into()
}

/// A deployment whose downloads are the given bytes, one after the other, the last one for ever.
#[derive(Debug)]
pub(crate) struct FakeSource {
    deployment: DeploymentName,
    downloads: Mutex<VecDeque<Bytes>>,
    announced_bytes: u64,
    snapshot_ts_ns: i64,
    stall_after: Option<usize>,
    pub(crate) opened: AtomicU32,
    pub(crate) released: AtomicU32,
}

impl FakeSource {
    /// Every download is `zip`.
    pub(crate) fn of(zip: Bytes) -> Self {
        Self::of_downloads([zip])
    }

    /// The downloads, in order. Their lengths are equal.
    pub(crate) fn of_downloads(downloads: impl Into<VecDeque<Bytes>>) -> Self {
        let downloads = downloads.into();
        Self {
            deployment: DeploymentName::new("crm").unwrap(),
            announced_bytes: downloads[0].len() as u64,
            downloads: Mutex::new(downloads),
            snapshot_ts_ns: 1_700_000_000_123_456_789,
            stall_after: None,
            opened: AtomicU32::new(0),
            released: AtomicU32::new(0),
        }
    }

    /// The same, its snapshot so many days later.
    pub(crate) fn days_later(self, days: i64) -> Self {
        Self { snapshot_ts_ns: self.snapshot_ts_ns + days * 86_400_000_000_000, ..self }
    }

    /// The same, its snapshot of that time.
    pub(crate) fn taken_at(self, time: jiff::Timestamp) -> Self {
        Self { snapshot_ts_ns: i64::try_from(time.as_nanosecond()).unwrap(), ..self }
    }

    /// The same, but after so many bytes of a download nothing more comes.
    pub(crate) fn stalling_after(self, bytes: usize) -> Self {
        Self { stall_after: Some(bytes), ..self }
    }
}

#[async_trait]
impl Source for FakeSource {
    fn deployment(&self) -> &DeploymentName {
        &self.deployment
    }

    async fn preflight(&self) -> Result<Preflight, SourceError> {
        Ok(Preflight {
            instance: "happy-animal-123".to_owned(),
            server_version: "unknown".to_owned(),
            url: "http://127.0.0.1:3210".to_owned(),
            warnings: Vec::new(),
        })
    }

    async fn export(
        &self,
        request: ExportRequest,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Export, SourceError> {
        progress(Progress::Requested { export: "export-1".to_owned(), adopted: false });
        Ok(Export {
            id: "export-1".to_owned(),
            snapshot_ts_ns: self.snapshot_ts_ns,
            size_bytes: Some(self.announced_bytes),
            include_files: request.include_files,
            adopted: false,
        })
    }

    async fn open(&self, _: &Export) -> Result<ExportStream, SourceError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let bytes = {
            let mut downloads = self.downloads.lock().unwrap();
            if downloads.len() > 1 { downloads.pop_front().unwrap() } else { downloads[0].clone() }
        };
        let end = self.stall_after.unwrap_or(bytes.len()).min(bytes.len());
        let stalls = end < bytes.len();
        let mut rest = bytes.slice(..end);
        let chunks = std::iter::from_fn(move || {
            (!rest.is_empty()).then(|| Ok(rest.split_to(rest.len().min(256 << 10))))
        });
        let sent = futures::stream::iter(chunks);
        let bytes = if stalls { sent.chain(futures::stream::pending()).boxed() } else { sent.boxed() };
        Ok(ExportStream { length_bytes: self.announced_bytes, bytes })
    }

    async fn release(&self, _: &Export) -> Release {
        self.released.fetch_add(1, Ordering::Relaxed);
        Release::ExpirySet
    }
}

/// The deployment's answer to every request, for good.
#[derive(Debug)]
pub(crate) struct Unreachable(pub(crate) DeploymentName);

impl Unreachable {
    fn error(&self) -> SourceError {
        SourceError {
            kind: SourceErrorKind::Transient,
            deployment: self.0.clone(),
            message: "it does not answer; check that it runs".to_owned(),
            source: None,
        }
    }
}

#[async_trait]
impl Source for Unreachable {
    fn deployment(&self) -> &DeploymentName {
        &self.0
    }

    async fn preflight(&self) -> Result<Preflight, SourceError> {
        Err(self.error())
    }

    async fn export(
        &self,
        _: ExportRequest,
        _: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Export, SourceError> {
        Err(self.error())
    }

    async fn open(&self, _: &Export) -> Result<ExportStream, SourceError> {
        Err(self.error())
    }

    async fn release(&self, _: &Export) -> Release {
        Release::Kept("there is none")
    }
}
