//! The erasure ledger as a chain, the search for what is to be erased, and certificates.

use std::collections::{BTreeMap, BTreeSet};

use convault_core::{
    CERTIFICATE_FORMAT, Cascade, CascadeSide, DeploymentName, DocumentFields, ERASURE_FORMAT,
    ErasureCertificate, ErasureEntry, ErasureSearch, FieldPath, KeyedHash, LedgerEntry, RunId, Sha256,
    Subject, TableRef, TooManyErased, chain_fault,
};
use jiff::Timestamp;
use proptest::prelude::*;

struct Keyed;

impl KeyedHash for Keyed {
    fn hash(&self, purpose: &str, parts: &[&[u8]]) -> Sha256 {
        Sha256::of(format!("{purpose} {parts:?}").as_bytes())
    }
}

fn crm() -> DeploymentName {
    DeploymentName::new("crm").unwrap()
}

fn table(number: usize) -> TableRef {
    TableRef::new("", format!("t{number}"))
}

fn entry(
    number: u64,
    previous: Option<Sha256>,
    subjects: Vec<Subject>,
    cascades: Vec<Cascade>,
) -> ErasureEntry {
    ErasureEntry {
        format: ERASURE_FORMAT,
        number,
        previous,
        ledger: RunId::parse("20261122T030056Z-700000").unwrap(),
        deployment: crm(),
        at: Timestamp::UNIX_EPOCH,
        reason: "asked".to_owned(),
        names_key: "0".repeat(16),
        subjects,
        cascades,
        convault_version: "0.0.0".to_owned(),
    }
}

fn chain(length: u64) -> Vec<LedgerEntry> {
    let mut chain: Vec<LedgerEntry> = Vec::new();
    for number in 1..=length {
        let entry = entry(number, chain.last().map(|before| before.sha256), Vec::new(), Vec::new());
        let sha256 = Sha256::of(&serde_json::to_vec(&entry).unwrap());
        chain.push(LedgerEntry { entry, sha256 });
    }
    chain
}

/// Documents by table and id: by field the ids they name.
type World = BTreeMap<TableRef, BTreeMap<String, BTreeMap<FieldPath, Vec<String>>>>;

struct Document<'a>(&'a BTreeMap<FieldPath, Vec<String>>);

impl DocumentFields for Document<'_> {
    fn values(&self, field: &FieldPath) -> Vec<String> {
        self.0.get(field).cloned().unwrap_or_default()
    }

    fn ids(&self, field: &FieldPath) -> Vec<String> {
        self.values(field)
    }
}

/// Runs the search, the documents of each table in an order made of `seed`; gives what is found.
fn searched(
    world: &World,
    entries: &[ErasureEntry],
    seed: u64,
    limit: usize,
) -> Result<BTreeSet<(TableRef, String)>, TooManyErased> {
    let mut search = ErasureSearch::new(entries, limit);
    loop {
        let mut tables = search.begin_pass();
        if tables.is_empty() {
            break;
        }
        assert!(search.passes() < 100, "it does not become stable");
        tables.sort_by_key(|table| Sha256::of(format!("{seed}{table}").as_bytes()));
        for table in tables {
            search.begin_table(&table);
            let Some(documents) = world.get(&table) else { continue };
            let mut ids: Vec<&String> = documents.keys().collect();
            ids.sort_by_key(|id| Sha256::of(format!("{seed}{id}").as_bytes()));
            for id in ids {
                search.see(&table, id, &Document(&documents[id]), &Keyed)?;
            }
        }
    }
    let pairs = search.found().flat_map(|(table, ids)| ids.iter().map(move |id| (table.clone(), id.clone())));
    Ok(pairs.collect())
}

/// The same by looking at everything again and again, with names in place of hashes.
fn expected(
    world: &World,
    start: &[(TableRef, String)],
    cascades: &[Cascade],
) -> BTreeSet<(TableRef, String)> {
    let mut meant: BTreeSet<(TableRef, String)> = start.iter().cloned().collect();
    loop {
        let before = meant.len();
        for cascade in cascades {
            let (holder, other) = match cascade.side {
                CascadeSide::From => (&cascade.from, &cascade.to),
                CascadeSide::To => (&cascade.to, &cascade.from),
            };
            for (id, document) in world.get(holder).into_iter().flatten() {
                for named in document.get(&cascade.field).into_iter().flatten() {
                    let (own, named) = ((holder.clone(), id.clone()), (other.clone(), named.clone()));
                    match cascade.side {
                        CascadeSide::From if meant.contains(&own) => drop(meant.insert(named)),
                        CascadeSide::To if meant.contains(&named) => drop(meant.insert(own)),
                        _ => {}
                    }
                }
            }
        }
        if meant.len() == before {
            break;
        }
    }
    meant.retain(|(table, id)| world.get(table).is_some_and(|documents| documents.contains_key(id)));
    meant
}

fn world() -> impl Strategy<Value = World> {
    let ids = prop::collection::vec(0..16_usize, 0..3);
    let document = prop::collection::vec(ids, 2);
    prop::collection::vec(prop::collection::vec(document, 0..7), 4).prop_map(|tables| {
        let document = |fields: Vec<Vec<usize>>| {
            let named = |at: usize, ids: Vec<usize>| {
                let ids = ids.into_iter().map(|id| format!("d{id}")).collect();
                (format!("f{at}").parse().unwrap(), ids)
            };
            fields.into_iter().enumerate().map(|(at, ids)| named(at, ids)).collect()
        };
        let mut next = 0..;
        let table = |documents: Vec<Vec<Vec<usize>>>| {
            let id = next.by_ref();
            documents.into_iter().zip(id).map(|(fields, id)| (format!("d{id}"), document(fields))).collect()
        };
        let tables: Vec<_> = tables.into_iter().map(table).collect();
        (0..).map(self::table).zip(tables).collect()
    })
}

fn cascades() -> impl Strategy<Value = Vec<Cascade>> {
    let cascade =
        (0..4_usize, 0..4_usize, 0..2_usize, any::<bool>()).prop_map(|(from, to, field, own)| Cascade {
            from: table(from),
            to: table(to),
            field: format!("f{field}").parse().unwrap(),
            side: if own { CascadeSide::From } else { CascadeSide::To },
        });
    prop::collection::vec(cascade, 0..6)
}

proptest! {
    #[test]
    fn the_set_found_is_stable_whole_and_independent_of_any_order(
        world in world(),
        cascades in cascades(),
        start in prop::collection::vec((0..4_usize, 0..16_usize), 1..4),
        seeds in any::<[u64; 2]>(),
    ) {
        let start: Vec<(TableRef, String)> =
            start.into_iter().map(|(at, id)| (table(at), format!("d{id}"))).collect();
        let subject = |(table, id): &(TableRef, String)| Subject {
            table: table.clone(),
            field: None,
            hash: Keyed.of_id(table, id),
        };
        // In one entry or in several, in any order.
        let entries: Vec<ErasureEntry> =
            start.iter().map(|one| entry(1, None, vec![subject(one)], cascades.clone())).collect();
        let together = entry(1, None, start.iter().rev().map(subject).collect(), cascades.clone());
        let found = searched(&world, &entries, seeds[0], usize::MAX).unwrap();
        prop_assert_eq!(&found, &searched(&world, &[together], seeds[1], usize::MAX).unwrap());
        prop_assert_eq!(found, expected(&world, &start, &cascades));
    }

    #[test]
    fn every_change_to_a_chain_shows(length in 1..6_u64, place in any::<prop::sample::Index>(), what in 0..5) {
        let whole = chain(length);
        prop_assert_eq!(chain_fault(&whole, &crm(), length), None);
        let (mut changed, at) = (whole, place.index(usize::try_from(length).unwrap()));
        match what {
            0 => drop(changed.remove(at)),
            1 => drop(changed.pop()),
            2 => {
                // Whoever changes an entry changes the hash of its record.
                changed[at].entry.reason.push('!');
                changed[at].sha256 = Sha256::of(&serde_json::to_vec(&changed[at].entry).unwrap());
                if at + 1 == changed.len() {
                    return Ok(());
                }
            }
            3 => changed[at].entry.deployment = DeploymentName::new("shop").unwrap(),
            _ => changed[at].entry.format += 1,
        }
        prop_assert!(chain_fault(&changed, &crm(), length).is_some());
    }
}

#[test]
fn what_is_gone_already_still_takes_with_it_what_names_it() {
    let (contacts, messages) = (TableRef::new("", "contacts"), TableRef::new("", "messages"));
    let field: FieldPath = "contact".parse().unwrap();
    let document = |named: &str| BTreeMap::from([(field.clone(), vec![named.to_owned()])]);
    let documents = [("m1".to_owned(), document("c1")), ("m2".to_owned(), document("c2"))];
    let world = World::from([(messages.clone(), BTreeMap::from(documents))]);
    let subject = Subject { table: contacts.clone(), field: None, hash: Keyed.of_id(&contacts, "c1") };
    let entry = entry(1, None, vec![subject], vec!["contacts:messages.contact".parse().unwrap()]);
    let found = searched(&world, &[entry], 0, usize::MAX).unwrap();
    assert_eq!(found, BTreeSet::from([(messages, "m1".to_owned())]));
}

#[test]
fn a_value_is_found_in_its_field_alone_and_in_arrays() {
    let contacts = TableRef::new("", "contacts");
    let (email, emails): (FieldPath, FieldPath) = ("email".parse().unwrap(), "emails".parse().unwrap());
    let one = |field: &FieldPath, values: &[&str]| {
        BTreeMap::from([(field.clone(), values.iter().map(|value| (*value).to_owned()).collect())])
    };
    let documents = [
        ("c1".to_owned(), one(&email, &["a@example.org"])),
        ("c2".to_owned(), one(&emails, &["b@example.org", "a@example.org"])),
        ("c3".to_owned(), one(&email, &["b@example.org"])),
    ];
    let world = World::from([(contacts.clone(), BTreeMap::from(documents))]);
    let found = |field: &FieldPath| {
        let hash = Keyed.of_value(&contacts, field, "a@example.org");
        let subject = Subject { table: contacts.clone(), field: Some(field.clone()), hash };
        let found = searched(&world, &[entry(1, None, vec![subject], Vec::new())], 0, usize::MAX).unwrap();
        found.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
    };
    assert_eq!((found(&email), found(&emails)), (vec!["c1".to_owned()], vec!["c2".to_owned()]));
}

#[test]
fn more_than_the_limit_is_an_error_and_no_part_of_a_set() {
    let contacts = TableRef::new("", "contacts");
    let documents = (0..10).map(|number| (format!("c{number}"), BTreeMap::new())).collect();
    let world = World::from([(contacts.clone(), documents)]);
    let subject = |number| Subject {
        table: contacts.clone(),
        field: None,
        hash: Keyed.of_id(&contacts, &format!("c{number}")),
    };
    let all = entry(1, None, (0..10).map(subject).collect(), Vec::new());
    assert_eq!(searched(&world, std::slice::from_ref(&all), 0, 10).unwrap().len(), 10);
    assert_eq!(searched(&world, &[all], 0, 9), Err(TooManyErased { limit: 9 }));
}

#[test]
fn a_certificate_that_was_changed_is_none() {
    let certificate = ErasureCertificate {
        format: CERTIFICATE_FORMAT,
        run: RunId::parse("20261122T030056Z-700000").unwrap(),
        convault_version: "0.0.0".to_owned(),
        at: Timestamp::UNIX_EPOCH,
        deployment: crm(),
        ledger: Vec::new(),
        copies: Vec::new(),
        remaining: Vec::new(),
        not_looked_through: vec!["surroundings".to_owned()],
    };
    let mac = |bytes: &[u8]| Keyed.hash("certificate", &[bytes]);
    let bytes = certificate.to_bytes(mac);
    assert_eq!(ErasureCertificate::parse(&bytes, mac), Some(certificate));
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert_eq!(ErasureCertificate::parse(&changed, mac), None, "{at}");
    }
    assert_eq!(ErasureCertificate::parse(&bytes, Sha256::of), None);
}
