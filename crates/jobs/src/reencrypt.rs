//! Writes a stored snapshot anew, to the present recipients of its destination: objects are never rewritten, so that
//! whoever is to be added or dropped gets, or loses, a snapshot by a new one in place of the old.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use convault_archive::{Findings, Options, encryption::Identities};
use convault_core::{
    DeploymentName, FilesMode, JobName, Layout, Lock, Manifest, MarkKind, ObjectRole, RUN_START_FORMAT,
    RunEvent, RunPhase, RunStart, Sha256, SnapshotId, Standing, StoredObject, TableNames,
};
use futures::TryStreamExt as _;
use jiff::Timestamp;

use crate::{
    Access, Destination, Encryption, Folder, JobError, MarkRequest, PruneRules, RunContext, Snapshot,
    access::ObjectContent,
    analysis::Analysis,
    contents,
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

/// What a re-encryption goes by.
#[derive(Debug, Clone)]
pub struct ReencryptRules {
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

/// What a re-encryption did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reencrypted {
    /// The new snapshot.
    pub id: SnapshotId,
    /// Bytes stored for it in all.
    pub stored_bytes: u64,
    /// What became of the old one.
    pub old: OldSnapshot,
}

/// Whether a snapshot is encrypted to others than the destination's settings say now, or to nobody.
pub fn needs_reencryption(destination: &Destination, manifest: &Manifest) -> bool {
    destination.encryption.as_deref().is_some_and(|encryption| texts(encryption) != manifest.recipients)
}

fn texts(encryption: &Encryption) -> Vec<String> {
    encryption.recipients.iter().map(ToString::to_string).collect()
}

/// Writes the snapshot `id` of a destination anew, under the identifier of this run: to the destination's present
/// recipients, of the same time, with the same words and what was said of it. Everything is read back before the old one
/// is removed. On an error nothing of the new one is left, and the old one is as it was.
pub async fn reencrypt(
    destination: &Destination,
    deployment: &DeploymentName,
    id: &SnapshotId,
    identities: &Identities,
    rules: &ReencryptRules,
    context: &RunContext,
) -> Result<Reencrypted, JobError> {
    let survey = survey(destination, deployment, &[], context.clock.now()).await?;
    let folder = survey.folder(id).ok_or_else(|| JobError::NoSuchSnapshot {
        id: id.clone(),
        deployment: deployment.to_string(),
        destination: destination.store.destination().to_string(),
    })?;
    let snapshot = folder.snapshot().ok_or_else(|| refused(id, "it has no manifest that can be used"))?;
    let encryption = why_not(destination, snapshot)?;
    let anew = Anew { destination, encryption, snapshot, folder, identities, rules, context };
    let stored_bytes = match anew.write().await {
        Ok(bytes) => bytes,
        Err(error) => {
            anew.leave_nothing().await;
            return Err(error);
        }
    };
    let old = if rules.keep_old { OldSnapshot::Kept } else { anew.remove_old().await? };
    Ok(Reencrypted { id: context.id.clone(), stored_bytes, old })
}

fn refused(id: &SnapshotId, why: &str) -> JobError {
    JobError::NotReencrypted { id: id.clone(), why: why.to_owned() }
}

/// The encryption to write it with, or why it cannot be written anew.
fn why_not<'a>(destination: &'a Destination, snapshot: &Snapshot) -> Result<&'a Arc<Encryption>, JobError> {
    let manifest = &snapshot.manifest;
    let Some(encryption) = &destination.encryption else {
        return Err(refused(
            &manifest.id,
            "the settings name no recipients for its destination (`encrypt_to`)",
        ));
    };
    if !needs_reencryption(destination, manifest) {
        return Err(refused(&manifest.id, "it is encrypted to these recipients already"));
    }
    if snapshot.judgement.standing == Standing::Damaged {
        return Err(refused(&manifest.id, "it is damaged: `convault repair` it first"));
    }
    if manifest.files == FilesMode::Shared {
        let why = "its files are shared with other snapshots, and are encrypted to the recipients of those: a new backup \
                   has new ones";
        return Err(refused(&manifest.id, why));
    }
    Ok(encryption)
}

/// A snapshot being written anew.
struct Anew<'a> {
    destination: &'a Destination,
    encryption: &'a Arc<Encryption>,
    snapshot: &'a Snapshot,
    folder: &'a Folder,
    identities: &'a Identities,
    rules: &'a ReencryptRules,
    context: &'a RunContext,
}

impl Anew<'_> {
    fn old(&self) -> &Manifest {
        &self.snapshot.manifest
    }

    fn layout(&self) -> Layout {
        Layout::new(self.old().deployment.clone())
    }

    /// Writes everything, the manifest last. Gives the bytes stored.
    async fn write(&self) -> Result<u64, JobError> {
        let context = self.context;
        let repository = repository::open_or_make(self.destination, &context.id).await?.repository;
        put_start(self.destination, &self.start(repository.clone())).await?;
        context.phase(RunPhase::Transfer);
        let group = Group {
            encryption: Some(Arc::clone(self.encryption)),
            stores: vec![Arc::clone(&self.destination.store)],
        };
        let (mut objects, mut findings) = (Vec::new(), None);
        // As at a backup, the index comes last.
        let mut old: Vec<&StoredObject> = self.old().objects.iter().collect();
        old.sort_by_key(|object| object.role == ObjectRole::Index);
        for object in old {
            let (sent, found) = self.send(&group, object).await?;
            objects.push(self.finish(sent).await?);
            findings = findings.or(found);
        }
        let findings = findings.ok_or_else(|| refused(&self.old().id, "its manifest names no ZIP"))?;
        context.phase(RunPhase::Manifest);
        let manifest = self.manifest(&findings);
        let lock = locked_until(self.destination, self.old()).await?.zip(self.destination.object_lock);
        let lock = lock.map(|(until, mode)| Lock { mode, until });
        let protection = Protection::new(
            self.destination,
            repository,
            lock.filter(|lock| lock.until > context.clock.now()),
        );
        let mut warnings = Vec::new();
        let stored = write_manifest(&protection, objects.clone(), &manifest, &mut warnings, context).await?;
        self.carry_over_marks(&Manifest { objects, repository: protection.repository().clone(), ..manifest })
            .await?;
        Ok(stored)
    }

    /// Opens one object and sends it on, encrypted anew; of the ZIP, also what is in it.
    async fn send(
        &self,
        group: &Group,
        object: &StoredObject,
    ) -> Result<(SentObject, Option<Findings>), JobError> {
        let layout = self.layout();
        let outline = Outline {
            layout: &layout,
            id: &self.context.id,
            name: object.name.strip_suffix(Layout::ENCRYPTED_SUFFIX).unwrap_or(&object.name),
            role: object.role,
            length_bytes: Some(object.size_bytes),
            budget_bytes: self.rules.upload_memory_bytes,
            stall_limit: self.rules.stall_limit,
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
        let access = Access::Opened(Some(self.identities));
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
    async fn finish(&self, mut sent: SentObject) -> Result<StoredObject, JobError> {
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

    fn start(&self, repository: convault_core::RunId) -> RunStart {
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

    /// What the new manifest says but for its objects. Names are hashed under the present key, from what was read.
    fn manifest(&self, findings: &Findings) -> Manifest {
        let old = self.old().clone();
        let hidden = hidden_manifest(&old, &self.encryption.names);
        let plain = Manifest {
            id: self.context.id.clone(),
            convault_version: self.rules.version.clone(),
            started: self.context.clock.now(),
            objects: Vec::new(),
            tables: contents::tables(findings),
            table_names: TableNames::Plain,
            names_key: None,
            recipients: texts(self.encryption),
            reencrypted_from: Some(old.id.clone()),
            fence: self.context.fence(),
            ..old
        };
        let mut manifest = keyed_manifest(&plain, &self.encryption.names);
        manifest.verification.at = self.context.clock.now();
        manifest.verification.checks.push("every byte opened, written anew, and read back".to_owned());
        manifest.verdict = hidden.verdict;
        manifest
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

    /// The old one goes as a prune removes a snapshot.
    async fn remove_old(&self) -> Result<OldSnapshot, JobError> {
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
            tracing::warn!(
                "what was begun stays behind, and a later prune removes it: {}",
                crate::error::chain(&error)
            );
        }
    }
}
