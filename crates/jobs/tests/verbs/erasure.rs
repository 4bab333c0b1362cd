//! Erasure: the ledger in several destinations, what is held back, clean copies, and certificates.

mod hostile;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Cursor, Read as _, Write as _},
};

use base64::Engine as _;
use bytes::Bytes;
use convault_archive::signature::SigningKey;
use convault_core::{
    Cascade, Clock as _, CopyState, DestinationName, FilesMode, Keep, Lock, LockMode, Manifest, RunOutcome,
    Sha256, Store as _, StoreErrorKind, SystemClock, TableRef,
};
use convault_jobs::{
    AnewRules, Content, Destination, JobError, OldSnapshot, PruneRules, Rules, Snapshot, Trust, VerifyDepth,
    erasure::{
        Added, CheckedCopy, ErasureLimits, ErasureRequest, Ledger, LedgerKeys, Rewrite, Rewriting,
        RewrittenSnapshot, add_erasure, certify, check_certificate, complete_ledger, read_ledger, rewrite,
        seal_certificate, search_erased,
    },
};
use convault_uploader::{MemoryFault, MemoryOperation, MemoryStore};
use jiff::{SignedDuration, tz::TimeZone};
use zip::{ZipWriter, write::SimpleFileOptions};

use crate::{
    bench::{Run, TestClock, assert_whole, crm, destination, memory, memory_at, snapshots, verified},
    encryption::{Reader, encrypted, names, wide_job},
    export::FakeSource,
    shared::{Files, files, shared_job},
};

/// Contacts with messages that name them, images that messages name, and files that images name.
fn world(people: &[&str]) -> Bytes {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut lines: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut contents = Vec::new();
    for who in people {
        let content = format!("picture of {who}").repeat(40);
        let sha256 = base64::engine::general_purpose::STANDARD.encode(Sha256::of(content.as_bytes()).0);
        let size = content.len();
        let mut add = |table, line: String| lines.entry(table).or_default().push(line);
        add(
            "contacts",
            format!(r#"{{"_creationTime":1.5,"_id":"c-{who}","email":"{who}@example.org","n":1,"x":1.0}}"#),
        );
        add(
            "messages",
            format!(r#"{{"_creationTime":1.5,"_id":"m-{who}","contact":"c-{who}","images":["i-{who}"]}}"#),
        );
        add("images", format!(r#"{{"_creationTime":1.5,"_id":"i-{who}","file":"kg-{who}"}}"#));
        add(
            "_storage",
            format!(
                r#"{{"_id":"kg-{who}","_creationTime":1.5,"sha256":"{sha256}","size":{size},"contentType":null,"internalId":"8c2d5a4e-0d4e-4b1c-9a2e-0f3a1b2c3d4e"}}"#
            ),
        );
        contents.push((format!("_storage/kg-{who}"), content));
    }
    let options = SimpleFileOptions::default();
    let mut put = |name: &str, content: &str| {
        zip.start_file(name, options).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    };
    let tables = ["contacts", "messages", "images"];
    let listed = tables.iter().enumerate();
    let listed = listed.map(|(at, name)| format!("{{\"name\":\"{name}\",\"id\":{}}}\n", 10_001 + at));
    put("_tables/documents.jsonl", &listed.collect::<String>());
    for table in tables {
        put(&format!("{table}/documents.jsonl"), &(lines[table].join("\n") + "\n"));
        put(&format!("{table}/generated_schema.jsonl"), "\"uniform\"\n");
    }
    put("_storage/documents.jsonl", &(lines["_storage"].join("\n") + "\n"));
    for (name, content) in contents {
        put(&name, &content);
    }
    zip.finish().unwrap().into_inner().into()
}

const PEOPLE: [&str; 3] = ["ada", "bela", "cleo"];
const CASCADES: [&str; 3] = ["contacts:messages.contact", "messages.images:images", "images.file:_storage"];
const LIMITS: ErasureLimits = ErasureLimits { max_erased_ids: 1000 };

fn keys(reader: &Reader) -> LedgerKeys {
    LedgerKeys { identities: Some(reader.identities.clone()), names: Some(names()) }
}

fn forget(who: &str) -> ErasureRequest {
    ErasureRequest {
        deployment: crm(),
        table: TableRef::new("", "contacts"),
        ids: vec![format!("c-{who}")],
        values: Vec::new(),
        cascades: CASCADES.iter().map(|text| text.parse::<Cascade>().unwrap()).collect(),
        reason: "asked for it".to_owned(),
        version: "0.0.0".to_owned(),
    }
}

async fn add(request: &ErasureRequest, to: &[Destination], keys: &LedgerKeys) -> Added {
    add_erasure(request, to, &BTreeSet::new(), keys, &Run::new().context).await.unwrap()
}

async fn ledger(here: &Destination, all: &[Destination], keys: &LedgerKeys) -> Result<Ledger, JobError> {
    read_ledger(&crm(), here, all, keys, &Run::new().context).await
}

async fn back_up(source: &FakeSource, to: &[Destination]) {
    let record = convault_jobs::backup(&wide_job(), source, to, &Run::new().context).await;
    assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
}

async fn only(to: &Destination) -> Snapshot {
    let survey = convault_jobs::survey(to, &crm(), &[], SystemClock.now()).await.unwrap();
    let [one] = survey.snapshots().cloned().collect::<Vec<_>>().try_into().unwrap();
    one
}

async fn zip_of(to: &Destination, manifest: &Manifest, keys: &LedgerKeys, rules: &Rules) -> Vec<u8> {
    let context = Run::new().context;
    let stored = Content::new(to.store.as_ref(), manifest, keys.identities.as_ref(), rules, &context);
    let mut output = Vec::new();
    stored.write_zip(&mut output, "memory").await.unwrap();
    output
}

/// Every entry of a ZIP, its name before its content.
fn entries(zip: &[u8]) -> String {
    let mut archive = zip::ZipArchive::new(Cursor::new(zip)).unwrap();
    let mut all = String::new();
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).unwrap();
        let name = entry.name().unwrap().into_owned();
        all.extend(["\n", name.as_str(), "\n"]);
        entry.read_to_string(&mut all).unwrap();
    }
    all
}

fn rules() -> AnewRules {
    AnewRules {
        version: "0.0.0".to_owned(),
        upload_memory_bytes: 4 * convault_jobs::LEAST_UPLOAD_MEMORY_BYTES,
        stall_limit: std::time::Duration::from_mins(1),
        keep_old: false,
        prune: PruneRules::new(Keep::default(), TimeZone::UTC),
    }
}

async fn rewritten(
    to: &Destination,
    id: &convault_core::SnapshotId,
    keys: &LedgerKeys,
    clock: &TestClock,
) -> Result<Rewriting, JobError> {
    let ledger = ledger(to, std::slice::from_ref(to), keys).await?;
    let rules = rules();
    let identities = keys.identities.as_ref();
    let wish = Rewrite { destination: to, ledger: &ledger, identities, limits: LIMITS, rules: &rules };
    rewrite(&wish, &crm(), id, &Run::at(clock).context).await
}

fn one_of(rewriting: Rewriting) -> RewrittenSnapshot {
    match rewriting {
        Rewriting::Rewritten(one) => *one,
        other => panic!("{other:?}"),
    }
}

fn name_of(store: &MemoryStore) -> DestinationName {
    store.destination().clone()
}

#[tokio::test(start_paused = true)]
async fn who_is_erased_is_held_back_with_all_that_goes_with_her_and_a_rewrite_removes_it() {
    let reader = Reader::new();
    let (plain, sealed) = (memory("plain"), memory("sealed"));
    let to = [destination(&plain), encrypted(&sealed, &[&reader])];
    let keys = keys(&reader);
    back_up(&FakeSource::of(world(&PEOPLE)), &to).await;
    let added = add(&forget("ada"), &to, &keys).await;
    assert_eq!((added.ledger.newest(), added.written.len(), added.behind.len()), (1, 2, 0));
    let by_address = ErasureRequest {
        ids: Vec::new(),
        values: vec![("email".parse().unwrap(), "bela@example.org".to_owned())],
        ..forget("")
    };
    assert_eq!(add(&by_address, &to, &keys).await.ledger.newest(), 2);
    for (store, number) in [&plain, &sealed].iter().flat_map(|store| [(*store, 1), (*store, 2)]) {
        let key =
            store.keys().into_iter().find(|key| key.contains(&format!("erasures/{number:06}"))).unwrap();
        let bytes = store.contents(&key).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("c-ada") && !text.contains("bela"), "the ledger never holds the data itself");
    }
    let mut done = Vec::new();
    for destination in &to {
        let ledger = ledger(destination, &to, &keys).await.unwrap();
        let old = only(destination).await;
        let (nothing, context) = (Rules::default(), Run::new().context);
        let store = destination.store.as_ref();
        let identities = keys.identities.as_ref();
        let stored = Content::new(store, &old.manifest, identities, &nothing, &context);
        let found = search_erased(&stored, &ledger, LIMITS).await.unwrap();
        assert_eq!(found.documents.values().copied().collect::<Vec<_>>(), [2, 2, 2]);
        assert_eq!(found.files, BTreeMap::from([(String::new(), 2)]));
        let held_back = Rules { erased: found.set.clone(), ..Rules::default() };
        let all = entries(&zip_of(destination, &old.manifest, &keys, &held_back).await);
        assert!(!all.contains("ada") && !all.contains("bela") && all.contains("picture of cleo"), "{all}");
        assert!(all.contains(r#""email":"cleo@example.org","n":1,"x":1.0}"#), "numbers stay as they were");
        let few = ErasureLimits { max_erased_ids: 3 };
        let error = search_erased(&stored, &ledger, few).await.unwrap_err();
        assert!(matches!(error, JobError::TooManyErased { limit: 3 }), "{error}");

        let one = rewritten(destination, &old.manifest.id, &keys, &TestClock::default()).await.unwrap();
        let one = one_of(one);
        assert_eq!(one.fate, OldSnapshot::Removed);
        let new = only(destination).await;
        assert_eq!((&new.manifest.id, new.is_good(), new.manifest.erasure), (&one.id, true, 2));
        let [from] = new.manifest.rewritten_from.as_slice() else { panic!("{:?}", new.manifest) };
        assert_eq!((&from.id, from.manifest_sha256), (&old.manifest.id, old.manifest_sha256));
        assert_eq!((from.documents, from.files), (6, 2));
        assert_eq!(new.manifest.snapshot_ts_ns, old.manifest.snapshot_ts_ns);
        assert_eq!((new.manifest.totals.documents, new.manifest.totals.files), (3, 1));
        let all = entries(&zip_of(destination, &new.manifest, &keys, &nothing).await);
        assert!(!all.contains("ada") && !all.contains("bela") && all.contains("picture of cleo"), "{all}");
        let again = rewritten(destination, &one.id, &keys, &TestClock::default()).await.unwrap();
        assert!(matches!(again, Rewriting::Clean), "{again:?}");
        done.push((store.destination().clone(), one));
    }
    for store in [&plain, &sealed] {
        assert_whole(store, 1).await;
    }
    let context = Run::new().context;
    let certificate = certify(&crm(), &to, &done, &keys, LIMITS, "0.0.0", &context).await.unwrap();
    assert!(
        certificate.copies.iter().all(|copy| copy.state == CopyState::Rewritten && copy.removed == (6, 2))
    );
    assert_eq!((certificate.copies.len(), certificate.remaining.len()), (2, 0));
    let (signer, _) = SigningKey::generate();
    let trust = Trust::new(Some(signer), &convault_archive::signature::TrustedKeys::default());
    let sealed = seal_certificate(&certificate, &names(), &trust);
    let signature = sealed.signature.as_ref().map(String::as_bytes);
    let check = async |json: &[u8], signature| {
        check_certificate(json, signature, &to, &trust, &keys, LIMITS, &Run::new().context).await
    };
    let checked = check(&sealed.json, signature).await.unwrap();
    assert!(checked.signed && checked.copies.iter().all(|(.., copy)| *copy == CheckedCopy::Clean));
    let changed = String::from_utf8(sealed.json.clone()).unwrap().replacen("asked for it", "asked for is", 1);
    for error in [check(changed.as_bytes(), signature).await, check(&sealed.json, None).await] {
        assert!(matches!(error, Err(JobError::CertificateFails { .. })), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_is_wrong_with_the_ledger_refuses_to_read_and_says_where_a_whole_one_is() {
    let reader = Reader::new();
    let (near, far) = (memory("near"), memory("far"));
    let to = [destination(&near), encrypted(&far, &[&reader])];
    let keys = keys(&reader);
    back_up(&FakeSource::of(world(&PEOPLE)), &to).await;
    for who in PEOPLE {
        add(&forget(who), &to, &keys).await;
    }
    let key = |number: u64| format!("crm/erasures/{number:06}.json");
    for number in 1..=3 {
        let whole = near.contents(&key(number)).unwrap();
        let text = String::from_utf8(whole.to_vec()).unwrap();
        let other = near.contents(&key(number % 3 + 1)).unwrap();
        for body in [
            None,
            Some(Bytes::from(text.replacen("asked", "ASKED", 1))),
            Some(other),
            Some(Bytes::from("{}")),
        ] {
            match body {
                Some(body) => near.tamper(&key(number), body),
                None => near.delete(&key(number)).await.unwrap(),
            }
            let error = ledger(&to[0], &to, &keys).await.unwrap_err();
            let JobError::LedgerNotWhole { what, remedy, .. } = &error else { panic!("{error}") };
            assert!(
                what.contains(&format!("entry {number}")) && remedy.contains("far has it whole"),
                "{error}"
            );
            assert_eq!(ledger(&to[1], &to, &keys).await.unwrap().newest(), 3, "the other is not touched");
            let done = complete_ledger(&crm(), &to, &keys, &Run::new().context).await.unwrap();
            assert_eq!(done.written, [(name_of(&near), number)]);
            assert_eq!(near.contents(&key(number)).unwrap(), whole);
            assert_eq!(ledger(&to[0], &to, &keys).await.unwrap().newest(), 3);
        }
    }
    // A manifest speaks of three; then there are two, everywhere.
    back_up(&FakeSource::of(world(&PEOPLE)).days_later(1), &to).await;
    assert_eq!(snapshots(&near).await.iter().map(|manifest| manifest.erasure).max(), Some(3));
    near.delete(&key(3)).await.unwrap();
    far.delete(&format!("{}.age", key(3))).await.unwrap();
    for here in &to {
        let error = ledger(here, &to, &keys).await.unwrap_err();
        assert!(
            matches!(&error, JobError::LedgerNotWhole { what, .. } if what.contains("entry 3")),
            "{error}"
        );
    }
    let nobody = LedgerKeys { identities: None, names: Some(names()) };
    let error = ledger(&to[1], &to, &nobody).await.unwrap_err();
    assert!(matches!(error, JobError::Encrypted { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn nobody_can_add_to_the_ledger_without_its_keys() {
    let reader = Reader::new();
    let store = memory("shelf");
    let (_, secret) = SigningKey::generate();
    let trust = || {
        Trust::new(
            Some(SigningKey::parse(&secret).unwrap()),
            &convault_archive::signature::TrustedKeys::default(),
        )
    };
    let signed = [Destination { trust: trust(), ..destination(&store) }];
    let keys = keys(&reader);
    back_up(&FakeSource::of(world(&PEOPLE)), &signed).await;
    add(&forget("ada"), &signed, &keys).await;
    assert_eq!(ledger(&signed[0], &signed, &keys).await.unwrap().newest(), 1);
    let other = LedgerKeys { names: Some(convault_archive::NamesKey::generate()), ..keys.clone() };
    let error = ledger(&signed[0], &signed, &other).await.unwrap_err();
    assert!(error.to_string().contains("under the names key"), "{error}");
    // An entry that the names key vouches for, and no signature.
    add(&forget("bela"), &[destination(&store)], &keys).await;
    let error = ledger(&signed[0], &signed, &keys).await.unwrap_err();
    assert!(error.to_string().contains("it is not signed"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn two_who_erase_at_once_write_two_entries_in_one_order_everywhere() {
    let reader = Reader::new();
    let (near, far) = (memory("near"), memory("far"));
    let to = [encrypted(&near, &[&reader]), encrypted(&far, &[&reader])];
    let keys = keys(&reader);
    back_up(&FakeSource::of(world(&PEOPLE)), &to).await;
    let requests = PEOPLE.map(forget);
    let adding = requests.iter().map(|request| add(request, &to, &keys));
    let added = futures::future::join_all(adding).await;
    let numbers: BTreeSet<u64> = added.iter().map(|one| one.ledger.newest()).collect();
    assert_eq!(numbers, BTreeSet::from([1, 2, 3]));
    let done = complete_ledger(&crm(), &to, &keys, &Run::new().context).await.unwrap();
    assert_eq!((done.ledger.newest(), done.behind.len()), (3, 0));
    assert_eq!(
        ledger(&to[0], &to, &keys).await.unwrap().head(),
        ledger(&to[1], &to, &keys).await.unwrap().head()
    );
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_was_away_is_told_and_gets_the_entry_from_the_next_backup() {
    let reader = Reader::new();
    let (near, far) = (memory("near"), memory("far"));
    let to = [encrypted(&near, &[&reader]), encrypted(&far, &[&reader])];
    let keys = keys(&reader);
    back_up(&FakeSource::of(world(&PEOPLE)), &to).await;
    for operation in [MemoryOperation::List, MemoryOperation::Get, MemoryOperation::Put] {
        far.fault_always(operation, MemoryFault::Fail(StoreErrorKind::Other));
    }
    let added = add(&forget("ada"), &to, &keys).await;
    assert_eq!(added.written, [name_of(&near)]);
    assert_eq!(added.behind.iter().map(|(name, _)| name).collect::<Vec<_>>(), [&name_of(&far)]);
    far.mend();
    let error = ledger(&to[1], &to, &keys).await.unwrap_err();
    assert!(error.to_string().contains("near has it whole"), "{error}");
    // Nobody is there who could open it.
    let record = convault_jobs::backup(
        &wide_job(),
        &FakeSource::of(world(&PEOPLE)).days_later(1),
        &to,
        &Run::new().context,
    )
    .await;
    assert!(record.warnings.iter().any(|text| text.contains("copied from near")), "{:?}", record.warnings);
    assert_eq!(ledger(&to[1], &to, &keys).await.unwrap().newest(), 1);
    for store in [&near, &far] {
        assert_eq!(snapshots(store).await.iter().map(|manifest| manifest.erasure).max(), Some(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_locked_copy_is_named_in_the_certificate_until_its_lock_ends_and_goes_then() {
    let reader = Reader::new();
    let clock = TestClock::default();
    let store = memory_at("vault", &clock).with_versions().with_locks(None);
    let to = Destination { object_lock: Some(LockMode::Governance), ..encrypted(&store, &[&reader]) };
    let keys = keys(&reader);
    back_up(&FakeSource::of(world(&PEOPLE)), std::slice::from_ref(&to)).await;
    let old = only(&to).await;
    let until = clock.now() + SignedDuration::from_hours(48);
    for object in &old.manifest.objects {
        let key = format!("crm/snapshots/{}/{}", old.manifest.id, object.name);
        store.set_lock(&key, Lock { mode: LockMode::Governance, until }).await.unwrap();
    }
    add(&forget("ada"), std::slice::from_ref(&to), &keys).await;
    let one = one_of(rewritten(&to, &old.manifest.id, &keys, &clock).await.unwrap());
    assert!(matches!(one.fate, OldSnapshot::Locked(_)), "{:?}", one.fate);
    let all = [to.clone()];
    let context = Run::at(&clock).context;
    let done = [(name_of(&store), one.clone())];
    let certificate = certify(&crm(), &all, &done, &keys, LIMITS, "0.0.0", &context).await.unwrap();
    let [left] = certificate.remaining.as_slice() else { panic!("{certificate:?}") };
    assert_eq!(left.snapshot.as_ref(), Some(&old.manifest.id));
    assert!(left.until.is_some() && left.why.contains("locked"), "{left:?}");
    let again = rewritten(&to, &old.manifest.id, &keys, &clock).await.unwrap();
    assert!(matches!(again, Rewriting::Superseded(newer, OldSnapshot::Locked(_)) if newer == one.id));
    clock.advance_hours(49);
    let again = rewritten(&to, &old.manifest.id, &keys, &clock).await.unwrap();
    assert!(matches!(again, Rewriting::Superseded(_, OldSnapshot::Removed)), "{again:?}");
    let context = Run::at(&clock).context;
    let certificate = certify(&crm(), &all, &[], &keys, LIMITS, "0.0.0", &context).await.unwrap();
    assert_eq!(certificate.remaining, []);
}

#[tokio::test(start_paused = true)]
async fn a_shared_file_is_left_out_of_list_and_refs_unless_another_has_the_same_content() {
    let reader = Reader::new();
    for is_encrypted in [false, true] {
        let store = memory("offsite");
        let to = if is_encrypted { encrypted(&store, &[&reader]) } else { destination(&store) };
        let keys = keys(&reader);
        let mut rows = files(5);
        // The first two have the same content.
        let same = rows[0].1.clone();
        rows[1].0.sha256 = rows[0].0.sha256;
        rows[1].0.size_bytes = rows[0].0.size_bytes;
        rows[1].1 = same;
        let source = Files::of(rows.clone());
        let record =
            convault_jobs::backup(&shared_job(), &source, std::slice::from_ref(&to), &Run::new().context)
                .await;
        assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
        let old = only(&to).await;
        let row_of = |at: usize| (rows[at].0.component.clone(), rows[at].0.id.clone());
        for at in [0, 3] {
            let (component, id) = row_of(at);
            let table = TableRef::new(component, "_storage");
            let request = ErasureRequest { table, ids: vec![id], cascades: Vec::new(), ..forget("") };
            add(&request, std::slice::from_ref(&to), &keys).await;
        }
        let one = one_of(rewritten(&to, &old.manifest.id, &keys, &TestClock::default()).await.unwrap());
        assert_eq!(one.found.files.values().sum::<u64>(), 2);
        let new = only(&to).await;
        assert_eq!((new.manifest.files, new.manifest.totals.files), (FilesMode::Shared, 3));
        assert_eq!(new.manifest.totals.documents, old.manifest.totals.documents);
        let report = verified(&store, VerifyDepth::ReadData).await;
        assert_eq!((report.faults, report.sound.len()), (Vec::new(), 1));
        let all = entries(&zip_of(&to, &new.manifest, &keys, &Rules::default()).await);
        for (at, (row, _)) in rows.iter().enumerate() {
            assert_eq!(all.contains(&row.id), ![0, 3].contains(&at), "{}", row.id);
        }
        let context = Run::new().context;
        let all = [to.clone()];
        let certificate = certify(&crm(), &all, &[], &keys, LIMITS, "0.0.0", &context).await.unwrap();
        let [left] = certificate.remaining.as_slice() else { panic!("{certificate:?}") };
        assert!(left.snapshot.is_none() && left.why.starts_with("1 stored file"), "{left:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rewrite_that_fails_leaves_the_old_one_and_nothing_else() {
    let reader = Reader::new();
    let keys = keys(&reader);
    for operation in [MemoryOperation::Put, MemoryOperation::PutPart] {
        for nth in 1..6 {
            let store = memory("shelf");
            let to = encrypted(&store, &[&reader]);
            back_up(&FakeSource::of(world(&PEOPLE)), std::slice::from_ref(&to)).await;
            add(&forget("ada"), std::slice::from_ref(&to), &keys).await;
            let old = only(&to).await;
            let before = store.calls(operation);
            store.fault(operation, nth, MemoryFault::Fail(StoreErrorKind::Full));
            let result = rewritten(&to, &old.manifest.id, &keys, &TestClock::default()).await;
            if store.calls(operation) - before < nth {
                assert!(result.is_ok(), "{result:?}");
                continue;
            }
            store.mend();
            match result {
                Err(_) => assert_eq!(only(&to).await.manifest.id, old.manifest.id, "{operation:?} {nth}"),
                Ok(rewriting) => {
                    let fate = one_of(rewriting).fate;
                    if let OldSnapshot::HeldBack(_) = fate {
                        assert_whole(&store, 2).await;
                    }
                }
            }
            // Another one goes on where it stopped.
            for manifest in snapshots(&store).await {
                rewritten(&to, &manifest.id, &keys, &TestClock::default()).await.unwrap();
            }
            assert_eq!(only(&to).await.manifest.totals.documents, 6);
            assert_whole(&store, 1).await;
        }
    }
}
