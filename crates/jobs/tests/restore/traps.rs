//! What a plain import would stumble over, or lose without a word.

use std::collections::BTreeMap;

use convault_core::{FilesMode, ImportMode, TableRef, Target as _};
use convault_jobs::{BackupJob, ErasedSet, LostTypes, Rules};
use convault_simulator::{Data, Database, Document, Value};

use crate::bench::{Deployed, Restoring, back_up, entries, job, memory};

fn crm() -> Data {
    Data::Database(Box::new(Database::crm(1)))
}

/// A deployment with a table named `order_storage` whose documents have this field.
async fn with_such_a_name(value: Value) -> Deployed {
    let mut database = Database::crm(1);
    for _ in 0..3 {
        let fields: Document = [("n".to_owned(), value.clone())].into();
        database.insert("", "order_storage", fields, 1_700_000_000_000.0);
    }
    Deployed::new("crm", Data::Database(Box::new(database)), &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_the_name_of_a_file_folder_loses_nothing_where_it_has_nothing_to_lose() {
    let (from, to, store) =
        (with_such_a_name(Value::Float64(1.5)).await, Deployed::empty("other", &[]).await, memory());
    let manifest = back_up(&job(&from.name), &from.source, &store).await;
    let mut restoring = Restoring::new(&store, &manifest, &to);
    let error = restoring.run().await.unwrap().imported.unwrap_err().to_string();
    assert!(error.contains("_storage id 'generated_schema' invalid"), "a plain import fails: {error}");
    let plan = restoring.plan().await;
    let table = TableRef::new("", "order_storage");
    assert_eq!(plan.storage_names, [(table.clone(), BTreeMap::new())].into());
    restoring.rules.without_schema = [table].into();
    restoring.run().await.unwrap().imported.unwrap();
    let again = memory();
    let after = back_up(&job(&to.name), &to.source, &again).await;
    assert_eq!(entries(&again, &after).await, entries(&store, &manifest).await);
    from.simulator.stop().await;
    to.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_the_name_of_a_file_folder_tells_what_it_would_lose() {
    for (value, lost) in [
        (Value::Int64(7), LostTypes { integers: 3, refused: 0 }),
        (Value::Bytes(vec![1, 2]), LostTypes { integers: 0, refused: 3 }),
        (Value::Float64(f64::NAN), LostTypes { integers: 0, refused: 3 }),
    ] {
        let (from, to, store) =
            (with_such_a_name(value).await, Deployed::empty("other", &[]).await, memory());
        let manifest = back_up(&job(&from.name), &from.source, &store).await;
        let plan = Restoring::new(&store, &manifest, &to).plan().await;
        let fields = &plan.storage_names[&TableRef::new("", "order_storage")];
        assert_eq!(*fields, [("n".to_owned(), lost)].into());
        from.simulator.stop().await;
        to.simulator.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_are_named_and_left_out_with_their_rows() {
    for fault in ["damaged-file", "row-without-file"] {
        let (from, to, store) =
            (Deployed::new("crm", crm(), &[fault]).await, Deployed::empty("other", &[]).await, memory());
        let manifest = back_up(&job(&from.name), &from.source, &store).await;
        let mut restoring = Restoring::new(&store, &manifest, &to);
        let plan = restoring.plan().await;
        assert_eq!(plan.damaged.len(), 1, "{fault}");
        if fault == "damaged-file" {
            let done = restoring.run().await.unwrap();
            let error = done.imported.unwrap_err().to_string();
            assert!(error.contains("Sha256 mismatch"), "a plain import fails: {error}");
        }
        let damaged = &plan.damaged[0];
        restoring.rules.left_out_files = [(damaged.component.clone(), damaged.id.clone())].into();
        assert_eq!(restoring.plan().await.damaged.len(), 0, "{fault}");
        let done = restoring.run().await.unwrap();
        done.imported.unwrap();
        let files: u64 = done.contents.unwrap().components.values().map(|component| component.files).sum();
        let expected =
            from.simulator.snapshot().components().map(|(_, c)| c.files().len() as u64).sum::<u64>() - 1;
        assert_eq!(files, expected, "{fault}");
        from.simulator.stop().await;
        to.simulator.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_without_files_keeps_those_of_the_target_but_not_the_erased_ones() {
    let (live, store) = (Deployed::new("crm", crm(), &[]).await, memory());
    let job = BackupJob { files: FilesMode::None, ..job(&live.name) };
    let manifest = back_up(&job, &live.source, &store).await;
    let mut restoring = Restoring::new(&store, &manifest, &live);
    let plan = restoring.plan().await;
    assert_eq!(plan.mode, ImportMode::ReplaceAll);
    assert!(plan.keeps_files().any(|files| files.component.is_empty()));
    let before = live.target.contents().await.unwrap().components[""].files;
    let database = live.simulator.snapshot();
    let (id, _) = database.component("").unwrap().files().iter().next().unwrap();
    let erased: ErasedSet =
        ErasedSet { files: [(String::new(), id.to_string())].into(), ..ErasedSet::default() };
    restoring.rules = Rules { erased, ..Rules::default() };
    let done = restoring.run().await.unwrap();
    assert_eq!(done.problems, Vec::<String>::new());
    done.imported.unwrap();
    assert_eq!(done.contents.unwrap().components[""].files, before - 1);
    live.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_of_which_a_part_may_have_arrived_begins_again() {
    let (from, store) = (Deployed::new("crm", crm(), &[]).await, memory());
    let manifest = back_up(&job(&from.name), &from.source, &store).await;
    for fault in ["upload-part-503=2", "finish-upload-lost-answer=1", "import-stays-uploaded=3"] {
        let to = Deployed::empty("other", &[fault]).await;
        Restoring::new(&store, &manifest, &to).run().await.unwrap().imported.unwrap();
        assert_eq!(to.writes(), 1, "{fault}");
        to.simulator.stop().await;
    }
    from.simulator.stop().await;
}
