//! What an export's ZIP holds: a list of entries whose bytes are made when they are written.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::database::{StoredFile, Table};
use crate::document_id::DocumentId;
use crate::generator::Generator;
use crate::legacy;
use crate::spool::FileContent;
use crate::value::{Encoding, Value, write_document};
use crate::zip_writer::Packing;

/// The entries of a ZIP, in order. Visiting them again gives the same bytes again.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) sections: Vec<Section>,
    /// Two sections whose names the central directory exchanges.
    pub(crate) swapped: Option<(usize, usize)>,
    /// What follows the end of the ZIP.
    pub(crate) trailing: &'static [u8],
}

/// One or more entries.
#[derive(Debug)]
pub(crate) enum Section {
    /// One entry.
    Entry(Entry),
    /// The stored files of the generator, but not the one `without`.
    GeneratedFiles { generator: Arc<Generator>, without: Option<u64>, damaged: Option<u64> },
}

/// One entry.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) content: Content,
    pub(crate) packing: Packing,
    /// Added to the true CRC.
    pub(crate) crc_error: u32,
}

/// The bytes of an entry, or how to make them.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// As they are.
    Plain(Bytes),
    /// A stored file.
    File(FileContent),
    /// The lines of a table.
    Documents(Arc<Table>),
    /// The same, as servers before 2026-03-11 wrote them.
    LegacyDocuments(Arc<Table>),
    /// The shapes that these servers wrote beside them.
    LegacyShapes(Arc<Table>),
    /// The rows of `_storage`, but not the one of `without`.
    Rows { files: Arc<BTreeMap<DocumentId, StoredFile>>, without: Option<DocumentId> },
    /// The lines of a table that is made up.
    GeneratedDocuments { generator: Arc<Generator>, component: u32, table_number: u32 },
    /// The rows of files that are made up.
    GeneratedRows { generator: Arc<Generator>, without: Option<u64> },
    /// A file that is made up.
    GeneratedFile { generator: Arc<Generator>, index: u64, damaged: bool },
    /// So many zeros.
    Zeros(u64),
    /// Something, and a line after it.
    Followed(Box<Content>, Line),
}

/// A line that may be long: `unit` so many times between `head` and `end`.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) head: String,
    pub(crate) unit: &'static str,
    pub(crate) times: usize,
    pub(crate) end: &'static str,
}

impl Contents {
    /// How many entries there are.
    pub(crate) fn entry_count(&self) -> u64 {
        let count = |section: &Section| match section {
            Section::Entry(_) => 1,
            Section::GeneratedFiles { generator, without, .. } => {
                generator.files.count() - u64::from(without.is_some())
            }
        };
        self.sections.iter().map(count).sum()
    }

    /// Calls `visit` with every entry, in order.
    pub(crate) fn visit(&self, mut visit: impl FnMut(&Entry) -> io::Result<()>) -> io::Result<()> {
        for section in &self.sections {
            match section {
                Section::Entry(entry) => visit(entry)?,
                Section::GeneratedFiles { generator, without, damaged } => {
                    for index in (0..generator.files.count()).filter(|index| Some(*index) != *without) {
                        visit(&generated_file(generator, index, Some(index) == *damaged))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Calls `visit` with the name of every entry in the central directory, and that in its local header, in order.
    pub(crate) fn visit_names(&self, mut visit: impl FnMut(&str, &str) -> io::Result<()>) -> io::Result<()> {
        for (position, section) in self.sections.iter().enumerate() {
            match section {
                Section::Entry(entry) => visit(self.directory_name(position, entry), &entry.name)?,
                Section::GeneratedFiles { generator, without, .. } => {
                    for index in (0..generator.files.count()).filter(|index| Some(*index) != *without) {
                        let name = generated_file_name(generator, index);
                        visit(&name, &name)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The folders of the entries, each once, in order.
    pub(crate) fn folders(&self) -> impl Iterator<Item = &str> {
        self.sections.iter().filter_map(|section| match section {
            Section::Entry(entry) => entry.name.strip_suffix("/documents.jsonl"),
            Section::GeneratedFiles { .. } => None,
        })
    }

    fn directory_name<'a>(&'a self, position: usize, entry: &'a Entry) -> &'a str {
        let other = match self.swapped {
            Some((one, other)) if one == position => other,
            Some((one, other)) if other == position => one,
            _ => return &entry.name,
        };
        match &self.sections[other] {
            Section::Entry(other) => &other.name,
            Section::GeneratedFiles { .. } => &entry.name,
        }
    }
}

fn generated_file(generator: &Arc<Generator>, index: u64, damaged: bool) -> Entry {
    Entry {
        name: generated_file_name(generator, index),
        content: Content::GeneratedFile { generator: Arc::clone(generator), index, damaged },
        packing: Packing::Stored,
        crc_error: 0,
    }
}

fn generated_file_name(generator: &Generator, index: u64) -> String {
    format!("_storage/{}{}", generator.files.id(index), extension(generator.files.content_type(index)))
}

impl Content {
    /// Writes the bytes.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Plain(bytes) => out.write_all(bytes),
            Self::File(content) => content.write(out),
            Self::Documents(table) => write_lines(table, out),
            Self::LegacyDocuments(table) => write_legacy_lines(table, out),
            Self::LegacyShapes(table) => legacy::write_shapes(table, out),
            Self::Rows { files, without } => write_rows(files, *without, out),
            Self::GeneratedDocuments { generator, component, table_number } => {
                generator.write_documents(*component, *table_number, out)
            }
            Self::GeneratedRows { generator, without } => generator.files.write_rows(*without, out),
            Self::GeneratedFile { generator, index, damaged } => generator.files.write(*index, *damaged, out),
            Self::Zeros(count) => write_zeros(*count, out),
            Self::Followed(first, line) => {
                first.write(out)?;
                line.write(out)
            }
        }
    }
}

impl Line {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.head.as_bytes())?;
        let some = self.unit.repeat(1024);
        for _ in 0..self.times / 1024 {
            out.write_all(some.as_bytes())?;
        }
        out.write_all(self.unit.repeat(self.times % 1024).as_bytes())?;
        out.write_all(self.end.as_bytes())?;
        out.write_all(b"\n")
    }
}

fn write_lines(table: &Table, out: &mut dyn Write) -> io::Result<()> {
    for line in table.documents.lines() {
        out.write_all(line)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn write_legacy_lines(table: &Table, out: &mut dyn Write) -> io::Result<()> {
    let mut line = Vec::new();
    for document in table.documents.values() {
        line.clear();
        write_document(&document, Encoding::Clean, &mut line);
        line.push(b'\n');
        out.write_all(&line)?;
    }
    Ok(())
}

/// The keys of these rows are in the order of the backend's struct, not sorted.
fn write_rows(
    files: &BTreeMap<DocumentId, StoredFile>,
    without: Option<DocumentId>,
    out: &mut dyn Write,
) -> io::Result<()> {
    for file in files.values().filter(|file| Some(file.id) != without) {
        let content_type = file.content_type.as_deref().map_or(Value::Null, Value::from);
        writeln!(
            out,
            "{{\"_id\":\"{}\",\"_creationTime\":{},\"sha256\":\"{}\",\"size\":{},\"contentType\":{},\"internalId\":\"{}\"}}",
            file.id,
            Value::Float64(file.creation_time_ms).to_json(Encoding::Export),
            STANDARD.encode(file.sha256.0),
            file.content.len(),
            content_type.to_json(Encoding::Export),
            file.internal_id,
        )?;
    }
    Ok(())
}

fn write_zeros(mut count: u64, out: &mut dyn Write) -> io::Result<()> {
    let zeros = [0; 16 * 1024];
    while count > 0 {
        let now = usize::try_from(count).unwrap_or(usize::MAX).min(zeros.len());
        out.write_all(&zeros[..now])?;
        count -= now as u64;
    }
    Ok(())
}

/// The extension that the backend guesses for a content type, with its dot. Only types that it knows have one.
pub(crate) fn extension(content_type: Option<&str>) -> &'static str {
    let without_parameters = content_type.and_then(|text| text.split(';').next()).map(str::trim);
    match without_parameters {
        Some("image/png") => ".png",
        Some("image/jpeg") => ".jpeg",
        Some("image/svg+xml") => ".svg",
        Some("image/webp") => ".webp",
        Some("text/plain") => ".txt",
        Some("text/csv") => ".csv",
        Some("text/html") => ".html",
        Some("application/pdf") => ".pdf",
        Some("application/octet-stream") => ".bin",
        Some("application/json") => ".json",
        Some("application/zip") => ".zip",
        Some("audio/mpeg") => ".mpga",
        Some("video/mp4") => ".mp4",
        Some("video/quicktime") => ".qt",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::extension;

    #[test]
    fn the_extension_follows_the_content_type() {
        for (content_type, expected) in [
            (Some("image/png"), ".png"),
            (Some("text/plain; charset=utf-8"), ".txt"),
            (Some("application/octet-stream"), ".bin"),
            (Some("application/x-totally-unknown"), ""),
            (Some("IMAGE/PNG"), ""),
            (None, ""),
        ] {
            assert_eq!(extension(content_type), expected);
        }
    }
}
