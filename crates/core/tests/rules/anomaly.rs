//! The anomaly gate: what it finds, what it passes over, and what it says.

use std::{collections::BTreeMap, time::Duration};

use convault_core::{
    Anomalies, AnomalyLimits, DocumentFormat, FilesMode, Manifest, NewTables, RunId, Sha256, TableDigest,
    TableLimits, TableTotals, Totals, examine,
};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::json;

use crate::snapshots::at;

const KIB: u64 = 1024;

/// `(component/table, documents, bytes)`.
type Row<'a> = (&'a str, u64, u64);

fn night(number: i64) -> Timestamp {
    at("2026-11-01T03:00:00Z") + SignedDuration::from_hours(24 * number)
}

fn table(&(name, documents, bytes): &Row<'_>) -> TableTotals {
    let (component, table) = name.rsplit_once('/').unwrap_or(("", name));
    let mut digest = TableDigest::default();
    digest.add(&Sha256::of(format!("{documents} {bytes}").as_bytes()));
    let sha256 = Sha256::of(b"");
    TableTotals { component: component.into(), table: table.into(), documents, bytes, sha256, digest }
}

fn manifest_with_files(number: i64, rows: &[Row<'_>], files: u64, file_bytes: u64) -> Manifest {
    let time = night(number);
    let id = RunId::new(time, 0);
    let tables: Vec<TableTotals> = rows.iter().map(table).collect();
    let manifest = json!({
        "format": 1,
        "id": id,
        "deployment": "crm",
        "repository": id,
        "convault_version": "0.1.0",
        "kind": "scheduled",
        "tags": [],
        "keep_until": null,
        "started": time,
        "snapshot_ts_ns": time.as_nanosecond().to_string(),
        "source": {
            "instance": "happy-animal-123",
            "server_version": "unknown",
            "export_id": "x",
            "adopted": false,
        },
        "files": "inline",
        "objects": [],
        "totals": Totals {
            tables: tables.len() as u64,
            documents: tables.iter().map(|table| table.documents).sum(),
            document_bytes: tables.iter().map(|table| table.bytes).sum(),
            files,
            file_bytes,
        },
        "table_names": "plain",
        "tables": tables,
        "not_covered": [],
        "recipients": [],
        "verification": { "at": time, "checks": [] },
        "verdict": "good",
        "fence": null,
        "erasure": 0,
    });
    serde_json::from_value(manifest).unwrap()
}

fn manifest(number: i64, rows: &[Row<'_>]) -> Manifest {
    manifest_with_files(number, rows, 0, 0)
}

fn kinds(found: &Anomalies) -> Vec<&str> {
    found.problems.iter().map(|problem| problem.kind.as_str()).collect()
}

fn compare(before: &[Row<'_>], after: &[Row<'_>], limits: &AnomalyLimits) -> Anomalies {
    examine(&manifest(1, after), &[&manifest(0, before)], limits)
}

/// The one problem that was found.
fn what(found: &Anomalies) -> &str {
    assert_eq!(found.problems.len(), 1, "{found:?}");
    &found.problems[0].what
}

#[test]
fn steps_of_tables_and_sums_are_measured_by_their_limits() {
    let limits = AnomalyLimits::default();
    let none: [&str; 0] = [];
    let down = ["documents-down", "total-documents-down"].as_slice();
    let up = ["documents-up", "total-documents-up"].as_slice();
    let bytes_down = ["bytes-down", "total-bytes-down"].as_slice();
    let bytes_up = ["bytes-up", "total-bytes-up"].as_slice();
    let cases: &[(Row<'_>, Row<'_>, &[&str])] = &[
        (("a", 1000, 1000), ("a", 700, 700), &none),
        (("a", 1000, 1000), ("a", 699, 699), down),
        (("a", 1000, 1000), ("a", 4000, 4000), &none),
        (("a", 1000, 1000), ("a", 4001, 4001), up),
        // Few documents and bytes are noise, but not the last ones.
        (("a", 12, 1000), ("a", 2, 100), &none),
        (("a", 13, 1000), ("a", 2, 100), down),
        (("a", 1, 1000), ("a", 11, 9000), &none),
        (("a", 1, 1000), ("a", 12, 9000), up),
        (("a", 0, 0), ("a", 5000, 5000), &none),
        // Bytes are looked at where documents say nothing.
        (("a", 1000, 1000 * KIB), ("a", 1000, 700 * KIB), &none),
        (("a", 1000, 1000 * KIB), ("a", 1000, 699 * KIB), bytes_down),
        (("a", 1000, 200 * KIB), ("a", 1000, 801 * KIB), bytes_up),
        (("a", 1000, 64 * KIB), ("a", 1000, 1), &none),
    ];
    for (before, after, expected) in cases {
        assert_eq!(kinds(&compare(&[*before], &[*after], &limits)), *expected, "{before:?} {after:?}");
    }
}

#[test]
fn a_sum_can_be_down_though_no_table_is() {
    let before: Vec<(String, u64)> = (0..100).map(|number| (format!("t{number:03}"), 20)).collect();
    let rows = |list: &[(String, u64)]| {
        let rows: Vec<Row<'_>> =
            list.iter().map(|(name, number)| (name.as_str(), *number, *number)).collect();
        manifest(0, &rows)
    };
    let after: Vec<(String, u64)> = before.iter().map(|(name, _)| (name.clone(), 12)).collect();
    let found = examine(
        &Manifest { id: RunId::new(night(1), 0), ..rows(&after) },
        &[&rows(&before)],
        &AnomalyLimits::default(),
    );
    assert_eq!(kinds(&found), ["total-documents-down"]);
    assert_eq!(
        what(&found),
        "the snapshot has 1200 documents, 40.0 % less than the 2000 before (limit: 30 %)"
    );
}

#[test]
fn a_table_that_vanished_is_named_with_what_it_had() {
    let limits = AnomalyLimits::default();
    let found = compare(&[("a", 1000, 1000), ("b", 7, 7)], &[("a", 1000, 1000)], &limits);
    assert_eq!(kinds(&found), ["table-vanished"]);
    assert_eq!(found.problems[0].ids, ["b"]);
    assert_eq!(what(&found), "table b is gone; it had 7 documents");
    let found = compare(&[("a", 1000, 1000), ("b", 0, 0)], &[("a", 1000, 1000)], &limits);
    assert_eq!((found.problems.len(), found.notes), (0, vec!["table b is gone; it was empty".to_owned()]));
}

#[test]
fn a_component_that_vanished_is_said_once() {
    let before = [("a", 1000, 1000), ("x/b", 7, 7), ("x/c", 5, 5), ("y/d", 0, 0)];
    let found = compare(&before, &[("a", 1000, 1000)], &AnomalyLimits::default());
    assert_eq!(kinds(&found), ["component-vanished"]);
    assert_eq!(what(&found), "component x is gone, with 2 tables of 12 documents");
    assert_eq!(found.notes, ["component y is gone, with 1 tables of 0 documents"]);
}

#[test]
fn what_is_new_is_a_note_or_a_problem_or_nothing() {
    let (before, after) = ([("a", 9, 9)], [("a", 9, 9), ("b", 3, 3), ("x/c", 4, 4)]);
    let with =
        |new_tables| compare(&before, &after, &AnomalyLimits { new_tables, ..AnomalyLimits::default() });
    let warned = with(NewTables::Warn);
    let expected = ["component x is new, with 1 tables of 4 documents", "table b is new, with 3 documents"];
    assert_eq!((warned.problems.len(), warned.notes), (0, expected.map(str::to_owned).to_vec()));
    assert_eq!(kinds(&with(NewTables::Suspect)), ["component-new", "table-new"]);
    assert_eq!(with(NewTables::Ignore), Anomalies::default());
}

#[test]
fn an_emptied_table_is_a_problem_however_small_it_was() {
    let before = [("a", 1000, 1000), ("b", 1, 1)];
    let after = [("a", 1000, 1000), ("b", 0, 0)];
    let found = compare(&before, &after, &AnomalyLimits::default());
    assert_eq!(kinds(&found), ["table-emptied"]);
    assert_eq!(what(&found), "table b is empty; it had 1 documents");
    let own = TableLimits { down_percent: Some(100), ..TableLimits::default() };
    let limits = AnomalyLimits { tables: BTreeMap::from([("b".into(), own)]), ..AnomalyLimits::default() };
    assert_eq!(compare(&before, &after, &limits), Anomalies::default());
}

#[test]
fn a_table_with_limits_of_its_own_is_judged_by_them_and_left_out_of_the_sums() {
    let limits = |table: &str, own| AnomalyLimits {
        tables: BTreeMap::from([(table.into(), own)]),
        ..AnomalyLimits::default()
    };
    let (before, after) = ([("a", 100, 100), ("x/log", 9000, 9000)], [("a", 100, 100), ("x/log", 900, 900)]);
    let loose = TableLimits { down_percent: Some(95), ..TableLimits::default() };
    assert_eq!(compare(&before, &after, &limits("x/log", loose)), Anomalies::default());
    assert_eq!(
        kinds(&compare(&before, &after, &limits("log", loose))),
        ["documents-down", "total-documents-down"]
    );
    let strict = TableLimits { down_percent: Some(80), up_percent: Some(10), ignore: false };
    assert_eq!(kinds(&compare(&before, &after, &limits("x/log", strict))), ["documents-down"]);
    assert_eq!(kinds(&compare(&after, &before, &limits("x/log", strict))), ["documents-up"]);
    let ignored = TableLimits { ignore: true, ..TableLimits::default() };
    assert_eq!(compare(&before, &[("a", 100, 100)], &limits("x/log", ignored)), Anomalies::default());
    assert_eq!(compare(&[("a", 100, 100)], &after, &limits("x/log", ignored)), Anomalies::default());
}

#[test]
fn stored_files_are_compared_where_both_have_them() {
    let limits = AnomalyLimits::default();
    let before = manifest_with_files(0, &[("a", 9, 9)], 1000, 1000 * KIB);
    let after = |files, file_bytes| manifest_with_files(1, &[("a", 9, 9)], files, file_bytes);
    let of = |next: &Manifest| examine(next, &[&before], &limits);
    assert_eq!(of(&after(700, 700 * KIB)), Anomalies::default());
    assert_eq!(kinds(&of(&after(600, 1000 * KIB))), ["files-down"]);
    assert_eq!(kinds(&of(&after(1000, 600 * KIB))), ["file-bytes-down"]);
    assert_eq!(kinds(&of(&after(0, 0))), ["files-down", "file-bytes-down"]);
    assert_eq!(kinds(&of(&after(4001, 1000 * KIB))), ["files-up"]);
    let without = Manifest { files: FilesMode::None, ..after(0, 0) };
    assert_eq!(of(&without), Anomalies::default());
}

#[test]
fn the_newest_with_the_same_files_mode_is_the_measure() {
    let next = manifest(9, &[("a", 100, 100)]);
    let alike = manifest(7, &[("a", 100, 100)]);
    let without_files = Manifest { files: FilesMode::None, ..manifest(8, &[("a", 9000, 9000)]) };
    let limits = AnomalyLimits::default();
    assert_eq!(examine(&next, &[&without_files, &alike], &limits), Anomalies::default());
    assert_eq!(
        kinds(&examine(&next, &[&without_files], &limits)),
        ["documents-down", "total-documents-down"]
    );
    assert_eq!(examine(&next, &[&next, &alike], &limits), Anomalies::default());
}

#[test]
fn an_empty_snapshot_is_a_problem_also_when_it_is_the_first() {
    let empty = manifest(0, &[("a", 0, 0)]);
    assert_eq!(kinds(&examine(&empty, &[], &AnomalyLimits::default())), ["empty"]);
    let allowed = AnomalyLimits { allow_empty: true, ..AnomalyLimits::default() };
    assert_eq!(examine(&empty, &[], &allowed), Anomalies::default());
    let only_files = manifest_with_files(0, &[], 1, 1);
    assert_eq!(examine(&only_files, &[], &AnomalyLimits::default()), Anomalies::default());
}

#[test]
fn a_snapshot_below_its_least_size_is_a_problem() {
    let next = manifest_with_files(0, &[("a", 10, 100)], 1, 50);
    let with = |min_documents, min_bytes| {
        let limits = AnomalyLimits { min_documents, min_bytes, ..AnomalyLimits::default() };
        examine(&next, &[], &limits)
    };
    assert_eq!(with(Some(10), Some(150)), Anomalies::default());
    assert_eq!(what(&with(Some(11), None)), "the snapshot has 10 documents, fewer than min_documents = 11");
    assert_eq!(what(&with(None, Some(151))), "the snapshot has 150 bytes, fewer than min_bytes = 151");
}

#[test]
fn a_deployment_that_stands_still_for_too_long_is_a_problem() {
    let rows = [("a", 10, 100)];
    let limits =
        AnomalyLimits { unchanged_for: Some(Duration::from_hours(3 * 24)), ..AnomalyLimits::default() };
    let still: Vec<Manifest> = (0..9).map(|number| manifest(number, &rows)).collect();
    let next = manifest(9, &rows);
    let newest_first = |from: usize| still[from..].iter().rev().collect::<Vec<_>>();
    assert_eq!(kinds(&examine(&next, &newest_first(6), &limits)), ["unchanged"]);
    assert_eq!(examine(&next, &newest_first(7), &limits), Anomalies::default());
    let moved = manifest(8, &[("a", 10, 101)]);
    let history: Vec<&Manifest> = std::iter::once(&moved).chain(&still[..8]).collect();
    assert_eq!(examine(&next, &history, &limits), Anomalies::default());
    assert_eq!(examine(&next, &newest_first(0), &AnomalyLimits::default()), Anomalies::default());
}

#[test]
fn another_deployment_behind_the_same_name_is_a_problem() {
    let before = manifest(0, &[("a", 10, 100)]);
    let mut next = manifest(1, &[("a", 10, 100)]);
    next.source.instance = "sad-plant-321".into();
    let found = examine(&next, &[&before], &AnomalyLimits::default());
    assert_eq!(kinds(&found), ["instance-changed"]);
    assert!(what(&found).contains("sad-plant-321, and happy-animal-123 when 20261101T030000Z"), "{found:?}");
    next.source.instance = "unknown".into();
    assert_eq!(examine(&next, &[&before], &AnomalyLimits::default()), Anomalies::default());
}

#[test]
fn another_format_of_documents_is_a_problem() {
    let mut before = manifest(0, &[("a", 10, 100)]);
    before.source.documents = DocumentFormat::Legacy;
    let found = examine(&manifest(1, &[("a", 10, 100)]), &[&before], &AnomalyLimits::default());
    assert_eq!(kinds(&found), ["format-changed"]);
}

#[test]
fn problems_and_notes_are_bounded_and_the_rest_is_counted() {
    let names: Vec<String> = (0..250).map(|number| format!("t{number:03}")).collect();
    let old: Vec<Row<'_>> = names.iter().map(|name| (name.as_str(), 1, 1)).collect();
    let new: Vec<String> = names.iter().map(|name| format!("new{name}")).collect();
    let new: Vec<Row<'_>> = new.iter().map(|name| (name.as_str(), 1, 1)).collect();
    let found = compare(&old, &new, &AnomalyLimits::default());
    assert_eq!((found.problems.len(), found.notes.len()), (101, 101));
    assert_eq!(found.problems[100].what, "and 150 more");
    assert_eq!(found.notes[100], "and 150 more");
}

fn any_rows() -> impl Strategy<Value = Vec<(String, u64, u64)>> {
    proptest::collection::btree_map("(x/|y/|)[a-f]", (0_u64..50_000, 0_u64..10_000_000), 0..12).prop_map(
        |rows| rows.into_iter().map(|(name, (documents, bytes))| (name, documents, bytes)).collect(),
    )
}

fn made(number: i64, rows: &[(String, u64, u64)]) -> Manifest {
    let rows: Vec<Row<'_>> =
        rows.iter().map(|(name, documents, bytes)| (name.as_str(), *documents, *bytes)).collect();
    manifest_with_files(number, &rows, 1, 1)
}

proptest! {
    #[test]
    fn what_stays_the_same_gives_nothing(rows in any_rows()) {
        let found = examine(&made(1, &rows), &[&made(0, &rows)], &AnomalyLimits::default());
        prop_assert_eq!(found, Anomalies::default());
    }

    #[test]
    fn the_order_of_tables_says_nothing(
        before in any_rows(),
        (after, shuffled) in any_rows().prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle())),
    ) {
        let limits = AnomalyLimits { unchanged_for: Some(Duration::from_hours(1)), ..AnomalyLimits::default() };
        let of = |rows: &[(String, u64, u64)]| examine(&made(1, rows), &[&made(0, &before)], &limits);
        prop_assert_eq!(of(&after), of(&shuffled));
        let same = examine(&made(1, &after), &[&made(0, &shuffled)], &limits);
        prop_assert_eq!(kinds(&same), ["unchanged"]);
    }

    #[test]
    fn names_matter_only_by_being_equal(before in any_rows(), after in any_rows()) {
        let hashed = |rows: &[(String, u64, u64)]| -> Vec<(String, u64, u64)> {
            rows.iter()
                .map(|(name, documents, bytes)| {
                    let (component, table) = name.rsplit_once('/').unwrap_or(("", name));
                    let slash = if component.is_empty() { "" } else { "/" };
                    let component = if component.is_empty() { String::new() } else { Sha256::of(component.as_bytes()).to_string() };
                    (format!("{component}{slash}{}", Sha256::of(table.as_bytes())), *documents, *bytes)
                })
                .collect()
        };
        let limits = AnomalyLimits::default();
        let plain = examine(&made(1, &after), &[&made(0, &before)], &limits);
        let hidden = examine(&made(1, &hashed(&after)), &[&made(0, &hashed(&before))], &limits);
        let (mut plain, mut hidden) = (kinds(&plain).join(" "), kinds(&hidden).join(" "));
        for text in [&mut plain, &mut hidden] {
            let mut words: Vec<&str> = text.split(' ').collect();
            words.sort_unstable();
            *text = words.join(" ");
        }
        prop_assert_eq!(plain, hidden);
    }

    #[test]
    fn losing_more_than_the_limit_is_always_found(rows in any_rows(), percent in 1_u64..=100) {
        let fewer: Vec<(String, u64, u64)> = rows
            .iter()
            .map(|(name, documents, bytes)| (name.clone(), documents - documents * percent / 100, *bytes))
            .collect();
        let found = examine(&made(1, &fewer), &[&made(0, &rows)], &AnomalyLimits::default());
        for ((name, before, _), (_, after, _)) in rows.iter().zip(&fewer) {
            let lost = before - after;
            let wrong = (*after == 0 && lost > 0) || (lost > 10 && lost * 100 > before * 30);
            let named = found.problems.iter().any(|problem| problem.ids == [name.as_str()]);
            prop_assert_eq!(named, wrong, "{} {} {}", name, before, after);
        }
    }
}
