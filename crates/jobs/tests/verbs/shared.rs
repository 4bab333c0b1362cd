//! Stored files that snapshots share.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Cursor, Read as _},
    sync::Mutex,
};

use async_trait::async_trait;
use bytes::Bytes;
use convault_core::{
    DeploymentName, Export, ExportRequest, ExportStream, FileRow, FileStream, FilesMode, Keep, LockMode,
    Manifest, ObjectRole, Preflight, Progress, Release, RunEvent, RunOutcome, RunRecord, Secret, Sha256,
    Source, SourceError, SourceErrorKind, Store as _, TableRef, Verdict,
};
use convault_jobs::{
    Access, BackupJob, Content, Destination, JobError, Outgone, PruneRules, Pruned, RepairRules, Rules,
    Selected, VerifyDepth,
};
use convault_uploader::{MemoryOperation, MemoryStore};
use futures::{StreamExt as _, stream::BoxStream};
use jiff::tz::TimeZone;

use crate::{
    bench::{Run, TestClock, crm, destination, job, memory, memory_at, snapshots, verified},
    encryption::{Reader, encrypted, reencrypted, wide_job},
    export::{FakeSource, of_tables},
};

const SNAPSHOT_MS: u64 = 1_700_000_000_123;

/// A deployment that lists and serves files, which change when it exports.
#[derive(Debug)]
pub(crate) struct Files {
    inner: FakeSource,
    state: Mutex<State>,
}

#[derive(Debug, Default, Clone)]
struct State {
    listed: Vec<(FileRow, Bytes)>,
    /// What is listed from the export on.
    after: Option<Vec<(FileRow, Bytes)>>,
    not_served: BTreeSet<String>,
    paused: bool,
    fetched: Vec<String>,
}

fn file(number: u32, content: &str) -> (FileRow, Bytes) {
    let row = FileRow {
        component: if number.is_multiple_of(3) { "waitlist".to_owned() } else { String::new() },
        component_id: None,
        id: format!("kg2{number:05}"),
        creation_time: format!("{}.5", SNAPSHOT_MS - 1_000_000 + u64::from(number)),
        sha256: Sha256::of(content.as_bytes()),
        size_bytes: content.len() as u64,
        content_type: [None, Some("text/plain"), Some("image/png")][number as usize % 3].map(str::to_owned),
        internal_id: Secret::new(format!("8c2d5a4e-0d4e-4b1c-9a2e-{number:012}")),
    };
    (row, Bytes::from(content.to_owned()))
}

/// So many files, of which each has another content; the last is large.
pub(crate) fn files(number: u32) -> Vec<(FileRow, Bytes)> {
    let large = "x".repeat((1 << 20) + 77);
    let content =
        |at: u32| if at == number { format!("{large}{number}") } else { format!("content of {at}") };
    (1..=number).map(|at| file(at, &content(at))).collect()
}

impl Files {
    pub(crate) fn of(listed: Vec<(FileRow, Bytes)>) -> Self {
        let inner = FakeSource::of(of_tables(&[("users", 3), ("waitlist/entries", 2)]));
        Self { inner, state: Mutex::new(State { listed, ..State::default() }) }
    }

    fn becoming(listed: Vec<(FileRow, Bytes)>, after: Vec<(FileRow, Bytes)>) -> Self {
        let source = Self::of(listed);
        source.state.lock().unwrap().after = Some(after);
        source
    }

    fn days_later(self, days: i64) -> Self {
        Self { inner: self.inner.days_later(days), ..self }
    }

    fn not_serving(self, id: &str) -> Self {
        self.state.lock().unwrap().not_served.insert(id.to_owned());
        self
    }

    fn fetched(&self) -> usize {
        self.state.lock().unwrap().fetched.len()
    }
}

#[async_trait]
impl Source for Files {
    fn deployment(&self) -> &DeploymentName {
        self.inner.deployment()
    }

    async fn preflight(&self) -> Result<Preflight, SourceError> {
        self.inner.preflight().await
    }

    async fn export(
        &self,
        request: ExportRequest,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Export, SourceError> {
        let mut state = self.state.lock().unwrap().clone();
        if let Some(after) = state.after.take() {
            state.listed = after;
        }
        *self.state.lock().unwrap() = state;
        self.inner.export(request, progress).await
    }

    async fn open(&self, export: &Export) -> Result<ExportStream, SourceError> {
        self.inner.open(export).await
    }

    async fn release(&self, export: &Export) -> Release {
        self.inner.release(export).await
    }

    async fn why_no_files(&self) -> Result<Option<String>, SourceError> {
        Ok(self.state.lock().unwrap().paused.then(|| "the deployment is paused".to_owned()))
    }

    fn list_files(&self) -> BoxStream<'_, Result<FileRow, SourceError>> {
        let rows: Vec<_> = self.state.lock().unwrap().listed.iter().map(|(row, _)| Ok(row.clone())).collect();
        futures::stream::iter(rows).boxed()
    }

    async fn open_file(&self, row: &FileRow) -> Result<FileStream, SourceError> {
        let mut state = self.state.lock().unwrap();
        state.fetched.push(row.id.clone());
        let found = state.listed.iter().find(|(listed, _)| listed.id == row.id);
        match found.filter(|_| !state.not_served.contains(&row.id)) {
            Some((_, content)) => {
                let content = content.clone();
                let bytes = futures::stream::iter([Ok(content)]).boxed();
                Ok(FileStream { length_bytes: row.size_bytes, bytes })
            }
            None => Err(SourceError {
                kind: SourceErrorKind::Missing,
                deployment: crm(),
                message: format!("the stored file {} is not there", row.id),
                source: None,
            }),
        }
    }
}

pub(crate) fn shared_job() -> BackupJob {
    BackupJob { files: FilesMode::Shared, ..wide_job() }
}

async fn back_up(source: &Files, to: &[Destination], clock: &TestClock) -> (RunRecord, Vec<RunEvent>) {
    let run = Run::at(clock);
    let record = convault_jobs::backup(&shared_job(), source, to, &run.context).await;
    (record, run.events())
}

async fn backed_up(source: &Files, to: &[Destination]) -> RunRecord {
    back_up(source, to, &TestClock::default()).await.0
}

async fn newest(store: &MemoryStore) -> Manifest {
    snapshots(store).await.into_iter().max_by_key(|manifest| manifest.snapshot_ts_ns).unwrap()
}

/// What a download of the newest snapshot has, by entry.
async fn downloaded(to: &Destination, store: &MemoryStore, access: Access<'_>) -> BTreeMap<String, Vec<u8>> {
    let manifest = newest(store).await;
    let mut bytes = Vec::new();
    let run = Run::new();
    convault_jobs::download(to.store.as_ref(), &manifest, access, &mut bytes, "memory", &run.context)
        .await
        .unwrap();
    unzipped(bytes)
}

fn unzipped(bytes: Vec<u8>) -> BTreeMap<String, Vec<u8>> {
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    (0..zip.len())
        .map(|at| {
            let mut entry = zip.by_index(at).unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.name().unwrap().into_owned(), content)
        })
        .collect()
}

fn assert_has_files(entries: &BTreeMap<String, Vec<u8>>, files: &[(FileRow, Bytes)]) {
    let stored: Vec<&String> = entries
        .keys()
        .filter(|name| name.contains("_storage/") && !name.ends_with("/documents.jsonl"))
        .collect();
    assert_eq!(stored.len(), files.len(), "{stored:?}");
    for (row, content) in files {
        let folder = if row.component.is_empty() { "" } else { "_components/waitlist/" };
        let found = entries.iter().find(|(name, _)| {
            name.strip_prefix(folder)
                .and_then(|name| name.strip_prefix("_storage/"))
                .is_some_and(|name| name.split('.').next() == Some(&row.id))
        });
        assert_eq!(found.unwrap().1, content, "{}", row.id);
        let rows = String::from_utf8(entries[&format!("{folder}_storage/documents.jsonl")].clone()).unwrap();
        assert!(rows.lines().is_sorted() && rows.contains(&row.id));
    }
    assert!(entries.contains_key("users/documents.jsonl"));
}

fn stored_files(store: &MemoryStore) -> usize {
    store.keys().iter().filter(|key| key.starts_with("crm/files/")).count()
}

#[tokio::test(start_paused = true)]
async fn a_second_night_fetches_what_is_new_and_a_download_has_it_all() {
    let store = memory("offsite");
    let to = destination(&store);
    let first = Files::of(files(20));
    let record = backed_up(&first, std::slice::from_ref(&to)).await;
    assert_eq!((record.outcome, record.files), (Some(RunOutcome::Good), 20), "{}", record.message);
    assert_eq!((first.fetched(), stored_files(&store)), (20, 20));
    let mut changed = files(20);
    changed.remove(4);
    changed.push(file(21, "something new"));
    changed.push(file(22, "content of 7"));
    let second = Files::of(changed.clone()).days_later(1);
    let record = backed_up(&second, std::slice::from_ref(&to)).await;
    assert_eq!((record.outcome, record.files), (Some(RunOutcome::Good), 21), "{}", record.message);
    assert_eq!(second.fetched(), 1, "a copy of a content that is there already is not fetched");
    assert_eq!(stored_files(&store), 21);
    assert_has_files(&downloaded(&to, &store, Access::Opened(None)).await, &changed);
    let report = verified(&store, VerifyDepth::ReadData).await;
    assert_eq!((report.faults, report.sound.len()), (Vec::new(), 2));
}

#[tokio::test(start_paused = true)]
async fn encrypted_files_have_names_that_tell_nothing_and_open_again() {
    let (plain, secret, other) = (memory("shelf"), memory("offsite"), memory("vault"));
    let (reader, stranger) = (Reader::new(), Reader::new());
    let to = [destination(&plain), encrypted(&secret, &[&reader]), encrypted(&other, &[&reader, &stranger])];
    let source = Files::of(files(9));
    let record = backed_up(&source, &to).await;
    assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
    assert_eq!(source.fetched(), 9, "once for all of them");
    let names = |store: &MemoryStore| -> BTreeSet<String> {
        let keys = store.keys().into_iter().filter(|key| key.starts_with("crm/files/"));
        keys.map(|key| key.rsplit('/').next().unwrap().trim_end_matches(".age").to_owned()).collect()
    };
    let (one, two, three) = (names(&plain), names(&secret), names(&other));
    assert_eq!((one.len(), two.len(), three.len()), (9, 9, 9));
    assert!(one.is_disjoint(&two) && two.is_disjoint(&three) && one.is_disjoint(&three));
    for key in secret.keys().iter().filter(|key| key.ends_with(convault_core::Layout::ENCRYPTED_SUFFIX)) {
        assert!(secret.contents(key).unwrap().starts_with(b"age-encryption.org/v1\n"), "{key}");
    }
    let access = Access::Opened(Some(&reader.identities));
    assert_has_files(&downloaded(&to[1], &secret, access).await, &files(9));
    let again = Files::of(files(10)).days_later(1);
    let record = backed_up(&again, &to).await;
    assert_eq!((record.outcome, again.fetched()), (Some(RunOutcome::Good), 2), "the large one is another");
    assert_has_files(&downloaded(&to[2], &other, access).await, &files(10));
}

#[tokio::test(start_paused = true)]
async fn files_that_come_and_go_are_told_apart() {
    let store = memory("offsite");
    let to = [destination(&store)];
    let before = vec![file(1, "stays"), file(2, "goes"), file(4, "stays, too")];
    let mut newer = file(7, "too late");
    newer.0.creation_time = format!("{}.5", SNAPSHOT_MS + 60_000);
    let after = vec![before[0].clone(), before[2].clone(), file(5, "comes"), newer];
    let source = Files::becoming(before.clone(), after);
    let (record, events) = back_up(&source, &to, &TestClock::default()).await;
    assert_eq!((record.outcome, record.files), (Some(RunOutcome::Good), 4), "{}", record.message);
    assert!(record.warnings.iter().any(|warning| warning.contains("uncertain")), "{:?}", record.warnings);
    let told = events.iter().any(|event| {
        matches!(event, RunEvent::Message { text, .. }
            if text.contains("4 stored files: 4 new") && text.contains("1 uncertain, 0 missing; 1 stored after"))
    });
    assert!(told, "{events:?}");
    let expected = [before, vec![file(5, "comes")]].concat();
    assert_has_files(&downloaded(&to[0], &store, Access::Opened(None)).await, &expected);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_fetched_makes_the_snapshot_suspect() {
    let store = memory("offsite");
    let to = [destination(&store)];
    let gone_meanwhile = vec![file(1, "one"), file(2, "two")];
    let source = Files::becoming(gone_meanwhile.clone(), vec![file(1, "one")]).not_serving("kg200002");
    let record = backed_up(&source, &to).await;
    assert_eq!((record.outcome, record.files), (Some(RunOutcome::Good), 1), "it was deleted: no harm");
    let source = Files::of(gone_meanwhile).days_later(1).not_serving("kg200002");
    let record = backed_up(&source, &to).await;
    assert_eq!(record.outcome, Some(RunOutcome::Suspect), "{}", record.message);
    let manifest = newest(&store).await;
    let Verdict::Suspect { problems } = manifest.verdict else { panic!("it is suspect") };
    let problem = problems.iter().find(|problem| problem.kind == "files-missing").unwrap();
    assert!(problem.ids[0].starts_with("kg200002: "), "{problem:?}");
    let entries = downloaded(&to[0], &store, Access::Opened(None)).await;
    assert!(String::from_utf8_lossy(&entries["_storage/documents.jsonl"]).contains("kg200002"));
}

#[tokio::test(start_paused = true)]
async fn a_paused_deployment_is_backed_up_with_its_files_inline() {
    let store = memory("offsite");
    let source = Files::of(files(3));
    source.state.lock().unwrap().paused = true;
    let record = backed_up(&source, &[destination(&store)]).await;
    assert!(record.warnings[0].contains("the deployment is paused") && record.warnings[0].contains("inline"));
    assert_eq!((snapshots(&store).await[0].files, source.fetched()), (FilesMode::Inline, 0));
}

/// Prunes to the newest snapshot, with a grace of an hour.
async fn prune(to: &Destination, clock: &TestClock) -> Pruned {
    use convault_core::Clock as _;
    let to = Destination { orphan_grace: std::time::Duration::from_hours(1), ..to.clone() };
    let keep = Keep { last: 1, at_least_verified: 1, ..Keep::default() };
    let rules = PruneRules { sweep_limit_percent: 50, ..PruneRules::new(keep, TimeZone::UTC) };
    let plan = convault_jobs::plan_prune(&to, &crm(), &rules, clock.now()).await.unwrap();
    convault_jobs::prune(&to, &plan, &rules, &Run::at(clock).context).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_no_snapshot_needs_is_condemned_and_a_grace_later_deleted() {
    let clock = TestClock::default();
    swept(memory_at("offsite", &clock), clock).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lists_in_another_order_loses_nothing_to_the_sweep() {
    let clock = TestClock::default();
    swept(memory_at("offsite", &clock).listing_backwards(), clock).await;
}

/// Ten files, of which one goes: it is condemned, and deleted a grace later; the others stay.
async fn swept(store: MemoryStore, clock: TestClock) {
    let to = destination(&store);
    back_up(&Files::of(files(10)), std::slice::from_ref(&to), &clock).await;
    clock.advance_hours(24);
    let fewer = files(10)[1..].to_vec();
    back_up(&Files::of(fewer.clone()).days_later(1), std::slice::from_ref(&to), &clock).await;
    clock.advance_hours(2);
    let pruned = prune(&to, &clock).await;
    assert_eq!((pruned.removed.len(), pruned.held_back.len()), (1, 0), "{pruned:?}");
    assert_eq!(stored_files(&store), 10, "condemned, no more");
    clock.advance_hours(2);
    let pruned = prune(&to, &clock).await;
    assert_eq!(pruned.held_back, Vec::<String>::new());
    assert_eq!(stored_files(&store), 9);
    assert_has_files(&downloaded(&to, &store, Access::Opened(None)).await, &fewer);
    assert_eq!(verified(&store, VerifyDepth::ReadData).await.faults, []);
}

#[tokio::test(start_paused = true)]
async fn a_condemned_file_that_is_needed_again_is_written_anew_and_stays() {
    for secret in [false, true] {
        let clock = TestClock::default();
        let store = memory_at("offsite", &clock);
        let reader = Reader::new();
        let to = if secret { encrypted(&store, &[&reader]) } else { destination(&store) };
        back_up(&Files::of(files(4)), std::slice::from_ref(&to), &clock).await;
        clock.advance_hours(24);
        let fewer = files(4)[1..].to_vec();
        back_up(&Files::of(fewer).days_later(1), std::slice::from_ref(&to), &clock).await;
        clock.advance_hours(2);
        prune(&to, &clock).await;
        let again = Files::of(files(4)).days_later(2);
        let (record, _) = back_up(&again, std::slice::from_ref(&to), &clock).await;
        assert_eq!((record.outcome, again.fetched()), (Some(RunOutcome::Good), 1), "{}", record.message);
        for _ in 0..3 {
            clock.advance_hours(24);
            prune(&to, &clock).await;
        }
        assert_eq!(stored_files(&store), 4);
        let report =
            convault_jobs::verify(&to, &crm(), &[], VerifyDepth::ReadData, &Run::new().context).await;
        assert_eq!(report.unwrap().faults, []);
        let access = Access::Opened(Some(&reader.identities));
        assert_has_files(&downloaded(&to, &store, access).await, &files(4));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_file_damages_every_snapshot_that_needs_it_until_it_is_repaired() {
    let (store, copy) = (memory("offsite"), memory("shelf"));
    let to = [destination(&store), destination(&copy)];
    backed_up(&Files::of(files(6)), &to).await;
    backed_up(&Files::of(files(6)).days_later(1), &to).await;
    let key = store.keys().into_iter().find(|key| key.starts_with("crm/files/")).unwrap();
    for lost in [true, false] {
        if lost {
            convault_core::Store::delete(&store, &key).await.unwrap();
        } else {
            store.tamper(&key, Bytes::from_static(b"content of X"));
        }
        let depth = if lost { VerifyDepth::Cheap } else { VerifyDepth::ReadData };
        let run = Run::new();
        let report = convault_jobs::verify(&to[0], &crm(), &[], depth, &run.context).await.unwrap();
        assert_eq!(report.faults.len(), 2, "{:?}", report.faults);
        assert!(report.faults.iter().all(|fault| fault.object.starts_with("files/")), "{:?}", report.faults);
        convault_jobs::record_proofs(&to[0], &crm(), &report, "0", &run.context).await.unwrap();
        let rules = RepairRules {
            version: "0".to_owned(),
            upload_memory_bytes: job().upload_memory_bytes,
            stall_limit: job().stall_limit,
            anomaly: job().anomaly,
            identities: None,
        };
        let repaired = convault_jobs::repair(&to[0], &to, &crm(), None, &rules, &Run::new().context).await;
        let repaired = repaired.unwrap();
        assert_eq!((repaired.repaired.len(), repaired.failed), (2, Vec::new()));
        assert_eq!(verified(&store, VerifyDepth::ReadData).await.faults, []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_missed_a_night_gets_what_it_lacks() {
    let (store, late) = (memory("offsite"), memory("shelf"));
    backed_up(&Files::of(files(5)), &[destination(&store)]).await;
    let source = Files::of(files(5)).days_later(1);
    let record = backed_up(&source, &[destination(&store), destination(&late)]).await;
    assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
    assert_eq!((source.fetched(), stored_files(&late)), (5, 5));
    assert_eq!(verified(&late, VerifyDepth::ReadData).await.faults, []);
}

#[tokio::test(start_paused = true)]
async fn what_an_interrupted_run_left_is_read_before_it_is_used() {
    let (store, reader) = (memory("offsite"), Reader::new());
    for to in [destination(&store), encrypted(&store, &[&reader])] {
        backed_up(&Files::of(files(4)), std::slice::from_ref(&to)).await;
        let spoiled = store.keys().into_iter().find(|key| key.starts_with("crm/files/")).unwrap();
        for key in store.keys().into_iter().filter(|key| key.starts_with("crm/snapshots/")) {
            convault_core::Store::delete(&store, &key).await.unwrap();
        }
        store.tamper(&spoiled, Bytes::from_static(b"cut o"));
        let source = Files::of(files(4)).days_later(1);
        let record = backed_up(&source, std::slice::from_ref(&to)).await;
        assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
        // What lay under the name of the large file is removed first, and the file fetched a second time.
        assert!((4..=5).contains(&source.fetched()), "{}", source.fetched());
        let report =
            convault_jobs::verify(&to, &crm(), &[], VerifyDepth::ReadData, &Run::new().context).await;
        assert_eq!(report.unwrap().faults, []);
        let access = Access::Opened(Some(&reader.identities));
        assert_has_files(&downloaded(&to, &store, access).await, &files(4));
        for key in store.keys().into_iter().filter(|key| key.starts_with("crm/")) {
            convault_core::Store::delete(&store, &key).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn refs_are_readable_by_hand() {
    let store = memory("offsite");
    backed_up(&Files::of(files(3)), &[destination(&store)]).await;
    let manifest = snapshots(&store).await.remove(0);
    let refs = manifest.object(ObjectRole::Refs).unwrap();
    let key = store.keys().into_iter().find(|key| key.ends_with(&refs.name)).unwrap();
    let mut unpacker = convault_archive::LineUnpacker::new();
    unpacker.push(&store.contents(&key).unwrap());
    let mut names = Vec::new();
    while let Some(line) = unpacker.next_text().unwrap() {
        let line = String::from_utf8(line.to_vec()).unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let stored = store.contents(&format!("crm/files/{}/{}", &words[0][..2], words[0])).unwrap();
        assert_eq!(
            (Sha256::of(&stored).to_string(), stored.len().to_string()),
            (words[2].into(), words[1].into())
        );
        names.push(words[0].to_owned());
    }
    assert!(names.len() == 3 && names.is_sorted());
}

#[tokio::test(start_paused = true)]
async fn shared_files_are_locked_as_long_as_their_snapshots_and_not_anew_each_night() {
    let clock = TestClock::default();
    let store = memory_at("vault", &clock).with_versions().with_locks(None);
    let to = [Destination { object_lock: Some(LockMode::Governance), ..destination(&store) }];
    let keep = Keep { daily: 7, at_least_verified: 1, ..Keep::default() };
    let job = BackupJob { keep, ..shared_job() };
    let mut nights_that_locked = Vec::new();
    for night in 0..30 {
        let source = Files::of(files(12)).days_later(night);
        let before = store.calls(MemoryOperation::SetLock);
        let record = convault_jobs::backup(&job, &source, &to, &Run::at(&clock).context).await;
        assert_eq!((record.outcome, record.warnings), (Some(RunOutcome::Good), vec![]));
        let now = convault_core::Clock::now(&clock);
        for key in store.keys().into_iter().filter(|key| key.starts_with("crm/files/")) {
            let lock = store.lock(&key).await.unwrap().unwrap_or_else(|| panic!("{key} is not locked"));
            let days = lock.until.duration_since(now).as_hours() / 24;
            assert!((6..=15).contains(&days), "night {night}: {key} is locked for {days} days");
        }
        if store.calls(MemoryOperation::SetLock) - before >= 12 {
            nights_that_locked.push(night);
        }
        clock.advance_hours(24);
    }
    assert!((2..=5).contains(&nights_that_locked.len()), "{nights_that_locked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_no_locks_is_a_warning_and_asked_once() {
    let store = memory("vault");
    let to = [Destination { object_lock: Some(LockMode::Governance), ..destination(&store) }];
    let record = backed_up(&Files::of(files(40)), &to).await;
    assert_eq!(record.outcome, Some(RunOutcome::Good), "{}", record.message);
    let about_files: Vec<_> =
        record.warnings.iter().filter(|text| text.contains("shared files are not locked")).collect();
    assert_eq!(about_files.len(), 1, "{:?}", record.warnings);
    assert!(store.calls(MemoryOperation::SetLock) < 40);
}

#[tokio::test(start_paused = true)]
async fn recipients_are_changed_of_a_snapshot_whose_files_are_shared() {
    let (anna, boris) = (Reader::new(), Reader::new());
    let store = memory("vault");
    let kept = files(9);
    let fewer: Vec<_> = kept.iter().skip(1).cloned().collect();
    let source = Files::becoming(kept.clone(), fewer);
    let before = encrypted(&store, &[&anna]);
    assert_eq!(backed_up(&source, &[before]).await.outcome, Some(RunOutcome::Good));
    let old = newest(&store).await;

    let after = encrypted(&store, &[&boris]);
    let stranger = reencrypted(&after, &old, &boris, false).await.unwrap_err();
    assert!(stranger.to_string().contains("cannot be opened"), "{stranger}");
    assert_eq!(newest(&store).await.id, old.id, "nothing of it is left");
    assert_eq!(stored_files(&store), 9);

    let done = reencrypted(&after, &old, &anna, false).await.unwrap();
    assert_eq!(done.old, convault_jobs::OldSnapshot::Removed);
    let new = newest(&store).await;
    assert_eq!((new.id.clone(), new.totals.files, new.files), (done.id, 9, FilesMode::Shared));
    assert_eq!(snapshots(&store).await.len(), 1);
    assert_has_files(&downloaded(&after, &store, Access::Opened(Some(&boris.identities))).await, &kept);
    assert_eq!(stored_files(&store), 18, "the old objects are for a prune to sweep");
    let report = verified(&store, VerifyDepth::ReadData).await;
    assert_eq!((report.faults, report.sound.len()), (Vec::new(), 1));

    // The next night finds them all.
    let again = Files::of(kept).days_later(1);
    let record = backed_up(&again, std::slice::from_ref(&after)).await;
    assert_eq!((record.outcome, again.fetched()), (Some(RunOutcome::Good), 0), "{}", record.message);
}

#[tokio::test(start_paused = true)]
async fn a_lost_shared_file_is_no_reason_to_write_a_snapshot_anew_without_it() {
    let (anna, boris) = (Reader::new(), Reader::new());
    let store = memory("vault");
    let before = encrypted(&store, &[&anna]);
    backed_up(&Files::of(files(5)), &[before]).await;
    let old = newest(&store).await;
    let lost = store.keys().into_iter().find(|key| key.starts_with("crm/files/")).unwrap();
    store.delete(&lost).await.unwrap();
    let error = reencrypted(&encrypted(&store, &[&boris]), &old, &anna, false).await.unwrap_err();
    assert!(matches!(error, JobError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("4 of its 5 shared files"), "{error}");
    assert_eq!(newest(&store).await.id, old.id);
}

/// The rules that a snapshot with shared files leaves by, and what the rules made of it.
async fn ruled(to: &Destination, store: &MemoryStore, rules: &Rules) -> (BTreeMap<String, Vec<u8>>, Outgone) {
    let (manifest, run, mut bytes) = (newest(store).await, Run::new(), Vec::new());
    let content = Content::new(to.store.as_ref(), &manifest, None, rules, &run.context);
    let outgone = content.write_zip(&mut bytes, "memory").await.unwrap();
    assert_eq!(outgone.size_bytes, bytes.len() as u64);
    (unzipped(bytes), outgone)
}

#[tokio::test(start_paused = true)]
async fn rules_apply_to_shared_files_as_to_those_of_an_export() {
    let store = memory("offsite");
    let to = destination(&store);
    let listed = files(9);
    backed_up(&Files::of(listed.clone()), std::slice::from_ref(&to)).await;
    let (whole, all) = ruled(&to, &store, &Rules::default()).await;
    let of = |component: &str, number: u32| (component.to_owned(), format!("kg2{number:05}"));
    let mut rules = Rules { left_out_files: BTreeSet::from([of("", 2)]), ..Rules::default() };
    rules.erased.files = BTreeSet::from([of("", 1), of("waitlist", 3), of("waitlist", 99)]);
    let (left, outgone) = ruled(&to, &store, &rules).await;
    let dropped = BTreeMap::from([(String::new(), 2), ("waitlist".to_owned(), 1)]);
    assert_eq!(outgone.files_dropped, dropped);
    assert_eq!(all.summary.components[""].files, outgone.summary.components[""].files + 2);
    for (name, content) in &whole {
        let is_gone = ["kg200001", "kg200002", "kg200003"].iter().any(|id| name.contains(id));
        match left.get(name) {
            None => assert!(is_gone, "{name}"),
            Some(left) if name.ends_with("_storage/documents.jsonl") => {
                let text = String::from_utf8(content.clone()).unwrap();
                let kept = text
                    .lines()
                    .filter(|line| !["kg200001", "kg200002", "kg200003"].iter().any(|id| line.contains(id)));
                let kept: String = kept.map(|line| line.to_owned() + "\n").collect();
                assert_eq!(*left, kept.into_bytes(), "{name}");
            }
            Some(left) => assert!(left == content && !is_gone, "{name}"),
        }
    }
    let none = Rules { without_files: true, ..Rules::default() };
    let (left, _) = ruled(&to, &store, &none).await;
    assert!(left.keys().all(|name| !name.contains("_storage/")));
    let only = BTreeSet::from([Selected::Table(TableRef::new("waitlist", "_storage"))]);
    let (left, _) = ruled(&to, &store, &Rules { only: Some(only), ..Rules::default() }).await;
    assert!(left.keys().all(|name| name.starts_with("_components/waitlist/_storage/")), "{:?}", left.keys());
    assert_eq!(left.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_shared_file_and_its_row_are_found_by_its_id() {
    let (anna, store) = (Reader::new(), memory("anna"));
    let to = encrypted(&store, &[&anna]);
    let listed = files(5);
    backed_up(&Files::of(listed.clone()), std::slice::from_ref(&to)).await;
    let (manifest, run) = (newest(&store).await, Run::new());
    let erased = ("waitlist".to_owned(), listed[2].0.id.clone());
    let mut rules = Rules::default();
    rules.erased.files.insert(erased.clone());
    let content = Content::new(to.store.as_ref(), &manifest, Some(&anna.identities), &rules, &run.context);
    for (row, bytes) in &listed {
        let rows = TableRef::new(&row.component, "_storage");
        let found = content.file(&row.component, &row.id).await.unwrap();
        let document = content.document(&rows, &row.id).await.unwrap();
        if (&row.component, &row.id) == (&erased.0, &erased.1) {
            assert!(found.is_none() && document.is_none());
            assert!(content.entry(&row.id).await.is_err());
            continue;
        }
        let mut found = found.unwrap();
        assert_eq!(Some(&found.row), document.as_ref());
        assert!(found.row.starts_with(format!("{{\"_id\":\"{}\"", row.id).as_bytes()));
        let mut read = Vec::new();
        while let Some(piece) = found.next().await.unwrap() {
            read.extend_from_slice(&piece);
        }
        assert_eq!(read, bytes.as_ref());
        let mut read = Vec::new();
        content.entry(&row.id).await.unwrap().write(&mut read, "memory").await.unwrap();
        assert_eq!(read, bytes.as_ref());
    }
    let mut lines = content.lines(&TableRef::new("waitlist", "_storage")).await.unwrap().unwrap();
    assert!(lines.next().await.unwrap().is_none(), "the only row of it is left out");
    let mut lines = content.lines(&TableRef::new("", "_storage")).await.unwrap().unwrap();
    let mut ids = Vec::new();
    while let Some(line) = lines.next().await.unwrap() {
        let line = convault_archive::Line::parse(&line).unwrap();
        ids.push(line.text(&["_id"]).unwrap().into_owned());
    }
    assert_eq!(ids, ["kg200001", "kg200002", "kg200004", "kg200005"]);
    assert!(content.lines(&TableRef::new("nobody", "_storage")).await.unwrap().is_none());
}
