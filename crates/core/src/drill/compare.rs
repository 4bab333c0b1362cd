//! What was sent against what is there, and against what is stored.

use std::collections::{BTreeMap, BTreeSet};

use super::proof::{DrillFailure, DrillSubject};
use crate::{ComponentSummary, ContentSummary, TableRef, TableSummary, TargetContents};

/// So many failures of one kind are listed one by one.
pub const MOST_FAILURES: usize = 100;

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DrillFindings {
    /// How many things were compared.
    pub compared: u64,
    /// What was not as it should be, [`MOST_FAILURES`] at most.
    pub failures: Vec<DrillFailure>,
    /// Further ones.
    pub unlisted: u64,
}

impl DrillFindings {
    /// One more was compared, and was as it should be or not.
    pub fn add(&mut self, failure: Option<DrillFailure>) {
        self.compared += 1;
        self.fail(failure);
    }

    /// Something that is wrong beside what was compared.
    pub fn fail(&mut self, failure: impl IntoIterator<Item = DrillFailure>) {
        for failure in failure {
            if self.failures.len() < MOST_FAILURES { self.failures.push(failure) } else { self.unlisted += 1 }
        }
    }

    /// How many were not as they should be.
    pub fn failed(&self) -> u64 {
        self.failures.len() as u64 + self.unlisted
    }
}

/// Documents of every table and files of every component, as the deployment itself counts them. Tables that were not
/// sent must be empty: those of the deployment's own schema stay.
pub fn compare_counts(sent: &ContentSummary, found: &TargetContents) -> DrillFindings {
    let mut findings = DrillFindings::default();
    let count = |table: &TableRef| {
        found.components.get(&table.component).and_then(|component| component.tables.get(&table.table))
    };
    for (table, summary) in &sent.tables {
        let what = match count(table) {
            None => Some(format!("the table is missing; {} documents were sent", summary.documents)),
            Some(counted) if *counted != summary.documents => {
                Some(format!("it has {counted} documents; {} were sent", summary.documents))
            }
            Some(_) => None,
        };
        findings.add(what.map(|what| DrillFailure::of_table(DrillSubject::Counts, table, what)));
    }
    for (path, component) in &found.components {
        for (name, counted) in component.tables.iter().filter(|(_, counted)| **counted > 0) {
            let table = TableRef::new(path.clone(), name.clone());
            if !sent.tables.contains_key(&table) {
                let what = format!("it has {counted} documents, and the table was not sent");
                findings.add(Some(DrillFailure::of_table(DrillSubject::Counts, &table, what)));
            }
        }
    }
    // Without rows of files an import leaves the files alone that are there.
    for (path, component) in sent.components.iter().filter(|(_, component)| component.rows.is_some()) {
        let counted = found.components.get(path).map_or(0, |found| found.files);
        let wrong = counted != component.files;
        let what = format!("it has {counted} stored files; {} were sent", component.files);
        findings.add(wrong.then(|| DrillFailure::of_component(DrillSubject::Counts, path, what)));
    }
    findings
}

/// What was sent against what a new export gave back, entry by entry. Tables of `by_value` are not compared by their
/// bytes but by the number of their documents alone: their values are compared elsewhere.
pub fn compare_content(
    sent: &ContentSummary,
    back: &ContentSummary,
    by_value: &BTreeSet<TableRef>,
) -> DrillFindings {
    let mut findings = DrillFindings::default();
    for (table, summary) in &sent.tables {
        let found = back.tables.get(table);
        for what in table_differences(summary, found, by_value.contains(table)) {
            findings.fail([DrillFailure::of_table(DrillSubject::Content, table, what)]);
        }
        findings.compared += 2;
    }
    let more: BTreeMap<&TableRef, &TableSummary> =
        back.tables.iter().filter(|(table, _)| !sent.tables.contains_key(table)).collect();
    for (table, summary) in more.iter().filter(|(_, summary)| summary.documents > 0) {
        let what = format!("{} documents came back of a table that was not sent", summary.documents);
        findings.add(Some(DrillFailure::of_table(DrillSubject::Content, table, what)));
    }
    for (path, component) in &sent.components {
        let found = back.components.get(path).copied().unwrap_or_default();
        // Empty tables of the deployment's own schema stand in its list, too.
        let has_more = more.keys().any(|table| table.component == *path);
        for what in component_differences(component, &found, has_more) {
            findings.fail([DrillFailure::of_component(DrillSubject::Content, path, what)]);
        }
        findings.compared += 2 + component.files;
    }
    findings
}

fn table_differences(sent: &TableSummary, found: Option<&TableSummary>, by_value: bool) -> Vec<String> {
    let Some(found) = found else {
        return vec![format!("the table did not come back; {} documents were sent", sent.documents)];
    };
    let mut differences = Vec::new();
    if found.documents != sent.documents {
        differences.push(format!("{} documents came back; {} were sent", found.documents, sent.documents));
    } else if found.sha256 != sent.sha256 && !by_value {
        differences.push(match (sent.size_bytes, found.size_bytes) {
            (sent, found) if sent == found => "documents came back changed, in as many bytes".to_owned(),
            (sent, found) => format!("documents came back changed: {found} bytes, and {sent} were sent"),
        });
    }
    match (sent.schema, found.schema) {
        _ if by_value => {}
        (Some(_), None) => {
            differences
                .push("its schema marker did not come back, which tells the types of numbers".to_owned());
        }
        (None, Some(_)) => {
            differences.push("it came back with a schema marker, and was sent without one".to_owned());
        }
        (sent, found) if sent != found => {
            let text = "its schema marker came back as another one: the deployment writes another format of documents";
            differences.push(text.to_owned());
        }
        _ => {}
    }
    differences
}

fn component_differences(sent: &ComponentSummary, found: &ComponentSummary, has_more: bool) -> Vec<String> {
    let mut differences = Vec::new();
    if sent.tables.is_some() && found.tables.is_none() {
        differences.push("its list of tables did not come back".to_owned());
    } else if sent.tables.is_some() && sent.tables != found.tables && !has_more {
        differences.push("its list of tables, with their numbers, came back changed".to_owned());
    }
    if sent.rows.is_none() {
        return differences;
    }
    if found.files != sent.files {
        differences.push(format!("{} stored files came back; {} were sent", found.files, sent.files));
    } else if found.digest != sent.digest {
        differences.push("stored files came back changed".to_owned());
    }
    if found.rows != sent.rows {
        differences.push("the rows of its stored files came back changed".to_owned());
    }
    differences
}

/// What was sent against the snapshot's own index: every entry that no rule touched must be what is stored. Files and
/// their rows are compared where `with_files` says that they are in the index.
pub fn compare_stored(
    sent: &ContentSummary,
    stored: &ContentSummary,
    changed: &BTreeSet<TableRef>,
    with_files: bool,
) -> DrillFindings {
    let mut findings = DrillFindings::default();
    for (table, summary) in stored.tables.iter().filter(|(table, _)| !changed.contains(table)) {
        let what = match sent.tables.get(table) {
            None => Some("it was not sent, although no rule leaves it out"),
            Some(sent) if sent != summary => Some("what was sent is not what is stored"),
            Some(_) => None,
        };
        findings.add(what.map(|what| DrillFailure::of_table(DrillSubject::AsStored, table, what)));
    }
    let untouched =
        |path: &str| !changed.iter().any(|table| table.component == path && table.table == "_storage");
    for (path, component) in stored.components.iter().filter(|(path, _)| with_files && untouched(path)) {
        let sent = sent.components.get(path).copied().unwrap_or_default();
        let same =
            sent.rows == component.rows && sent.files == component.files && sent.digest == component.digest;
        let what = "the stored files that were sent are not those of the snapshot";
        findings.add((!same).then(|| DrillFailure::of_component(DrillSubject::AsStored, path, what)));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ComponentContents, Sha256};

    fn content() -> ContentSummary {
        let table = |documents, text: &[u8]| TableSummary {
            documents,
            size_bytes: text.len() as u64,
            sha256: Some(Sha256::of(text)),
            schema: Some(Sha256::of(b"\"uniform\"\n")),
        };
        let tables = [
            (TableRef::new("", "contacts"), table(2, b"two documents")),
            (TableRef::new("mail", "letters"), table(0, b"")),
        ];
        let component = |tables: &[u8]| ComponentSummary {
            tables: Some(Sha256::of(tables)),
            rows: Some(Sha256::of(b"rows")),
            files: 3,
            file_bytes: 30,
            ..ComponentSummary::default()
        };
        let components = [(String::new(), component(b"a")), ("mail".to_owned(), component(b"b"))];
        ContentSummary { tables: tables.into(), components: components.into() }
    }

    fn counted() -> TargetContents {
        let component = |table: &str, documents, files| ComponentContents {
            tables: [(table.to_owned(), documents)].into(),
            files,
        };
        let components =
            [(String::new(), component("contacts", 2, 3)), ("mail".to_owned(), component("letters", 0, 3))];
        TargetContents { components: components.into() }
    }

    fn told(findings: &DrillFindings) -> Vec<String> {
        findings.failures.iter().map(DrillFailure::line).collect()
    }

    #[test]
    fn what_is_as_it_was_sent_has_no_failure() {
        let all = content();
        assert_eq!(compare_counts(&all, &counted()).failed(), 0);
        assert_eq!(compare_content(&all, &all, &BTreeSet::new()).failed(), 0);
        assert_eq!(compare_stored(&all, &all, &BTreeSet::new(), true).failed(), 0);
        assert_eq!(compare_counts(&all, &counted()).compared, 4);
    }

    #[test]
    fn a_missing_table_a_lost_document_and_a_lost_file_are_counted_and_named() {
        let mut found = counted();
        found.components.get_mut("mail").unwrap().tables.clear();
        let root = found.components.get_mut("").unwrap();
        root.tables.insert("contacts".to_owned(), 1);
        root.tables.insert("strangers".to_owned(), 5);
        root.tables.insert("of_the_schema".to_owned(), 0);
        root.files = 2;
        assert_eq!(
            told(&compare_counts(&content(), &found)),
            [
                "contacts: it has 1 documents; 2 were sent",
                "mail/letters: the table is missing; 0 documents were sent",
                "strangers: it has 5 documents, and the table was not sent",
                "it has 2 stored files; 3 were sent",
            ]
        );
    }

    #[test]
    fn a_changed_document_a_dropped_marker_and_a_changed_file_are_named() {
        let contacts = TableRef::new("", "contacts");
        let mut back = content();
        back.tables.get_mut(&contacts).unwrap().sha256 = Some(Sha256::of(b"others"));
        back.tables.get_mut(&TableRef::new("mail", "letters")).unwrap().schema = None;
        back.components.get_mut("mail").unwrap().digest.add(&Sha256::of(b"changed"));
        let sent = content();
        assert_eq!(
            told(&compare_content(&sent, &back, &BTreeSet::new())),
            [
                "contacts: documents came back changed, in as many bytes",
                "mail/letters: its schema marker did not come back, which tells the types of numbers",
                "component mail: stored files came back changed",
            ]
        );
        back.tables.remove(&contacts);
        let lost = compare_content(&sent, &back, &BTreeSet::new());
        assert_eq!(told(&lost)[0], "contacts: the table did not come back; 2 documents were sent");
    }

    #[test]
    fn empty_tables_of_the_deployments_own_schema_are_no_failure() {
        let mut back = content();
        back.tables.insert(TableRef::new("", "more"), TableSummary::default());
        back.components.get_mut("").unwrap().tables = Some(Sha256::of(b"with one more"));
        assert_eq!(compare_content(&content(), &back, &BTreeSet::new()).failed(), 0);
    }

    #[test]
    fn what_a_rule_touched_need_not_be_what_is_stored_and_the_rest_must() {
        let contacts = TableRef::new("", "contacts");
        let mut sent = content();
        sent.tables.get_mut(&contacts).unwrap().documents = 1;
        let stored = content();
        assert_eq!(compare_stored(&sent, &stored, &[contacts].into(), true).failed(), 0);
        let found = compare_stored(&sent, &stored, &BTreeSet::new(), true);
        assert_eq!(told(&found), ["contacts: what was sent is not what is stored"]);
    }
}
