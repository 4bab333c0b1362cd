//! What holds for any chunking and any single changed byte.

#![allow(clippy::unwrap_used, reason = "a failed test is what a panic is for")]

mod common;

use std::io::{Cursor, Write as _};

use common::{lines, read, read_with, small};
use convault_archive::Options;
use convault_core::{IndexLine, Sha256};
use proptest::prelude::*;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// Bytes of a ZIP that say nothing about its content, so that one of them can change unseen by anything but the
/// SHA-256 of the whole: versions, DOS times, attributes; and, in a local header with a data descriptor, the CRC,
/// the sizes and the zip64 field, since the descriptor and the directory say what is true.
fn ignorable(zip: &[u8]) -> Vec<bool> {
    let mut ignorable = vec![false; zip.len()];
    let mut mark = |start: usize, range: std::ops::Range<usize>| {
        range.for_each(|offset| ignorable[start + offset] = true);
    };
    for start in 0..zip.len() - 4 {
        match &zip[start..start + 4] {
            b"PK\x03\x04" => {
                mark(start, 4..6);
                mark(start, 10..26);
                let name = usize::from(u16::from_le_bytes([zip[start + 26], zip[start + 27]]));
                mark(start, 30 + name..50 + name);
            }
            b"PK\x01\x02" => {
                mark(start, 4..8);
                mark(start, 12..16);
                mark(start, 36..42);
            }
            // Deflate ends at a bit: the others of its last byte are padding.
            b"PK\x07\x08" => mark(start - 1, 0..1),
            b"PK\x06\x06" => mark(start, 12..16),
            _ => {}
        }
    }
    ignorable
}

#[test]
fn no_flipped_bit_goes_unseen() {
    let zip = small().finish();
    let original = read(&zip).unwrap().findings;
    let ignorable = ignorable(&zip);
    for (place, ignorable) in ignorable.iter().enumerate() {
        // One bit of each byte, another each time: all eight would take eight times as long and tell no more.
        let bit = place % 8;
        let mut changed = zip.clone();
        changed[place] ^= 1 << bit;
        let Ok(mut found) = read(&changed) else { continue };
        assert_ne!(found.findings.sha256, original.sha256, "the SHA-256 of the whole always tells");
        found.findings.sha256 = original.sha256;
        assert!(*ignorable || found.findings != original, "bit {bit} of byte {place} changed unseen");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_chunking_gives_the_same(cuts in prop::collection::vec(1_usize..200, 1..60)) {
        let zip = small().finish();
        let expected = read(&zip).unwrap().findings;
        let mut reader = convault_archive::Reader::new(Options::default());
        let mut rest = zip.as_slice();
        for cut in cuts.iter().cycle() {
            let (chunk, after) = rest.split_at((*cut).min(rest.len()));
            reader.push(chunk).unwrap();
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(reader.finish().unwrap().findings, expected);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), start in 0_usize..1400) {
        let mut zip = small().finish();
        let start = start.min(zip.len());
        let end = (start + bytes.len()).min(zip.len());
        zip.splice(start..end, bytes);
        let whole = read(&zip).map(|found| found.findings);
        let chunked = read_with(&zip, 3, Options::default()).map(|(found, _)| found.findings);
        prop_assert_eq!(whole.is_ok(), chunked.is_ok());
    }

    #[test]
    fn what_another_writer_writes_is_read(
        files in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..2000), any::<bool>(), any::<bool>()), 1..8),
        chunk in 1_usize..500,
    ) {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (number, (content, is_stored, is_large)) in files.iter().enumerate() {
            let method = if *is_stored { CompressionMethod::Stored } else { CompressionMethod::Deflated };
            let options = SimpleFileOptions::default().compression_method(method).large_file(*is_large);
            writer.start_file(format!("_storage/f{number}"), options).unwrap();
            writer.write_all(content).unwrap();
        }
        let zip = writer.finish().unwrap().into_inner();
        let (found, index) = read_with(&zip, chunk, Options::default()).unwrap();
        prop_assert_eq!(found.findings.totals.files, files.len() as u64);
        let hashes: Vec<_> = lines(&index)
            .into_iter()
            .filter_map(|line| if let IndexLine::Entry(entry) = line { Some(entry.sha256) } else { None })
            .collect();
        prop_assert_eq!(hashes, files.iter().map(|(content, ..)| Sha256::of(content)).collect::<Vec<_>>());
    }
}
