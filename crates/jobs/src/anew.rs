//! Writing a stored snapshot anew, in place of the old one: objects are never rewritten, so that whatever is to be
//! otherwise is a new snapshot, and the old one goes only once all of the new one was read back.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use convault_archive::{Findings, Options, encryption::Identities};
use convault_core::{
    DeploymentName, JobName, Layout, Lock, MIN_PART_BYTES, Manifest, MarkKind, ObjectRole, RUN_START_FORMAT,
    RunEvent, RunId, RunPhase, RunStart, Sha256, SnapshotId, StoredObject, TableNames,
};
use futures::TryStreamExt as _;
use jiff::Timestamp;

use crate::{
    Access, Destination, Encryption, Folder, JobError, MarkRequest, PruneRules, RunContext, Snapshot,
    access::ObjectContent,
    analysis::Analysis,
    contents,
    erasure::newest_listed,
    error::chain,
    group::{Group, Outline, Sending, SentObject},
    keyed::{hidden_manifest, is_storage_id, keyed_manifest},
    mark::{About, write_mark},
    prepare::put_start,
    prune::{locked_until, remove_one},
    read::check_object,
    repository,
    settle::{Expected, Protection, prove, write_manifest},
    survey::survey,
    sweep::sweep,
};

/// Memory for parts of what is small beside a ZIP.
pub(crate) const SMALL_BYTES: u64 = 2 * MIN_PART_BYTES;

/// What writing a snapshot anew goes by.
#[derive(Debug, Clone)]
pub struct AnewRules {
    /// The version of Convault, for the manifest.
    pub version: String,
    /// Memory for parts on their way.
    pub upload_memory_bytes: u64,
    /// How long a destination may take no data.
    pub stall_limit: Duration,
    /// The old snapshot stays.
    pub keep_old: bool,
    /// What removing the old one goes by.
    pub prune: PruneRules,
}

/// What became of the old snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OldSnapshot {
    /// It is gone.
    Removed,
    /// It stays, as was asked for.
    Kept,
    /// It is locked against deletion until then; a later prune removes it as retention says.
    Locked(Timestamp),
    /// It could not be removed, and why.
    HeldBack(String),
}

/// The folder of a snapshot that is to be written anew; an error where there is none.
pub(crate) async fn folder_of(
    destination: &Destination,
    deployment: &DeploymentName,
    id: &SnapshotId,
    context: &RunContext,
) -> Result<Folder, JobError> {
    let survey = survey(destination, deployment, &[], context.clock.now()).await?;
    let found = survey.folders.into_iter().find(|folder| folder.id == *id);
    found.ok_or_else(|| JobError::NoSuchSnapshot {
        id: id.clone(),
        deployment: deployment.to_string(),
        destination: destination.store.destination().to_string(),
    })
}

/// The recipients of a destination as manifests name them.
pub(crate) fn recipients(encryption: Option<&Encryption>) -> Vec<String> {
    let recipients = encryption.map(|encryption| encryption.recipients.iter().map(ToString::to_string));
    recipients.map(Iterator::collect).unwrap_or_default()
}

/// A snapshot being written anew, under the identifier of this run.
pub(crate) struct Anew<'a> {
    pub(crate) destination: &'a Destination,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) folder: &'a Folder,
    pub(crate) identities: Option<&'a Identities>,
    pub(crate) rules: &'a AnewRules,
    pub(crate) context: &'a RunContext,
}

/// What is to become of a manifest's objects, and what the manifest says but for them.
pub(crate) struct Written {
    pub(crate) objects: Vec<StoredObject>,
    pub(crate) manifest: Manifest,
}

impl Anew<'_> {
    pub(crate) fn old(&self) -> &Manifest {
        &self.snapshot.manifest
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout::new(self.old().deployment.clone())
    }

    pub(crate) fn encryption(&self) -> Option<&Arc<Encryption>> {
        self.destination.encryption.as_ref()
    }

    pub(crate) fn group(&self) -> Group {
        Group { encryption: self.encryption().cloned(), stores: vec![Arc::clone(&self.destination.store)] }
    }

    /// Writes everything: the start record, then what `write` makes, the manifest last. Gives the bytes stored. On an error
    /// nothing of it is left, and the old one is as it was.
    pub(crate) async fn write(
        &self,
        write: impl AsyncFnOnce(&Group) -> Result<Written, JobError>,
    ) -> Result<u64, JobError> {
        let written = async {
            let repository = repository::open_or_make(self.destination, &self.context.id).await?.repository;
            put_start(self.destination, &self.start(repository.clone())).await?;
            self.context.phase(RunPhase::Transfer);
            let written = write(&self.group()).await?;
            self.settle(repository, written).await
        };
        match Box::pin(written).await {
            Ok(bytes) => Ok(bytes),
            Err(error) => {
                self.leave_nothing().await;
                Err(error)
            }
        }
    }

    /// An object of the new snapshot that is small beside a ZIP.
    pub(crate) fn small<'o>(&'o self, layout: &'o Layout, name: &'o str, role: ObjectRole) -> Outline<'o> {
        Outline {
            layout,
            id: &self.context.id,
            name,
            role,
            length_bytes: None,
            budget_bytes: SMALL_BYTES,
            stall_limit: self.rules.stall_limit,
        }
    }

    /// Opens one object of the old snapshot and sends it on, encrypted anew; of the ZIP, also what is in it.
    pub(crate) async fn send(
        &self,
        group: &Group,
        object: &StoredObject,
    ) -> Result<(SentObject, Option<Findings>), JobError> {
        let layout = self.layout();
        let outline = Outline {
            length_bytes: Some(object.size_bytes),
            budget_bytes: self.rules.upload_memory_bytes,
            ..self.small(
                &layout,
                object.name.strip_suffix(Layout::ENCRYPTED_SUFFIX).unwrap_or(&object.name),
                object.role,
            )
        };
        let mut sending = Sending::begin(group, &outline)?;
        match self.pass_through(&mut sending, object).await {
            Ok(findings) => Ok((sending.close(false, &self.context.stop).await, findings)),
            Err(error) => {
                sending.abort().await;
                Err(error)
            }
        }
    }

    async fn pass_through(
        &self,
        sending: &mut Sending,
        object: &StoredObject,
    ) -> Result<Option<Findings>, JobError> {
        let (store, context) = (self.destination.store.as_ref(), self.context);
        let access = Access::Opened(self.identities);
        let mut opened = ObjectContent::open(store, self.old(), object, access)?;
        let is_zip = object.role == ObjectRole::Snapshot;
        let mut analysis = is_zip.then(|| Analysis::new(Options::default()));
        while let Some(chunk) = context.or_stop(opened.next()).await?? {
            context.or_stop(sending.write(&chunk)).await??;
            if let Some(analysis) = &mut analysis {
                analysis.push(chunk).await?;
            }
            let (done_bytes, total_bytes) = (opened.read_bytes, Some(object.size_bytes));
            context.tell(RunEvent::Transferred { done_bytes, total_bytes });
        }
        opened.check()?;
        context.or_stop(sending.end()).await??;
        match analysis {
            Some(analysis) => Ok(Some(analysis.finish().await?.0.findings)),
            None => Ok(None),
        }
    }

    /// Makes an object visible and reads all of it back.
    pub(crate) async fn finish(&self, mut sent: SentObject) -> Result<StoredObject, JobError> {
        let context = self.context;
        let expected = Expected::of(&sent);
        let key = self.layout().object(&context.id, &expected.name);
        let lane = sent.sent.lanes.pop().expect("it has one destination");
        let finishing = lane.result.map_err(|error| error.into_job_error(&context.stop))?;
        let stored = finishing.finish().await?;
        let store = self.destination.store.as_ref();
        let object = prove(store, key.clone(), &stored, &expected, context).await?;
        context.phase(RunPhase::ReadBack);
        context.or_stop(check_object(store, key, expected.size_bytes, &expected.sha256)).await??;
        Ok(object)
    }

    fn start(&self, repository: RunId) -> RunStart {
        let old = self.old();
        let unknown = || JobName::new("unknown").expect("it is a name");
        RunStart {
            format: RUN_START_FORMAT,
            id: self.context.id.clone(),
            deployment: old.deployment.clone(),
            repository,
            job: old.job.clone().unwrap_or_else(unknown),
            kind: old.kind,
            tags: old.tags.clone(),
            keep_until: old.keep_until,
            due: old.due,
            started: self.context.clock.now(),
            instance: old.source.instance.clone(),
            server_version: old.source.server_version.clone(),
            files: old.files,
            fence: self.context.fence(),
            convault_version: self.rules.version.clone(),
        }
    }

    /// What the new manifest says but for its objects: what the old one says, and what was read of the new ZIP, with
    /// names hashed under the present key where the destination is encrypted. `check` is what its checks have besides.
    pub(crate) async fn manifest(&self, findings: &Findings, check: &str) -> Result<Manifest, JobError> {
        let old = self.old().clone();
        let encryption = self.encryption().map(Arc::as_ref);
        let verdict = match encryption {
            Some(encryption) => hidden_manifest(&old, &encryption.names).verdict,
            None => old.verdict.clone(),
        };
        let plain = Manifest {
            id: self.context.id.clone(),
            convault_version: self.rules.version.clone(),
            started: self.context.clock.now(),
            objects: Vec::new(),
            tables: contents::tables(findings),
            table_names: TableNames::Plain,
            names_key: None,
            recipients: recipients(encryption),
            fence: self.context.fence(),
            erasure: old.erasure.max(newest_listed(self.destination, &old.deployment).await?),
            ..old
        };
        let mut manifest = match encryption {
            Some(encryption) => keyed_manifest(&plain, &encryption.names),
            None => plain,
        };
        manifest.verification.at = self.context.clock.now();
        manifest.verification.checks.push(check.to_owned());
        manifest.verdict = verdict;
        Ok(manifest)
    }

    async fn settle(&self, repository: RunId, written: Written) -> Result<u64, JobError> {
        let Written { objects, manifest } = written;
        let context = self.context;
        context.phase(RunPhase::Manifest);
        let protection = Protection::new(self.destination, repository, self.lock().await?);
        let mut warnings = Vec::new();
        let stored = write_manifest(&protection, objects.clone(), &manifest, &mut warnings, context).await?;
        self.carry_over_marks(&Manifest { objects, repository: protection.repository().clone(), ..manifest })
            .await?;
        Ok(stored)
    }

    /// The new one is locked as long as the old one is.
    pub(crate) async fn lock(&self) -> Result<Option<Lock>, JobError> {
        let lock = locked_until(self.destination, self.old()).await?.zip(self.destination.object_lock);
        let lock = lock.map(|(until, mode)| Lock { mode, until });
        Ok(lock.filter(|lock| lock.until > self.context.clock.now()))
    }

    /// What people have said of the old one holds for the new one.
    async fn carry_over_marks(&self, manifest: &Manifest) -> Result<(), JobError> {
        let judgement = &self.snapshot.judgement;
        let accepted = judgement.accepted.map(|_| (MarkKind::Accept, None));
        let held = judgement.hold.map(|hold| (MarkKind::Hold, hold.until));
        let manifest_sha256 = Some(Sha256::of(&manifest.to_bytes()));
        for (kind, until) in accepted.into_iter().chain(held) {
            let last = self.folder.marks.iter().rfind(|mark| mark.kind == kind);
            let names = last.iter().flat_map(|mark| &mark.names);
            let request = MarkRequest {
                names: names.filter(|name| is_storage_id(name)).cloned().collect(),
                until,
                ..MarkRequest::new(
                    manifest.deployment.clone(),
                    manifest.id.clone(),
                    kind,
                    last.map(|mark| mark.reason.clone()).unwrap_or_default(),
                )
            };
            let about = About { id: &manifest.id, manifest_sha256, marks: &[] };
            write_mark(self.destination, &about, &request, BTreeMap::new(), self.context).await?;
        }
        Ok(())
    }

    /// The old one goes as a prune removes a snapshot, unless it is to stay.
    pub(crate) async fn remove_old(&self) -> Result<OldSnapshot, JobError> {
        if self.rules.keep_old {
            return Ok(OldSnapshot::Kept);
        }
        let old = self.old();
        if let Some(until) =
            locked_until(self.destination, old).await?.filter(|until| *until > self.context.clock.now())
        {
            return Ok(OldSnapshot::Locked(until));
        }
        let pruned = remove_one(self.destination, old, &self.rules.prune, self.context).await?;
        if pruned.held_back.is_empty() {
            Ok(OldSnapshot::Removed)
        } else {
            Ok(OldSnapshot::HeldBack(pruned.held_back.join("; ")))
        }
    }

    /// Takes away what was written of a snapshot that has no manifest.
    async fn leave_nothing(&self) {
        let store = self.destination.store.as_ref();
        let (layout, own) = (self.layout(), &self.context.id);
        let cleaned = async {
            sweep(store, &self.old().deployment, std::slice::from_ref(own), self.context).await?;
            let there = store.list(&layout.snapshot_prefix(own)).map_ok(|object| object.key);
            let there: Vec<String> = there.try_collect().await?;
            if self.destination.append_only || there.contains(&layout.manifest(own)) {
                return Ok(());
            }
            for key in there {
                store.delete(&key).await?;
            }
            Ok::<_, JobError>(())
        };
        if let Err(error) = cleaned.await {
            tracing::warn!("what was begun stays behind, and a later prune removes it: {}", chain(&error));
        }
    }
}
