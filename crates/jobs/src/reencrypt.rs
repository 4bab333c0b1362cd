//! Writes a stored snapshot anew, to the present recipients of its destination: whoever is to be added or dropped gets, or
//! loses, a snapshot by a new one in place of the old.

use convault_archive::encryption::Identities;
use convault_core::{DeploymentName, FilesMode, Manifest, ObjectRole, SnapshotId, Standing, StoredObject};

use crate::{
    AnewRules, Destination, JobError, OldSnapshot, RunContext, Snapshot,
    anew::{Anew, Written, folder_of, recipients},
    group::Group,
    shared::collect_again,
};

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
    let encryption = destination.encryption.as_deref();
    encryption.is_some() && recipients(encryption) != manifest.recipients
}

/// Writes the snapshot `id` of a destination anew, under the identifier of this run: to the destination's present
/// recipients, of the same time, with the same words and what was said of it. Everything is read back before the old one
/// is removed. On an error nothing of the new one is left, and the old one is as it was.
pub async fn reencrypt(
    destination: &Destination,
    deployment: &DeploymentName,
    id: &SnapshotId,
    identities: &Identities,
    rules: &AnewRules,
    context: &RunContext,
) -> Result<Reencrypted, JobError> {
    let folder = folder_of(destination, deployment, id, context).await?;
    let snapshot = folder.snapshot().ok_or_else(|| refused(id, "it has no manifest that can be used"))?;
    if let Some(why) = why_not(destination, snapshot) {
        return Err(refused(id, why));
    }
    let anew = Anew { destination, snapshot, folder: &folder, identities: Some(identities), rules, context };
    let stored_bytes = anew.write(async |group| write(&anew, group).await).await?;
    Ok(Reencrypted { id: context.id.clone(), stored_bytes, old: anew.remove_old().await? })
}

fn refused(id: &SnapshotId, why: &str) -> JobError {
    JobError::NotReencrypted { id: id.clone(), why: why.to_owned() }
}

/// Why it cannot be written anew.
fn why_not(destination: &Destination, snapshot: &Snapshot) -> Option<&'static str> {
    let manifest = &snapshot.manifest;
    if destination.encryption.is_none() {
        return Some("the settings name no recipients for its destination (`encrypt_to`)");
    }
    if !needs_reencryption(destination, manifest) {
        return Some("it is encrypted to these recipients already");
    }
    let is_damaged = snapshot.judgement.standing == Standing::Damaged;
    is_damaged.then_some("it is damaged: `convault repair` it first")
}

/// Writes every object of the old one, encrypted anew.
async fn write(anew: &Anew<'_>, group: &Group) -> Result<Written, JobError> {
    let (mut objects, mut findings) = (Vec::new(), None);
    // As at a backup, the index comes last.
    let mut old: Vec<&StoredObject> = anew.old().objects.iter().collect();
    old.sort_by_key(|object| object.role == ObjectRole::Index);
    let is_of_files = |object: &&StoredObject| matches!(object.role, ObjectRole::Files | ObjectRole::Refs);
    for object in old.into_iter().filter(|object| !is_of_files(object)) {
        let (sent, found) = anew.send(group, object).await?;
        objects.push(anew.finish(sent).await?);
        findings = findings.or(found);
    }
    let findings = findings.ok_or_else(|| refused(&anew.old().id, "its manifest names no ZIP"))?;
    if anew.old().files == FilesMode::Shared {
        objects.extend(collect_again(anew).await?);
    }
    let check = "every byte opened, written anew, and read back";
    let manifest = anew.manifest(&findings, check).await?;
    let reencrypted_from = Some(anew.old().id.clone());
    Ok(Written { objects, manifest: Manifest { reencrypted_from, ..manifest } })
}
