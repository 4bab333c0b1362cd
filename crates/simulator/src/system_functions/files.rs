//! Stored files, as the dashboard lists them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::tables::{creation_time, number};
use super::{Call, pages};
use crate::database::{Database, StoredFile};
use crate::generated_files::GeneratedFiles;
use crate::generator::Generator;
use crate::value::Value;

/// `fileStorageV2:fileMetadata`: a page of files with their URLs, newest first unless asked otherwise.
pub(super) fn metadata(call: Call<'_>) -> Result<Value, String> {
    let origin = call.state.cloud_origin();
    let filters = call.arguments.get("filters");
    let is_ascending =
        filters.and_then(|filters| filters.get("order")).and_then(Value::as_str) == Some("asc");
    if let Some(generator) = generated(&call) {
        let files = &generator.files;
        let mut order = files.by_creation().to_vec();
        if !is_ascending {
            order.reverse();
        }
        return pages::page(&call, &order, |index| generated_row(files, *index, &origin));
    }
    let mut files = call.in_component(|database, path| with_urls(database, path, &origin))?;
    let limit = |name| filters.and_then(|filters| filters.get(name)).and_then(Value::as_f64);
    let (first, last) = (limit("minCreationTime"), limit("maxCreationTime"));
    files.retain(|file| {
        first.is_none_or(|first| creation_time(file) >= first)
            && last.is_none_or(|last| creation_time(file) <= last)
    });
    files.sort_by(|a, b| creation_time(b).total_cmp(&creation_time(a)));
    if is_ascending {
        files.reverse();
    }
    pages::page(&call, &files, Clone::clone)
}

/// The files that are made up, where the call is about the root of a deployment that has such.
fn generated(call: &Call<'_>) -> Option<Arc<Generator>> {
    let is_root = matches!(call.arguments.get("componentId"), None | Some(Value::Null));
    call.state.generator().filter(|_| is_root && call.component.is_empty())
}

/// `fileStorageV2:numFiles`: how many files a component has.
pub(super) fn count(call: Call<'_>) -> Result<Value, String> {
    if let Some(generator) = generated(&call) {
        return Ok(number(usize::try_from(generator.files.count()).unwrap_or(usize::MAX)));
    }
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
        ("size", number(usize::try_from(file.content.len()).unwrap_or(usize::MAX))),
    ]);
    match &file.content_type {
        Some(content_type) => with(row, "contentType", content_type),
        None => row,
    }
}

fn generated_row(files: &GeneratedFiles, index: u64, origin: &str) -> Value {
    let row = Value::object([
        ("_id", files.id(index).to_string().into()),
        ("_creationTime", Value::Float64(files.creation_time_ms(index))),
        ("sha256", STANDARD.encode(files.sha256(index).0).into()),
        ("size", number(usize::try_from(files.size_bytes()).unwrap_or(usize::MAX))),
        ("url", format!("{origin}/api/storage/{}", files.uuid(index)).into()),
    ]);
    match files.content_type(index) {
        Some(content_type) => with(row, "contentType", content_type),
        None => row,
    }
}

/// The URL of a component's file names the component.
fn with_urls(database: &Database, path: &str, origin: &str) -> Vec<Value> {
    let component = database.component(path).filter(|_| !path.is_empty());
    let place = component.map_or_else(String::new, |component| format!("?component={}", component.id));
    let url = |file: &StoredFile| format!("{origin}/api/storage/{}{place}", file.internal_id);
    stored(database, path).map(|file| with(row(file), "url", &url(file))).collect()
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
