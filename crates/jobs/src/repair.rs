//! Makes damaged snapshots whole again: from another destination that holds the same bytes, from an older version of
//! the manifest, or from the snapshot's own data.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use convault_archive::encryption::Identities;
use convault_core::{
    AnomalyLimits, DeploymentName, Layout, Manifest, MarkKind, ObjectInfo, ObjectRole, PartPlan, PutMode,
    ReadBack, RunPhase, Sha256, SnapshotId, Standing, Store, StoreErrorKind, StoredObject,
};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::{
    Destination, Folder, FolderState, JobError, MarkRequest, RunContext, Survey,
    error::chain,
    mark::{About, write_mark},
    read::{check_object, next_version},
    rebuild::Rebuild,
    repository,
    settle::{Expected, copy_object, prove},
    shared::{Reading, examine_files, key_of},
    survey::{LARGEST_MANIFEST_BYTES, survey},
    trust::{LARGEST_SIGNATURE_BYTES, put_own},
};

/// What a repair goes by.
#[derive(Debug, Clone)]
pub struct RepairRules {
    /// The version of Convault, for manifests that are made again.
    pub version: String,
    /// Memory for parts on their way.
    pub upload_memory_bytes: u64,
    /// How long a destination may take no data.
    pub stall_limit: Duration,
    /// What opens encrypted snapshots, where somebody may: a manifest is only made again of what can be read.
    pub identities: Option<Identities>,
    /// What looks wrong beside the last good snapshot: a manifest made again is judged as a new one is.
    pub anomaly: AnomalyLimits,
}

/// What a repair did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Snapshots that are whole again.
    pub repaired: Vec<SnapshotId>,
    /// Snapshots that are not, and why.
    pub failed: Vec<(SnapshotId, String)>,
}

/// Makes whole what is damaged, headless, unreadable or untrusted of a deployment in one destination: the snapshot
/// `only`, or all of them. `others` are the destinations to copy from; only what is trusted there is used, and every
/// byte is compared with the manifest. A snapshot that is named and of which nothing is left here is copied whole.
pub async fn repair(
    destination: &Destination,
    others: &[Destination],
    deployment: &DeploymentName,
    only: Option<&SnapshotId>,
    rules: &RepairRules,
    context: &RunContext,
) -> Result<RepairReport, JobError> {
    context.phase(RunPhase::Repair);
    let now = context.clock.now();
    let here = survey(destination, deployment, &[], now).await?;
    if repository::mend(destination, &here, context).await? {
        context.message(format!("{}: convault.json is whole again", destination.store.destination()));
    }
    let mut elsewhere = Vec::new();
    for other in others.iter().filter(|other| other.store.destination() != destination.store.destination()) {
        match survey(other, deployment, &[], now).await {
            Ok(survey) => elsewhere.push((other.clone(), survey)),
            Err(error) => context.warning(format!("cannot look there for whole copies: {}", chain(&error))),
        }
    }
    let is_known = |id: &SnapshotId| {
        let mut all = elsewhere.iter().map(|(_, survey)| survey).chain([&here]);
        all.any(|survey| survey.folder(id).is_some())
    };
    if let Some(id) = only.filter(|id| !is_known(id)) {
        return Err(JobError::NoSuchSnapshot {
            id: id.clone(),
            deployment: deployment.to_string(),
            destination: destination.store.destination().to_string(),
        });
    }
    let repair = Repair { destination, deployment, here: &here, elsewhere: &elsewhere, rules, context };
    let mut report = RepairReport::default();
    for folder in to_repair(&here, &elsewhere, only) {
        let done = context.or_stop(repair.one(&folder)).await?;
        match done {
            Ok(()) => {
                context.message(format!("{}: {} is whole again", destination.store.destination(), folder.id));
                report.repaired.push(folder.id);
            }
            Err(error @ (JobError::Stopped | JobError::LeaseLost { .. })) => return Err(error),
            Err(error) => {
                let why = chain(&error);
                context.warning(format!("{}: {}: {why}", destination.store.destination(), folder.id));
                report.failed.push((folder.id, why));
            }
        }
    }
    Ok(report)
}

fn to_repair(here: &Survey, elsewhere: &[(Destination, Survey)], only: Option<&SnapshotId>) -> Vec<Folder> {
    let needs = |folder: &&Folder| folder.state.is_alarming();
    let Some(id) = only else { return here.folders.iter().filter(needs).cloned().collect() };
    if let Some(folder) = here.folder(id) {
        return Some(folder).into_iter().filter(needs).cloned().collect();
    }
    let known = elsewhere.iter().any(|(_, survey)| survey.folder(id).is_some());
    let gone = Folder {
        id: id.clone(),
        state: FolderState::Headless,
        objects: Vec::new(),
        marks: Vec::new(),
        proofs: Vec::new(),
        start: None,
    };
    if known { vec![gone] } else { Vec::new() }
}

struct Repair<'a> {
    destination: &'a Destination,
    deployment: &'a DeploymentName,
    here: &'a Survey,
    elsewhere: &'a [(Destination, Survey)],
    rules: &'a RepairRules,
    context: &'a RunContext,
}

impl Repair<'_> {
    fn store(&self) -> &dyn Store {
        self.destination.store.as_ref()
    }

    async fn one(&self, folder: &Folder) -> Result<(), JobError> {
        self.context.check_lease().await?;
        if let FolderState::Snapshot(snapshot) = &folder.state {
            let (_, tags) = self.objects(&snapshot.manifest, folder).await?;
            self.files(&snapshot.manifest).await?;
            return self.mark(folder, snapshot.manifest_sha256, tags).await;
        }
        let layout = Layout::new(self.deployment.clone());
        if let Some(manifest) = self.copy_elsewhere(folder) {
            let (objects, _) = self.objects(manifest, folder).await?;
            self.files(manifest).await?;
            let repository = self.repository().await?;
            let manifest = Manifest { objects, repository, ..manifest.clone() };
            return self.put_manifest(folder, &layout, &manifest).await;
        }
        if let Some(bytes) = self.older_version(folder, &layout).await? {
            return self.put_bytes(folder, &layout, bytes).await;
        }
        let rebuild = Rebuild {
            destination: self.destination,
            survey: self.here,
            repository: self.repository().await?,
            limits: &self.rules.anomaly,
            version: &self.rules.version,
            stall_limit: self.rules.stall_limit,
            identities: self.rules.identities.as_ref(),
            context: self.context,
        };
        let manifest = rebuild.manifest(folder, &layout).await?;
        self.put_manifest(folder, &layout, &manifest).await
    }

    async fn repository(&self) -> Result<convault_core::RunId, JobError> {
        Ok(repository::open_or_make(self.destination, &self.context.id).await?.repository)
    }

    /// The manifest of the same snapshot in another destination, where it is sound and speaks of the same bytes: those
    /// that were encrypted to the same recipients, or lie here already. What is not encrypted never comes to where
    /// everything is.
    fn copy_elsewhere(&self, folder: &Folder) -> Option<&Manifest> {
        let recipients =
            self.destination.encryption.iter().flat_map(|encryption| encryption.recipients.iter());
        let recipients: Vec<String> = recipients.map(ToString::to_string).collect();
        let layout = Layout::new(self.deployment.clone());
        let is_here = |manifest: &Manifest| {
            let keys = manifest.objects.iter().map(|object| layout.object(&manifest.id, &object.name));
            keys.into_iter().all(|key| folder.objects.iter().any(|object| object.key == key))
        };
        self.sources(&folder.id)
            .map(|(_, manifest)| manifest)
            .find(|manifest| manifest.recipients == recipients || is_here(manifest))
    }

    /// Every other destination that has the snapshot undamaged. A suspect one is as good a copy as a good one.
    fn sources(&self, id: &SnapshotId) -> impl Iterator<Item = (&Destination, &Manifest)> {
        self.elsewhere.iter().filter_map(move |(other, survey)| {
            let snapshot = survey.folder(id)?.snapshot()?;
            (snapshot.judgement.standing != Standing::Damaged).then_some((other, &snapshot.manifest))
        })
    }

    /// Makes every object what the manifest says. Gives the objects as they are stored now, and the entity tags of
    /// those that were written again.
    async fn objects(
        &self,
        manifest: &Manifest,
        folder: &Folder,
    ) -> Result<(Vec<StoredObject>, BTreeMap<String, String>), JobError> {
        let layout = Layout::new(manifest.deployment.clone());
        let (mut objects, mut tags) = (Vec::new(), BTreeMap::new());
        for object in &manifest.objects {
            let key = layout.object(&manifest.id, &object.name);
            let there = folder.objects.iter().find(|info| info.key == key);
            let stored = if let Some(stored) = self.is_whole(there, object).await? {
                stored
            } else {
                let stored = self.copy(manifest, object, key, there.is_some()).await?;
                tags.extend(stored.store_tag.clone().map(|tag| (object.name.clone(), tag)));
                stored
            };
            objects.push(stored);
        }
        Ok((objects, tags))
    }

    /// Makes every shared file that the snapshot needs what its refs say, from another destination that holds the same
    /// bytes.
    async fn files(&self, manifest: &Manifest) -> Result<(), JobError> {
        let layout = Layout::new(manifest.deployment.clone());
        let found =
            examine_files(self.store(), &layout, &[manifest], Reading::All, true, self.context).await?;
        for (_, one) in found.wrong {
            let key = key_of(&layout, manifest, &one);
            let object = StoredObject {
                name: format!("files/{one}"),
                role: ObjectRole::Files,
                size_bytes: one.size_bytes,
                sha256: one.sha256,
                read_back: ReadBack::Data,
                store_tag: None,
            };
            let others = self.elsewhere.iter().map(|(other, _)| other);
            let is_there = match self.store().head(&key).await {
                Ok(_) => true,
                Err(error) if error.kind == StoreErrorKind::NotFound => false,
                Err(error) => return Err(error.into()),
            };
            self.copy_from(others, &manifest.id, &object, key, is_there).await?;
        }
        Ok(())
    }

    async fn is_whole(
        &self,
        there: Option<&ObjectInfo>,
        object: &StoredObject,
    ) -> Result<Option<StoredObject>, JobError> {
        let Some(there) = there.filter(|there| there.size_bytes == object.size_bytes) else {
            return Ok(None);
        };
        let checked = check_object(self.store(), there.key.clone(), object.size_bytes, &object.sha256);
        match self.context.or_stop(checked).await? {
            Ok(()) => Ok(Some(StoredObject {
                read_back: ReadBack::Data,
                store_tag: there.etag.clone(),
                ..object.clone()
            })),
            Err(JobError::Damaged { .. }) => Ok(None),
            Err(JobError::Store(error)) if error.kind == StoreErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Copies one object from wherever it is the same to the last bit.
    async fn copy(
        &self,
        manifest: &Manifest,
        object: &StoredObject,
        key: String,
        is_there: bool,
    ) -> Result<StoredObject, JobError> {
        let same = |theirs: &Manifest| {
            theirs.objects.iter().any(|one| one.name == object.name && one.sha256 == object.sha256)
        };
        let sources = self.sources(&manifest.id).filter(|(_, theirs)| same(theirs)).map(|(other, _)| other);
        self.copy_from(sources, &manifest.id, object, key, is_there).await
    }

    /// Copies one object from the first of `sources` that has it to the last bit.
    async fn copy_from(
        &self,
        sources: impl Iterator<Item = &Destination>,
        id: &SnapshotId,
        object: &StoredObject,
        key: String,
        is_there: bool,
    ) -> Result<StoredObject, JobError> {
        let expected = Expected {
            name: object.name.clone(),
            role: object.role,
            size_bytes: object.size_bytes,
            sha256: object.sha256,
        };
        let mut why =
            "no other destination holds the same bytes (one that is encrypted to other recipients does not: \
                       that takes an identity)"
                .to_owned();
        for other in sources {
            let from = other.store.as_ref();
            // Nothing is taken away before the copy is known to be right.
            let checked = check_object(from, key.clone(), object.size_bytes, &object.sha256);
            if let Err(error) = self.context.or_stop(checked).await? {
                why = format!("the copy in {} cannot be used: {}", from.destination(), chain(&error));
                continue;
            }
            if is_there {
                self.context.check_lease().await?;
                self.store().delete(&key).await?;
            }
            let plan = PartPlan::new(object.size_bytes, self.rules.upload_memory_bytes)?;
            let to = &self.destination.store;
            let stored =
                copy_object(from, to, &key, &expected, plan, self.rules.stall_limit, self.context).await?;
            return prove(to.as_ref(), key, &stored, &expected, self.context).await;
        }
        Err(JobError::NotRepairable {
            id: id.clone(),
            destination: self.store().destination().to_string(),
            why: format!("{} is damaged, and {why}", object.name),
        })
    }

    /// What a thief or a fault wrote over, or deleted, where the bucket keeps versions: the newest one that can be used
    /// and trusted and speaks of objects that are all here. Where its signature was lost as well, that is put back.
    async fn older_version(&self, folder: &Folder, layout: &Layout) -> Result<Option<Bytes>, JobError> {
        let key = layout.manifest(&folder.id);
        // SeaweedFS lists the versions below a folder whole, and those below any other prefix not always.
        let mut versions = self.store().list_versions(&layout.snapshot_prefix(&folder.id));
        while let Some(version) = next_version(&mut versions).await? {
            if version.key != key || version.deletion || version.size_bytes > LARGEST_MANIFEST_BYTES {
                continue;
            }
            let bytes = self.read_version(&key, &version.version).await?;
            let Ok(manifest) = Manifest::parse(&bytes, layout.deployment(), &folder.id) else { continue };
            let lost_signature = match self.destination.trust.why_not(self.store(), &key, &bytes).await? {
                None => None,
                Some(_) => match self.older_signature(folder, layout, &bytes).await? {
                    Some(signature) => Some(signature),
                    None => continue,
                },
            };
            if self.objects(&manifest, folder).await.is_err() {
                continue;
            }
            if let Some(signature) = lost_signature {
                self.context.check_lease().await?;
                put_own(self.store(), &Layout::signature_of(&key), signature, PutMode::Overwrite).await?;
            }
            return Ok(Some(bytes));
        }
        Ok(None)
    }

    /// A version of a manifest's signature by which `bytes` can be trusted.
    async fn older_signature(
        &self,
        folder: &Folder,
        layout: &Layout,
        bytes: &Bytes,
    ) -> Result<Option<Bytes>, JobError> {
        let key = Layout::signature_of(&layout.manifest(&folder.id));
        let mut versions = self.store().list_versions(&layout.snapshot_prefix(&folder.id));
        while let Some(version) = versions.try_next().await? {
            if version.key != key || version.deletion || version.size_bytes > LARGEST_SIGNATURE_BYTES {
                continue;
            }
            let signature = self.read_version(&key, &version.version).await?;
            if self.destination.trust.vouches(bytes, &signature) {
                return Ok(Some(signature));
            }
        }
        Ok(None)
    }

    async fn read_version(&self, key: &str, version: &str) -> Result<Bytes, JobError> {
        let mut stream = self.store().get_version(key, version, None).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        Ok(bytes.into())
    }

    async fn put_manifest(
        &self,
        folder: &Folder,
        layout: &Layout,
        manifest: &Manifest,
    ) -> Result<(), JobError> {
        let bytes = Bytes::from(manifest.to_bytes());
        let key = layout.manifest(&folder.id);
        self.context.check_lease().await?;
        let at = self.context.clock.now();
        let what = format!("convault manifest {} {} {at}", layout.deployment(), folder.id);
        self.destination.trust.sign(self.store(), &key, &bytes, &what, PutMode::Overwrite).await?;
        self.put_bytes(folder, layout, bytes).await
    }

    /// The one place where anything of a snapshot is written over: what lies there cannot be used. The mark goes first:
    /// without it a manifest that is written again looks like one of a holder that had lost its lease.
    async fn put_bytes(&self, folder: &Folder, layout: &Layout, bytes: Bytes) -> Result<(), JobError> {
        self.context.check_lease().await?;
        self.mark(folder, Sha256::of(&bytes), BTreeMap::new()).await?;
        put_own(self.store(), &layout.manifest(&folder.id), bytes, PutMode::Overwrite).await
    }

    async fn mark(
        &self,
        folder: &Folder,
        manifest_sha256: Sha256,
        store_tags: BTreeMap<String, String>,
    ) -> Result<(), JobError> {
        let was = folder.state.as_str();
        let reason = format!("it was {was}, and every byte was compared with its manifest");
        let request =
            MarkRequest::new(self.deployment.clone(), folder.id.clone(), MarkKind::Repaired, reason);
        let manifest_sha256 = Some(manifest_sha256);
        let about = About { id: &folder.id, manifest_sha256, marks: &folder.marks };
        write_mark(self.destination, &about, &request, store_tags, self.context).await?;
        Ok(())
    }
}
