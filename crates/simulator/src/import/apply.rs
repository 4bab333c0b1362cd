//! Brings the rows and files of an upload into the data.
//!
//! Rows go into hidden tables that appear together at the end; only `append` writes into tables that exist, batch by
//! batch, so that a failed one leaves a part behind (seen on a real backend).

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use convault_core::Sha256;

use super::arguments::ImportMode;
use super::failure::ImportFailure;
use super::limits;
use super::parse;
use super::upload::{FilesUpload, Part, TableUpload, Upload};
use crate::database::{Component, Database, StoredFile, Table};
use crate::document_id::{DocumentId, STORAGE_TABLE_NUMBER};
use crate::spool::{FileContent, Spool};
use crate::state::AppState;
use crate::value::{Document, Encoding, Value};

/// A batch is written once it has more than half of the documents of one transaction.
const BATCH_ROWS: usize = 8001;
/// Creation times that are made up for the rows of one import are this far apart: a quarter of a microsecond.
const CREATION_STEP_MS: f64 = 0.000_25;

/// A component and a table of it.
pub(super) type Place = (String, String);

/// What an import has prepared and not yet made visible.
#[derive(Debug)]
pub(crate) struct Application {
    mode: ImportMode,
    /// What the file holds, by component and table, as far as conflicts of numbers are concerned.
    imported: Vec<Place>,
    pub(super) tables: BTreeMap<Place, Table>,
    pub(super) files: BTreeMap<String, BTreeMap<DocumentId, StoredFile>>,
}

/// The result of one table: how many rows were written, and the failure that ended it early.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) rows: usize,
    pub(crate) failure: Option<ImportFailure>,
}

impl Application {
    pub(crate) fn new(mode: ImportMode, upload: &Upload) -> Self {
        let place = |part: &Part| (part.component().to_owned(), part.display_name().to_owned());
        Self {
            mode,
            imported: upload.parts.iter().map(place).collect(),
            tables: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    /// Whether the rows of this part go into tables that people see at once.
    pub(crate) fn is_visible(&self, part: &Part, database: &Database) -> bool {
        self.mode == ImportMode::Append
            && match part {
                Part::Table(table) => database.table(&table.component, &table.name).is_some(),
                Part::Files(files) => database.component(&files.component).is_some(),
            }
    }

    /// Brings in one table, which takes long where it is large. The data is not held up meanwhile.
    pub(crate) fn table(
        &mut self,
        upload: &TableUpload,
        spool: &Arc<Spool>,
        state: &AppState,
        now_ms: f64,
    ) -> Written {
        let first = match first_number(upload, spool) {
            Ok(first) => first,
            Err(failure) => return Written { rows: 0, failure: Some(failure) },
        };
        let begun = state.read(|database| {
            let component = database.component(&upload.component);
            let existing = component.and_then(|component| component.table(&upload.name));
            let appended = existing.filter(|_| self.mode == ImportMode::Append).cloned();
            self.number(upload, first, component).map(|number| (number, appended))
        });
        let (number, appended) = match begun {
            Ok(begun) => begun,
            Err(failure) => return Written { rows: 0, failure: Some(failure) },
        };
        let visible = appended.is_some();
        let table = appended.unwrap_or_else(|| Table::new(number));
        let mut rows = RowWriter { upload, table, batch: BTreeMap::new(), now_ms };
        let written = rows.write_all(spool, state);
        let place = (upload.component.clone(), upload.name.clone());
        if visible {
            state.write(|database| {
                database.ensure_component(&place.0, now_ms).put_table(&place.1, rows.table);
            });
        } else {
            self.tables.insert(place, rows.table);
        }
        written
    }

    /// The number of a table: from `_tables`, else from its first row, else what it has, else a new one.
    fn number(
        &self,
        upload: &TableUpload,
        first: Option<u32>,
        component: Option<&Component>,
    ) -> Result<u32, ImportFailure> {
        let existing = component.and_then(|component| component.table(&upload.name));
        if let (Some(existing), ImportMode::Append) = (existing, self.mode) {
            return Ok(existing.number);
        }
        let Some(number) = first.or_else(|| existing.map(|table| table.number)) else {
            return Ok(self.free_number(&upload.component, component));
        };
        match self.holder(&upload.component, &upload.name, number, component) {
            Some(other) => Err(ImportFailure::number_taken(&upload.name, &other)),
            None => Ok(number),
        }
    }

    /// The other table that has this number and stays, or gets it from the same file.
    fn holder(&self, path: &str, name: &str, number: u32, component: Option<&Component>) -> Option<String> {
        let mut hidden =
            self.tables.iter().filter(|((component, table), _)| component == path && table != name);
        if let Some(((_, other), _)) = hidden.find(|(_, table)| table.number == number) {
            return Some(other.clone());
        }
        if self.mode == ImportMode::ReplaceAll {
            return None;
        }
        let mut staying = component?.tables().filter(|(other, _)| {
            *other != name && !self.imported.iter().any(|place| place.0 == path && place.1 == *other)
        });
        staying.find(|(_, table)| table.number == number).map(|(other, _)| other.to_owned())
    }

    fn free_number(&self, path: &str, component: Option<&Component>) -> u32 {
        let hidden = self
            .tables
            .iter()
            .filter(|((component, _), _)| component == path)
            .map(|(_, table)| table.number + 1);
        hidden
            .chain(component.map(Component::next_table_number))
            .max()
            .unwrap_or(0)
            .max(crate::document_id::FIRST_USER_TABLE_NUMBER)
    }

    /// Brings in one stored file. A row without its file is dropped, and a file without its row gets a new UUID.
    pub(crate) fn file(
        &mut self,
        component: &str,
        file: UploadedFile<'_>,
        database: &mut Database,
        now_ms: f64,
    ) -> Result<(), ImportFailure> {
        let id = storage_id(file.id)?;
        self.check_storage_number(component, id, database)?;
        let file = stored_file(id, file, now_ms, database.new_uuid())?;
        if self.mode == ImportMode::Append {
            let component = database.ensure_component(component, now_ms);
            if component.files().contains_key(&id) {
                return Err(ImportFailure::document_exists(&id.to_string()));
            }
            component.put_file(file);
        } else {
            self.files.entry(component.to_owned()).or_default().insert(id, file);
        }
        Ok(())
    }

    fn check_storage_number(
        &self,
        path: &str,
        id: DocumentId,
        database: &Database,
    ) -> Result<(), ImportFailure> {
        if id.table_number == STORAGE_TABLE_NUMBER {
            return Ok(());
        }
        match self.holder(path, "_storage", id.table_number, database.component(path)) {
            Some(other) => Err(ImportFailure::number_taken("_file_storage", &other)),
            None => Err(ImportFailure::hit(format!(
                "_storage id '{id}' invalid: its table number is {} instead of {STORAGE_TABLE_NUMBER}",
                id.table_number
            ))),
        }
    }

    /// Replaces the files of a component by those of the ZIP, be it by none.
    pub(crate) fn files_done(&mut self, upload: &FilesUpload) {
        if self.mode != ImportMode::Append {
            self.files.entry(upload.component.clone()).or_default();
        }
    }

    /// Makes everything visible at once.
    pub(crate) fn finish(self, database: &mut Database, now_ms: f64) {
        if self.mode == ImportMode::ReplaceAll {
            drop_all_tables(database, now_ms);
        }
        for ((component, name), table) in self.tables {
            database.ensure_component(&component, now_ms).put_table(&name, table);
        }
        for (component, files) in self.files {
            database.ensure_component(&component, now_ms).replace_files(files);
        }
    }
}

/// Removes every user table; components and stored files stay.
fn drop_all_tables(database: &mut Database, now_ms: f64) {
    let places: Vec<Place> = database
        .components()
        .flat_map(|(path, component)| component.tables().map(|(name, _)| (path.to_owned(), name.to_owned())))
        .collect();
    for (path, name) in places {
        database.ensure_component(&path, now_ms).drop_table(&name);
    }
}

/// The number that an upload has for a table: from `_tables`, else from the `_id` of the first row.
fn first_number(upload: &TableUpload, spool: &Arc<Spool>) -> Result<Option<u32>, ImportFailure> {
    if upload.number.is_some() {
        return Ok(upload.number);
    }
    let Some(text) = upload.rows.first(spool)? else { return Ok(None) };
    let document = parse::document(&text, upload.rows.encoding, 0)?;
    document.get("_id").map(|id| document_id(id).map(|id| id.table_number)).transpose()
}

fn document_id(value: &Value) -> Result<DocumentId, ImportFailure> {
    let text = value.as_str().map_or_else(|| value.to_json(Encoding::Clean), str::to_owned);
    text.parse().map_err(|_| ImportFailure::hit(format!("invalid _id '{text}'")))
}

fn storage_id(text: &str) -> Result<DocumentId, ImportFailure> {
    text.parse().map_err(|_| {
        ImportFailure::hit(format!(
            "_storage id '{text}' invalid: Unable to decode ID: Invalid ID length {}",
            text.len()
        ))
    })
}

/// Fails for a name that was taken for a stored file and is no ID.
pub(crate) fn check_strays(upload: &Upload) -> Result<(), ImportFailure> {
    upload.strays.iter().try_for_each(|id| storage_id(id).map(drop))
}

/// One stored file of a ZIP.
#[derive(Debug)]
pub(crate) struct UploadedFile<'a> {
    /// The ID in its name, as it stands there.
    pub(crate) id: &'a str,
    /// Its row in `_storage/documents.jsonl`, where there is one.
    pub(crate) row: Option<&'a Value>,
    pub(crate) content: FileContent,
    /// The digest of `content`.
    pub(crate) sha256: Sha256,
}

fn stored_file(
    id: DocumentId,
    file: UploadedFile<'_>,
    now_ms: f64,
    new_uuid: String,
) -> Result<StoredFile, ImportFailure> {
    let text = |name| file.row.and_then(|row| row.get(name)).and_then(Value::as_str);
    let actual = STANDARD.encode(file.sha256.0);
    if let Some(expected) = text("sha256").filter(|expected| *expected != actual) {
        return Err(ImportFailure::hit(format!("Sha256 mismatch. Expected: {expected} Actual: {actual}")));
    }
    let content_type = text("contentType").map(str::to_owned);
    if let Some(wrong) = content_type.as_deref().filter(|content_type| !content_type.contains('/')) {
        return Err(ImportFailure::hit(format!("invalid content type '{wrong}' of _storage id '{id}'")));
    }
    let creation_time = file.row.and_then(|row| row.get("_creationTime")).and_then(Value::as_f64);
    Ok(StoredFile {
        id,
        creation_time_ms: creation_time.unwrap_or(now_ms),
        content_type,
        internal_id: text("internalId").map_or(new_uuid, str::to_owned),
        content: file.content,
        sha256: file.sha256,
    })
}

/// Writes the rows of one table, batch by batch.
struct RowWriter<'a> {
    upload: &'a TableUpload,
    /// The table with all batches written so far.
    table: Table,
    batch: BTreeMap<[u8; 16], Document>,
    now_ms: f64,
}

impl RowWriter<'_> {
    fn write_all(&mut self, spool: &Arc<Spool>, state: &AppState) -> Written {
        let mut written = 0;
        let upload = self.upload;
        let all = upload.rows.source.each(spool, |at, text| {
            self.row(text, at, state)?;
            if self.batch.len() == BATCH_ROWS {
                if state.stop.is_cancelled() {
                    return Err(ImportFailure::hit("the server stops"));
                }
                self.write_batch()?;
                // The backend counts the row that filled the batch only afterwards.
                written = at;
            }
            Ok(())
        });
        match all.and_then(|()| self.write_batch()) {
            Ok(()) => Written { rows: upload.rows.count, failure: None },
            Err(failure) => Written { rows: written, failure: Some(failure) },
        }
    }

    /// Reads one row into the batch.
    fn row(&mut self, text: &[u8], at: usize, state: &AppState) -> Result<(), ImportFailure> {
        let mut document = parse::document(text, self.upload.rows.encoding, at)?;
        limits::check_shape(&document).map_err(|reason| ImportFailure::not_a_value(at + 1, reason))?;
        let id = match document.get("_id") {
            Some(id) => self.check_number(document_id(id)?)?,
            None => state.write(|database| database.new_id(self.table.number, self.now_ms)),
        };
        document.insert("_id".to_owned(), id.to_string().into());
        #[expect(clippy::cast_precision_loss, reason = "rows of one import are far fewer than 2^53")]
        let made_up_ms = self.now_ms + at as f64 * CREATION_STEP_MS;
        check_creation_time(&mut document, made_up_ms)?;
        check_field_names(&document)?;
        limits::check_size(&document).map_err(ImportFailure::hit)?;
        if self.batch.insert(id.internal, document).is_some() {
            let table = &self.upload.name;
            return Err(ImportFailure::hit(format!(
                "Objects in table \"{table}\" have duplicate _id fields"
            )));
        }
        Ok(())
    }

    fn check_number(&self, id: DocumentId) -> Result<DocumentId, ImportFailure> {
        if id.table_number == self.table.number {
            return Ok(id);
        }
        Err(ImportFailure::hit(format!(
            "_id {id} cannot be imported into '{}' because its IDs have a different format.",
            self.upload.name
        )))
    }

    /// Writes the batch as one transaction: all of it or nothing.
    fn write_batch(&mut self) -> Result<(), ImportFailure> {
        for internal in self.batch.keys() {
            let id = DocumentId { table_number: self.table.number, internal: *internal };
            if self.table.documents.contains_key(internal) {
                return Err(ImportFailure::document_exists(&id.to_string()));
            }
            if self.table.deleted.contains(internal) {
                return Err(ImportFailure::hit(format!(
                    "Cannot create document with _id {id} that was deleted."
                )));
            }
        }
        for (internal, document) in std::mem::take(&mut self.batch) {
            self.table.documents.insert(internal, &document);
        }
        Ok(())
    }
}

fn check_creation_time(document: &mut Document, made_up_ms: f64) -> Result<(), ImportFailure> {
    match document.get("_creationTime") {
        None => {
            document.insert("_creationTime".to_owned(), Value::Float64(made_up_ms));
            Ok(())
        }
        Some(Value::Float64(time)) if time.is_finite() && *time >= 0.0 => Ok(()),
        Some(_) => Err(ImportFailure::hit(format!(
            "Provided creation time {made_up_ms} doesn't match '_creationTime' field in {}",
            shown(document)
        ))),
    }
}

fn check_field_names(document: &Document) -> Result<(), ImportFailure> {
    let own = |name: &str| name == "_id" || name == "_creationTime";
    match document.keys().find(|name| name.starts_with('_') && !own(name)) {
        None => Ok(()),
        Some(name) => Err(ImportFailure::hit(format!(
            "Document(value: {}) isn't a valid document: Field '{name}' starts with an underscore, which is only \
             allowed for system fields like '_id'",
            shown(document)
        ))),
    }
}

/// A document as error messages show it: `{_id: "j57…", a: 1.0}`.
pub(super) fn shown(document: &Document) -> String {
    let fields: Vec<String> =
        document.iter().map(|(name, value)| format!("{name}: {}", value.to_json(Encoding::Export))).collect();
    format!("{{{}}}", fields.join(", "))
}
