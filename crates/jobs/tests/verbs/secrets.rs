//! Secrets kept current: a set is stored when, and only when, one of them changed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use convault_archive::NamesKey;
use convault_core::{
    DeploymentName, Environment, EnvironmentChange, JobName, Keep, RunId, RunOutcome, Secret, StoreErrorKind,
    SurroundingError, SurroundingErrorKind,
};
use convault_jobs::{
    BackupJob, Destination, Encryption, JobError, PruneRules, SecretChanges, SecretsOrigin, WatchJob,
    Watched, compare_secrets, list_secrets, plan_secrets_restore, read_secrets, restore_secrets,
    stored_secrets,
};
use convault_uploader::{MemoryFault, MemoryOperation, MemoryStore};
use jiff::tz::TimeZone;

use crate::{
    bench::{Run, SMALL, TestClock, crm, memory, memory_at},
    encryption::{Reader, encrypted, names, opened, wide_job},
    export::{FakeSource, sound},
    surroundings::FakeSurrounding,
};

fn watch_job(surroundings: &[&FakeSurrounding]) -> WatchJob {
    WatchJob {
        job: JobName::new("nightly").unwrap(),
        deployment: crm(),
        surroundings: surroundings.iter().map(|one| one.arc()).collect(),
        keep: Keep::default(),
        time_zone: TimeZone::UTC,
        expected_interval: None,
        stall_limit: std::time::Duration::from_mins(1),
        version: "0.0.0".to_owned(),
    }
}

async fn watch_at(clock: &TestClock, surroundings: &[&FakeSurrounding], to: &[Destination]) -> Watched {
    clock.advance_hours(1);
    convault_jobs::watch(&watch_job(surroundings), to, &Run::at(clock).context).await.unwrap()
}

fn sets(store: &MemoryStore) -> Vec<String> {
    store.keys().into_iter().filter(|key| key.ends_with("/set.json")).collect()
}

fn changes(added: &[&str], changed: &[&str], removed: &[&str]) -> SecretChanges {
    let owned = |names: &[&str]| names.iter().map(|name| format!("environment/{name}")).collect();
    SecretChanges { added: owned(added), changed: owned(changed), removed: owned(removed) }
}

#[tokio::test(start_paused = true)]
async fn only_a_change_is_stored_and_told_by_name() {
    let (anna, store, clock) = (Reader::new(), memory("anna"), TestClock::default());
    let to = [encrypted(&store, &[&anna])];
    let fake = FakeSurrounding::secrets("environment", &[("A", "sk_one"), ("B", "sk_two")]);
    let first = watch_at(&clock, &[&fake], &to).await;
    assert_eq!((first.secrets, first.changes.is_empty(), first.since), (2, true, None));
    assert!(first.stored.is_some() && first.is_whole());
    for _ in 0..3 {
        let same = watch_at(&clock, &[&fake], &to).await;
        assert!(same.stored.is_none() && same.changes.is_empty() && same.is_whole());
    }
    assert_eq!(sets(&store).len(), 1);

    fake.set(&[("A", "sk_one"), ("B", "sk_other"), ("C", "sk_three")]);
    let second = watch_at(&clock, &[&fake], &to).await;
    assert_eq!(second.changes, changes(&["C"], &["B"], &[]));
    assert!(second.since.is_some() && second.stored.is_some());
    fake.set(&[("C", "sk_three")]);
    let third = watch_at(&clock, &[&fake], &to).await;
    assert_eq!(third.changes, changes(&[], &[], &["A", "B"]));
    assert_eq!(third.changes.to_string(), "removed: environment/A, environment/B");
    assert_eq!(sets(&store).len(), 3);
    for key in store.keys().iter().filter(|key| key.contains("/surroundings/")) {
        let text = String::from_utf8_lossy(&store.contents(key).unwrap()).into_owned();
        assert!(!text.contains("sk_") && !text.contains("environment/"), "{key}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_counts_as_a_set_and_both_can_be_read_and_compared() {
    let (anna, store, clock) = (Reader::new(), memory("anna"), TestClock::default());
    let to = [encrypted(&store, &[&anna])];
    let fake = FakeSurrounding::secrets("environment", &[("A", "sk_one\nmore"), ("B", "sk_two")]);
    let job = BackupJob { surroundings: vec![fake.arc()], ..wide_job() };
    let source = FakeSource::of(sound(SMALL));
    let record = convault_jobs::backup(&job, &source, &to, &Run::at(&clock).context).await;
    assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
    assert!(watch_at(&clock, &[&fake], &to).await.stored.is_none());
    fake.set(&[("A", "sk_one\nmore"), ("B", "sk_new")]);
    assert!(watch_at(&clock, &[&fake], &to).await.stored.is_some());

    let all = stored_secrets(&to[0], &crm()).await.unwrap();
    let origins: Vec<SecretsOrigin> = all.iter().map(|stored| stored.origin).collect();
    assert_eq!(origins, [SecretsOrigin::Set, SecretsOrigin::Snapshot]);
    let (new, old) = (&all[0], &all[1]);
    assert_eq!(compare_secrets(old, new, &names(), &crm()), Some(changes(&[], &["B"], &[])));
    let listed = list_secrets(&all, &names(), &crm());
    assert_eq!(
        listed.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
        ["environment/A", "environment/B"]
    );
    assert_eq!((listed[0].since, listed[0].not_yet), (old.at, None));
    assert_eq!((listed[1].since, listed[1].not_yet), (new.at, Some(old.at)));
    for (stored, b) in [(new, "sk_new"), (old, "sk_two")] {
        let values = read_secrets(&to[0], stored, &anna.identities).await.unwrap();
        let values: Vec<(&str, &str)> =
            values.iter().map(|one| (one.name.as_str(), one.value.expose())).collect();
        assert_eq!(values, [("A", "sk_one\nmore"), ("B", b)]);
    }
    let error = read_secrets(&to[0], new, &Reader::new().identities).await.unwrap_err();
    assert!(matches!(error, JobError::Encrypted { .. }), "{error}");
    let other = NamesKey::generate();
    assert!(list_secrets(&all, &other, &crm()).iter().all(|one| !one.name.contains("/A")));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_just_now_is_not_taken_for_removed() {
    let (anna, store, clock) = (Reader::new(), memory("anna"), TestClock::default());
    let to = [encrypted(&store, &[&anna])];
    let fake = FakeSurrounding::secrets("environment", &[("A", "one")]);
    let vercel = FakeSurrounding::secrets("vercel", &[("production/A", "one")]);
    watch_at(&clock, &[&fake, &vercel], &to).await;
    let failing = vercel.clone().failing(SurroundingErrorKind::Transient, "nothing answered", 3);
    let during = watch_at(&clock, &[&fake, &failing], &to).await;
    assert!(
        during.changes.is_empty() && during.stored.is_none() && !during.is_whole() && during.is_transient
    );
    fake.set(&[("A", "two")]);
    vercel.clone().failing(SurroundingErrorKind::Permission, "the token is gone", 9);
    let partly = watch_at(&clock, &[&fake, &vercel], &to).await;
    assert_eq!(partly.changes, changes(&[], &["A"], &[]));
    assert_eq!(partly.unread, ["surroundings `vercel`: the token is gone"]);
    vercel.gives.lock().unwrap().fails = None;
    let after = watch_at(&clock, &[&fake, &vercel], &to).await;
    assert!(after.changes.is_empty() && after.stored.is_none() && after.is_whole());
}

#[tokio::test(start_paused = true)]
async fn a_set_whose_object_is_gone_is_stored_again() {
    let (anna, store, clock) = (Reader::new(), memory("anna"), TestClock::default());
    let to = [encrypted(&store, &[&anna])];
    let fake = FakeSurrounding::secrets("environment", &[("A", "one")]);
    watch_at(&clock, &[&fake], &to).await;
    let object = store.keys().into_iter().find(|key| key.ends_with("surroundings.zip.age")).unwrap();
    convault_core::Store::delete(&store, &object).await.unwrap();
    let again = watch_at(&clock, &[&fake], &to).await;
    assert!(again.stored.is_some() && again.changes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn another_names_key_makes_a_new_set_and_no_false_alarm() {
    let (anna, store, clock) = (Reader::new(), memory("anna"), TestClock::default());
    let before = encrypted(&store, &[&anna]);
    let fake = FakeSurrounding::secrets("environment", &[("A", "one")]);
    watch_at(&clock, &[&fake], std::slice::from_ref(&before)).await;
    let recipients = before.encryption.as_ref().unwrap().recipients.clone();
    let encryption = Some(Arc::new(Encryption { recipients, names: NamesKey::generate() }));
    let after = Destination { encryption, ..before };
    let watched = watch_at(&clock, &[&fake], &[after]).await;
    assert!(watched.stored.is_some() && watched.changes.is_empty(), "{}", watched.changes);
}

#[tokio::test(start_paused = true)]
async fn one_destination_that_refuses_leaves_nothing_and_the_other_has_the_set() {
    let (anna, clock) = (Reader::new(), TestClock::default());
    let fake = FakeSurrounding::secrets("environment", &[("A", "one")]);
    for nth in 1..=4 {
        let [bad, good] = ["bad", "good"].map(memory);
        bad.fault(MemoryOperation::Put, nth, MemoryFault::Fail(StoreErrorKind::Denied));
        let to = [encrypted(&bad, &[&anna]), encrypted(&good, &[&anna])];
        let watched = watch_at(&clock, &[&fake], &to).await;
        assert!(!watched.is_whole() && watched.stored.is_some(), "{nth}: {watched:?}");
        assert_eq!((sets(&bad).len(), sets(&good).len()), (0, 1), "{nth}");
        assert!(bad.keys().iter().all(|key| !key.starts_with("crm/")), "{nth}: {:?}", bad.keys());
    }
}

#[tokio::test(start_paused = true)]
async fn retention_keeps_sets_by_the_job_s_rules_and_always_the_newest_of_each_surrounding() {
    let (anna, clock) = (Reader::new(), TestClock::default());
    let store = memory_at("anna", &clock);
    let to = [encrypted(&store, &[&anna])];
    let vercel = FakeSurrounding::secrets("vercel", &[("production/A", "one")]);
    watch_at(&clock, &[&vercel], &to).await;
    let fake = FakeSurrounding::secrets("environment", &[]);
    for round in 0..6 {
        fake.set(&[("A", &format!("value {round}"))]);
        watch_at(&clock, &[&fake], &to).await;
    }
    let orphan = RunId::new(convault_core::Clock::now(&clock), 77);
    convault_core::Store::put(
        &store,
        &format!("crm/surroundings/{orphan}/surroundings.zip.age"),
        "x".into(),
        convault_core::PutMode::Overwrite,
    )
    .await
    .unwrap();
    assert_eq!(sets(&store).len(), 7);
    let rules = PruneRules::new(Keep { last: 2, at_least_verified: 1, ..Keep::default() }, TimeZone::UTC);
    let prune = async || {
        let now = convault_core::Clock::now(&clock);
        let plan = convault_jobs::plan_prune(&to[0], &crm(), &rules, now).await.unwrap();
        convault_jobs::prune(&to[0], &plan, &rules, &Run::at(&clock).context).await.unwrap()
    };
    assert_eq!(prune().await.held_back, [""; 0]);
    assert_eq!(sets(&store).len(), 3, "{:?}", sets(&store));
    assert!(store.keys().iter().any(|key| key.contains(orphan.as_str())));
    clock.advance_hours(24 * 8);
    prune().await;
    assert!(store.keys().iter().all(|key| !key.contains(orphan.as_str())));
    let all = stored_secrets(&to[0], &crm()).await.unwrap();
    assert_eq!(all.len(), 3);
    assert_eq!(list_secrets(&all, &names(), &crm()).len(), 2);
    for stored in &all {
        assert_eq!(read_secrets(&to[0], stored, &anna.identities).await.unwrap().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_archive_of_a_set_opens_with_stock_tools() {
    let (anna, store, clock) = (Reader::new(), memory("anna"), TestClock::default());
    let fake = FakeSurrounding::secrets("environment", &[("A", "one")]);
    watch_at(&clock, &[&fake], &[encrypted(&store, &[&anna])]).await;
    let object = store.keys().into_iter().find(|key| key.ends_with(".zip.age")).unwrap();
    let zip = opened(&store.contents(&object).unwrap(), &anna);
    let archive = zip::ZipArchive::new(std::io::Cursor::new(zip)).unwrap();
    let names: Vec<String> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
    assert_eq!(names, ["environment/.env", "secrets.jsonl", "contents.json"]);
}

#[derive(Debug)]
struct FakeEnvironment {
    deployment: DeploymentName,
    variables: Mutex<BTreeMap<String, Secret>>,
    /// A variable that is never written as it should be.
    deaf: &'static str,
}

#[async_trait]
impl Environment for FakeEnvironment {
    fn deployment(&self) -> &DeploymentName {
        &self.deployment
    }

    async fn read(&self) -> Result<BTreeMap<String, Secret>, SurroundingError> {
        Ok(self.variables.lock().unwrap().clone())
    }

    async fn write(&self, changes: &[EnvironmentChange]) -> Result<(), SurroundingError> {
        let mut variables = self.variables.lock().unwrap();
        for change in changes.iter().filter(|change| change.name != self.deaf) {
            match &change.value {
                Some(value) => drop(variables.insert(change.name.clone(), value.clone())),
                None => drop(variables.remove(&change.name)),
            }
        }
        Ok(())
    }
}

fn variables(all: &[(&str, &str)]) -> BTreeMap<String, Secret> {
    all.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect()
}

#[tokio::test]
async fn a_restore_writes_only_what_differs_and_reads_it_back() {
    let wanted = variables(&[("A", "1"), ("B", "2"), ("C", "3")]);
    let start = variables(&[("B", "2"), ("C", "other"), ("D", "4")]);
    for (remove, deaf) in [(false, ""), (true, ""), (true, "D")] {
        let environment = FakeEnvironment { deployment: crm(), variables: Mutex::new(start.clone()), deaf };
        let plan = plan_secrets_restore(&wanted, &environment.read().await.unwrap(), remove);
        assert_eq!((plan.add.clone(), plan.change.clone()), (vec!["A".to_owned()], vec!["C".to_owned()]));
        assert_eq!(plan.same, ["B"]);
        assert_eq!(plan.remove.is_empty(), !remove);
        let text = format!("{plan:?} {}", serde_json::to_string(&plan).unwrap());
        assert!(!text.contains("other") && !text.contains('3'), "{text}");
        let restored = restore_secrets(&environment, &plan).await;
        if deaf.is_empty() {
            restored.unwrap();
            let again = plan_secrets_restore(&wanted, &environment.read().await.unwrap(), remove);
            assert!(again.is_done(), "{again:?}");
        } else {
            let error = restored.unwrap_err();
            assert!(matches!(&error, JobError::SecretsDiffer { names, .. } if names == "D"), "{error}");
        }
    }
}
