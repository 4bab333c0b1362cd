//! Decides which entries an export has, and in which order, from the data and the faults that are on.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;

use crate::contents::{Content, Contents, Entry, Line, Section, extension};
use crate::database::{Database, StoredFile, Table};
use crate::document_id::{DocumentId, STORAGE_TABLE_NUMBER};
use crate::faults::{Fault, FaultKind, FaultSet, FaultValue};
use crate::generator::Generator;
use crate::spool::FileContent;
use crate::zip_writer::Packing;

/// As long as the real one, and as empty of information.
const README: &str = "# Welcome to this snapshot export!\n\n\
    It was made by a simulated Convex deployment, for test and demonstration.\n\n\
    Each table has a folder of its own, named after it. The file documents.jsonl in\n\
    it holds one document per line, as JSON. Stored files are in _storage, and what\n\
    belongs to a component is in a folder of the same layout below _components.\n\n\
    `npx convex import` reads this ZIP into a deployment.\n\n\
    Have a nice one.\n";
const UNIFORM: &[u8] = b"\"uniform\"\n";
const MODERATE: Packing = Packing::Deflate(6);
/// The fastest level that ends a block now and then, as real exports do: at 1 the whole entry is one.
const FAST: Packing = Packing::Deflate(2);
/// Larger tables are compressed quickly rather than well.
const LARGE_BYTES: u64 = 16 << 20;
/// Larger imported files are not compressed.
const LARGE_FILE_BYTES: u64 = 64 << 10;
/// Sorts behind every other ID, so that a line added at the end is in order.
const LAST_INTERNAL: [u8; 16] = [0xff; 16];
const LONG_LINE_ESCAPES: usize = 1_048_300;
const HUGE_LINE_BYTES: usize = 17 * 1024 * 1024;

/// The entries of an export of `database`.
pub(crate) fn of_database(database: &Database, include_storage: bool, faults: &FaultSet) -> Contents {
    let legacy = faults.is_on(FaultKind::LegacyFormat);
    let mut plan = Plan::default();
    for (path, component) in database.components() {
        let prefix = prefix(path);
        let mut listed: Vec<(String, u32)> =
            component.tables().map(|(name, table)| (name.to_owned(), table.number)).collect();
        listed.sort_by_key(|(_, number)| *number);
        plan.components.push(ComponentPlan {
            prefix: prefix.clone(),
            listed,
            files: Files::Held(Arc::clone(component.files())),
        });
        plan.tables.extend(component.tables().map(|(name, table)| held_table(&prefix, name, table, legacy)));
    }
    // The sort is stable, so that the order of equally big tables is the same each time.
    plan.tables.sort_by_key(|table| table.size_bytes);
    plan.into_contents(include_storage, faults)
}

/// The entries of an export of data that is made up.
pub(crate) fn of_generator(generator: &Arc<Generator>, include_storage: bool, faults: &FaultSet) -> Contents {
    let mut plan = Plan::default();
    for (component, path) in (0..).zip(generator.component_paths()) {
        let prefix = prefix(&path);
        let listed = generator.tables();
        let table = |(name, table_number): &(String, u32)| TablePlan {
            prefix: prefix.clone(),
            name: name.clone(),
            table_number: *table_number,
            documents: Content::GeneratedDocuments {
                generator: Arc::clone(generator),
                component,
                table_number: *table_number,
            },
            shapes: Some(Content::Plain(Bytes::from_static(UNIFORM))),
            packing: FAST,
            size_bytes: 0,
        };
        plan.tables.extend(listed.iter().map(table));
        let files = if path.is_empty() {
            Files::Generated(Arc::clone(generator))
        } else {
            Files::Held(Arc::default())
        };
        plan.components.push(ComponentPlan { prefix: prefix.clone(), listed, files });
    }
    plan.into_contents(include_storage, faults)
}

/// The folders that a component's entries are in: `_components/<name>/` for each level.
fn prefix(path: &str) -> String {
    let folders = path.split('/').filter(|name| !name.is_empty()).map(|name| format!("_components/{name}/"));
    folders.collect::<Vec<_>>().concat()
}

fn held_table(prefix: &str, name: &str, table: &Arc<Table>, legacy: bool) -> TablePlan {
    let size_bytes = table.documents.lines().map(|line| line.len() as u64 + 1).sum();
    let (documents, shapes) = if legacy {
        (Content::LegacyDocuments(Arc::clone(table)), Content::LegacyShapes(Arc::clone(table)))
    } else {
        (Content::Documents(Arc::clone(table)), Content::Plain(Bytes::from_static(UNIFORM)))
    };
    TablePlan {
        prefix: prefix.to_owned(),
        name: name.to_owned(),
        table_number: table.number,
        size_bytes: if legacy { length(&documents) } else { size_bytes },
        documents,
        shapes: (legacy || table.has_marker).then_some(shapes),
        packing: if size_bytes > LARGE_BYTES { FAST } else { MODERATE },
    }
}

#[derive(Default)]
struct Plan {
    components: Vec<ComponentPlan>,
    /// Of all components, from small to large.
    tables: Vec<TablePlan>,
}

struct ComponentPlan {
    prefix: String,
    /// The tables that `_tables` names, by number.
    listed: Vec<(String, u32)>,
    files: Files,
}

struct TablePlan {
    prefix: String,
    name: String,
    table_number: u32,
    documents: Content,
    /// What tells how its numbers are to be read, where anything does.
    shapes: Option<Content>,
    packing: Packing,
    size_bytes: u64,
}

enum Files {
    Held(Arc<BTreeMap<DocumentId, StoredFile>>),
    Generated(Arc<Generator>),
}

impl Plan {
    fn into_contents(mut self, include_storage: bool, faults: &FaultSet) -> Contents {
        let mut sections =
            vec![entry("README.md", Content::Plain(Bytes::from_static(README.as_bytes())), MODERATE)];
        self.spoil_listing(faults);
        let listing = |component: &ComponentPlan| {
            entry(
                &format!("{}_tables/documents.jsonl", component.prefix),
                listing(&component.listed),
                MODERATE,
            )
        };
        sections.extend(self.components.iter().map(listing));
        for table in self.tables {
            let folder = format!("{}{}", table.prefix, table.name);
            sections.push(entry(&format!("{folder}/documents.jsonl"), table.documents, table.packing));
            let name = format!("{folder}/generated_schema.jsonl");
            sections.extend(table.shapes.map(|shapes| entry(&name, shapes, MODERATE)));
        }
        let mut contents = Contents { sections, ..Contents::default() };
        spoil_entries(&mut contents, faults);
        if include_storage {
            let mut choice = FileFault::of(faults);
            for component in &self.components {
                add_files(&mut contents.sections, component, &mut choice, faults);
            }
        }
        contents
    }

    /// The faults that concern the largest table and its place in the listing.
    fn spoil_listing(&mut self, faults: &FaultSet) {
        let Some(table) = self.tables.last_mut() else { return };
        for kind in [FaultKind::BadLine, FaultKind::NoId, FaultKind::LongLine, FaultKind::HugeLine] {
            if faults.is_on(kind) {
                let line = added_line(kind, table.table_number);
                table.documents = Content::Followed(Box::new(table.documents.clone()), line);
            }
        }
        if faults.is_on(FaultKind::UnlistedTable) {
            let owner = self.components.iter_mut().find(|component| component.prefix == table.prefix);
            if let Some(owner) = owner {
                owner.listed.retain(|(name, _)| *name != table.name);
            }
        }
        if faults.is_on(FaultKind::MissingTable) {
            self.tables.pop();
        }
    }
}

fn entry(name: &str, content: Content, packing: Packing) -> Section {
    Section::Entry(Entry { name: name.to_owned(), content, packing, crc_error: 0 })
}

fn listing(listed: &[(String, u32)]) -> Content {
    let lines = listed.iter().map(|(name, id)| format!("{{\"name\":\"{name}\",\"id\":{id}}}\n"));
    Content::Plain(Bytes::from(lines.collect::<Vec<_>>().concat()))
}

fn added_line(kind: FaultKind, table_number: u32) -> Line {
    let id = DocumentId { table_number, internal: LAST_INTERNAL };
    let document = format!("{{\"_creationTime\":1795000000000.5,\"_id\":\"{id}\",\"text\":\"");
    let whole = |text: &str| Line { head: text.to_owned(), unit: "", times: 0, end: "" };
    match kind {
        FaultKind::BadLine => whole("[\"this line is an array\"]"),
        FaultKind::NoId => whole("{\"_creationTime\":1795000000000.5,\"text\":\"no ID\"}"),
        FaultKind::LongLine => Line { head: document, unit: "\\u0001", times: LONG_LINE_ESCAPES, end: "\"}" },
        _ => Line { head: document, unit: "x", times: HUGE_LINE_BYTES, end: "\"}" },
    }
}

/// The faults that concern the ZIP as such. The last table's documents are the ones that suffer.
fn spoil_entries(contents: &mut Contents, faults: &FaultSet) {
    let evil = || Content::Plain(Bytes::from_static(b"not yours\n"));
    if faults.is_on(FaultKind::PathTrick) {
        contents.sections.push(entry("../evil", evil(), MODERATE));
    }
    if faults.is_on(FaultKind::AbsolutePath) {
        contents.sections.push(entry("/tmp/evil", evil(), MODERATE));
    }
    if faults.is_on(FaultKind::TrailingGarbage) {
        contents.trailing = b"these bytes belong to nothing";
    }
    let documents: Vec<usize> =
        (0..contents.sections.len()).filter(|at| is_table(&contents.sections[*at])).collect();
    let Some(&last) = documents.last() else { return };
    if faults.is_on(FaultKind::SwappedEntries) {
        let other = documents.iter().rev().nth(1).copied().unwrap_or(last + 1);
        contents.swapped = Some((last, other));
    }
    let Section::Entry(spoiled) = &mut contents.sections[last] else { return };
    if faults.is_on(FaultKind::BadCrc) {
        spoiled.crc_error = 1;
    }
    if faults.is_on(FaultKind::DuplicateEntry) {
        let again = entry(&spoiled.name, spoiled.content.clone(), spoiled.packing);
        contents.sections.push(again);
    }
}

fn is_table(section: &Section) -> bool {
    matches!(section, Section::Entry(entry)
        if entry.name.ends_with("/documents.jsonl") && !entry.name.ends_with("_tables/documents.jsonl"))
}

/// What is wrong with one stored file, which is the first that has any bytes.
#[derive(Default)]
struct FileFault {
    no_row: bool,
    no_file: bool,
    damaged: bool,
}

impl FileFault {
    fn of(faults: &FaultSet) -> Self {
        Self {
            no_row: faults.is_on(FaultKind::FileWithoutRow),
            no_file: faults.is_on(FaultKind::RowWithoutFile),
            damaged: faults.is_on(FaultKind::DamagedFile),
        }
    }
}

fn add_files(
    sections: &mut Vec<Section>,
    component: &ComponentPlan,
    fault: &mut FileFault,
    faults: &FaultSet,
) {
    let folder = format!("{}_storage/", component.prefix);
    let ((rows, files), packing) = match &component.files {
        Files::Held(files) => (held_files(&folder, files, fault), MODERATE),
        Files::Generated(generator) => (generated_files(generator, fault), FAST),
    };
    let bomb = component.prefix.is_empty().then(|| bomb_bytes(faults)).flatten();
    let rows = if bomb.is_some() { Content::Followed(Box::new(rows), bomb_row()) } else { rows };
    sections.push(entry(&format!("{folder}documents.jsonl"), rows, packing));
    sections.extend(files);
    if let Some(bytes) = bomb {
        sections.push(entry(&format!("{folder}{}.bin", bomb_id()), Content::Zeros(bytes), FAST));
    }
}

fn held_files(
    folder: &str,
    files: &Arc<BTreeMap<DocumentId, StoredFile>>,
    fault: &mut FileFault,
) -> (Content, Vec<Section>) {
    let chosen = files.values().find(|file| !file.content.is_empty()).map(|file| file.id);
    let fault = if chosen.is_some() { std::mem::take(fault) } else { FileFault::default() };
    let file_entry = |file: &StoredFile| {
        let damaged = fault.damaged && Some(file.id) == chosen;
        let content = if damaged { inverted_first_byte(&file.content) } else { file.content.clone() };
        let name = format!("{folder}{}{}", file.id, extension(file.content_type.as_deref()));
        // What is that large is mostly images, which do not get smaller.
        let is_large = content.is_spooled() && content.len() > LARGE_FILE_BYTES;
        entry(&name, Content::File(content), if is_large { Packing::Stored } else { MODERATE })
    };
    let left_out = |file: &&StoredFile| fault.no_file && Some(file.id) == chosen;
    let entries = files.values().filter(|file| !left_out(file)).map(file_entry).collect();
    let rows = Content::Rows { files: Arc::clone(files), without: chosen.filter(|_| fault.no_row) };
    (rows, entries)
}

fn generated_files(generator: &Arc<Generator>, fault: &mut FileFault) -> (Content, Vec<Section>) {
    let any = generator.files.count() > 0;
    let fault = if any { std::mem::take(fault) } else { FileFault::default() };
    let rows =
        Content::GeneratedRows { generator: Arc::clone(generator), without: fault.no_row.then_some(0) };
    let files = Section::GeneratedFiles {
        generator: Arc::clone(generator),
        without: fault.no_file.then_some(0),
        damaged: fault.damaged.then_some(0),
    };
    (rows, vec![files])
}

fn inverted_first_byte(content: &FileContent) -> FileContent {
    let mut damaged = content.bytes().to_vec();
    if let Some(first) = damaged.first_mut() {
        *first = !*first;
    }
    Bytes::from(damaged).into()
}

fn bomb_bytes(faults: &FaultSet) -> Option<u64> {
    let number = faults.number(FaultKind::ZipBomb)?;
    let known = Fault::all().iter().find(|known| known.kind == FaultKind::ZipBomb);
    let default = match known.map(|known| known.value) {
        Some(FaultValue::Bytes(bytes)) => bytes,
        _ => 0,
    };
    Some(number.unwrap_or(default))
}

fn bomb_id() -> DocumentId {
    DocumentId { table_number: STORAGE_TABLE_NUMBER, internal: LAST_INTERNAL }
}

fn bomb_row() -> Line {
    let head = format!(
        "{{\"_id\":\"{}\",\"_creationTime\":1795000000000.5,\"sha256\":\"3j3Ym1MuZpgyQqxBYSH8K6pQ6gPWsaE0a0R8+3a9g5E=\",\
         \"size\":20,\"contentType\":\"application/octet-stream\",\"internalId\":\"ffffffff-ffff-4fff-bfff-ffffffffffff\"}}",
        bomb_id()
    );
    Line { head, unit: "", times: 0, end: "" }
}

/// How many bytes a content has.
fn length(content: &Content) -> u64 {
    struct Count(u64);
    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    content.write(&mut count).expect("counting does not fail");
    count.0
}

#[cfg(test)]
mod tests {
    use super::{README, of_database};
    use crate::contents::Section;
    use crate::database::Database;
    use crate::faults::{Fault, FaultKind, FaultSet};
    use crate::value::{Document, Value};

    fn names(database: &Database, include_storage: bool, fault: Option<FaultKind>) -> Vec<String> {
        let faults = FaultSet::new(fault.map(Fault::new));
        let contents = of_database(database, include_storage, &faults);
        let name = |section: &Section| match section {
            Section::Entry(entry) => entry.name.clone(),
            Section::GeneratedFiles { .. } => String::new(),
        };
        contents.sections.iter().map(name).collect()
    }

    fn small() -> Database {
        let mut database = Database::new(1);
        let text = |length: usize| Document::from([("text".to_owned(), Value::from("x".repeat(length)))]);
        database.insert("", "large", text(1_000), 1.0);
        database.insert("outer/inner", "medium", text(100), 1.0);
        database.ensure_table("", "empty", 1.0);
        database.store_file("", &b"%PDF"[..], Some("application/pdf"), 1.0);
        database
    }

    #[test]
    fn the_readme_is_as_long_as_the_real_one() {
        assert_eq!(README.len(), 420);
    }

    #[test]
    fn tables_come_from_small_to_large_and_files_last() {
        let database = small();
        let file = database.component("").unwrap().files().keys().next().copied().unwrap();
        let expected = [
            "README.md",
            "_tables/documents.jsonl",
            "_components/outer/_tables/documents.jsonl",
            "_components/outer/_components/inner/_tables/documents.jsonl",
            "empty/documents.jsonl",
            "empty/generated_schema.jsonl",
            "_components/outer/_components/inner/medium/documents.jsonl",
            "_components/outer/_components/inner/medium/generated_schema.jsonl",
            "large/documents.jsonl",
            "large/generated_schema.jsonl",
            "_storage/documents.jsonl",
            &format!("_storage/{file}.pdf"),
            "_components/outer/_storage/documents.jsonl",
            "_components/outer/_components/inner/_storage/documents.jsonl",
        ];
        assert_eq!(names(&database, true, None), expected);
        assert_eq!(names(&database, false, None), expected[..10]);
    }

    #[test]
    fn an_empty_deployment_has_three_entries() {
        let database = Database::new(1);
        assert_eq!(
            names(&database, true, None),
            ["README.md", "_tables/documents.jsonl", "_storage/documents.jsonl"]
        );
    }

    #[test]
    fn faults_of_entries_show_in_the_list() {
        let database = small();
        let count =
            |name: &str, fault| names(&database, true, Some(fault)).iter().filter(|it| *it == name).count();
        assert_eq!(count("../evil", FaultKind::PathTrick), 1);
        assert_eq!(count("/tmp/evil", FaultKind::AbsolutePath), 1);
        assert_eq!(count("large/documents.jsonl", FaultKind::DuplicateEntry), 2);
        assert_eq!(count("large/documents.jsonl", FaultKind::MissingTable), 0);
        assert_eq!(names(&database, true, Some(FaultKind::RowWithoutFile)).len(), 13);
        assert_eq!(names(&database, true, Some(FaultKind::ZipBomb)).len(), 15);
    }
}
