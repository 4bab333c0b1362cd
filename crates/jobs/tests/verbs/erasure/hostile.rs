//! Data and places that were not made for erasure to be easy.

use convault_core::PutMode;

use super::*;

/// A deployment of these tables: name, number, and lines in the order of their ids.
fn tables(tables: &[(&str, u64, &[&str])]) -> FakeSource {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut put = |name: &str, content: &str| {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    };
    let listed = tables.iter().map(|(name, number, _)| format!("{{\"name\":\"{name}\",\"id\":{number}}}\n"));
    put("_tables/documents.jsonl", &listed.collect::<String>());
    for (name, _, lines) in tables {
        put(&format!("{name}/documents.jsonl"), &(lines.join("\n") + "\n"));
        put(&format!("{name}/generated_schema.jsonl"), "\"uniform\"\n");
    }
    FakeSource::of(zip.finish().unwrap().into_inner().into())
}

/// Everything of the only snapshot that is not held back.
async fn left(to: &Destination, keys: &LedgerKeys) -> String {
    let all = std::slice::from_ref(to);
    let (manifest, nothing, context) = (only(to).await.manifest, Rules::default(), Run::new().context);
    let stored = Content::new(to.store.as_ref(), &manifest, keys.identities.as_ref(), &nothing, &context);
    let ledger = ledger(to, all, keys).await.unwrap();
    let found = search_erased(&stored, &ledger, LIMITS).await.unwrap();
    let rules = Rules { erased: found.set, ..Rules::default() };
    entries(&zip_of(to, &manifest, keys, &rules).await)
}

#[tokio::test(start_paused = true)]
async fn a_value_is_found_however_it_is_written() {
    let keys = keys(&Reader::new());
    let to = destination(&memory("shelf"));
    let lines = [
        r#"{"_creationTime":1.5,"_id":"a1","phone":5551234.0,"v":"gone 1"}"#,
        r#"{"_creationTime":1.5,"_id":"a2","phone":5551234,"v":"gone 2"}"#,
        r#"{"_creationTime":1.5,"_id":"a3","phone":{"all":["5551234"]},"v":"gone 3"}"#,
        r#"{"_creationTime":1.5,"_id":"a4","\u0070hone":"\u0035551234","v":"gone 4"}"#,
        r#"{"_creationTime":1.5,"_id":"a5","phone":1,"phone":5551234.0,"v":"gone 5"}"#,
        r#"{"_creationTime":1.5,"_id":"a6","phone":5551234.5,"v":"kept 6"}"#,
        r#"{"_creationTime":1.5,"_id":"a7","phone":{"5551234":true},"v":"kept 7"}"#,
    ];
    back_up(&tables(&[("contacts", 10_001, &lines)]), std::slice::from_ref(&to)).await;
    let values = vec![("phone".parse().unwrap(), "5551234".to_owned())];
    let request = ErasureRequest { ids: Vec::new(), values, ..forget("") };
    add(&request, std::slice::from_ref(&to), &keys).await;
    let all = left(&to, &keys).await;
    assert!(!all.contains("gone"), "{all}");
    assert_eq!(all.matches("kept").count(), 2, "{all}");
}

#[tokio::test(start_paused = true)]
async fn what_names_an_erased_document_goes_wherever_in_the_field_the_id_stands() {
    let keys = keys(&Reader::new());
    let to = destination(&memory("shelf"));
    let contacts = [r#"{"_creationTime":1.5,"_id":"c-\u0061da"}"#, r#"{"_creationTime":1.5,"_id":"c-bo"}"#];
    let messages = [
        r#"{"_creationTime":1.5,"_id":"m1","contact":"c-\u0061da","v":"gone"}"#,
        r#"{"_creationTime":1.5,"_id":"m2","contact":["x",["c-ada"]],"v":"gone"}"#,
        r#"{"_creationTime":1.5,"_id":"m3","contact":{"deep":{"er":"c-ada"}},"v":"gone"}"#,
        r#"{"_creationTime":1.5,"_id":"m4","contact":{"c-ada":true,"c-bo":false},"v":"gone"}"#,
        r#"{"_creationTime":1.5,"_id":"m5","contact":[{"by":{"c-\u0061da":{"n":1.0}}}],"v":"gone"}"#,
        r#"{"_creationTime":1.5,"_id":"m6","contact":{"c-bo":true},"other":"c-ada","v":"kept"}"#,
    ];
    let source = tables(&[("contacts", 10_001, &contacts), ("messages", 10_002, &messages)]);
    back_up(&source, std::slice::from_ref(&to)).await;
    add(&forget("ada"), std::slice::from_ref(&to), &keys).await;
    let all = left(&to, &keys).await;
    assert!(!all.contains("gone"), "{all}");
    assert!(all.contains("kept") && all.contains("c-bo"), "{all}");
}

#[tokio::test(start_paused = true)]
async fn nobody_leaves_in_a_table_whose_ids_have_another_number() {
    let keys = keys(&Reader::new());
    let to = destination(&memory("shelf"));
    // An id of table 10001, in what is listed as 10002.
    let id = "j57000820c20a1g7104gm2rc1m70ynr8";
    let line = format!(r#"{{"_creationTime":1.5,"_id":"{id}","v":"gone"}}"#);
    back_up(&tables(&[("contacts", 10_002, &[&line])]), std::slice::from_ref(&to)).await;
    let request = ErasureRequest { ids: vec![id.to_owned()], ..forget("") };
    add(&request, std::slice::from_ref(&to), &keys).await;
    let all = left(&to, &keys).await;
    assert!(!all.contains("gone"), "{all}");
}

#[tokio::test(start_paused = true)]
async fn more_than_an_entry_can_hold_are_refused_and_nothing_is_written() {
    let keys = keys(&Reader::new());
    let to = [destination(&memory("shelf"))];
    back_up(&FakeSource::of(world(&PEOPLE)), &to).await;
    let ids = (0..170_000).map(|number| format!("c-{number}")).collect();
    let request = ErasureRequest { ids, ..forget("") };
    let error = add_erasure(&request, &to, &BTreeSet::new(), &keys, &Run::new().context).await.unwrap_err();
    let JobError::TooManySubjects { subjects: 170_000, most } = error else { panic!("{error}") };
    assert!(ledger(&to[0], &to, &keys).await.unwrap().is_empty());
    let ids = (0..most).map(|number| format!("c-{number}")).collect();
    add(&ErasureRequest { ids, ..forget("") }, &to, &keys).await;
    assert_eq!(ledger(&to[0], &to, &keys).await.unwrap().newest(), 1, "what is written can be read");
}

#[tokio::test(start_paused = true)]
async fn a_number_beyond_all_entries_holds_up_no_backup_and_no_manifest_speaks_of_it() {
    let keys = keys(&Reader::new());
    let (near, far) = (memory("near"), memory("far"));
    let to = [destination(&near), destination(&far)];
    back_up(&FakeSource::of(world(&PEOPLE)), &to).await;
    add(&forget("ada"), &to, &keys).await;
    for (days, number) in [(1, 99), (2, u64::MAX)] {
        let key = format!("crm/erasures/{number:06}.json");
        near.put(&key, Bytes::from_static(b"{}"), PutMode::IfAbsent).await.unwrap();
        let source = FakeSource::of(world(&PEOPLE)).days_later(days);
        let record = convault_jobs::backup(&wide_job(), &source, &to, &Run::new().context).await;
        assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
        assert!(record.warnings.iter().any(|text| text.contains(&key)), "{:?}", record.warnings);
        assert_eq!(snapshots(&near).await.iter().map(|manifest| manifest.erasure).max(), Some(1));
        for here in &to {
            let error = ledger(here, &to, &keys).await.unwrap_err();
            let JobError::LedgerNotWhole { what, .. } = &error else { panic!("{error}") };
            assert!(what.contains("entry 2") && what.contains(&key), "{error}");
        }
        near.delete(&key).await.unwrap();
        assert_eq!(ledger(&to[0], &to, &keys).await.unwrap().newest(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_names_what_a_prune_left_of_shared_files_and_versions() {
    let keys = keys(&Reader::new());
    let clock = TestClock::default();
    let store = memory_at("bucket", &clock).with_versions();
    let to = [destination(&store)];
    let record =
        convault_jobs::backup(&shared_job(), &Files::of(files(3)), &to, &Run::at(&clock).context).await;
    assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
    add(&forget("ada"), &to, &keys).await;
    let old = only(&to[0]).await.manifest;
    for object in &old.objects {
        store.delete(&format!("crm/snapshots/{}/{}", old.id, object.name)).await.unwrap();
    }
    store.delete(&format!("crm/snapshots/{}/manifest.json", old.id)).await.unwrap();
    for key in store.keys().into_iter().filter(|key| key.contains(old.id.as_str())) {
        store.delete(&key).await.unwrap();
    }
    clock.advance_hours(1);
    let context = Run::at(&clock).context;
    let certificate = certify(&crm(), &to, &[], &keys, LIMITS, "0.0.0", &context).await.unwrap();
    let whys: Vec<&str> = certificate.remaining.iter().map(|one| one.why.as_str()).collect();
    assert!(whys.iter().any(|why| why.starts_with("3 stored file(s) that no snapshot needs")), "{whys:?}");
    assert!(whys.iter().any(|why| why.contains("older version(s) of its objects")), "{whys:?}");
}
