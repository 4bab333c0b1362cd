//! Values and IDs against the lines of real exports.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use convault_simulator::{DocumentId, Encoding, Value};

/// The real exports, where this checkout has them beside it.
#[expect(clippy::disallowed_methods, reason = "a test is told in its environment where the fixtures are")]
fn fixtures() -> Vec<PathBuf> {
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures/convex"));
    let folder = std::env::var_os("CONVAULT_FIXTURES").map_or(beside, PathBuf::from);
    let names = ["small.zip", "small-nostorage.zip", "limits.zip", "empty.zip"];
    names.iter().map(|name| folder.join(name)).filter(|path| path.exists()).collect()
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn every_line_of_a_real_export_is_rewritten_byte_for_byte() {
    let mut lines = 0;
    for path in fixtures() {
        let mut zip = zip::ZipArchive::new(File::open(path).unwrap()).unwrap();
        for index in 0..zip.len() {
            let mut entry = zip.by_index(index).unwrap();
            let name = entry.name().unwrap().into_owned();
            // These have the key order of the backend's structs, and are not documents.
            let listing =
                name.ends_with("_tables/documents.jsonl") || name.ends_with("_storage/documents.jsonl");
            if !name.ends_with("documents.jsonl") || listing {
                continue;
            }
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            for line in text.lines() {
                let value = Value::parse(line.as_bytes(), Encoding::Export).unwrap();
                assert!(value.to_json(Encoding::Export) == line, "{name}: {}", &line[..line.len().min(300)]);
                let encoded = value.to_json(Encoding::Encoded);
                let again = Value::parse(encoded.as_bytes(), Encoding::Encoded).unwrap();
                assert!(again.to_json(Encoding::Export) == line, "{name}: {}", &line[..line.len().min(300)]);
                let id = value.get("_id").and_then(Value::as_str).unwrap();
                assert_eq!(id.parse::<DocumentId>().unwrap().to_string(), id);
                lines += 1;
            }
        }
    }
    if lines == 0 {
        eprintln!("skipped: the fixtures are not beside this checkout");
    }
}
