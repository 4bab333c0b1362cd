//! `files.jsonl.zst`: which stored file is which object (`docs/format.md`, "Shared files").

use convault_archive::LinePacker;
use convault_core::{FileRow, Sha256};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::shared::rows::document;

/// The format of the lines.
const FORMAT: u32 = 1;
/// So many numbers of files stand in one line.
const NUMBERS: usize = 1000;

/// A line, as it is written.
#[derive(Serialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
enum Line<'a> {
    Header { format: u32 },
    File(FileLine<'a>),
    Uncertain { numbers: &'a [u32] },
    Totals(ListingTotals),
}

#[derive(Serialize)]
struct FileLine<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    component: &'a str,
    object: Option<&'a str>,
    row: &'a RawValue,
}

/// A line, as it is read.
#[derive(Debug)]
pub(crate) enum ListingLine {
    /// A stored file.
    File(ListedFile),
    /// The last; a listing without it is not whole.
    Totals(ListingTotals),
    /// Files that were listed before the export and not after it, by the places of their lines.
    Uncertain(Vec<u32>),
    /// Everything else.
    Other,
}

impl ListingLine {
    /// Reads a line.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Kind<'a> {
            line: &'a str,
        }
        #[derive(Deserialize)]
        struct Numbers {
            numbers: Vec<u32>,
        }
        let Kind { line } = serde_json::from_slice(text)?;
        Ok(match line {
            "file" => Self::File(serde_json::from_slice(text)?),
            "uncertain" => Self::Uncertain(serde_json::from_slice::<Numbers>(text)?.numbers),
            "totals" => Self::Totals(serde_json::from_slice(text)?),
            _ => Self::Other,
        })
    }
}

/// A stored file of a listing.
#[derive(Debug, Deserialize)]
pub(crate) struct ListedFile {
    /// The path of its component; empty for the root.
    #[serde(default)]
    pub(crate) component: String,
    /// Its object's name, without suffix; `None` where it could not be fetched.
    pub(crate) object: Option<Sha256>,
    /// Its line of `_storage/documents.jsonl`.
    pub(crate) row: Box<RawValue>,
}

/// Sums over a listing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListingTotals {
    /// Files that are in it, missing ones too.
    pub(crate) files: u64,
    /// Bytes of those that are stored.
    pub(crate) file_bytes: u64,
    /// Files that could not be fetched.
    pub(crate) missing: u64,
    /// Files that were listed before the export and not after it.
    pub(crate) uncertain: u64,
}

/// Writes a listing.
#[derive(Debug)]
pub(crate) struct ListingWriter {
    packer: LinePacker,
    pub(crate) totals: ListingTotals,
}

impl ListingWriter {
    /// A listing with its header.
    pub(crate) fn new() -> Self {
        let mut packer = LinePacker::new();
        packer.push(&Line::Header { format: FORMAT });
        Self { packer, totals: ListingTotals::default() }
    }

    /// Adds a file; `object` is its object's name, `None` where it could not be fetched. Gives its place.
    pub(crate) fn file(&mut self, row: &FileRow, object: Option<&Sha256>) -> u64 {
        let document = RawValue::from_string(document(row)).expect("it was written as JSON");
        let name = object.map(Sha256::to_string);
        let line = FileLine { component: &row.component, object: name.as_deref(), row: &document };
        self.packer.push(&Line::File(line));
        self.totals.files += 1;
        match object {
            Some(_) => self.totals.file_bytes += row.size_bytes,
            None => self.totals.missing += 1,
        }
        self.totals.files - 1
    }

    /// What is ready.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.packer.take()
    }

    /// Closes the listing; gives its last bytes.
    pub(crate) fn finish(mut self, uncertain: &[u32]) -> (Vec<u8>, ListingTotals) {
        self.totals.uncertain = uncertain.len() as u64;
        for numbers in uncertain.chunks(NUMBERS) {
            self.packer.push(&Line::Uncertain { numbers });
        }
        self.packer.push(&Line::Totals(self.totals));
        (self.packer.finish(), self.totals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use convault_archive::LineUnpacker;
    use convault_core::Secret;

    #[test]
    fn a_listing_is_read_as_it_was_written() {
        let row = FileRow {
            component: "waitlist".into(),
            component_id: None,
            id: "kg2".into(),
            creation_time: "1700000000000.0".into(),
            sha256: Sha256::of(b"x"),
            size_bytes: 1,
            content_type: None,
            internal_id: Secret::new("8c2d5a4e-0d4e-4b1c-9a2e-0f3a1b2c3d4e"),
        };
        let mut writer = ListingWriter::new();
        assert_eq!(writer.file(&row, Some(&Sha256::of(b"x"))), 0);
        assert_eq!(writer.file(&FileRow { component: String::new(), ..row.clone() }, None), 1);
        let mut bytes = writer.take();
        let (rest, totals) = writer.finish(&[0]);
        bytes.extend(rest);
        assert_eq!(totals, ListingTotals { files: 2, file_bytes: 1, missing: 1, uncertain: 1 });
        let mut unpacker = LineUnpacker::new();
        unpacker.push(&bytes);
        let mut lines = Vec::new();
        while let Some(line) = unpacker.next_text().unwrap() {
            lines.push(ListingLine::parse(line).unwrap());
        }
        let ListingLine::File(file) = &lines[1] else { panic!("{lines:?}") };
        assert_eq!(file.row.get(), document(&row));
        assert_eq!((file.component.as_str(), file.object), ("waitlist", Some(Sha256::of(b"x"))));
        let ListingLine::File(file) = &lines[2] else { panic!("{lines:?}") };
        assert_eq!((file.component.as_str(), file.object), ("", None));
        assert!(matches!(lines[0], ListingLine::Other));
        assert!(matches!(&lines[3], ListingLine::Uncertain(numbers) if numbers == &[0]));
        assert!(matches!(lines[4], ListingLine::Totals(found) if found == totals));
    }
}
