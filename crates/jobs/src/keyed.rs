//! Names of tables and components where nobody may read them: hashed under the names key, so that manifests of
//! encrypted destinations can be compared and tell nothing.

use std::collections::{BTreeMap, BTreeSet};

use convault_archive::{Damage, NamesKey};
use convault_core::{AnomalyLimits, Manifest, Problem, TableDigest, TableNames, TableTotals, Verdict};

/// As much of a hash that stands for an unknown name is shown to people.
const SHOWN_DIGITS: usize = 12;
const HASH_DIGITS: usize = 64;

/// How names are written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Naming<'a> {
    /// As they are.
    Plain,
    /// As hashes under this key.
    Keyed(&'a NamesKey),
}

impl Naming<'_> {
    /// A component's path. That of the root stays empty.
    pub(crate) fn component(self, component: &str) -> String {
        match self {
            Self::Keyed(names) if !component.is_empty() => {
                names.hash("component", &[component.as_bytes()]).to_string()
            }
            _ => component.to_owned(),
        }
    }

    /// A table's name, whose hash covers its component, too.
    pub(crate) fn table(self, component: &str, table: &str) -> String {
        match self {
            Self::Keyed(names) => names.hash("table", &[component.as_bytes(), table.as_bytes()]).to_string(),
            Self::Plain => table.to_owned(),
        }
    }

    /// An entry of the ZIP. Of one in a table's folder, what is hashed are the component and the table.
    fn entry(self, name: &str) -> String {
        let Self::Keyed(names) = self else { return name.to_owned() };
        let (component, rest) = split_components(name);
        let slash = if component.is_empty() { "" } else { "/" };
        let hidden = self.component(&component);
        match rest.split_once('/') {
            Some((folder, file)) if folder.starts_with('_') => format!("{hidden}{slash}{folder}/{file}"),
            Some((table, file)) => format!("{hidden}{slash}{}/{file}", self.table(&component, table)),
            None => names.hash("entry", &[name.as_bytes()]).to_string(),
        }
    }

    /// The same damage, with names written like this.
    pub(crate) fn damage(self, damage: &Damage) -> Damage {
        let names = |component: &str, table: &str| (self.component(component), self.table(component, table));
        match damage.clone() {
            damage @ Damage::StoredFiles { .. } => damage,
            Damage::Line { entry, line_number, problem } => {
                Damage::Line { entry: self.entry(&entry), line_number, problem }
            }
            Damage::TableMissing { component, table } => {
                let (component, table) = names(&component, &table);
                Damage::TableMissing { component, table }
            }
            Damage::TableNotListed { component, table } => {
                let (component, table) = names(&component, &table);
                Damage::TableNotListed { component, table }
            }
            Damage::TableListedTwice { component, table } => {
                let (component, table) = names(&component, &table);
                Damage::TableListedTwice { component, table }
            }
            Damage::TablesMissing { component } => {
                Damage::TablesMissing { component: self.component(&component) }
            }
            Damage::StorageRowsMissing { component } => {
                Damage::StorageRowsMissing { component: self.component(&component) }
            }
            Damage::BadSchema { component, table } => {
                let (component, table) = names(&component, &table);
                Damage::BadSchema { component, table }
            }
        }
    }
}

/// `_components/a/_components/b/rest`: the component `a/b`, and the rest.
fn split_components(name: &str) -> (String, &str) {
    let (mut components, mut rest) = (Vec::new(), name);
    while let Some((component, after)) =
        rest.strip_prefix("_components/").and_then(|rest| rest.split_once('/'))
    {
        components.push(component);
        rest = after;
    }
    (components.join("/"), rest)
}

/// The same manifest with hashed names and digests; one whose names are hashed already is left as it is. What its
/// problems say is not changed.
pub(crate) fn keyed_manifest(manifest: &Manifest, names: &NamesKey) -> Manifest {
    if manifest.table_names == TableNames::Keyed {
        return manifest.clone();
    }
    let naming = Naming::Keyed(names);
    let keyed = |table: &TableTotals| TableTotals {
        component: naming.component(&table.component),
        table: naming.table(&table.component, &table.table),
        sha256: names.hash("table-sha256", &[&table.sha256.0]),
        digest: TableDigest::hashed(names.hash("table-digest", &[table.digest.as_bytes()])),
        ..*table
    };
    let mut tables: Vec<TableTotals> = manifest.tables.iter().map(keyed).collect();
    // In the order of their names, they would tell something of them.
    tables.sort_by(|a, b| (&a.component, &a.table).cmp(&(&b.component, &b.table)));
    Manifest { table_names: TableNames::Keyed, names_key: Some(names.id()), tables, ..manifest.clone() }
}

/// A manifest of a destination that was not encrypted, for one that is: sentences that may name tables are left out, too.
pub(crate) fn hidden_manifest(manifest: &Manifest, names: &NamesKey) -> Manifest {
    let mut hidden = keyed_manifest(manifest, names);
    if let (TableNames::Plain, Verdict::Suspect { problems }) = (manifest.table_names, &mut hidden.verdict) {
        problems.iter_mut().for_each(without_names);
    }
    hidden
}

/// Sentences of a destination that was not encrypted name tables and components; storage ids are no names.
fn without_names(problem: &mut Problem) {
    "what was found is not repeated here, since it may name tables".clone_into(&mut problem.what);
    let is_damage = problem.kind == "source-damage";
    problem.ids.retain(|id| is_damage && is_storage_id(id));
}

/// `kg2…`, or `kg2…: what is wrong with it`, without a component in front.
pub(crate) fn is_storage_id(id: &str) -> bool {
    !id.split(':').next().unwrap_or(id).contains('/')
}

/// The same limits for tables with hashed names.
pub(crate) fn keyed_limits(limits: &AnomalyLimits, names: &NamesKey) -> AnomalyLimits {
    let naming = Naming::Keyed(names);
    let keyed = |name: &String| {
        let (component, table) = split_table(name);
        let table_hash = naming.table(component, table);
        if component.is_empty() {
            table_hash
        } else {
            format!("{}/{table_hash}", naming.component(component))
        }
    };
    let tables = limits.tables.iter().map(|(name, own)| (keyed(name), *own)).collect();
    AnomalyLimits { tables, ..limits.clone() }
}

/// `component/table`, where a component may have slashes and a table none.
fn split_table(name: &str) -> (&str, &str) {
    name.rsplit_once('/').unwrap_or(("", name))
}

/// The names behind hashes, as far as they are known here.
#[derive(Debug, Default)]
pub(crate) struct KnownNames(BTreeMap<String, String>);

impl KnownNames {
    /// The names in plain manifests and in the limits.
    pub(crate) fn of<'a>(
        manifests: impl IntoIterator<Item = &'a Manifest>,
        limits: &AnomalyLimits,
        names: &NamesKey,
    ) -> Self {
        let naming = Naming::Keyed(names);
        let mut pairs: BTreeSet<(&str, &str)> = limits.tables.keys().map(|name| split_table(name)).collect();
        for manifest in manifests.into_iter().filter(|manifest| manifest.table_names == TableNames::Plain) {
            pairs
                .extend(manifest.tables.iter().map(|table| (table.component.as_str(), table.table.as_str())));
        }
        let mut known = BTreeMap::new();
        for (component, table) in pairs {
            known.insert(naming.component(component), component.to_owned());
            known.insert(naming.table(component, table), table.to_owned());
        }
        Self(known)
    }

    /// The text for people: hashes become the names they stand for, and those that stand for unknown ones are cut.
    pub(crate) fn reveal(&self, text: &str) -> String {
        let mut revealed = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).count();
            let (run, after) = rest.split_at(digits);
            match self.0.get(run) {
                Some(name) => revealed.push_str(name),
                None if digits == HASH_DIGITS => {
                    revealed.push_str(&run[..SHOWN_DIGITS]);
                    revealed.push('…');
                }
                None => revealed.push_str(run),
            }
            let next = after.chars().next().map_or(0, char::len_utf8);
            revealed.push_str(&after[..next]);
            rest = &after[next..];
        }
        revealed
    }

    /// The problem for people.
    pub(crate) fn reveal_in(&self, problem: &Problem) -> Problem {
        Problem {
            kind: problem.kind.clone(),
            what: self.reveal(&problem.what),
            ids: problem.ids.iter().map(|id| self.reveal(id)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use convault_core::Secret;

    use super::*;

    fn names() -> NamesKey {
        NamesKey::parse(&Secret::new("17".repeat(32))).expect("it has 64 digits")
    }

    #[test]
    fn no_entry_of_the_archive_keeps_its_names() {
        let names = names();
        let naming = Naming::Keyed(&names);
        for name in
            ["contacts/documents.jsonl", "_components/mail/_components/queue/contacts/documents.jsonl"]
        {
            let hidden = naming.entry(name);
            assert!(!hidden.contains("contacts") && !hidden.contains("mail"), "{hidden}");
            assert!(hidden.ends_with("/documents.jsonl"), "{hidden}");
        }
        let queue = naming.entry("_components/mail/_components/queue/_storage/documents.jsonl");
        assert_eq!(queue, format!("{}/_storage/documents.jsonl", naming.component("mail/queue")));
        assert_eq!(naming.entry("_storage/documents.jsonl"), "_storage/documents.jsonl");
        assert_eq!(naming.entry("README.md").len(), HASH_DIGITS);
    }

    #[test]
    fn what_is_hidden_is_revealed_where_it_is_known_and_else_cut() {
        let names = names();
        let naming = Naming::Keyed(&names);
        let limits = AnomalyLimits {
            tables: BTreeMap::from([(
                "mail/queue/letters".to_owned(),
                convault_core::TableLimits::default(),
            )]),
            ..AnomalyLimits::default()
        };
        let known = KnownNames::of([], &limits, &names);
        let (component, table) = (naming.component("mail/queue"), naming.table("mail/queue", "letters"));
        assert_eq!(
            known.reveal(&format!("table {component}/{table} is gone")),
            "table mail/queue/letters is gone"
        );
        let unknown = naming.table("", "elsewhere");
        assert_eq!(
            known.reveal(&format!("table {unknown} is é new")),
            format!("table {}… is é new", &unknown[..12])
        );
        assert_eq!(keyed_limits(&limits, &names).tables.keys().next(), Some(&format!("{component}/{table}")));
    }
}
