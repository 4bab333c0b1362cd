//! Backed up, restored and exported again: equal by digest, ids, creation times, files and all types of values.

use convault_core::{FilesMode, ImportMode, TableRef, Target as _};
use convault_jobs::{BackupJob, Rules, Selected, compare_counts};
use convault_simulator::{Data, Database};

use crate::bench::{Deployed, Restoring, back_up, destination, entries, fixture, job, memory};
use crate::source::FakeSource;

fn crm() -> Data {
    Data::Database(Box::new(Database::crm(1)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_deployment_exports_what_was_backed_up() {
    for files in [FilesMode::Inline, FilesMode::Shared] {
        let (from, to, store) =
            (Deployed::new("crm", crm(), &[]).await, Deployed::empty("other", &[]).await, memory());
        let manifest = back_up(&BackupJob { files, ..job(&from.name) }, &from.source, &store).await;
        let restoring = Restoring::new(&store, &manifest, &to);
        let plan = restoring.plan().await;
        assert!(plan.onto_empty && plan.mode == ImportMode::RequireEmpty && plan.damaged.is_empty());
        let done = restoring.run().await.unwrap();
        assert_eq!(done.problems, Vec::<String>::new());
        assert!(done.safety.is_none());
        let imported = done.imported.unwrap();
        let counted = compare_counts(&imported.outgone.summary, plan.mode, &done.contents.unwrap());
        assert_eq!(counted.differences, []);
        assert_eq!(counted.documents, manifest.totals.documents);
        assert_eq!(counted.files, manifest.totals.files);
        assert_eq!(to.simulator.counters().writes.total(), 1);
        let again = memory();
        let after = back_up(&job(&to.name), &to.source, &again).await;
        let whole = memory();
        let before = back_up(&job(&from.name), &from.source, &whole).await;
        assert_eq!(entries(&again, &after).await, entries(&whole, &before).await);
        from.simulator.stop().await;
        to.simulator.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_of_a_real_backend_come_back_entry_by_entry() {
    for name in ["small.zip", "small-nostorage.zip", "limits.zip", "empty.zip"] {
        let Some(zip) = fixture(name) else { continue };
        let (to, store) = (Deployed::empty("other", &[]).await, memory());
        let snapshot_time = "2023-11-14T22:13:20Z".parse().unwrap();
        let source = FakeSource { deployment: to.name.clone(), zip, snapshot_time };
        let files = if name == "small-nostorage.zip" { FilesMode::None } else { FilesMode::Inline };
        let manifest = back_up(&BackupJob { files, ..job(&to.name) }, &source, &store).await;
        let done = Restoring::new(&store, &manifest, &to).run().await.unwrap();
        assert_eq!(done.problems, Vec::<String>::new(), "{name}");
        done.imported.unwrap();
        let again = memory();
        let after = back_up(&BackupJob { files, ..job(&to.name) }, &to.source, &again).await;
        assert_eq!(entries(&again, &after).await, entries(&store, &manifest).await, "{name}");
        to.simulator.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live_data_is_replaced_after_it_was_stored_and_comes_back_from_there() {
    let (live, store) = (Deployed::new("crm", crm(), &[]).await, memory());
    let manifest = back_up(&job(&live.name), &live.source, &store).await;
    let before = entries(&store, &manifest).await;
    live.simulator.change(|database| {
        database.component_mut("").unwrap().drop_table("contacts");
    });
    let restoring = Restoring { pause: true, ..Restoring::new(&store, &manifest, &live) };
    let plan = restoring.plan().await;
    assert!(!plan.onto_empty && plan.mode == ImportMode::ReplaceAll);
    let done = restoring.run().await.unwrap();
    done.imported.unwrap();
    assert_eq!(done.problems, Vec::<String>::new());
    assert!(!live.target.is_paused().await.unwrap());
    let again = memory();
    assert_eq!(entries(&again, &back_up(&job(&live.name), &live.source, &again).await).await, before);
    let safety = done.safety.unwrap();
    assert!(safety.keep_until > restoring.context.clock.now() + jiff::SignedDuration::from_hours(30 * 24));
    let (place, now) = (destination(&restoring.safety_store), restoring.context.clock.now());
    let kept = convault_jobs::find(&place, &live.name, Some(&safety.id), now).await;
    let kept = kept.unwrap().unwrap().manifest;
    assert!(kept.tags.contains(&"before-restore".to_owned()));
    let back = Restoring::new(&restoring.safety_store, &kept, &live).run().await.unwrap();
    back.imported.unwrap();
    assert!(live.simulator.snapshot().table("", "contacts").is_none(), "what was live is live again");
    live.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_replaces_what_it_names_and_leaves_the_rest() {
    let (live, store) = (Deployed::new("crm", crm(), &[]).await, memory());
    let manifest = back_up(&job(&live.name), &live.source, &store).await;
    let before = entries(&store, &manifest).await;
    let gone = ["contacts", "messages"];
    let tables: Vec<String> = manifest.tables.iter().map(|table| table.table.clone()).collect();
    assert!(gone.iter().all(|name| tables.contains(&(*name).to_owned())), "{tables:?}");
    live.simulator.change(|database| gone.map(|name| database.component_mut("").unwrap().drop_table(name)));
    let only = [Selected::Table(TableRef::new("", "contacts"))].into();
    let rules = Rules { only: Some(only), ..Rules::default() };
    let restoring = Restoring { rules, ..Restoring::new(&store, &manifest, &live) };
    assert_eq!(restoring.plan().await.mode, ImportMode::Replace);
    let done = restoring.run().await.unwrap();
    let imported = done.imported.unwrap();
    let counted = compare_counts(&imported.outgone.summary, ImportMode::Replace, &done.contents.unwrap());
    assert_eq!((counted.tables, counted.differences.len()), (1, 0));
    let again = memory();
    let after = entries(&again, &back_up(&job(&live.name), &live.source, &again).await).await;
    let name = "contacts/documents.jsonl";
    assert_eq!(after[name], before[name]);
    assert!(!after.contains_key("messages/documents.jsonl"));
    live.simulator.stop().await;
}
