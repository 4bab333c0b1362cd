//! Every ZIP that is not a usable snapshot ends in its own error.

#![allow(clippy::unwrap_used, reason = "a failed test is what a panic is for")]

mod common;

use common::{Descriptor, ZipBuilder, read, read_with, small};
use convault_archive::{ArchiveError, Cause, NameProblem, Options};

fn refused(zip: &[u8]) -> ArchiveError {
    let error = read(zip).expect_err("it is no usable snapshot");
    for size in [1, 5, 64] {
        let chunked = read_with(zip, size, Options::default()).expect_err("in chunks neither");
        assert_eq!(std::mem::discriminant(&chunked), std::mem::discriminant(&error), "{chunked} / {error}");
    }
    error
}

macro_rules! assert_refused {
    ($zip:expr, $pattern:pat $(if $guard:expr)?, $cause:ident) => {{
        let error = refused(&$zip);
        assert!(matches!(&error, $pattern $(if $guard)?), "{error:?}");
        assert_eq!(error.cause(), Cause::$cause, "{error:?}");
    }};
}

fn place_of(zip: &[u8], needle: &[u8]) -> usize {
    zip.windows(needle.len()).position(|window| window == needle).unwrap()
}

fn last_place_of(zip: &[u8], needle: &[u8]) -> usize {
    zip.windows(needle.len()).rposition(|window| window == needle).unwrap()
}

#[test]
fn a_sound_export_is_not_refused() {
    let found = read(&small().finish()).unwrap();
    assert!(found.findings.damage.is_empty(), "{:?}", found.findings.damage);
}

#[test]
fn every_truncation_is_named() {
    let zip = small().finish();
    for length in 0..zip.len() {
        let error = read(&zip[..length]).unwrap_err();
        assert!(
            matches!(error, ArchiveError::Truncated { received, .. } if received == length as u64),
            "{error:?}"
        );
        assert_eq!(error.cause(), Cause::Transit);
    }
}

#[test]
fn another_length_than_announced_is_refused() {
    let zip = small().finish();
    for announced in [zip.len() as u64 - 1, zip.len() as u64 + 1, 0] {
        let options = Options { announced_bytes: Some(announced), ..Options::default() };
        let error = read_with(&zip, 100, options).unwrap_err();
        assert!(
            matches!(error, ArchiveError::WrongLength { announced: a, .. } if a == announced),
            "{error:?}"
        );
        assert_eq!(error.cause(), Cause::Transit);
    }
    let options = Options { announced_bytes: Some(zip.len() as u64), ..Options::default() };
    assert!(read_with(&zip, 100, options).is_ok());
}

#[test]
fn what_is_no_zip_is_refused() {
    assert_refused!(
        *b"<html>502 Bad Gateway</html>",
        ArchiveError::NotAZip { found: [b'<', b'h', b't', b'm'] },
        Transit
    );
    let mut junk = b"junk before".to_vec();
    junk.extend(small().finish());
    assert_refused!(junk, ArchiveError::NotAZip { .. }, Transit);
}

#[test]
fn bytes_behind_the_end_are_refused() {
    let mut zip = small().finish();
    let end = zip.len() as u64;
    zip.extend_from_slice(b"x");
    assert_refused!(zip, ArchiveError::TrailingBytes { offset } if *offset == end, Transit);
    zip.extend_from_slice(b"yzabc");
    assert_refused!(zip, ArchiveError::TrailingBytes { offset } if *offset == end, Transit);
}

#[test]
fn a_second_end_record_is_refused() {
    let mut zip = small().finish();
    let end = zip[zip.len() - 22..].to_vec();
    zip.extend(end);
    assert_refused!(zip, ArchiveError::SecondEnd { .. }, Transit);
}

#[test]
fn comments_are_refused() {
    let mut zip = small().finish();
    let length = zip.len();
    zip[length - 2] = 3;
    zip.extend_from_slice(b"abc");
    assert_refused!(zip, ArchiveError::Comment { length: 3, .. }, Unsupported);

    let mut zip = small().finish();
    let directory = place_of(&zip, b"PK\x01\x02");
    zip[directory + 32] = 1;
    assert_refused!(zip, ArchiveError::Comment { length: 1, .. }, Unsupported);
}

#[test]
fn changed_content_is_refused() {
    let mut zip = ZipBuilder::new();
    zip.packed_entry(b"README.md", &ZipBuilder::deflate(b"hello", 6), 7, 5);
    assert_refused!(zip.finish(), ArchiveError::Crc { expected: 7, .. }, Transit);

    let mut zip = ZipBuilder::new();
    zip.packed_entry(b"README.md", &[0xff; 40], 7, 5);
    assert_refused!(zip.finish(), ArchiveError::Inflate { entry, .. } if entry == "README.md", Transit);

    let mut zip = ZipBuilder { descriptor: Descriptor::InHeader, stored: true, ..ZipBuilder::new() };
    let crc32 = crc32fast::hash(b"hello");
    zip.packed_entry(b"README.md", b"hello", crc32, 6);
    assert_refused!(
        zip.finish(),
        ArchiveError::Size { which: "content", expected: 6, found: 5, .. },
        Transit
    );
}

#[test]
fn a_descriptor_that_fits_nothing_is_refused() {
    let mut zip = ZipBuilder { descriptor: Descriptor::Narrow, ..ZipBuilder::new() };
    zip.entry("README.md", b"hello");
    let mut zip = zip.finish();
    let descriptor = place_of(&zip, b"PK\x07\x08");
    zip[descriptor + 12] ^= 1;
    assert_refused!(zip, ArchiveError::Descriptor { .. }, Transit);
}

#[test]
fn a_directory_that_lists_other_entries_is_refused() {
    assert_refused!(
        small().unlist_last().finish(),
        ArchiveError::DirectoryCount { listed: 10, seen: 11 },
        Transit
    );
    assert_refused!(small().swap_listed().finish(), ArchiveError::DirectoryDiffers, Transit);
    let mut zip = small().finish();
    let name = last_place_of(&zip, b"README.md");
    zip[name] = b'r';
    assert_refused!(zip, ArchiveError::DirectoryDiffers, Transit);
}

#[test]
fn unknown_bytes_between_entries_are_refused() {
    let mut zip = ZipBuilder { descriptor: Descriptor::InHeader, ..ZipBuilder::new() };
    zip.entry("README.md", b"hello");
    zip.bytes.extend_from_slice(b"gap!");
    assert_refused!(zip.finish(), ArchiveError::UnknownBytes { found, .. } if found == b"gap!", Transit);
}

#[test]
fn end_records_that_contradict_are_refused() {
    for (signature, offset) in [
        (b"PK\x06\x06", 24),
        (b"PK\x06\x06", 40),
        (b"PK\x06\x06", 48),
        (b"PK\x06\x07", 8),
        (b"PK\x05\x06", 10),
    ] {
        let mut zip = small().finish();
        let at = last_place_of(&zip, signature) + offset;
        zip[at] ^= 1;
        assert_refused!(zip, ArchiveError::EndRecord { .. }, Transit);
    }
    for (signature, offset) in
        [(b"PK\x06\x06", 16), (b"PK\x06\x07", 4), (b"PK\x05\x06", 4), (b"PK\x01\x02", 34)]
    {
        let mut zip = small().finish();
        let at = last_place_of(&zip, signature) + offset;
        zip[at] ^= 1;
        assert_refused!(zip, ArchiveError::Multipart, Unsupported);
    }
    let mut zip = small().finish();
    let at = place_of(&zip, b"PK\x06\x06") + 4;
    zip[at] ^= 1;
    assert_refused!(zip, ArchiveError::Zip64Record { length: 45 }, Unsupported);
}

#[test]
fn malformed_extra_fields_are_refused() {
    let mut zip = small().finish();
    let extra = place_of(&zip, b"README.md") + 9;
    zip[extra + 2] = 17;
    assert_refused!(zip, ArchiveError::ExtraField { .. }, Transit);
}

#[test]
fn names_that_could_lead_elsewhere_are_refused() {
    for (name, expected) in [
        (&b"../../etc/passwd"[..], NameProblem::Climbing),
        (b"/etc/passwd", NameProblem::Absolute),
        (b"..\\x", NameProblem::Backslash),
        (b"a\0b", NameProblem::Control),
        (b"\xff\xfe", NameProblem::NotUtf8),
        (b"folder/", NameProblem::EmptySegment),
        (b"", NameProblem::Empty),
    ] {
        let mut zip = ZipBuilder::new();
        zip.raw_entry(name, b"x");
        assert_refused!(zip.finish(), ArchiveError::UnsafeName { problem, .. } if *problem == expected, Source);
    }
    let mut zip = ZipBuilder::new();
    zip.raw_entry(&[b'a'; 5000], b"x");
    assert_refused!(zip.finish(), ArchiveError::NameTooLong { length: 5000, limit: 4096 }, Unsupported);
}

#[test]
fn a_name_that_comes_twice_is_refused() {
    for name in
        ["users/documents.jsonl", "users/generated_schema.jsonl", "_tables/documents.jsonl", "README.md"]
    {
        let mut zip = small();
        zip.entry(name, b"");
        assert_refused!(zip.finish(), ArchiveError::DuplicateName { name: twice } if twice == name, Source);
    }
    let mut zip = small();
    zip.entry("_storage/f1.txt", b"one");
    assert_refused!(zip.finish(), ArchiveError::DuplicateName { name } if name == "_storage/f1.txt", Source);
}

#[test]
fn zip_bombs_are_refused() {
    let zeros = vec![0; 65 << 20];
    let mut zip = ZipBuilder::new();
    zip.entry("README.md", &zeros);
    let zip = zip.finish();
    let error = read(&zip).unwrap_err();
    assert!(matches!(&error, ArchiveError::ZipBomb { entry, .. } if entry == "README.md"), "{error:?}");
    assert_eq!(error.cause(), Cause::Source);

    let mut zip = ZipBuilder::new();
    zip.table("users", &"{\"_id\":\"a\"}\n".repeat(1000));
    let options = Options { max_content_bytes: 5000, ..Options::default() };
    let error = read_with(&zip.finish(), 100, options).unwrap_err();
    assert!(matches!(&error, ArchiveError::ZipBomb { limit: 5000, .. }), "{error:?}");
}

#[test]
fn a_line_of_seventeen_mebibytes_is_refused() {
    let mut zip = ZipBuilder::new();
    zip.table("users", &format!("{{\"_id\":\"a\"}}\n{{\"_id\":\"b\",\"t\":\"{}\"}}\n", "x".repeat(17 << 20)));
    let error = read(&zip.finish()).unwrap_err();
    assert!(
        matches!(error, ArchiveError::LineTooLong { line_number: 1, limit: 16_777_216, .. }),
        "{error:?}"
    );
    assert_eq!(error.cause(), Cause::Unsupported);
}

#[test]
fn more_tables_or_unknown_entries_than_the_limit_are_refused() {
    let mut zip = ZipBuilder::new();
    for n in 0..4 {
        zip.table(&format!("t{n}"), "");
    }
    let zip = zip.finish();
    let options = Options { max_tables: 3, ..Options::default() };
    let error = read_with(&zip, 100, options).unwrap_err();
    assert!(matches!(error, ArchiveError::TooMany { what: "tables", limit: 3 }), "{error:?}");
    let mut zip = ZipBuilder::new();
    for n in 0..1100 {
        zip.entry(&format!("other{n}"), b"");
    }
    assert_refused!(zip.finish(), ArchiveError::TooMany { limit: 1024, .. }, Unsupported);
}

#[test]
fn entries_of_a_kind_convex_does_not_write_are_refused() {
    let changed = |offset: usize, value: u8| {
        let mut zip = small().finish();
        zip[offset] = value;
        zip
    };
    assert_refused!(changed(8, 9), ArchiveError::Method { method: 9, .. }, Unsupported);
    assert_refused!(changed(6, 9), ArchiveError::Encrypted { .. }, Unsupported);
    assert_refused!(changed(6, 0x28), ArchiveError::Flags { flags: 0x0828, .. }, Unsupported);
    assert_refused!(changed(8, 0), ArchiveError::StoredWithDescriptor { .. }, Unsupported);
}

#[test]
fn every_form_of_descriptor_in_use_is_read() {
    let expected = read(&small().finish()).unwrap().findings;
    for descriptor in
        [Descriptor::Narrow, Descriptor::Bare, Descriptor::Wide, Descriptor::WideBare, Descriptor::InHeader]
    {
        let mut zip = ZipBuilder { descriptor, ..ZipBuilder::new() };
        zip.entry("_tables/documents.jsonl", b"{\"name\":\"t\",\"id\":10001}\n");
        zip.table("t", "{\"_id\":\"a\"}\n");
        let found = read(&zip.finish()).unwrap_or_else(|error| panic!("{descriptor:?}: {error}")).findings;
        assert_eq!(found.totals.documents, 1);
        assert_eq!(found.format, expected.format);
    }
    let mut zip =
        ZipBuilder { descriptor: Descriptor::InHeader, stored: true, zip64: false, ..ZipBuilder::new() };
    zip.entry("_tables/documents.jsonl", b"").entry("README.md", b"hello").entry("empty", b"");
    assert_eq!(read(&zip.finish()).unwrap().findings.totals.entries, 3);
}
