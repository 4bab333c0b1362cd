//! Exports of a real backend are read with every hash as recorded.

#![allow(clippy::unwrap_used, reason = "a failed test is what a panic is for")]

mod common;

use std::collections::BTreeMap;

use common::{fixture, lines, read_with};
use convault_archive::{ExportFormat, Findings, Options, SchemaFormat};
use convault_core::{EntryKind, IndexEntry, IndexLine};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Expected {
    zip_bytes: u64,
    zip_sha256: String,
    document_counts: BTreeMap<String, u64>,
    stored_files: u64,
    entries: Vec<ExpectedEntry>,
}

#[derive(Deserialize)]
struct ExpectedEntry {
    name: String,
    size: u64,
    sha256: String,
}

const RECORDED: [&str; 4] = ["small", "small-nostorage", "empty", "limits"];

fn entries(index: &[u8]) -> Vec<IndexEntry> {
    lines(index)
        .into_iter()
        .filter_map(|line| if let IndexLine::Entry(entry) = line { Some(entry) } else { None })
        .collect()
}

#[test]
fn every_recorded_hash_and_count_is_found() {
    for name in RECORDED {
        let (Some(zip), Some(expected)) =
            (fixture(&format!("{name}.zip")), fixture(&format!("{name}.expected.json")))
        else {
            continue;
        };
        let expected: Expected = serde_json::from_slice(&expected).unwrap();
        let options = Options { announced_bytes: Some(zip.len() as u64), ..Options::default() };
        let (finished, index) = read_with(&zip, 4096, options).unwrap();
        let Findings { sha256, length_bytes, totals, ref damage, ref warnings, .. } = finished.findings;
        assert_eq!((sha256.to_string(), length_bytes), (expected.zip_sha256, expected.zip_bytes), "{name}");
        assert_eq!(
            (totals.files, totals.entries),
            (expected.stored_files, expected.entries.len() as u64),
            "{name}"
        );
        assert!(damage.is_empty() && warnings.is_empty(), "{name}: {damage:?} {warnings:?}");
        assert!(finished.suspects.is_none());
        assert_eq!(finished.findings.format, ExportFormat::Uniform);

        let entries = entries(&index);
        for (found, expected) in entries.iter().zip(&expected.entries) {
            assert_eq!(found.name, expected.name);
            assert_eq!(
                (found.size_bytes, found.sha256.to_string()),
                (expected.size, expected.sha256.clone())
            );
        }
        let counts: BTreeMap<String, u64> = entries
            .iter()
            .filter_map(|entry| {
                Some((entry.name.strip_suffix("/documents.jsonl")?.to_owned(), entry.documents?))
            })
            .collect();
        assert_eq!(counts, expected.document_counts, "{name}");
    }
}

#[test]
fn the_index_says_where_each_entry_lies() {
    let Some(zip) = fixture("small.zip") else { return };
    let (_, index) = read_with(&zip, 1 << 20, Options::default()).unwrap();
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(&zip)).unwrap();
    let entries = entries(&index);
    assert_eq!(entries.len(), archive.len());
    for (place, entry) in entries.iter().enumerate() {
        let file = archive.by_index_raw(place).unwrap();
        assert_eq!(file.name().unwrap(), entry.name);
        assert_eq!((file.header_start(), file.data_start()), (entry.header_offset, Some(entry.data_offset)));
        assert_eq!((file.compressed_size(), file.size()), (entry.compressed_bytes, entry.size_bytes));
        assert_eq!(file.crc32(), entry.crc32);
    }
}

#[test]
fn tables_components_and_files_of_a_real_export_are_told_apart() {
    let Some(zip) = fixture("small.zip") else { return };
    let (finished, index) = read_with(&zip, 1000, Options::default()).unwrap();
    let findings = finished.findings;
    assert!(findings.files_included);
    assert_eq!(findings.components, ["", "widget", "widget/inner"]);
    let tables: Vec<_> =
        findings.tables.iter().map(|t| (t.component.as_str(), t.table.as_str(), t.documents)).collect();
    assert_eq!(
        tables,
        [
            ("", "empty", 0),
            ("widget/inner", "notes", 1),
            ("", "users", 3),
            ("widget", "counters", 5),
            ("", "special", 38),
            ("", "messages", 1000),
        ]
    );
    assert!(findings.tables.iter().all(|table| table.schema == SchemaFormat::Uniform));
    assert_eq!(findings.totals.documents, 1047);
    let kinds = |kind| entries(&index).iter().filter(|entry| entry.kind == kind).count();
    assert_eq!((kinds(EntryKind::Other), kinds(EntryKind::StorageRows), kinds(EntryKind::File)), (1, 3, 11));
}

#[test]
fn any_chunking_of_a_real_export_gives_the_same() {
    for (name, sizes) in
        [("small-nostorage", &[1, 7, 28, 4097][..]), ("limits", &[1, 333]), ("empty", &[1, 2, 3])]
    {
        let Some(zip) = fixture(&format!("{name}.zip")) else { continue };
        let (whole, whole_index) = read_with(&zip, zip.len(), Options::default()).unwrap();
        for size in sizes {
            let (finished, index) = read_with(&zip, *size, Options::default()).unwrap();
            assert_eq!(finished.findings, whole.findings, "{name} in chunks of {size}");
            assert!(index == whole_index, "{name} in chunks of {size}");
        }
    }
}

#[test]
fn a_line_of_six_megabytes_is_read_and_a_longer_limit_is_not_needed() {
    let Some(zip) = fixture("limits.zip") else { return };
    assert!(read_with(&zip, 4096, Options { max_line_bytes: 6_290_340, ..Options::default() }).is_ok());
    assert!(read_with(&zip, 4096, Options { max_line_bytes: 6_290_339, ..Options::default() }).is_err());
}
