//! Single documents, back in a deployment.

use convault_core::{Manifest, Target, TargetErrorKind};
use convault_jobs::{
    Choice, Content, ErasedSet, Guard, JobError, Recovered, Rules, Safety, Wanted, Way, choose, recover_into,
};
use convault_simulator::{Data, Database};
use convault_uploader::MemoryStore;

use crate::{
    bench::{Deployed, back_up, context, destination, job, memory},
    failing::{Calls, FailingTarget, Planted},
};

fn crm() -> Data {
    Data::Database(Box::new(Database::crm(1)))
}

/// The ids of the first documents of the first tables of the root.
fn some_ids(live: &Deployed, tables: usize) -> Vec<String> {
    let database = live.simulator.snapshot();
    let root = database.component("").unwrap();
    let firsts = root.tables().filter_map(|(_, table)| table.documents.values().next());
    firsts.take(tables).map(|document| document["_id"].as_str().unwrap().to_owned()).collect()
}

/// Brings documents of a snapshot into `to`, with a safety snapshot where it is not empty.
async fn recover(
    (store, manifest): (&MemoryStore, &Manifest),
    ids: Vec<String>,
    to: &Deployed,
    target: &dyn Target,
    pause: bool,
) -> Result<Recovered, JobError> {
    let (rules, run) = (Rules::default(), context());
    let content = Content::new(store, manifest, None, &rules, &run);
    let choice = Choice { wanted: Some(Wanted::ids(ids)), ..Choice::default() };
    let chosen = choose(&content, &choice, &run).await?;
    let expected = to.target.identity().await?;
    let is_empty = to.target.contents().await?.is_empty();
    let (safety_store, job) = (memory(), job(&to.name));
    let destinations = [destination(&safety_store)];
    let safety = Safety { job: &job, source: &to.source, destinations: &destinations, known_damaged: &[] };
    let erased = ErasedSet::default();
    let safety = (!is_empty).then_some(safety);
    let guard = Guard { target, expected: &expected, others: &[], pause, safety, erased: &erased };
    recover_into(&content, &chosen, &guard, None, &run).await
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_several_tables_come_into_an_empty_deployment() {
    let (from, to, store) =
        (Deployed::new("crm", crm(), &[]).await, Deployed::empty("other", &[]).await, memory());
    let manifest = back_up(&job(&from.name), &from.source, &store).await;
    let done = recover((&store, &manifest), some_ids(&from, 2), &to, &to.target, false).await.unwrap();
    assert!(done.failure.is_none(), "{:?}", done.failure);
    let told: Vec<_> = done.tables.iter().map(|table| (table.way, table.added)).collect();
    assert_eq!(told, [(Way::Append, 1); 2]);
    assert_eq!(to.simulator.snapshot().document_count(), 2);
    from.simulator.stop().await;
    to.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_says_what_became_of_it_nobody_is_let_in() {
    let (from, to, store) =
        (Deployed::new("crm", crm(), &[]).await, Deployed::empty("other", &[]).await, memory());
    let manifest = back_up(&job(&from.name), &from.source, &store).await;
    let calls = Calls::new(Some((0, Planted::Silence(TargetErrorKind::Permission))));
    let target = FailingTarget { target: &to.target, calls };
    let done = recover((&store, &manifest), some_ids(&from, 1), &to, &target, true).await.unwrap();
    assert!(matches!(done.failure, Some(JobError::Unsettled { .. })), "{:?}", done.failure);
    assert!(to.target.is_paused().await.unwrap());
    from.simulator.stop().await;
    to.simulator.stop().await;
}
