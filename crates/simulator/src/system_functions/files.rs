//! Stored files, as the dashboard lists them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::tables::{creation_time, number};
use super::{Call, pages};
use crate::database::{Database, StoredFile};
use crate::value::Value;

/// `fileStorageV2:fileMetadata`: a page of files with their URLs, newest first unless asked otherwise.
pub(super) fn metadata(call: Call<'_>) -> Result<Value, String> {
    let origin = call.state.cloud_origin();
    let mut files = call.in_component(|database, path| with_urls(database, path, &origin))?;
    let filters = call.arguments.get("filters");
    let limit = |name| filters.and_then(|filters| filters.get(name)).and_then(Value::as_f64);
    let (first, last) = (limit("minCreationTime"), limit("maxCreationTime"));
    files.retain(|file| {
        first.is_none_or(|first| creation_time(file) >= first)
            && last.is_none_or(|last| creation_time(file) <= last)
    });
    files.sort_by(|a, b| creation_time(b).total_cmp(&creation_time(a)));
    if filters.and_then(|filters| filters.get("order")).and_then(Value::as_str) == Some("asc") {
        files.reverse();
    }
    pages::page(&call, &files, Clone::clone)
}

/// `fileStorageV2:numFiles`: how many files a component has.
pub(super) fn count(call: Call<'_>) -> Result<Value, String> {
    call.in_component(|database, path| {
        number(database.component(path).map_or(0, |component| component.files().len()))
    })
}

/// `fileStorageV2:getFile`: one file, or null.
pub(super) fn get(call: Call<'_>) -> Result<Value, String> {
    let id = call.text("storageId")?;
    let origin = call.state.cloud_origin();
    let files = call.in_component(|database, path| with_urls(database, path, &origin))?;
    let found = files.into_iter().find(|file| file.get("_id").and_then(Value::as_str) == Some(id));
    Ok(found.unwrap_or(Value::Null))
}

/// The rows of `_storage`.
pub(super) fn rows(database: &Database, path: &str) -> Vec<Value> {
    stored(database, path).map(row).collect()
}

fn stored<'a>(database: &'a Database, path: &str) -> impl Iterator<Item = &'a StoredFile> {
    database.component(path).into_iter().flat_map(|component| component.files().values())
}

fn row(file: &StoredFile) -> Value {
    let row = Value::object([
        ("_id", file.id.to_string().into()),
        ("_creationTime", Value::Float64(file.creation_time_ms)),
        ("sha256", STANDARD.encode(file.sha256.0).into()),
        ("size", number(file.content.len())),
    ]);
    match &file.content_type {
        Some(content_type) => with(row, "contentType", content_type),
        None => row,
    }
}

fn with_urls(database: &Database, path: &str, origin: &str) -> Vec<Value> {
    let files = stored(database, path);
    files.map(|file| with(row(file), "url", &format!("{origin}/api/storage/{}", file.internal_id))).collect()
}

fn with(row: Value, name: &str, text: &str) -> Value {
    match row {
        Value::Object(mut fields) => {
            fields.insert(name.to_owned(), text.into());
            Value::Object(fields)
        }
        other => other,
    }
}
