//! What a simulated deployment holds: components, their tables and stored files, and environment variables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use convault_core::Sha256;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::deployed::Deployed;
use crate::document_id::{DocumentId, FIRST_USER_TABLE_NUMBER, STORAGE_TABLE_NUMBER};
use crate::documents::Documents;
use crate::error::SimulatorError;
use crate::spool::FileContent;
use crate::value::{Document, Value};

const COMPONENTS_TABLE_NUMBER: u32 = 544;
const ENVIRONMENT_TABLE_NUMBER: u32 = 525;
const MS_PER_DAY: f64 = 86_400_000.0;

/// All data of a deployment.
///
/// Cloning is cheap: tables and file contents are shared until one side changes them, so that a clone is a
/// consistent snapshot.
#[derive(Debug, Clone)]
pub struct Database {
    components: BTreeMap<String, Component>,
    environment: BTreeMap<String, EnvironmentVariable>,
    deployed: BTreeMap<String, Arc<Deployed>>,
    /// The domains that tokens are accepted from, each with its application.
    pub auth_providers: Vec<(String, String)>,
    random: StdRng,
}

/// A component, or the root of the deployment, whose path is empty.
#[derive(Debug, Clone)]
pub struct Component {
    /// The row in `_components`.
    pub id: DocumentId,
    /// When the row was made: milliseconds since the Unix epoch.
    pub creation_time_ms: f64,
    /// The component it is in; `None` for the root.
    pub parent: Option<DocumentId>,
    /// Whether code is mounted for it. A component that an import made is not mounted.
    pub mounted: bool,
    tables: BTreeMap<String, Arc<Table>>,
    files: Arc<BTreeMap<DocumentId, StoredFile>>,
}

/// A user table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The number in the IDs of its documents.
    pub number: u32,
    /// Its documents by internal ID, complete with `_id` and `_creationTime`.
    pub documents: Documents,
    /// Internal IDs of documents that were deleted, which an `append` import cannot use again.
    pub deleted: BTreeSet<[u8; 16]>,
    /// Whether an export has the marker that says how its numbers are to be read; every real one's has.
    pub has_marker: bool,
}

impl Table {
    /// An empty table.
    pub fn new(number: u32) -> Self {
        Self { number, documents: Documents::default(), deleted: BTreeSet::new(), has_marker: true }
    }
}

/// A stored file.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredFile {
    /// The `_storage` document.
    pub id: DocumentId,
    /// When it was stored: milliseconds since the Unix epoch.
    pub creation_time_ms: f64,
    /// The type given at upload, if one was.
    pub content_type: Option<String>,
    /// The UUID in its `/api/storage/<uuid>` URL.
    pub internal_id: String,
    /// Its bytes.
    pub content: FileContent,
    /// The digest of `content`.
    pub sha256: Sha256,
}

/// An environment variable of the deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvironmentVariable {
    /// The row in `_environment_variables`.
    pub id: DocumentId,
    /// When it was first set: milliseconds since the Unix epoch.
    pub creation_time_ms: f64,
    /// Its value.
    pub value: String,
}

impl Database {
    /// A deployment without any data. `seed` decides every ID that it makes up.
    pub fn new(seed: u64) -> Self {
        let mut database = Self {
            components: BTreeMap::new(),
            environment: BTreeMap::new(),
            deployed: BTreeMap::new(),
            auth_providers: Vec::new(),
            random: StdRng::seed_from_u64(seed),
        };
        database.add_component("", None, true, 0.0);
        database
    }

    /// A new ID in a table with this number, made at `now_ms`.
    pub fn new_id(&mut self, table_number: u32, now_ms: f64) -> DocumentId {
        let mut internal = [0; 16];
        self.random.fill(&mut internal[..14]);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the day fits until 2149"
        )]
        let day = (now_ms / MS_PER_DAY) as u16;
        internal[14..].copy_from_slice(&day.to_be_bytes());
        DocumentId { table_number, internal }
    }

    /// A new random UUID, as stored files and uploads are named.
    pub fn new_uuid(&mut self) -> String {
        let mut bytes: [u8; 16] = self.random.random();
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        uuid_text(bytes)
    }

    /// All components by path, the root (whose path is empty) first.
    pub fn components(&self) -> impl Iterator<Item = (&str, &Component)> {
        self.components.iter().map(|(path, component)| (path.as_str(), component))
    }

    /// The component at `path`.
    pub fn component(&self, path: &str) -> Option<&Component> {
        self.components.get(path)
    }

    /// The path of the component whose `_components` row has this ID.
    pub fn component_path(&self, id: DocumentId) -> Option<&str> {
        self.components().find(|(_, component)| component.id == id).map(|(path, _)| path)
    }

    /// The component at `path`, to change it.
    pub fn component_mut(&mut self, path: &str) -> Option<&mut Component> {
        self.components.get_mut(path)
    }

    /// Makes the component at `path` and those it is in, unmounted, where they are missing.
    pub fn ensure_component(&mut self, path: &str, now_ms: f64) -> &mut Component {
        if !self.components.contains_key(path) {
            let parent_path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            let parent = self.ensure_component(parent_path, now_ms).id;
            self.add_component(path, Some(parent), false, now_ms);
        }
        self.components.get_mut(path).expect("it was just made")
    }

    fn add_component(&mut self, path: &str, parent: Option<DocumentId>, mounted: bool, now_ms: f64) {
        let id = self.new_id(COMPONENTS_TABLE_NUMBER, now_ms);
        let component = Component {
            id,
            creation_time_ms: now_ms,
            parent,
            mounted,
            tables: BTreeMap::new(),
            files: Arc::new(BTreeMap::new()),
        };
        self.components.insert(path.to_owned(), component);
    }

    /// The table `name` of the component at `path`.
    pub fn table(&self, path: &str, name: &str) -> Option<&Table> {
        self.component(path)?.table(name)
    }

    /// Makes an empty table where there is none, and the component with it. Returns its number.
    pub fn ensure_table(&mut self, path: &str, name: &str, now_ms: f64) -> u32 {
        let component = self.ensure_component(path, now_ms);
        let number = component.next_table_number();
        component.tables.entry(name.to_owned()).or_insert_with(|| Arc::new(Table::new(number))).number
    }

    /// Adds a document with a new `_id` and `_creationTime`, making the table where there is none.
    pub fn insert(&mut self, path: &str, table: &str, mut fields: Document, now_ms: f64) -> DocumentId {
        let number = self.ensure_table(path, table, now_ms);
        let id = self.new_id(number, now_ms);
        fields.insert("_id".to_owned(), Value::String(id.to_string()));
        fields.insert("_creationTime".to_owned(), Value::Float64(now_ms));
        let component = self.ensure_component(path, now_ms);
        component.table_mut(table).expect("it was just made").documents.insert(id.internal, &fields);
        id
    }

    /// Sets fields of a document, keeping the others.
    pub fn patch(
        &mut self,
        path: &str,
        table: &str,
        id: DocumentId,
        fields: Document,
    ) -> Result<(), SimulatorError> {
        let documents = &mut self.table_mut(path, table)?.documents;
        let mut document = documents
            .get(&id.internal)
            .ok_or_else(|| SimulatorError::NotFound { what: "document", name: id.to_string() })?;
        document.extend(fields);
        documents.insert(id.internal, &document);
        Ok(())
    }

    /// Deletes a document.
    pub fn delete(&mut self, path: &str, table: &str, id: DocumentId) -> Result<(), SimulatorError> {
        let table = self.table_mut(path, table)?;
        if !table.documents.remove(&id.internal) {
            return Err(SimulatorError::NotFound { what: "document", name: id.to_string() });
        }
        table.deleted.insert(id.internal);
        Ok(())
    }

    fn table_mut(&mut self, path: &str, name: &str) -> Result<&mut Table, SimulatorError> {
        let missing = |what, name: &str| SimulatorError::NotFound { what, name: name.to_owned() };
        let component = self.components.get_mut(path).ok_or_else(|| missing("component", path))?;
        component.table_mut(name).ok_or_else(|| missing("table", name))
    }

    /// Stores a file with a new ID and UUID.
    pub fn store_file(
        &mut self,
        path: &str,
        content: impl Into<Bytes>,
        content_type: Option<&str>,
        now_ms: f64,
    ) -> DocumentId {
        let content: Bytes = content.into();
        let file = StoredFile {
            id: self.new_id(STORAGE_TABLE_NUMBER, now_ms),
            creation_time_ms: now_ms,
            content_type: content_type.map(str::to_owned),
            internal_id: self.new_uuid(),
            sha256: Sha256::of(&content),
            content: content.into(),
        };
        let id = file.id;
        self.ensure_component(path, now_ms).put_file(file);
        id
    }

    /// The stored file whose URL holds this UUID, in the component at `path`.
    pub fn file_by_uuid(&self, path: &str, uuid: &str) -> Option<&StoredFile> {
        self.component(path)?.files.values().find(|file| file.internal_id == uuid)
    }

    /// What was deployed to the component at `path`, if anything was.
    pub fn deployed(&self, path: &str) -> Option<&Deployed> {
        self.deployed.get(path).map(Arc::as_ref)
    }

    /// What was deployed to the component at `path`, to change it; makes the component where there is none.
    pub fn deployed_mut(&mut self, path: &str, now_ms: f64) -> &mut Deployed {
        self.ensure_component(path, now_ms);
        Arc::make_mut(self.deployed.entry(path.to_owned()).or_default())
    }

    /// The environment variables by name.
    pub fn environment(&self) -> &BTreeMap<String, EnvironmentVariable> {
        &self.environment
    }

    /// Sets an environment variable, or removes it with `None`.
    pub fn set_environment_variable(&mut self, name: &str, value: Option<String>, now_ms: f64) {
        let Some(value) = value else {
            self.environment.remove(name);
            return;
        };
        if let Some(variable) = self.environment.get_mut(name) {
            variable.value = value;
            return;
        }
        let id = self.new_id(ENVIRONMENT_TABLE_NUMBER, now_ms);
        self.environment.insert(name.to_owned(), EnvironmentVariable { id, creation_time_ms: now_ms, value });
    }

    /// Adds up the documents of all tables of all components.
    pub fn document_count(&self) -> usize {
        let tables = self.components.values().flat_map(|component| component.tables.values());
        tables.map(|table| table.documents.len()).sum()
    }
}

impl Component {
    /// Its user tables by name.
    pub fn tables(&self) -> impl Iterator<Item = (&str, &Arc<Table>)> {
        self.tables.iter().map(|(name, table)| (name.as_str(), table))
    }

    /// The user table `name`.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.get(name).map(Arc::as_ref)
    }

    /// The user table `name`, to change it. Snapshots taken before keep what they saw.
    pub fn table_mut(&mut self, name: &str) -> Option<&mut Table> {
        self.tables.get_mut(name).map(Arc::make_mut)
    }

    /// Puts a whole table in place, instead of the one that has this name.
    pub fn put_table(&mut self, name: &str, table: Table) {
        self.tables.insert(name.to_owned(), Arc::new(table));
    }

    /// Removes a table. False where there is none.
    pub fn drop_table(&mut self, name: &str) -> bool {
        self.tables.remove(name).is_some()
    }

    /// The number that the next new table gets.
    pub fn next_table_number(&self) -> u32 {
        self.tables.values().map(|table| table.number + 1).max().unwrap_or(0).max(FIRST_USER_TABLE_NUMBER)
    }

    /// Its stored files by `_storage` ID.
    pub fn files(&self) -> &Arc<BTreeMap<DocumentId, StoredFile>> {
        &self.files
    }

    /// Puts a stored file in place.
    pub fn put_file(&mut self, file: StoredFile) {
        Arc::make_mut(&mut self.files).insert(file.id, file);
    }

    /// Deletes a stored file. False where there is none.
    pub fn remove_file(&mut self, id: DocumentId) -> bool {
        Arc::make_mut(&mut self.files).remove(&id).is_some()
    }

    /// Puts all stored files in place, instead of those that are there.
    pub fn replace_files(&mut self, files: BTreeMap<DocumentId, StoredFile>) {
        self.files = Arc::new(files);
    }
}

/// Writes 16 bytes as a UUID.
pub(crate) fn uuid_text(bytes: [u8; 16]) -> String {
    let number = u128::from_be_bytes(bytes);
    let hex = format!("{number:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Whether `text` has the shape of a UUID.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::Database;
    use crate::value::{Document, Value};

    #[test]
    fn a_clone_keeps_what_it_saw() {
        let mut database = Database::new(1);
        let id = database.insert("", "contacts", Document::new(), 1.5);
        let snapshot = database.clone();
        database.delete("", "contacts", id).unwrap();
        database.insert("waitlist", "emails", Document::new(), 2.5);
        assert_eq!((database.document_count(), snapshot.document_count()), (1, 1));
        assert!(snapshot.component("waitlist").is_none());
        assert!(snapshot.table("", "contacts").unwrap().documents.contains_key(&id.internal));
        assert!(database.table("", "contacts").unwrap().deleted.contains(&id.internal));
    }

    #[test]
    fn table_numbers_start_anew_in_each_component() {
        let mut database = Database::new(1);
        assert_eq!(database.ensure_table("", "contacts", 0.0), 10_001);
        assert_eq!(database.ensure_table("", "messages", 0.0), 10_002);
        assert_eq!(database.ensure_table("", "contacts", 0.0), 10_001);
        assert_eq!(database.ensure_table("outer/inner", "notes", 0.0), 10_001);
        let paths: Vec<&str> = database.components().map(|(path, _)| path).collect();
        assert_eq!(paths, ["", "outer", "outer/inner"]);
    }

    #[test]
    fn an_inserted_document_has_its_id_and_time() {
        let mut database = Database::new(7);
        let id = database.insert("", "contacts", Document::new(), 1_700_000_000_000.25);
        let document = database.table("", "contacts").unwrap().documents.get(&id.internal).unwrap();
        assert_eq!(document["_id"], Value::String(id.to_string()));
        assert_eq!(document["_creationTime"], Value::Float64(1_700_000_000_000.25));
    }
}
