//! Reads a snapshot ZIP through its central directory, by the name patterns of the backend's importer.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::sync::Arc;

use bytes::Bytes;
use zip::ZipArchive;

use super::arguments::check_identifier;
use super::failure::ImportFailure;
use super::rows::{RowSource, Rows};
use super::upload::{FilesUpload, Part, TableUpload, Upload};
use crate::spool::{Spool, SpoolReader};
use crate::value::{Encoding, Value};

const UNIFORM: &str = "\"uniform\"";

/// The tables and files of one archive, while it is being sorted out.
#[derive(Default)]
struct Sorted {
    /// Positions of `documents.jsonl` by component and table, in the order of the archive.
    documents: Vec<(Place, usize)>,
    /// Positions of `generated_schema.jsonl`.
    schemas: BTreeMap<Place, usize>,
    /// Files by component, as ID in the name and position.
    files: BTreeMap<String, Vec<(String, usize)>>,
}

type Place = (String, String);
/// A ZIP that was uploaded.
pub(crate) type UploadedZip = ZipArchive<BufReader<SpoolReader>>;

/// Reads a ZIP; `base` is the component that the paths inside are relative to; `as_old` passes over every marker that
/// says how numbers are to be read.
pub(crate) fn read_archive(spool: &Arc<Spool>, base: &str, as_old: bool) -> Result<Upload, ImportFailure> {
    let mut archive = open(spool)?;
    let mut sorted = sort(&archive, base)?;
    if as_old {
        sorted.schemas.clear();
    }
    let numbers = table_numbers(spool, &sorted)?;
    let mut upload = Upload::default();
    for ((component, table), position) in &sorted.documents {
        if table == "_storage" {
            let (row_count, rows) = storage_rows(spool, *position)?;
            let files = sorted.files.get(component).cloned().unwrap_or_default();
            let component = component.clone();
            upload.parts.push(Part::Files(FilesUpload { component, row_count, rows, files }));
        } else if !table.starts_with('_') {
            let place = (component.clone(), table.clone());
            let encoding = encoding(&mut archive, sorted.schemas.get(&place))?;
            let rows = Rows::json_lines(RowSource::Entry(*position), spool, encoding)?;
            upload.parts.push(table_part(place, &numbers, rows));
        }
    }
    add_listed_tables(&mut upload, &numbers);
    add_stray_files(&mut upload, sorted.files);
    Ok(upload)
}

/// Opens the archive anew, to read stored files out of it.
pub(crate) fn open(spool: &Arc<Spool>) -> Result<UploadedZip, ImportFailure> {
    ZipArchive::new(BufReader::new(spool.reader())).map_err(|_| invalid_zip())
}

/// The entry at `position`. Its CRC is checked when it was read to its end.
pub(crate) fn entry(archive: &mut UploadedZip, position: usize) -> Result<impl Read + '_, ImportFailure> {
    archive.by_index(position).map_err(|_| invalid_zip())
}

/// All bytes of the entry at `position`, its CRC checked.
fn read_entry(archive: &mut UploadedZip, position: usize) -> Result<Bytes, ImportFailure> {
    let mut bytes = Vec::new();
    entry(archive, position)?.read_to_end(&mut bytes).map_err(|_| invalid_zip())?;
    Ok(bytes.into())
}

pub(crate) fn invalid_zip() -> ImportFailure {
    ImportFailure::hit("invalid zip file")
}

fn sort(archive: &UploadedZip, base: &str) -> Result<Sorted, ImportFailure> {
    let mut sorted = Sorted::default();
    for position in 0..archive.len() {
        let Some(Ok(name)) = archive.name_for_index(position) else { continue };
        if let Some((component, file)) = storage_file(&name, base) {
            sorted.files.entry(component).or_default().push((file, position));
        }
        let Some((folder, file)) = name.rsplit_once('/') else { continue };
        let (prefix, table) = folder.rsplit_once('/').unwrap_or(("", folder));
        if !matches!(file, "documents.jsonl" | "generated_schema.jsonl") {
            continue;
        }
        check_identifier(table)
            .map_err(|reason| ImportFailure::hit(format!("invalid table name {table}: {reason}")))?;
        let place = (component_path(prefix, base), table.to_owned());
        if file == "documents.jsonl" {
            sorted.documents.push((place, position));
        } else {
            sorted.schemas.insert(place, position);
        }
    }
    Ok(sorted)
}

/// The component and the ID of a name that holds `_storage/` and one more segment.
///
/// The pattern is not anchored, so the schema of a user table named `…_storage` is taken for a stored file, and such
/// a snapshot cannot be imported: a real backend does the same.
fn storage_file(name: &str, base: &str) -> Option<(String, String)> {
    let (folder, file) = name.rsplit_once('/')?;
    let prefix = folder.strip_suffix("_storage")?;
    let id = file.split('.').next().unwrap_or(file);
    (!id.is_empty() && id != "documents").then(|| (component_path(prefix, base), id.to_owned()))
}

/// Peels `_components/<name>` off the end of `prefix`; other folders in front are passed over.
fn component_path(prefix: &str, base: &str) -> String {
    let mut segments: Vec<&str> = prefix.trim_end_matches('/').split('/').collect();
    let mut names = Vec::new();
    while let [.., "_components", name] = segments.as_slice() {
        names.push(*name);
        segments.truncate(segments.len() - 2);
    }
    if !base.is_empty() {
        names.push(base);
    }
    names.reverse();
    names.join("/")
}

/// The table numbers of every `_tables`, by component and table.
fn table_numbers(spool: &Arc<Spool>, sorted: &Sorted) -> Result<BTreeMap<Place, u32>, ImportFailure> {
    let mut numbers = BTreeMap::new();
    for ((component, table), position) in &sorted.documents {
        if table != "_tables" {
            continue;
        }
        let rows = Rows::json_lines(RowSource::Entry(*position), spool, Encoding::Clean)?;
        rows.source.each(spool, |at, text| {
            let row = Value::parse(text, Encoding::Clean)
                .map_err(|error| ImportFailure::not_a_value(at + 1, error))?;
            let name = row.get("name").and_then(Value::as_str);
            let number = row.get("id").and_then(Value::as_f64);
            let (Some(name), Some(number)) = (name, number) else {
                return Err(ImportFailure::not_a_value(at + 1, "a table has a name and an id"));
            };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates")]
            numbers.insert((component.clone(), name.to_owned()), number as u32);
            Ok(())
        })?;
    }
    Ok(numbers)
}

/// The rows of stored files: how many, and those that can be read by their `_id`.
fn storage_rows(
    spool: &Arc<Spool>,
    position: usize,
) -> Result<(usize, BTreeMap<String, Value>), ImportFailure> {
    let rows = Rows::json_lines(RowSource::Entry(position), spool, Encoding::Export)?;
    let mut by_id = BTreeMap::new();
    rows.source.each(spool, |_, text| {
        let row = Value::parse(text, Encoding::Export).ok();
        if let Some((id, row)) = row.and_then(|row| Some((row.get("_id")?.as_str()?.to_owned(), row))) {
            by_id.insert(id, row);
        }
        Ok(())
    })?;
    Ok((rows.count, by_id))
}

/// The rules that a table's schema entry asks for.
fn encoding(archive: &mut UploadedZip, schema: Option<&usize>) -> Result<Encoding, ImportFailure> {
    schema.map_or(Ok(Encoding::Clean), |schema| schema_encoding(&read_entry(archive, *schema)?))
}

/// `"uniform"` asks for the lossless rules. Shapes of servers before 2026-03-11 are JSON texts as well; of these only
/// the default (every number is a float) is followed, not the overrides of single documents.
fn schema_encoding(text: &Bytes) -> Result<Encoding, ImportFailure> {
    if text.trim_ascii() == UNIFORM.as_bytes() {
        return Ok(Encoding::Export);
    }
    let is_json = |line: &[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok();
    let mut lines = text.split_inclusive(|byte| *byte == b'\n');
    if !lines.clone().all(is_json) {
        return Err(ImportFailure::hit("generated_schema.jsonl is not a schema"));
    }
    match lines.nth(1) {
        None => Ok(Encoding::Clean),
        Some(_) => Err(ImportFailure::hit(
            "the simulator does not read per-document overrides in generated_schema.jsonl",
        )),
    }
}

fn table_part((component, name): Place, numbers: &BTreeMap<Place, u32>, rows: Rows) -> Part {
    let place = (component, name);
    let number = numbers.get(&place).copied();
    Part::Table(TableUpload { component: place.0, name: place.1, number, rows })
}

/// Tables that `_tables` lists and that have no documents are made empty.
fn add_listed_tables(upload: &mut Upload, numbers: &BTreeMap<Place, u32>) {
    for place @ (component, name) in numbers.keys() {
        let present =
            upload.parts.iter().any(|part| part.component() == component && part.display_name() == name);
        if !present && !name.starts_with('_') {
            upload.parts.push(table_part(place.clone(), numbers, Rows::none()));
        }
    }
}

/// Files of components without `_storage/documents.jsonl` are passed over, except where a name is no ID at all: that
/// fails the import wherever it stands.
fn add_stray_files(upload: &mut Upload, files: BTreeMap<String, Vec<(String, usize)>>) {
    for (component, files) in files {
        let known = upload
            .parts
            .iter()
            .any(|part| matches!(part, Part::Files(files) if files.component == component));
        let wrong: Vec<_> = files
            .into_iter()
            .filter(|(id, _)| id.parse::<crate::document_id::DocumentId>().is_err())
            .collect();
        if !known && !wrong.is_empty() {
            upload.strays.extend(wrong.into_iter().map(|(id, _)| id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{component_path, storage_file};

    #[test]
    fn components_are_peeled_off_the_end() {
        assert_eq!(component_path("", ""), "");
        assert_eq!(component_path("_components/outer/_components/inner/", ""), "outer/inner");
        assert_eq!(component_path("top/_components/a", ""), "a");
        assert_eq!(component_path("_components/a/extra", ""), "");
        assert_eq!(component_path("_components/a", "base"), "base/a");
    }

    #[test]
    fn the_schema_of_a_table_named_storage_is_taken_for_a_file() {
        let found = |name| storage_file(name, "").map(|(_, id)| id);
        assert_eq!(found("_storage/documents.jsonl"), None);
        assert_eq!(found("_storage/kg21.pdf").as_deref(), Some("kg21"));
        assert_eq!(found("order_storage/generated_schema.jsonl").as_deref(), Some("generated_schema"));
        assert_eq!(found("orders/generated_schema.jsonl"), None);
    }
}
