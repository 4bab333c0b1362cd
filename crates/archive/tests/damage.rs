//! Damage at the source is found, though every CRC is right, and named by a second reading.

#![allow(clippy::unwrap_used, reason = "a failed test is what a panic is for")]

mod common;

use common::{ZipBuilder, read, read_with, small, storage_row};
use convault_archive::{
    CulpritKind, Damage, ExportFormat, Findings, LineProblem, Options, SchemaFormat, Warning,
};

const NAMES: &str = "{\"name\":\"users\",\"id\":10001}\n";

fn findings(zip: &mut ZipBuilder) -> Findings {
    read(&zip.finish()).unwrap().findings
}

fn with_files(rows: &str, files: &[(&str, &str)]) -> ZipBuilder {
    let mut zip = ZipBuilder::new();
    zip.entry("_tables/documents.jsonl", b"").entry("_storage/documents.jsonl", rows.as_bytes());
    for (id, content) in files {
        zip.entry(&format!("_storage/{id}.bin"), content.as_bytes());
    }
    zip
}

fn culprits(zip: &mut ZipBuilder) -> Vec<(String, CulpritKind)> {
    let zip = zip.finish();
    let first = read(&zip).unwrap();
    assert!(first.culprits.is_none());
    assert!(matches!(first.findings.damage[..], [Damage::StoredFiles { .. }]), "{:?}", first.findings.damage);
    let options = Options { suspects: first.suspects, ..Options::default() };
    let (second, _) = read_with(&zip, 1000, options).unwrap();
    assert_eq!(second.findings, first.findings);
    second.culprits.unwrap().listed.into_iter().map(|culprit| (culprit.id, culprit.kind)).collect()
}

#[test]
fn a_stored_file_that_differs_from_its_row_is_named() {
    let rows = storage_row("f1", b"one") + &storage_row("f2", b"two");
    let found = culprits(&mut with_files(&rows, &[("f1", "one"), ("f2", "TWO")]));
    assert!(
        matches!(&found[..], [(id, CulpritKind::Differs { row_bytes: 3, file_bytes: 3, .. })] if id == "f2")
    );
    let found = culprits(&mut with_files(&rows, &[("f1", "one"), ("f2", "tw")]));
    assert!(
        matches!(&found[..], [(id, CulpritKind::Differs { row_bytes: 3, file_bytes: 2, .. })] if id == "f2")
    );
}

#[test]
fn files_and_rows_without_each_other_are_named() {
    let rows = storage_row("f1", b"one") + &storage_row("f2", b"two");
    let found = culprits(&mut with_files(&rows, &[("f2", "two")]));
    assert_eq!(found, [("f1".to_owned(), CulpritKind::RowWithoutFile)]);
    let found = culprits(&mut with_files(&rows, &[("f2", "two"), ("f1", "one"), ("f3", "three")]));
    assert_eq!(found, [("f3".to_owned(), CulpritKind::FileWithoutRow)]);
}

#[test]
fn two_swapped_files_are_both_named() {
    let rows = storage_row("f1", b"one") + &storage_row("f2", b"two");
    let found = culprits(&mut with_files(&rows, &[("f1", "two"), ("f2", "one")]));
    let ids: Vec<_> = found.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["f1", "f2"]);
}

#[test]
fn two_files_of_one_id_are_named() {
    let mut zip = with_files(&storage_row("f1", b"one"), &[("f1", "one")]);
    zip.entry("_storage/f1.txt", b"one");
    assert_eq!(culprits(&mut zip), [("f1".to_owned(), CulpritKind::Several { rows: 1, files: 2 })]);
}

#[test]
fn a_row_of_storage_that_comes_twice_or_lacks_a_field_is_damage() {
    let row = storage_row("f1", b"one");
    let found = findings(&mut with_files(&(row.clone() + &row), &[("f1", "one")]));
    let same = LineProblem::SameId;
    assert!(
        found
            .damage
            .iter()
            .any(|d| matches!(d, Damage::Line { line_number: 1, problem, .. } if *problem == same))
    );
    let found = findings(&mut with_files("{\"_id\":\"f1\"}\n", &[]));
    assert!(
        matches!(found.damage[..], [Damage::Line { problem: LineProblem::BadField, .. }]),
        "{:?}",
        found.damage
    );
}

#[test]
fn tables_are_compared_with_their_list() {
    let mut zip = ZipBuilder::new();
    let list = "{\"name\":\"gone\",\"id\":1}\n{\"name\":\"users\",\"id\":2}\n{\"name\":\"users\",\"id\":3}\n";
    zip.entry("_tables/documents.jsonl", list.as_bytes()).table("users", "").table("unlisted", "");
    let (component, table) = (String::new(), |name: &str| name.to_owned());
    let found = findings(&mut zip).damage;
    assert_eq!(
        found,
        [
            Damage::TableListedTwice { component: component.clone(), table: table("users") },
            Damage::TableMissing { component: component.clone(), table: table("gone") },
            Damage::TableNotListed { component, table: table("unlisted") },
        ]
    );
}

#[test]
fn a_component_without_its_lists_is_damage() {
    let mut zip = small();
    zip.entry("_components/b/notes/documents.jsonl", b"");
    let found = findings(&mut zip).damage;
    let component = "b".to_owned();
    assert!(found.contains(&Damage::TablesMissing { component: component.clone() }), "{found:?}");
    assert!(found.contains(&Damage::StorageRowsMissing { component }), "{found:?}");
}

#[test]
fn lines_that_are_no_documents_are_named() {
    let lines = "{\"_id\":\"a\"}\n\n[]\n{\"n\":1}\n{\"_id\":\n{\"_id\":\"b\"}\n{\"_id\":\"b\"}\n";
    let mut zip = ZipBuilder::new();
    zip.entry("_tables/documents.jsonl", NAMES.as_bytes()).table("users", lines);
    let found: Vec<_> = findings(&mut zip)
        .damage
        .into_iter()
        .map(|damage| match damage {
            Damage::Line { entry, line_number, problem } if entry == "users/documents.jsonl" => {
                (line_number, problem)
            }
            other => panic!("{other}"),
        })
        .collect();
    let expected = [
        (1, LineProblem::Blank),
        (2, LineProblem::NotAnObject),
        (3, LineProblem::NoId),
        (4, LineProblem::NotJson),
        (6, LineProblem::SameId),
    ];
    assert_eq!(found, expected);
}

#[test]
fn very_much_damage_is_counted_and_not_all_kept() {
    let mut zip = ZipBuilder::new();
    zip.entry("_tables/documents.jsonl", NAMES.as_bytes()).table("users", &"x\n".repeat(1000));
    let found = findings(&mut zip);
    assert_eq!((found.damage.len(), found.damage_unlisted), (100, 900));
}

#[test]
fn the_older_format_is_read() {
    let mut zip = ZipBuilder::new();
    zip.entry("_tables/documents.jsonl", NAMES.as_bytes())
        .entry("users/documents.jsonl", b"{\"_id\":\"a\",\"n\":\"7\"}\n")
        .entry(
            "users/generated_schema.jsonl",
            b"\"{_id: Id<users>, n: int64}\"\n{\"a\":{\"n\":\"int64\"}}\n",
        );
    let found = findings(&mut zip);
    assert!(found.damage.is_empty(), "{:?}", found.damage);
    assert_eq!((found.format, found.tables[0].schema), (ExportFormat::Legacy, SchemaFormat::Legacy));
    assert!(!found.files_included);
}

#[test]
fn schema_entries_that_no_import_takes_are_damage_and_missing_ones_a_warning() {
    for content in [&b""[..], b"\"uniform\n"] {
        let mut zip = ZipBuilder::new();
        zip.entry("_tables/documents.jsonl", NAMES.as_bytes())
            .entry("users/documents.jsonl", b"")
            .entry("users/generated_schema.jsonl", content);
        assert!(matches!(findings(&mut zip).damage[..], [Damage::BadSchema { .. }]));
    }
    let mut zip = ZipBuilder::new();
    zip.entry("_tables/documents.jsonl", NAMES.as_bytes()).entry("users/documents.jsonl", b"");
    let found = findings(&mut zip);
    assert!(found.damage.is_empty() && matches!(found.warnings[..], [Warning::SchemaMissing { .. }]));
}

#[test]
fn a_table_whose_name_ends_in_storage_is_warned_of() {
    let mut zip = ZipBuilder::new();
    zip.entry("_tables/documents.jsonl", b"{\"name\":\"order_storage\",\"id\":1}\n")
        .table("order_storage", "");
    let found = findings(&mut zip);
    assert!(found.damage.is_empty(), "{:?}", found.damage);
    assert!(
        matches!(&found.warnings[..], [Warning::StorageLikeTable { table, .. }] if table == "order_storage")
    );
}

#[test]
fn ids_out_of_order_and_unknown_entries_are_warned_of() {
    let mut zip = ZipBuilder::new();
    zip.entry("_tables/documents.jsonl", NAMES.as_bytes())
        .table("users", "{\"_id\":\"b\"}\n{\"_id\":\"a\"}\n")
        .entry("_scheduled_jobs/documents.jsonl", b"");
    let found = findings(&mut zip);
    assert!(found.damage.is_empty(), "{:?}", found.damage);
    assert!(matches!(found.warnings[..], [Warning::NotInIdOrder { .. }, Warning::UnknownEntry { .. }]));
}
