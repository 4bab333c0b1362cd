//! Content on its way out: what rules make of it, beside a plain model of the same.

mod model;
mod rules;
mod world;

use std::{
    collections::BTreeSet,
    io::{Cursor, Read as _},
};

use bytes::Bytes;
use convault_archive::{Options, Reader as ZipReader};
use convault_core::{ContentSummary, EntryKind, IndexEntry, IndexLine, Manifest, Store, TableRef};
use convault_jobs::{Content, JobError, Outgone, Rules};
use convault_uploader::MemoryStore;

use self::world::World;
use crate::{
    bench::{Run, destination, memory, snapshots},
    encryption::{Reader, encrypted, names, wide_job},
    export::FakeSource,
};

/// A stored snapshot, and whoever opens it.
struct Backed {
    store: MemoryStore,
    manifest: Manifest,
    anna: Option<Reader>,
}

impl Backed {
    async fn of(zip: Bytes, is_encrypted: bool) -> Self {
        let store = memory("offsite");
        let anna = is_encrypted.then(Reader::new);
        let to = match &anna {
            Some(anna) => encrypted(&store, &[anna]),
            None => destination(&store),
        };
        convault_jobs::backup(&wide_job(), &FakeSource::of(zip), &[to], &Run::new().context).await;
        let [manifest] = snapshots(&store).await.try_into().unwrap();
        Self { store, manifest, anna }
    }

    fn content<'a>(&'a self, store: &'a dyn Store, rules: &'a Rules, run: &'a Run) -> Content<'a> {
        let identities = self.anna.as_ref().map(|anna| &anna.identities);
        Content::new(store, &self.manifest, identities, rules, &run.context)
    }

    async fn zip(&self, rules: &Rules) -> Result<(Vec<u8>, Outgone), JobError> {
        let (run, mut output) = (Run::new(), Vec::new());
        let outgone = self.content(&self.store, rules, &run).write_zip(&mut output, "memory").await?;
        Ok((output, outgone))
    }

    async fn lines(&self, rules: &Rules, table: &TableRef) -> Option<Vec<u8>> {
        let run = Run::new();
        let content = self.content(&self.store, rules, &run);
        let mut lines = content.lines(table).await.unwrap()?;
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            all.extend_from_slice(&line);
            all.push(b'\n');
        }
        Some(all)
    }
}

/// The entries of a ZIP in its order: their names, content and data as it is compressed.
fn entries(zip: &[u8]) -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let mut zip = zip::ZipArchive::new(Cursor::new(zip)).unwrap();
    let read = |mut file: zip::read::ZipFile<'_, Cursor<&[u8]>>| {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        (file.name().unwrap().into_owned(), bytes)
    };
    (0..zip.len())
        .map(|at| {
            let (name, content) = read(zip.by_index(at).unwrap());
            let (_, data) = read(zip.by_index_raw(at).unwrap());
            (name, content, data)
        })
        .collect()
}

/// What a ZIP is, read forward as an export that arrives.
fn summary(zip: &[u8]) -> ContentSummary {
    let mut reader = ZipReader::new(Options::default());
    let mut index = Vec::new();
    for chunk in zip.chunks(4096) {
        reader.push(chunk).unwrap();
        index.extend_from_slice(&reader.take_index());
    }
    index.extend_from_slice(&reader.finish().unwrap().index);
    let mut unpacker = convault_archive::LineUnpacker::new();
    unpacker.push(&index);
    let mut summary = ContentSummary::default();
    while let Some(line) = unpacker.next_line::<IndexLine>().unwrap() {
        if let IndexLine::Entry(entry) = line {
            summary.add(&entry);
        }
    }
    summary
}

#[tokio::test]
async fn without_rules_the_stored_bytes_leave() {
    for is_encrypted in [false, true] {
        let zip = World::of(7).zip();
        let backed = Backed::of(zip.clone(), is_encrypted).await;
        let (output, outgone) = backed.zip(&Rules::default()).await.unwrap();
        assert!(output == zip);
        assert_eq!(outgone.size_bytes, zip.len() as u64);
        assert_eq!(outgone.summary, summary(&zip));
        assert!(outgone.changed.is_empty() && outgone.files_dropped.is_empty());
    }
}

#[tokio::test]
async fn every_document_and_file_is_found_by_its_id() {
    for is_encrypted in [false, true] {
        let world = World::of(3);
        let backed = Backed::of(world.zip(), is_encrypted).await;
        let (run, rules) = (Run::new(), Rules::default());
        let content = backed.content(&backed.store, &rules, &run);
        let tables: Vec<TableRef> = world.tables.iter().map(|table| table.table.clone()).collect();
        let listed = content.tables().await.unwrap();
        assert_eq!(listed.iter().collect::<BTreeSet<_>>(), tables.iter().collect::<BTreeSet<_>>());
        for table in &world.tables {
            for document in &table.documents {
                let found = content.document(&table.table, &document.id).await.unwrap().unwrap();
                assert_eq!(found, document.line().as_bytes());
            }
            let missing = content.document(&table.table, "zzz").await.unwrap();
            assert!(missing.is_none());
        }
        for file in &world.files {
            let mut stored = content.file(&file.component, &file.id).await.unwrap().unwrap();
            assert_eq!(stored.row, file.row().as_bytes());
            let mut bytes = Vec::new();
            while let Some(piece) = stored.next().await.unwrap() {
                bytes.extend_from_slice(&piece);
            }
            assert_eq!(bytes, file.content.as_bytes());
            assert_eq!(stored.name, file.entry_name());
        }
        assert!(content.file("", "nobody").await.unwrap().is_none());
        assert!(content.lines(&TableRef::new("", "nobody")).await.unwrap().is_none());
        let mut entries: Vec<IndexEntry> = Vec::new();
        let keep = |entry| {
            entries.push(entry);
            Ok(())
        };
        content.each_entry(keep).await.unwrap();
        assert_eq!(entries.iter().filter(|entry| entry.kind == EntryKind::File).count(), world.files.len());
        assert!(content.read_bytes() > 0);
    }
}

#[tokio::test]
async fn one_document_of_a_large_table_costs_a_small_part_of_it() {
    let documents = 400_000;
    let zip = crate::export::of_tables(&[("invoices", documents)]);
    for is_encrypted in [false, true] {
        let backed = Backed::of(zip.clone(), is_encrypted).await;
        let (run, rules) = (Run::new(), Rules::default());
        let content = backed.content(&backed.store, &rules, &run);
        let table = TableRef::new("", "invoices");
        let found = content.document(&table, "k00000007").await.unwrap().unwrap();
        assert!(found.starts_with(br#"{"_creationTime":1.5,"_id":"k00000007""#));
        assert!(content.read_bytes() < 2 << 20, "{}", content.read_bytes());
    }
}

#[tokio::test]
async fn damage_is_found_wherever_it_lies() {
    let world = World::of(5);
    let zip = world.zip();
    let rules = Rules { without_files: true, ..Rules::default() };
    let backed = Backed::of(zip.clone(), false).await;
    for (role, at) in [(0, zip.len() / 3), (0, zip.len() / 2), (1, 30), (1, 60)] {
        let key = format!("crm/snapshots/{}/{}", backed.manifest.id, backed.manifest.objects[role].name);
        let whole = backed.store.contents(&key).unwrap();
        let mut damaged = whole.to_vec();
        let at = at.min(damaged.len() - 1);
        damaged[at] ^= 0x10;
        backed.store.tamper(&key, damaged.into());
        let error = backed.zip(&rules).await.unwrap_err();
        assert!(matches!(error, JobError::Damaged { .. }), "{role} {at}: {error}");
        backed.store.tamper(&key, whole);
    }
    backed.zip(&rules).await.unwrap();
}

#[tokio::test]
async fn a_line_that_is_no_document_stops_a_rule_and_is_named() {
    let mut world = World::of(11);
    let (table, number) = (world.tables[0].table.clone(), world.tables[0].documents.len());
    world.tables[0].tail = "{\"_id\":\"broken\"\n".to_owned();
    let backed = Backed::of(world.zip(), false).await;
    let mut rules = Rules::default();
    let id = world.tables[0].documents[0].id.clone();
    rules.erased.documents.insert((table.component.clone(), id));
    let error = backed.zip(&rules).await.unwrap_err().to_string();
    assert!(error.contains(&format!("line {}", number + 1)) && error.contains(&table.table), "{error}");
}

#[tokio::test]
async fn old_exports_are_not_masked() {
    let mut world = World::of(2);
    world.tables[0].is_old = true;
    let backed = Backed::of(world.zip(), false).await;
    let table = world.tables[0].table.clone();
    let mask = convault_core::Mask {
        table: table.clone(),
        field: "secret".parse().unwrap(),
        with: convault_core::MaskWith::Null,
    };
    let rules = Rules { masks: vec![mask], mask_key: Some(names()), ..Rules::default() };
    let error = backed.zip(&rules).await.unwrap_err();
    assert!(matches!(&error, JobError::NotMasked { table: found, .. } if *found == table), "{error}");
    let run = Run::new();
    let error = backed.content(&backed.store, &rules, &run).lines(&table).await.unwrap_err();
    assert!(matches!(error, JobError::NotMasked { .. }), "{error}");
}
