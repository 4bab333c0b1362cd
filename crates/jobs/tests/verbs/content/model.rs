//! What rules make of a world, said as plainly as possible.

use std::collections::BTreeMap;

use convault_archive::NamesKey;
use convault_core::{Mask, MaskWith, TableRef};
use convault_jobs::{RuleCounts, Rules, Selected};

use super::world::{Document, MadeTable, World, prefix};

/// What should come out.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// In order.
    pub(super) entries: Vec<(String, String)>,
    pub(super) changed: BTreeMap<TableRef, RuleCounts>,
    pub(super) files_dropped: BTreeMap<String, u64>,
}

fn takes(rules: &Rules, component: &str, table: &str) -> bool {
    rules.only.as_ref().is_none_or(|only| {
        only.contains(&Selected::Component(component.to_owned()))
            || only.contains(&Selected::Table(TableRef::new(component, table)))
    })
}

impl Expected {
    pub(super) fn of(world: &World, rules: &Rules) -> Self {
        let mut expected = Self::default();
        expected.entries.push(("README.md".to_owned(), "A backup.\n".to_owned()));
        for component in World::components() {
            let tables = world.tables.iter().filter(|table| table.table.component == component);
            let listed: String = tables
                .filter(|table| takes(rules, component, &table.table.table))
                .map(MadeTable::listed)
                .collect();
            let whole = rules
                .only
                .as_ref()
                .is_none_or(|only| only.contains(&Selected::Component(component.to_owned())));
            let named = rules.only.iter().flatten().any(|selected| {
                matches!(selected, Selected::Table(table) if table.component == component && table.table != "_storage")
            });
            if whole || named {
                expected.entries.push((format!("{}_tables/documents.jsonl", prefix(component)), listed));
            }
        }
        for table in &world.tables {
            expected.table(table, rules);
        }
        for component in World::components() {
            expected.files(component, world, rules);
        }
        expected
    }

    fn table(&mut self, table: &MadeTable, rules: &Rules) {
        let TableRef { component, table: name } = &table.table;
        if !takes(rules, component, name) {
            return;
        }
        let is_quiet = rules.quiet.contains(&table.table);
        let is_erased =
            |document: &Document| rules.erased.documents.contains(&(component.clone(), document.id.clone()));
        let (mut counts, mut content, mut shapes) = (RuleCounts::default(), String::new(), String::new());
        for document in &table.documents {
            if is_quiet || is_erased(document) {
                counts.dropped += 1;
                continue;
            }
            content += &masked(document, &table.table, rules, &mut counts);
            content.push('\n');
            shapes += &document.shape();
        }
        let folder = format!("{}{name}", prefix(component));
        self.entries.push((format!("{folder}/documents.jsonl"), content));
        if !rules.without_schema.contains(&table.table) {
            let schema = if table.is_old {
                format!("\"{{\\\"n\\\": int64}}\"\n{shapes}")
            } else {
                "\"uniform\"\n".into()
            };
            self.entries.push((format!("{folder}/generated_schema.jsonl"), schema));
        }
        if counts != RuleCounts::default() {
            self.changed.insert(table.table.clone(), counts);
        }
    }

    fn files(&mut self, component: &str, world: &World, rules: &Rules) {
        if rules.without_files || !takes(rules, component, "_storage") {
            return;
        }
        let of_component = world.files.iter().filter(|file| file.component == component);
        let (dropped, kept): (Vec<_>, Vec<_>) = of_component.partition(|file| {
            let key = (component.to_owned(), file.id.clone());
            rules.erased.files.contains(&key) || rules.left_out_files.contains(&key)
        });
        let rows = kept.iter().map(|file| file.row() + "\n").collect();
        self.entries.push((format!("{}_storage/documents.jsonl", prefix(component)), rows));
        self.entries.extend(kept.iter().map(|file| (file.entry_name(), file.content.clone())));
        if !dropped.is_empty() {
            self.files_dropped.insert(component.to_owned(), dropped.len() as u64);
        }
    }
}

/// The line of a document. Masks are on `secret` or on `tags.v`.
fn masked(document: &Document, table: &TableRef, rules: &Rules, counts: &mut RuleCounts) -> String {
    let mask =
        |field: &str| rules.masks.iter().find(|mask| mask.table == *table && mask.field.to_string() == field);
    let (mut secret, mut tags) = (document.secret.clone(), document.tags.clone());
    if let (Some(mask), Some(value)) = (mask("secret"), &mut secret) {
        *value = replaced(mask, value, rules, counts);
    }
    if let Some(mask) = mask("tags.v") {
        for value in &mut tags {
            *value = replaced(mask, value, rules, counts);
        }
    }
    document.line_with(secret.as_deref(), &tags)
}

fn replaced(mask: &Mask, value: &str, rules: &Rules, counts: &mut RuleCounts) -> String {
    let key = rules.mask_key.as_ref().unwrap();
    // The only value that has others inside.
    let inner = ["1", "\"x\"", "2.50"];
    if value.starts_with(r#"{"inner""#) && matches!(mask.with, MaskWith::Hash | MaskWith::Email) {
        counts.masked += 3;
        let [one, two, three] = inner.map(|value| plain(mask, value, key));
        return format!(r#"{{"inner":[{one},{{"deep":{two}}},[{three}]]}}"#);
    }
    counts.masked += 1;
    plain(mask, value, key)
}

fn plain(mask: &Mask, value: &str, key: &NamesKey) -> String {
    let replaced = mask.with.replaced(value.as_bytes(), |value| key.hash("mask", &[value]));
    String::from_utf8(replaced).unwrap()
}
