//! What a Convex snapshot leaves out, stored beside it.

use std::{
    collections::BTreeMap,
    io::{Cursor, Read as _},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use convault_core::{
    Collect, EntryDetails, Manifest, NotCovered, ObjectRole, RunOutcome, RunRecord, Secret, StoreErrorKind,
    Surrounding, SurroundingError, SurroundingErrorKind, SurroundingKind, SurroundingName, Verdict,
};
use convault_jobs::{BackupJob, Destination};
use convault_uploader::{MemoryFault, MemoryOperation, MemoryStore};
use zip::ZipArchive;

use crate::{
    bench::{Run, SMALL, TWO_PARTS, assert_whole, destination, memory, snapshots},
    encryption::{Reader, encrypted, opened, wide_job},
    export::{FakeSource, sound},
};

/// Surroundings that give what a test puts into them.
#[derive(Debug, Clone)]
pub(crate) struct FakeSurrounding {
    name: SurroundingName,
    kind: SurroundingKind,
    is_required: bool,
    pub(crate) gives: Arc<Mutex<Gives>>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Gives {
    pub(crate) values: BTreeMap<String, String>,
    pub(crate) entries: Vec<(String, Vec<u8>)>,
    pub(crate) not_covered: Vec<(String, String)>,
    /// Fails so often, before anything or, where it says so, after everything.
    pub(crate) failures: u32,
    pub(crate) fails: Option<(SurroundingErrorKind, String)>,
    pub(crate) fails_late: bool,
    pub(crate) collected: u32,
}

impl FakeSurrounding {
    pub(crate) fn new(name: &str, kind: SurroundingKind) -> Self {
        let name = SurroundingName::new(name).unwrap();
        Self { name, kind, is_required: false, gives: Arc::default() }
    }

    pub(crate) fn secrets(name: &str, values: &[(&str, &str)]) -> Self {
        let fake = Self::new(name, SurroundingKind::Secrets);
        fake.set(values);
        fake
    }

    pub(crate) fn set(&self, values: &[(&str, &str)]) {
        let mut gives = self.gives.lock().unwrap();
        gives.values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let dotenv: Vec<String> =
            gives.values.iter().map(|(name, value)| format!("{name}={value:?}\n")).collect();
        gives.entries = vec![(".env".to_owned(), dotenv.concat().into_bytes())];
    }

    pub(crate) fn failing(self, kind: SurroundingErrorKind, message: &str, failures: u32) -> Self {
        {
            let mut gives = self.gives.lock().unwrap();
            gives.fails = Some((kind, message.to_owned()));
            gives.failures = failures;
        }
        self
    }

    fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    pub(crate) fn arc(&self) -> Arc<dyn Surrounding> {
        Arc::new(self.clone())
    }

    fn fail(&self) -> Result<(), SurroundingError> {
        let mut gives = self.gives.lock().unwrap();
        let Some((kind, message)) = gives.fails.clone().filter(|_| gives.failures > 0) else { return Ok(()) };
        gives.failures -= 1;
        Err(SurroundingError { kind, surrounding: self.name.clone(), message, source: None })
    }
}

#[async_trait]
impl Surrounding for FakeSurrounding {
    fn name(&self) -> &SurroundingName {
        &self.name
    }

    fn kind(&self) -> SurroundingKind {
        self.kind
    }

    fn is_required(&self) -> bool {
        self.is_required
    }

    async fn collect(&self, taker: &mut dyn Collect) -> Result<Vec<NotCovered>, SurroundingError> {
        let gives = self.gives.lock().unwrap().clone();
        self.gives.lock().unwrap().collected += 1;
        if !gives.fails_late {
            self.fail()?;
        }
        for (path, content) in &gives.entries {
            let details = EntryDetails { mode: Some(0o640), owner: Some((0, 0)), modified: None };
            taker.begin(path, details).await?;
            for piece in content.chunks(10_000) {
                taker.write(piece).await?;
            }
        }
        for (name, value) in &gives.values {
            taker.value(name, &Secret::new(value.clone())).await?;
        }
        if gives.fails_late {
            self.fail()?;
        }
        let not_covered = gives.not_covered.into_iter();
        Ok(not_covered.map(|(what, why)| NotCovered { what, why }).collect())
    }
}

fn environment() -> FakeSurrounding {
    FakeSurrounding::secrets(
        "environment",
        &[("STRIPE_KEY", "sk_live_1\nand \"more\""), ("SITE_URL", "https://a")],
    )
}

async fn run(surroundings: &[&FakeSurrounding], to: &[Destination]) -> RunRecord {
    run_of(SMALL, surroundings, to).await
}

async fn run_of(size: usize, surroundings: &[&FakeSurrounding], to: &[Destination]) -> RunRecord {
    let surroundings = surroundings.iter().map(|one| one.arc()).collect();
    let job = BackupJob { surroundings, ..wide_job() };
    convault_jobs::backup(&job, &FakeSource::of(sound(size)), to, &Run::new().context).await
}

fn stored(store: &MemoryStore, manifest: &Manifest) -> Vec<u8> {
    let object = manifest.object(ObjectRole::Surroundings).unwrap();
    assert_eq!(object.name, "surroundings.zip.age");
    store.contents(&format!("crm/snapshots/{}/{}", manifest.id, object.name)).unwrap().to_vec()
}

fn entry(zip: &[u8], name: &str) -> String {
    let mut text = String::new();
    ZipArchive::new(Cursor::new(zip)).unwrap().by_name(name).unwrap().read_to_string(&mut text).unwrap();
    text
}

fn covers(manifest: &Manifest) -> Vec<String> {
    manifest.not_covered.iter().map(|one| format!("{}: {}", one.what, one.why)).collect()
}

#[tokio::test(start_paused = true)]
async fn every_recipient_finds_all_of_it_in_one_archive() {
    let (anna, boris) = (Reader::new(), Reader::new());
    let stores = ["anna", "both"].map(memory);
    let to = [encrypted(&stores[0], &[&anna]), encrypted(&stores[1], &[&anna, &boris])];
    let code = FakeSurrounding::new("code", SurroundingKind::State);
    let large = (0..3 * TWO_PARTS).map(|n| (n * n % 251).to_le_bytes()[0]).collect::<Vec<u8>>();
    code.gives.lock().unwrap().entries = vec![("modules/a.js".to_owned(), large.clone())];
    for size in [SMALL, TWO_PARTS] {
        let record = run_of(size, &[&environment(), &code], &to).await;
        assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
    }
    for (store, reader) in [(&stores[0], &anna), (&stores[1], &anna), (&stores[1], &boris)] {
        assert_whole(store, 2).await;
        for manifest in snapshots(store).await {
            let zip = opened(&stored(store, &manifest), reader);
            let names: Vec<String> = ZipArchive::new(Cursor::new(&zip))
                .unwrap()
                .file_names()
                .map(|name| name.unwrap().into_owned())
                .collect();
            assert_eq!(names.len(), 4, "{names:?}");
            assert_eq!(entry(&zip, "environment/.env").lines().count(), 2);
            let values = entry(&zip, "secrets.jsonl");
            let first: serde_json::Value = serde_json::from_str(values.lines().nth(1).unwrap()).unwrap();
            assert_eq!(first["surrounding"], "environment");
            assert_eq!(first["name"], "STRIPE_KEY");
            assert_eq!(first["value"], "sk_live_1\nand \"more\"");
            let contents: serde_json::Value = serde_json::from_str(&entry(&zip, "contents.json")).unwrap();
            assert_eq!(contents["surroundings"][1]["entries"][0]["size_bytes"], large.len());
            assert_eq!(contents["surroundings"][0]["entries"][0]["mode"], "640");
            assert_eq!(contents["surroundings"][0]["complete"], true);
            assert_eq!(covers(&manifest).len(), 1, "{:?}", covers(&manifest));
            assert_eq!(manifest.not_covered[0].what, "scheduled functions");
        }
    }
    let text = String::from_utf8(snapshots(&stores[0]).await[0].to_bytes()).unwrap();
    assert!(!text.contains("STRIPE") && !text.contains("sk_live"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_destination_without_recipients_gets_nothing_at_all() {
    let (anna, open, closed) = (Reader::new(), memory("open"), memory("closed"));
    let to = [encrypted(&closed, &[&anna]), destination(&open)];
    let record = run(&[&environment()], &to).await;
    assert_eq!(record.outcome, Some(RunOutcome::Failed));
    assert!(record.message.contains("open has no recipients"), "{}", record.message);
    assert_eq!((open.keys().len(), closed.keys().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_key_may_not_read_is_one_line_and_no_failure_unless_required() {
    let (anna, store) = (Reader::new(), memory("anna"));
    let to = [encrypted(&store, &[&anna])];
    let why = "the key may not read the variables: give it `deployment:env:view`";
    let denied = || {
        FakeSurrounding::new("environment", SurroundingKind::Secrets).failing(
            SurroundingErrorKind::Permission,
            why,
            9,
        )
    };
    let record = run(&[&denied()], &to).await;
    assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
    assert_eq!(record.warnings.len(), 1, "{:?}", record.warnings);
    let [manifest] = snapshots(&store).await.try_into().unwrap();
    let lines: Vec<String> =
        covers(&manifest).into_iter().filter(|line| line.contains("environment")).collect();
    assert_eq!(lines, [format!("surroundings `environment`: {why}")]);
    assert_eq!(manifest.secrets, None);

    let record = run(&[&denied().required()], &to).await;
    assert_eq!(record.outcome, Some(RunOutcome::Suspect), "{}", record.message);
    let manifest = snapshots(&store).await.pop().unwrap();
    let Verdict::Suspect { problems } = &manifest.verdict else { panic!("it is good") };
    assert_eq!(problems[0].kind, "surroundings-missing");
    assert!(problems[0].what.contains(why), "{}", problems[0].what);
}

#[tokio::test(start_paused = true)]
async fn no_name_of_a_secret_is_told_in_a_manifest() {
    let (anna, store) = (Reader::new(), memory("anna"));
    let fake = environment();
    fake.gives.lock().unwrap().not_covered =
        vec![("STRIPE_KEY of production".to_owned(), "STRIPE_KEY is marked sensitive".to_owned())];
    let record = run(&[&fake], &[encrypted(&store, &[&anna])]).await;
    assert!(record.warnings[0].contains("STRIPE_KEY"), "{:?}", record.warnings);
    let manifest = snapshots(&store).await.pop().unwrap();
    assert_eq!(covers(&manifest).pop().unwrap(), "… of production: … is marked sensitive");
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_passes_is_not_even_mentioned() {
    let (anna, store) = (Reader::new(), memory("anna"));
    let fake = environment().failing(SurroundingErrorKind::Transient, "nothing answered", 2);
    let record = run(&[&fake], &[encrypted(&store, &[&anna])]).await;
    assert_eq!((record.outcome, record.warnings.len()), (Some(RunOutcome::Good), 0));
    assert_eq!(fake.gives.lock().unwrap().collected, 3);
}

#[tokio::test(start_paused = true)]
async fn what_broke_off_is_stored_as_far_as_it_came_and_its_secrets_are_not_compared() {
    let (anna, store) = (Reader::new(), memory("anna"));
    let fake = environment().failing(SurroundingErrorKind::Transient, "the connection broke", 9);
    fake.gives.lock().unwrap().fails_late = true;
    let record = run(&[&fake], &[encrypted(&store, &[&anna])]).await;
    assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
    assert_eq!(fake.gives.lock().unwrap().collected, 1);
    let manifest = snapshots(&store).await.pop().unwrap();
    assert_eq!(manifest.secrets, None);
    let zip = opened(&stored(&store, &manifest), &anna);
    assert_eq!(entry(&zip, "secrets.jsonl").lines().count(), 2);
    let contents: serde_json::Value = serde_json::from_str(&entry(&zip, "contents.json")).unwrap();
    assert_eq!(contents["surroundings"][0]["complete"], false);
    assert_eq!(contents["surroundings"][0]["error"], "the connection broke");
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_refuses_the_surroundings_has_no_snapshot_and_the_other_one_has() {
    let (anna, boris) = (Reader::new(), Reader::new());
    let [measure, bad, good] = ["measure", "bad", "good"].map(memory);
    run_of(TWO_PARTS, &[&environment()], &[encrypted(&measure, &[&anna])]).await;
    // The last put is that of the manifest.
    let put = measure.calls(MemoryOperation::Put) - 1;
    bad.fault(MemoryOperation::Put, put, MemoryFault::Fail(StoreErrorKind::Denied));
    let to = [encrypted(&bad, &[&anna]), encrypted(&good, &[&boris])];
    let record = run_of(TWO_PARTS, &[&environment()], &to).await;
    assert_eq!(record.outcome, Some(RunOutcome::Partial), "{}", record.message);
    assert_whole(&good, 1).await;
    assert_eq!(snapshots(&bad).await.len(), 0);
    assert!(bad.keys().iter().all(|key| !key.starts_with("crm/")), "{:?}", bad.keys());
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_collecting_leaves_nothing() {
    let (anna, store) = (Reader::new(), memory("anna"));
    let run = Run::new();
    let fake = environment().failing(SurroundingErrorKind::Transient, "nothing answered", 9);
    let job = BackupJob { surroundings: vec![fake.arc()], ..wide_job() };
    let source = FakeSource::of(sound(TWO_PARTS));
    let (to, stop) = ([encrypted(&store, &[&anna])], run.context.stop.clone());
    let stopper = async {
        while fake.gives.lock().unwrap().collected == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        stop.cancel();
    };
    let (record, ()) = tokio::join!(convault_jobs::backup(&job, &source, &to, &run.context), stopper);
    assert_eq!(record.outcome, Some(RunOutcome::Cancelled), "{}", record.message);
    assert!(store.keys().iter().all(|key| !key.starts_with("crm/")), "{:?}", store.keys());
}
