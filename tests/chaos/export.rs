//! Exports made of bytes.

use std::{
    fmt::Write as _,
    io::{Cursor, Write as _},
};

use bytes::Bytes;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// What an export is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    /// Tells one export from another. Exports of as many documents have the same length.
    pub(crate) serial: u32,
    pub(crate) documents: u32,
    /// One stored file is not what its row says.
    pub(crate) damaged: bool,
}

/// The id of the only stored file.
pub(crate) const FILE_ID: &str = "kg2aaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// Base64 of the SHA-256 of the stored file.
const FILE_SHA256: &str = "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=";
const FILE: &[u8] = b"hello world";

/// The bytes of an export.
pub(crate) fn export(content: Content) -> Bytes {
    let mut users = String::new();
    for number in 0..content.documents {
        writeln!(
            users,
            "{{\"_creationTime\":1.5,\"_id\":\"k{number:06}\",\"n\":\"{:010}\"}}",
            content.serial
        )
        .unwrap();
    }
    let row = format!(
        "{{\"_id\":\"{FILE_ID}\",\"_creationTime\":1700000000000.0,\"sha256\":\"{FILE_SHA256}\",\"size\":11,\
         \"contentType\":null,\"internalId\":\"8c2d5a4e-0d4e-4b1c-9a2e-0f3a1b2c3d4e\"}}\n"
    );
    let file = if content.damaged { b"hellO world" } else { FILE };
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, content) in [
        ("_tables/documents.jsonl", "{\"name\":\"users\",\"id\":10001}\n".as_bytes()),
        ("users/documents.jsonl", users.as_bytes()),
        ("users/generated_schema.jsonl", b"\"uniform\"\n"),
        ("_storage/documents.jsonl", row.as_bytes()),
        (&format!("_storage/{FILE_ID}.bin"), file),
    ] {
        zip.start_file(name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner().into()
}
