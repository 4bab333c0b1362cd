//! Which snapshots a destination holds of a deployment: those with a manifest, told by the manifest alone.

use convault_core::{DeploymentName, Layout, Manifest, ManifestError, SnapshotId, Store, StoreErrorKind};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::{JobError, read::read_small};

const MANIFESTS_AT_ONCE: usize = 8;
/// Ten thousand tables in a thousand components make a manifest of a few MiB.
const LARGEST_MANIFEST_BYTES: u64 = 64 << 20;

/// What lies in one snapshot folder.
#[derive(Debug)]
pub enum ListedState {
    /// A snapshot.
    Snapshot(Box<Manifest>),
    /// Objects, but no manifest: a run that was cut off, is still going on, or lost its manifest. Not a snapshot.
    NoManifest,
    /// A manifest that cannot be used. Its objects are never touched because of that.
    Unreadable(ManifestError),
}

/// One snapshot folder of a deployment in a destination.
#[derive(Debug)]
pub struct Listed {
    /// The folder's name.
    pub id: SnapshotId,
    /// What lies in it.
    pub state: ListedState,
}

impl Listed {
    /// The manifest, where there is a snapshot.
    pub fn manifest(&self) -> Option<&Manifest> {
        match &self.state {
            ListedState::Snapshot(manifest) => Some(manifest),
            _ => None,
        }
    }
}

/// Every snapshot folder of a deployment in a destination, oldest first. One list request a page, and one small
/// read per folder; folders whose name is not an identifier are not ours and are left out.
pub async fn list(store: &dyn Store, deployment: &DeploymentName) -> Result<Vec<Listed>, JobError> {
    let layout = Layout::new(deployment.clone());
    let folders = store.list_folders(&layout.snapshots_prefix()).await?;
    let ids: Vec<SnapshotId> = folders.iter().filter_map(|folder| SnapshotId::parse(folder).ok()).collect();
    futures::stream::iter(ids.into_iter().map(|id| read_manifest(store, &layout, deployment, id)))
        .buffered(MANIFESTS_AT_ONCE)
        .try_collect()
        .await
}

/// The snapshot `id`, or with `None` the newest good one, by the deployment's clock.
pub async fn find(
    store: &dyn Store,
    deployment: &DeploymentName,
    id: Option<&SnapshotId>,
) -> Result<Option<Manifest>, JobError> {
    if let Some(id) = id {
        let layout = Layout::new(deployment.clone());
        return match read_manifest(store, &layout, deployment, id.clone()).await?.state {
            ListedState::Snapshot(manifest) => Ok(Some(*manifest)),
            ListedState::NoManifest => Ok(None),
            ListedState::Unreadable(source) => Err(JobError::Manifest {
                place: format!("{} {}", store.location(), layout.manifest(id)),
                source,
            }),
        };
    }
    let all = list(store, deployment).await?;
    let good = all.into_iter().filter_map(|listed| match listed.state {
        ListedState::Snapshot(manifest) if manifest.is_good() => Some(*manifest),
        _ => None,
    });
    Ok(good.max_by_key(|manifest| manifest.snapshot_ts_ns))
}

/// How many snapshots of a deployment a destination holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Snapshots that count as good.
    pub good: u64,
    /// Snapshots that look wrong.
    pub suspect: u64,
    /// Bytes of both, manifests not counted.
    pub stored_bytes: u64,
}

/// Counts what [`list`] finds.
pub async fn inventory(store: &dyn Store, deployment: &DeploymentName) -> Result<Inventory, JobError> {
    let mut inventory = Inventory::default();
    for listed in list(store, deployment).await? {
        let Some(manifest) = listed.manifest() else { continue };
        let counter = if manifest.is_good() { &mut inventory.good } else { &mut inventory.suspect };
        *counter += 1;
        inventory.stored_bytes += manifest.stored_bytes();
    }
    Ok(inventory)
}

pub(crate) async fn read_manifest(
    store: &dyn Store,
    layout: &Layout,
    deployment: &DeploymentName,
    id: SnapshotId,
) -> Result<Listed, JobError> {
    let state = match read_small(store, &layout.manifest(&id), LARGEST_MANIFEST_BYTES).await {
        Ok(bytes) => match Manifest::parse(&bytes, deployment, &id) {
            Ok(manifest) => ListedState::Snapshot(Box::new(manifest)),
            Err(error) => ListedState::Unreadable(error),
        },
        Err(JobError::Store(error)) if error.kind == StoreErrorKind::NotFound => ListedState::NoManifest,
        Err(error) => return Err(error),
    };
    Ok(Listed { id, state })
}
