//! Retention of sets of secrets: by the same rules as snapshots, and never the newest.

use std::collections::{BTreeMap, BTreeSet};

use convault_core::{
    Candidate, DeploymentName, Layout, ObjectInfo, RunId, StoreErrorKind, SurroundingName, plan_retention,
};
use futures::TryStreamExt as _;

use super::{
    shelf::{SET_NAME, SecretsOrigin, Shelf},
    store::candidate,
};
use crate::{Destination, JobError, PruneRules, RunContext};

/// Removes the sets that the rules do not keep, and what sets left that never came to be. Gives why something was not
/// removed that should have been. A set that cannot be read or believed is left alone.
pub(crate) async fn retain_sets(
    destination: &Destination,
    deployment: &DeploymentName,
    rules: &PruneRules,
    context: &RunContext,
) -> Result<Vec<String>, JobError> {
    if destination.append_only {
        return Ok(Vec::new());
    }
    let folders = folders(destination, deployment).await?;
    let shelf = Shelf::open(destination, deployment).await?;
    let layout = Layout::new(deployment.clone());
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut newest: BTreeMap<SurroundingName, RunId> = BTreeMap::new();
    let mut leaving: Vec<&Vec<ObjectInfo>> = Vec::new();
    for (id, objects) in &folders {
        let record = layout.surroundings_object(id, SET_NAME);
        if objects.iter().all(|object| object.key != record) {
            leaving.extend(is_over(id, objects, destination, rules, context).then_some(objects));
        } else if let Some(set) = shelf.read(id, SecretsOrigin::Set).await? {
            candidates.push(candidate(id));
            newest.extend(set.record.hashes.keys().map(|surrounding| (surrounding.clone(), id.clone())));
        }
    }
    let staying: BTreeSet<&RunId> = newest.values().collect();
    let now = context.clock.now();
    let plan = plan_retention(&candidates, &rules.keep_in(destination), &rules.time_zone, now);
    let removed = plan.removed().filter(|decision| !staying.contains(&decision.id));
    leaving.extend(removed.filter_map(|decision| folders.get(&decision.id)));
    for objects in leaving {
        context.check_lease().await?;
        if let Some(why) = remove(destination, objects).await? {
            return Ok(vec![why]);
        }
    }
    Ok(Vec::new())
}

/// What lies in the folder of each set.
async fn folders(
    destination: &Destination,
    deployment: &DeploymentName,
) -> Result<BTreeMap<RunId, Vec<ObjectInfo>>, JobError> {
    let prefix = Layout::new(deployment.clone()).surroundings_prefix();
    let objects: Vec<ObjectInfo> = destination.store.list(&prefix).try_collect().await?;
    let mut folders: BTreeMap<RunId, Vec<ObjectInfo>> = BTreeMap::new();
    for object in objects {
        let folder = object.key.strip_prefix(&prefix).and_then(|rest| rest.split('/').next());
        if let Some(id) = folder.and_then(|folder| RunId::parse(folder).ok()) {
            folders.entry(id).or_default().push(object);
        }
    }
    Ok(folders)
}

/// Whether the run that left a folder without a record is over.
fn is_over(
    id: &RunId,
    objects: &[ObjectInfo],
    destination: &Destination,
    rules: &PruneRules,
    context: &RunContext,
) -> bool {
    let now = context.clock.now();
    let is_old = |object: &ObjectInfo| {
        let age = now.duration_since(object.modified);
        !age.is_negative() && age.unsigned_abs() > destination.orphan_grace
    };
    rules.dead_runs.contains(id) || objects.iter().all(is_old)
}

/// The record goes first, so that a set is whole or gone. Gives why it stays, where the credentials say so.
async fn remove(destination: &Destination, objects: &[ObjectInfo]) -> Result<Option<String>, JobError> {
    let (records, others): (Vec<_>, Vec<_>) =
        objects.iter().partition(|object| object.key.ends_with(SET_NAME));
    for object in records.into_iter().chain(others) {
        match destination.store.delete(&object.key).await {
            Ok(()) => {}
            Err(error) if error.kind == StoreErrorKind::Denied => {
                return Ok(Some(format!("deleting is denied (the next prune tries again): {error}")));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}
