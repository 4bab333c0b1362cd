//! Rules of every kind, over worlds of every kind, beside the model.

use std::collections::BTreeSet;

use convault_core::{Mask, MaskWith, TableRef};
use convault_jobs::{Rules, Selected};
use proptest::prelude::*;

use super::{
    Backed, entries,
    model::Expected,
    summary,
    world::{Random, World},
};
use crate::encryption::names;

/// Some rules, made of a number. Tables of the old form are not masked.
fn rules_of(world: &World, seed: u64) -> Rules {
    let mut random = Random(seed);
    let mut rules = Rules { mask_key: Some(names()), ..Rules::default() };
    let with = [
        MaskWith::Hash,
        MaskWith::Email,
        MaskWith::Null,
        MaskWith::Fixed("7".to_owned()),
        MaskWith::text("\"x\""),
    ];
    for table in &world.tables {
        let erases = random.one_in(2);
        for document in &table.documents {
            if erases && random.one_in(3) {
                rules.erased.documents.insert((table.table.component.clone(), document.id.clone()));
            }
        }
        for field in ["secret", "tags.v"] {
            if !table.is_old && random.one_in(3) {
                let with = with[usize::try_from(random.below(5)).unwrap()].clone();
                rules.masks.push(Mask { table: table.table.clone(), field: field.parse().unwrap(), with });
            }
        }
        if random.one_in(6) {
            rules.quiet.insert(table.table.clone());
        }
        if random.one_in(6) {
            rules.without_schema.insert(table.table.clone());
        }
    }
    for file in &world.files {
        let key = (file.component.clone(), file.id.clone());
        match random.below(6) {
            0 => _ = rules.erased.files.insert(key),
            1 => _ = rules.left_out_files.insert(key),
            _ => {}
        }
    }
    // An id that is of this component's tables and of none of its documents.
    if random.one_in(3) {
        rules.erased.documents.insert((String::new(), "somebody".to_owned()));
    }
    rules.without_files = random.one_in(5);
    if random.one_in(3) {
        rules.only = Some(selection(world, &mut random));
    }
    rules
}

fn selection(world: &World, random: &mut Random) -> BTreeSet<Selected> {
    let mut selected = BTreeSet::new();
    for component in World::components() {
        if random.one_in(3) {
            selected.insert(Selected::Component(component.to_owned()));
        }
        if random.one_in(3) {
            selected.insert(Selected::Table(TableRef::new(component, "_storage")));
        }
    }
    for table in &world.tables {
        if random.one_in(3) {
            selected.insert(Selected::Table(table.table.clone()));
        }
    }
    selected
}

async fn compare(world: &World, rules: &Rules, is_encrypted: bool) {
    let zip = world.zip();
    let backed = Backed::of(zip.clone(), is_encrypted).await;
    let (output, outgone) = backed.zip(rules).await.unwrap();
    let expected = Expected::of(world, rules);
    let found = entries(&output);
    let contents: Vec<(String, String)> = found
        .iter()
        .map(|(name, content, _)| (name.clone(), String::from_utf8(content.clone()).unwrap()))
        .collect();
    assert_eq!(contents, expected.entries);
    assert_eq!((&outgone.changed, &outgone.files_dropped), (&expected.changed, &expected.files_dropped));
    assert_eq!(outgone.size_bytes, output.len() as u64);
    assert_eq!(outgone.summary, summary(&output));
    let before = entries(&zip);
    for (name, content, data) in &found {
        let (_, old, old_data) = before.iter().find(|(old, ..)| old == name).unwrap();
        let is_touched = name.ends_with("/documents.jsonl") || name.ends_with("/generated_schema.jsonl");
        assert!(content != old || data == old_data || is_touched, "{name} was not copied");
    }
    for table in &world.tables {
        let name =
            format!("{}{}/documents.jsonl", super::world::prefix(&table.table.component), table.table.table);
        let expected = contents
            .iter()
            .find(|(found, _)| *found == name)
            .map(|(_, content)| content.clone().into_bytes());
        assert_eq!(backed.lines(rules, &table.table).await, expected, "{name}");
        for document in &table.documents {
            let run = crate::bench::Run::new();
            let content = backed.content(&backed.store, rules, &run);
            let found = content.document(&table.table, &document.id).await.unwrap();
            let line = expected.as_ref().and_then(|content| {
                let needle = format!("\"_id\":\"{}\"", document.id);
                std::str::from_utf8(content).unwrap().lines().find(|line| line.contains(&needle))
            });
            assert_eq!(found.as_deref(), line.map(str::as_bytes));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_leaves_is_what_the_model_says(world: u64, rules: u64, old: u8, is_encrypted: bool) {
        let mut world = World::of(world);
        for (at, table) in world.tables.iter_mut().enumerate() {
            table.is_old = old >> at & 1 == 1 && old & 0x80 != 0;
        }
        let rules = rules_of(&world, rules);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(compare(&world, &rules, is_encrypted));
    }
}

#[tokio::test]
async fn entries_that_no_rule_touches_are_the_same_compressed_bytes() {
    let world = World::of(9);
    let backed = Backed::of(world.zip(), true).await;
    let mut rules = Rules::default();
    let erased = world.tables.iter().find(|table| table.table.table == "letters").unwrap();
    rules.erased.documents.insert(("mail".to_owned(), erased.documents[0].id.clone()));
    let (output, _) = backed.zip(&rules).await.unwrap();
    let (before, after) = (entries(&world.zip()), entries(&output));
    assert_eq!(before.len(), after.len());
    for (old, new) in before.iter().zip(&after) {
        let is_touched = old.0 == "_components/mail/letters/documents.jsonl";
        assert_eq!(old.0, new.0);
        assert_eq!(old == new, !is_touched, "{}", old.0);
    }
}
