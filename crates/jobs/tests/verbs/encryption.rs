//! Destinations that are encrypted, beside some that are not.

use std::sync::{Arc, atomic::Ordering};

use bytes::{Bytes, BytesMut};
use convault_archive::{
    NamesKey,
    encryption::{Decryptor, Identities, Recipients, generate},
};
use convault_core::{
    AnomalyLimits, Manifest, ObjectRole, RunOutcome, RunRecord, Secret, StoreErrorKind, TableLimits,
    TableNames, Verdict,
};
use convault_jobs::{
    Access, AnewRules, BackupJob, Content, Destination, Encryption, JobError, OldSnapshot, PruneRules,
    Reencrypted, RepairRules, Rules, VerifyDepth,
};
use convault_uploader::{MemoryFault, MemoryOperation, MemoryStore};

use crate::{
    bench::{Run, SMALL, TWO_PARTS, assert_whole, destination, job, memory, snapshots, verified},
    export::{FakeSource, damaged_at_the_source, of_tables, sound},
};

/// Somebody who can read what is encrypted to them.
pub(crate) struct Reader {
    public: String,
    pub(crate) identities: Identities,
}

impl Reader {
    pub(crate) fn new() -> Self {
        let (public, secret) = generate();
        Self { public, identities: Identities::parse(&secret).unwrap() }
    }
}

pub(crate) fn names() -> NamesKey {
    NamesKey::parse(&Secret::new("5a".repeat(32))).unwrap()
}

fn encrypted_under(store: &MemoryStore, readers: &[&Reader], names: &NamesKey) -> Destination {
    let recipients = Recipients::parse(readers.iter().map(|reader| &reader.public)).unwrap();
    let encryption = Some(Arc::new(Encryption { recipients, names: names.clone() }));
    Destination { encryption, ..destination(store) }
}

pub(crate) fn encrypted(store: &MemoryStore, readers: &[&Reader]) -> Destination {
    encrypted_under(store, readers, &names())
}

/// A job with memory for three groups.
pub(crate) fn wide_job() -> BackupJob {
    BackupJob { upload_memory_bytes: 3 * convault_jobs::LEAST_UPLOAD_MEMORY_BYTES, ..job() }
}

async fn back_up(source: &FakeSource, to: &[Destination]) -> RunRecord {
    convault_jobs::backup(&wide_job(), source, to, &Run::new().context).await
}

async fn good(source: &FakeSource, to: &[Destination]) -> RunRecord {
    let record = back_up(source, to).await;
    assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
    record
}

async fn only_snapshot(store: &MemoryStore) -> Manifest {
    let [manifest] = snapshots(store).await.try_into().unwrap();
    manifest
}

fn object_of(store: &MemoryStore, manifest: &Manifest, role: ObjectRole) -> Bytes {
    store.contents(&key_of(manifest, role)).unwrap()
}

fn key_of(manifest: &Manifest, role: ObjectRole) -> String {
    format!("crm/snapshots/{}/{}", manifest.id, manifest.object(role).unwrap().name)
}

async fn given(store: &MemoryStore, manifest: &Manifest, access: Access<'_>) -> Result<Vec<u8>, JobError> {
    let mut output = Vec::new();
    let context = Run::new().context;
    convault_jobs::download(store, manifest, access, &mut output, "memory", &context).await.map(|_| output)
}

pub(crate) fn opened(bytes: &[u8], reader: &Reader) -> Vec<u8> {
    let mut decryptor = Decryptor::new(&reader.identities);
    let mut plain = BytesMut::new();
    decryptor.push(bytes, &mut plain).unwrap();
    decryptor.finish(&mut plain).unwrap();
    plain.to_vec()
}

#[tokio::test(start_paused = true)]
async fn plain_and_differently_encrypted_destinations_are_filled_by_one_download() {
    let (anna, boris) = (Reader::new(), Reader::new());
    let stores = ["plain", "anna", "too", "both"].map(memory);
    let [plain, to_anna, to_anna_too, to_both] = &stores;
    let to = [
        destination(plain),
        encrypted(to_anna, &[&anna]),
        encrypted(to_anna_too, &[&anna]),
        encrypted(to_both, &[&anna, &boris]),
    ];
    for size in [SMALL, 2 * TWO_PARTS] {
        for store in &stores {
            store
                .keys()
                .iter()
                .for_each(|key| drop(futures::executor::block_on(convault_core::Store::delete(store, key))));
        }
        let source = FakeSource::of(sound(size));
        good(&source, &to).await;
        assert_eq!(source.opened.load(Ordering::Relaxed), 1);
        for store in &stores {
            assert_whole(store, 1).await;
        }
        let zip = sound(size);
        let manifest = only_snapshot(plain).await;
        assert_eq!(manifest.recipients, [""; 0]);
        assert_eq!(object_of(plain, &manifest, ObjectRole::Snapshot), zip);

        let manifest = only_snapshot(to_anna).await;
        assert_eq!(manifest.recipients, [anna.public.as_str()]);
        let suffix = convault_core::Layout::ENCRYPTED_SUFFIX;
        assert!(manifest.objects.iter().all(|object| object.name.ends_with(suffix)), "{manifest:?}");
        let ciphertext = object_of(to_anna, &manifest, ObjectRole::Snapshot);
        assert_eq!(
            ciphertext,
            object_of(to_anna_too, &manifest, ObjectRole::Snapshot),
            "equal to equal recipients"
        );
        assert_eq!(opened(&ciphertext, &anna), zip);

        let manifest = only_snapshot(to_both).await;
        assert_eq!(manifest.recipients.len(), 2);
        let ciphertext = object_of(to_both, &manifest, ObjectRole::Snapshot);
        for reader in [&anna, &boris] {
            assert_eq!(opened(&ciphertext, reader), zip, "each alone can read it");
        }
        let index = opened(&object_of(to_both, &manifest, ObjectRole::Index), &boris);
        assert_eq!(index, object_of(plain, &only_snapshot(plain).await, ObjectRole::Index));
    }
}

#[tokio::test(start_paused = true)]
async fn one_destination_of_any_group_may_fail_without_the_others_noticing() {
    let (anna, boris) = (Reader::new(), Reader::new());
    for failing in 0..3 {
        for fault in [MemoryFault::Fail(StoreErrorKind::Full), MemoryFault::Hang] {
            let stores = ["plain", "anna", "boris"].map(memory);
            stores[failing].fault_always(MemoryOperation::PutPart, fault);
            let to =
                [destination(&stores[0]), encrypted(&stores[1], &[&anna]), encrypted(&stores[2], &[&boris])];
            let record = back_up(&FakeSource::of(sound(6 * TWO_PARTS)), &to).await;
            assert_eq!(record.outcome, Some(RunOutcome::Partial), "{}", record.message);
            for (number, store) in stores.iter().enumerate() {
                if number == failing {
                    assert_eq!(snapshots(store).await, []);
                } else {
                    assert_whole(store, 1).await;
                }
            }
            let failed = |result: &&convault_core::DestinationResult| result.problem.is_some();
            let [lost] = record.destinations.iter().filter(failed).collect::<Vec<_>>().try_into().unwrap();
            assert_eq!(lost.destination, *convault_core::Store::destination(&stores[failing]));
            let problem = lost.problem.as_deref().unwrap();
            assert!(problem.contains("no identity"), "{problem}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_every_group_fails_the_run_fails_and_says_why_of_each() {
    let anna = Reader::new();
    let stores = ["plain", "anna"].map(memory);
    for store in &stores {
        store.fault_always(MemoryOperation::PutPart, MemoryFault::Fail(StoreErrorKind::Full));
    }
    let to = [destination(&stores[0]), encrypted(&stores[1], &[&anna])];
    let record = back_up(&FakeSource::of(sound(6 * TWO_PARTS)), &to).await;
    assert_eq!(record.outcome, Some(RunOutcome::Failed), "{}", record.message);
    assert!(record.message.contains("plain: ") && record.message.contains("anna: "), "{}", record.message);
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_fell_behind_is_refilled_from_one_with_the_same_recipients() {
    let anna = Reader::new();
    let stores = ["plain", "near", "far"].map(memory);
    stores[2].fault(MemoryOperation::PutPart, 1, MemoryFault::Hang);
    let to = [destination(&stores[0]), encrypted(&stores[1], &[&anna]), encrypted(&stores[2], &[&anna])];
    let record = good(&FakeSource::of(sound(2 * TWO_PARTS)), &to).await;
    let told = |text: &String| text.contains("far fell behind") && text.ends_with("there from near");
    assert!(record.warnings.iter().any(told), "{:?}", record.warnings);
    assert_whole(&stores[2], 1).await;
    let manifest = only_snapshot(&stores[2]).await;
    let held = stores.each_ref().map(|store| store.contents(&key_of(&manifest, ObjectRole::Snapshot)));
    assert!(held[0].is_none() && held[1] == held[2]);
}

#[tokio::test(start_paused = true)]
async fn no_name_of_a_table_is_in_any_byte_of_an_encrypted_destination() {
    let anna = Reader::new();
    let stores = ["plain", "anna"].map(memory);
    let to = [destination(&stores[0]), encrypted(&stores[1], &[&anna])];
    let before = [("invoices", 900), ("patients", 20), ("mailer/letters", 5), ("attic", 0)];
    let after = [("invoices", 100), ("diagnoses", 3), ("mailer/letters", 5)];
    good(&FakeSource::of(of_tables(&before)), &to).await;
    let anomaly = AnomalyLimits {
        tables: [("mailer/letters".to_owned(), TableLimits { ignore: true, ..TableLimits::default() })]
            .into(),
        ..AnomalyLimits::default()
    };
    let job = BackupJob { anomaly, ..wide_job() };
    let source = FakeSource::of(of_tables(&after)).days_later(1);
    let record = convault_jobs::backup(&job, &source, &to, &Run::new().context).await;
    assert_eq!(record.outcome, Some(RunOutcome::Suspect), "{}", record.message);
    for told in ["table patients is gone; it had 20 documents", "table invoices has 100 documents"] {
        assert!(record.message.contains(told), "{}", record.message);
    }
    let warned = record.warnings.join("\n");
    for told in ["table diagnoses is new", "table attic is gone; it was empty"] {
        assert!(warned.contains(told), "{warned}");
    }

    let words = ["invoices", "patients", "diagnoses", "mailer", "letters", "attic"];
    let holds = |store: &MemoryStore, word: &str| {
        store.keys().iter().any(|key| {
            let bytes = store.contents(key).unwrap();
            key.contains(word) || bytes.windows(word.len()).any(|window| window == word.as_bytes())
        })
    };
    for word in words {
        assert!(holds(&stores[0], word), "the plain one has {word}");
        assert!(!holds(&stores[1], word), "{word}");
    }
    for manifest in snapshots(&stores[1]).await {
        assert_eq!((manifest.table_names, manifest.names_key), (TableNames::Keyed, Some(names().id())));
    }
    let suspect = |manifest: &Manifest| match &manifest.verdict {
        Verdict::Suspect { problems } => problems.iter().map(|problem| problem.kind.clone()).collect(),
        Verdict::Good => Vec::new(),
    };
    let [kinds, keyed_kinds] =
        [suspect(&snapshots(&stores[0]).await[1]), suspect(&snapshots(&stores[1]).await[1])];
    assert!(kinds.contains(&"table-vanished".to_owned()), "{kinds:?}");
    assert_eq!(kinds, keyed_kinds);
}

#[tokio::test(start_paused = true)]
async fn a_table_that_vanished_is_seen_with_nothing_but_hashed_names_to_compare_with() {
    let anna = Reader::new();
    let store = memory("anna");
    let to = [encrypted(&store, &[&anna])];
    good(&FakeSource::of(of_tables(&[("invoices", 900), ("patients", 20)])), &to).await;
    let source = FakeSource::of(of_tables(&[("invoices", 900)])).days_later(1);
    let record = back_up(&source, &to).await;
    assert_eq!(record.outcome, Some(RunOutcome::Suspect), "{}", record.message);
    let hash = names().hash("table", &[b"", b"patients"]).to_string();
    let told = format!("table {}… is gone; it had 20 documents", &hash[..12]);
    assert!(record.message.contains(&told), "{}", record.message);
}

#[tokio::test(start_paused = true)]
async fn another_names_key_is_told_and_not_taken_for_new_tables() {
    let anna = Reader::new();
    let store = memory("anna");
    good(&FakeSource::of(of_tables(&[("invoices", 900)])), &[encrypted(&store, &[&anna])]).await;
    let other = NamesKey::generate();
    let to = [encrypted_under(&store, &[&anna], &other)];
    let record = good(&FakeSource::of(of_tables(&[("invoices", 900)])).days_later(1), &to).await;
    let warned = record.warnings.join("\n");
    assert!(warned.contains("tables are not compared") && warned.contains("names_key"), "{warned}");
    assert!(!warned.contains("is new"), "{warned}");
    // What needs no names is still seen.
    let record = back_up(&FakeSource::of(of_tables(&[("invoices", 1)])).days_later(2), &to).await;
    assert_eq!(record.outcome, Some(RunOutcome::Suspect), "{}", record.message);
}

#[tokio::test(start_paused = true)]
async fn damage_at_the_source_names_the_stored_file_in_both() {
    let anna = Reader::new();
    let stores = ["plain", "anna"].map(memory);
    let to = [destination(&stores[0]), encrypted(&stores[1], &[&anna])];
    let record = back_up(&FakeSource::of(damaged_at_the_source(SMALL)), &to).await;
    assert_eq!(record.outcome, Some(RunOutcome::Suspect), "{}", record.message);
    let [plain, keyed] = [only_snapshot(&stores[0]).await, only_snapshot(&stores[1]).await];
    assert_eq!(plain.verdict, keyed.verdict);
}

#[tokio::test(start_paused = true)]
async fn the_names_key_lies_in_the_destination_for_whoever_can_read_it() {
    let (anna, boris) = (Reader::new(), Reader::new());
    let store = memory("anna");
    let escrowed = |store: &MemoryStore| {
        store.keys().into_iter().filter(|key| key.starts_with("keys/names-")).collect::<Vec<_>>()
    };
    let to = [encrypted(&store, &[&anna])];
    good(&FakeSource::of(sound(SMALL)), &to).await;
    good(&FakeSource::of(sound(SMALL)).days_later(1), &to).await;
    let [first] = escrowed(&store).try_into().unwrap();
    let text = format!("{}\n", names().secret().expose());
    assert_eq!(opened(&store.contents(&first).unwrap(), &anna), text.as_bytes());
    // Who becomes a recipient later finds it, too.
    good(&FakeSource::of(sound(SMALL)).days_later(2), &[encrypted(&store, &[&anna, &boris])]).await;
    let second = escrowed(&store).into_iter().find(|key| *key != first).unwrap();
    assert_eq!(opened(&store.contents(&second).unwrap(), &boris), text.as_bytes());
    assert_whole(&store, 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_download_opens_for_whoever_has_an_identity_and_says_whose_would_do() {
    let (anna, boris, stranger) = (Reader::new(), Reader::new(), Reader::new());
    let store = memory("both");
    good(&FakeSource::of(sound(TWO_PARTS)), &[encrypted(&store, &[&anna, &boris])]).await;
    let manifest = only_snapshot(&store).await;
    for reader in [&anna, &boris] {
        let access = Access::Opened(Some(&reader.identities));
        assert_eq!(given(&store, &manifest, access).await.unwrap(), sound(TWO_PARTS));
    }
    let as_stored = given(&store, &manifest, Access::AsStored).await.unwrap();
    assert_eq!(opened(&as_stored, &boris), sound(TWO_PARTS));
    for access in [Access::Opened(None), Access::Opened(Some(&stranger.identities))] {
        let error = given(&store, &manifest, access).await.unwrap_err();
        assert!(matches!(error, JobError::Encrypted { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&anna.public) && text.contains(&boris.public), "{text}");
        assert!(text.contains("--identity"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn damage_in_the_ciphertext_is_found_by_a_verify_without_and_a_download_with_an_identity() {
    let anna = Reader::new();
    let store = memory("anna");
    good(&FakeSource::of(sound(TWO_PARTS)), &[encrypted(&store, &[&anna])]).await;
    let manifest = only_snapshot(&store).await;
    let key = key_of(&manifest, ObjectRole::Snapshot);
    let whole = store.contents(&key).unwrap();
    for place in [10, 200, 300_000, whole.len() - 1] {
        let mut flipped = whole.to_vec();
        flipped[place] ^= 4;
        store.tamper(&key, flipped.into());
        let report = verified(&store, VerifyDepth::ReadData).await;
        assert_eq!(report.faults.len(), 1, "{place}");
        let error = given(&store, &manifest, Access::Opened(Some(&anna.identities))).await.unwrap_err();
        assert!(!matches!(error, JobError::File { .. }), "{place}: {error}");
        assert!(matches!(error, JobError::Damaged { .. } | JobError::Encrypted { .. }), "{place}: {error}");
    }
    store.tamper(&key, whole);
    assert_whole(&store, 1).await;
}

#[tokio::test(start_paused = true)]
async fn one_entry_is_read_by_what_it_takes_and_no_more() {
    let anna = Reader::new();
    let stores = ["plain", "anna"].map(memory);
    let to = [destination(&stores[0]), encrypted(&stores[1], &[&anna])];
    let tables = [("invoices", 400_000), ("patients", 2000), ("mailer/letters", 50)];
    let zip = of_tables(&tables);
    assert!(zip.len() > 2 << 20, "{}", zip.len());
    good(&FakeSource::of(zip.clone()), &to).await;
    for (store, identities) in [(&stores[0], None), (&stores[1], Some(&anna.identities))] {
        let manifest = only_snapshot(store).await;
        for (name, full, lines) in [
            ("patients", "patients/documents.jsonl", 2000),
            ("mailer/letters", "_components/mailer/letters/documents.jsonl", 50),
            ("_tables/documents.jsonl", "_tables/documents.jsonl", 2),
        ] {
            let counting = crate::counting::Counting::new(store);
            let context = Run::new().context;
            let rules = Rules::default();
            let content = Content::new(&counting, &manifest, identities, &rules, &context);
            let entry = content.entry(name).await.unwrap();
            assert_eq!(entry.name(), full);
            let mut output = Vec::new();
            entry.write(&mut output, "memory").await.unwrap();
            assert_eq!(String::from_utf8(output).unwrap().lines().count(), lines, "{name}");
            assert_eq!(content.read_bytes(), counting.read_bytes());
            let compressed = compressed_bytes(&zip, full);
            // Two headers and last chunks, the index's directory and one frame of it, and chunks at both ends.
            let most = compressed + (2 << 10) * 2 + 2 * (64 << 10) + (64 << 10) + (16 << 10) + 3 * (64 << 10);
            assert!(counting.read_bytes() <= most, "{name}: {} of at most {most}", counting.read_bytes());
        }
        let (rules, context) = (Rules::default(), Run::new().context);
        let content = Content::new(store, &manifest, identities, &rules, &context);
        let error = content.entry("nobody").await.unwrap_err();
        assert!(error.to_string().contains("`nobody`"), "{error}");
    }
    let manifest = only_snapshot(&stores[1]).await;
    let (rules, context) = (Rules::default(), Run::new().context);
    let error =
        Content::new(&stores[1], &manifest, None, &rules, &context).entry("patients").await.unwrap_err();
    assert!(matches!(error, JobError::Encrypted { .. }), "{error}");
}

fn compressed_bytes(zip: &[u8], name: &str) -> u64 {
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(zip)).unwrap();
    zip.by_name(name).unwrap().compressed_size()
}

#[tokio::test(start_paused = true)]
async fn a_stored_file_is_found_by_its_id() {
    let anna = Reader::new();
    let store = memory("anna");
    good(&FakeSource::of(sound(TWO_PARTS)), &[encrypted(&store, &[&anna])]).await;
    let manifest = only_snapshot(&store).await;
    let (rules, context) = (Rules::default(), Run::new().context);
    let content = Content::new(&store, &manifest, Some(&anna.identities), &rules, &context);
    let mut output = Vec::new();
    content.entry(crate::export::FILE_ID).await.unwrap().write(&mut output, "memory").await.unwrap();
    assert_eq!(output.len(), TWO_PARTS);
}

fn repair_rules(identities: Option<&Identities>) -> RepairRules {
    RepairRules {
        version: "0.0.0".to_owned(),
        upload_memory_bytes: job().upload_memory_bytes,
        stall_limit: job().stall_limit,
        anomaly: AnomalyLimits::default(),
        identities: identities.cloned(),
    }
}

async fn delete(store: &MemoryStore, key: &str) {
    convault_core::Store::delete(store, key).await.unwrap();
}

async fn repaired(
    here: &Destination,
    others: &[Destination],
    manifest: &Manifest,
    identities: Option<&Identities>,
) -> Result<(), String> {
    let rules = repair_rules(identities);
    let context = Run::new().context;
    let only = Some(&manifest.id);
    let report =
        convault_jobs::repair(here, others, &manifest.deployment, only, &rules, &context).await.unwrap();
    match report.failed.first() {
        Some((_, why)) => Err(why.clone()),
        None => Ok(()),
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_comes_from_the_same_recipients_and_never_from_a_plain_copy() {
    let anna = Reader::new();
    let stores = ["plain", "near", "far"].map(memory);
    let to = [destination(&stores[0]), encrypted(&stores[1], &[&anna]), encrypted(&stores[2], &[&anna])];
    good(&FakeSource::of(sound(TWO_PARTS)), &to).await;
    let manifest = only_snapshot(&stores[2]).await;
    let layout = convault_core::Layout::new(manifest.deployment.clone());
    delete(&stores[2], &layout.manifest(&manifest.id)).await;
    delete(&stores[2], &layout.run_start(&manifest.id)).await;
    delete(&stores[2], &key_of(&manifest, ObjectRole::Snapshot)).await;
    let why = repaired(&to[2], &to[..1], &manifest, None).await.unwrap_err();
    assert!(why.contains("there is no ZIP"), "{why}");
    let came = stores[2].keys().into_iter().find(|key| key.contains(".zip") && !key.contains(".zip."));
    assert_eq!(came, None, "nothing that is not encrypted came in");
    repaired(&to[2], &to[..2], &manifest, None).await.unwrap();
    assert_whole(&stores[2], 1).await;
    let again = only_snapshot(&stores[2]).await;
    assert_eq!((again.recipients, again.tables), (manifest.recipients, manifest.tables));
}

#[tokio::test(start_paused = true)]
async fn a_manifest_of_what_is_encrypted_is_made_again_with_an_identity_only() {
    let (anna, stranger) = (Reader::new(), Reader::new());
    for without_index in [false, true] {
        let store = memory("anna");
        let to = encrypted(&store, &[&anna]);
        good(
            &FakeSource::of(of_tables(&[("invoices", 900), ("mailer/letters", 3)])),
            std::slice::from_ref(&to),
        )
        .await;
        let manifest = only_snapshot(&store).await;
        let layout = convault_core::Layout::new(manifest.deployment.clone());
        // Without its start record as well, it is no run that goes on or was cut off.
        delete(&store, &layout.manifest(&manifest.id)).await;
        delete(&store, &layout.run_start(&manifest.id)).await;
        if without_index {
            delete(&store, &key_of(&manifest, ObjectRole::Index)).await;
        }
        let why = repaired(&to, &[], &manifest, None).await.unwrap_err();
        assert!(why.contains("takes an identity"), "{why}");
        let why = repaired(&to, &[], &manifest, Some(&stranger.identities)).await.unwrap_err();
        assert!(why.contains("encrypted to other recipients"), "{why}");
        repaired(&to, &[], &manifest, Some(&anna.identities)).await.unwrap();
        assert_whole(&store, 1).await;
        let again = only_snapshot(&store).await;
        assert_eq!((&again.recipients, &again.tables), (&manifest.recipients, &manifest.tables));
        assert_eq!((again.table_names, &again.names_key), (TableNames::Keyed, &Some(names().id())));
        assert_eq!(
            again.object(ObjectRole::Snapshot).unwrap().sha256,
            manifest.object(ObjectRole::Snapshot).unwrap().sha256
        );
        let index = opened(&object_of(&store, &again, ObjectRole::Index), &anna);
        assert!(!index.is_empty());
    }
}

fn reencrypt_rules(keep_old: bool) -> AnewRules {
    AnewRules {
        version: "0.0.0".to_owned(),
        upload_memory_bytes: job().upload_memory_bytes,
        stall_limit: job().stall_limit,
        keep_old,
        prune: PruneRules::new(convault_core::Keep::default(), jiff::tz::TimeZone::UTC),
    }
}

pub(crate) async fn reencrypted(
    to: &Destination,
    manifest: &Manifest,
    reader: &Reader,
    keep_old: bool,
) -> Result<Reencrypted, JobError> {
    let (rules, context) = (reencrypt_rules(keep_old), Run::new().context);
    let (deployment, id) = (&manifest.deployment, &manifest.id);
    convault_jobs::reencrypt(to, deployment, id, &reader.identities, &rules, &context).await
}

#[tokio::test(start_paused = true)]
async fn a_recipient_is_dropped_and_another_added_by_a_new_snapshot_in_place_of_the_old() {
    let (anna, boris, clara) = (Reader::new(), Reader::new(), Reader::new());
    let store = memory("vault");
    let before = encrypted(&store, &[&anna, &boris]);
    let zip = of_tables(&[("invoices", 900), ("mailer/letters", 3)]);
    good(&FakeSource::of(zip.clone()), &[before]).await;
    let old = only_snapshot(&store).await;
    let hold = convault_jobs::MarkRequest {
        until: None,
        ..convault_jobs::MarkRequest::new(
            old.deployment.clone(),
            old.id.clone(),
            convault_core::MarkKind::Hold,
            "the audit",
        )
    };
    convault_jobs::mark(&destination(&store), &hold, &Run::new().context).await.unwrap();

    // Anna has lost her identity: Boris alone still reads everything, and puts Clara in her place.
    let after = encrypted(&store, &[&boris, &clara]);
    let error = reencrypted(&after, &old, &clara, false).await.unwrap_err();
    assert!(matches!(error, JobError::Encrypted { .. }), "{error}");
    assert_eq!(only_snapshot(&store).await, old, "a failure changes nothing");
    let done = reencrypted(&after, &old, &boris, false).await.unwrap();
    assert_eq!(done.old, OldSnapshot::Removed);
    let new = only_snapshot(&store).await;
    assert_eq!((&new.id, &new.reencrypted_from), (&done.id, &Some(old.id.clone())));
    assert_eq!(
        (new.snapshot_ts_ns, &new.tags, &new.job, &new.due, new.totals, &new.tables),
        (old.snapshot_ts_ns, &old.tags, &old.job, &old.due, old.totals, &old.tables)
    );
    assert_eq!(new.recipients, {
        let mut recipients = vec![boris.public.clone(), clara.public.clone()];
        recipients.sort();
        recipients
    });
    for reader in [&boris, &clara] {
        let given = given(&store, &new, Access::Opened(Some(&reader.identities))).await.unwrap();
        assert_eq!(given, zip, "losing one of several recipients loses nothing");
    }
    assert!(given(&store, &new, Access::Opened(Some(&anna.identities))).await.is_err());
    let survey = crate::bench::surveyed(&store).await;
    let folder = survey.folders.iter().find(|folder| folder.id == new.id).unwrap();
    assert!(folder.snapshot().unwrap().judgement.hold.is_some(), "a hold holds for the new one");
    let of_old = |key: &String| key.contains(old.id.as_str()) && !key.starts_with("crm/prunes/");
    assert!(!store.keys().iter().any(of_old), "{:?}", store.keys());
    assert_whole(&store, 1).await;
    let error = reencrypted(&after, &new, &boris, false).await.unwrap_err();
    assert!(error.to_string().contains("encrypted to these recipients already"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_was_stored_in_plain_is_encrypted_later_and_leaves_no_name_behind() {
    let anna = Reader::new();
    let store = memory("vault");
    let before = [("invoices", 900), ("patients", 20)];
    good(&FakeSource::of(of_tables(&before)), &[destination(&store)]).await;
    let suspect = FakeSource::of(of_tables(&before[..1])).days_later(1);
    assert_eq!(back_up(&suspect, &[destination(&store)]).await.outcome, Some(RunOutcome::Suspect));
    let to = encrypted(&store, &[&anna]);
    for manifest in snapshots(&store).await {
        assert!(convault_jobs::needs_reencryption(&to, &manifest));
        reencrypted(&to, &manifest, &anna, false).await.unwrap();
    }
    let after = snapshots(&store).await;
    assert_eq!(after.len(), 2);
    assert!(after.iter().all(|manifest| !convault_jobs::needs_reencryption(&to, manifest)));
    assert!(matches!(after[1].verdict, Verdict::Suspect { .. }), "what was suspect stays it");
    for key in store.keys() {
        let bytes = store.contents(&key).unwrap();
        for word in ["invoices", "patients"] {
            assert!(!bytes.windows(word.len()).any(|window| window == word.as_bytes()), "{key}: {word}");
        }
    }
    // The gate compares with it on the next night.
    let record = back_up(&FakeSource::of(of_tables(&before)).days_later(2), &[to]).await;
    assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
}

#[tokio::test(start_paused = true)]
async fn an_old_snapshot_that_is_locked_stays_until_its_lock_ends() {
    let (anna, boris) = (Reader::new(), Reader::new());
    let now = convault_core::Clock::now(&convault_core::SystemClock);
    let store = memory("vault").with_locks(None);
    let keep = convault_core::Keep { last: 3, ..convault_core::Keep::default() };
    let locked = |readers: &[&Reader]| Destination {
        object_lock: Some(convault_core::LockMode::Compliance),
        ..encrypted(&store, readers)
    };
    let job = BackupJob {
        keep,
        expected_interval: Some(std::time::Duration::from_hours(24)),
        keep_until: Some(now + jiff::SignedDuration::from_hours(240)),
        ..wide_job()
    };
    let source = FakeSource::of(sound(SMALL)).taken_at(now);
    let record = convault_jobs::backup(&job, &source, &[locked(&[&anna])], &Run::new().context).await;
    assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
    let old = only_snapshot(&store).await;
    let to = locked(&[&anna, &boris]);
    let done = reencrypted(&to, &old, &anna, false).await.unwrap();
    let OldSnapshot::Locked(until) = done.old else { panic!("{done:?}") };
    assert!(until > now + jiff::SignedDuration::from_hours(200), "{until}");
    assert_whole(&store, 2).await;
    let new = snapshots(&store).await.into_iter().find(|manifest| manifest.id == done.id).unwrap();
    let lock = convault_core::Store::lock(&store, &key_of(&new, ObjectRole::Snapshot)).await.unwrap();
    assert_eq!(lock.map(|lock| lock.until), Some(until), "the new one is locked as long as the old");
}
