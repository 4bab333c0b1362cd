//! Reads a snapshot ZIP through its central directory, by the name patterns of the backend's importer.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};

use bytes::Bytes;
use zip::ZipArchive;

use super::arguments::check_identifier;
use super::failure::ImportFailure;
use super::parse::json_lines;
use super::upload::{FilesUpload, Part, Rows, TableUpload, Upload};
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

/// Reads a ZIP; `base` is the component that the paths inside are relative to.
pub(crate) fn read_archive(bytes: &Bytes, base: &str) -> Result<Upload, ImportFailure> {
    let mut archive = open(bytes)?;
    let sorted = sort(&archive, base)?;
    let numbers = table_numbers(&mut archive, &sorted)?;
    let mut upload = Upload::default();
    for ((component, table), position) in &sorted.documents {
        if table == "_storage" {
            let rows = json_lines(&read_entry(&mut archive, *position)?, Encoding::Export)?.texts;
            let files = sorted.files.get(component).cloned().unwrap_or_default();
            upload.parts.push(Part::Files(FilesUpload { component: component.clone(), rows, files }));
        } else if !table.starts_with('_') {
            let place = (component.clone(), table.clone());
            let rows = read_rows(&mut archive, *position, sorted.schemas.get(&place))?;
            upload.parts.push(table_part(place, &numbers, rows));
        }
    }
    add_listed_tables(&mut upload, &numbers);
    add_stray_files(&mut upload, sorted.files);
    Ok(upload)
}

/// Opens the archive anew, to read stored files out of it.
pub(crate) fn open(bytes: &Bytes) -> Result<ZipArchive<Cursor<Bytes>>, ImportFailure> {
    ZipArchive::new(Cursor::new(bytes.clone())).map_err(|_| invalid_zip())
}

/// All bytes of the entry at `position`, its CRC checked.
pub(crate) fn read_entry(
    archive: &mut ZipArchive<Cursor<Bytes>>,
    position: usize,
) -> Result<Bytes, ImportFailure> {
    let mut entry = archive.by_index(position).map_err(|_| invalid_zip())?;
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(|_| invalid_zip())?;
    Ok(bytes.into())
}

fn invalid_zip() -> ImportFailure {
    ImportFailure::hit("invalid zip file")
}

fn sort(archive: &ZipArchive<Cursor<Bytes>>, base: &str) -> Result<Sorted, ImportFailure> {
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
fn table_numbers(
    archive: &mut ZipArchive<Cursor<Bytes>>,
    sorted: &Sorted,
) -> Result<BTreeMap<Place, u32>, ImportFailure> {
    let mut numbers = BTreeMap::new();
    for ((component, table), position) in &sorted.documents {
        if table != "_tables" {
            continue;
        }
        let rows = json_lines(&read_entry(archive, *position)?, Encoding::Clean)?;
        for (at, text) in rows.texts.iter().enumerate() {
            let row = Value::parse(text, Encoding::Clean)
                .map_err(|error| ImportFailure::not_a_value(at + 1, error))?;
            let name = row.get("name").and_then(Value::as_str);
            let number = row.get("id").and_then(Value::as_f64);
            let (Some(name), Some(number)) = (name, number) else {
                return Err(ImportFailure::not_a_value(at + 1, "a table has a name and an id"));
            };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates")]
            numbers.insert((component.clone(), name.to_owned()), number as u32);
        }
    }
    Ok(numbers)
}

/// Reads the rows of a table by the rules that its schema entry asks for.
fn read_rows(
    archive: &mut ZipArchive<Cursor<Bytes>>,
    position: usize,
    schema: Option<&usize>,
) -> Result<Rows, ImportFailure> {
    let encoding = match schema {
        None => Encoding::Clean,
        Some(schema) => {
            let text = read_entry(archive, *schema)?;
            schema_encoding(&text)?
        }
    };
    json_lines(&read_entry(archive, position)?, encoding)
}

/// `"uniform"` asks for the lossless rules. Shapes of servers before 2026-03-11 are JSON texts as well; of these only
/// the default (every number is a float) is followed, not the overrides of single documents.
fn schema_encoding(text: &Bytes) -> Result<Encoding, ImportFailure> {
    if text.trim_ascii() == UNIFORM.as_bytes() {
        return Ok(Encoding::Export);
    }
    match json_lines(text, Encoding::Clean) {
        Ok(rows) if rows.texts.len() <= 1 => Ok(Encoding::Clean),
        Ok(_) => Err(ImportFailure::hit(
            "the simulator does not read per-document overrides in generated_schema.jsonl",
        )),
        Err(_) => Err(ImportFailure::hit("generated_schema.jsonl is not a schema")),
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
            let rows = Rows { texts: Vec::new(), encoding: Encoding::Export, missing_id: false };
            upload.parts.push(table_part(place.clone(), numbers, rows));
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
