//! What the ZIP writer makes is read by everybody: this crate, the `zip` crate, `unzip` and Python, where installed.

#![allow(clippy::unwrap_used, reason = "a failed test is what a panic is for")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::{
    fs::File,
    io::{Cursor, Read as _, Seek as _, SeekFrom, Write as _},
    process::Command,
};

use bytes::{Bytes, BytesMut};
use convault_archive::{
    Options, Packing, RawEntry, Reader, ZipEntry, ZipEntryError, ZipWriteError, ZipWriter, read_zip_entry,
};
use zip::ZipArchive;

/// What a small deployment exports, and something that does not compress.
fn contents() -> Vec<(&'static str, Vec<u8>, Packing)> {
    let mut state = 1_u64;
    let noise: Vec<u8> = (0..300_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56).to_le_bytes()[0]
        })
        .collect();
    let lines: Vec<String> = (0..20_000).map(|n| format!("{{\"_id\":\"{n:032}\",\"n\":{n}.0}}\n")).collect();
    vec![
        ("environment/.env", b"A=1\nB=\"two\nlines\"\n".to_vec(), Packing::Deflate),
        ("empty", Vec::new(), Packing::Deflate),
        ("leer", Vec::new(), Packing::Blocks),
        ("größe/документ.jsonl", lines.concat().into_bytes(), Packing::Deflate),
        ("noise.jpg", noise.clone(), Packing::Blocks),
        ("noise-deflated.bin", noise, Packing::Deflate),
    ]
}

fn entry(name: &str) -> ZipEntry<'_> {
    let modified = Some("2026-11-22T03:00:57Z".parse().unwrap());
    ZipEntry { name, mode: Some(0o600), owner: Some((1000, 100)), modified }
}

fn written(piece_bytes: usize) -> Vec<u8> {
    let (mut writer, mut out) = (ZipWriter::new(), BytesMut::new());
    for (name, content, packing) in contents() {
        writer.begin(&entry(name), packing, &mut out).unwrap();
        content.chunks(piece_bytes).for_each(|piece| writer.write(piece, &mut out));
    }
    writer.finish(&mut out).unwrap();
    out.to_vec()
}

fn passes(program: &str, arguments: &[&str], zip: &[u8]) {
    if Command::new(program).arg(if program == "unzip" { "-v" } else { "--version" }).output().is_err() {
        eprintln!("skipped: {program} is not installed");
        return;
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(zip).unwrap();
    let output = Command::new(program).args(arguments).arg(file.path()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn every_content_is_read_back_with_mode_and_time() {
    let mut archive = ZipArchive::new(Cursor::new(written(7777))).unwrap();
    assert_eq!(archive.len(), contents().len());
    for (name, content, _) in contents() {
        let mut file = archive.by_name(name).unwrap();
        assert_eq!(file.unix_mode(), Some(0o100_600), "{name}");
        let time = file.last_modified().unwrap();
        assert_eq!((time.year(), time.hour(), time.second()), (2026, 3, 56), "{name}");
        let mut found = Vec::new();
        file.read_to_end(&mut found).unwrap();
        assert!(found == content, "{name}");
    }
}

#[test]
fn one_entry_is_read_without_the_others() {
    let zip = Bytes::from(written(7777));
    let entry = |name: &'static str, limit| futures::executor::block_on(read_zip_entry(&zip, name, limit));
    for (name, content, _) in contents() {
        assert!(entry(name, 1 << 30).unwrap().unwrap() == content, "{name}");
    }
    assert!(entry("nothing", 1).unwrap().is_none());
    let error = entry("noise.jpg", 1000).unwrap_err();
    assert!(matches!(error, ZipEntryError::TooLarge { size_bytes: 300_000, .. }), "{error}");
    let mut altered = zip.to_vec();
    let length_at = |at: usize| usize::from(u16::from_le_bytes([zip[at], zip[at + 1]]));
    let data = 30 + length_at(26) + length_at(28);
    altered[data + 1] ^= 1;
    let altered = Bytes::from(altered);
    let found = futures::executor::block_on(read_zip_entry(&altered, "environment/.env", 1000));
    assert!(matches!(found, Err(ZipEntryError::Damaged { .. })), "{found:?}");
}

#[test]
fn the_pieces_of_the_content_make_no_difference() {
    let whole = written(usize::MAX);
    for piece_bytes in [1000, 65_535, 65_536, 100_001] {
        assert!(written(piece_bytes) == whole, "{piece_bytes}");
    }
}

#[test]
fn stock_programs_read_it() {
    let zip = written(7777);
    passes("unzip", &["-tq"], &zip);
    let check = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); sys.exit(z.testzip() is not None)";
    passes("python3", &["-c", check], &zip);
    let mut empty = BytesMut::new();
    ZipWriter::new().finish(&mut empty).unwrap();
    assert_eq!(empty.len(), 22);
    passes("python3", &["-c", check], &empty);
}

#[test]
fn a_convex_export_made_with_it_is_read_forward() {
    let (mut writer, mut out) = (ZipWriter::new(), BytesMut::new());
    let contents = [
        ("_tables/documents.jsonl", "{\"name\":\"people\",\"id\":10001.0}\n", Packing::Deflate),
        ("people/documents.jsonl", "{\"_creationTime\":1.5,\"_id\":\"j1\"}\n", Packing::Blocks),
        ("people/generated_schema.jsonl", "\"any\"\n", Packing::Deflate),
    ];
    for (name, content, packing) in contents {
        writer.begin(&ZipEntry::named(name), packing, &mut out).unwrap();
        writer.write(content.as_bytes(), &mut out);
    }
    // What is taken over of another ZIP has its sizes before it, and no descriptor.
    let raw = RawEntry { method: 0, crc32: crc32fast::hash(b"hello\n"), compressed_bytes: 6, size_bytes: 6 };
    writer.begin_raw(&ZipEntry::named("README.md"), raw, &mut out).unwrap();
    writer.write(b"hello\n", &mut out);
    writer.finish(&mut out).unwrap();
    passes("unzip", &["-tq"], &out);
    let mut reader = Reader::new(Options { announced_bytes: Some(out.len() as u64), ..Options::default() });
    reader.push(&out).unwrap();
    let found = reader.finish().unwrap();
    assert_eq!(found.findings.damage.len(), 0, "{:?}", found.findings.damage);
}

#[test]
fn data_of_another_length_than_announced_is_refused() {
    let raw = RawEntry { method: 8, crc32: 0, compressed_bytes: 5, size_bytes: 9 };
    let (mut writer, mut out) = (ZipWriter::new(), BytesMut::new());
    writer.begin_raw(&ZipEntry::named("a"), raw, &mut out).unwrap();
    writer.write(b"1234", &mut out);
    let error = writer.finish(&mut out).unwrap_err();
    assert_eq!(error, ZipWriteError::RawLength { entry: "a".into(), found: 4, announced: 5 });
    let name = "a".repeat(70_000);
    let error = ZipWriter::new().begin(&ZipEntry::named(&name), Packing::Deflate, &mut out).unwrap_err();
    assert_eq!(error, ZipWriteError::NameTooLong { length: 70_000 });
}

#[test]
fn more_entries_than_a_short_number_can_say_are_all_there() {
    const COUNT: usize = 70_000;
    let (mut writer, mut out) = (ZipWriter::new(), BytesMut::new());
    for number in 0..COUNT {
        let (name, raw) =
            (number.to_string(), RawEntry { method: 0, crc32: 0, compressed_bytes: 0, size_bytes: 0 });
        writer.begin_raw(&ZipEntry::named(&name), raw, &mut out).unwrap();
    }
    writer.finish(&mut out).unwrap();
    passes("unzip", &["-tq"], &out);
    let mut archive = ZipArchive::new(Cursor::new(out.to_vec())).unwrap();
    assert_eq!(archive.len(), COUNT);
    assert_eq!(archive.by_index(COUNT - 1).unwrap().name().unwrap(), "69999");
}

#[test]
fn entries_beyond_four_gibibytes_are_found() {
    const SIZE: u64 = (4 << 30) + 5;
    let mut file = tempfile::tempfile().unwrap();
    let (mut writer, mut out) = (ZipWriter::new(), BytesMut::new());
    // Nobody reads the content of the large one here, so that its CRC may be anything.
    let raw = RawEntry { method: 0, crc32: 7, compressed_bytes: SIZE, size_bytes: SIZE };
    writer.begin_raw(&ZipEntry::named("large"), raw, &mut out).unwrap();
    let zeros = vec![0; 1 << 20];
    let mut left = SIZE;
    while left > 0 {
        let piece = left.min(zeros.len() as u64);
        writer.write(&zeros[..usize::try_from(piece).unwrap()], &mut out);
        left -= piece;
        put_sparse(&mut file, &zeros, &mut out);
    }
    writer.begin(&ZipEntry::named("small"), Packing::Deflate, &mut out).unwrap();
    writer.write(b"behind it", &mut out);
    writer.finish(&mut out).unwrap();
    put_sparse(&mut file, &zeros, &mut out);
    let mut archive = ZipArchive::new(file).unwrap();
    assert_eq!(archive.by_name("large").unwrap().size(), SIZE);
    let mut found = String::new();
    archive.by_name("small").unwrap().read_to_string(&mut found).unwrap();
    assert_eq!(found, "behind it");
}

/// Writes what is ready, zeros as holes.
fn put_sparse(file: &mut File, zeros: &[u8], out: &mut BytesMut) {
    if zeros.starts_with(out) {
        file.seek(SeekFrom::Current(i64::try_from(out.len()).unwrap())).unwrap();
    } else {
        file.write_all(out).unwrap();
    }
    out.clear();
}
